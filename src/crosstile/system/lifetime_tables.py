"""A lifetime study in the terminal; 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from crosstile.system.lifetime_result import LifetimeAccuracy, LifetimeResult, RefreshPoint
from crosstile.units import format_duration, format_quantity


def headline(result: LifetimeResult) -> str:
    """Return what was studied, in a few words."""
    how = "continuous" if result.continuous else "as stated"
    arrays = f"{result.arrays_used} of {result.arrays} arrays"
    return f"{result.model} on {result.chip}: {result.rate_hz:.4g} samples/s ({how}), {arrays}"


def interval_text(point: RefreshPoint) -> str:
    """Return how long weights keep."""
    mark = {"found": "", "longer": "> ", "shorter": "< "}[point.bound]
    return mark + format_duration(point.interval_s, 3)


def years_text(years: float | None) -> str:
    """Return a lifetime in words."""
    return "no limit" if years is None else format_duration(years * 31557600.0, 3)


def budget_table(result: LifetimeResult) -> Table:
    """Return cycles, writes of a cell by cause, and the lifetime, at the first temperature."""
    point, cycles = result.refresh[0], result.cycles
    table = Table(title=Text(headline(result)), title_justify="left", show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    text = "no limit" if cycles.cycles is None else f"{cycles.cycles:.3g}"
    used = f", {cycles.used:.3g} used" if cycles.used else ""
    table.add_row("cycles of a cell", f"{text}{used} ({cycles.tag})")
    table.add_row("  from", Text(cycles.source))
    table.add_row("temperature", f"{point.temperature_k:g} K")
    if point.wear is None:
        table.add_row("lifetime", "none: weights are lost faster than they can be refreshed")
        return table
    worn = point.wear
    levelled = "ideally levelled" if worn.levelling == "ideal" else "no levelling"
    for name, value in (("reloading", worn.reload_hz), ("refreshing", worn.refresh_hz), ("training", worn.training_hz)):
        table.add_row(f"writes by {name}", f"{value:.3g} a second")
    table.add_row(f"writes in {result.years:g} years", f"{worn.writes:.3g} of a cell, {levelled}")
    table.add_row("lifetime", years_text(worn.lifetime_years))
    return table


def refresh_table(result: LifetimeResult) -> Table:
    """Return refreshing by temperature."""
    title = f"Refreshing when {100 * result.loss:.3g} % of the window are lost"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("T\nK", "keeps", "energy", "power", "time\n%", "writes\na year", "lifetime"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in result.refresh:
        share = "-" if point.time_share is None else f"{100 * point.time_share:.2g}"
        writes = "-" if point.writes_hz is None else f"{point.writes_hz * 31557600.0:.3g}"
        power = "too slow" if point.power_w is None else format_quantity(point.power_w, "W", 3)
        lifetime = "-" if point.wear is None else years_text(point.wear.lifetime_years)
        energy = format_quantity(point.energy_j, "J", 3)
        table.add_row(f"{point.temperature_k:g}", interval_text(point), energy, power, share, writes, lifetime)
    return table


def accuracy_table(title: str, found: Sequence[LifetimeAccuracy]) -> Table:
    """Return accuracies by case."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("case", no_wrap=True)
    for name in ("accuracy\n%", "95 % interval", "chips"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        chips = ", ".join(f"{100 * value:.1f}" for value in one.per_trial[:4]) + (
            ", ..." if len(one.per_trial) > 4 else ""
        )
        table.add_row(one.case, f"{100 * one.mean:.2f}", f"{100 * one.ci95[0]:.1f} to {100 * one.ci95[1]:.1f}", chips)
    return table


def tables(result: LifetimeResult) -> list[Table]:
    """Return all tables of a result."""
    found = [budget_table(result), refresh_table(result)]
    if result.data is not None and result.digital is not None:
        first = result.refresh[0].temperature_k
        text = f"{result.years:g} years at {first:g} K, {result.data.samples} samples"
        found.append(accuracy_table(f"{text}, digital {100 * result.digital:.2f} %", result.ageing))
    if result.stuck:
        rates = "" if result.faults is None else f" ({100 * result.faults[0]:g} % on, {100 * result.faults[1]:g} % off)"
        found.append(accuracy_table(f"Stuck cells{rates}, as programmed", result.stuck))
    return found
