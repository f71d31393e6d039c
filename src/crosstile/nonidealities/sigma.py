"""How the spread of a conductance depends on its value: the shape shared by programming and read noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels
from crosstile.specs.base import Conductance, Ratio, Spec


class SigmaSpec(Spec):
    """One of three: a share of the conductance, a share of the window, or a polynomial of the state."""

    proportional: Ratio | None = Field(default=None, ge=0, le=10)
    """sigma = proportional * g."""
    window: Ratio | None = Field(default=None, ge=0, le=10)
    """sigma = window * (g_on - g_off), the same for each state."""
    polynomial: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=8)
    """sigma = unit * sum_k c_k x^k, floored at 0."""
    argument: Literal["relative", "microsiemens"] = "relative"
    """x of the polynomial: g / g_max, or g in microsiemens."""
    unit_s: Conductance = Field(default=1e-6, alias="unit", gt=0)
    """Unit of the polynomial's value."""
    g_max_s: Conductance | None = Field(default=None, alias="g_max", gt=0)
    """Conductance at which x = 1, and to which sigma scales; default: g_on of the cell."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _one_of(self) -> SigmaSpec:
        given = [n for n in ("proportional", "window", "polynomial") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of proportional, window, polynomial; found {', '.join(given) or 'none'}"
            )
        return self

    @property
    def is_zero(self) -> bool:
        """True when sigma vanishes for each state."""
        return not any((self.proportional, self.window, *(self.polynomial or ())))

    def sigma_s(self, g_s: Array, levels: Levels) -> Array:
        """Return sigma in siemens for conductances in siemens, elementwise."""
        if self.proportional is not None:
            return self.proportional * np.abs(g_s)
        if self.window is not None:
            return np.full_like(g_s, self.window * (levels.g_on_s - levels.g_off_s))
        x = g_s * 1e6 if self.argument == "microsiemens" else g_s / (self.g_max_s or levels.g_on_s)
        sigma = np.polynomial.polynomial.polyval(x, np.asarray(self.polynomial))
        return np.asarray(np.maximum(sigma, 0.0) * self.unit_s)
