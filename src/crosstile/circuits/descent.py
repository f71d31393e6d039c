"""Damped Newton steps for crossbars of nonlinear cells: many arrays, many inputs, one shared linearisation an array.

With every cell replaced by a conductance g0 and a current in parallel, I(c) - g0 c at the present cell voltage c, the network
is linear: one solution of it gives new voltages c' and the current J' = I(c) + g0 (c' - c) that the wires bring to
each cell. Kirchhoff's laws hold for J' exactly, also for any mixture of such solutions, so all that is wrong with a
state is r = I(c) - J, cell by cell.

The state of the network is the minimum of its co-content, sum over wires of G u^2 / 2 + sum over cells of the integral
of I dv (W. Millar, Philos. Mag. 42, 1150 (1951)), which is strictly convex when I rises. Along c + alpha (c' - c) its
derivative is

    phi'(alpha) = sum (I(c + alpha dc) - J - alpha dJ) dc,      rising in alpha, and negative at 0 whatever g0 > 0:

a step that goes too far is seen by its sign and halved, without solving the network again. Hence the iteration
descends from any start.

For K inputs, g0 is midway between the least and the largest dI/dv that they have at a cell. Then |dI/dv - g0| < g0: the shared
linearisation contracts towards the solution of each input, the faster, the less the wires matter and the less the inputs
differ. For one input it is Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.circuits.cell_models import Cell, FloatArray
from crosstile.circuits.factor import Factor, branch_conductances
from crosstile.circuits.wires import Wires

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
_FIELDS: Final = ("word", "bit", "brought", "out", "converged", "residual", "step", "iterations")
_EPS: Final = float(np.finfo(np.float64).eps)
_PATIENCE: Final = 60
"""Shared steps that may lie ahead; one elimination of its own costs an input as much (128 x 128: 28 ms, 0.5 ms a step)."""
_SETTLED: Final = 1e-3
"""Steps smaller than this part of the largest voltage keep the shared linearisation."""
_HALVINGS: Final = 60


@dataclass
class Progress:
    """States of (arrays A, inputs K), and what it took."""

    word: FloatArray
    """(A, rows, columns, K) volts."""
    bit: FloatArray
    brought: FloatArray
    """(A, rows, columns, K) amperes J that the wires bring to each cell."""
    out: FloatArray
    """(A, columns, K) amperes into the grounds."""
    converged: BoolArray
    """(A, K)."""
    residual: FloatArray
    """(A, K) largest sum of |I - J| over a column, over the largest cell current."""
    step: FloatArray
    """(A, K) last change of a cell voltage over the largest that the inputs allow."""
    iterations: IntArray
    """(A, K)."""
    factorisations: int = 0

    def take(self, arrays: IntArray, inputs: IntArray) -> Progress:
        """Return a copy of chosen pairs of array and input as (pairs, ..., 1): one input each."""
        return Progress(*(getattr(self, name)[arrays, ..., inputs][..., None] for name in _FIELDS))

    def put(self, arrays: IntArray, inputs: IntArray, part: Progress) -> None:
        """Write back what :meth:`take` took."""
        for name in _FIELDS:
            getattr(self, name)[arrays, ..., inputs] = getattr(part, name)[..., 0]
        self.factorisations += part.factorisations


@dataclass
class _Law:
    """The cells of (A, rows, columns, 1) conductances, continued by tangents beyond the voltages that can occur.

    No cell of the solution has more than ``span`` (A, 1, 1, K) volts: all node voltages lie between the least and the
    largest of sources and ground. What the law does beyond changes no solution, but a step there could overflow.
    """

    cell: Cell
    g: FloatArray
    span: FloatArray

    def current(self, c: FloatArray) -> FloatArray:
        within = np.clip(c, -self.span, self.span)
        current = self.cell.current(within, self.g)
        beyond = c - within
        if beyond.any():
            current = current + self.cell.conductance(within, self.g) * beyond
        return current

    def conductance(self, c: FloatArray) -> FloatArray:
        return self.cell.conductance(np.clip(c, -self.span, self.span), self.g)


def spans(drive: FloatArray) -> FloatArray:
    """Return (A, K) the largest voltage that a cell can have, for (A, rows, K) inputs."""
    return np.asarray(np.maximum(drive.max(axis=1), 0.0) - np.minimum(drive.min(axis=1), 0.0))


def linear_start(g: FloatArray, drive: FloatArray, wires: Wires, cell: Cell) -> Progress:
    """Return the states of a linear network to start from; (A, rows, columns) cells, (A, rows, K) inputs.

    Its conductances are I / v at the largest voltage that a cell can have, but at most a hundredfold that of the best wire:
    where cells are steep, the wires take most of the voltage, and no cell starts with more current than they let through.
    """
    largest = spans(drive).max(axis=1)[:, None, None]
    small = cell.conductance(np.zeros_like(g), g)
    chords = np.divide(cell.current(largest + 0.0 * g, g), largest, out=small, where=largest > 0)
    best = float(branch_conductances(wires).max())
    start = np.ascontiguousarray(np.minimum(chords, 100.0 * best) if best > 0 else chords)
    factor = Factor.of(start, wires, keep=True)
    word, bit, _ = factor.voltages(drive, np.zeros((len(g), g.shape[2], drive.shape[2])))
    shape = len(g), drive.shape[2]
    return Progress(
        word, bit, start[..., None] * (word - bit), factor.coupling.swapaxes(1, 2) @ drive, np.zeros(shape, bool),
        np.full(shape, np.inf), np.full(shape, np.inf), np.zeros(shape, np.int64), len(g),
    )  # fmt: skip


@dataclass
class Descent:
    """The iteration for (A, rows, columns) cells and (A, rows, K) inputs, all in volts and siemens."""

    g: FloatArray
    drive: FloatArray
    wires: Wires
    cell: Cell
    tolerance: float
    state: Progress
    errors: list[FloatArray] = field(default_factory=list)
    """(A, K) of each iteration: how many times too large the larger of residual and step is."""

    def run(self, limit: int, at_once: int | None = None) -> None:
        """Iterate until every state has converged, stalled, or taken ``limit`` steps; at most ``at_once`` more steps."""
        s, arrays, columns = self.state, len(self.g), self.g.shape[2]
        law = _Law(self.cell, self.g[..., None], spans(self.drive)[:, None, None, :])
        going = ~s.converged
        current = law.current(s.word - s.bit)
        factor = g0 = None
        going &= s.iterations < limit
        while going.any() and len(self.errors) != at_once:
            c = s.word - s.bit
            if factor is None or not (s.step[going] < _SETTLED).all() or going.shape[1] == 1:
                slopes = law.conductance(c)
                g0 = np.ascontiguousarray((slopes.max(axis=3) + slopes.min(axis=3)) / 2)
                factor = Factor.of(g0, self.wires, keep=True)
                s.factorisations += arrays
            assert g0 is not None
            word, bit, reached = factor.voltages(
                self.drive, np.zeros((arrays, columns, c.shape[3])), current - g0[..., None] * c
            )
            dc = (word - bit) - c
            brought = current + g0[..., None] * dc
            out = factor.coupling.swapaxes(1, 2) @ self.drive + reached
            alpha, current = _line_search(law, c, dc, current, s.brought, brought, going)
            change = np.abs(out - s.out).max(axis=1)
            for mine, new in ((s.word, word), (s.bit, bit), (s.brought, brought), (s.out, out)):
                share = alpha.reshape(arrays, *(1,) * (mine.ndim - 2), -1)
                # (1 - alpha) old + alpha new, written so that alpha = 1 gives the new one to the last bit
                np.copyto(mine, np.where(share == 1.0, new, mine + share * (new - mine)))
            s.iterations[going] += 1
            self._judge(law, current, np.abs(dc).max(axis=(1, 2)), change, alpha, g0, going)
            going = going & ~s.converged & ~self._stalled() & (s.iterations < limit)

    def _judge(
        self, law: _Law, current: FloatArray, step: FloatArray, change: FloatArray, alpha: FloatArray, g0: FloatArray,
        going: BoolArray,
    ) -> None:  # fmt: skip
        s, span = self.state, law.span[:, 0, 0]
        largest = np.abs(current).max(axis=(1, 2))
        wrong = (
            np.abs(current - s.brought).sum(axis=1).max(axis=1)
        )  # of a column: no less than the error of its current
        # A cell's voltage is the difference of two: it is no better known than this, nor is then its current.
        rounding = 8 * _EPS * span * g0.max(axis=(1, 2))[:, None]
        alone = current.shape[3] == 1
        flow = np.maximum(np.abs(s.out).max(axis=1), np.abs(s.brought).max(axis=(1, 2)))
        with np.errstate(invalid="ignore", divide="ignore"):
            residual = np.where(wrong > 0, wrong / largest, 0.0)
            relative = np.where(step > 0, step / span, 0.0)
            # What a contraction by rho still has before it is rho / (1 - rho) times the last step.
            rho = np.clip(np.nan_to_num(relative / s.step, nan=0.0, posinf=0.99), 0.0, 0.99)
            ahead = relative * np.maximum(1.0, rho / (1 - rho))
            error = np.maximum.reduce([
                np.where(alone & (wrong <= rounding), 0.0, residual), np.maximum(ahead - 16 * _EPS, 0.0),
                np.where(change > 0, change / flow, 0.0),
            ])  # fmt: skip
        error = np.where(np.isfinite(error), error, np.inf) / self.tolerance
        if not alone:  # a linearisation that others made steep costs digits: such an input goes on by itself
            error = np.where(rounding <= self.tolerance * largest, 4 * error, np.inf)
        s.residual[going], s.step[going] = residual[going], relative[going]
        s.converged |= going & (alpha == 1.0) & (error <= 1.0)
        self.errors.append(error)

    def _stalled(self) -> BoolArray:
        """Who shares a linearisation and would need too many more steps with it."""
        past = self.errors
        if len(past) < 6 or past[-1].shape[1] == 1:
            return np.zeros(past[-1].shape, bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.log(past[-1] / past[-4]) / 3
            return np.asarray(~((rate < 0) & (np.log(past[-1]) < -rate * _PATIENCE)))


def _line_search(
    law: _Law, c: FloatArray, dc: FloatArray, current: FloatArray, old: FloatArray, new: FloatArray, going: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return alpha (A, K) of a step that lowers the co-content, and the currents behind it; 0 for who is done."""

    def slope(currents: FloatArray, alpha: FloatArray, pick: tuple[IntArray, ...]) -> FloatArray:
        a, k = pick
        mismatch = currents - (old[a, :, :, k] + alpha[:, None, None] * (new[a, :, :, k] - old[a, :, :, k]))
        return np.asarray((mismatch * dc[a, :, :, k]).sum(axis=(1, 2)))

    def at(alpha: FloatArray, pick: tuple[IntArray, ...]) -> FloatArray:
        a, k = pick
        part = _Law(law.cell, law.g[a, :, :, 0], law.span[a, :, :, k])
        return part.current(c[a, :, :, k] + alpha[:, None, None] * dc[a, :, :, k])

    whole = law.current(c + dc)
    alpha = going.astype(np.float64)
    start = np.einsum("arck,arck->ak", current - old, dc)
    end = np.einsum("arck,arck->ak", whole - new, dc)
    noise = 64 * _EPS * np.einsum("arck,arck->ak", np.abs(current) + np.abs(new), np.abs(dc))
    # The co-content falls surely where phi' is still negative at the end; or, as phi' rises, where half way it is as
    # far below 0 as it is above at the end.
    doubtful = np.nonzero(going & ~(end <= noise))
    if doubtful[0].size:
        half = np.full(doubtful[0].size, 0.5)
        middle = slope(at(half, doubtful), half, doubtful)
        bad = ~(middle + end[doubtful] <= noise[doubtful])
        pick = doubtful[0][bad], doubtful[1][bad]
        low, high = np.zeros(bad.sum()), np.ones(bad.sum())
        first = start[pick]
        for _ in range(_HALVINGS):
            unsure = (low == 0.0) | (high > 2 * low)
            if not unsure.any():
                break
            some = pick[0][unsure], pick[1][unsure]
            trial = (low[unsure] + high[unsure]) / 2
            found = slope(at(trial, some), trial, some)
            below = found <= 0
            low[unsure] = np.where(below, trial, low[unsure])
            # steep enough a fall has been used up: near enough to the minimum along this direction
            near = below & (found >= 0.5 * first[unsure])
            high[unsure] = np.where(below, np.where(near, trial, high[unsure]), trial)
        alpha[pick] = low
        if pick[0].size:
            whole[pick[0], :, :, pick[1]] = at(low, pick)
    keep = ~going
    if keep.any():
        a, k = np.nonzero(keep)
        whole[a, :, :, k] = current[a, :, :, k]
    return alpha, whole
