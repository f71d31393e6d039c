"""A crossbar as a SPICE netlist, and its solution by ngspice.

The netlist is written for people to read and for other simulators to run: resistors, voltage sources, and, for nonlinear
cells, B sources. Node ``w_i_j`` lies above cell (i, j), ``b_i_j`` below it, ``in_i`` at the source of word line i, ``out_j``
at the virtual ground of bit line j, which is a source of 0 V: the current through it is the output. Rows and columns count
from 0. A wire of 0 ohm is no element, its two ends have one name; a wire of infinite resistance and a cell of 0 S are left
out, and so is what then hangs on no source and no ground (ngspice would call the matrix singular); its nodes are reported
at 0 V, as :mod:`crosstile.circuits.nodal` defines it.

ngspice runs in batch mode in a folder of its own, without start-up files, and hands its solution back as a binary raw file:
all 53 bits of each double. A linear circuit is then right to about 1e-12 of the largest current; a nonlinear one to the
tolerances of its Newton iteration, 1e-9 of each voltage.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.circuits.nodal import NodeVoltages, checked_conductances, checked_voltages
from crosstile.circuits.wires import Wires
from crosstile.errors import CrosstileError, UsageError

Floats = npt.NDArray[np.float64]
_Names = list[list[str]]

_OPTIONS: Final = ".options reltol=1e-9 vntol=1e-13 abstol=1e-16 gmin=1e-20 pivtol=1e-40 itl1=1000 numdgt=15"
_VOLTAGE: Final = re.compile(r"\bv\b(?!\s*\()", re.IGNORECASE)
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9_ .+\-*/^(),?:<>=!&|{}]+")


class SpiceError(CrosstileError):
    """The circuit simulator is missing, did not find a solution, or wrote something that is not one."""


def netlist(
    g_s: Floats, v: Floats, wires: Wires, *, title: str = "Crosstile crossbar", cell_current: str | None = None
) -> str:
    """Return the SPICE netlist of a crossbar with one input.

    Args:
        g_s: conductance of each cell in siemens, (rows, columns).
        v: voltage of each word line's source in volts, (rows,).
        wires: resistances and topology.
        title: one line of text.
        cell_current: current of a cell in amperes as an ngspice expression of its voltage ``v`` (word line less bit line)
            and its conductance ``{g}``, such as ``"{g}*0.25*sinh(v/0.25)"``; ``None`` for resistors.

    Raises:
        UsageError: a shape or value is not allowed.
    """
    g = checked_conductances(g_s)
    volts = checked_voltages(v, g.shape[0])
    if volts.ndim != 1:
        raise UsageError(f"v: shape {volts.shape}; a netlist has one input, so ({g.shape[0]},) is wanted.")
    if not title.isprintable():
        raise UsageError(f"title: one line of printable text is wanted, found {title!r}.")
    template = None if cell_current is None else _checked_template(cell_current)
    word, bit = _names(g.shape, wires)
    live = _live(g, word, bit, wires)
    rows, columns = g.shape
    lines = [
        f"* {title}",
        f"* {rows} word lines x {columns} bit lines, topology {wires.topology}",
        f"* word line {wires.word_line_ohm!r} ohm and bit line {wires.bit_line_ohm!r} ohm a segment, "
        f"driver {wires.driver_ohm!r} ohm, sense input {wires.sense_ohm!r} ohm",
        "* nodes: in_i source, w_i_j above and b_i_j below cell (i, j), out_j virtual ground; the outputs are i(Vout_j)",
        "",
        "* word-line sources",
        *(f"Vin_{i} in_{i} 0 DC {float(volts[i])!r}" for i in range(rows)),
        "",
        "* virtual grounds",
        *(f"Vout_{j} out_{j} 0 DC 0" for j in range(columns)),
        "",
        "* wires",
        *(f"{name} {a} {b} {ohm!r}" for name, a, b, ohm in _resistors(word, bit, wires) if a in live),
        "",
        "* cells",
    ]
    for i, j in np.ndindex(g.shape):
        siemens, a, b = float(g[i, j]), word[i][j], bit[i][j]
        if siemens == 0.0 or a not in live:
            continue
        if template is None:
            lines.append(f"Rcell_{i}_{j} {a} {b} {_inverse(siemens, i, j)!r}")
        else:
            across = f"v({a},{b})"
            current = _VOLTAGE.sub(across, template).replace("{g}", f"({siemens!r})")
            lines.append(f"Bcell_{i}_{j} {a} {b} I={current}")
    lines += ["", _OPTIONS, ".op", ".end", ""]
    return "\n".join(lines)


def run_ngspice(
    g_s: Floats,
    v: Floats,
    wires: Wires,
    *,
    cell_current: str | None = None,
    executable: str = "ngspice",
    timeout_s: float = 120.0,
) -> NodeVoltages:
    """Solve a crossbar by ngspice, one run an input.

    Args:
        g_s: conductance of each cell in siemens, (rows, columns).
        v: voltage of each word line's source in volts, (..., rows).
        wires: resistances and topology.
        cell_current: as in :func:`netlist`.
        executable: name on PATH, or path, of ngspice.
        timeout_s: seconds that one run may take.

    Raises:
        UsageError: a shape or value is not allowed.
        SpiceError: ngspice is missing, ran too long, or found no solution.
    """
    g = checked_conductances(g_s)
    volts = checked_voltages(v, g.shape[0])
    found = shutil.which(executable)
    if found is None:
        raise SpiceError(
            f"{executable} was not found on PATH; on Debian and Ubuntu install it with: apt-get install ngspice"
        )
    inputs = volts.reshape(-1, g.shape[0])
    word, bit = _names(g.shape, wires)
    live = _live(g, word, bit, wires)
    word_v, bit_v = np.empty((inputs.shape[0], *g.shape)), np.empty((inputs.shape[0], *g.shape))
    currents = np.empty((inputs.shape[0], g.shape[1]))
    for k, one in enumerate(inputs):
        raw = _run(found, netlist(g, one, wires, cell_current=cell_current), timeout_s)
        values = parse_raw(raw)
        word_v[k] = [[_node(values, name, live) for name in names] for names in word]
        bit_v[k] = [[_node(values, name, live) for name in names] for names in bit]
        currents[k] = [_value(values, f"i(vout_{j})") for j in range(g.shape[1])]
    batch = volts.shape[:-1]
    return NodeVoltages(
        word_v.reshape(*batch, *g.shape), bit_v.reshape(*batch, *g.shape), currents.reshape(*batch, g.shape[1])
    )


def parse_raw(raw: bytes) -> dict[str, float]:
    """Return the values by name (lower case) of an operating point in a binary raw file of ngspice.

    Raises:
        SpiceError: not a binary raw file of one real point.
    """
    head, mark, body = raw.partition(b"Binary:\n")
    lines = head.decode("utf-8", errors="replace").splitlines()
    fields = {key.strip().lower(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    try:
        count, points = int(fields["no. variables"]), int(fields["no. points"])
        start = next(k for k, line in enumerate(lines) if line.strip().lower() == "variables:") + 1
        names = [line.split()[1].lower() for line in lines[start : start + count]]
    except (KeyError, ValueError, IndexError, StopIteration):
        mark = b""
    if not mark or fields.get("flags") != "real" or points != 1 or len(names) != count or len(body) != 8 * count:
        raise SpiceError(
            "ngspice wrote a raw file that is not one operating point in binary; its version may be too old."
        )
    return dict(zip(names, np.frombuffer(body, dtype=np.float64).tolist(), strict=True))


def _run(executable: str, text: str, timeout_s: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix="crosstile-spice-") as folder:
        (Path(folder) / "crossbar.sp").write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [executable, "-n", "-b", "-r", "crossbar.raw", "crossbar.sp"],
                cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SpiceError(
                f"ngspice took longer than {timeout_s:g} s; allow more time or give a smaller array."
            ) from None
        except OSError as error:
            raise SpiceError(f"{executable}: cannot be run: {error.strerror or error}.") from None
        said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
        raw = Path(folder) / "crossbar.raw"
        if done.returncode != 0 or not raw.is_file():
            raise SpiceError(_complaint(said, done.returncode))
        return raw.read_bytes()


def _complaint(said: str, code: int) -> str:
    """What ngspice said, as one message with the way out."""
    lines = [
        line.strip() for line in said.splitlines() if re.search("error|singular|converge|aborted|fatal", line, re.I)
    ]
    quoted = "; ".join(dict.fromkeys(lines[:3])) or f"exit status {code}, no message"
    if "singular" in said.lower():
        hint = "the matrix is singular: give nearly perfect wires 0 ohm and nearly open cells 0 S, which are exact"
    elif "converge" in said.lower() or "iteration limit" in said.lower():
        hint = "no operating point was found: lower the input voltages or make the expression of the cell's current less steep"
    else:
        hint = "check the expression of the cell's current"
    return f"ngspice found no solution ({quoted}); {hint}."


def _node(values: dict[str, float], name: str, live: set[str]) -> float:
    return _value(values, f"v({name})") if name in live else 0.0


def _value(values: dict[str, float], name: str) -> float:
    value = values.get(name, math.nan)
    if not math.isfinite(value):
        raise SpiceError(f"ngspice gave no finite value for {name}.")
    return value


def _checked_template(cell_current: str) -> str:
    bare = cell_current.replace("{g}", "")
    if not _EXPRESSION.fullmatch(cell_current) or "{" in bare or "}" in bare:
        raise UsageError(
            f"cell_current: {cell_current!r} is no expression of v and {{g}} in one line, such as '{{g}}*0.25*sinh(v/0.25)'."
        )
    if not _VOLTAGE.search(cell_current):
        raise UsageError(f"cell_current: {cell_current!r} does not hold the cell's voltage v.")
    return cell_current


def _inverse(siemens: float, row: int, column: int) -> float:
    ohm = 1.0 / siemens
    if not math.isfinite(ohm):
        raise UsageError(
            f"g_s: cell ({row}, {column}) has {siemens!r} S, too little to be written as a resistor; give it 0 S."
        )
    return ohm


def _names(shape: tuple[int, ...], wires: Wires) -> tuple[_Names, _Names]:
    """Return the names of the nodes above and below each cell; one name wherever 0 ohm lies between."""
    rows, columns = shape

    def name(kind: str, i: int, j: int) -> str:
        segment, end = (wires.word_line_ohm, wires.driver_ohm) if kind == "w" else (wires.bit_line_ohm, wires.sense_ohm)
        if segment > 0:
            return f"{kind}_{i}_{j}"
        if end > 0:  # the whole line is one node
            return f"w_{i}" if kind == "w" else f"b_{j}"
        return f"in_{i}" if kind == "w" else f"out_{j}"

    word = [[name("w", i, j) for j in range(columns)] for i in range(rows)]
    bit = [[name("b", i, j) for j in range(columns)] for i in range(rows)]
    return word, bit


def _resistors(word: _Names, bit: _Names, wires: Wires) -> Iterator[tuple[str, str, str, float]]:
    """Yield (name, node, node, ohms) of every wire that has a finite resistance above 0."""
    for i, names in enumerate(word):
        ends = [("Rdrive", 0)] + ([("Rdrive_far", -1)] if wires.topology == "driven_both_sides" else [])
        yield from _line(f"Rword_{i}", names, wires.word_line_ohm)
        for kind, k in ends:
            yield from _wire(f"{kind}_{i}", f"in_{i}", names[k], wires.word_line_ohm + wires.driver_ohm)
    for j in range(len(bit[0])):
        names = [row[j] for row in bit]
        ends = [] if wires.topology == "same_side" else [("Rsense", -1)]
        ends += [("Rsense_top", 0)] if wires.topology in ("same_side", "sensed_both_sides") else []
        yield from _line(f"Rbit_{j}", names, wires.bit_line_ohm)
        for kind, k in ends:
            yield from _wire(f"{kind}_{j}", names[k], f"out_{j}", wires.bit_line_ohm + wires.sense_ohm)


def _line(name: str, nodes: list[str], ohm: float) -> Iterator[tuple[str, str, str, float]]:
    for k in range(len(nodes) - 1):
        yield from _wire(f"{name}_{k}", nodes[k], nodes[k + 1], ohm)


def _wire(name: str, a: str, b: str, ohm: float) -> Iterator[tuple[str, str, str, float]]:
    if 0.0 < ohm < math.inf:
        yield name, a, b, ohm


def _live(g: Floats, word: _Names, bit: _Names, wires: Wires) -> set[str]:
    """Return the nodes that some path joins to a source or to ground."""
    neighbours: dict[str, list[str]] = {}
    pairs = [(a, b) for _, a, b, _ in _resistors(word, bit, wires)]
    pairs += [(word[i][j], bit[i][j]) for i, j in np.ndindex(g.shape) if g[i, j] > 0]
    for a, b in pairs:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    waiting = [f"in_{i}" for i in range(g.shape[0])] + [f"out_{j}" for j in range(g.shape[1])]
    live = set(waiting)
    while waiting:
        for other in neighbours.get(waiting.pop(), ()):
            if other not in live:
                live.add(other)
                waiting.append(other)
    return live
