"""Figures of the chip as a whole: energy and area as nested areas, the schedule, and the temperature of the tiles."""

from __future__ import annotations

from typing import cast

from crosstile.study.report_style import Figure, axis, layout, pretty, safe
from crosstile.study.result import Result
from crosstile.study.result_chip import Heat, Timeline
from crosstile.system.gantt import gantt
from crosstile.system.schedule_result import Schedule

_LEAST_RANGE_K = 1.0  # of the colours: smaller differences should look small
_LEAST = 0.002  # shares below it are gathered: they could not be seen


def chip_figures(result: Result) -> dict[str, Figure]:
    """Return the figures that the result has data for, by the id of their place in the report."""
    found: dict[str, Figure] = {}
    if result.layers and result.components:
        found["treemap"] = _treemap(result)
    if result.timeline is not None:
        found["gantt"] = _gantt(result.timeline)
    if result.heat is not None:
        found["heat"] = _heat(result.heat)
    return found


def _treemap(result: Result) -> Figure:
    """Energy: layers, and within each its components. Area: components, and within each what of it layers take."""
    cost = result.cost
    energy = {layer.name: dict(layer.energy_by_component) for layer in result.layers}
    total = sum(layer.arrays for layer in result.layers)
    area = {
        part.name or part.role: {layer.name: part.area_m2 * layer.arrays / total for layer in result.layers}
        for part in result.components
        if part.area_m2 > 0
    }
    left = _nested("energy", energy, cost.energy_j, "J", [0.0, 0.49])
    right = _nested("area", area, cost.area_m2, "m2", [0.51, 1.0])
    return {"data": [left, right], "layout": layout(460, right=20)}


def _nested(title: str, groups: dict[str, dict[str, float]], whole: float, unit: str, place: list[float]) -> Figure:
    labels, parents, ids, values, texts = [title], [""], [title], [whole], [pretty(whole, unit)]

    def put(label: str, key: str, parent: str, value: float) -> None:
        labels.append(safe(label, 40))
        ids.append(key)
        parents.append(parent)
        values.append(value)
        texts.append(f"{pretty(value, unit)}, {100 * value / whole:.3g} %")

    for number, (group, parts) in enumerate(groups.items()):
        key = f"{number}"
        put(group, key, title, sum(parts.values()))
        seen = {name: value for name, value in parts.items() if value >= _LEAST * whole}
        rest = sum(value for name, value in parts.items() if name not in seen)
        for inner, (name, value) in enumerate(seen.items()):
            put(name, f"{key}/{inner}", key, value)
        if rest > 0 and seen:
            put("rest", f"{key}/rest", key, rest)
    return {
        "type": "treemap", "labels": labels, "parents": parents, "ids": ids, "values": values, "text": texts,
        "branchvalues": "total", "domain": {"x": place, "y": [0, 1]}, "maxdepth": 3, "textinfo": "label",
        "hovertemplate": "%{label}: %{text}<extra></extra>", "pathbar": {"visible": True}, "tiling": {"pad": 1},
    }  # fmt: skip


def _gantt(found: Timeline) -> Figure:
    figure = gantt(cast(Schedule, found))  # it has all that the figure reads of a schedule
    figure["layout"]["showlegend"] = True  # one limit alone needs its name, too
    return figure


def _heat(found: Heat) -> Figure:
    texts = [
        ["" if k is None else f"{k:.2f} K, {pretty(w, 'W', 3)}" for k, w in zip(row, power, strict=True)]
        for row, power in zip(found.tiles_k, found.tiles_w, strict=True)
    ]
    values = [k for row in found.tiles_k for k in row if k is not None]
    data = {
        "type": "heatmap", "z": [list(row) for row in found.tiles_k], "customdata": texts,
        "colorscale": "Inferno", "xgap": 1, "ygap": 1,
        "zmin": min(values), "zmax": max(max(values), min(values) + _LEAST_RANGE_K),
        "colorbar": {"title": {"text": "K"}, "thickness": 14},
        "hovertemplate": "tile in row %{y}, column %{x}: %{customdata}<extra></extra>",
    }  # fmt: skip
    x = axis("tiles along the die", showgrid=False, zeroline=False, dtick=1, constrain="domain")
    down = {"autorange": "reversed", "scaleanchor": "x", "constrain": "domain"}
    y = axis("tiles across the die", showgrid=False, zeroline=False, dtick=1, **down)
    return {"data": [data], "layout": layout(360, right=90, xaxis=x, yaxis=y)}
