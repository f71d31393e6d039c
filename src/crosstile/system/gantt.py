"""A schedule as figures: who runs when (Gantt chart), how many arrays are at work; and one HTML page of both."""

from __future__ import annotations

import math
from typing import Final

from crosstile import __version__
from crosstile.study.report_style import ACCENT, SOFT, WARM, Figure, axis, axis_scale, layout, pretty, safe
from crosstile.system.chip import ChipCost
from crosstile.system.schedule_result import Schedule

_TICKS: Final = 60
_COLOURS: Final = {
    "array": ACCENT, "converter": "#3a8f5c", "given": "#2aa3a3", "transfers": "#c9a227", "recurrence": "#8a5fa8",
}  # fmt: skip


def gantt(plan: Schedule) -> Figure:
    """Return the Gantt chart: a bar a layer for the first sample, a pale one until the batch is through, and rewriting."""
    runs = plan.stages
    factor, unit = axis_scale(plan.batch_latency_s, "s")
    data: list[Figure] = []

    def bars(
        name: str, places: list[int], spans: list[tuple[float, float]], colour: str, texts: list[str], wide: float
    ) -> None:
        data.append(
            {"type": "bar", "orientation": "h", "name": name, "y": places, "base": [factor * a for a, _ in spans],
             "x": [factor * (b - a) for a, b in spans], "width": wide, "marker": {"color": colour}, "customdata": texts,
             "hovertemplate": "%{customdata}<extra></extra>"}
        )  # fmt: skip

    if plan.batch > 1:
        spans = [(run.start_s, run.batch_end_s) for run in runs]
        texts = [f"{safe(run.layer)}: batch of {plan.batch} until {pretty(run.batch_end_s, 's')}" for run in runs]
        bars("whole batch", list(range(len(runs))), spans, SOFT, texts, 0.8)
    for limit, colour in _COLOURS.items():
        mine = [i for i, run in enumerate(runs) if run.limited_by == limit]
        if mine:
            texts = [
                f"{safe(runs[i].layer)}: {pretty(runs[i].start_s, 's')} to {pretty(runs[i].end_s, 's')}<br>"
                f"{runs[i].copies} copies, {runs[i].arrays} arrays, busy {pretty(runs[i].busy_s, 's')}"
                for i in mine
            ]
            spans = [(runs[i].start_s, runs[i].end_s) for i in mine]
            bars(f"first sample, by {limit}", mine, spans, colour, texts, 0.55)
    rewrites = [(number, one) for number, one in enumerate(plan.rounds) if one.reload_s > 0]
    if rewrites:
        first = {run.round: i for i, run in reversed(list(enumerate(runs)))}
        texts = [
            f"round {number}: {one.arrays_written} arrays written in {pretty(one.reload_s, 's')}"
            for number, one in rewrites
        ]
        spans = [(one.start_s, one.start_s + one.reload_s) for _, one in rewrites]
        bars("arrays written", [first[number] for number, _ in rewrites], spans, WARM, texts, 0.8)
    step = math.ceil(len(runs) / _TICKS)
    shown = range(0, len(runs), step)
    layers = axis(
        "layer", tickvals=list(shown), ticktext=[safe(_label(plan, i), 26) for i in shown], range=[len(runs) - 0.4, -0.6],
        showgrid=False, zeroline=False,
    )  # fmt: skip
    height = min(1200, 110 + 17 * len(runs))
    time_axis = axis(f"time from the start of the batch ({unit})", rangemode="tozero")
    return {"data": data, "layout": layout(height, right=210, barmode="overlay", xaxis=time_axis, yaxis=layers)}


def _label(plan: Schedule, i: int) -> str:
    run = plan.stages[i]
    cut = sum(other.layer == run.layer for other in plan.stages) > 1
    return f"{run.layer} [{run.piece}]" if cut else run.layer


def arrays_over_time(plan: Schedule) -> Figure:
    """Return how many arrays belong to a layer that is at work, over the batch."""
    factor, unit = axis_scale(plan.batch_latency_s, "s")
    line = {
        "type": "scatter", "mode": "lines", "name": "arrays at work", "x": [factor * t for t, _ in plan.arrays_over_time],
        "y": [n for _, n in plan.arrays_over_time], "line": {"shape": "hv", "color": ACCENT, "width": 2},
        "hovertemplate": f"%{{x:.4~g}} {unit}: %{{y}} arrays<extra></extra>",
    }  # fmt: skip
    time_axis = axis(f"time from the start of the batch ({unit})", rangemode="tozero")
    return {"data": [line], "layout": layout(300, right=210, xaxis=time_axis, yaxis=axis("arrays", rangemode="tozero"))}


def figures(plan: Schedule) -> dict[str, Figure]:
    """Return both figures by the id of their place."""
    return {"gantt": gantt(plan), "arrays": arrays_over_time(plan)}


def render(cost: ChipCost, command: str = "") -> str:
    """Return the page of a schedule as one HTML text; it loads nothing."""
    from crosstile.study.report import render_page  # late: the report draws this module's figure

    return render_page(
        "schedule.html.j2", figures(cost.schedule), c=cost, s=cost.schedule, version=__version__, command=command
    )
