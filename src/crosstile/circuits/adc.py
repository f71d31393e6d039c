"""The converter: a sum of currents becomes an integer code.

In units of one input digit times one cell level, a sum s is read as

    code = clamp(rint(s * gain), lowest, highest),      value = code * step,      step = 1 / gain.

The gain is trimmed to 11 significant bits, so that an integer sum times the gain is exact in single precision; the
product is defined as one correctly rounded single-precision multiplication. Every implementation therefore
gives the same code, to the bit, for the same sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.specs.chip import ChipSpec

TRIM_BITS = 11


@dataclass(frozen=True)
class AdcRange:
    """Code limits, and the gain of each slice."""

    lowest: int
    highest: int
    gain: tuple[float, ...]
    """Codes per unit of sum, by slice; each with at most :data:`TRIM_BITS` significant bits."""
    unit_gain: float
    """Gain of the unit column (1 where there is none)."""


def code_limits(bits: int, signed: bool) -> tuple[int, int]:
    """Return (lowest, highest) code: two's complement for signed sums."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def trim(gain: float) -> float:
    """Round a gain to :data:`TRIM_BITS` significant bits, downwards (a range never shrinks)."""
    mantissa, exponent = math.frexp(gain)
    return math.ldexp(math.floor(mantissa * 2**TRIM_BITS) / 2**TRIM_BITS, exponent)


def _gain(span: float, highest: int, finest_step: float) -> float:
    step = max(span / max(highest, 1), finest_step)
    return trim(1.0 / step) if step > 0 else 1.0


def make_range(chip: ChipSpec, spans: npt.NDArray[np.float64] | None, level: float = 1.0) -> AdcRange | None:
    """Return the range of a layer's converters, or ``None`` for ideal converters.

    Args:
        chip: the chip.
        spans: magnitude that must not clip, by slice, from calibration; used when the range is ``calibrated``.
        level: mean share of a cell's conductance that its wires let act, 1 without wires.

    A converter never resolves finer than one level of a discrete cell: an integer sum that fits is read
    without error. Where outputs are rescaled for what wires take away, a level counts as what is left of it.
    """
    if chip.adc.bits is None:
        return None
    lowest, highest = code_limits(chip.adc.bits, chip.signed_sums)
    slices = chip.weights.slices
    unit_span = float(chip.array.rows_per_read * chip.max_digit) * (1.0 + _off_levels(chip))
    unit_gain = _gain(unit_span, highest, 1.0)
    finest = 0.0 if chip.weights.continuous else level
    if chip.adc.range == "lossless":
        gains = [1.0] * slices
    elif chip.adc.range == "full_scale":
        span = chip.max_sum + chip.array.rows_per_read * chip.max_digit * _off_levels(chip)
        gains = [_gain(span, highest, finest)] * slices
    else:
        if spans is None:
            raise ValueError("a calibrated range needs the spans of the calibration sums")
        per_slice = np.full(slices, spans.max()) if chip.adc.per == "layer" else spans
        gains = [_gain(float(span), highest, finest) for span in per_slice]
    return AdcRange(lowest, highest, tuple(gains), unit_gain)


def _off_levels(chip: ChipSpec) -> float:
    """g_off in units of one level, where its current reaches the converter."""
    if chip.array.off_current == "cancelled":
        return 0.0
    return chip.cell.g_off_s * chip.weights.max_level / (chip.cell.g_on_s - chip.cell.g_off_s)


def convert(sums: npt.NDArray[np.float64], gain: float, lowest: int, highest: int) -> npt.NDArray[np.float64]:
    """Return the codes of sums that are exact in single precision; the definition above, in NumPy."""
    scaled = sums.astype(np.float32) * np.float32(gain)
    return np.asarray(np.clip(np.rint(scaled), lowest, highest), dtype=np.float64)
