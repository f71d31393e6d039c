"""From a sum to a code: a compressive stage, reference levels, and what bends them back.

In units of the converter's range a sum s is v = s / R; the stage in front makes of it

    f(v) = v (1 - a v^2),

up to the end of its swing, where the slope vanishes. The code is the number of reference levels t_k that f(v) reaches.
Behind a fused ReLU the levels are t_k = (k - 1/2) / 2^b for k = 1 ... 2^b - 1: no level is spent on negative sums, which gain
one bit of resolution. A signed conversion has t_k = (k - 1/2) / 2^(b-1) for k = 1 - 2^(b-1) ... 2^(b-1) - 1.

Compensation moves the levels: ``polynomial`` to f_0(t_k), with the a that the design expects; ``lut`` to f(t_k), with the a of
this very output, rounded to the resolution of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from crosstile.crossbar.kernels import hash32, mix64
from crosstile.crossbar.program import generator
from crosstile.macros.spec import ChargeDomainSpec

FloatArray = npt.NDArray[np.float64]


def end_of_swing(a: FloatArray | float) -> Any:
    """Return the v at which the slope of f vanishes; infinite for a = 0."""
    with np.errstate(divide="ignore"):
        return 1.0 / np.sqrt(3.0 * np.asarray(a, dtype=np.float64))


def compress(v: FloatArray, a: FloatArray | float) -> FloatArray:
    """Return f(v), constant beyond the end of the swing."""
    end = end_of_swing(a)
    inside = np.clip(v, -end, end)
    return np.asarray(inside * (1.0 - np.asarray(a) * inside**2))


def expand(y: FloatArray, a: FloatArray | float) -> FloatArray:
    """Return the v with f(v) = y; infinite beyond what f reaches.

    The middle root of a v^3 - v + y = 0: v = 2 e sin(arcsin(3 y / (2 e)) / 3), with e the end of the swing.
    """
    a_array, y_array = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(y, dtype=np.float64))
    end = end_of_swing(np.where(a_array > 0, a_array, 1.0))
    ratio = 1.5 * y_array / end
    root = 2.0 * end * np.sin(np.arcsin(np.clip(ratio, -1.0, 1.0)) / 3.0)
    root = np.where(np.abs(ratio) > 1.0, np.copysign(np.inf, y_array), root)
    return np.asarray(np.where(a_array > 0, root, y_array))


@dataclass(frozen=True)
class Converter:
    """The converters of a macro's outputs, in units of their range."""

    a: FloatArray
    """(M,) compression of each output."""
    positive: FloatArray
    """(M, codes - 1) ascending levels behind a fused ReLU (and of a bit-serial macro's counts); the lowest code is 0."""
    signed: FloatArray
    """(M, codes - 1) ascending levels of a signed conversion; the lowest code is -codes / 2."""

    @cached_property
    def tables(self) -> tuple[tuple[npt.NDArray[np.int32], float, float], tuple[npt.NDArray[np.int32], float, float]]:
        """Look-up tables of the positive and of the signed levels."""
        return first_codes(self.positive), first_codes(self.signed)

    @property
    def codes(self) -> int:
        """Number of codes."""
        return int(self.positive.shape[1] + 1)


