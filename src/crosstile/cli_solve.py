"""``crosstile solve``: the exact currents and voltages of one crossbar with resistive wires, from a file."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crosstile.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.circuits.solve_file import Problem, Solution

_SHOWN_COLUMNS: Final = 16
_COMPARED_INPUTS: Final = 16


class Simulator(StrEnum):
    """Circuit simulators that a solution can be compared with."""

    ngspice = "ngspice"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("solve")(solve)


def solve(
    file: Annotated[
        Path,
        typer.Argument(
            help="An .npz with G (siemens) or R (ohm), rows by columns, and V (volts), (rows,) or (inputs, rows); optionally "
            "word_line_ohm, bit_line_ohm, driver_ohm, sense_ohm and topology."
        ),
    ],
    word_line: Annotated[
        str | None, typer.Option(help='Word-line segment, such as "2.5 ohm"; "inf" is broken.')
    ] = None,
    bit_line: Annotated[str | None, typer.Option(help="Bit-line segment.")] = None,
    driver: Annotated[str | None, typer.Option(help="Output resistance of a driver.")] = None,
    sense: Annotated[str | None, typer.Option(help="Input resistance of a sense amplifier.")] = None,
    topology: Annotated[
        str | None,
        typer.Option(help="standard, same_side, driven_both_sides, sensed_both_sides or source_line."),
    ] = None,
    number: Annotated[int, typer.Option("--input", help="Which input to show, draw and write as a netlist.")] = 0,
    netlist: Annotated[Path | None, typer.Option(help="Write the SPICE netlist of one input to this file.")] = None,
    compare: Annotated[Simulator | None, typer.Option(help="Solve by this simulator, too, and compare.")] = None,
    timeout: Annotated[str, typer.Option(help="Time that the simulator may take for one input.")] = "2 min",
    out: Annotated[Path | None, typer.Option(help="Folder for solution.npz and heatmap.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Solve one crossbar with resistive wires: currents, losses, voltages and power of every cell."""
    from crosstile.circuits.solve_file import read_problem
    from crosstile.datasets.readers import read_npz

    given: dict[str, float | str] = {}
    for option, text in (("word_line", word_line), ("bit_line", bit_line), ("driver", driver), ("sense", sense)):
        if text is not None:
            infinite = text.strip().lower() in ("inf", "infinity")
            name = f"--{option.replace('_', '-')}"
            given[f"{option}_ohm"] = math.inf if infinite else _quantity(text, "resistance", name)
    timeout_s = _quantity(timeout, "time", "--timeout")
    if not timeout_s > 0:
        raise UsageError(f"--timeout: {timeout!r}; a time above 0 is wanted, such as '10 min'.")
    if topology is not None:
        given["topology"] = topology
    problem = read_problem(read_npz(file), str(file), given)
    if not 0 <= number < problem.v.shape[0]:
        raise UsageError(f"--input: {number}, but {file} has inputs 0 to {problem.v.shape[0] - 1}.")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).strip("-.") or "crossbar"
    directory = out or Path("crosstile-out") / f"solve-{name}"
    with _made(directory):
        document = _solve_and_write(problem, file, number, directory, netlist, compare, timeout_s)
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    _print(document, number)


def _quantity(text: str, dimension: str, option: str) -> float:
    from crosstile.units import parse_quantity

    try:
        return parse_quantity(text, dimension)
    except ValueError as error:
        raise UsageError(f"{option}: {error}.") from None


