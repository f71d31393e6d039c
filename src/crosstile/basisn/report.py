"""A network on a basis as one HTML page: kernels per cycle, contests, what the basis misses, and cost beside the baselines."""

from __future__ import annotations

from crosstile import __version__
from crosstile.basisn.study import BasisStudy
from crosstile.study.report import render_page
from crosstile.study.report_style import ACCENT, SOFT, WARM, Figure, axis, layout, safe

_COLOURS = {"basis": ACCENT, "identity": SOFT, "digital": "#3a8f5c", "per layer": "#c9a227", "reprogramming": WARM}


def _bars(found: BasisStudy, values: list[float | None], unit: str, title: str) -> Figure:
    names = [safe(one.cycles.name, 28) for one in found.layers]
    bar = {
        "type": "bar", "x": list(range(len(names))), "y": values, "marker": {"color": ACCENT}, "customdata": names,
        "hovertemplate": f"%{{customdata}}: %{{y:.3~g}} {unit}<extra></extra>",
    }  # fmt: skip
    step = -(-len(names) // 48)
    shown = list(range(0, len(names), step))
    x = axis("layer", tickvals=shown, ticktext=[names[i] for i in shown], tickangle=-45, showgrid=False)
    return {
        "data": [bar],
        "layout": layout(330, right=30, xaxis=x, yaxis=axis(title, rangemode="tozero"), showlegend=False),
    }


def figures(found: BasisStudy) -> dict[str, Figure]:
    """Return the figures that the study has data for, by the id of their place."""
    drawn = {
        "kernels": _bars(found, [one.cycles.kernels_per_cycle for one in found.layers], "kernels", "kernels a cycle")
    }
    errors = [None if one.error is None else 100 * one.error for one in found.layers]
    if any(error is not None for error in errors):
        drawn["error"] = _bars(found, errors, "%", "weights missed (%)")
    if found.contest_graph:
        heat = {
            "type": "heatmap", "z": [list(row) for row in found.contest_graph], "showscale": False,
            "colorscale": [[0, "#f4f6f8"], [1, WARM]], "hovertemplate": "kernels %{x} and %{y}: %{z}<extra></extra>",
        }  # fmt: skip
        y = axis("kernel", autorange="reversed", scaleanchor="x", constrain="domain", showgrid=False, zeroline=False)
        x = axis("kernel", constrain="domain", showgrid=False, zeroline=False)
        drawn["contest"] = {"data": [heat], "layout": layout(420, right=30, xaxis=x, yaxis=y)}
    drawn["edp"] = _edp(found)
    return drawn


def _edp(found: BasisStudy) -> Figure:
    data = []
    for name, colour in _COLOURS.items():
        for batch in found.options.batches:
            mine = sorted(
                (c for c in found.compared if c.cost.name == name and c.batch == batch), key=lambda c: c.arrays
            )
            dash = "solid" if batch == found.options.batches[0] else "dot"
            data.append(
                {"type": "scatter", "mode": "lines+markers", "name": f"{name}, batch {batch}", "x": [c.arrays for c in mine],
                 "y": [c.cost.edp_js for c in mine], "line": {"color": colour, "width": 2, "dash": dash},
                 "hovertemplate": f"{name}, %{{x}} arrays: %{{y:.3~g}} J s<extra></extra>"}
            )  # fmt: skip
    ticks = sorted({c.arrays for c in found.compared})
    x = axis("arrays", type="log", tickvals=ticks, ticktext=[str(t) for t in ticks])
    return {"data": data, "layout": layout(380, right=210, xaxis=x, yaxis=axis("energy x delay (J s)", type="log"))}


def render(found: BasisStudy, command: str) -> str:
    """Return the page as one HTML text; it loads nothing."""
    return render_page("basis.html.j2", figures(found), s=found, version=__version__, command=command)
