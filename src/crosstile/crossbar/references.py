"""Reference levels of converters, placed by what calibration inputs show on the programmed arrays.

An array of ideal cells without wires would give a sum with the code k. What the real array gives instead has, over all columns of
a group and all calibration reads, the mean m_k and the standard deviation s_k, in nominal steps:

    calibrated    m_k ~ a + b k by least squares;       code = rint((S - a) / b)
    midpoint      the reference between k and k + 1 is (m_k + m_{k+1}) / 2
    likelihood    it is where, of as many sums of k as of k + 1, the fewest fall on the wrong side, between the two means
    frequency     the same with each code as often as it came: the fewest wrong codes, for such inputs

The last two count sums; sums of crossbars are not normal, that of code 0 least of all. Codes that were seldom seen lean on the
line, as if it had been seen :data:`PRIOR` times with the scatter of its neighbours; the means are then made monotone
(isotonic regression), so that the references are. A converter gives codes of the ideal sum in all of these, which is why no
further gain is needed. References stand on a grid of ``reference_steps`` positions a nominal step: that is the resolution at
which they can be set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.circuits.adc import AdcRange, References, convert
from crosstile.crossbar.matrix import PackMatrix
from crosstile.specs.chip import ChipSpec
from crosstile.specs.parts import AdcSpec

FloatArray = npt.NDArray[np.float64]

PRIOR: Final = 8.0
_MOST_PAIRS: Final = 1_000_000
_REACH: Final = 4
"""Nominal steps on either side of the line in which sums are counted; those beyond count at the end."""


@dataclass(frozen=True)
class Sums:
    """Sums of one segment, over reads."""

    wanted: npt.NDArray[np.int64]
    """(reads, columns) codes of the sums that ideal arrays give."""
    seen: FloatArray
    """(reads, columns) sums of the programmed array in nominal steps."""
    variance: FloatArray | None
    """(reads, columns) variance of a read by noise, in squared steps."""
    group: npt.NDArray[np.int64]
    """(columns,) column group: slice and polarity."""


def read_digits(
    vectors: npt.NDArray[np.int32], chip: ChipSpec, *, signed: bool, magnitude_bits: int
) -> npt.NDArray[np.float32]:
    """Return (reads, entries) digits that word lines are driven with: all phases and planes of (n, entries) integer inputs."""
    two_phase = signed and chip.inputs.signed == "two_phase"
    phases = [np.maximum(vectors, 0), np.maximum(-vectors, 0)] if two_phase else [vectors]
    step = chip.inputs.dac_bits
    digits = []
    for part in phases:
        magnitude, sign = np.abs(part).astype(np.int64), np.sign(part)
        digits += [((magnitude >> shift) & (2**step - 1)) * sign for shift in range(0, magnitude_bits, step)]
    return np.concatenate(digits).astype(np.float32)


def segment_sums(
    actual: Sequence[PackMatrix],
    ideal: Sequence[PackMatrix],
    driven: Sequence[npt.NDArray[np.float32]],
    adc: AdcRange,
    *,
    most: int = _MOST_PAIRS,
) -> Iterator[Sums]:
    """Yield the sums of each segment of a layer.

    Args:
        actual, ideal: the layer's packs as programmed, and on ideal cells without wires.
        driven: (reads, pack rows) digits of each pack.
        adc: the nominal range; codes of ideal sums are its codes.
        most: sums of a layer at most; reads are taken at even distances.
    """
    total = sum(len(d) * len(p.segments) * p.columns for p, d in zip(actual, driven, strict=True))
    stride = max(1, -(-total // most))
    for pack, model, digits in zip(actual, ideal, driven, strict=True):
        group = np.arange(len(pack.column_slice)).repeat(pack.outputs)
        gain = np.asarray(adc.gain)[pack.column_slice].repeat(pack.outputs)
        for number, (segment, plain) in enumerate(zip(pack.segments, model.segments, strict=True)):
            part = digits[number % stride :: stride][:, segment.rows]
            ideal_sums = part @ plain.levels[:, : pack.columns].astype(np.float32)
            wanted = np.clip(np.rint(ideal_sums * gain.astype(np.float32)), adc.lowest, adc.highest).astype(np.int64)
            seen = part.astype(np.float64) @ segment.levels[:, : pack.columns] * gain
            variance = None
            if segment.variance is not None:
                variance = np.square(part) @ segment.variance[:, : pack.columns] * gain**2
            yield Sums(wanted, seen, variance, group)


@dataclass
class CodeMoments:
    """How sums of each code scatter, by column group; (groups, codes), in nominal steps."""

    count: FloatArray
    mean: FloatArray
    variance: FloatArray
    """Over columns and reads, read noise included."""
    noise: FloatArray
    """The part of it that is read noise."""

    @classmethod
    def of(cls, sums: Iterable[Sums], groups: int, adc: AdcRange) -> CodeMoments:
        """Collect them."""
        codes = adc.highest - adc.lowest + 1
        shape, bins = (groups, codes), groups * codes
        count, first, second, noise = (np.zeros(bins) for _ in range(4))
        for part in sums:
            index = (part.group * codes + (part.wanted - adc.lowest)).ravel()
            off = (part.seen - part.wanted).ravel()  # deviations, so that squares do not cancel
            count += np.bincount(index, minlength=bins)
            first += np.bincount(index, off, bins)
            second += np.bincount(index, off**2, bins)
            if part.variance is not None:
                noise += np.bincount(index, part.variance.ravel(), bins)
        safe = np.maximum(count, 1.0)
        mean = first / safe
        noise = (noise / safe).reshape(shape)
        variance = np.maximum(second / safe - mean**2, 0.0).reshape(shape) + noise
        nominal = np.arange(adc.lowest, adc.highest + 1)
        return cls(count.reshape(shape), mean.reshape(shape) + nominal, variance, noise)


@dataclass(frozen=True)
class CodeLevels:
    """Mean and spread of the sums of each code of one group, completed where data are thin."""

    mean: FloatArray
    """(codes,) rising."""
    sigma: FloatArray
    """(codes,)."""
    offset: float
    """a of the line a + b k through the means."""
    gain: float
    """b."""


def code_levels(count: FloatArray, mean: FloatArray, variance: FloatArray, nominal: FloatArray) -> CodeLevels:
    """Complete (codes,) moments of one group; ``nominal`` are the codes themselves."""
    from scipy.optimize import isotonic_regression

    offset, gain = _line(count, nominal, mean)
    if gain <= 0:  # codes that all look alike: nothing but their common offset is known
        offset, gain = (float(np.average(mean - nominal, weights=count)) if count.any() else 0.0), 1.0
    line = offset + gain * nominal
    shrunk = (count * mean + PRIOR * line) / (count + PRIOR)
    rising = isotonic_regression(shrunk, weights=count + PRIOR).x
    spread_offset, spread_gain = _line(count, nominal, variance)
    spread = np.maximum(spread_offset + spread_gain * nominal, 0.0)
    pooled = float(np.average(variance, weights=count)) if count.any() else 0.0
    spread = np.where(spread > 0, spread, pooled)
    sigma = np.sqrt((count * variance + PRIOR * spread) / (count + PRIOR))
    return CodeLevels(np.asarray(rising), sigma, offset, gain)


def _line(weight: FloatArray, x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return a and b of the weighted least-squares line y = a + b x; b = 0 where x does not vary."""
    total = float(weight.sum())
    if total == 0:
        return 0.0, 0.0
    mean_x, mean_y = float(weight @ x) / total, float(weight @ y) / total
    power = float(weight @ (x - mean_x) ** 2)
    slope = float(weight @ ((x - mean_x) * (y - mean_y))) / power if power > 0 else 0.0
    return mean_y - slope * mean_x, slope


