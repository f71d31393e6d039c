"""A search as one HTML page: the front, trials over the knobs, layers side by side, what each knob matters, and convergence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosstile import __version__
from crosstile.search.loop import SearchResult
from crosstile.search.parallel_plot import parallel_figure
from crosstile.search.problems import UNITS, ChipProblem, metric_of
from crosstile.search.strip import strip
from crosstile.search.words import short, value_text
from crosstile.study.report import render_page
from crosstile.study.report_style import (
    ACCENT,
    SOFT,
    WARM,
    Figure,
    accuracy_text,
    axis,
    axis_scale,
    layout,
    pretty,
    safe,
)

BARS = 20
_COLOURS = (ACCENT, WARM, "#2c8c4b", "#7d5ba6", "#8a6d3b", "#5c6b77", "#c2506e")


def shown(objective: str, value: float) -> str:
    """Return a figure as a reader wants it."""
    if objective == "accuracy":
        return accuracy_text(value)
    unit = UNITS[objective]
    return pretty(value, unit) if " " not in unit else f"{value:.4g} {unit.replace('m2', 'm²')}"


def figure_axis(objective: str, values: Sequence[float], title: str) -> tuple[float, Figure]:
    """Return (factor, axis) for figures of an objective: logarithmic with 1, 2, 5 where they span more than a factor of 3."""
    if objective == "accuracy":
        return 100.0, axis(f"{title} (%)")
    factor, unit = axis_scale(max(values, default=1.0), UNITS[objective])
    text = f"{title} ({unit.replace('m2', 'm²')})"
    low, high = factor * min(values, default=1.0), factor * max(values, default=1.0)
    if not low > 0 or high < 3 * low:
        return factor, axis(text)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < 1e4 * low else (1,)
    ticks = [float(f"{step}e{power}") for power in decades for step in steps]
    ticks = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
    return factor, axis(text, type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])


def importance(problem: ChipProblem, result: SearchResult) -> list[tuple[str, float]]:
    """Return (knob, importance), largest first: the rise of a random forest's squared error when the knob is permuted.

    In units of the variance of the first loss over feasible trials (Breiman, Mach. Learn. 45 (2001) 5); needs 10 of them. It
    says what mattered among the trials, which a good method has steered.
    """
    from sklearn.ensemble import RandomForestRegressor

    places = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    y = np.array([result.outcomes[i].losses[0] for i in places])
    if len(places) < 10 or float(y.var()) == 0.0:
        return []
    x = problem.space.relaxed([result.points[i] for i in places])
    forest = RandomForestRegressor(n_estimators=100, random_state=0, n_jobs=1).fit(x, y)
    base = float(((forest.predict(x) - y) ** 2).mean())
    rng, found = np.random.default_rng(0), []
    for column, name in enumerate(problem.space.names):
        rises = []
        for _ in range(10):
            changed = x.copy()
            changed[:, column] = rng.permutation(changed[:, column])
            rises.append(float(((forest.predict(changed) - y) ** 2).mean()) - base)
        found.append((name, max(0.0, float(np.mean(rises))) / float(y.var())))
    return sorted(found, key=lambda one: -one[1])


def front_figure(problem: ChipProblem, result: SearchResult, second: int = 1) -> Figure:
    """Return feasible trials over the first objective and another, the front in another colour; points know their row.

    With one objective they are shown over energy and latency.
    """
    first = problem.objectives[0]
    pair = (first, problem.objectives[second]) if len(problem.objectives) > 1 else ("energy", "latency")
    chosen = set(result.front)
    data = []
    every = [[o.metrics[metric_of(one)] for o in result.outcomes if o.feasible] for one in pair]
    (fx, x_axis), (fy, y_axis) = (figure_axis(one, values, one) for one, values in zip(pair, every, strict=True))
    for name, colour, size, wanted in (("other trials", SOFT, 7, False), ("on the front", ACCENT, 10, True)):
        places = [i for i, o in enumerate(result.outcomes) if o.feasible and ((i in chosen) == wanted)]
        hover = []
        for i in places:
            spec = "<br>".join(f"{safe(short(k))}: {safe(value_text(v))}" for k, v in result.points[i].items())
            figures = " · ".join(f"{o}: {shown(o, result.outcomes[i].metrics[metric_of(o)])}" for o in {*pair, first})
            hover.append([i + 1, f"trial {i + 1}<br>{figures}<br>{spec}"])
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "best" if wanted and len(chosen) == 1 else name,
                "x": [fx * result.outcomes[i].metrics[metric_of(pair[0])] for i in places],
                "y": [fy * result.outcomes[i].metrics[metric_of(pair[1])] for i in places],
                "customdata": hover, "hovertemplate": "%{customdata[1]}<extra></extra>",
                "marker": {"color": colour, "size": size, "line": {"width": 1, "color": "#ffffff"}},
            }
        )  # fmt: skip
    return {"data": data, "layout": layout(460, xaxis=x_axis, yaxis=y_axis, hovermode="closest")}


def importance_figure(found: Sequence[tuple[str, float]]) -> Figure:
    """Return the importance of knobs as bars, at most 20 of them."""
    rows = list(reversed(found[:BARS]))
    bar = {
        "type": "bar", "orientation": "h", "x": [value for _, value in rows], "y": [safe(short(name), 40) for name, _ in rows],
        "marker": {"color": ACCENT}, "hovertemplate": "%{y}: %{x:.3~g}<extra></extra>",
    }  # fmt: skip
    x = axis("rise of the squared error when permuted, over the variance")
    return {"data": [bar], "layout": layout(120 + 24 * len(rows), right=40, xaxis=x, yaxis=axis("", showgrid=False))}


def convergence_figure(problem: ChipProblem, results: Sequence[SearchResult]) -> Figure:
    """Return the best first objective so far over trials, for each search."""
    first, data = problem.objectives[0], []
    sign = -1.0 if first == "accuracy" else 1.0
    every = [loss for one in results for loss in one.convergence() if loss is not None]
    factor, y_axis = figure_axis(first, [-v if sign < 0 else math.exp(v) for v in every], f"best {first}")
    for result, colour in zip(results, _COLOURS * (1 + len(results) // len(_COLOURS)), strict=False):
        line = [(i + 1, loss) for i, loss in enumerate(result.convergence()) if loss is not None]
        values = [factor * (-v if sign < 0 else math.exp(v)) for _, v in line]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": result.method.replace("_", " "),
                "x": [i for i, _ in line], "y": values,
                "line": {"color": colour, "width": 2, "shape": "hv"}, "hovertemplate": "trial %{x}: %{y:.4~g}<extra></extra>",
            }
        )  # fmt: skip
    return {"data": data, "layout": layout(380, xaxis=axis("evaluations"), yaxis=y_axis)}


def rows(problem: ChipProblem, result: SearchResult, files: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the table of feasible trials, those of the front first, at most 200; ``files`` are their chips beside the page."""
    chosen = set(result.front)
    places = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    places.sort(key=lambda i: (i not in chosen, result.outcomes[i].losses[0]))
    return [
        {
            "trial": i + 1,
            "front": i in chosen,
            "figures": [shown(o, result.outcomes[i].metrics[metric_of(o)]) for o in problem.objectives],
            "file": files.get(i),
            "spec": ", ".join(f"{short(k)} {value_text(v)}" for k, v in result.points[i].items()),
        }
        for i in places[:200]
    ]


