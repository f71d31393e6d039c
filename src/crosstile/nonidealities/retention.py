"""Retention loss: g(t) = g_rest + (g - g_rest) (1 - L (1 - exp(-(t / tau)^beta))), faster in the heat.

    tau = tau0 exp((Ea / k) (1 / T - 1 / T0)) exp(s z)

A stretched exponential towards a resting conductance with a lifetime after Arrhenius, the common description of data
retention; L is the share of the distance that is lost in the end. Ea and ln tau may spread over the cells, drawn once
a cell. T is the one temperature of the chip's conditions, held since programming. Limit: extrapolating a bake to
working temperature stands and falls with Ea, which is measured far above it.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from crosstile.nonidealities.base import AgeEffect, Array, Levels, Stage, register
from crosstile.specs.base import Conductance, Energy, Ratio, Temperature, Time
from crosstile.specs.conditions import ROOM_K, Conditions
from crosstile.units import BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

_LARGE = 60.0  # exp(-exp(60)) is 0 in floating point


@register
class Retention(AgeEffect):
    """Loss of the programmed state with time and temperature."""

    kind: Literal["retention"] = "retention"
    stage: ClassVar[Stage] = "age"
    tau_s: Time = Field(alias="tau", gt=0)
    """tau0: lifetime at the reference temperature."""
    beta: float = Field(default=1.0, gt=0, le=2)
    energy_j: Energy = Field(default=0.0, alias="energy", ge=0, le=5 * ELEMENTARY_CHARGE_C)
    """Ea."""
    energy_std_j: Energy = Field(default=0.0, alias="energy_std", ge=0, le=ELEMENTARY_CHARGE_C)
    """Standard deviation of Ea over the cells, normal, cut at 0."""
    spread: float = Field(default=0.0, ge=0, le=10)
    """s: standard deviation of ln tau over the cells at the reference temperature."""
    rest_s: Conductance | None = Field(default=None, alias="rest", ge=0)
    """g_rest; default: g_off of the cell."""
    loss: Ratio = Field(default=1.0, ge=0, le=1)
    """L."""
    reference_k: Temperature = Field(default=ROOM_K, alias="reference_temperature", ge=200, le=600)
    """T0: temperature at which tau0 holds."""

    model_config = AgeEffect.model_config | {"populate_by_name": True}

    @property
    def is_identity(self) -> bool:
        """True when nothing is lost."""
        return self.loss == 0

    def is_idle(self, conditions: Conditions) -> bool:
        """True as programmed, too."""
        return self.is_identity or not conditions.time_s

    def age(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the conductances after the time and at the temperature of the conditions."""
        z_tau, z_energy = rng.standard_normal(g_s.shape), rng.standard_normal(g_s.shape)
        if not conditions.time_s:
            return g_s.copy()
        energy = np.maximum(self.energy_j + self.energy_std_j * z_energy, 0.0) / BOLTZMANN_J_PER_K
        ln_tau = math.log(self.tau_s) + self.spread * z_tau
        ln_tau = ln_tau + energy * (1.0 / conditions.temperature_k - 1.0 / self.reference_k)
        u = self.beta * (math.log(conditions.time_s) - ln_tau)
        lost = -self.loss * np.expm1(-np.exp(np.minimum(u, _LARGE)))
        rest_s = levels.g_off_s if self.rest_s is None else self.rest_s
        return np.asarray(g_s + lost * (rest_s - g_s))