def build_converter(spec: ChargeDomainSpec, *, seed: int, trial: int) -> Converter:
    """Return the converters of macro number ``trial``."""
    converter, codes = spec.converter, 2**spec.converter.bits
    a = np.full(spec.outputs, converter.compression)
    if converter.compression > 0 and converter.compression_spread > 0:
        rng = generator(seed, trial, "macro", "compression")
        # Below a third, f still rises up to the end of the range.
        a = np.clip(a * (1.0 + converter.compression_spread * rng.standard_normal(a.size)), 0.0, 0.33)
    straight = (np.arange(1, codes) - 0.5) / codes
    both = (np.arange(1 - codes // 2, codes // 2) - 0.5) / (codes // 2)
    return Converter(a, *(_bent(levels, a, spec, span) for levels, span in ((straight, 1.0), (both, 2.0))))


def _bent(straight: FloatArray, a: FloatArray, spec: ChargeDomainSpec, span: float) -> FloatArray:
    converter = spec.converter
    if converter.compensation == "polynomial":
        straight = compress(straight, converter.compression)
    levels: FloatArray = np.tile(straight, (a.size, 1))
    if converter.compensation == "lut":
        step = span / 2**converter.reference_bits
        levels = np.rint(compress(levels, a[:, None]) / step) * step
    return levels


def first_codes(levels: FloatArray) -> tuple[npt.NDArray[np.int32], float, float]:
    """Return (M, cells) how many levels lie at or below the start of each cell of a fine grid, its origin, cells per unit.

    A code is then found by a look-up and very few comparisons.
    """
    low, high = float(levels.min()), float(levels.max())
    per_unit = 4.0 * levels.shape[1] / max(high - low, 1e-9)
    cells = 4 * levels.shape[1] + 2
    edges = low + np.arange(cells) / per_unit
    table = [np.searchsorted(row, edges - 1e-9, side="right") for row in levels]
    return np.asarray(table, dtype=np.int32), low, per_unit


@numba.njit(cache=True, nogil=True, fastmath=False, boundscheck=False, error_model="numpy")
def convert(
    sums: Any, offset: Any, scale: Any, thermal: Any, own: Any, keys: Any, first_vector: Any, quantiles: Any, a: Any,
    end: Any, levels: Any, table: Any, origin: Any, per_unit: Any, lowest: Any, factor: Any, totals: Any, counts: Any,
) -> None:  # fmt: skip
    """Convert sums and add the codes, times a factor, to the totals.

    Args:
        sums: (n, columns) float32. offset: (columns,) added to each, in the same units.
        scale: one over the range. thermal, own: standard deviations of the noise before and after the stage, in units of
            the range. keys: two uint64 that name their draws; vector v uses the counter ``first_vector + v``.
        quantiles: of :mod:`crosstile.crossbar.noise`.
        a, end: (columns,) compression and end of the swing. levels: (M, codes - 1) ascending; column c uses row c modulo M.
        table, origin, per_unit: of :func:`first_codes`.
        lowest: code below the first level. factor: what a code counts for.
        totals: (n, columns) float64, added to.
        counts: (2,) int64: negative results and codes at either end of the range, added to.
    """
    n, columns = sums.shape
    outputs, last = levels.shape
    mask, sixteen, half = np.uint32(4095), np.uint32(16), np.uint64(0xFFFFFFFF)
    bottom = 0 if lowest < 0 else -1
    negative = ends = 0
    value = np.empty(columns, np.float64)
    hashed = np.empty(columns, np.uint32)
    cells = float(table.shape[1] - 1)
    for v in range(n):
        counter = mix64(first_vector + np.uint64(v))
        for c in range(columns):
            value[c] = (np.float64(sums[v, c]) + offset[c]) * scale
        if thermal > 0.0:
            state = mix64(keys[0] ^ counter)
            low, high = np.uint32(state & half), np.uint32(state >> np.uint64(32))
            for c in range(columns):
                hashed[c] = hash32(low, high, c)
            for c in range(columns):
                h = hashed[c]
                value[c] += thermal * (quantiles[h & mask] + quantiles[(h >> sixteen) & mask])
        for c in range(columns):
            x = min(max(value[c], -end[c]), end[c])
            value[c] = x * (1.0 - a[c] * x * x)
        if own > 0.0:
            state = mix64(keys[1] ^ counter)
            low, high = np.uint32(state & half), np.uint32(state >> np.uint64(32))
            for c in range(columns):
                hashed[c] = hash32(low, high, c)
            for c in range(columns):
                h = hashed[c]
                value[c] += own * (quantiles[h & mask] + quantiles[(h >> sixteen) & mask])
        m = 0
        for c in range(columns):
            y = value[c]
            code = table[m, int(min(max((y - origin) * per_unit, 0.0), cells))]
            while code < last and y >= levels[m, code]:
                code += 1
            while code > 0 and y < levels[m, code - 1]:
                code -= 1
            negative += y < 0.0
            ends += (code == last) | (code == bottom)
            totals[v, c] += factor * (lowest + code)
            m = m + 1 if m + 1 < outputs else 0
    counts[0] += negative
    counts[1] += ends
