"""Relaxation after programming: g(t) = g + m(t, g) + s(t, g) z, floored at 0, z drawn once a cell.

Shift m and spread s follow one of two descriptions:

- ``log``: m = m0 + m1 ln(t / t_first) and s = s0 + s1 ln(t / t_first), as fitted to CMO/HfOx ReRAM;
- ``points``: measured sets of m and s at given times; between them both are linear in ln t, or in t.

Where a set gives the spread of all cells around their targets (``spread: total``), what they had when
programmed is taken off in squares: s^2 = s_total(t)^2 - s_programmed^2, floored at 0. Sets by target conductance.

Limits: outside the measured times nothing is known, and the effect refuses them when the chip is programmed. One z a
cell for all times makes a cell's path smoother than a real one; the distribution at each time is the measured one.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.errors import SpecError
from crosstile.nonidealities.base import AgeEffect, Array, Levels, Stage, register
from crosstile.nonidealities.sigma import SigmaSpec
from crosstile.specs.base import Conductance, Spec, Time
from crosstile.specs.conditions import Conditions
from crosstile.units import format_duration

_TIME_SLACK = 1e-9  # a time written in days and one in seconds are the same time


class ShiftSpec(Spec):
    """A mean shift: unit * sum_k c_k x^k."""

    polynomial: tuple[float, ...] = Field(min_length=1, max_length=12)
    argument: Literal["relative", "microsiemens"] = "relative"
    """x: g / g_max, or g in microsiemens."""
    unit_s: Conductance = Field(default=1e-6, alias="unit", gt=0)
    g_max_s: Conductance | None = Field(default=None, alias="g_max", gt=0)
    """Conductance at which x = 1; default: g_on of the cell."""

    model_config = Spec.model_config | {"populate_by_name": True}

    def shift_s(self, g_s: Array, levels: Levels) -> Array:
        """Return the shift in siemens, elementwise."""
        x = g_s * 1e6 if self.argument == "microsiemens" else g_s / (self.g_max_s or levels.g_on_s)
        return np.asarray(np.polynomial.polynomial.polyval(x, np.asarray(self.polynomial)) * self.unit_s)


class RelaxationPoint(Spec):
    """Shift and spread measured at one time."""

    time_s: Time = Field(alias="time", ge=0)
    mean: ShiftSpec = ShiftSpec(polynomial=(0.0,))
    sigma: SigmaSpec

    model_config = Spec.model_config | {"populate_by_name": True}


class LogLaw(Spec):
    """Shift and spread that are linear in the logarithm of time."""

    first_s: Time = Field(default=1.0, alias="first", gt=0)
    last_s: Time = Field(alias="last", gt=0)
    """The times between which the fit holds."""
    mean: ShiftSpec = ShiftSpec(polynomial=(0.0,))
    """m0."""
    mean_slope: ShiftSpec = ShiftSpec(polynomial=(0.0,))
    """m1."""
    sigma: SigmaSpec
    """s0."""
    sigma_slope: SigmaSpec
    """s1."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _times_rise(self) -> LogLaw:
        if self.last_s <= self.first_s:
            raise ValueError(f"last ({self.last_s:g} s) must come after first ({self.first_s:g} s)")
        return self


