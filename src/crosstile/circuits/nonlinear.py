"""Crossbars of nonlinear cells behind resistive wires: Kirchhoff's laws met to a tolerance, or an error.

    sum of wire currents into w[i,j] = I(w[i,j] - b[i,j], g_ij) = sum of wire currents out of b[i,j]

for the networks that :mod:`crosstile.circuits.wires` draws and the cells of :mod:`crosstile.circuits.cell_models`. As the
current of a cell rises with its voltage, there is exactly one solution. It is found by
:mod:`crosstile.circuits.descent`: all inputs of an array together, with one linearisation; an input to which that
does not lead fast enough, or not to enough digits, goes on alone, by Newton's method. A state is taken when the mismatches of
current at the nodes of any bit line add up to less than the tolerance times the largest cell current, and the last change of any
voltage, relative to the largest possible, and that of any output current are below the tolerance, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstile.circuits.cell_models import Cell, FloatArray
from crosstile.circuits.descent import Descent, IntArray, Progress, linear_start, spans
from crosstile.circuits.kirchhoff import check_conductance, check_inputs
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError

_SHARED_CELLS = 2**20
"""Cells times inputs that are iterated together: bounds memory, at some 150 bytes each."""
_ALONE_CELLS = 2**18
"""Cells whose eliminations are kept together: about 400 bytes each."""


@dataclass(frozen=True)
class NonlinearSolution:
    """Currents and voltages of crossbars of nonlinear cells, and how they were reached."""

    currents_a: Tensor
    """(..., K, columns) amperes into the sense amplifiers."""
    word_v: Tensor
    """(..., K, rows, columns) volts on the word line above each cell."""
    bit_v: Tensor
    """(..., K, rows, columns) volts on the bit line below each cell."""
    iterations: Tensor
    """(..., K) int64 steps taken."""
    factorisations: int
    """Eliminations of an array, over all arrays and inputs."""
    residual: Tensor
    """(..., K) mismatches of current at the nodes of a bit line, added up, over the largest cell current."""

    @property
    def cell_v(self) -> Tensor:
        """(..., K, rows, columns) volts across each cell."""
        return self.word_v - self.bit_v


def solve_nonlinear(
    g_s: Tensor, v: Tensor, wires: Wires, cell: Cell, *, tolerance: float = 1e-12, max_iterations: int = 200
) -> NonlinearSolution:
    """Return currents and voltages of crossbars of nonlinear cells.

    Args:
        g_s: (..., rows, columns) conductance of each cell at 0 V, siemens; 0 is an open cell. v: (..., K, rows) volts,
        leading dimensions as of ``g_s``, or none: the same inputs for every array. wires: resistances and topology.
        cell: the law of the current. tolerance: see above; from 1e-14 to 1e-3. max_iterations: of one input.

    An input's result depends on the other inputs by less than the tolerance, relative to the largest cell current: in 1100
    random arrays with the default by at most 2.5e-13. 128 x 128 cells with 64 inputs: see docs/circuits-nonlinear.md. No
    derivatives.

    Raises:
        UsageError: shapes or values that are not possible; a cell that is not strictly increasing over the voltages
            that the inputs allow; an input that did not reach the tolerance.
    """
    cells, inputs = check_conductance(g_s), check_inputs(v, g_s)
    if not (isinstance(tolerance, float) and 1e-14 <= tolerance <= 1e-3):
        raise UsageError(f"tolerance: a number from 1e-14 to 1e-3 is wanted, found {tolerance!r}.")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise UsageError(f"max_iterations: a whole number of at least 1 is wanted, found {max_iterations!r}.")
    mirrored = wires.topology == "same_side"  # sensed above row 0: the standard network upside down
    number = math.prod(cells.shape[:-2])
    flat = cells.detach().cpu().reshape(number, *cells.shape[-2:])
    drive = inputs.detach().cpu().reshape(number, *inputs.shape[-2:])
    if mirrored:
        flat, drive = flat.flip(-2), drive.flip(-1)
    g, volts = np.ascontiguousarray(flat.numpy()), np.ascontiguousarray(drive.numpy().swapaxes(1, 2))
    if volts.size:
        cell.check(float(spans(volts).max()))

    arrays, rows, columns, count = *g.shape, volts.shape[2]
    word, bit = np.empty((arrays, count, rows, columns)), np.empty((arrays, count, rows, columns))
    out, residual = np.empty((arrays, count, columns)), np.empty((arrays, count))
    iterations, factorisations = np.empty((arrays, count), np.int64), 0
    for some, which in _chunks(arrays, count, rows * columns):
        part_g, part_v = g[some], np.ascontiguousarray(volts[some, :, which])
        state = _ideal(part_g, part_v, cell) if wires.ideal else _solve(
            part_g, part_v, wires, cell, tolerance, max_iterations
        )  # fmt: skip
        _check_converged(state, some.start, which.start, cells.shape[:-2], tolerance, max_iterations)
        word[some, which], bit[some, which] = (np.moveaxis(x, 3, 1) for x in (state.word, state.bit))
        out[some, which], residual[some, which] = state.out.swapaxes(1, 2), state.residual
        iterations[some, which] = state.iterations
        factorisations += state.factorisations

    def shaped(values: FloatArray | IntArray, *, by_row: bool = False) -> Tensor:
        tensor = torch.from_numpy(values)
        tensor = tensor.flip(-2) if by_row and mirrored else tensor
        return tensor.reshape(*cells.shape[:-2], *values.shape[1:]).to(g_s.device)

    return NonlinearSolution(
        shaped(out), shaped(word, by_row=True), shaped(bit, by_row=True), shaped(iterations), factorisations,
        shaped(residual),
    )  # fmt: skip


def _chunks(arrays: int, inputs: int, cells: int) -> Iterator[tuple[slice, slice]]:
    together = max(1, min(inputs, _SHARED_CELLS // cells))
    side_by_side = max(1, _SHARED_CELLS // (cells * together))
    for first in range(0, arrays, side_by_side):
        for start in range(0, inputs, together):
            yield slice(first, min(first + side_by_side, arrays)), slice(start, min(start + together, inputs))


def _ideal(g: FloatArray, drive: FloatArray, cell: Cell) -> Progress:
    """Return the states of (A, rows, columns) cells between (A, rows, K) inputs and ground: the law of the cell itself."""
    word = np.repeat(drive[:, :, None, :], g.shape[2], axis=2)
    current = cell.current(word, g[..., None])
    shape = len(g), drive.shape[2]
    return Progress(
        word, np.zeros_like(word), current, current.sum(axis=1), np.ones(shape, bool), np.zeros(shape), np.zeros(shape),
        np.zeros(shape, np.int64),
    )  # fmt: skip


def _solve(g: FloatArray, drive: FloatArray, wires: Wires, cell: Cell, tolerance: float, limit: int) -> Progress:
    """Solve (A, rows, columns) cells for (A, rows, K) inputs: together first, then one by one what is left."""
    state = linear_start(g, drive, wires, cell)
    Descent(g, drive, wires, cell, tolerance, state).run(limit)
    batch = max(1, _ALONE_CELLS // (g.shape[1] * g.shape[2]))
    while (left := np.argwhere(~state.converged & (state.iterations < limit))).size:
        arrays, inputs = left[:batch].T
        alone = state.take(arrays, inputs)
        Descent(g[arrays], drive[arrays, :, inputs][..., None], wires, cell, tolerance, alone).run(limit, at_once=2)
        state.put(arrays, inputs, alone)
    return state


def _check_converged(
    state: Progress, first_array: int, first_input: int, leading: tuple[int, ...], tolerance: float, limit: int
) -> None:
    failed = np.argwhere(~state.converged)
    if not failed.size:
        return
    a, k = (int(x) for x in failed[0])
    array = tuple(int(x) for x in np.unravel_index(first_array + a, leading)) if leading else ()
    where = f"array {array}, input {first_input + k}" if array else f"input {first_input + k}"
    residual, step = float(state.residual[a, k]), float(state.step[a, k])
    if residual <= 100 * tolerance and step <= 100 * tolerance:
        hint = "rounding may stand in the way: allow a larger tolerance"
    else:
        hint = "allow more max_iterations, or lower input voltages, or take a cell whose current is less steep"
    raise UsageError(
        f"{where}: no solution within {limit} steps ({len(failed)} of the inputs solved with it have none): currents of a "
        f"column mismatch by {residual:.2g} of the largest, voltages still changed by {step:.2g} of the largest, and both must "
        f"fall to {tolerance:.2g}; {hint}."
    )
