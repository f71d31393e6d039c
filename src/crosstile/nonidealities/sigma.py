"""How the spread of a conductance depends on its value: the shape shared by programming and read noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels
from crosstile.specs.base import Conductance, Ratio, Spec


class SigmaSpec(Spec):
    """One of: a share of the conductance or of the window, a polynomial, a saturating exponential, a phase."""

    proportional: Ratio | None = Field(default=None, ge=0, le=10)
    """sigma = proportional * g."""
    window: Ratio | None = Field(default=None, ge=0, le=10)
    """sigma = window * (g_on - g_off), the same for each state."""
    polynomial: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=8)
    """sigma = unit * sum_k c_k x^k, floored at 0."""
    saturating: tuple[float, float] | None = None
    """(a, b) of sigma = unit * a (1 - exp(-x / b)), with a >= 0 and b > 0."""
    phase: float | None = Field(default=None, ge=0, le=3.2)
    """Phase error in radians of an interferometer with g = g_max (1 + cos phi) / 2: sigma = phase sqrt(g (g_max - g))."""
    argument: Literal["relative", "microsiemens"] = "relative"
    """x of the polynomial and the exponential: g / g_max, or g in microsiemens."""
    unit_s: Conductance = Field(default=1e-6, alias="unit", gt=0)
    """Unit of their value."""
    g_max_s: Conductance | None = Field(default=None, alias="g_max", gt=0)
    """Conductance at which x = 1, and to which sigma scales; default: g_on of the cell."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _one_of(self) -> SigmaSpec:
        names = ("proportional", "window", "polynomial", "saturating", "phase")
        given = [n for n in names if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(names)}; found {', '.join(given) or 'none'}")
        if self.saturating is not None and (self.saturating[0] < 0 or self.saturating[1] <= 0):
            raise ValueError(f"saturating: a >= 0 and b > 0 are wanted; found {list(self.saturating)}")
        return self

    @property
    def is_zero(self) -> bool:
        """True when sigma vanishes for each state."""
        return not any(
            (self.proportional, self.window, *(self.polynomial or ()), (self.saturating or (0.0,))[0], self.phase)
        )

    def sigma_s(self, g_s: Array, levels: Levels) -> Array:
        """Return sigma in siemens for conductances in siemens, elementwise."""
        if self.proportional is not None:
            return self.proportional * np.abs(g_s)
        if self.window is not None:
            return np.full_like(g_s, self.window * (levels.g_on_s - levels.g_off_s))
        g_max_s = self.g_max_s or levels.g_on_s
        if self.phase is not None:
            inside = np.clip(g_s, 0.0, g_max_s)
            return np.asarray(self.phase * np.sqrt(inside * (g_max_s - inside)))
        x = g_s * 1e6 if self.argument == "microsiemens" else g_s / g_max_s
        if self.saturating is not None:
            a, b = self.saturating
            return np.asarray(-np.expm1(-np.maximum(x, 0.0) / b) * a * self.unit_s)
        sigma = np.polynomial.polynomial.polyval(x, np.asarray(self.polynomial))
        return np.asarray(np.maximum(sigma, 0.0) * self.unit_s)
