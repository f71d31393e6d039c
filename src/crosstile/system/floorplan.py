"""Tiles in a grid, and which tile each array of a network stands on.

Tiles are squares of the area that the chip has for each of them; the die is the smallest grid of columns x rows sites that holds
them all, and sites without a tile are plain silicon. Arrays are numbered as programming numbers them: layer by layer, in each
layer pack, row block, column block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from crosstile.cost.report import CostReport
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.thermal import ThermalSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Floorplan:
    """The sites of a die. Site s is in row s // columns and column s % columns; the first ``tiles`` sites hold tiles."""

    tiles: int
    columns: int
    rows: int
    pitch_m: float
    """Side of a tile."""
    arrays_per_tile: int

    @classmethod
    def of(cls, cost: CostReport, chip: ChipSpec, spec: ThermalSpec) -> Floorplan:
        """Return the floorplan of a chip.

        Raises:
            SpecError: ``columns`` is larger than the number of tiles.
        """
        tiles = cost.tiles_built
        columns = spec.columns or math.ceil(math.sqrt(tiles))
        if columns > tiles:
            raise SpecError(f"thermal.columns is {columns}, but the chip has {tiles} tiles; set it to {tiles} or less.")
        rows = math.ceil(tiles / columns)
        return cls(tiles, columns, rows, math.sqrt(cost.area_m2 / tiles), chip.hardware.arrays_per_tile)

    @property
    def sites(self) -> int:
        """Tiles and plain silicon."""
        return self.rows * self.columns

    def as_grid(self, by_tile: FloatArray) -> FloatArray:
        """Return values of tiles as (rows, columns); sites without a tile are 0."""
        grid = np.zeros(self.sites)
        grid[: self.tiles] = by_tile
        return grid.reshape(self.rows, self.columns)


@dataclass(frozen=True)
class Placement:
    """Which tile each array stands on. With several copies of an array each does its share of the work, in turn."""

    tile_of: IntArray
    """(copies, arrays); an array that is not copied stands on the same tile in all of them."""
    plan: Floorplan

    @classmethod
    def in_order(cls, arrays: int, plan: Floorplan) -> Placement:
        """Fill one tile after the other.

        Raises:
            SpecError: there are too few tiles.
        """
        if arrays > plan.tiles * plan.arrays_per_tile:
            raise SpecError(
                f"{arrays} arrays do not fit on {plan.tiles} tiles of {plan.arrays_per_tile}; raise hardware.tiles."
            )
        return cls((np.arange(arrays) // plan.arrays_per_tile)[None], plan)

    @property
    def copies(self) -> int:
        """How many places an array has at most."""
        return len(self.tile_of)

    def idle(self) -> IntArray:
        """Return the tiles without any array."""
        return np.setdiff1d(np.arange(self.plan.tiles), self.tile_of)

    def power_by_tile(self, by_array: FloatArray) -> FloatArray:
        """Return (tiles,) watts for (copies, arrays) or (arrays,) watts that an array takes while it works there."""
        share = by_array / self.copies
        full = np.broadcast_to(share, self.tile_of.shape)
        found = np.bincount(self.tile_of.ravel(), weights=full.ravel(), minlength=self.plan.tiles)
        return np.asarray(found, dtype=np.float64)

    def moved(self, tile_of: IntArray) -> Placement:
        """Return another placement on the same die."""
        return replace(self, tile_of=tile_of)


def by_layer(values: FloatArray, names: Sequence[str], arrays: Sequence[int]) -> dict[str, tuple[float, ...]]:
    """Return (arrays,) values as a map from layers to the values of their arrays."""
    ends = np.cumsum(arrays)
    return {
        name: tuple(float(v) for v in values[end - count : end])
        for name, end, count in zip(names, ends, arrays, strict=True)
    }
