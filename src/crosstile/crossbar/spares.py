"""Stuck cells made up for: spare rows and columns, and which line of a matrix stands on which line of the array.

The array is built with ``spare_rows`` rows and ``spare_columns`` columns behind those in use. Which cells are stuck, and
at what, is known from a march test that misses nothing. Lines are placed so that the expected squared error of the sums
is least, errors of different cells taken as uncorrelated:

    E = sum over rows i, units u of  s_i c_u^2 e_iu^2,      e = stuck level - target  of single columns
                                                            e = e+ - e-               of an analog pair, 0 for a healthy cell

s_i is the mean squared input of row i, moved half way to the mean of all rows (what calibration never drives may be driven
later), or 1 where inputs are not known; c_u is the place value of the unit's digit. A unit is what one conversion takes: a
pair that is subtracted in analog moves as a pair, onto a place where a pair stood, its polarities in order; all other
columns, the unit column among them, move one by one. For fixed rows the best columns are a linear assignment, and for
fixed columns the best rows; where both may move they are found in turn until E falls no more, from either start, which is
a local optimum. With ``remap: none`` a line stays or goes to a spare; with remapping it may go to any place, spares
included. Ties stay.

Lines that are left free are switched off: they take no current, but wires run past them at full length. Routing inputs
and results to other lines is taken to cost nothing. Lines that a layer leaves free anyway are not used as spares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from crosstile.crossbar.encode import decoding
from crosstile.crossbar.program import ProgrammedArray, Window, stuck_cells
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_ROUNDS = 10
_TIE = 1e-9
"""Share of the mean error by which staying is preferred; an assignment is the best to this precision."""


@dataclass(frozen=True)
class Layout:
    """Where the rows and columns of a matrix stand on a built array."""

    shape: tuple[int, int]
    """Rows and columns of the cells in use and the spares."""
    rows: Places
    """(rows in use,) place of each row along the bit lines."""
    columns: Places
    """(columns in use,) place of each column along the word lines."""
    error_in_order: float
    """E with every line in its own place, in levels squared."""
    error: float
    """E as laid out."""

    def spread(self, values: FloatArray, fill: float = 0.0) -> FloatArray:
        """Return (rows, columns) values of the matrix in their places on the array, ``fill`` elsewhere."""
        built = np.full(self.shape, fill)
        built[np.ix_(self.rows, self.columns)] = values
        return built

    def gather(self, built: FloatArray) -> FloatArray:
        """Return what stands on the array in the order of the matrix: undoes :meth:`spread`."""
        return np.ascontiguousarray(built[np.ix_(self.rows, self.columns)])


def lay_out(
    target: FloatArray,
    chip: ChipSpec,
    sensitivity: FloatArray | None,
    *,
    seed: int,
    trial: int,
    layer: str,
    array: int,
    array_number: int,
) -> Layout | None:
    """Return where the lines of one array go; ``None`` for a chip that has no spares and maps nothing anew.

    Args:
        target: (rows, columns) levels in the order of the wires. sensitivity: (rows,) mean squared inputs; None: all alike.
        seed, trial, layer, array, array_number: name the array, as for programming.
    """
    spec = chip.array
    if not spec.mends:
        return None
    rows, columns = target.shape
    shape = (rows + spec.spare_rows, columns + spec.spare_columns)
    stuck = stuck_cells(shape, chip, seed=seed, trial=trial, layer=layer, array=array, array_number=array_number)
    weights, value = chip.weights, decoding(chip.weights)
    pair = weights.encoding == "differential" and weights.difference == "analog"
    digits = value.coefficients[:, :1] if pair else value.coefficients
    outputs = (columns - chip.has_unit_column) // weights.columns_per_weight
    place_value = np.tile(digits.reshape(-1) ** 2, outputs)
    if chip.has_unit_column:  # its sum goes into every output of the array
        largest = float(weights.max_level * np.abs(digits).sum()) if weights.flip else 0.0
        place_value = np.append(place_value, outputs * max(abs(value.row_sum_factor), largest) ** 2)
    heeded = np.ones(rows) if sensitivity is None else 0.5 * (sensitivity + sensitivity.mean())
    return arrange(
        target, stuck, place_value, heeded, float(weights.max_level), width=2 if pair else 1,
        move_columns=spec.remap in ("columns", "both"), move_rows=spec.remap in ("rows", "both"),
    )  # fmt: skip


def arrange(
    target: FloatArray,
    stuck: npt.NDArray[np.int8],
    place_value: FloatArray,
    sensitivity: FloatArray,
    top: float,
    *,
    width: int,
    move_columns: bool,
    move_rows: bool,
) -> Layout:
    """Return the layout with the least error that is found.

    Args:
        target: (rows, units * width) levels. stuck: (rows and spares, columns and spares) 1 on, -1 off, 0 healthy.
        place_value: (units,) c_u^2. sensitivity: (rows,) s_i. top: level of a cell that is stuck on.
        width: columns of a unit. move_columns, move_rows: whether lines may go anywhere, or to spares alone.
    """
    problem = _Problem(target, stuck, place_value, sensitivity, top, width)
    rows, units = np.arange(problem.rows), np.arange(problem.units)
    in_order = problem.error(rows, units)
    best = (in_order, rows, units)
    if in_order > 0:
        for columns_first in (True, False):
            found = problem.search(rows, units, move_columns, move_rows, columns_first=columns_first)
            if found[0] < best[0]:
                best = found
    error, rows, units = best
    columns = (units[:, None] * width + np.arange(width)).reshape(-1)
    return Layout((stuck.shape[0], stuck.shape[1]), rows, columns, in_order, error)


class _Problem:
    """The squared errors of one array, by pattern of stuck cells within a unit."""

    def __init__(
        self, target: FloatArray, stuck: npt.NDArray[np.int8], place_value: FloatArray, sensitivity: FloatArray,
        top: float, width: int,
    ) -> None:  # fmt: skip
        self.rows, self.units = target.shape[0], target.shape[1] // width
        self.places, self.sites = len(stuck), stuck.shape[1] // width
        wanted = target.reshape(self.rows, self.units, width)
        cells = stuck[:, : self.sites * width].reshape(len(stuck), self.sites, width)
        self.patterns = [
            (_squared(wanted, states, top) * place_value * sensitivity[:, None], there)
            for states, there in _patterns(cells)
        ]

    def column_errors(self, rows: Places) -> FloatArray:
        """Return (units, sites) what each unit costs on each site."""
        found = np.zeros((self.units, self.sites))
        for squared, there in self.patterns:
            found += squared.T @ there[rows]
        return found

    def row_errors(self, units: Places) -> FloatArray:
        """Return (rows, places) what each row costs in each place."""
        found = np.zeros((self.rows, self.places))
        for squared, there in self.patterns:
            found += squared @ there[:, units].T
        return found

    def error(self, rows: Places, units: Places) -> float:
        """Return E."""
        return float(sum((squared * there[np.ix_(rows, units)]).sum() for squared, there in self.patterns))

    def search(
        self, rows: Places, units: Places, move_columns: bool, move_rows: bool, *, columns_first: bool
    ) -> tuple[float, Places, Places]:
        """Return the error, rows and units after improving both in turn."""
        error = self.error(rows, units)
        for _ in range(_ROUNDS):
            before = error
            for which in ("columns", "rows") if columns_first else ("rows", "columns"):
                if which == "columns":
                    units = _assign(self.column_errors(rows), units, anywhere=move_columns)
                else:
                    rows = _assign(self.row_errors(units), rows, anywhere=move_rows)
            error = self.error(rows, units)
            if not error < before * (1.0 - _TIE):
                break
        return error, rows, units


def _patterns(cells: npt.NDArray[np.int8]) -> Iterator[tuple[tuple[int, ...], FloatArray]]:
    """Yield each pattern of stuck cells in a unit, and (rows, sites) where it is found."""
    for states in product((0, 1, -1), repeat=cells.shape[2]):
        there = (cells == np.array(states)).all(axis=2)
        if any(states) and there.any():
            yield states, there.astype(np.float64)


def _squared(wanted: FloatArray, states: tuple[int, ...], top: float) -> FloatArray:
    """Return (rows, units) squared errors of units whose cells are in these states."""
    error = np.zeros(wanted.shape[:2])
    for number, (state, sign) in enumerate(zip(states, (1.0, -1.0), strict=False)):
        if state:
            error += sign * ((top if state > 0 else 0.0) - wanted[:, :, number])
    return error**2


def _assign(error: FloatArray, present: Places, *, anywhere: bool) -> Places:
    """Return the place of each line with the least sum of errors: any place, or its own and the spares behind the last."""
    count, places = error.shape
    if not anywhere and places == count:
        return present
    lines = np.arange(count)
    cost = error.copy()
    cost[lines, present] -= _TIE * float(error.mean())
    if not anywhere:
        allowed = np.zeros(error.shape, dtype=bool)
        allowed[lines, lines] = True
        allowed[:, count:] = True
        cost[~allowed] = np.inf
    found = np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)
    return found if error[lines, found].sum() < error[lines, present].sum() else present


def spread(target: FloatArray, layout: Layout | None) -> FloatArray:
    """Return the levels to programme on the built array; cells that are not used are written to 0."""
    return target if layout is None else layout.spread(target)


def switched(array: ProgrammedArray, layout: Layout | None, window: Window) -> ProgrammedArray:
    """Return a built array with the lines that are not used switched off."""
    if layout is None:
        return array
    variance = array.noise_variance
    return dataclasses.replace(
        array,
        levels=layout.spread(layout.gather(array.levels), window.open_level),
        noise_variance=None if variance is None else layout.spread(layout.gather(variance)),
    )


def gathered(array: ProgrammedArray, layout: Layout | None) -> ProgrammedArray:
    """Return the cells in use in the order of the matrix."""
    if layout is None:
        return array
    variance = array.noise_variance
    return dataclasses.replace(
        array,
        levels=layout.gather(array.levels),
        noise_variance=None if variance is None else layout.gather(variance),
    )
