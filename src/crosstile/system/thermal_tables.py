"""A thermal study in the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from crosstile.system.thermal_result import HeatAccuracy, HeatPoint, ThermalResult
from crosstile.units import format_quantity


def accuracy_text(found: HeatAccuracy | None) -> str:
    """Return the accuracy in per cent and the half width of its interval, or a dash."""
    return "-" if found is None else f"{100 * found.mean:.1f} ±{50 * (found.ci95[1] - found.ci95[0]):.1f}"


def recovered_text(point: HeatPoint) -> str:
    """Return the share of the loss that a remedy brings back in per cent, or a dash."""
    return "-" if point.recovered is None else f"{100 * point.recovered:.0f}"


def headline(result: ThermalResult) -> str:
    """Return what was run, in a few words."""
    text = (
        f"{result.model} on {result.chip}: {result.arrays} arrays on {result.tiles} tiles, "
        f"{result.rate_hz:.4g} samples/s ({result.schedule.replace('_', '-')})"
    )
    if result.data is not None and result.cool is not None:
        text += f"; {result.data.samples} samples, {result.trials} chips, cool {accuracy_text(result.cool)} %"
    return text


def heat_table(result: ThermalResult) -> Table:
    """Return temperatures, power and accuracy of every remedy in air of every temperature."""
    table = Table(title=Text(headline(result)), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("remedy", no_wrap=True)
    # With accuracies the temperatures of arrays would not fit 80 columns; they stand in the files.
    arrays = [] if result.data is not None else ["arrays\nK"]
    for name in ("air\nK", "peak\nK", "mean\nK", *arrays, "power", "leakage"):
        table.add_column(name, justify="right", no_wrap=True)
    if result.data is not None:
        table.add_column("accuracy\n%", justify="right", no_wrap=True)
        table.add_column("back\n%", justify="right", no_wrap=True)
    for point in result.points:
        cells = [point.remedy, f"{point.ambient_k:g}", f"{point.peak_k:.2f}", f"{point.mean_k:.2f}"]
        cells += [f"{point.coolest_array_k:.1f}-{point.hottest_array_k:.1f}"] if arrays else []
        cells += [format_quantity(watts, "W", 3) for watts in (point.power_w, point.leakage_w)]
        if result.data is not None:
            cells += [accuracy_text(point.accuracy).replace(" ", ""), recovered_text(point)]
        table.add_row(*cells)
    return table


def sensitivity_table(result: ThermalResult) -> Table:
    """Return how much each layer's warmth changes the scores, the most sensitive first."""
    title = Text("Change of the scores for each kelvin of one layer, of their standard deviation")
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer")
    table.add_column("% / K", justify="right", no_wrap=True)
    for one in sorted(result.sensitivity, key=lambda s: -s.per_kelvin):
        table.add_row(Text(one.layer), f"{100 * one.per_kelvin:.3g}")
    return table
