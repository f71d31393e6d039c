"""All feasible trials as lines over the knobs, in plain lines that every browser draws.

Trials are sorted by the first objective into fifths, one colour each, the best drawn last; the legend hides and shows them.
Lines that meet in the same choice are spread a little about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from crosstile.search.loop import SearchResult
from crosstile.search.problems import ChipProblem
from crosstile.search.words import short, value_text
from crosstile.study.report_style import Figure, layout, safe

AXES, CROWD, TICKS, SPREAD = 14, 9, 7, 0.02
_NAMES = ("best fifth", "second", "third", "fourth", "worst fifth")
_COLOURS = ("#0b3c5d", "#1f77b4", "#6fa8cf", "#b3c7d6", "#dfe5ea")


def parallel_figure(problem: ChipProblem, result: SearchResult, ranking: Sequence[str] = ()) -> Figure:
    """Return feasible trials as lines over the knobs; of more than 14 knobs those that ``ranking`` has first."""
    every = [name for name, knob in problem.space.knobs.items() if knob.count != 1] or list(problem.space.names)
    if len(every) > AXES:
        kept = {*list(dict.fromkeys([*(n for n in ranking if n in every), *every]))[:AXES]}
        every = [name for name in every if name in kept]
    places = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    places.sort(key=lambda i: result.outcomes[i].losses[0])
    data = []
    for fifth in reversed(range(len(_NAMES))):
        mine = [i for rank, i in enumerate(places) if rank * len(_NAMES) // len(places) == fifth]
        if not mine:
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        about: list[list[object] | None] = []
        for i in mine:
            shift = SPREAD * (2 * ((i * 0.618034) % 1.0) - 1)
            for column, name in enumerate(every):
                value = result.points[i][name]
                x.append(column)
                y.append(problem.space.knobs[name].unit_position(value) + shift)
                about.append([i + 1, f"trial {i + 1}<br>{safe(short(name))}: {safe(value_text(value))}"])
            x.append(None)
            y.append(None)
            about.append(None)
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": _NAMES[fifth], "x": x, "y": y, "customdata": about,
                "hovertemplate": "%{customdata[1]}<extra></extra>", "line": {"color": _COLOURS[fifth], "width": 1.2},
                "marker": {"color": _COLOURS[fifth], "size": 4},
            }
        )  # fmt: skip
    count = len(every)
    notes = [note for column, name in enumerate(every) for note in _axis_texts(problem, name, column, count)]
    bars = [
        {
            "type": "line",
            "x0": c,
            "x1": c,
            "y0": -0.03,
            "y1": 1.03,
            "line": {"color": "#8c9aa5", "width": 1},
            "layer": "below",
        }
        for c in range(len(every))
    ]
    hidden = {"visible": False, "fixedrange": True}
    base = layout(
        540, right=130, xaxis=hidden | {"range": [-0.6, count - 0.2]}, yaxis=hidden | {"range": [-0.07, 1.07]},
        annotations=notes, shapes=bars, hovermode="closest",
    )  # fmt: skip
    base["margin"] = {"l": 20, "r": 130, "t": 150 if count > CROWD else 110, "b": 14}
    base["legend"] = base["legend"] | {"traceorder": "reversed"}
    return {"data": data, "layout": base}


def _axis_texts(problem: ChipProblem, name: str, column: int, count: int) -> list[Figure]:
    """Return the name above an axis, turned, and some of its values beside it, to the right of the last of ``count`` axes."""
    narrow, last = count > CROWD, column == count - 1
    knob = problem.space.knobs[name]
    places: list[float] = [k / (TICKS - 1) for k in range(TICKS)]
    if knob.count is not None and knob.count <= TICKS:
        places = [knob.unit_position(knob.at(k)) for k in range(knob.count)]
    values = {value_text(value): knob.unit_position(value) for value in (knob.rounded(place) for place in places)}
    texts: list[Figure] = [
        {
            "x": column, "y": 1.05, "text": safe(short(name), 30), "showarrow": False, "textangle": -42 if narrow else -28,
            "xanchor": "left", "yanchor": "bottom", "font": {"size": 12},
        }
    ]  # fmt: skip
    texts += [
        {
            "x": column, "y": place, "text": safe(text, 12 if last or not narrow else 6), "showarrow": False,
            "xanchor": "left" if last else "right", "xshift": 5 if last else -5,
            "font": {"size": 10.5}, "bgcolor": "rgba(255,255,255,0.75)",
        }
        for text, place in values.items() if math.isfinite(place)
    ]  # fmt: skip
    return texts
