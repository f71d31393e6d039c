"""What both ways of reading a pack through real converters share: gains, noise, decoding, counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.circuits.adc import AdcRange
from crosstile.crossbar.exact import Part
from crosstile.crossbar.matrix import PackMatrix, Segment, column_codes, column_gains
from crosstile.crossbar.program import derive_key
from crosstile.parallel import in_chunks
from crosstile.specs.chip import ChipSpec

SQUARE_LIMIT = 255
"""Largest squared digit (or half of one) that a product with variances takes, so that it is exact."""
_VARIANCE_STEPS = 4095
_FEWEST_STEPS = 255


@dataclass(frozen=True)
class Stream:
    """Names the random draws of one layer call: same stream, same noise."""

    seed: int
    trial: int
    layer: str
    call: int
    first_vector: int
    """Number of this call's first vector in the whole data set."""

    def shifted(self, vectors: int) -> Stream:
        """Return the stream that starts ``vectors`` later."""
        return Stream(self.seed, self.trial, self.layer, self.call, self.first_vector + vectors)

    def key(self, *parts: object) -> int:
        """Return the 64-bit key of one kind of read in this stream."""
        return derive_key(self.seed, self.trial, self.layer, self.call, "read", *parts)


@dataclass
class Clipping:
    """Conversions and clipped codes, by slice, over all reads."""

    clipped: npt.NDArray[np.int64]
    conversions: npt.NDArray[np.int64]

    @classmethod
    def zero(cls, slices: int) -> Clipping:
        """Return empty counts."""
        return cls(np.zeros(slices, dtype=np.int64), np.zeros(slices, dtype=np.int64))

    def plus(self, other: Clipping) -> Clipping:
        """Return the sum of two counts."""
        return Clipping(self.clipped + other.clipped, self.conversions + other.conversions)


class PackReader:
    """One programmed pack behind real converters."""

    def __init__(
        self, pack: PackMatrix, chip: ChipSpec, adc: AdcRange, magnitude_bits: int, device: torch.device
    ) -> None:
        self.pack, self.chip, self.adc, self.device = pack, chip, adc, device
        self.magnitude_bits = magnitude_bits
        self.gain = column_gains(pack, adc)
        self.codes, self.place, self.ends = column_codes(pack, adc)
        if adc.references is not None:
            self.gain = self.gain * np.float32(adc.references.steps)
        steps = 1.0 / np.asarray(adc.gain, dtype=np.float64)
        self.coefficient = pack.column_coefficient * steps[pack.column_slice]
        self.clipping = Clipping.zero(chip.weights.slices)
        self.tensors: dict[tuple[str, int], Tensor] = {}
        self._variance: dict[int, tuple[Part | None, npt.NDArray[np.float32]]] = {}

    @property
    def totals_dtype(self) -> type[np.float32] | type[np.float64]:
        """The narrowest type in which shift-added codes stay exact integers."""
        reads = len(self.pack.segments) * 2
        largest = max(abs(self.adc.lowest), self.adc.highest)
        return np.float32 if reads * largest * 2.0**self.magnitude_bits < 2.0**24 else np.float64

    def phases(self, values: Tensor, *, signed: bool) -> Iterator[tuple[float, Tensor]]:
        """Yield (sign, feature map) of each phase; a bipolar chip reads signed digits in one."""
        if signed and self.chip.inputs.signed == "two_phase":
            yield 1.0, values.clamp(min=0)
            yield -1.0, (-values).clamp(min=0)
        else:
            yield 1.0, values

    def variance_of(self, segment: Segment) -> tuple[Part | None, npt.NDArray[np.float32]]:
        """Return a segment's variances as integers (rows, columns) and the square root of each column's unit.

        There is no matrix when all driven cells of a column have the same variance. A cell's variance is rounded to
        between 1/4095 and 1/255 of the largest in its column, as finely as sums in single precision stay exact;
        where that does not suffice (very many rows), the matrix is in double precision.
        """
        if segment.number not in self._variance:
            assert segment.variance is not None
            variance = segment.variance
            top = variance.max(axis=0)
            if bool((variance == top).all()):
                self._variance[segment.number] = (None, np.sqrt(top))
            else:
                room = 2**24 // (len(variance) * min(self.chip.max_digit**2, SQUARE_LIMIT))
                exact = room >= _FEWEST_STEPS
                steps = np.float32(min(room, _VARIANCE_STEPS) if exact else _VARIANCE_STEPS)
                safe = np.where(top > 0, top, np.float32(1.0))
                integers = np.rint(variance / safe * steps)
                matrix = integers if exact else integers.astype(np.float64)
                self._variance[segment.number] = (matrix, np.sqrt(safe / steps))
        return self._variance[segment.number]

    def count(self, clipped: npt.NDArray[np.int64], reads: int) -> None:
        """Add clipped codes (columns,) of ``reads`` conversions of each column."""
        by_group = clipped[: self.pack.columns].reshape(-1, self.pack.outputs).sum(axis=1)
        np.add.at(self.clipping.clipped, self.pack.column_slice, by_group)
        np.add.at(self.clipping.conversions, self.pack.column_slice, reads * self.pack.outputs)

    @property
    def needs_corrections(self) -> bool:
        """True when decoding adds multiples of row sums."""
        return any(segment.correction.any() for segment in self.pack.segments)

    def take_unit_columns(self, totals: Any) -> Any:
        """Return (n, unit columns) row sums that the unit columns measured, and clear them for the next segment."""
        unit = slice(self.pack.columns, self.pack.columns + self.pack.unit_columns)
        sums = totals[:, unit] / (self.adc.unit_gain * (1.0 + self.pack.off_levels))
        totals[:, unit] = 0
        return sums

    def decode(self, totals: Tensor, corrections: Tensor | None) -> Tensor:
        """Join shift-added codes (n, columns) with the row-sum corrections (n, outputs); returns float32."""
        outputs = self.pack.outputs
        if totals.device.type == "cpu":
            from crosstile.crossbar import convert_kernels

            out = torch.empty((len(totals), outputs), dtype=torch.float32)
            fixed = np.zeros((0, outputs)) if corrections is None else corrections.numpy()
            source, target = totals.numpy(), out.numpy()
            in_chunks(
                len(source),
                lambda part: convert_kernels.decode(
                    source[part], self.coefficient, outputs, fixed[part] if len(fixed) else fixed, target[part]
                ),
                size=8192,
            )
            return out
        total = torch.zeros((), dtype=torch.float64, device=totals.device) if corrections is None else corrections
        for group, coefficient in enumerate(self.coefficient):
            total = total + float(coefficient) * totals[:, group * outputs : (group + 1) * outputs].to(torch.float64)
        return total.to(torch.float32)
