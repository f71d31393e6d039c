"""Variation from device to device: each cell has a factor f for life, and a write aims at f times what is asked.

f is normal with mean 1 (floored at 0) or lognormal with mean 1, and standard deviation ``sigma``. It is drawn once a
cell, apart from ``variation``, which is the error of one write (cycle to cycle) and drawn at each. A write-verify loop
moves its aim by the error that it reads back and so corrects the factor as far as its tolerance; without such
a loop the factor stays in the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from crosstile.nonidealities.base import Array, DeviceEffect, Effect, Levels, Stage, register
from crosstile.specs.base import Ratio


@register
class DeviceVariation(DeviceEffect):
    """A factor that each cell keeps."""

    kind: Literal["device_variation"] = "device_variation"
    stage: ClassVar[Stage] = "program"
    distribution: Literal["normal", "lognormal"] = "normal"
    sigma: Ratio = Field(ge=0, le=10)
    """Standard deviation of f."""

    @property
    def is_identity(self) -> bool:
        """True at zero sigma."""
        return self.sigma == 0

    def factor(self, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return f of each cell."""
        z = rng.standard_normal(target_s.shape)
        if self.distribution == "normal":
            return np.maximum(1.0 + self.sigma * z, 0.0)
        log_variance = np.log1p(self.sigma**2)
        return np.asarray(np.exp(np.sqrt(log_variance) * z - 0.5 * log_variance))


def device_factor(
    effects: Iterable[Effect], target_s: Array, levels: Levels, generator: Callable[[str], np.random.Generator]
) -> Array | None:
    """Return the product of all factors for life; ``None`` when no effect gives one.

    Args:
        effects: those of the cell.
        target_s: asked for, in siemens, any shape.
        levels: the window.
        generator: gives a generator by the name of its purpose.
    """
    product: Array | None = None
    for effect in effects:
        if isinstance(effect, DeviceEffect):
            factor = effect.factor(target_s, levels, generator(effect.kind))
            product = factor if product is None else product * factor
    return product
