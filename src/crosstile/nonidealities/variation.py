"""Programming variation: where a written cell ends up around its target.

Normal: g = target + sigma(target) z.  Lognormal: g = target exp(s z - s^2/2), s^2 = ln(1 + (sigma/target)^2),
which keeps the mean at the target and the standard deviation at sigma. Conductances never fall below zero.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from crosstile.nonidealities.base import Array, Levels, ProgramEffect, Stage, register
from crosstile.nonidealities.sigma import SigmaSpec


@register
class Variation(ProgramEffect):
    """Random error of one write."""

    kind: Literal["variation"] = "variation"
    stage: ClassVar[Stage] = "program"
    distribution: Literal["normal", "lognormal"] = "normal"
    sigma: SigmaSpec

    @property
    def is_identity(self) -> bool:
        """True at zero sigma."""
        return self.sigma.is_zero

    def apply(self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return one write of each cell."""
        sigma = self.sigma.sigma_s(target_s, levels)
        z = rng.standard_normal(g_s.shape)
        if self.distribution == "normal":
            return np.maximum(g_s + sigma * z, 0.0)
        safe = np.where(target_s > 0, target_s, 1.0)
        log_variance = np.where(target_s > 0, np.log1p((sigma / safe) ** 2), 0.0)
        return np.asarray(g_s * np.exp(np.sqrt(log_variance) * z - 0.5 * log_variance))
