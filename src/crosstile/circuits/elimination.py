"""Elimination of nodes without subtraction, compiled.

Between nodes a and b the coupling is c_ab >= 0 (siemens). Eliminating node k with total s_k = sum_a c_ka gives

    c_ab += f_ka c_kb,      f_ka = c_ka / s_k,

which is Kron reduction (for two neighbours: two resistors in series). Diagonals are never stored: they are the sums of
couplings, formed anew at each pivot. Every operation adds, multiplies or divides positive numbers, so that each
coupling keeps a small *relative* error, even where a 1 nS cell lies beside a 100 S wire; factorising the conductance
matrix with its diagonal loses those digits to cancellation. The idea is that of W. K. Grassmann, M. I. Taksar and
D. P. Heyman, Oper. Res. 33, 1107 (1985), 10.1287/opre.33.5.1107, for Markov chains.

A voltage inside follows from those outside by v_k = sum_a f_ka v_a (+ i_k / s_k where a current i_k is fed in), in
reverse order; a current fed in at k appears at the neighbours as f_ka i_k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

LANES: Final = 8
"""Tiles that are eliminated side by side, so that a vector instruction does one step of all."""
PANEL: Final = 32
"""Most pivots whose effect on the rest of a front is one matrix product."""
STRIP: Final = 96
"""Rows of a front that one matrix product updates: the upper triangle only, in strips."""

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile a kernel: it releases the GIL, and may contract and reorder sums (of positive numbers: harmless)."""
    fast = {"contract", "reassoc"}
    return cast(_F, numba.njit(cache=True, nogil=True, fastmath=fast, error_model="numpy")(function))


@jit
def _fused_add(
    c: Any, at: int, other: int, f0: Any, f1: Any, f2: Any, f3: Any, f4: Any, f5: Any, f6: Any, f7: Any
) -> None:
    """``c[at + lane] += f_lane * c[other + lane]``; all is read before anything is written, which lets it vectorise."""
    a0, a1, a2, a3 = c[other], c[other + 1], c[other + 2], c[other + 3]
    a4, a5, a6, a7 = c[other + 4], c[other + 5], c[other + 6], c[other + 7]
    b0, b1, b2, b3, b4, b5, b6, b7 = c[at], c[at + 1], c[at + 2], c[at + 3], c[at + 4], c[at + 5], c[at + 6], c[at + 7]
    c[at], c[at + 1], c[at + 2], c[at + 3] = b0 + f0 * a0, b1 + f1 * a1, b2 + f2 * a2, b3 + f3 * a3
    c[at + 4], c[at + 5], c[at + 6], c[at + 7] = b4 + f4 * a4, b5 + f5 * a5, b6 + f6 * a6, b7 + f7 * a7


@jit
def _inverse(total: Any) -> Any:
    """Return 1 / total; 0 for a node without any coupling, which floats and takes 0 V."""
    return 1.0 / total if total > 0.0 else 0.0 * total


@jit
def eliminate_tiles(
    low: int, high: int, g: Any, constants: Any, origin: Any, kind: Any, cell: Any, branch_slot: Any, slots_total: int,
    start: Any, slots: Any, pair_start: Any, pairs: Any, port_slots: Any, out: Any, factor: Any, inverse: Any,
) -> None:  # fmt: skip
    """Eliminate the inside of tiles of one form.

    Tiles ``low`` to ``high`` of all, counted array first, then instance; ``low`` a multiple of LANES.

    Args:
        g: (arrays, rows, columns) cells. constants: (5,) conductance of each kind of branch. Both in siemens.
        origin ... port_slots: the fields of :class:`crosstile.circuits.dissection.Program`.
        out: (arrays, instances, ports, ports); couplings between ports are written to the upper triangle.
        factor, inverse: (arrays, instances, couplings) f_ka and (arrays, instances, pivots) 1 / s_k, or empty.
    """
    instances, ports, keep = origin.shape[0], port_slots.shape[0], factor.size > 0
    c = np.empty(slots_total * LANES, dtype=g.dtype)
    array, which = np.empty(LANES, dtype=np.int64), np.empty(LANES, dtype=np.int64)
    for first in range(low, high, LANES):
        used = min(LANES, high - first)
        c[:] = 0.0
        for lane in range(LANES):
            tile = min(first + lane, high - 1)
            array[lane], which[lane] = tile // instances, tile % instances
        for e in range(kind.size):
            at = branch_slot[e] * LANES
            for lane in range(LANES):
                if kind[e] == 0:
                    corner = origin[which[lane]]
                    c[at + lane] += g[array[lane], corner[0] + cell[e, 0], corner[1] + cell[e, 1]]
                else:
                    c[at + lane] += constants[kind[e]]
        for k in range(start.size - 1):
            begin, end = start[k], start[k + 1]
            t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = 0.0 * c[0]
            for a in range(begin, end):
                at = slots[a] * LANES
                t0, t1, t2, t3 = t0 + c[at], t1 + c[at + 1], t2 + c[at + 2], t3 + c[at + 3]
                t4, t5, t6, t7 = t4 + c[at + 4], t5 + c[at + 5], t6 + c[at + 6], t7 + c[at + 7]
            t0, t1, t2, t3 = _inverse(t0), _inverse(t1), _inverse(t2), _inverse(t3)
            t4, t5, t6, t7 = _inverse(t4), _inverse(t5), _inverse(t6), _inverse(t7)
            if keep:
                totals = (t0, t1, t2, t3, t4, t5, t6, t7)
                for lane in range(used):
                    inverse[array[lane], which[lane], k] = totals[lane]
            pair = pair_start[k]
            for a in range(begin, end):
                at = slots[a] * LANES
                f0, f1, f2, f3 = c[at] * t0, c[at + 1] * t1, c[at + 2] * t2, c[at + 3] * t3
                f4, f5, f6, f7 = c[at + 4] * t4, c[at + 5] * t5, c[at + 6] * t6, c[at + 7] * t7
                if keep:
                    share = (f0, f1, f2, f3, f4, f5, f6, f7)
                    for lane in range(used):
                        factor[array[lane], which[lane], a] = share[lane]
                for b in range(a + 1, end):
                    if pairs[pair] >= 0:
                        _fused_add(c, pairs[pair] * LANES, slots[b] * LANES, f0, f1, f2, f3, f4, f5, f6, f7)
                    pair += 1
        for lane in range(used):
            target = out[array[lane], which[lane]]
            for i in range(ports):
                for j in range(i + 1, ports):
                    at = port_slots[i, j]
                    target[i, j] = c[at * LANES + lane] if at >= 0 else 0.0


