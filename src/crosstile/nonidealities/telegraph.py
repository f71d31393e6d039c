"""Random telegraph noise: a share of the cells jumps between two conductances a g apart.

Such a cell is in the lower state with the chance p (its occupancy), and a read finds the variance p (1 - p) a^2 g^2 around
the mean g. Which cells are affected, and the lognormal spread of a around its median, is drawn once a cell.

Limits: the engine takes the noise as normal with that variance. A column sums many cells: the excess kurtosis of
n affected cells is (1 / (p (1 - p)) - 6) / n, -2 / n for p = 1/2, so that from some ten affected cells in a column on the
sum is normal for all practical purposes; with fewer, its tails are shorter than the normal ones (p near 1/2) or longer
(p near 0 or 1). Reads are independent, as they are when they lie further apart than the jumps.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels, ReadEffect, Stage, register
from crosstile.nonidealities.state import StateFunction, check_range
from crosstile.specs.base import Ratio
from crosstile.specs.conditions import Conditions


@register
class Telegraph(ReadEffect):
    """Random telegraph noise of some of the cells."""

    kind: Literal["telegraph"] = "telegraph"
    stage: ClassVar[Stage] = "read"
    share: Ratio = Field(ge=0, le=1)
    """Share of the cells that jump."""
    amplitude: StateFunction
    """Median of a, the distance of the two states over g: a number, or a function of g / g_max."""
    spread: float = Field(default=0.0, ge=0, le=3)
    """Standard deviation of ln a over the cells; a beyond 1 counts as 1."""
    occupancy: Ratio = Field(default=0.5, ge=0, le=1)
    """Chance of the lower state."""

    @model_validator(mode="after")
    def _is_sensible(self) -> Telegraph:
        check_range(self.amplitude, "amplitude", 0.0, 1.0)
        return self

    @property
    def is_identity(self) -> bool:
        """True when no cell jumps."""
        return self.share == 0 or self.amplitude.is_zero or self.occupancy in (0, 1)

    def sigma_s(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the standard deviation in siemens of one read of each cell; 0 for cells that do not jump."""
        affected = rng.random(g_s.shape) < self.share
        a = self.amplitude.of(g_s, levels) * np.exp(self.spread * rng.standard_normal(g_s.shape))
        sigma = np.abs(g_s) * np.minimum(a, 1.0) * (self.occupancy * (1.0 - self.occupancy)) ** 0.5
        return np.where(affected, sigma, 0.0)
