"""A search as one HTML page: the front, all trials side by side, what each knob matters, and convergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from crosstile import __version__
from crosstile.search.knobs import Value
from crosstile.search.loop import SearchResult
from crosstile.search.problems import UNITS, ChipProblem, metric_of
from crosstile.study.report import render_page
from crosstile.study.report_style import ACCENT, SOFT, WARM, Figure, accuracy_text, axis, layout, pretty, safe

_COLOURS = (ACCENT, WARM, "#2c8c4b", "#7d5ba6", "#8a6d3b", "#5c6b77", "#c2506e")


def shown(objective: str, value: float) -> str:
    """Return a figure as a reader wants it."""
    if objective == "accuracy":
        return accuracy_text(value)
    unit = UNITS[objective]
    return pretty(value, unit) if " " not in unit else f"{value:.4g} {unit.replace('m2', 'm²')}"


def short(name: str) -> str:
    """Return a knob's name without its common beginnings."""
    return name.removeprefix("hardware.").removeprefix("components.").removeprefix("mapping.")


def _text(value: Value) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


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


def front_figure(problem: ChipProblem, result: SearchResult) -> Figure:
    """Return feasible trials over two figures, those of the front in another colour; points know their row."""
    first = problem.objectives[0]
    pair = (first, problem.objectives[1]) if len(problem.objectives) > 1 else ("energy", "latency")
    chosen = set(result.front)
    data = []
    for name, colour, size, wanted in (("other trials", SOFT, 7, False), ("on the front", ACCENT, 10, True)):
        places = [i for i, o in enumerate(result.outcomes) if o.feasible and ((i in chosen) == wanted)]
        hover = []
        for i in places:
            spec = "<br>".join(f"{safe(short(k))}: {safe(_text(v))}" for k, v in result.points[i].items())
            figures = " · ".join(f"{o}: {shown(o, result.outcomes[i].metrics[metric_of(o)])}" for o in {*pair, first})
            hover.append([i + 1, f"trial {i + 1}<br>{figures}<br>{spec}"])
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "best" if wanted and len(chosen) == 1 else name,
                "x": [result.outcomes[i].metrics[metric_of(pair[0])] for i in places],
                "y": [result.outcomes[i].metrics[metric_of(pair[1])] for i in places],
                "customdata": hover, "hovertemplate": "%{customdata[1]}<extra></extra>",
                "marker": {"color": colour, "size": size, "line": {"width": 1, "color": "#ffffff"}},
            }
        )  # fmt: skip
    axes = [
        axis(
            f"{one} ({UNITS[one].replace('m2', 'm²')})" if UNITS[one] else one,
            type="linear" if one == "accuracy" else "log",
        )
        for one in pair
    ]
    return {"data": data, "layout": layout(460, xaxis=axes[0], yaxis=axes[1], hovermode="closest")}


def parallel_figure(problem: ChipProblem, result: SearchResult) -> Figure:
    """Return all feasible trials as lines over the knobs, coloured by the first objective."""
    places = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    colours = [result.outcomes[i].losses[0] for i in places]
    dimensions: list[Figure] = []
    for name, knob in problem.space.knobs.items():
        values = sorted({result.points[i][name] for i in places}, key=knob.unit_position)
        step = max(1, math.ceil(len(values) / 9))
        dimensions.append(
            {
                "label": safe(short(name), 18), "values": [knob.unit_position(result.points[i][name]) for i in places],
                "tickvals": [knob.unit_position(v) for v in values[::step]],
                "ticktext": [safe(_text(v), 14) for v in values[::step]],
                "range": [0, 1],
            }
        )  # fmt: skip
    first = problem.objectives[0]
    title = "accuracy" if first == "accuracy" else f"ln {first}"
    shade = [-c for c in colours] if first == "accuracy" else colours
    line: Figure = {"color": shade, "colorscale": "Viridis", "reversescale": first != "accuracy", "showscale": True}
    line["colorbar"] = {"title": {"text": title}, "thickness": 12}
    data = [{"type": "parcoords", "dimensions": dimensions, "line": line, "labelangle": -20}]
    base = layout(460, right=110)
    base["margin"] = {"l": 60, "r": 110, "t": 90, "b": 30}
    return {"data": data, "layout": base}


def importance_figure(found: Sequence[tuple[str, float]]) -> Figure:
    """Return the importance of each knob as bars."""
    rows = list(reversed(found))
    bar = {
        "type": "bar", "orientation": "h", "x": [value for _, value in rows], "y": [safe(short(name), 40) for name, _ in rows],
        "marker": {"color": ACCENT}, "hovertemplate": "%{y}: %{x:.3~g}<extra></extra>",
    }  # fmt: skip
    x = axis("rise of the squared error when permuted, over the variance")
    return {"data": [bar], "layout": layout(120 + 24 * len(rows), right=40, xaxis=x, yaxis=axis("", showgrid=False))}


def convergence_figure(problem: ChipProblem, results: Sequence[SearchResult]) -> Figure:
    """Return the best first objective so far over trials, for each search."""
    first, data = problem.objectives[0], []
    for result, colour in zip(results, _COLOURS * (1 + len(results) // len(_COLOURS)), strict=False):
        line = [(i + 1, loss) for i, loss in enumerate(result.convergence()) if loss is not None]
        values = [-v if first == "accuracy" else math.exp(v) for _, v in line]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": result.method.replace("_", " "),
                "x": [i for i, _ in line], "y": values,
                "line": {"color": colour, "width": 2, "shape": "hv"}, "hovertemplate": "trial %{x}: %{y:.4~g}<extra></extra>",
            }
        )  # fmt: skip
    y = axis(
        f"best {first}" + (f" ({UNITS[first]})" if UNITS[first] else ""),
        type="linear" if first == "accuracy" else "log",
    )
    return {"data": data, "layout": layout(380, xaxis=axis("evaluations"), yaxis=y)}


def rows(problem: ChipProblem, result: SearchResult) -> list[dict[str, Any]]:
    """Return the table of feasible trials, those of the front first, at most 200."""
    chosen = set(result.front)
    places = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    places.sort(key=lambda i: (i not in chosen, result.outcomes[i].losses[0]))
    return [
        {
            "trial": i + 1,
            "front": i in chosen,
            "figures": [shown(o, result.outcomes[i].metrics[metric_of(o)]) for o in problem.objectives],
            "spec": ", ".join(f"{short(k)} {_text(v)}" for k, v in result.points[i].items()),
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
    problem: ChipProblem, result: SearchResult, baselines: Sequence[SearchResult], command: str, best_yaml: str | None
) -> str:
    """Return one HTML page of a search; ``baselines`` are other methods with as many evaluations."""
    figures: dict[str, Any] = {"convergence": convergence_figure(problem, [result, *baselines])}
    found = importance(problem, result)
    if result.best is not None:
        figures |= {"front": front_figure(problem, result), "parallel": parallel_figure(problem, result)}
    if found:
        figures["importance"] = importance_figure(found)
    study = problem.study
    best = None if result.best is None else result.outcomes[result.best]
    return render_page(
        "search.html.j2", figures, version=__version__, study=study, result=result, rows=rows(problem, result),
        refusals=refusals(result), command=command, best_yaml=best_yaml, objectives=problem.objectives,
        best=[] if best is None else [(o, shown(o, best.metrics[metric_of(o)])) for o in problem.objectives],
        count=problem.space.count,
    )  # fmt: skip