class _made(contextlib.AbstractContextManager[None]):
    """Make a folder before the work; take it away again when the work fails and nothing was written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._missing = [d for d in (directory, *directory.parents) if not d.exists()]

    def __enter__(self) -> None:
        from crosstile.study.write import check_writable

        check_writable(self._directory)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for made in self._missing:
                with contextlib.suppress(OSError):  # it holds something
                    made.rmdir()


def _solve_and_write(
    problem: Problem,
    file: Path,
    number: int,
    directory: Path,
    netlist: Path | None,
    compare: Simulator | None,
    timeout_s: float,
) -> dict[str, Any]:
    """Return what is to be told, as plain values for JSON."""
    import numpy as np
    from rich.console import Console

    from crosstile.circuits import solve_file
    from crosstile.circuits.heat_map import heat_map_png

    with Console(stderr=True).status("solving"):
        import torch  # noqa: F401  # loaded before the clock starts

        start = time.perf_counter()
        solution = solve_file.solve(problem)
        took = time.perf_counter() - start
        rows, columns = problem.g_s.shape
        wires = problem.wires
        document: dict[str, Any] = {
            "file": str(file),
            "rows": rows,
            "columns": columns,
            "inputs": problem.v.shape[0],
            "wires": {
                key: value if not isinstance(value, float) or math.isfinite(value) else "inf"
                for key, value in vars(wires).items()
            },
            "currents_a": solution.currents_a.tolist(),
            "ideal_currents_a": solution.ideal_currents_a.tolist(),
            "loss": [[None if math.isnan(x) else x for x in row] for row in solution.loss.tolist()],
            "summary": _summary(solution),
            "seconds": took,
        }
        if compare is not None:
            document["compare"] = _compare(problem, solution, took, timeout_s)
        buffer = io.BytesIO()
        np.savez(buffer, **solution.arrays(problem.single))  # type: ignore[arg-type]
        files: dict[Path, bytes] = {}
        if netlist is not None:  # first, since its folder has not been tried
            from crosstile.circuits.spice import netlist as netlist_text

            title = "".join(c if c.isprintable() else "?" for c in file.name)
            files[netlist] = netlist_text(problem.g_s, problem.v[number], wires, title=title).encode()
        files[directory / "solution.npz"] = buffer.getvalue()
        files[directory / "heatmap.png"] = heat_map_png(problem, solution, number, _title(file, problem, number))
        for path, content in files.items():
            _write(path, content)
        document["files"] = [str(path) for path in files]
    return document


def _summary(solution: Solution) -> dict[str, float | None]:
    import numpy as np

    ideal = np.abs(solution.ideal_currents_a)
    error = np.abs(solution.currents_a - solution.ideal_currents_a)
    losses = solution.loss[~np.isnan(solution.loss)]
    return {
        "loss_total": float(1.0 - np.abs(solution.currents_a).sum() / ideal.sum()) if ideal.sum() > 0 else None,
        "loss_smallest": float(losses.min()) if losses.size else None,
        "loss_largest": float(losses.max()) if losses.size else None,
        "error_of_largest_current": float(error.max() / ideal.max()) if ideal.max() > 0 else None,
        "cell_power_w": float(solution.cell_power_w.sum(axis=(1, 2)).max()),
    }


def _compare(problem: Problem, solution: Solution, took: float, timeout_s: float) -> dict[str, Any]:
    import numpy as np

    from crosstile.circuits.spice import run_ngspice

    inputs = problem.v[:_COMPARED_INPUTS]
    start = time.perf_counter()
    other = run_ngspice(problem.g_s, inputs, problem.wires, timeout_s=timeout_s)
    seconds = time.perf_counter() - start
    count = inputs.shape[0]
    largest, volts = float(np.abs(other.currents_a).max()), float(np.abs(inputs).max())
    difference = float(np.abs(solution.currents_a[:count] - other.currents_a).max())
    across = np.abs(solution.cell_v[:count] - (other.word_v - other.bit_v)).max()
    return {
        "simulator": "ngspice",
        "inputs": count,
        "largest_difference": difference / largest if largest > 0 else difference,
        "largest_voltage_difference": float(across) / volts if volts > 0 else float(across),
        "seconds": took,
        "simulator_seconds": seconds,
    }


def _title(file: Path, problem: Problem, number: int) -> str:
    from crosstile.units import format_quantity

    wires = problem.wires
    ohm = [
        format_quantity(x, "Ω") for x in (wires.word_line_ohm, wires.bit_line_ohm, wires.driver_ohm, wires.sense_ohm)
    ]
    rows, columns = problem.g_s.shape
    which = f", input {number}" if problem.v.shape[0] > 1 else ""
    name = file.name.replace("$", r"\$")  # no mathematics in a file's name
    return (
        f"{name}: {rows} × {columns} cells{which}, topology {wires.topology}\n"
        f"segments: word line {ohm[0]}, bit line {ohm[1]}; driver {ohm[2]}, sense input {ohm[3]}"
    )


def _write(path: Path, content: bytes) -> None:
    waiting = path.with_name(f".{path.name}.part")
    try:
        waiting.write_bytes(content)
        os.replace(waiting, path)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            waiting.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}.") from None


def _print(document: dict[str, Any], number: int) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_currents_table(document, number))
    console.print(_summary_table(document))
    for path in document["files"]:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _currents_table(document: dict[str, Any], number: int) -> Table:
    from rich.table import Table

    from crosstile.units import format_quantity

    columns = document["columns"]
    of = f" of {columns}" if columns > _SHOWN_COLUMNS else ""
    which = f", input {number} of {document['inputs']}" if document["inputs"] > 1 else ""
    table = Table(title=f"Output currents{which}")
    for name in (f"bit line{of}", "with wires", "without wires", "loss %"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = zip(*(document[key][number] for key in ("currents_a", "ideal_currents_a", "loss")), strict=True)
    for j, (current, ideal, loss) in list(enumerate(rows))[:_SHOWN_COLUMNS]:
        table.add_row(
            str(j),
            format_quantity(current, "A", 6),
            format_quantity(ideal, "A", 6),
            "-" if loss is None else f"{100 * loss:.4g}",
        )
    return table


def _summary_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from crosstile.units import format_quantity

    table = Table(title="All bit lines and inputs", show_header=False)
    table.add_column("figure", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(Text(name), Text(value))

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.4g} %"

    wires, summary = document["wires"], document["summary"]
    ohms = {key: "infinite" if value == "inf" else format_quantity(value, "ohm") for key, value in wires.items()
            if key != "topology"}  # fmt: skip
    row("Array", f"{document['rows']} x {document['columns']} cells, {document['inputs']} input(s)")
    row("Wires", f"word line {ohms['word_line_ohm']}, bit line {ohms['bit_line_ohm']} a segment, "
        f"driver {ohms['driver_ohm']}, sense {ohms['sense_ohm']}, {wires['topology']}")  # fmt: skip
    row("Loss of all current", percent(summary["loss_total"]))
    row("Loss by bit line", f"{percent(summary['loss_smallest'])} to {percent(summary['loss_largest'])}")
    row("Largest error", f"{percent(summary['error_of_largest_current'])} of the largest current without wires")
    row("Power in the cells", f"{format_quantity(summary['cell_power_w'], 'W')} at the most demanding input")
    row("Time, with start-up", format_quantity(document["seconds"], "s"))
    if "compare" in document:
        told = document["compare"]
        row(f"Against {told['simulator']}", f"largest difference {told['largest_difference']:.2g} of the largest current, "
            f"{told['largest_voltage_difference']:.2g} of the largest voltage, over {told['inputs']} input(s)")  # fmt: skip
        row(f"Time of {told['simulator']}", format_quantity(told["simulator_seconds"], "s"))
    return table
