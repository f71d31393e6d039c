"""Fused CPU kernels of the lossy path, compiled once by Numba and kept in its cache.

Bit-serial reads by table look-up: eight binary rows have only 256 sums, so a read of R rows is R/8 look-ups a
column instead of R multiply-adds. Sums stay in registers; rounding, clipping, noise and shift-add follow at
once, so partial sums never reach memory. All kernels release the GIL and work on a range of vectors; the
caller runs several side by side.

The arithmetic is that of :mod:`crosstile.circuits.adc` and :mod:`crosstile.crossbar.noise`, operation by
operation; contraction to fused multiply-adds and reassociation are off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

BLOCK: Final = 64
"""Columns that one pass of the look-up kernel keeps in registers."""

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile without reassociation or contraction, so that every path rounds alike."""
    compiled = numba.njit(cache=True, nogil=True, fastmath=False, boundscheck=False, error_model="numpy")(function)
    return cast(_F, compiled)


@jit
def mix64(z: Any) -> Any:
    """SplitMix64's finaliser."""
    z = np.uint64(z) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def hash32(low: Any, high: Any, column: Any) -> Any:
    """32 random bits of a column, from the two halves of a 64-bit state."""
    h = np.uint32(low + np.uint32(column) * np.uint32(0x9E3779B9))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD))
    h = np.uint32((h ^ (h >> np.uint32(15))) + high)
    h = np.uint32(h * np.uint32(0xD35A2D97))
    return np.uint32(h ^ (h >> np.uint32(15)))