@register
class Relaxation(AgeEffect):
    """What cells do in the seconds to days after programming."""

    kind: Literal["relaxation"] = "relaxation"
    stage: ClassVar[Stage] = "age"
    log: LogLaw | None = None
    points: tuple[RelaxationPoint, ...] | None = Field(default=None, min_length=2, max_length=100)
    interpolation: Literal["log_time", "time"] = "log_time"
    """Between points; ``time`` allows a point at 0 s."""
    spread: Literal["added", "total"] = "added"
    """Whether the sigmas are those of the change, or of the cells around their targets."""
    programmed: SigmaSpec | None = None
    """For ``total``: sigma of the cells as programmed."""

    model_config = AgeEffect.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_sensible(self) -> Relaxation:
        if (self.log is None) == (self.points is None):
            raise ValueError("give exactly one of log and points")
        if (self.spread == "total") != (self.programmed is not None):
            raise ValueError("programmed belongs to spread: total; give both or neither")
        times = [point.time_s for point in self.points or ()]
        if any(b <= a for a, b in pairwise(times)):
            raise ValueError(f"the times of the points must rise; found {', '.join(f'{t:g} s' for t in times)}")
        if self.interpolation == "log_time" and times and times[0] == 0:
            raise ValueError("a point at 0 s has no logarithm; start later, or interpolate in time")
        return self

    @property
    def is_identity(self) -> bool:
        """True when no set shifts or spreads anything."""
        if self.log is not None:
            shifts, sigmas = [self.log.mean, self.log.mean_slope], [self.log.sigma, self.log.sigma_slope]
        else:
            shifts, sigmas = [p.mean for p in self.points or ()], [p.sigma for p in self.points or ()]
        return not any(any(shift.polynomial) for shift in shifts) and all(sigma.is_zero for sigma in sigmas)

    def is_idle(self, conditions: Conditions) -> bool:
        """True as programmed, too."""
        return self.is_identity or conditions.time_s is None

    @property
    def times_s(self) -> tuple[float, float]:
        """The first and the last time at which the effect is known."""
        if self.log is not None:
            return self.log.first_s, self.log.last_s
        assert self.points is not None
        return self.points[0].time_s, self.points[-1].time_s

    def change(self, target_s: Array, levels: Levels, time_s: float) -> tuple[Array, Array]:
        """Return shift and sigma, both in siemens, of cells with these targets.

        Raises:
            SpecError: the time lies outside the measured ones.
        """
        first, last = self.times_s
        if not first * (1 - _TIME_SLACK) <= time_s <= last * (1 + _TIME_SLACK):
            raise SpecError(
                f"relaxation: the cell is known from {format_duration(first)} to {format_duration(last)} after "
                f"programming, and its state after {format_duration(time_s)} is asked for; set conditions.time within "
                "that range, or leave it out for cells as programmed."
            )
        target_s = np.clip(target_s, 0.0, levels.g_on_s)  # no fit holds beyond the window
        if self.log is not None:
            ln = max(math.log(time_s / first), 0.0)
            shift = self.log.mean.shift_s(target_s, levels) + ln * self.log.mean_slope.shift_s(target_s, levels)
            sigma = self.log.sigma.sigma_s(target_s, levels) + ln * self.log.sigma_slope.sigma_s(target_s, levels)
        else:
            shift, sigma = self._between(target_s, levels, time_s)
        if self.programmed is not None:
            before = self.programmed.sigma_s(target_s, levels)
            sigma = np.sqrt(np.maximum(sigma**2 - before**2, 0.0))
        return shift, sigma

    def _between(self, target_s: Array, levels: Levels, time_s: float) -> tuple[Array, Array]:
        assert self.points is not None
        number = next((n for n, p in enumerate(self.points[1:], 1) if time_s <= p.time_s), len(self.points) - 1)
        a, b = self.points[number - 1], self.points[number]
        if self.interpolation == "log_time":
            share = math.log(time_s / a.time_s) / math.log(b.time_s / a.time_s)
        else:
            share = (time_s - a.time_s) / (b.time_s - a.time_s)
        share = min(max(share, 0.0), 1.0)
        shift = (1 - share) * a.mean.shift_s(target_s, levels) + share * b.mean.shift_s(target_s, levels)
        sigma = (1 - share) * a.sigma.sigma_s(target_s, levels) + share * b.sigma.sigma_s(target_s, levels)
        return shift, sigma

    def age(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the conductances at the time of the conditions."""
        if conditions.time_s is None:
            return g_s.copy()
        shift, sigma = self.change(target_s, levels, conditions.time_s)
        return np.maximum(g_s + shift + sigma * rng.standard_normal(g_s.shape), 0.0)
