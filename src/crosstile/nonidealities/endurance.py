"""Endurance: the window closes with the cycles c that a cell has been through already.

    g_on(c)  = g_on  (1 + c / c0)^(-a)
    g_off(c) = g_off (1 + c / c0)^b

Power laws beyond an onset c0, the shape in which resistance windows are usually seen to close. A write reaches
no further than the closed window: targets beyond are cut (``cut``; what a write-verify loop meets) or all targets move in
proportion (``scale``; open-loop pulses on a narrower window). Limits: the same for all cells; wear during the
run is not counted; cells that fail altogether are ``stuck_at``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from crosstile.errors import SpecError
from crosstile.nonidealities.base import Array, Levels, ProgramEffect, Stage, register


@register
class Endurance(ProgramEffect):
    """A window that cycling has closed."""

    kind: Literal["endurance"] = "endurance"
    stage: ClassVar[Stage] = "program"
    cycles: float = Field(ge=0, le=1e18)
    """c: cycles before this programming."""
    onset_cycles: float = Field(default=1e6, ge=1, le=1e18)
    """c0."""
    on_exponent: float = Field(default=0.0, ge=0, le=2)
    """a."""
    off_exponent: float = Field(default=0.0, ge=0, le=2)
    """b."""
    reach: Literal["cut", "scale"] = "cut"

    @property
    def is_identity(self) -> bool:
        """True for fresh cells."""
        return self.cycles == 0 or (self.on_exponent == 0 and self.off_exponent == 0)

    def window(self, levels: Levels) -> Levels:
        """Return the window after the cycles.

        Raises:
            SpecError: nothing is left of it.
        """
        worn = 1.0 + self.cycles / self.onset_cycles
        g_on, g_off = levels.g_on_s * worn**-self.on_exponent, levels.g_off_s * worn**self.off_exponent
        if g_off >= g_on:
            raise SpecError(
                f"endurance: after {self.cycles:.4g} cycles the window is closed (g_on {g_on:.4g} S, g_off {g_off:.4g} S); "
                "lower cycles or the exponents."
            )
        return Levels(g_off, g_on)

    def apply(self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return what a write reaches in the closed window; fresh cells go wherever their variation takes them."""
        if self.is_identity:
            return g_s
        worn = self.window(levels)
        if self.reach == "cut":
            return np.clip(g_s, worn.g_off_s, worn.g_on_s)
        share = (worn.g_on_s - worn.g_off_s) / (levels.g_on_s - levels.g_off_s)
        return np.asarray(np.maximum(worn.g_off_s + share * (g_s - levels.g_off_s), 0.0))