@jit
def pack_planes(x: Any, rows: Any, shift: int, planes: Any, first_plane: int) -> None:
    """Gather and transpose bits into look-up indices.

    Args:
        x: (n, K) unsigned integers.
        rows: (8 G,) int64, the column of ``x`` behind each row of the read; -1 pads with zero.
        shift: bits dropped below; eight bits are taken from there on.
        planes: (n, P, G) uint8; written from ``first_plane`` on, up to 8 planes.
    """
    n, groups = x.shape[0], len(rows) // 8
    count = min(8, planes.shape[1] - first_plane)
    for v in range(n):
        for g in range(groups):
            w = np.uint64(0)
            for k in range(8):
                row = rows[8 * g + k]
                if row >= 0:
                    w |= np.uint64((x[v, row] >> shift) & 255) << np.uint64(8 * k)
            t = (w ^ (w >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
            w = w ^ t ^ (t << np.uint64(7))
            t = (w ^ (w >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
            w = w ^ t ^ (t << np.uint64(14))
            t = (w ^ (w >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
            w = w ^ t ^ (t << np.uint64(28))
            for p in range(count):
                planes[v, first_plane + p, g] = np.uint8((w >> np.uint64(8 * p)) & np.uint64(255))


@jit
def sum_rows(x: Any, rows: Any, factor: Any, out: Any) -> None:
    """Add ``factor`` times the sum of the given columns of x (n, K) to out (n,)."""
    for v in range(x.shape[0]):
        total = 0.0
        for row in rows:
            total += x[v, row]
        out[v] += factor * total


@jit
def build_tables(matrix: Any, tables: Any) -> None:
    """Sums of all 256 subsets of each 8 rows: matrix (8 G, C) -> tables (C / BLOCK, G, 256, BLOCK) float32."""
    for b in range(tables.shape[0]):
        for g in range(tables.shape[1]):
            for c in range(BLOCK):
                tables[b, g, 0, c] = np.float32(0.0)
            for k in range(8):
                for i in range(1 << k):
                    for c in range(BLOCK):
                        tables[b, g, (1 << k) + i, c] = tables[b, g, i, c] + matrix[8 * g + k, b * BLOCK + c]


@jit
def look_up(s: Any, gain: Any, codes: Any, place: Any, lo: Any, hi: Any, first: int, clips: Any) -> None:
    """Replace sums by the codes of their positions on the grid of reference levels; see :mod:`crosstile.circuits.adc`.

    Args:
        s: (n,) sums of the columns from ``first`` on, replaced.
        gain: positions per unit of sum, by column. codes: all groups of codes, one behind the other.
        place: int32, by column, where position 0 of its group stands in ``codes``.
        lo, hi: float32, first and last position. clips: (n,) counts of clipped positions, added to.
    """
    for c in range(len(s)):
        position = np.rint(s[c] * gain[first + c])
        kept = min(max(position, lo), hi)
        clips[c] += np.int32(position != kept)
        s[c] = codes[place[first + c] + np.int32(kept)]


@jit
def read_tables(
    planes: Any, tables: Any, gain: Any, lowest: Any, highest: Any, codes: Any, place: Any, ends: Any,
    weights: Any, totals: Any, clipped: Any,
) -> None:  # fmt: skip
    """Read all planes, convert and shift-add: totals (n, C) += weights[p] * code.

    Args:
        planes: (n, P, G) uint8 look-up indices.
        tables: (C / BLOCK, G, 256, BLOCK) float32.
        gain: (C,) float32; with ``codes``, positions per unit of sum.
        lowest, highest: code limits.
        codes: float32 code of each position, all groups one behind the other; empty for evenly spaced references.
        place: (C,) int32 where position 0 of a column's group stands in ``codes``.
        ends: (first, last) position.
        weights: (P, C) signed factor of each plane and column, in the type of ``totals``.
        totals: (n, C), added to.
        clipped: (C,) int64, counts of clipped codes, added to.
    """
    n, n_planes, groups = planes.shape
    s = np.empty(BLOCK, np.float32)
    clips = np.empty(BLOCK, np.int32)
    lo = np.float32(lowest)
    hi = np.float32(highest)
    uneven = len(codes) > 0
    low_end, high_end = np.float32(ends[0]), np.float32(ends[1])
    for b in range(tables.shape[0]):
        table = tables[b]
        first = b * BLOCK
        for c in range(BLOCK):
            clips[c] = 0
        for v in range(n):
            for p in range(n_planes):
                for c in range(BLOCK):
                    s[c] = np.float32(0.0)
                for g in range(groups):
                    row = table[g, planes[v, p, g]]
                    for c in range(BLOCK):
                        s[c] += row[c]
                if uneven:
                    look_up(s, gain, codes, place, low_end, high_end, first, clips)
                    for c in range(BLOCK):
                        totals[v, first + c] += weights[p, first + c] * s[c]
                    continue
                for c in range(BLOCK):
                    code = np.rint(s[c] * gain[first + c])
                    kept = min(max(code, lo), hi)
                    clips[c] += np.int32(code != kept)
                    totals[v, first + c] += weights[p, first + c] * kept
        for c in range(BLOCK):
            clipped[first + c] += clips[c]


@jit
def read_tables_noisy(
    planes: Any,
    tables: Any,
    variance_tables: Any,
    root_scale: Any,
    population: Any,
    key: Any,
    first_vector: Any,
    quantiles: Any,
    gain: Any,
    lowest: Any,
    highest: Any,
    codes: Any,
    place: Any,
    ends: Any,
    weights: Any,
    totals: Any,
    clipped: Any,
) -> None:
    """As :func:`read_tables` with read noise of standard deviation sqrt(variance) * root_scale.

    Args:
        variance_tables: as ``tables``, in grid units; of no columns when each driven cell has the same variance.
        root_scale: (C,) float32, square root of the variance of one grid unit, or of one driven cell.
        population: (256,) number of bits set, float32.
        key: uint64 of this layer, call, phase and segment.
        first_vector: uint64 number of the first vector in the whole stream.
        quantiles: see :mod:`crosstile.crossbar.noise`.
    """
    n, n_planes, groups = planes.shape
    s = np.empty(BLOCK, np.float32)
    sigma = np.empty(BLOCK, np.float32)
    noise = np.empty(BLOCK, np.float32)
    hashed = np.empty(BLOCK, np.uint32)
    clips = np.empty(BLOCK, np.int32)
    lo = np.float32(lowest)
    hi = np.float32(highest)
    by_state = variance_tables.shape[0] > 0
    uneven = len(codes) > 0
    low_end, high_end = np.float32(ends[0]), np.float32(ends[1])
    for b in range(tables.shape[0]):
        table = tables[b]
        first = b * BLOCK
        for c in range(BLOCK):
            clips[c] = 0
        for v in range(n):
            for p in range(n_planes):
                counter = mix64((first_vector + np.uint64(v)) * np.uint64(n_planes) + np.uint64(p))
                state = mix64(key ^ counter)
                low = np.uint32(state & np.uint64(0xFFFFFFFF))
                high = np.uint32(state >> np.uint64(32))
                for c in range(BLOCK):
                    s[c] = np.float32(0.0)
                    sigma[c] = np.float32(0.0)
                    hashed[c] = hash32(low, high, first + c)
                for g in range(groups):
                    row = table[g, planes[v, p, g]]
                    for c in range(BLOCK):
                        s[c] += row[c]
                if by_state:
                    for g in range(groups):
                        row = variance_tables[b, g, planes[v, p, g]]
                        for c in range(BLOCK):
                            sigma[c] += row[c]
                    for c in range(BLOCK):
                        sigma[c] = np.sqrt(sigma[c]) * root_scale[first + c]
                else:
                    driven = np.float32(0.0)
                    for g in range(groups):
                        driven += population[planes[v, p, g]]
                    root = np.sqrt(driven)
                    for c in range(BLOCK):
                        sigma[c] = root * root_scale[first + c]
                for c in range(BLOCK):
                    h = hashed[c]
                    noise[c] = quantiles[h & np.uint32(4095)] + quantiles[(h >> np.uint32(16)) & np.uint32(4095)]
                if uneven:
                    for c in range(BLOCK):
                        s[c] = s[c] + sigma[c] * noise[c]
                    look_up(s, gain, codes, place, low_end, high_end, first, clips)
                    for c in range(BLOCK):
                        totals[v, first + c] += weights[p, first + c] * s[c]
                    continue
                for c in range(BLOCK):
                    code = np.rint((s[c] + sigma[c] * noise[c]) * gain[first + c])
                    kept = min(max(code, lo), hi)
                    clips[c] += np.int32(code != kept)
                    totals[v, first + c] += weights[p, first + c] * kept
        for c in range(BLOCK):
            clipped[first + c] += clips[c]
