"""What follows an elimination, compiled: voltages and currents inside a crossbar, and derivatives by its conductances.

With f and 1/s of :mod:`crosstile.circuits.elimination`, for pivots k from the last to the first:

    v_k   = sum_a f_ka v_a + i_k / s_k                           voltages (i_k: current fed in at k)
    i_a  += f_ka i_k                                             currents fed in, handed to the neighbours (first to last)
    D_ka  = sum_b f_kb D_ab - 1/2 sum_bc f_kb f_kc D_bc          derivatives

D_ab is the derivative of a scalar by the coupling between a and b. It has the form -<phi_a - phi_b, phi_a - phi_b> for
some bilinear form on node potentials, phi_k = sum_a f_ka phi_a and sum_a f_ka = 1, from which the last line follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crosstile.circuits.elimination import PANEL, jit


@jit
def back_substitute(v: Any, f: Any, pivots: int) -> None:
    """Complete v (n, K) in place: rows from ``pivots`` on are known, the others hold i_k / s_k. f: (pivots, n)."""
    n, count = v.shape
    last = pivots
    while last > 0:
        first = max(0, last - PANEL)
        if last < n:
            update = np.dot(np.ascontiguousarray(f[first:last, last:]), v[last:])
            for k in range(first, last):
                for j in range(count):
                    v[k, j] += update[k - first, j]
        for k in range(last - 1, first - 1, -1):
            row = v[k]
            for a in range(k + 1, last):
                share, other = f[k, a], v[a]
                for j in range(count):
                    row[j] += share * other[j]
        last = first


@jit
def substitute_merges(
    low: int, high: int, factor: Any, fed: Any, ports: Any, instance: Any, place_left: Any, place_right: Any,
    left: Any, right: Any,
) -> None:  # fmt: skip
    """Hand the voltages at the ports of blocks down to the ports of their children.

    Args:
        factor: (arrays, instances, pivots, n). fed: (arrays, instances, pivots, K) i_k / s_k, or empty.
        ports: (arrays, instances, ports, K) volts. left, right: the same of the children's forms, written.
    """
    instances, pivots, n = instance.shape[1], factor.shape[2], factor.shape[3]
    v = np.empty((n, ports.shape[3]), dtype=ports.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        v[pivots:] = ports[array, which]
        if fed.size:
            v[:pivots] = fed[array, which]
        else:
            v[:pivots] = 0.0
        back_substitute(v, factor[array, which], pivots)
        child = left[array, instance[0, which]]
        for a in range(place_left.size):
            child[a] = v[place_left[a]]
        child = right[array, instance[1, which]]
        for a in range(place_right.size):
            child[a] = v[place_right[a]]


@jit
def substitute_tiles(
    low: int, high: int, start: Any, neighbours: Any, factor: Any, fed: Any, ports: Any, origin: Any, port_word: Any,
    port_bit: Any, word_v: Any, bit_v: Any,
) -> None:  # fmt: skip
    """Write the voltages of all nodes of tiles, given those at their ports.

    Args:
        factor: (arrays, instances, couplings). fed: (arrays, instances, pivots, K) i_k / s_k, or empty.
        ports: (arrays, instances, ports, K). word_v, bit_v: (arrays, rows, columns, K) volts, written.
    """
    instances, pivots = origin.shape[0], start.size - 1
    count = ports.shape[3]
    v = np.empty((pivots + ports.shape[2], count), dtype=ports.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        v[pivots:] = ports[array, which]
        for k in range(pivots - 1, -1, -1):
            row = v[k]
            if fed.size:
                row[:] = fed[array, which, k]
            else:
                row[:] = 0.0
            for a in range(start[k], start[k + 1]):
                share, other = factor[array, which, a], v[neighbours[a]]
                for j in range(count):
                    row[j] += share * other[j]
        top, left = origin[which, 0], origin[which, 1]
        for r in range(port_word.shape[0]):
            for c in range(port_word.shape[1]):
                word_v[array, top + r, left + c] = v[port_word[r, c]]
                bit_v[array, top + r, left + c] = v[port_bit[r, c]]


@jit
def accumulate_tiles(
    low: int, high: int, start: Any, neighbours: Any, factor: Any, inverse: Any, injected: Any, origin: Any,
    port_word: Any, port_bit: Any, fed: Any, ports: Any,
) -> None:  # fmt: skip
    """Hand the currents fed in inside tiles to their ports.

    Args:
        factor, inverse: of the elimination. injected: (arrays, rows, columns, K) amperes taken from each word node and
        fed into the bit node below. fed: (arrays, instances, pivots, K) i_k / s_k, written. ports: (arrays, instances,
        ports, K) amperes, written.
    """
    instances, pivots = origin.shape[0], start.size - 1
    count = injected.shape[3]
    current = np.empty((pivots + ports.shape[2], count), dtype=injected.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        current[:] = 0.0
        top, left = origin[which, 0], origin[which, 1]
        for r in range(port_word.shape[0]):
            for c in range(port_word.shape[1]):
                value = injected[array, top + r, left + c]
                from_word, to_bit = current[port_word[r, c]], current[port_bit[r, c]]
                for j in range(count):
                    from_word[j] -= value[j]
                    to_bit[j] += value[j]
        for k in range(pivots):
            row = current[k]
            for a in range(start[k], start[k + 1]):
                share, other = factor[array, which, a], current[neighbours[a]]
                for j in range(count):
                    other[j] += share * row[j]
            fed[array, which, k] = row * inverse[array, which, k]
        ports[array, which] = current[pivots:]


@jit
def accumulate_merges(
    low: int, high: int, factor: Any, inverse: Any, left: Any, right: Any, instance: Any, place_left: Any,
    place_right: Any, fed: Any, ports: Any,
) -> None:  # fmt: skip
    """Add the currents that children hand up, and hand them to the ports; arrays as in :func:`accumulate_tiles`."""
    instances, pivots, n = instance.shape[1], factor.shape[2], factor.shape[3]
    current = np.empty((n, ports.shape[3]), dtype=ports.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        current[:] = 0.0
        child = left[array, instance[0, which]]
        for a in range(place_left.size):
            current[place_left[a]] += child[a]
        child = right[array, instance[1, which]]
        for a in range(place_right.size):
            current[place_right[a]] += child[a]
        f = factor[array, which]
        for first in range(0, pivots, PANEL):
            last = min(first + PANEL, pivots)
            for k in range(first, last):
                row = current[k]
                for a in range(k + 1, last):
                    share, other = f[k, a], current[a]
                    for j in range(row.size):
                        other[j] += share * row[j]
            current[last:] += np.dot(np.ascontiguousarray(f[first:last, last:]).T, current[first:last])
        for k in range(pivots):
            fed[array, which, k] = current[k] * inverse[array, which, k]
        ports[array, which] = current[pivots:]


@jit
def differentiate_merges(
    low: int,
    high: int,
    factor: Any,
    ports: Any,
    instance: Any,
    place_left: Any,
    place_right: Any,
    left: Any,
    right: Any,
) -> None:
    """Hand derivatives by the couplings between ports down to the children.

    Args:
        factor: (arrays, instances, pivots, n). ports: (arrays, instances, ports, ports) D, symmetric, zero diagonal.
        left, right: the same of the children's forms, written.
    """
    instances, pivots, n = instance.shape[1], factor.shape[2], factor.shape[3]
    rest = n - pivots
    x = np.empty((n, rest), dtype=ports.dtype)
    d = np.zeros((n, n), dtype=ports.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        outer = ports[array, which]
        d[pivots:, pivots:] = outer
        if pivots:
            x[:] = 0.0  # potentials of the pivots by those of the ports
            for a in range(rest):
                x[pivots + a, a] = 1.0
            back_substitute(x, factor[array, which], pivots)
            y = np.dot(x[:pivots], outer)
            q = np.zeros(pivots, dtype=ports.dtype)
            for k in range(pivots):
                for a in range(rest):
                    q[k] += 0.5 * x[k, a] * y[k, a]
            inner = np.dot(y, np.ascontiguousarray(x[:pivots].T))
            for k in range(pivots):
                for a in range(rest):
                    d[k, pivots + a] = d[pivots + a, k] = y[k, a] - q[k]
                for other in range(pivots):
                    d[k, other] = inner[k, other] - q[k] - q[other]
                d[k, k] = 0.0
        _pick(d, place_left, left[array, instance[0, which]])
        _pick(d, place_right, right[array, instance[1, which]])


@jit
def _pick(d: Any, place: Any, child: Any) -> None:
    for a in range(place.size):
        for b in range(place.size):
            child[a, b] = d[place[a], place[b]]


@jit
def differentiate_tiles(
    low: int, high: int, slots_total: int, start: Any, slots: Any, pair_start: Any, pairs: Any, port_slots: Any,
    factor: Any, ports: Any, origin: Any, kind: Any, cell: Any, branch_slot: Any, gradient: Any,
) -> None:  # fmt: skip
    """Write the derivative by each cell's conductance.

    Args:
        ports: (arrays, instances, ports, ports) D. gradient: (arrays, rows, columns), written.
    """
    instances = origin.shape[0]
    d = np.empty(slots_total, dtype=ports.dtype)
    for unit in range(low, high):
        array, which = unit // instances, unit % instances
        d[:] = 0.0
        outer = ports[array, which]
        for a in range(outer.shape[0]):
            for b in range(a + 1, outer.shape[0]):
                if port_slots[a, b] >= 0:
                    d[port_slots[a, b]] = outer[a, b]
        share = factor[array, which]
        for k in range(start.size - 2, -1, -1):
            begin, end = start[k], start[k + 1]
            for a in range(begin, end):
                d[slots[a]] = 0.0
            q = 0.0
            pair = pair_start[k]
            for a in range(begin, end):
                f, mine = share[a], 0.0
                for b in range(a + 1, end):
                    at = pairs[pair]
                    pair += 1
                    if at >= 0:
                        mine += share[b] * d[at]
                        d[slots[b]] += f * d[at]
                d[slots[a]] += mine
                q += f * mine
            for a in range(begin, end):
                d[slots[a]] -= q
        for e in range(kind.size):
            if kind[e] == 0:
                gradient[array, origin[which, 0] + cell[e, 0], origin[which, 1] + cell[e, 1]] = d[branch_slot[e]]
