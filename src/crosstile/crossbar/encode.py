"""Weights to digits: quantisation, encodings, slices, and how sums are decoded again.

With integer weights w, input digits d and columns c of digits l, a layer's sum is recovered as

    sum_i x_i w_ij  =  sum_c coefficient_c  sum_i x_i l_ic  +  correction_j  sum_i x_i

Differential: w = w+ - w-, digits of each magnitude, coefficients +-B^k with B = 2^cell_bits.
Offset: digits of w + 2^(bits-1), correction -2^(bits-1).
Two's complement: digits of the lower bits-1 bits, and the sign bit in a cell of its own, coefficient -2^(bits-1).
One-bit weights are -1 and +1: with offset and two's complement w = 2 u - 1.
Flip: a column of digits l is stored as (B - 1) - l where that makes its largest sum smaller (Shafiee et al.,
ISAAC, ISCA 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.specs.parts import WeightSpec

FloatArray = npt.NDArray[np.float64]


def quantise_weights(weight: FloatArray, spec: WeightSpec) -> tuple[FloatArray, FloatArray]:
    """Quantise (outputs, rows) weights to signed integers.

    Returns:
        integers as float64 (or values in -1..1 for continuous cells), and the scale of each output, so
        that ``weight ~ integers * scale[:, None]``.
    """
    magnitude = np.abs(weight)
    if spec.bits == 1:
        scale = magnitude.mean(axis=1)
        scale = np.full_like(scale, scale.mean()) if spec.scale == "per_tensor" else scale
        return np.where(weight >= 0, 1.0, -1.0), np.where(scale > 0, scale, 1.0)
    peak = magnitude.max(axis=1)
    if spec.scale == "per_tensor":
        peak = np.full_like(peak, peak.max())
    largest = 1.0 if spec.bits is None else 2.0 ** (spec.bits - 1) - 1.0
    # Scales are float32 values, since that is what the digital rescaling multiplies with.
    scale = np.where(peak > 0, peak / largest, 1.0).astype(np.float32).astype(np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = np.clip(weight / scale[:, None], -largest, largest)
    return (scaled if spec.bits is None else np.rint(scaled)), scale


@dataclass(frozen=True)
class Decoding:
    """How column sums become outputs."""

    coefficients: FloatArray
    """(slices, polarities): factor of each column's sum."""
    row_sum_factor: float
    """Factor of the sum of the inputs (before flips)."""


def decoding(spec: WeightSpec) -> Decoding:
    """Return the decoding of an encoding; polarities is 2 for a differential pair, else 1."""
    base = 2.0 ** (spec.cell_bits or 0)
    powers: FloatArray = base ** np.arange(spec.slices, dtype=np.float64)
    if spec.encoding == "differential":
        return Decoding(np.stack([powers, -powers], axis=1), 0.0)
    assert spec.bits is not None
    if spec.bits == 1:
        return Decoding(np.array([[2.0]]), -1.0)
    if spec.encoding == "offset":
        return Decoding(powers[:, None], -(2.0 ** (spec.bits - 1)))
    powers[-1] = -(2.0 ** (spec.bits - 1))
    return Decoding(powers[:, None], 0.0)


def encode(integers: FloatArray, spec: WeightSpec) -> FloatArray:
    """Cut (rows, outputs) integer weights into digits: (rows, outputs, slices, polarities) cell levels."""
    if spec.continuous:
        return np.stack([np.maximum(integers, 0.0), np.maximum(-integers, 0.0)], axis=-1)[:, :, None, :]
    assert spec.bits is not None
    assert spec.cell_bits is not None
    values = integers.astype(np.int64)
    if spec.encoding == "differential":
        pair = np.stack([np.maximum(values, 0), np.maximum(-values, 0)], axis=-1)
        return np.stack(_digits(pair, spec.cell_bits, spec.slices), axis=2).astype(np.float64)
    if spec.bits == 1:
        return ((values + 1) // 2).astype(np.float64)[:, :, None, None]
    if spec.encoding == "offset":
        parts = _digits(values + 2 ** (spec.bits - 1), spec.cell_bits, spec.slices)
    else:
        lower = np.bitwise_and(values, 2 ** (spec.bits - 1) - 1)
        parts = [*_digits(lower, spec.cell_bits, spec.slices - 1), (values < 0).astype(np.int64)]
    return np.stack(parts, axis=2).astype(np.float64)[..., None]


def _digits(values: npt.NDArray[np.int64], cell_bits: int, count: int) -> list[npt.NDArray[np.int64]]:
    mask = 2**cell_bits - 1
    return [np.bitwise_and(values >> (cell_bits * k), mask) for k in range(count)]


def flips(levels: FloatArray, spec: WeightSpec) -> npt.NDArray[np.bool_]:
    """Return which columns of one segment (rows, outputs, slices, polarities) are stored as complements."""
    if not spec.flip:
        return np.zeros(levels.shape[1:], dtype=bool)
    return np.asarray(levels.sum(axis=0) > 0.5 * spec.max_level * levels.shape[0])
