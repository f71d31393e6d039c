"""Conductance drift: g(t) = g(t0) (t / t0)^(-nu), nu drawn once a cell from N(nu_mean(r), nu_std(r)).

The power law of structural relaxation in PCM (Ielmini et al., IEEE Trans. Electron Devices 54, 308 (2007)). Mean and
spread may depend on the state r = g_target / g_max, as they do in measured PCM (Nandakumar et al., ICECS 2019). A
negative nu counts as 0, or as its magnitude. Where time is counted from the end of programming and the first read
came t0 later, the ratio is (t + t0) / t0. At a ratio of one it is the identity.

Not modelled: temperature (drift follows it weakly), and the decades of time before t0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import AgeEffect, Array, Levels, Stage, register
from crosstile.nonidealities.state import StateFunction, check_range
from crosstile.specs.base import Time
from crosstile.specs.conditions import Conditions

_NONE = StateFunction.model_validate(0.0)


@register
class Drift(AgeEffect):
    """Power-law drift since programming."""

    kind: Literal["drift"] = "drift"
    stage: ClassVar[Stage] = "age"
    reference: ClassVar[str] = "D. Ielmini et al., IEEE Trans. Electron Devices 54(2), 308-315 (2007)"
    nu_mean: StateFunction
    """A number, or a function of the state."""
    nu_std: StateFunction = _NONE
    """A number, or a function of the state."""
    negative: Literal["floor", "fold"] = "floor"
    """What a negative nu counts as: 0, or its magnitude."""
    t0_s: Time = Field(default=20.0, alias="t0", gt=0)
    """Time after programming at which the programmed values hold."""
    time_law: Literal["t/t0", "(t+t0)/t0"] = "t/t0"
    """Whether the time of the conditions is counted from programming, or from the first read at t0."""
    time_s: Time | None = Field(default=None, alias="time", gt=0)
    """Time of the read; default: that of the chip's conditions."""

    model_config = AgeEffect.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_sensible(self) -> Drift:
        check_range(self.nu_mean, "nu_mean", 0.0, 1.0)
        check_range(self.nu_std, "nu_std", 0.0, 1.0)
        if self.time_s is not None and self.time_law == "t/t0" and self.time_s < self.t0_s:
            raise ValueError(f"time ({self.time_s:g} s) must not be before t0 ({self.t0_s:g} s)")
        return self

    @property
    def is_identity(self) -> bool:
        """True at t0 or without an exponent."""
        fixed = self.time_s is not None and self._ratio(self.time_s) == 1.0
        return fixed or (self.nu_mean.is_zero and self.nu_std.is_zero)

    def _ratio(self, time_s: float | None) -> float:
        """Return the ratio of times; before t0 cells are taken as they are at t0."""
        if time_s is None:
            return 1.0
        start = self.t0_s if self.time_law == "(t+t0)/t0" else 0.0
        return max((time_s + start) / self.t0_s, 1.0)

    def _age(self, conditions: Conditions) -> float:
        return self._ratio(self.time_s if self.time_s is not None else conditions.time_s)

    def is_idle(self, conditions: Conditions) -> bool:
        """True up to t0, too."""
        return self.is_identity or self._age(conditions) == 1.0

    def age(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the conductances at the time of the read."""
        nu = self.nu_mean.of(target_s, levels) + self.nu_std.of(target_s, levels) * rng.standard_normal(g_s.shape)
        nu = np.abs(nu) if self.negative == "fold" else np.maximum(nu, 0.0)
        return np.asarray(g_s * self._age(conditions) ** -nu)
