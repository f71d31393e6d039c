"""The life of cells: written, aged, broken, read. One place where the stages meet, for arrays and for single devices.

Each purpose draws from a generator of its own. The names of the generators leave time and temperature out, so that a cell
keeps its character under all conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from crosstile.nonidealities.base import AgeEffect, Array, Effect, Levels, ProgramEffect, ReadEffect
from crosstile.nonidealities.device_variation import device_factor
from crosstile.nonidealities.stuck import StuckAt
from crosstile.nonidealities.write_verify import WriteStatistics, WriteVerify
from crosstile.specs.conditions import Conditions

Draw = Callable[[str], np.random.Generator]
"""Gives the generator of a purpose."""


def write(effects: Iterable[Effect], target_s: Array, levels: Levels, draw: Draw) -> tuple[Array, WriteStatistics]:
    """Return conductances as written, in siemens, and what writing took.

    Args:
        effects: of the cell. target_s: asked for, any shape. levels: the window. draw: generators by purpose.
    """
    effects = list(effects)
    program = [e for e in effects if isinstance(e, ProgramEffect) and e.stage == "program"]
    verify = next((e for e in effects if isinstance(e, WriteVerify)), None)
    rng = draw("program")

    def once(wanted_s: Array) -> Array:
        g_s = wanted_s.copy()
        for effect in program:
            g_s = effect.apply(g_s, wanted_s, levels, rng)
        return g_s

    factor = device_factor(effects, target_s, levels, draw)
    if verify is not None:
        return verify.apply(target_s, levels, once, factor)
    aim_s = target_s if factor is None else factor * target_s
    return once(aim_s), WriteStatistics(target_s.size, target_s.size, 0)


def age(
    effects: Iterable[Effect], g_s: Array, target_s: Array, levels: Levels, draw: Draw, conditions: Conditions
) -> Array:
    """Return conductances under ``conditions``; ``g_s`` as written."""
    for effect in effects:
        if isinstance(effect, AgeEffect):
            g_s = effect.age(g_s, target_s, levels, draw(effect.kind), conditions)
    return g_s


def break_cells(
    effects: Iterable[Effect], g_s: Array, target_s: Array, levels: Levels, draw: Draw, array_number: int
) -> Array:
    """Return the conductances (rows, columns) of one array with its faults; maps of faults go by ``array_number``."""
    for effect in effects:
        if effect.stage != "fault":
            continue
        rng = draw(effect.kind)
        if isinstance(effect, StuckAt):
            g_s = effect.apply_to_array(g_s, levels, rng, array_number)
        elif isinstance(effect, ProgramEffect):
            g_s = effect.apply(g_s, target_s, levels, rng)
    return g_s


def read_variance(
    effects: Iterable[Effect], g_s: Array, target_s: Array, levels: Levels, draw: Draw, conditions: Conditions
) -> Array | None:
    """Return the variance of one read of each cell in siemens squared; ``None`` without read noise."""
    variance: Array | None = None
    for effect in effects:
        if isinstance(effect, ReadEffect):
            sigma = effect.sigma_s(g_s, target_s, levels, draw(effect.kind), conditions)
            variance = sigma**2 if variance is None else variance + sigma**2
    return variance
