"""A network on several chips as one HTML page: throughput and energy over their number, and which chip holds which layer."""

from __future__ import annotations

from collections.abc import Sequence

from crosstile import __version__
from crosstile.specs.package import PackageSpec
from crosstile.study.report import render_page
from crosstile.study.report_style import ACCENT, WARM, Figure, axis, layout, safe
from crosstile.system.package import PackageResult


def _line(name: str, x: Sequence[float], y: Sequence[float], colour: str, unit: str) -> Figure:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": list(x), "y": list(y),
        "line": {"color": colour, "width": 2}, "hovertemplate": f"%{{x}} chips: %{{y:.4~g}} {unit}<extra>{name}</extra>",
    }  # fmt: skip


def throughput(results: Sequence[PackageResult]) -> Figure:
    """Return samples per second over the number of chips, and what the busiest link would allow."""
    chips = [one.chips for one in results]
    linked = [one for one in results if one.link_time_s > 0]
    data = [
        _line("samples per second", chips, [one.throughput_hz for one in results], ACCENT, "a second"),
        _line(
            "limit of the busiest link",
            [o.chips for o in linked],
            [1 / o.link_time_s for o in linked],
            WARM,
            "a second",
        ),
    ]
    x = axis("chips", type="log", tickvals=chips, ticktext=[str(c) for c in chips])
    return {"data": data, "layout": layout(360, right=210, xaxis=x, yaxis=axis("samples per second", type="log"))}


def energy(results: Sequence[PackageResult]) -> Figure:
    """Return the energy of one sample over the number of chips, and the links' part of it."""
    chips = [one.chips for one in results]
    linked = [one for one in results if one.link_energy_j > 0]
    data = [
        _line("energy of a sample", chips, [one.energy_j * 1e3 for one in results], ACCENT, "mJ"),
        _line("of it links", [one.chips for one in linked], [one.link_energy_j * 1e3 for one in linked], WARM, "mJ"),
    ]
    x = axis("chips", type="log", tickvals=chips, ticktext=[str(c) for c in chips])
    return {"data": data, "layout": layout(360, right=210, xaxis=x, yaxis=axis("energy of a sample (mJ)", type="log"))}


def placement(result: PackageResult) -> Figure:
    """Return which chips hold which layer."""
    points = [(chip, layer) for layer, where in result.place.items() for chip in where]
    layers = list(result.place)
    step = -(-len(layers) // 60)
    marks = {
        "type": "scatter", "mode": "markers", "name": "layer", "x": [c for c, _ in points],
        "y": [layers.index(layer) for _, layer in points], "marker": {"color": ACCENT, "size": 6, "symbol": "square"},
        "customdata": [safe(layer) for _, layer in points], "hovertemplate": "%{customdata}: chip %{x}<extra></extra>",
    }  # fmt: skip
    shown = range(0, len(layers), step)
    y = axis(
        "", tickvals=list(shown), ticktext=[safe(layers[i], 26) for i in shown], range=[len(layers) - 0.4, -0.6], zeroline=False,
    )  # fmt: skip
    height = min(1100, 130 + 14 * len(layers))
    return {"data": [marks], "layout": layout(height, right=60, xaxis=axis("chip", zeroline=False), yaxis=y)}


def render(results: Sequence[PackageResult], package: PackageSpec, command: str) -> str:
    """Return one HTML page of all numbers of chips; the placement is that of the most chips."""
    figures = {"throughput": throughput(results), "energy": energy(results), "place": placement(results[-1])}
    return render_page(
        "package.html.j2", figures, version=__version__, results=[one.as_dict() for one in results], package=package,
        command=command,
        notes=list(dict.fromkeys(note for one in results for note in one.notes)),
    )  # fmt: skip