def count_positions(sums: Iterable[Sums], levels: Sequence[CodeLevels], adc: AdcRange, steps: int) -> FloatArray:
    """Return (groups, codes, bins) how many sums of each code lie at which position around the line of its group."""
    codes, reach = adc.highest - adc.lowest + 1, _REACH * steps
    origin = np.stack([_origin(level, codes, adc.lowest, steps) for level in levels])
    counts = np.zeros(len(levels) * codes * (2 * reach + 1))
    for part in sums:
        code = part.wanted - adc.lowest
        bins = np.clip(np.rint(part.seen * steps).astype(np.int64) - origin[part.group, code], 0, 2 * reach)
        index = (part.group * codes + code) * (2 * reach + 1) + bins
        counts += np.bincount(index.ravel(), minlength=counts.size)
    return counts.reshape(len(levels), codes, -1)


def _origin(level: CodeLevels, codes: int, lowest: int, steps: int) -> npt.NDArray[np.int64]:
    """Return the position of the first bin of each code."""
    line = level.offset + level.gain * (lowest + np.arange(codes))
    return np.asarray(np.rint(line * steps) - _REACH * steps, dtype=np.int64)


def thresholds(
    level: CodeLevels, counts: FloatArray, noise: FloatArray, lowest: int, steps: int, *, by_frequency: bool
) -> npt.NDArray[np.int64]:
    """Return (codes - 1,) positions from which on a sum counts as the next code, for one group.

    Args:
        level: moments of the group. counts: (codes, bins) from :func:`count_positions`. noise: (codes,) variance of reads,
        in squared steps. lowest: first code. by_frequency: weight codes with how often they came.
    """
    from scipy.special import ndtr

    codes, bins = counts.shape
    origin = _origin(level, codes, lowest, steps)
    often = counts.sum(axis=1) + 1.0
    edges = (origin[:, None] + np.arange(-1, bins) + 0.5) / steps
    prior = np.diff(ndtr((edges - level.mean[:, None]) / np.maximum(level.sigma[:, None], 1e-9)), axis=1)
    blurred = np.stack([_blur(row, np.sqrt(v) * steps) for row, v in zip(counts, noise, strict=True)])
    mixed = blurred + PRIOR * prior
    below = np.cumsum(mixed, axis=1) / mixed.sum(axis=1, keepdims=True)  # share at or below each bin
    found = np.empty(codes - 1, dtype=np.int64)
    for k in range(codes - 1):
        first, last = int(np.ceil(level.mean[k] * steps)), int(np.floor(level.mean[k + 1] * steps))
        if last <= first:
            found[k] = round(0.5 * (level.mean[k] + level.mean[k + 1]) * steps)
            continue
        at = np.arange(first + 1, last + 1)
        weight = (often[k], often[k + 1]) if by_frequency else (1.0, 1.0)
        wrong = weight[0] * (1 - _at(below[k], at - 1 - origin[k])) + weight[1] * _at(
            below[k + 1], at - 1 - origin[k + 1]
        )
        best = np.flatnonzero(wrong <= wrong.min() + 1e-9 * sum(weight))
        found[k] = at[best[(len(best) - 1) // 2]]  # codes that are well apart have many best places: the middle one
    return found


def _at(below: FloatArray, index: npt.NDArray[np.int64]) -> FloatArray:
    return np.where(index < 0, 0.0, below[np.clip(index, 0, len(below) - 1)])


def _blur(counts: FloatArray, sigma: float) -> FloatArray:
    if sigma < 1e-3:
        return counts
    half = int(min(np.ceil(4 * sigma), len(counts) // 2))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.convolve(counts, kernel / kernel.sum(), mode="same")


def place_references(sums: Sequence[Sums], groups: int, adc: AdcRange, spec: AdcSpec) -> References:
    """Return the references that the description asks for, each on the nearest position of the grid.

    Args:
        sums: of a layer, by :func:`segment_sums`. groups: column groups. adc: the nominal range. spec: what is asked for.
    """
    moments, steps = CodeMoments.of(sums, groups, adc), spec.reference_steps
    nominal = np.arange(adc.lowest, adc.highest + 1, dtype=np.float64)
    levels = [
        code_levels(count, mean, variance, nominal)
        for count, mean, variance in zip(moments.count, moments.mean, moments.variance, strict=True)
    ]
    if spec.references == "calibrated":
        borders = [np.rint((level.offset + level.gain * (nominal[:-1] + 0.5)) * steps) for level in levels]
    elif spec.placement == "midpoint":
        borders = [np.rint(0.5 * (level.mean[:-1] + level.mean[1:]) * steps) for level in levels]
    else:
        counts = count_positions(sums, levels, adc, steps)
        borders = [
            thresholds(level, count, noise, adc.lowest, steps, by_frequency=spec.placement == "frequency").astype(float)
            for level, count, noise in zip(levels, counts, moments.noise, strict=True)
        ]
    first = int(min([adc.lowest * steps, *(border[0] for border in borders)])) - steps
    last = int(max([adc.highest * steps, *(border[-1] for border in borders)])) + steps
    position = np.arange(first, last + 1)
    codes = [adc.lowest + np.searchsorted(np.maximum.accumulate(border), position, side="right") for border in borders]
    return References(steps, first, np.asarray(codes, dtype=np.float32))


@dataclass(frozen=True)
class ConversionErrors:
    """Errors of converted sums against the codes of ideal sums."""

    conversions: int
    wrong: float
    """Share of codes that differ."""
    mean: float
    """Mean absolute error in codes."""
    bias: float
    """Mean error in codes."""
    margin: float
    """Gap between the 1 % tails (taken as normal) of neighbouring codes, the median over codes, in nominal steps; below 0 they
    overlap."""


def conversion_errors(sums: Sequence[Sums], groups: int, adc: AdcRange) -> ConversionErrors:
    """Convert sums without noise and compare; the margin is that of the sums, whatever the references."""
    total = wrong = 0
    absolute = signed = 0.0
    for part in sums:
        if adc.references is None:
            codes = np.clip(np.rint(part.seen), adc.lowest, adc.highest)
        else:
            references = adc.references
            position = convert(part.seen, float(references.steps), references.lowest, references.highest)
            codes = references.codes[part.group, position.astype(np.int64) - references.lowest]
        error = codes - part.wanted
        total, wrong = total + error.size, wrong + int((error != 0).sum())
        absolute, signed = absolute + float(np.abs(error).sum()), signed + float(error.sum())
    return ConversionErrors(total, wrong / total, absolute / total, signed / total, _margin(sums, groups, adc))


def _margin(sums: Sequence[Sums], groups: int, adc: AdcRange) -> float:
    moments = CodeMoments.of(sums, groups, adc)
    gaps = moments.mean[:, 1:] - moments.mean[:, :-1]
    sigma = np.sqrt(moments.variance)
    tails = 2.3263 * (sigma[:, 1:] + sigma[:, :-1])
    known = (moments.count[:, 1:] >= PRIOR) & (moments.count[:, :-1] >= PRIOR)
    return float(np.median((gaps - tails)[known])) if known.any() else float("nan")
