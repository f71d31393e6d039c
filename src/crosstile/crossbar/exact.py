"""Fixed-point grids that make floating-point sums exact.

A sum of products is exact in IEEE arithmetic, whatever its order, when each term is a multiple of some 2^-f
and no partial sum exceeds 2^(24-f) in single or 2^(53-f) in double precision. Conductances are therefore
stored on such a grid, column by column, as fine as the format allows. Results then depend neither on batch
size nor on threads, blocking or device, and the fast engine can be compared with the oracle by equality.

Where one single-precision product would be too coarse, the matrix is split into a coarse and a fine part,
each exact in single precision, and their sums are joined in double precision: still cheaper than a product in
double precision, which is the last resort (16-bit weights times 16-bit inputs, say).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.errors import SpecError

FloatArray = npt.NDArray[np.float64]
Part = npt.NDArray[np.float32] | npt.NDArray[np.float64]

MIN_FRACTION_BITS = 8
"""Conductances are never rounded more coarsely than 2^-8 of a level (of the window, for continuous cells)."""
MAX_FRACTION_BITS = 20
_SINGLE = 24
_DOUBLE = 53


@dataclass(frozen=True)
class Grid:
    """Fraction bits of each column, and how many single-precision products an exact sum takes."""

    fraction_bits: npt.NDArray[np.int64]
    coarse_bits: npt.NDArray[np.int64] | None
    """Fraction bits of the coarse part when the matrix is split in two."""
    double: bool = False
    """True when sums are exact in double precision only."""

    def snap(self, values: FloatArray) -> FloatArray:
        """Round values, columns last, to the grid."""
        return _snap(values, self.fraction_bits)

    @property
    def products(self) -> int:
        """Matrix products that one exact sum takes."""
        return 1 if self.coarse_bits is None else 2

    def parts(self, values: FloatArray) -> list[Part]:
        """Return snapped values as matrices whose products are exact and add up to the whole."""
        if self.double:
            return [values]
        if self.coarse_bits is None:
            return [values.astype(np.float32)]
        coarse = _snap(values, self.coarse_bits)
        return [coarse.astype(np.float32), (values - coarse).astype(np.float32)]


def _snap(values: FloatArray, bits: npt.NDArray[np.int64]) -> FloatArray:
    factor = np.exp2(bits.astype(np.float64))
    return np.asarray(np.rint(values * factor) / factor)


def _bits(bound: FloatArray, slack: float, mantissa: int) -> npt.NDArray[np.int64]:
    room = 2.0**mantissa - slack
    if room <= 0:
        return np.full(bound.shape, -99, dtype=np.int64)
    bits = np.floor(np.log2(room / np.maximum(bound, 2.0**-20))).astype(np.int64)
    return np.minimum(bits, MAX_FRACTION_BITS)


def choose_grid(column_bound: FloatArray, terms: int, largest_factor: int, *, integers: bool = False) -> Grid:
    """Choose grids for columns whose sums of ``terms`` products have magnitude at most ``column_bound``.

    Args:
        column_bound: (columns,) bound of ``sum_i |m_ij| * largest_factor`` before snapping.
        terms: products per sum; snapping moves each by at most half a grid step.
        largest_factor: largest magnitude of the integer factors.
        integers: the entries are integers, so a grid of whole numbers loses nothing.

    Raises:
        SpecError: the sums do not fit even when split.
    """
    wanted = 0 if integers else MIN_FRACTION_BITS
    slack = float(terms * largest_factor)
    single = _bits(column_bound, slack, _SINGLE)
    if single.min(initial=99) >= wanted:
        return Grid(single, None)
    # The fine part is at most half a coarse step.
    fine_bound = slack * np.exp2(-(single.astype(np.float64) + 1))
    fine = np.minimum(_bits(fine_bound, slack, _SINGLE), single + _SINGLE)
    if single.min() > -99 and fine.min(initial=99) >= wanted:
        return Grid(fine, single)
    double = _bits(column_bound, slack, _DOUBLE)
    if double.min(initial=99) >= wanted:
        return Grid(double, None, double=True)
    raise SpecError(
        f"sums of {terms} products of inputs up to {largest_factor} with cells reach "
        f"{float(column_bound.max(initial=0)):.3g} levels: not exact even in double precision. Narrow the "
        "effects of the cell, or lower weights.bits or inputs.bits."
    )
