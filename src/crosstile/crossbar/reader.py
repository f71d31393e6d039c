"""What both ways of reading a pack through real converters share: gains, noise, decoding, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.circuits.adc import AdcRange
from crosstile.crossbar.matrix import PackMatrix, Segment, column_gains
from crosstile.crossbar.program import derive_key
from crosstile.specs.chip import ChipSpec

SQUARE_LIMIT = 255
"""Squared digits above this are rounded to it, so that sums of variances stay exact."""
_CHUNK = 1024


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
        steps = 1.0 / np.asarray(adc.gain, dtype=np.float64)
        self.coefficient = pack.column_coefficient * steps[pack.column_slice]
        self.clipping = Clipping.zero(chip.weights.slices)
        self.tensors: dict[tuple[str, int], Tensor] = {}
        self._variance: dict[int, tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32]]] = {}

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

    def variance_of(self, segment: Segment) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32]]:
        """Return a segment's variances as integers (rows, columns) and the scale of each column.

        There is no matrix when all driven cells of a column have the same variance. Rounding moves a cell's
        variance by less than 0.5 % of the largest in its column, and sums are exact.
        """
        if segment.number not in self._variance:
            assert segment.variance is not None
            variance = segment.variance
            top = variance.max(axis=0)
            if bool((variance == top).all()):
                self._variance[segment.number] = (None, top)
            else:
                room = 2**24 // (len(variance) * min(self.chip.max_digit**2, SQUARE_LIMIT))
                steps = np.float32(min(2 ** max(room.bit_length() - 1, 1) - 1, 4095))
                safe = np.where(top > 0, top, np.float32(1.0))
                self._variance[segment.number] = (np.rint(variance / safe * steps), safe / steps)
        return self._variance[segment.number]

    def squares(self) -> tuple[npt.NDArray[np.float32], float]:
        """Return (squared digit by digit, rounded to at most :data:`SQUARE_LIMIT`; what one unit of it is worth)."""
        squares = np.arange(self.chip.max_digit + 1, dtype=np.float64) ** 2
        unit = max(squares[-1] / SQUARE_LIMIT, 1.0)
        return np.rint(squares / unit).astype(np.float32), unit

    def count(self, clipped: npt.NDArray[np.int64], reads: int) -> None:
        """Add clipped codes (columns,) of ``reads`` conversions of each column."""
        by_group = clipped[: self.pack.columns].reshape(-1, self.pack.outputs).sum(axis=1)
        np.add.at(self.clipping.clipped, self.pack.column_slice, by_group)
        np.add.at(self.clipping.conversions, self.pack.column_slice, reads * self.pack.outputs)

    def take_unit_columns(self, totals: Any) -> Any:
        """Return (n, unit columns) row sums that the unit columns measured, and clear them for the next segment."""
        unit = slice(self.pack.columns, self.pack.columns + self.pack.unit_columns)
        sums = totals[:, unit] / (self.adc.unit_gain * (1.0 + self.pack.off_levels))
        totals[:, unit] = 0
        return sums

    def decode(self, totals: Any, corrections: Any) -> Any:
        """Join shift-added codes (n, columns) with the row-sum corrections (n, outputs), in double precision."""
        out = corrections
        for group, coefficient in enumerate(self.coefficient):
            at = group * self.pack.outputs
            out = out + float(coefficient) * totals[:, at : at + self.pack.outputs]
        return out


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="crosstile")


def in_chunks(total: int, work: Callable[[slice], None]) -> None:
    """Run ``work`` on slices of ``range(total)``, side by side on as many threads as torch uses."""
    workers = torch.get_num_threads()
    size = max(1, min(_CHUNK, -(-total // workers)))
    parts = [slice(i, min(i + size, total)) for i in range(0, total, size)]
    if workers == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        list(_pool(workers).map(work, parts))