@jit
def _add_child(front: Any, child: Any, place: Any) -> None:
    """Add the couplings of a child, its ports at ``place``, to the upper triangle of a front."""
    for a in range(place.size):
        at, row = place[a], child[a]
        for b in range(a + 1, place.size):
            to = place[b]
            if at < to:
                front[at, to] += row[b]
            else:
                front[to, at] += row[b]


@jit
def _reduce(front: Any, pivots: int, free_end: int, source_end: int, share: Any, inverse: Any) -> None:
    """Eliminate the first ``pivots`` nodes of a front in place.

    Nodes are ordered pivots, free ports (to free_end), sources (to source_end), grounds. Couplings among sources and
    among grounds are left alone: nobody needs them. share: (pivots, n), filled with f; inverse: (pivots,).
    """
    n = front.shape[0]
    for first in range(0, pivots, PANEL):
        last = min(first + PANEL, pivots)
        for k in range(first, last):
            row, mine = front[k], share[k]
            for p in range(first, k):
                f, other = share[p, k], front[p]
                for b in range(k + 1, n):
                    row[b] += f * other[b]
            total = 0.0 * row[0]
            for b in range(k + 1, n):
                total += row[b]
            inverse[k] = _inverse(total)
            for b in range(k + 1, n):
                mine[b] = row[b] * inverse[k]
        if last == n:
            return
        for strip in range(last, free_end, STRIP):
            end = min(strip + STRIP, free_end)
            left = np.ascontiguousarray(share[first:last, strip:end])
            right = np.ascontiguousarray(front[first:last, strip:])
            _add(front[strip:end, strip:], np.dot(left.T, right))
        if source_end > free_end and n > source_end:
            left = np.ascontiguousarray(share[first:last, free_end:source_end])
            right = np.ascontiguousarray(front[first:last, source_end:])
            _add(front[free_end:source_end, source_end:], np.dot(left.T, right))


@jit
def _add(target: Any, values: Any) -> None:
    for a in range(values.shape[0]):
        row, other = target[a], values[a]
        for b in range(values.shape[1]):
            row[b] += other[b]


@jit
def eliminate_merges(
    low: int, high: int, left: Any, right: Any, instance: Any, place_left: Any, place_right: Any, pivots: int,
    free_end: int, source_end: int, out: Any, factor: Any, inverse: Any,
) -> None:  # fmt: skip
    """Merge pairs of blocks of one form: add their couplings and eliminate the nodes between them.

    Blocks ``low`` to ``high`` of all, counted array first, then instance.

    Args:
        left, right: (arrays, instances of the child's form, ports, ports) couplings of the children.
        instance: (2, instances) which of the child's instances. place_left, place_right: places of ports in the front.
        out: (arrays, instances, ports, ports); couplings between ports are written to the upper triangle.
        factor, inverse: (arrays, instances, pivots, n) f_ka and (arrays, instances, pivots) 1 / s_k, or empty.
    """
    instances, n, keep = instance.shape[1], pivots + out.shape[2], factor.size > 0
    front, share, totals = np.empty((n, n), left.dtype), np.zeros((pivots, n), left.dtype), np.zeros(pivots, left.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        front[:] = 0.0
        _add_child(front, left[array, instance[0, which]], place_left)
        _add_child(front, right[array, instance[1, which]], place_right)
        _reduce(front, pivots, free_end, source_end, share, totals)
        out[array, which] = front[pivots:, pivots:]
        if keep:
            inverse[array, which] = totals
            for k in range(pivots):
                factor[array, which, k, k + 1 :] = share[k, k + 1 :]
