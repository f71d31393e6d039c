"""How long the cells of a chip last under a network: an endurance budget.

    lifetime = (N - used) / w,     w = w_reload + w_refresh + w_training      writes of one cell in a second

    w_reload   = writes a batch x rate / batch       networks that do not fit (Schedule.writes_per_cell)
    w_refresh  = write-verify cycles / interval      (crosstile.system.lifetime_refresh)
    w_training = writes a step x steps in a second   from the caller

N is the number of cycles that a cell stands. Without wear levelling w is that of the cell written most; ideal levelling spreads
all writes evenly over the arrays that the chip has, those that the network leaves free among them. A write is a pulse: each
of the write-verify cycles counts. All cells stand the same N; that some fail earlier is what ``stuck_at`` describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from crosstile.errors import SpecError
from crosstile.nonidealities.base import Levels
from crosstile.nonidealities.endurance import Endurance
from crosstile.specs.cell import CellSpec
from crosstile.system.reload import WriteModel
from crosstile.system.schedule_result import Schedule

YEAR_S: Final = 31557600.0
LEAST_WINDOW: Final = 0.5
"""Share of the fresh window that a cell with an endurance law has to keep."""
_MOST_CYCLES: Final = 1e18
Levelling = Literal["none", "ideal"]

_MEENA = "J. S. Meena et al., Overview of emerging nonvolatile memory technologies, Nanoscale Res. Lett. 9, 526 (2014), table 2"
_NO_WEAR = "writing does not wear this technology out; taken as unlimited"


@dataclass(frozen=True)
class CycleLimit:
    """How often a cell may be written."""

    cycles: float
    """N; infinite where writing does not wear."""
    used: float
    """Of these, gone before the network is written."""
    source: str
    tag: Literal["published", "derived", "assumed", "stated"]
    """stated: by the user."""

    @property
    def left(self) -> float:
        """Cycles that are left."""
        return max(self.cycles - self.used, 0.0)


DEFAULTS: Final[dict[str, CycleLimit]] = {
    "ReRAM": CycleLimit(
        1e6, 0.0, "P. Huang et al., analytic model of the endurance degradation of metal-oxide RRAM, abstract: 1e6 cycles in "
        "all four levels of HfOx cells", "published",
    ),
    "PCM": CycleLimit(1e12, 0.0, f"{_MEENA}: PCM 1e12", "published"),
    "STT-MRAM": CycleLimit(1e16, 0.0, f"{_MEENA}: STT-RAM more than 1e16", "published"),
    "SOT-MRAM": CycleLimit(1e15, 0.0, f"taken as MRAM of {_MEENA}: more than 1e15", "assumed"),
    "FeFET": CycleLimit(1e7, 0.0, "order of magnitude, chosen by us", "assumed"),
    "SONOS flash": CycleLimit(1e5, 0.0, "order of magnitude of charge-trap flash, chosen by us", "assumed"),
    "SRAM": CycleLimit(math.inf, 0.0, _NO_WEAR, "assumed"),
    "capacitor": CycleLimit(math.inf, 0.0, _NO_WEAR, "assumed"),
    "ideal": CycleLimit(math.inf, 0.0, _NO_WEAR, "assumed"),
}  # fmt: skip
"""By technology of a cell: one figure each, where devices differ by orders of magnitude."""


def cycle_limit(cell: CellSpec, *, stated: float | None = None, least_window: float = LEAST_WINDOW) -> CycleLimit:
    """Return how often a cell may be written: by its endurance law, else as stated, else by its technology.

    Args:
        stated: cycles, where the cell has no endurance law. least_window: share of the fresh window that must be left; the law
        is solved for it by bisection.

    Raises:
        SpecError: a figure beside a law, or neither a law nor a figure for the technology.
    """
    if not 0 < least_window < 1:
        raise SpecError(f"lifetime: the least window is {least_window:g}; a share between 0 and 1 is wanted.")
    law = next((effect for effect in cell.effects if isinstance(effect, Endurance)), None)
    if law is not None and (law.on_exponent or law.off_exponent):
        if stated is not None:
            raise SpecError(
                f"cell {cell.name!r} has an endurance law, and {stated:.3g} cycles are stated beside it; leave one of them out."
            )
        text = f"endurance law of cell {cell.name}, to {least_window:.0%} of the fresh window"
        tag = cell.sources["effects"].tag if "effects" in cell.sources else "stated"
        return CycleLimit(_solve(law, Levels(cell.g_off_s, cell.g_on_s), least_window), law.cycles, text, tag)
    if stated is not None:
        if not 1 <= stated <= _MOST_CYCLES:
            raise SpecError(f"lifetime: {stated:.3g} cycles are stated; 1 to {_MOST_CYCLES:.0e} are possible.")
        return CycleLimit(stated, 0.0, "stated by the user", "stated")
    if cell.technology not in DEFAULTS:
        raise SpecError(
            f"cell {cell.name!r}: nothing is known of how many cycles {cell.technology} stands; state them (--cycles 1e8), "
            f"or give the cell an endurance effect. Known are {', '.join(DEFAULTS)}."
        )
    return DEFAULTS[cell.technology]


def _solve(law: Endurance, levels: Levels, share: float) -> float:
    """Return the cycles after which ``share`` of the window is left."""

    def left(cycles: float) -> float:
        try:
            worn = law.model_copy(update={"cycles": cycles}).window(levels)
        except SpecError:  # closed
            return 0.0
        return (worn.g_on_s - worn.g_off_s) / (levels.g_on_s - levels.g_off_s)

    if left(_MOST_CYCLES) >= share:
        return _MOST_CYCLES
    low, high = 0.0, math.log1p(_MOST_CYCLES)
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if left(math.expm1(middle)) >= share else (low, middle)
    return math.expm1(low)


@dataclass(frozen=True)
class Wear:
    """Writes of one cell in a second, by cause."""

    reload_hz: float
    refresh_hz: float
    training_hz: float
    levelling: Levelling

    @property
    def total_hz(self) -> float:
        """All together."""
        return self.reload_hz + self.refresh_hz + self.training_hz

    def lifetime_s(self, limit: CycleLimit) -> float:
        """Return the time until the cycles are used up; infinite where nothing is written or nothing wears."""
        return math.inf if self.total_hz == 0 else limit.left / self.total_hz


def inference_rate(plan: Schedule, rate_hz: float | None) -> float:
    """Return samples in a second: as stated, or continuous, which is all that the schedule gives.

    Raises:
        SpecError: more than that, or less than nothing.
    """
    if rate_hz is None:
        return plan.throughput_hz
    if not 0 <= rate_hz <= plan.throughput_hz * (1 + 1e-9):
        raise SpecError(
            f"lifetime of {plan.network} on {plan.chip}: {rate_hz:.4g} samples a second are asked for; the schedule gives 0 to "
            f"{plan.throughput_hz:.4g}."
        )
    return rate_hz


def wear(
    plan: Schedule,
    model: WriteModel,
    *,
    rate_hz: float,
    refresh_interval_s: float = math.inf,
    updates_per_step: float = 0.0,
    steps_hz: float = 0.0,
    levelling: Levelling = "none",
) -> Wear:
    """Return the writes of one cell.

    Args:
        plan, model: the network on the chip, and what a write takes. rate_hz: samples in a second.
        refresh_interval_s: between refreshes of all arrays that hold weights; ignored where a network is reloaded anyway.
        updates_per_step: writes that a cell takes in one step of training on the chip. steps_hz: steps in a second.
        levelling: none, or ideal over all arrays of the chip.

    Raises:
        SpecError: a negative figure.
    """
    figures = {"updates_per_step": updates_per_step, "steps_hz": steps_hz, "refresh_interval_s": refresh_interval_s}
    for name, value in figures.items():
        if not value >= 0 or (name == "refresh_interval_s" and value == 0):
            raise SpecError(f"lifetime of {plan.network} on {plan.chip}: {name} is {value:g}; it must be positive.")
    batches_hz = rate_hz / plan.batch
    spread = plan.arrays_used / plan.arrays
    if levelling == "none":
        reload, spread = plan.writes_per_cell, 1.0
    else:  # every pulse of the batch, over all cells of the chip
        reload = plan.cells_written * model.cycles / (plan.arrays * model.cells)
    refresh = 0.0 if not plan.fits else model.cycles / refresh_interval_s
    return Wear(
        reload * batches_hz,
        refresh * spread,
        updates_per_step * steps_hz * spread,
        levelling,
    )
