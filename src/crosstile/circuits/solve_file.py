"""One crossbar in an .npz file, as a circuit designer writes it, and its solution.

``G`` (rows, columns) siemens or ``R`` (rows, columns) ohms; ``V`` (rows,) or (inputs, rows) volts; optional scalars
``word_line_ohm``, ``bit_line_ohm``, ``driver_ohm``, ``sense_ohm`` (0 where absent) and ``topology``. The currents are
I = V @ G_eff, without wires V @ G, and the loss is what is missing of the latter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crosstile.circuits.wires import Wires
from crosstile.errors import DataError

Floats = npt.NDArray[np.float64]

OHMS: Final = ("word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm")
CELL_LIMIT: Final = 2**20
"""Cells of one array: 1024 x 1024 takes seconds and about 2 GB."""
STATE_LIMIT: Final = 2**24
"""Cells times inputs: each of the arrays of voltages and powers then takes 128 MiB."""
_KEYS: Final = ("G", "R", "V", *OHMS, "topology")


@dataclass(frozen=True)
class Problem:
    """A crossbar and its inputs."""

    g_s: Floats
    """(rows, columns) siemens."""
    v: Floats
    """(inputs, rows) volts."""
    single: bool
    """Whether the file holds one input without an axis for it; the solution then has none either."""
    wires: Wires


@dataclass(frozen=True)
class Solution:
    """Currents, voltages and powers of a :class:`Problem`."""

    currents_a: Floats
    """(inputs, columns)."""
    ideal_currents_a: Floats
    """(inputs, columns), without wires."""
    word_v: Floats
    bit_v: Floats
    """(inputs, rows, columns), above and below each cell."""
    cell_v: Floats
    """(inputs, rows, columns), across each cell."""
    cell_power_w: Floats
    """(inputs, rows, columns)."""
    effective_conductance_s: Floats
    """(rows, columns)."""

    @property
    def loss(self) -> Floats:
        """(inputs, columns) the part of the ideal current that is missing; NaN where the ideal current is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            part = 1.0 - self.currents_a / self.ideal_currents_a
        return np.where(self.ideal_currents_a == 0.0, np.nan, part)

    def arrays(self, single: bool) -> dict[str, Floats]:
        """Return the arrays by name, for a file; without the axis of inputs where ``single``."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: a[0] if single and k != "effective_conductance_s" else a for k, a in values.items()}


def read_problem(arrays: Mapping[str, npt.NDArray[Any]], origin: str, given: Mapping[str, float | str]) -> Problem:
    """Return the crossbar of a file's arrays.

    Args:
        arrays: the members of the file.
        origin: the name of the file, for messages.
        given: resistances in ohms and ``topology`` that stand instead of the file's.

    Raises:
        DataError: an array is missing, unknown, too large, or holds what no crossbar has.
        UsageError: a resistance or the topology is not allowed.
    """
    for key in arrays:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"{origin}: unknown array {key!r}{hint}; allowed are {', '.join(_KEYS)}.")
    if ("G" in arrays) == ("R" in arrays):
        found = "both" if "G" in arrays else f"neither ({', '.join(arrays) or 'the file is empty'})"
        raise DataError(f"{origin}: give either G (siemens) or R (ohm), with axes (rows, columns); found {found}.")
    if "V" not in arrays:
        raise DataError(f"{origin}: no V; give the voltages of the word lines, (rows,) or (inputs, rows).")
    g_s = _conductances(arrays, origin)
    v = _numbers(arrays["V"], f"{origin}: V")
    rows, columns = g_s.shape
    if v.ndim not in (1, 2) or v.shape[-1] != rows or v.size == 0:
        raise DataError(
            f"{origin}: V has shape {v.shape}; wanted is ({rows},) or (inputs, {rows}), as there are {rows} rows."
        )
    if not np.isfinite(v).all():
        raise DataError(f"{origin}: V holds infinite voltages or NaN.")
    inputs = np.atleast_2d(v)
    if inputs.shape[0] * g_s.size > STATE_LIMIT:
        raise DataError(
            f"{origin}: {inputs.shape[0]} inputs of {rows} x {columns} cells; at most {STATE_LIMIT // g_s.size} inputs of this "
            "array are solved at once, split the file."
        )
    values: dict[str, Any] = {"word_line_ohm": 0.0, "bit_line_ohm": 0.0}
    for key in (*OHMS, "topology"):
        if key in arrays:
            values[key] = _scalar(arrays[key], key, origin)
    return Problem(g_s, inputs, v.ndim == 1, Wires(**{**values, **given}))


def solve(problem: Problem) -> Solution:
    """Return the solution of a crossbar, in double precision."""
    import torch

    from crosstile.circuits.kirchhoff import solve_crossbar

    solved = solve_crossbar(torch.from_numpy(problem.g_s), torch.from_numpy(problem.v), problem.wires)
    return Solution(
        currents_a=solved.currents_a.numpy(),
        ideal_currents_a=problem.v @ problem.g_s,
        word_v=solved.word_v.numpy(),
        bit_v=solved.bit_v.numpy(),
        cell_v=solved.cell_v.numpy(),
        cell_power_w=solved.cell_power_w.numpy(),
        effective_conductance_s=solved.effective_conductance_s.numpy(),
    )


def _conductances(arrays: Mapping[str, npt.NDArray[Any]], origin: str) -> Floats:
    key = "G" if "G" in arrays else "R"
    values = _numbers(arrays[key], f"{origin}: {key}")
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"{origin}: {key} has shape {values.shape}; (rows, columns) of at least one cell are wanted.")
    if values.size > CELL_LIMIT:
        raise DataError(
            f"{origin}: {key} has {values.shape[0]} x {values.shape[1]} cells; at most {CELL_LIMIT} are solved, "
            "cut the array into tiles."
        )
    with np.errstate(divide="ignore", over="ignore"):
        g_s = values if key == "G" else 1.0 / values
    wrong = ~(np.isfinite(g_s) & (g_s >= 0) & ~np.signbit(values))
    wrong &= ~((key == "G") & (values == 0))  # -0.0 S is 0 S
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        allowed = "finite siemens of 0 or more" if key == "G" else "ohms above 0 (infinity is an open cell)"
        raise DataError(
            f"{origin}: {key}[{row}, {column}] is {values[row, column]!s}, and {int(wrong.sum())} cell(s) in all are not "
            f"allowed; wanted are {allowed}."
        )
    return np.abs(g_s)


def _numbers(values: npt.NDArray[Any], what: str) -> Floats:
    if values.dtype.kind not in "fiu":
        raise DataError(f"{what} is {values.dtype}; real numbers are wanted.")
    return np.array(values, dtype=np.float64, order="C")


def _scalar(value: npt.NDArray[Any], key: str, origin: str) -> float | str:
    if value.size == 1 and value.dtype.kind == ("U" if key == "topology" else "f"):
        return str(value.item()) if key == "topology" else float(value.item())
    if value.size == 1 and key != "topology" and value.dtype.kind in "iu":
        return float(value.item())
    wanted = "one word" if key == "topology" else "one number of ohms"
    raise DataError(f"{origin}: {key} is {value.dtype} of shape {value.shape}; {wanted} is wanted.")
