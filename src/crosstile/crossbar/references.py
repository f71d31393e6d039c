"""Reference levels of converters, placed by what calibration inputs show on the programmed arrays.

An array of ideal cells without wires would give a sum with the code k. What the real array gives instead has, over all columns of
a group and all calibration reads, the mean m_k and the standard deviation s_k, in nominal steps:

    calibrated    m_k ~ a + b k by least squares;       code = rint((S - a) / b)
    midpoint      the reference between k and k + 1 is (m_k + m_{k+1}) / 2
    likelihood    it is where N(m_k, s_k) and N(m_{k+1}, s_{k+1}) are equally likely, between their means
    frequency     the same, each weighted with how often its code came: the fewest wrong codes, for such inputs

Codes that were seldom seen lean on the line, as if it had been seen :data:`PRIOR` times with the scatter of its neighbours;
the means are then made monotone (isotonic regression), so that the references are. A converter gives codes of the ideal sum
in all of these, which is why no further gain is needed. References stand on a grid of ``reference_steps`` positions a nominal
step: that is the resolution at which they can be set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.circuits.adc import AdcRange, References, convert
from crosstile.crossbar.matrix import PackMatrix
from crosstile.specs.chip import AdcSpec, ChipSpec

FloatArray = npt.NDArray[np.float64]

PRIOR: Final = 8.0
_MOST_PAIRS: Final = 1_000_000


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

    @classmethod
    def of(cls, sums: Iterator[Sums], groups: int, adc: AdcRange) -> CodeMoments:
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
        variance = np.maximum(second / safe - mean**2, 0.0) + noise / safe
        nominal = np.arange(adc.lowest, adc.highest + 1)
        return cls(count.reshape(shape), mean.reshape(shape) + nominal, variance.reshape(shape))


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
    share: FloatArray
    """(codes,) how often each came, up to a factor, with one more of each."""


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
    return CodeLevels(np.asarray(rising), sigma, offset, gain, count + 1.0)


def _line(weight: FloatArray, x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return a and b of the weighted least-squares line y = a + b x; b = 0 where x does not vary."""
    total = float(weight.sum())
    if total == 0:
        return 0.0, 0.0
    mean_x, mean_y = float(weight @ x) / total, float(weight @ y) / total
    power = float(weight @ (x - mean_x) ** 2)
    slope = float(weight @ ((x - mean_x) * (y - mean_y))) / power if power > 0 else 0.0
    return mean_y - slope * mean_x, slope


def thresholds(levels: CodeLevels, placement: str) -> FloatArray:
    """Return the (codes - 1,) references between neighbouring codes, rising, in nominal steps."""
    low, high = levels.mean[:-1], levels.mean[1:]
    middle = 0.5 * (low + high)
    if placement == "midpoint":
        return middle
    # ln N(low + x; low, s) = ln N(low + x; high, r) with d = high - low:
    # (1/s^2 - 1/r^2) x^2 + 2 (d/r^2) x - d^2/r^2 + 2 ln(s/r) = 0; with shares p and q of the two codes, + 2 ln(q/p)
    s, r, d = levels.sigma[:-1], levels.sigma[1:], high - low
    often = 2 * np.log(levels.share[1:] / levels.share[:-1]) if placement == "frequency" else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = 1 / s**2 - 1 / r**2, d / r**2
        c = -(d**2) / r**2 + 2 * np.log(s / r) + often
        root = np.sqrt(b**2 - a * c)
        x = -c / (b + root)  # the root that stays finite as a -> 0
        inside = np.isfinite(x) & (x >= 0) & (x <= d)
    return np.asarray(np.maximum.accumulate(np.where(inside, low + x, middle)))


def place_references(moments: CodeMoments, adc: AdcRange, spec: AdcSpec) -> References:
    """Return the references that the description asks for, each on the nearest position of the grid."""
    nominal = np.arange(adc.lowest, adc.highest + 1, dtype=np.float64)
    levels = [
        code_levels(count, mean, variance, nominal)
        for count, mean, variance in zip(moments.count, moments.mean, moments.variance, strict=True)
    ]
    if spec.references == "calibrated":
        borders = [level.offset + level.gain * (nominal[:-1] + 0.5) for level in levels]
    else:
        borders = [thresholds(level, spec.placement) for level in levels]
    steps = spec.reference_steps
    ends = [border[[0, -1]] for border in borders if border.size]
    first = int(np.floor(min([float(adc.lowest), *(end[0] for end in ends)]))) - 1
    last = int(np.ceil(max([float(adc.highest), *(end[1] for end in ends)]))) + 1
    position = np.arange(first * steps, last * steps + 1)
    codes = [adc.lowest + np.searchsorted(np.rint(border * steps), position, side="right") for border in borders]
    return References(steps, first * steps, np.asarray(codes, dtype=np.float32))


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
    moments = CodeMoments.of(iter(sums), groups, adc)
    gaps = moments.mean[:, 1:] - moments.mean[:, :-1]
    sigma = np.sqrt(moments.variance)
    tails = 2.3263 * (sigma[:, 1:] + sigma[:, :-1])
    known = (moments.count[:, 1:] >= PRIOR) & (moments.count[:, :-1] >= PRIOR)
    return float(np.median((gaps - tails)[known])) if known.any() else float("nan")
