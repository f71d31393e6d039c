"""Read noise: each read of a cell sees g + sigma(g) z with a fresh standard normal z.

For a linear column the noise of one read is exactly normal with variance sum_i v_i^2 sigma_ij^2, independent
over columns and reads; the engine draws that one number instead of one a cell.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from crosstile.nonidealities.base import Array, Levels, ReadEffect, Stage, register
from crosstile.nonidealities.sigma import SigmaSpec
from crosstile.specs.conditions import Conditions


@register
class ReadNoise(ReadEffect):
    """White noise, drawn anew at each read."""

    kind: Literal["read_noise"] = "read_noise"
    stage: ClassVar[Stage] = "read"
    sigma: SigmaSpec

    @property
    def is_identity(self) -> bool:
        """True at zero sigma."""
        return self.sigma.is_zero

    def sigma_s(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the standard deviation in siemens of one read of each cell."""
        return self.sigma.sigma_s(g_s, levels)
