"""Conductance drift: g(t) = g(t0) (t / t0)^(-nu), nu drawn once a cell from N(nu_mean, nu_std), floored at 0.

The power law of structural relaxation in PCM (Ielmini et al., IEEE Trans. Electron Devices 54, 308 (2007)).
At t = t0 it is the identity.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels, ProgramEffect, Stage, register
from crosstile.specs.base import Time


@register
class Drift(ProgramEffect):
    """Power-law drift, evaluated at one time after programming."""

    kind: Literal["drift"] = "drift"
    stage: ClassVar[Stage] = "age"
    reference: ClassVar[str] = "D. Ielmini et al., IEEE Trans. Electron Devices 54(2), 308-315 (2007)"
    nu_mean: float = Field(ge=0, le=1)
    nu_std: float = Field(default=0.0, ge=0, le=1)
    t0_s: Time = Field(default=20.0, alias="t0", gt=0)
    """Time after programming at which the programmed values hold."""
    time_s: Time = Field(default=20.0, alias="time", gt=0)
    """Time after programming of the read."""

    model_config = ProgramEffect.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _time_is_after(self) -> Drift:
        if self.time_s < self.t0_s:
            raise ValueError(f"time ({self.time_s:g} s) must not be before t0 ({self.t0_s:g} s)")
        return self

    @property
    def is_identity(self) -> bool:
        """True at t0 or without an exponent."""
        return self.time_s == self.t0_s or (self.nu_mean == 0 and self.nu_std == 0)

    def apply(self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return the conductances at ``time_s``."""
        nu = np.maximum(self.nu_mean + self.nu_std * rng.standard_normal(g_s.shape), 0.0)
        return np.asarray(g_s * (self.time_s / self.t0_s) ** -nu)
