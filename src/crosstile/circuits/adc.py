"""The converter: a sum of currents becomes an integer code.

In units of one input digit times one cell level, a sum s is read as

    code = clamp(rint(s * gain), lowest, highest),      value = code * step,      step = 1 / gain.

The gain is trimmed to 11 significant bits, so that an integer sum times the gain is exact in single precision; the
product is defined as one correctly rounded single-precision multiplication. Every implementation therefore
gives the same code, to the bit, for the same sum.

A converter whose references stand elsewhere than at k + 1/2 is the same converter with a finer step, followed by a table: the
position rint(s * gain * steps) on the grid of its reference levels, clamped to the grid's ends, has one code.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.specs.chip import ChipSpec

TRIM_BITS = 11


@dataclass(frozen=True)
class References:
    """Reference levels of a layer's converters, as the code of each position on their grid."""

    steps: int
    """Positions within one nominal step; a power of two, so that gains stay as short as they are."""
    lowest: int
    """First position."""
    codes: npt.NDArray[np.float32]
    """(column groups, positions) codes, rising along a row; groups are ordered slice, polarity."""

    @property
    def highest(self) -> int:
        """Last position."""
        return self.lowest + len(self.codes[0]) - 1

    def even(self, lowest: int, highest: int) -> npt.NDArray[np.float32]:
        """Return the code of each position for references at k + 1/2, within code limits."""
        positions = np.arange(self.lowest, self.highest + 1)
        return np.clip(np.rint(positions / self.steps), lowest, highest).astype(np.float32)

    def convert(self, sums: npt.NDArray[np.float64], gain: float, group: int) -> npt.NDArray[np.float64]:
        """Return the codes of sums that are exact in single precision; the definition above, in NumPy."""
        position = convert(sums, gain * self.steps, self.lowest, self.highest).astype(np.int64)
        return np.asarray(self.codes[group][position - self.lowest], dtype=np.float64)


@dataclass(frozen=True)
class AdcRange:
    """Code limits, the gain of each slice, and the reference levels where they are not evenly spaced."""

    lowest: int
    highest: int
    gain: tuple[float, ...]
    """Codes per unit of sum, by slice; each with at most :data:`TRIM_BITS` significant bits."""
    unit_gain: float
    """Gain of the unit column (1 where there is none)."""
    references: References | None = None
    """``None``: at k + 1/2. Unit columns always have these."""

    def convert(self, sums: npt.NDArray[np.float64], digit: int, group: int) -> npt.NDArray[np.float64]:
        """Return the codes of sums of the slice ``digit`` in the column group ``group``."""
        if self.references is not None:
            return self.references.convert(sums, self.gain[digit], group)
        return convert(sums, self.gain[digit], self.lowest, self.highest)

    def convert_unit(self, sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the codes of sums of a unit column, which has the grid of the others and even references on it."""
        if self.references is None:
            return convert(sums, self.unit_gain, self.lowest, self.highest)
        even = dataclasses.replace(self.references, codes=self.references.even(self.lowest, self.highest)[None])
        return even.convert(sums, self.unit_gain, 0)


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
    if chip.array.off_current != "converted":
        return 0.0
    return chip.cell.g_off_s * chip.weights.max_level / (chip.cell.g_on_s - chip.cell.g_off_s)


def convert(sums: npt.NDArray[np.float64], gain: float, lowest: int, highest: int) -> npt.NDArray[np.float64]:
    """Return the codes of sums that are exact in single precision; the definition above, in NumPy."""
    scaled = sums.astype(np.float32) * np.float32(gain)
    return np.asarray(np.clip(np.rint(scaled), lowest, highest), dtype=np.float64)
