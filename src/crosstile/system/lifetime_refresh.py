"""When weights have to be written again: the interval after which a stated share of the window is lost, by temperature.

    loss(t, T) = max over the levels of |g(t, T) - g(0)| / (g_on - g_off)        loss(t*, T) = share

g(t, T) comes from the cell's own drift, relaxation and retention with all deviates at zero: the typical cell. Half of
the cells of a spread are worse. t* is the first time at which the share is reached, found on a grid of 25 times a decade
and then by bisection. Reversible temperature dependence is no loss. Refreshing all n arrays that hold weights takes, with
the write model of a chip,

    energy = E_write(n),   power = energy / t*,   share of time = t_write(n) / t*,   wear = cycles / t*  (writes of a cell) .

A refresh is taken to restore the target as well as the first programming did, from weights that are kept in the memory
off the chip; nothing is computed meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from crosstile.crossbar.program import Window
from crosstile.errors import SpecError
from crosstile.nonidealities import life
from crosstile.nonidealities.base import AgeEffect
from crosstile.nonidealities.relaxation import Relaxation
from crosstile.nonidealities.temperature import TemperatureDependence
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.system.lifetime import CycleLimit, Wear
from crosstile.system.reload import WriteModel

FloatArray = npt.NDArray[np.float64]

_FIRST_S: Final = 1e-6
_LAST_S: Final = 1e11
_PER_DECADE: Final = 25
_STATES: Final = 33
"""States of a continuous cell that are looked at."""


class _Typical:
    """A generator whose normal deviates are all zero."""

    def standard_normal(self, shape: tuple[int, ...]) -> FloatArray:
        return np.zeros(shape)

    def __getattr__(self, name: str) -> Any:
        raise SpecError(f"lifetime: an effect of the cell draws by {name}, for which no typical cell is known.")


def half_a_level(chip: ChipSpec) -> float:
    """Return half a level as a share of the window; continuous cells count as of as many bits as the cell is said to hold."""
    levels = chip.weights.max_level if chip.weights.cell_bits is not None else 2**chip.cell.max_bits - 1
    return 0.5 / levels


def typical_loss(chip: ChipSpec, time_s: float, temperature_k: float) -> float:
    """Return the largest loss over the levels of the typical cell, as a share of the window."""
    conditions, window = Conditions(time=time_s, temperature=temperature_k), Window.of(chip)
    top = chip.weights.max_level
    count = top + 1 if chip.weights.cell_bits is not None else _STATES
    target_s = window.to_siemens(np.linspace(0.0, top, count))
    effects = [effect for effect in _ageing(chip) if not effect.is_idle(conditions)]
    typical = cast(np.random.Generator, _Typical())
    g_s = life.age(effects, target_s, target_s, window.levels, lambda _: typical, conditions)
    return float(np.abs(g_s - target_s).max() / (chip.cell.g_on_s - chip.cell.g_off_s))


def _ageing(chip: ChipSpec) -> list[AgeEffect]:
    return [e for e in chip.cell.effects if isinstance(e, AgeEffect) and not isinstance(e, TemperatureDependence)]


@dataclass(frozen=True)
class Interval:
    """How long weights keep."""

    time_s: float
    bound: Literal["found", "longer", "shorter"]
    """longer, shorter: all that is known is that it takes longer (is over sooner) than ``time_s``."""


def keeping_time(chip: ChipSpec, temperature_k: float, share: float | None = None) -> Interval:
    """Return how long the typical cell keeps its state to within ``share`` of the window (default: half a level).

    Raises:
        SpecError: a share that is none.
    """
    share = half_a_level(chip) if share is None else share
    if not 0 < share <= 1:
        raise SpecError(f"lifetime: the share of the window is {share:g}; more than 0 and at most 1 is wanted.")
    first, last = _FIRST_S, _LAST_S
    for effect in _ageing(chip):
        if isinstance(effect, Relaxation):
            first, last = max(first, effect.times_s[0]), min(last, effect.times_s[1])
    grid = np.geomspace(first, last, max(2, math.ceil(_PER_DECADE * math.log10(last / first)) + 1))
    grid[0], grid[-1] = first, last  # as the effects have them, whatever the logarithm rounds to
    reached = None
    for number, time_s in enumerate(grid):
        if typical_loss(chip, float(time_s), temperature_k) >= share:
            reached = number
            break
    if reached is None:
        return Interval(last, "longer")
    if reached == 0:
        return Interval(first, "shorter")
    low, high = math.log(grid[reached - 1]), math.log(grid[reached])
    for _ in range(60):
        middle = 0.5 * (low + high)
        lost = typical_loss(chip, math.exp(middle), temperature_k) >= share
        low, high = (low, middle) if lost else (middle, high)
    return Interval(math.exp(high), "found")


@dataclass(frozen=True)
class Refresh:
    """Refreshing at one temperature."""

    temperature_k: float
    interval: Interval
    energy_j: float
    """Of one refresh of all arrays that hold weights."""
    duration_s: float
    power_w: float | None
    """Mean; none where the weights are lost before any time that the cell is known at, or faster than they are written."""
    time_share: float | None
    writes_hz: float | None
    """Of one cell."""
    lifetime_s: float | None
    """Until refreshing alone has used the cell up."""

    @property
    def possible(self) -> bool:
        """Whether refreshing keeps up."""
        return self.power_w is not None


def refresh(
    chip: ChipSpec, model: WriteModel, arrays: int, limit: CycleLimit, temperature_k: float, share: float | None = None,
    distinct: int | None = None,
) -> Refresh:  # fmt: skip
    """Return what refreshing ``arrays``, ``distinct`` of them no copies (default: all), takes at one temperature."""
    interval = keeping_time(chip, temperature_k, share)
    energy_j, duration_s = model.energy_j(arrays, distinct), model.time_s(arrays, distinct)
    if interval.bound == "longer":
        return Refresh(temperature_k, interval, energy_j, duration_s, 0.0, 0.0, 0.0, math.inf)
    if interval.bound == "shorter" or duration_s > interval.time_s:
        return Refresh(temperature_k, interval, energy_j, duration_s, None, None, None, None)
    writes_hz = model.cycles / interval.time_s
    return Refresh(
        temperature_k, interval, energy_j, duration_s, energy_j / interval.time_s, duration_s / interval.time_s, writes_hz,
        Wear(0.0, writes_hz, 0.0, "none").lifetime_s(limit),
    )  # fmt: skip


def refresh_table(
    chip: ChipSpec, model: WriteModel, arrays: int, limit: CycleLimit, temperatures_k: Sequence[float],
    share: float | None = None, distinct: int | None = None,
) -> tuple[Refresh, ...]:  # fmt: skip
    """Return :func:`refresh` at each temperature."""
    return tuple(refresh(chip, model, arrays, limit, k, share, distinct) for k in temperatures_k)