def refusals(result: SearchResult) -> list[tuple[int, str]]:
    """Return how often trials failed and an example of why, by the words of the reason."""
    found: dict[str, list[str]] = {}
    for outcome in result.outcomes:
        if not outcome.feasible:
            key = "".join(c for c in outcome.reason if not c.isdigit())
            found.setdefault(key, []).append(outcome.reason)
    return sorted(((len(texts), texts[0]) for texts in found.values()), reverse=True)


def render(
    problem: ChipProblem,
    result: SearchResult,
    baselines: Sequence[SearchResult],
    command: str,
    best_yaml: str | None,
    files: Mapping[int, str] | None = None,
) -> str:
    """Return one HTML page of a search; ``baselines`` are other methods with as many evaluations, ``files`` chips of trials."""
    figures: dict[str, Any] = {"convergence": convergence_figure(problem, [result, *baselines])}
    found = importance(problem, result)
    if result.best is not None:
        figures |= {
            "front": front_figure(problem, result),
            "parallel": parallel_figure(problem, result, [name for name, _ in found]),
        }
        if len(problem.objectives) > 2:
            figures["front_third"] = front_figure(problem, result, 2)
    if found:
        figures["importance"] = importance_figure(found)
    study = problem.study
    best = None if result.best is None else result.outcomes[result.best]
    shown_layers = None
    if result.best is not None and best is not None:
        shown_layers = strip(problem, result.points[result.best], best.details.get("copies", {}))
    return render_page(
        "search.html.j2", figures, version=__version__, study=study, result=result, rows=rows(problem, result, files or {}),
        refusals=refusals(result), command=command, best_yaml=best_yaml, objectives=problem.objectives,
        best=[] if best is None else [(o, shown(o, best.metrics[metric_of(o)])) for o in problem.objectives],
        count=problem.space.count, strip=shown_layers,
    )  # fmt: skip
