"""Which kernels can be read in the same cycle: contests for columns, and schedules that avoid them.

The current of a column can flow into one summing line at a time. Two kernels contest when both want the same column, and cannot
share a cycle; and no more kernels share one than there are summing lines. A schedule is a colouring of the contest graph with
bounded colour classes. No schedule of K kernels on L lines is shorter than

    max( ceil(K / L),  largest number of kernels that want one column ).

Kernels that want no column need no cycle at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosstile.errors import SpecError

Bool = NDArray[np.bool_]
_EXACT_LIMIT = 20


@dataclass(frozen=True)
class Cycles:
    """A schedule: which kernels are read in which cycle."""

    groups: tuple[tuple[int, ...], ...]
    """Kernels of each cycle."""
    bound: int
    """No schedule has fewer cycles."""

    @property
    def count(self) -> int:
        """Cycles."""
        return len(self.groups)


def lower_bound(wanted: Bool, lines: int) -> int:
    """Return the fewest cycles that ``wanted`` (kernels, columns) can take on ``lines`` summing lines."""
    active = int(wanted.any(axis=1).sum())
    return max(math.ceil(active / lines), int(wanted.sum(axis=0).max(initial=0)))


def contest_graph(wanted: Bool) -> Bool:
    """Return (kernels, kernels): True where two different kernels want a common column."""
    counts = wanted.astype(np.int32)
    graph = (counts @ counts.T) > 0
    np.fill_diagonal(graph, False)
    return np.asarray(graph)


def _check(wanted: Bool, lines: int) -> None:
    if wanted.ndim != 2 or wanted.dtype != np.bool_:
        raise SpecError(
            f"basis: supports are a boolean matrix of kernels x columns, found {wanted.dtype} {wanted.shape}."
        )
    if lines < 1:
        raise SpecError(f"basis: an array needs at least one summing line, found {lines}.")


def schedule_greedy(wanted: Bool, lines: int) -> Cycles:
    """Return a schedule for ``wanted`` (kernels, columns): each kernel, the widest first, in the fullest cycle that has room.

    Of the cycles without contest and with a free line the one with the most columns taken is chosen, so that wide gaps stay open.
    """
    _check(wanted, lines)
    words = -(-wanted.shape[1] // 64)
    packed = np.zeros((len(wanted), words * 8), dtype=np.uint8)
    bits = np.packbits(wanted, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    masks = packed.view(np.uint64)
    width = wanted.sum(axis=1)
    order = np.argsort(-width, kind="stable")
    taken = np.zeros((64, words), dtype=np.uint64)
    filled, members = np.zeros(64, dtype=np.int64), np.zeros(64, dtype=np.int64)
    groups: list[list[int]] = []
    for kernel in order:
        if not width[kernel]:
            break
        open_ = len(groups)
        free = ~(taken[:open_] & masks[kernel]).any(axis=1) & (members[:open_] < lines)
        if free.any():
            place = int(np.where(free, filled[:open_], -1).argmax())
        else:
            place = open_
            groups.append([])
            if place == len(taken):
                taken = np.concatenate([taken, np.zeros_like(taken)])
                filled, members = np.concatenate([filled, 0 * filled]), np.concatenate([members, 0 * members])
        groups[place].append(int(kernel))
        taken[place] |= masks[kernel]
        filled[place] += width[kernel]
        members[place] += 1
    return Cycles(tuple(tuple(sorted(group)) for group in groups), lower_bound(wanted, lines))


def schedule_exact(wanted: Bool, lines: int) -> Cycles:
    """Return a schedule with the fewest cycles, by branch and bound; for up to 20 kernels.

    Kernels are placed in turn, the most contested first, into each cycle without contest or into one new cycle. Branches that
    cannot beat the best schedule so far are cut, and the search ends where the lower bound is met.
    """
    _check(wanted, lines)
    best = schedule_greedy(wanted, lines)
    kernels = [int(k) for k in np.flatnonzero(wanted.any(axis=1))]
    if len(kernels) > _EXACT_LIMIT:
        raise SpecError(
            f"basis: the exact schedule is for up to {_EXACT_LIMIT} kernels, found {len(kernels)}; use the greedy one."
        )
    degree = contest_graph(wanted).sum(axis=1)
    kernels.sort(key=lambda k: (-int(degree[k]), k))
    masks = {k: int(sum(1 << int(c) for c in np.flatnonzero(wanted[k]))) for k in kernels}
    found: list[list[int]] | None = None
    least = best.count
    groups: list[list[int]] = []
    taken: list[int] = []

    def place(index: int) -> None:
        nonlocal found, least
        if len(groups) >= least or least == best.bound:
            return
        if index == len(kernels):
            found, least = [list(group) for group in groups], len(groups)
            return
        kernel = kernels[index]
        for number in range(len(groups)):
            if len(groups[number]) < lines and not taken[number] & masks[kernel]:
                groups[number].append(kernel)
                taken[number] |= masks[kernel]
                place(index + 1)
                groups[number].pop()
                taken[number] &= ~masks[kernel]
        if len(groups) + 1 < least:
            groups.append([kernel])
            taken.append(masks[kernel])
            place(index + 1)
            groups.pop()
            taken.pop()

    place(0)
    chosen = best.groups if found is None else tuple(tuple(sorted(group)) for group in found)
    return Cycles(chosen, best.bound)


def check_cycles(wanted: Bool, lines: int, cycles: Cycles) -> None:
    """Raise :class:`SpecError` unless every kernel that wants columns is read once, and no cycle has a contest or too many."""
    served = sorted(kernel for group in cycles.groups for kernel in group)
    if served != [int(k) for k in np.flatnonzero(wanted.any(axis=1))]:
        raise SpecError("basis: the schedule does not read each kernel exactly once.")
    for number, group in enumerate(cycles.groups):
        if len(group) > lines or wanted[list(group)].sum(axis=0).max(initial=0) > 1:
            raise SpecError(f"basis: cycle {number} of the schedule has a contest or more than {lines} kernels.")


def bit_supports(codes: NDArray[np.int8], bit: int) -> Bool:
    """Return which columns each kernel switches on for one bit of its coefficients: the same shape as ``codes``."""
    return np.asarray((np.abs(codes.astype(np.int16)) >> bit) & 1 == 1)
