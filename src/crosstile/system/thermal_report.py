"""The page of a thermal study: heat maps of the die, accuracy and peak temperature over the air's temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from crosstile.study.report import render_page
from crosstile.study.report_style import Figure, axis, layout, safe
from crosstile.system.thermal_result import HeatPoint, ThermalResult
from crosstile.system.thermal_tables import accuracy_text, headline, recovered_text

_PALETTE: Final = ("#22303c", "#1f5f99", "#d1662b", "#3a8f5c", "#8a5fa8", "#c9a227", "#2aa3a3", "#b8436b")
_ACROSS: Final = 3


def render(result: ThermalResult) -> str:
    """Return the page as one HTML text; it loads nothing."""
    return render_page(
        "thermal.html.j2", figures(result), r=result, headline=headline(result), interval=accuracy_text, back=recovered_text
    )  # fmt: skip


def figures(result: ThermalResult) -> dict[str, Figure]:
    """Return the figures that the result has data for, by the id of their place."""
    hottest = max(point.ambient_k for point in result.points)
    found = {"maps": heat_maps([point for point in result.points if point.ambient_k == hottest])}
    if len({point.ambient_k for point in result.points}) > 1:
        found["peak"] = _over_air(result, "peak above the air (K)", lambda p: p.peak_k - p.ambient_k)
        if result.data is not None:
            found["accuracy"] = _over_air(
                result, "accuracy (%)", lambda p: math.nan if p.accuracy is None else 100 * p.accuracy.mean
            )
    return found


def heat_maps(points: Sequence[HeatPoint]) -> Figure:
    """Return tile temperatures, one panel a remedy, all on one scale of colours."""
    values = [k for point in points for row in point.tiles_k for k in row if k is not None]
    across = min(_ACROSS, len(points))
    down = math.ceil(len(points) / across)
    gap_x, gap_y = 0.06, 0.16
    wide, high = (1 - gap_x * (across - 1)) / across, (1 - gap_y * (down - 1)) / down
    data, axes, notes = [], {}, []
    for number, point in enumerate(points):
        row, column = divmod(number, across)
        mark = "" if number == 0 else str(number + 1)
        left, bottom = column * (wide + gap_x), 1 - (row + 1) * high - row * gap_y
        axes[f"xaxis{mark}"] = axis(
            "", domain=[left, left + wide], anchor=f"y{mark}", showgrid=False, zeroline=False, dtick=1
        )
        axes[f"yaxis{mark}"] = axis(
            "", domain=[bottom, bottom + high], anchor=f"x{mark}", autorange="reversed", showgrid=False, zeroline=False,
            dtick=1, scaleanchor=f"x{mark}", constrain="domain",
        )  # fmt: skip
        axes[f"xaxis{mark}"]["constrain"] = "domain"
        notes.append(
            {"text": safe(f"{point.remedy}: peak {point.peak_k:.1f} K"), "xref": "paper", "yref": "paper",
             "x": left + wide / 2, "y": bottom + high, "xanchor": "center", "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
        data.append(
            {"type": "heatmap", "z": [list(r) for r in point.tiles_k], "xaxis": f"x{mark}", "yaxis": f"y{mark}",
             "zmin": min(values), "zmax": max(values), "colorscale": "Inferno", "showscale": number == 0,
             "colorbar": {"title": {"text": "K"}}, "xgap": 1, "ygap": 1,
             "hovertemplate": "row %{y}, column %{x}: %{z:.2f} K<extra></extra>"}
        )  # fmt: skip
    return {"data": data, "layout": layout(80 + 250 * down, right=90, annotations=notes, **axes)}


def _over_air(result: ThermalResult, title: str, value: Any) -> Figure:
    remedies = list(dict.fromkeys(point.remedy for point in result.points))
    data = []
    for number, remedy in enumerate(remedies):
        mine = sorted((p for p in result.points if p.remedy == remedy), key=lambda p: p.ambient_k)
        data.append(
            {"type": "scatter", "mode": "lines+markers", "name": safe(remedy), "x": [p.ambient_k for p in mine],
             "y": [None if math.isnan(value(p)) else value(p) for p in mine],
             "line": {"color": _PALETTE[number % len(_PALETTE)], "width": 2},
             "hovertemplate": "air %{x} K: %{y:.2f}<extra></extra>"}
        )  # fmt: skip
    return {"data": data, "layout": layout(340, xaxis=axis("temperature of the air (K)"), yaxis=axis(title))}
