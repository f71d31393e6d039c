"""Accumulated 1/f noise: sigma = g Q(r) sqrt(ln((t + t_read) / (2 t_read))), t since programming.

The noise that a 1/f spectrum has gathered between programming and a read of duration t_read (Nandakumar et al.,
ICECS 2019). Q is a function of the state r = g_target / g_max. With ``unit`` it is sigma = unit Q(r) sqrt(...), for cells
whose noise was fitted in siemens.

Limit: each read is a fresh draw with this variance. Real 1/f noise is correlated from read to read, so that it
averages out less than fresh draws do; the spread of single reads is right, that of averages over reads too small.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels, ReadEffect, Stage, register
from crosstile.nonidealities.state import StateFunction, check_range
from crosstile.specs.base import Conductance, Time
from crosstile.specs.conditions import Conditions


@register
class OneOverF(ReadEffect):
    """1/f noise gathered since programming."""

    kind: Literal["one_over_f"] = "one_over_f"
    stage: ClassVar[Stage] = "read"
    reference: ClassVar[str] = "S. R. Nandakumar et al., IEEE ICECS 2019, doc. 8964852"
    amplitude: StateFunction
    """Q: a number, or a function of the state."""
    unit_s: Conductance | None = Field(default=None, alias="unit", gt=0)
    """Conductance that Q is a multiple of; default: that of the cell itself."""
    t_read_s: Time = Field(default=250e-9, alias="t_read", gt=0)
    """Duration of one read."""
    t0_s: Time = Field(default=20.0, alias="t0", gt=0)
    """Time from programming to the moment from which the conditions count theirs."""

    model_config = ReadEffect.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_sensible(self) -> OneOverF:
        check_range(self.amplitude, "amplitude", 0.0, 10.0)
        return self

    @property
    def is_identity(self) -> bool:
        """True at zero amplitude."""
        return self.amplitude.is_zero

    def growth(self, conditions: Conditions) -> float:
        """Return sqrt(ln((t + t_read) / (2 t_read))); 0 for times shorter than a read."""
        time_s = self.t0_s + (conditions.time_s or 0.0)
        return math.sqrt(max(math.log(time_s + self.t_read_s) - math.log(2 * self.t_read_s), 0.0))

    def sigma_s(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the standard deviation in siemens of one read of each cell."""
        scale = np.abs(g_s) if self.unit_s is None else self.unit_s
        return np.asarray(scale * self.amplitude.of(target_s, levels) * self.growth(conditions))
