"""Fused CPU kernels after a product: conversion with noise and shift-add, decoding, sums of squares.

See :mod:`crosstile.crossbar.kernels` for the arithmetic, which is the same.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from crosstile.crossbar.kernels import hash32, jit, look_up, mix64

_TILE: Final = 4096
"""Elements that the conversion kernels handle at once: short rows would leave vector units idle."""


@jit
def _tiled(values: Any, rows: int) -> Any:
    out = np.empty(rows * len(values), values.dtype)
    for i in range(rows):
        for c in range(len(values)):
            out[i * len(values) + c] = values[c]
    return out


@jit
def convert_sums(
    sums: Any, columns: int, gain: Any, lowest: Any, highest: Any, codes: Any, place: Any, ends: Any,
    weights: Any, totals: Any, clipped: Any,
) -> None:  # fmt: skip
    """Convert one plane of sums and shift-add: totals += weights * code.

    Args:
        sums, totals: (n * columns,) in row order.
        gain, weights: (columns,).
        codes, place, ends: as for :func:`read_tables`; place (columns,).
        clipped: (columns,) int64, counts of clipped codes, added to.
    """
    n = len(sums) // columns
    rows = max(1, _TILE // columns)
    gains, factors = _tiled(gain, rows), _tiled(weights, rows)
    clips = np.zeros(rows * columns, np.int32)
    lo = np.float32(lowest)
    hi = np.float32(highest)
    uneven = len(codes) > 0
    low_end, high_end = np.float32(ends[0]), np.float32(ends[1])
    places = _tiled(place, rows)
    for start in range(0, n, rows):
        base = start * columns
        if uneven:
            size = min(rows, n - start) * columns
            s = sums[base : base + size].astype(np.float32)
            look_up(s, gains, codes, places, low_end, high_end, 0, clips)
            for i in range(size):
                totals[base + i] += factors[i] * s[i]
            continue
        for i in range(min(rows, n - start) * columns):
            code = np.rint(np.float32(sums[base + i]) * gains[i])
            kept = min(max(code, lo), hi)
            clips[i] += np.int32(code != kept)
            totals[base + i] += factors[i] * kept
    for i in range(rows * columns):
        clipped[i % columns] += clips[i]


@jit
def convert_sums_noisy(
    sums: Any,
    columns: int,
    variance: Any,
    root_scale: Any,
    key: Any,
    first_counter: Any,
    counter_step: Any,
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
    """As :func:`convert_sums` with read noise of standard deviation sqrt(variance) * root_scale.

    Args:
        variance: (n, columns) or (n, 1) float32.
        first_counter, counter_step: uint64; vector v uses the counter ``first_counter + v * counter_step``.
    """
    n = len(sums) // columns
    rows = max(1, _TILE // columns)
    gains, factors = _tiled(gain, rows), _tiled(weights, rows)
    clips = np.zeros(rows * columns, np.int32)
    sigma = np.empty(rows * columns, np.float32)
    noise = np.empty(rows * columns, np.float32)
    hashed = np.empty(rows * columns, np.uint32)
    lo = np.float32(lowest)
    hi = np.float32(highest)
    shared = variance.shape[1] == 1
    uneven = len(codes) > 0
    low_end, high_end = np.float32(ends[0]), np.float32(ends[1])
    places = _tiled(place, rows)
    for start in range(0, n, rows):
        base = start * columns
        count = min(rows, n - start)
        for r in range(count):
            v = start + r
            state = mix64(key ^ mix64(first_counter + np.uint64(v) * counter_step))
            low = np.uint32(state & np.uint64(0xFFFFFFFF))
            high = np.uint32(state >> np.uint64(32))
            for c in range(columns):
                hashed[r * columns + c] = hash32(low, high, c)
            if shared:
                root = np.sqrt(variance[v, 0])
                for c in range(columns):
                    sigma[r * columns + c] = root * root_scale[c]
            else:
                for c in range(columns):
                    sigma[r * columns + c] = np.sqrt(variance[v, c]) * root_scale[c]
        size = count * columns
        # Table look-ups in a loop of their own: beside them the arithmetic would not be vectorised.
        for i in range(size):
            h = hashed[i]
            noise[i] = quantiles[h & np.uint32(4095)] + quantiles[(h >> np.uint32(16)) & np.uint32(4095)]
        total = totals[base : base + size]
        if uneven:
            noisy = np.empty(size, np.float32)
            for i in range(size):
                noisy[i] = np.float32(sums[base + i]) + sigma[i] * noise[i]
            look_up(noisy, gains, codes, places, low_end, high_end, 0, clips)
            for i in range(size):
                total[i] += factors[i] * noisy[i]
            continue
        s = sums[base : base + size]
        for i in range(size):
            code = np.rint((np.float32(s[i]) + sigma[i] * noise[i]) * gains[i])
            kept = min(max(code, lo), hi)
            clips[i] += np.int32(code != kept)
            total[i] += factors[i] * kept
    for i in range(rows * columns):
        clipped[i % columns] += clips[i]


@jit
def decode(totals: Any, coefficients: Any, outputs: int, corrections: Any, out: Any) -> None:
    """Join shift-added codes of slices and polarities in double precision.

    Args:
        totals: (n, columns) shift-added codes; column groups of ``outputs`` columns follow each other.
        coefficients: (groups,) float64.
        corrections: (n, outputs) float64, or of no rows when there are none.
        out: (n, outputs) float32, written.
    """
    corrected = corrections.shape[0] > 0
    line = np.empty(outputs, np.float64)
    for v in range(totals.shape[0]):
        for j in range(outputs):
            line[j] = corrections[v, j] if corrected else 0.0
        for group in range(len(coefficients)):
            factor = coefficients[group]
            first = group * outputs
            for j in range(outputs):
                line[j] += factor * np.float64(totals[v, first + j])
        for j in range(outputs):
            out[v, j] = np.float32(line[j])


@jit
def sum_squares(x: Any, first: int, last: int, largest: int, out: Any) -> None:
    """Sum of squared digits up to ``largest`` over channels: x (pixels, channels) float32, out (pixels,) float64."""
    if largest * largest * (last - first) < 2**31:  # narrow integers fill more vector lanes
        for i in range(x.shape[0]):
            small = np.int32(0)
            for c in range(first, last):
                narrow = np.int32(x[i, c])
                small += narrow * narrow
            out[i] = np.float64(small)
    else:
        for i in range(x.shape[0]):
            total = np.int64(0)
            for c in range(first, last):
                digit = np.int64(x[i, c])
                total += digit * digit
            out[i] = np.float64(total)
