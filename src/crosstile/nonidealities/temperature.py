"""Reversible change with temperature: a metallic on state and a thermally activated off state, in parallel.

    f_on(T)  = 1 / (1 + alpha (T - T0))               resistance of a metal, linear in temperature
    f_off(T) = exp(-(Ea / k) (1 / T - 1 / T0))        hopping or emission
    g(T)     = f_on x g_on + f_off (1 - x) g_off      with x = (g - g_off) / (g_on - g_off) of the cell at T0

x is the share of the filament, so that states between the ends interpolate linearly. At T0 it is the identity, and
cooling undoes what warming did. Limits: the linear law of metals fails near the Debye temperature and below;
one Ea for all cells; a g_off of zero has nothing to activate.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from crosstile.errors import SpecError
from crosstile.nonidealities.base import AgeEffect, Array, Levels, Stage, register
from crosstile.specs.base import Energy, Temperature, TemperatureCoefficient
from crosstile.specs.conditions import ROOM_K, Conditions
from crosstile.units import BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

_LEAST_RESISTANCE = 0.1


@register
class TemperatureDependence(AgeEffect):
    """Conductances at the temperature of the read."""

    kind: Literal["temperature"] = "temperature"
    stage: ClassVar[Stage] = "age"
    on_coefficient_per_k: TemperatureCoefficient = Field(default=0.0, alias="on_coefficient", ge=-0.004, le=0.05)
    """alpha: change of the on resistance with temperature."""
    off_energy_j: Energy = Field(default=0.0, alias="off_energy", ge=0, le=2 * ELEMENTARY_CHARGE_C)
    """Ea: activation energy of the off conductance."""
    reference_k: Temperature = Field(default=ROOM_K, alias="reference_temperature", ge=200, le=600)
    """T0: temperature at which the cell's figures hold."""

    model_config = AgeEffect.model_config | {"populate_by_name": True}

    @property
    def is_identity(self) -> bool:
        """True when neither state changes."""
        return self.on_coefficient_per_k == 0 and self.off_energy_j == 0

    def is_idle(self, conditions: Conditions) -> bool:
        """True at the reference temperature, too."""
        return self.is_identity or conditions.temperature_k == self.reference_k

    def factors(self, temperature_k: float) -> tuple[float, float]:
        """Return f_on and f_off.

        Raises:
            SpecError: so far from the reference that the linear law leaves no resistance.
        """
        resistance = 1.0 + self.on_coefficient_per_k * (temperature_k - self.reference_k)
        if resistance < _LEAST_RESISTANCE:
            raise SpecError(
                f"temperature: with on_coefficient {self.on_coefficient_per_k:g} /K the on resistance at {temperature_k:g} K "
                f"would be {resistance:.3g} of that at {self.reference_k:g} K; the linear law does not reach that far: "
                "choose a nearer reference_temperature or a smaller coefficient."
            )
        on = 1.0 / resistance
        exponent = -self.off_energy_j / BOLTZMANN_J_PER_K * (1.0 / temperature_k - 1.0 / self.reference_k)
        return on, math.exp(exponent)

    def age(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the conductances at the temperature of the conditions."""
        on, off = self.factors(conditions.temperature_k)
        x = np.clip((g_s - levels.g_off_s) / (levels.g_on_s - levels.g_off_s), 0.0, 1.0)
        metal_s = np.where(g_s >= levels.g_on_s, g_s, x * levels.g_on_s)  # beyond the window all is filament
        return np.asarray(off * g_s + (on - off) * metal_s)
