"""The page of a lifetime study: how long weights keep over temperature, and accuracies by case."""

from __future__ import annotations

from collections.abc import Sequence

from crosstile.study.report import render_page
from crosstile.study.report_style import ACCENT, WARM, Figure, axis, layout, safe
from crosstile.system.lifetime_result import LifetimeAccuracy, LifetimeResult
from crosstile.system.lifetime_tables import headline, interval_text, years_text
from crosstile.units import format_duration


def render(result: LifetimeResult) -> str:
    """Return the page as one HTML text; it loads nothing."""
    return render_page(
        "lifetime.html.j2", figures(result), r=result, headline=headline(result), keeps=interval_text, years=years_text
    )  # fmt: skip


def figures(result: LifetimeResult) -> dict[str, Figure]:
    """Return the figures that the result has data for, by the id of their place."""
    found = {}
    if len(result.refresh) > 1:
        found["keeps"] = _keeping(result)
    if result.ageing:
        found["ageing"] = _accuracies(result.ageing, ACCENT)
    if result.stuck:
        found["stuck"] = _accuracies(result.stuck, WARM)
    return found


def _keeping(result: LifetimeResult) -> Figure:
    points = sorted(result.refresh, key=lambda point: point.temperature_k)
    line = {
        "type": "scatter", "mode": "lines+markers", "name": "weights keep", "x": [p.temperature_k for p in points],
        "y": [p.interval_s for p in points], "line": {"color": ACCENT, "width": 2},
        "text": [safe(f"{interval_text(p)}") for p in points], "hovertemplate": "%{x} K: %{text}<extra></extra>",
    }  # fmt: skip
    years = {
        "type": "scatter", "mode": "lines", "name": format_duration(result.years * 31557600.0),
        "x": [points[0].temperature_k, points[-1].temperature_k], "y": [result.years * 31557600.0] * 2,
        "line": {"color": WARM, "width": 1, "dash": "dot"}, "hoverinfo": "skip",
    }  # fmt: skip
    time_axis = axis("time until the share is lost (s)", type="log", exponentformat="power")
    return {"data": [line, years], "layout": layout(340, xaxis=axis("temperature (K)"), yaxis=time_axis)}


def _accuracies(found: Sequence[LifetimeAccuracy], colour: str) -> Figure:
    data = {
        "type": "bar", "name": "accuracy", "x": [safe(one.case) for one in found], "y": [100 * one.mean for one in found],
        "error_y": {"type": "data", "symmetric": False, "array": [100 * (one.ci95[1] - one.mean) for one in found],
                    "arrayminus": [100 * (one.mean - one.ci95[0]) for one in found]},
        "marker": {"color": colour}, "hovertemplate": "%{x}: %{y:.2f} %<extra></extra>",
    }  # fmt: skip
    return {"data": [data], "layout": layout(320, right=40, xaxis=axis(""), yaxis=axis("accuracy (%)", range=[0, 100]))}
