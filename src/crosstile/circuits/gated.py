"""1T1R cells read through their gates: the input opens transistors, so that the network itself depends on it.

    G_cell = g G_t / (g + G_t),      G_t = gate / R_on + (1 - gate) G_off,      gate in [0, 1]

All lines that are driven are at the read voltage; the word lines carry only the gates' potential and no current. Hence there
is no effective matrix that inputs multiply: each pattern is a network of its own, solved by an elimination of its own.

``parallel_to_word_line``  source line i is driven at its end and runs through row i, bit lines are sensed: the network that
                           :mod:`crosstile.circuits.wires` draws, ``word_line_ohm`` being the source line's segment.
``parallel_to_bit_line``   each column has a source line beside its bit line: the bit line is driven at row 0, the source
                           line is sensed at the last row (``opposite_side``) or at row 0 (``same_side``); columns share
                           nothing (:mod:`crosstile.circuits.ladder`).

A gate between 0 and 1 stands for a transistor that is driven less hard: its conductance, which is an assumption, is
linear in the gate's value. Transistors are resistors here, as they are at read voltages far below saturation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.circuits.factor import Factor
from crosstile.circuits.kirchhoff import check_conductance
from crosstile.circuits.ladder import solve_ladders
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError
from crosstile.parallel import in_chunks

FloatArray = npt.NDArray[np.float64]
SourceLine = Literal["parallel_to_word_line", "parallel_to_bit_line"]
Side = Literal["same_side", "opposite_side"]

_TOGETHER_CELLS = 2**18
"""Cells of all patterns that are eliminated together: bounds memory, at most some 400 bytes each."""


@dataclass(frozen=True)
class Transistor:
    """The transistor of a cell, as a resistor.

    Raises:
        UsageError: a value is negative or not finite, or the transistor conducts better when off than when on.
    """

    on_ohm: float
    """Resistance with the gate at 1; 0 is an ideal switch."""
    off_s: float = 0.0
    """Conductance with the gate at 0, siemens: the leak."""

    def __post_init__(self) -> None:
        for name, unit in (("on_ohm", "ohms"), ("off_s", "siemens")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise UsageError(f"Transistor: {name} is a finite number of {unit}, 0 or more, found {value!r}.")
            object.__setattr__(self, name, float(value))
        if self.on_ohm * self.off_s > 1:
            raise UsageError(
                f"Transistor: it conducts {self.off_s:.4g} S when off and {1 / self.on_ohm:.4g} S when on; the first must "
                "not be the larger."
            )

    def conductance(self, gates: FloatArray) -> FloatArray:
        """Return G_t in siemens, infinite for an ideal switch that is on."""
        if self.on_ohm == 0:
            return np.where(gates > 0, np.inf, self.off_s)
        return np.asarray(gates / self.on_ohm + (1 - gates) * self.off_s)


@dataclass(frozen=True)
class GatedSolution:
    """Currents of gate patterns, and voltages where asked for."""

    currents_a: Tensor
    """(..., K, columns) amperes into the sense amplifiers."""
    drive_v: Tensor | None = None
    """(..., K, rows, columns) volts at each cell on the driven line: the source line of its row, or its bit line."""
    sense_v: Tensor | None = None
    """(..., K, rows, columns) volts at each cell on the sensed line: the bit line, or the source line of its column."""


def gate_driven(
    g_s: Tensor,
    gates: Tensor,
    wires: Wires,
    *,
    read_v: float,
    transistor: Transistor,
    source_line: SourceLine = "parallel_to_word_line",
    source_line_ohm: float | None = None,
    sensed: Side = "opposite_side",
    voltages: bool = False,
) -> GatedSolution:
    """Return the column currents of 1T1R arrays for patterns on their gates, exactly.

    Args:
        g_s: (..., rows, columns) conductance of the memories alone, siemens. gates: (..., K, rows) from 0 to 1, leading
        dimensions as of ``g_s``, or none. wires: resistances; ``driver_ohm`` and ``sense_ohm`` lie at the ends that are
        driven and sensed. read_v: of every driver, volts. source_line: see above. Parallel to the bit line:
        ``source_line_ohm`` is one segment of it (``None``: as the bit line's), ``word_line_ohm`` is not used, and
        ``sensed`` says at which end. voltages: return those of all nodes, too.

    For 128 x 128 cells a pattern took 23 ms in the first layout and 0.5 ms in the second (two cores, both in use).

    Raises:
        UsageError: a shape or value that is not possible, or an option that the layout does not have.
    """
    cells, patterns = check_conductance(g_s), _check_gates(gates, g_s, transistor)
    if isinstance(read_v, bool) or not isinstance(read_v, (int, float)) or not math.isfinite(read_v):
        raise UsageError(f"read_v: a finite number of volts is wanted, found {read_v!r}.")
    if source_line not in get_args(SourceLine) or sensed not in get_args(Side):
        raise UsageError(
            f"source_line is one of {', '.join(get_args(SourceLine))} and sensed one of {', '.join(get_args(Side))}, found "
            f"{source_line!r} and {sensed!r}."
        )
    count, (rows, columns) = patterns.shape[-2], cells.shape[-2:]
    number = math.prod(cells.shape[:-2])
    g = np.ascontiguousarray(cells.detach().cpu().numpy().reshape(number, rows, columns))
    series = transistor.conductance(patterns.detach().cpu().numpy().reshape(number * count, rows))
    array = np.repeat(np.arange(len(g)), count)
    if source_line == "parallel_to_word_line":
        if source_line_ohm is not None or sensed != "opposite_side":
            raise UsageError(
                "source_line_ohm and sensed belong to source_line='parallel_to_bit_line'; a source line along the word line "
                "has its resistance in wires.word_line_ohm, and its end in wires.topology."
            )
        found = _along_word_lines(g, series, array, wires, float(read_v), voltages)
    else:
        found = _along_bit_lines(g, series, array, wires, float(read_v), source_line_ohm, sensed, voltages)
    lead = (*cells.shape[:-2], count)

    def shaped(values: FloatArray, *axes: int) -> Tensor | None:
        return torch.from_numpy(values).reshape(*lead, *axes).to(g_s.device) if len(axes) < 2 or voltages else None

    currents = shaped(found[0], columns)
    assert currents is not None
    return GatedSolution(currents, shaped(found[1], rows, columns), shaped(found[2], rows, columns))


def _check_gates(gates: Tensor, g_s: Tensor, transistor: Transistor) -> Tensor:
    rows, leading = g_s.shape[-2], g_s.shape[:-2]
    if not isinstance(gates, Tensor) or gates.dim() < 2 or gates.shape[-1] != rows:
        found = tuple(gates.shape) if isinstance(gates, Tensor) else type(gates).__name__
        raise UsageError(f"gates: a tensor (..., patterns, {rows}) of values from 0 to 1 is wanted, found {found}.")
    if gates.shape[:-2] not in (leading, torch.Size()):
        raise UsageError(
            f"gates: leading dimensions {tuple(leading)} or none are wanted, found {tuple(gates.shape[:-2])}."
        )
    values = gates.to(torch.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if bool(wrong.any()):
        where = tuple(int(k) for k in wrong.nonzero()[0])
        raise UsageError(f"gates: values from 0 to 1 are wanted, found {float(values[where]):.4g} at {where}.")
    between = (values > 0) & (values < 1)
    if transistor.on_ohm == 0 and bool(between.any()):
        where = tuple(int(k) for k in between.nonzero()[0])
        raise UsageError(
            f"gates: an ideal switch (on_ohm = 0) is off (0) or on (1), found {float(values[where]):.4g} at {where}; give "
            "the transistor its on_ohm."
        )
    return values.expand(*leading, *values.shape[-2:])


def _along_word_lines(
    g: FloatArray, series: FloatArray, array: npt.NDArray[np.int64], wires: Wires, read_v: float, keep: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return currents (patterns, columns) and voltages; the sources being equal, G_eff is summed over its rows."""
    rows, columns = g.shape[1:]
    mirrored = wires.topology == "same_side"
    currents = np.empty((len(series), columns))
    drive_v, sense_v = (np.empty((len(series) if keep else 0, rows, columns)) for _ in range(2))
    step = max(1, _TOGETHER_CELLS // (rows * columns))
    for start in range(0, len(series), step):
        some = slice(start, start + step)
        memory, gate = g[array[some]], series[some][:, :, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            cells = np.where(np.isinf(gate), memory, memory * (gate / (memory + gate)))
        cells = np.where((memory > 0) & (gate > 0), cells, 0.0)
        if mirrored:
            cells = cells[:, ::-1]
        if wires.ideal:
            currents[some] = read_v * cells.sum(axis=1)
            if keep:
                drive_v[some], sense_v[some] = read_v, 0.0
            continue
        factor = Factor.of(np.ascontiguousarray(cells), wires, keep=keep)
        currents[some] = read_v * factor.coupling.sum(axis=1)
        if keep:
            sources = np.full((factor.arrays, rows, 1), read_v)
            word, bit, _ = factor.voltages(sources, np.zeros((factor.arrays, columns, 1)))
            order = slice(None, None, -1) if mirrored else slice(None)
            drive_v[some], sense_v[some] = word[:, order, :, 0], bit[:, order, :, 0]
    return currents, drive_v, sense_v


def _along_bit_lines(
    g: FloatArray, series: FloatArray, array: npt.NDArray[np.int64], wires: Wires, read_v: float,
    source_line_ohm: float | None, sensed: Side, keep: bool,
) -> tuple[FloatArray, FloatArray, FloatArray]:  # fmt: skip
    """Return currents (patterns, columns) and voltages (patterns, rows, columns) of independent columns."""
    if wires.topology not in ("standard", "source_line"):
        raise UsageError(
            f"topology: {wires.topology!r} has no meaning for source_line='parallel_to_bit_line'; take 'standard', and say "
            "by sensed= at which end the source lines are sensed."
        )
    ohm = wires.bit_line_ohm if source_line_ohm is None else source_line_ohm
    if isinstance(ohm, bool) or not isinstance(ohm, (int, float)) or not ohm >= 0:
        raise UsageError(f"source_line_ohm: a resistance of 0 ohm or more is wanted, found {source_line_ohm!r}.")
    currents = np.empty((len(series), g.shape[2]))
    drive_v, sense_v = (np.empty((len(series) if keep else 0, *g.shape[1:])) for _ in range(2))
    ends = (wires.bit_line_ohm + wires.driver_ohm, wires.bit_line_ohm, ohm + wires.sense_ohm, ohm)
    drive, along_drive, sense, along_sense = (1.0 / r if r > 0 else math.inf for r in ends)

    def solve(part: slice) -> None:
        solve_ladders(
            part.start, part.stop, g, series, array, read_v, drive, along_drive, sense, along_sense,
            sensed == "same_side", currents, drive_v, sense_v,
        )  # fmt: skip

    in_chunks(len(series), solve, size=64)
    return currents, drive_v, sense_v
