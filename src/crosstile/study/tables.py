"""The result in the terminal: three tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from crosstile.study.result import Result
from crosstile.units import format_duration, format_quantity


def summary_table(result: Result) -> Table:
    """Return the key figures: accuracy with its interval, energy, time, area and efficiency."""
    acc, cost = result.accuracy, result.cost
    table = Table(title=Text(f"{result.model.name} on {result.chip.get('name', 'chip')}"), show_header=False)
    table.add_column("figure", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(Text(name), Text(value))

    row("Data", f"{result.data.name}, {result.data.samples} samples")
    row("Accuracy, digital", _percent(acc.digital))
    if acc.quantised is not None:
        row("Accuracy, ideal arrays", _percent(acc.quantised))
    chips = f"{result.trials} programmed chip{'s' if result.trials != 1 else ''}"
    interval = f"95 % interval {_percent(acc.ci95[0])} to {_percent(acc.ci95[1])}"
    row("Accuracy, on chip", f"{_percent(acc.mean)}   ({interval}, {chips})")
    if (wires := result.wires) is not None:
        row(
            "Cost of the wires",
            f"{100 * wires.accuracy_cost:.2f} points on {wires.samples} samples   "
            f"({wires.solves} arrays solved in {format_quantity(wires.solve_s, 's', 3)})",
        )
    row("Energy", f"{format_quantity(cost.energy_j, 'J')} per sample")
    latency = f"{format_quantity(cost.latency_s, 's')} per sample"
    if cost.latency_pipelined_s is not None:
        latency += f"   (pipelined {format_quantity(cost.latency_pipelined_s, 's')})"
    row("Latency", latency)
    row("Area", format_quantity(cost.area_m2, "m2"))
    if cost.power_w is not None:
        row("Power", format_quantity(cost.power_w, "W"))
    row("Efficiency", f"{cost.tops_per_w:.4g} TOPS/W{_peak(cost.tops_per_w_peak)}")
    row("Density", f"{cost.tops_per_mm2:.4g} TOPS/mm2{_peak(cost.tops_per_mm2_peak)}")
    row("Energy x delay", f"{format_quantity(cost.edp_js, 'J s')}   (x area {cost.edap * 1e6:.4g} J s mm2)")
    return table


def ageing_table(result: Result) -> Table:
    """Return accuracy under each condition, calibrated once and calibrated again."""
    table = Table(title="Time and temperature", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("time", "temperature", "accuracy\n%", "95 %\ninterval", "calibrated\nagain %", "95 %\ninterval"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in result.ageing:
        table.add_row(
            when(point.time_s),
            format_quantity(point.temperature_k, "K"),
            *(text for seen in (point.once, point.again) for text in (f"{100 * seen.mean:.2f}", _range(seen.ci95))),
        )
    return table


def when(time_s: float | None) -> str:
    """Return a time since programming in words."""
    return "as programmed" if time_s is None else format_duration(time_s)


def _range(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f}"


def layer_table(result: Result) -> Table:
    """Return one row a layer: shape, arrays, signal to error, clipped conversions, energy and time."""
    table = Table(title="Layers", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", overflow="fold", min_width=8, max_width=24)
    table.add_column("matrix", justify="right", no_wrap=True)
    for name in ("arrays", "used\n%", "SNR\ndB", "cum.\ndB", "clip\n%"):
        table.add_column(name, justify="right", no_wrap=True)
    if result.wires is not None:
        table.add_column("wires\npoints", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for layer in result.layers:
        matrix = f"{layer.rows}x{layer.outputs}" + (f"x{layer.groups}" if layer.groups > 1 else "")
        table.add_row(
            Text(layer.name),
            matrix,
            str(layer.arrays),
            f"{100 * layer.utilisation:.0f}",
            "exact" if layer.snr_db is None else f"{layer.snr_db:.1f}",
            "exact" if layer.snr_cumulative_db is None else f"{layer.snr_cumulative_db:.1f}",
            "-" if layer.saturation is None else f"{100 * layer.saturation:.2g}",
            *([] if layer.wires is None else [f"{100 * layer.wires.accuracy_cost:.2f}"]),
            format_quantity(layer.energy_j, "J", 3),
            format_quantity(layer.latency_s, "s", 3),
        )
    return table


def component_table(result: Result) -> Table:
    """Return one row a component, the largest energy first; the sources are in the report."""
    table = Table(title="Components", box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    table.add_column("component", overflow="fold", min_width=15, max_width=15)
    table.add_column("library entry", overflow="fold", max_width=24)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("area", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("trust", overflow="fold", max_width=9)
    for part in sorted(result.components, key=lambda part: -part.energy_j):
        table.add_row(
            Text(part.name or part.role),
            Text(part.component),
            str(part.count),
            format_quantity(part.energy_j, "J", 3),
            _share(part.energy_j, result.cost.energy_j),
            format_quantity(part.area_m2, "m2", 3),
            _share(part.area_m2, result.cost.area_m2),
            Text(part.tag),
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _peak(value: float | None) -> str:
    return "" if value is None else f"   (peak {value:.4g})"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def estimate_tables(model: str, report: Mapping[str, Any]) -> list[Table]:
    """Return the tables of an estimate without data, from ``CostReport.as_dict()``: totals, layers, components."""
    totals = Table(title=Text(f"{model} on {report['chip']}, one inference"), show_header=False)
    totals.add_column("figure", style="bold", no_wrap=True)
    totals.add_column("value", overflow="fold")
    for name, value in (
        ("Energy", format_quantity(report["energy_j"], "J")),
        (
            "Latency",
            f"{format_quantity(report['latency_s'], 's')}   (pipelined {format_quantity(report['latency_pipelined_s'], 's')})",
        ),
        ("Throughput", f"{report['throughput_hz']:.4g} samples/s, pipelined"),
        ("Area", format_quantity(report["area_m2"], "m2")),
        ("Arrays", f"{report['arrays_used']} used, {report['tiles_built']} tiles"),
        ("Efficiency", f"{report['tops_per_w']:.4g} TOPS/W{_peak(report['tops_per_w_peak'])}"),
        ("Density", f"{report['tops_per_mm2']:.4g} TOPS/mm2{_peak(report['tops_per_mm2_peak'])}"),
        (
            "Energy x delay",
            f"{format_quantity(report['edp_js'], 'J s')}   (x area {report['edap_jsm2'] * 1e6:.4g} J s mm2)",
        ),
        ("Cells used", _percent(report["cell_utilisation"])),
    ):
        totals.add_row(name, Text(value))
    layers = Table(title="Layers", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    layers.add_column("layer", overflow="fold", max_width=30)
    for column in ("arrays", "used\n%", "energy", "time", "cycle"):
        layers.add_column(column, justify="right", no_wrap=True)
    for layer in report["layers"]:
        layers.add_row(
            Text(layer["name"]), str(layer["arrays"]), f"{100 * layer['utilisation']:.0f}",
            format_quantity(layer["energy_j"], "J", 3), format_quantity(layer["latency_s"], "s", 3),
            f"{format_quantity(layer['read_cycle_s'], 's', 3)}, {layer['limited_by']}",
        )  # fmt: skip
    parts = Table(title="Components", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    parts.add_column("component", overflow="fold", max_width=24)
    for column in ("count", "energy", "%", "area", "%"):
        parts.add_column(column, justify="right", no_wrap=True)
    parts.add_column("trust", overflow="fold", max_width=9)
    for part in sorted(report["components"], key=lambda item: -item["energy_j"]):
        parts.add_row(
            Text(part["name"]), str(part["count"]), format_quantity(part["energy_j"], "J", 3),
            f"{100 * part['energy_share']:.1f}", format_quantity(part["area_m2"], "m2", 3),
            f"{100 * part['area_share']:.1f}", Text(part["tag"]),
        )  # fmt: skip
    return [totals, layers, parts]
