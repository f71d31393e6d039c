"""The figures of the report as plain plotly.js dictionaries; drawing is left to the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crosstile.study.chip_figures import chip_figures
from crosstile.study.report_style import (
    ACCENT,
    INK,
    POINT,
    SOFT,
    WARM,
    Figure,
    accuracy_text,
    axis,
    axis_scale,
    bars,
    crowded,
    layer_axis,
    layout,
    percent,
    pretty,
    safe,
)
from crosstile.study.result import LayerResult, Result

_PALETTE: Final = (
    "#1f5f99",
    "#d1662b",
    "#3a8f5c",
    "#8a5fa8",
    "#c9a227",
    "#2aa3a3",
    "#b8436b",
    "#7a5c3e",
    "#6b7f93",
)
_OTHER: Final = "#c3cbd2"
_PARTS: Final = {"compute": "#1f5f99", "drain": "#c9a227", "buffer": "#3a8f5c", "network": "#8a5fa8"}
_SHOWN: Final = 9  # more colours than this cannot be told apart


def figures(result: Result) -> dict[str, Figure]:
    """Return every figure that the result has data for, by the id of its place in the report."""
    found = {"accuracy": _accuracy(result)}
    if result.layers:
        colours = _component_colours(result)
        found["energy-layers"] = _energy_layers(result, colours)
        found["latency-layers"] = _latency_layers(result)
        found["area-layers"] = _area_layers(result)
        found["snr"] = _snr(result.layers)
        if any(layer.saturation is not None for layer in result.layers):
            found["saturation"] = _saturation(result.layers)
        if result.wires is not None and all(layer.wires is not None for layer in result.layers):
            found["wires"] = _wires(result.layers)
        if any(layer.conductance for layer in result.layers):
            found["conductance"] = _conductance(result.layers)
        for place in ("energy-layers", "latency-layers", "area-layers", "snr", "saturation", "wires"):
            if place in found and crowded(result.layers):
                found[place]["layout"]["height"] += 70
    if result.ageing:
        found["ageing"] = _ageing(result)
    if result.components:
        found["components"] = _components(result)
    return found | chip_figures(result)


def _accuracy(result: Result) -> Figure:
    acc = result.accuracy
    chips = list(range(1, len(acc.per_trial) + 1))
    ends = [0.4, len(chips) + 0.6]
    low, high = (100 * end for end in acc.ci95)

    def line(name: str, share: float, colour: str, dash: str) -> Figure:
        return {
            "type": "scatter", "mode": "lines", "name": f"{name} {accuracy_text(share)}", "x": ends,
            "y": [100 * share] * 2, "line": {"color": colour, "dash": dash, "width": 2}, "hoverinfo": "name",
        }  # fmt: skip

    band = {
        "type": "scatter", "mode": "lines", "name": "95 % interval of the mean", "x": [*ends, *ends[::-1]],
        "y": [low, low, high, high], "fill": "toself", "fillcolor": "rgba(31,119,180,0.16)",
        "line": {"width": 0}, "hoverinfo": "skip",
    }  # fmt: skip
    data = [band, line("digital", acc.digital, INK, "dash")]
    if acc.quantised is not None:
        data.append(line("ideal arrays, same bits", acc.quantised, "#3a8f5c", "dot"))
    data.append(line("mean of the chips", acc.mean, ACCENT, "solid"))
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "one programmed chip",
            "x": chips,
            "y": [100 * share for share in acc.per_trial],
            "marker": {"color": WARM, "size": 9},
            "hovertemplate": "chip %{x}: %{y:.2f} %<extra></extra>",
        }
    )
    chip_axis = axis("programmed chip (number)", range=ends, showgrid=False, zeroline=False)
    if len(chips) <= 20:
        chip_axis["dtick"] = 1
    return {"data": data, "layout": layout(320, 250, xaxis=chip_axis, yaxis=axis("accuracy (%)"))}


def _ageing(result: Result) -> Figure:
    """Accuracy over time, one colour a temperature; over temperature where there is one time only."""
    points = [point for point in result.ageing if point.time_s is not None] or list(result.ageing)
    over_time = len({point.time_s for point in points}) > 1
    groups = sorted({point.temperature_k if over_time else 0.0 for point in points})
    data = []
    for number, group in enumerate(groups):
        mine = [point for point in points if not over_time or point.temperature_k == group]
        x = [point.time_s if over_time else point.temperature_k for point in mine]
        colour = _PALETTE[number % len(_PALETTE)]
        for name, dash in (("once", "solid"), ("again", "dot")):
            seen = [point.once if name == "once" else point.again for point in mine]
            label = "calibrated once" if name == "once" else "calibrated again"
            data.append(
                {
                    "type": "scatter", "mode": "lines+markers", "x": x, "y": [100 * s.mean for s in seen],
                    "name": f"{pretty(group, 'K')}, {label}" if over_time else label,
                    "line": {"color": colour if over_time or name == "once" else WARM, "dash": dash, "width": 2},
                    "error_y": {
                        "type": "data", "symmetric": False, "thickness": 1,
                        "array": [100 * (s.ci95[1] - s.mean) for s in seen],
                        "arrayminus": [100 * (s.mean - s.ci95[0]) for s in seen],
                    },
                    "hovertemplate": "%{x}: %{y:.2f} %<extra></extra>",
                }
            )  # fmt: skip
    low_end = over_time and min(point.time_s or 0.0 for point in points) > 0
    across = axis("time since programming (s)", type="log" if low_end else "linear") if over_time else axis(
        "temperature (K)"
    )  # fmt: skip
    return {"data": data, "layout": layout(340, 250, xaxis=across, yaxis=axis("accuracy (%)"))}


def _component_colours(result: Result) -> dict[str, str]:
    """The largest takers of energy get a colour of their own, the same in every figure."""
    totals: dict[str, float] = {}
    for layer in result.layers:
        for name, energy_j in layer.energy_by_component.items():
            totals[name] = totals.get(name, 0.0) + energy_j
    order = sorted((name for name in totals if totals[name] > 0), key=lambda name: -totals[name])
    shown = order if len(order) <= _SHOWN else order[: _SHOWN - 1]
    return dict(zip(shown, _PALETTE, strict=False))


def _energy_layers(result: Result, colours: dict[str, str]) -> Figure:
    layers = result.layers
    factor, unit = axis_scale(max(layer.energy_j for layer in layers), "J")

    def show(value: float | None) -> str:
        return pretty(value, "J")

    data = [
        bars(layers, name, [la.energy_by_component.get(name, 0.0) for la in layers], factor, colour, show)
        for name, colour in colours.items()
    ]
    rest = [
        sum(energy_j for name, energy_j in la.energy_by_component.items() if name not in colours)
        if la.energy_by_component
        else la.energy_j
        for la in layers
    ]
    if any(rest):
        data.append(bars(layers, "all others" if data else "energy", rest, factor, _OTHER, show))
    axes: Figure = {"xaxis": layer_axis(layers), "yaxis": axis(f"energy per sample ({unit})")}
    return {"data": data, "layout": layout(360, barmode="stack", **axes)}


def _latency_layers(result: Result) -> Figure:
    layers = result.layers
    factor, unit = axis_scale(max(layer.latency_s for layer in layers), "s")

    def show(value: float | None) -> str:
        return pretty(value, "s")

    names = list(dict.fromkeys(part for layer in layers for part in layer.latency_by_part_s))
    data = [
        bars(layers, name.replace("_", " "), [la.latency_by_part_s.get(name, 0.0) for la in layers], factor,
              _PARTS.get(name, WARM), show)
        for name in names
    ]  # fmt: skip
    if not data:
        data = [bars(layers, "time", [layer.latency_s for layer in layers], factor, ACCENT, show)]
    axes: Figure = {"xaxis": layer_axis(layers), "yaxis": axis(f"time per sample ({unit})")}
    return {"data": data, "layout": layout(320, barmode="stack", **axes)}


def _area_layers(result: Result) -> Figure:
    layers = result.layers
    arrays = sum(layer.arrays for layer in layers) or 1
    areas_m2 = [result.cost.area_m2 * layer.arrays / arrays for layer in layers]
    factor, unit = axis_scale(max(areas_m2), "m2")
    data = [bars(layers, "area", areas_m2, factor, "#2aa3a3", lambda value: pretty(value, "m2"))]
    axes: Figure = {"xaxis": layer_axis(layers), "yaxis": axis(f"chip area ({unit})")}
    return {"data": data, "layout": layout(280, showlegend=False, **axes)}


def _components(result: Result) -> Figure:
    parts = sorted(result.components, key=lambda part: (part.energy_j, part.area_m2))
    names = [safe(part.name or part.role, 28) for part in parts]
    data = []
    for side, unit, values, colour in (
        ("x", "J", [part.energy_j for part in parts], "#1f5f99"),
        ("x2", "m2", [part.area_m2 for part in parts], "#2aa3a3"),
    ):
        factor, label = axis_scale(max(values), unit)
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "xaxis": side,
                "y": list(range(len(parts))),
                "x": [value * factor for value in values],
                "marker": {"color": colour},
                "hovertemplate": POINT,
                "customdata": [
                    [name, safe(part.component), pretty(value, unit)]
                    for name, part, value in zip(names, parts, values, strict=True)
                ],
                "unit": label,
            }
        )
    y_axis = axis("component", tickvals=list(range(len(parts))), ticktext=names, showgrid=False, zeroline=False)
    place = layout(
        110 + 26 * len(parts),
        24,
        showlegend=False,
        yaxis=y_axis,
        xaxis=axis(f"energy per sample ({data[0].pop('unit')})", domain=[0, 0.48]),
        xaxis2=axis(f"area on the chip ({data[1].pop('unit')})", domain=[0.53, 1]),
    )
    return {"data": data, "layout": place}


def _snr(layers: Sequence[LayerResult]) -> Figure:
    def show(value: float | None) -> str:
        return "exact" if value is None else f"{value:.3g} dB"

    data = [
        bars(layers, "this layer alone", [layer.snr_db for layer in layers], 1.0, SOFT, show),
        bars(layers, "with earlier layers", [layer.snr_cumulative_db for layer in layers], 1.0, WARM, show),
    ]
    axes: Figure = {"xaxis": layer_axis(layers), "yaxis": axis("signal to error (dB)")}
    return {"data": data, "layout": layout(320, barmode="group", **axes)}


def _wires(layers: Sequence[LayerResult]) -> Figure:
    def lost(value: float | None) -> str:
        return "none" if value is None else f"{100 * value:.3g} % of the current"

    def points(value: float | None) -> str:
        return "none" if value is None else f"{100 * value:.3g} points"

    held = [layer.wires for layer in layers]
    costs = [None if w is None else w.accuracy_cost for w in held]
    losses = [None if w is None else 1.0 - w.current_kept for w in held]
    cost = bars(layers, "accuracy cost", costs, 100.0, WARM, points)
    left = bars(layers, "current lost", losses, 100.0, SOFT, lost)
    # Two scales of different nature: the bars of one would hide those of the other, so they stand one above the other.
    left |= {"xaxis": "x", "yaxis": "y2"}
    axes: Figure = {
        "xaxis": layer_axis(layers),
        "yaxis": axis("accuracy cost (points)", domain=[0, 0.46]),
        "yaxis2": axis("current lost (%)", domain=[0.54, 1], rangemode="tozero", anchor="x"),
    }
    return {"data": [left, cost], "layout": layout(460, **axes)}


def _saturation(layers: Sequence[LayerResult]) -> Figure:
    axes: Figure
    slices = max(len(layer.saturation_per_slice) for layer in layers)
    if slices < 2:
        data = [bars(layers, "clipped", [layer.saturation for layer in layers], 100.0, WARM, percent)]
        axes = {"xaxis": layer_axis(layers), "yaxis": axis("clipped conversions (%)", rangemode="tozero")}
        return {"data": data, "layout": layout(280, showlegend=False, **axes)}
    shares = [[la.saturation_per_slice[s] if s < len(la.saturation_per_slice) else None for la in layers]
              for s in range(slices)]  # fmt: skip
    rows = [[None if share is None else 100 * share for share in row] for row in shares]
    numbers = len(layers) <= 16
    heat = {
        "type": "heatmap", "x": list(range(len(layers))), "y": list(range(slices)), "z": rows, "zmin": 0,
        "xgap": 2, "ygap": 2, "colorscale": [[0, "#f4efe9"], [0.5, "#e39a63"], [1, "#9c3d10"]],
        "colorbar": {"title": {"text": "clipped (%)", "side": "right"}, "thickness": 14, "x": 1.015},
        "customdata": [[[safe(la.name), f"slice {s}", percent(share, 3)]
                        for la, share in zip(layers, row, strict=True)] for s, row in enumerate(shares)],
        "hovertemplate": POINT, "texttemplate": "%{text}" if numbers else "",
        "text": [[percent(share, 2) if numbers else "" for share in row] for row in shares],
    }  # fmt: skip
    if not any(value for row in rows for value in row):
        heat["zmax"] = 1  # nothing clipped: without an upper end the colours would be arbitrary
    y_axis = axis("weight slice (number)", dtick=1, showgrid=False, zeroline=False)
    axes = {"xaxis": layer_axis(layers), "yaxis": y_axis}
    return {"data": [heat], "layout": layout(140 + 42 * slices, **axes)}


def _conductance(layers: Sequence[LayerResult]) -> Figure:
    held = [(layer.name, layer.conductance) for layer in layers if layer.conductance]
    factor, unit = axis_scale(max(max(histogram.edges_s) for _, histogram in held), "S")
    choices = [
        {
            "name": name,
            "x": [0.5 * factor * (a + b) for a, b in zip(h.edges_s, h.edges_s[1:], strict=False)],
            "width": [factor * (b - a) for a, b in zip(h.edges_s, h.edges_s[1:], strict=False)],
            "target": list(h.target),
            "programmed": list(h.programmed),
        }
        for name, h in held
    ]
    first = choices[0]
    styles = {"target": ("asked for", SOFT), "programmed": ("as programmed", ACCENT)}
    data = [
        {
            "type": "bar",
            "name": label,
            "x": first["x"],
            "width": first["width"],
            "y": first[key],
            "marker": {"color": colour},
            "opacity": 0.6 if key == "programmed" else 1.0,
            "hovertemplate": f"%{{x:.4~g}} {unit}: %{{y}} cells<extra></extra>",
        }
        for key, (label, colour) in styles.items()
    ]
    place = layout(
        340,
        barmode="overlay",
        xaxis=axis(f"conductance ({unit})", showgrid=False),
        yaxis=axis("cells per bin (count, logarithmic)", type="log", dtick=1),
    )
    return {"data": data, "layout": place, "choices": choices}
