"""A NAX job as one HTML page: the choices layer by layer, networks by EDAP and accuracy, the search over its epochs."""

from __future__ import annotations

import math
import statistics
from typing import Any

from crosstile import __version__
from crosstile.nax.study import FOUND, NaxStudy
from crosstile.study.report import render_page
from crosstile.study.report_style import ACCENT, SOFT, WARM, Figure, axis, layout, safe

_DARKEST = 0.55


def _shade(value: int, values: tuple[int, ...]) -> float:
    low, high = math.log(min(values)), math.log(max(values))
    return 0.0 if high == low else round(_DARKEST * (math.log(value) - low) / (high - low), 3)


def strips(found: NaxStudy) -> list[dict[str, Any]]:
    """Return for each searched network the kernel and array of every layer, with the shade of each cell."""
    space, made = found.space, []
    for name, design in found.designs.items():
        if name.startswith("all "):
            continue
        arch = design.architecture
        kernels: list[dict[str, Any] | None] = []
        arrays: list[dict[str, Any] | None] = []
        for slot in space.slots:
            if slot.block is not None and slot.block in arch.skipped:
                kernels.append({"text": "skip", "shade": 0.0})
                arrays.append(None)
                continue
            side = arch.kernels.get(slot.name)
            kernels.append(None if side is None else {"text": str(side), "shade": _shade(side, space.kernels)})
            size = arch.arrays[slot.name]
            arrays.append({"text": str(size), "shade": _shade(size, space.arrays)})
        made.append({"name": name, "rows": [("kernel", kernels), ("array", arrays)]})
    return made


def _measured(found: NaxStudy) -> Figure:
    data = []
    for name, d in found.designs.items():
        above, below = (100 * abs(end - d.chip) for end in (d.ci95[1], d.ci95[0]))
        data.append({
            "type": "scatter", "mode": "markers+text", "x": [d.cost.edap_jsm2], "y": [100 * d.chip], "text": [name],
            "textposition": "top center", "marker": {"size": 11, "color": ACCENT if name == FOUND else SOFT},
            "error_y": {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below],
                        "color": SOFT, "thickness": 1},
            "customdata": [safe(d.architecture.label)], "showlegend": False,
            "hovertemplate": name + ": %{y:.2f} %, %{x:.3~g} J s m²<br>%{customdata}<extra></extra>",
        })  # fmt: skip
    x = axis("energy x delay x area (J s m²)", type="log", nticks=6)
    return {"data": data, "layout": layout(400, right=40, xaxis=x, yaxis=axis("accuracy on chip (%)"))}


def _sampled(found: NaxStudy) -> Figure:
    data = []
    for searched, name, colour, size in (
        (found.random, "random networks", SOFT, 6),
        (found.search, "found", ACCENT, 12),
    ):
        if searched is None:
            continue
        data.append({
            "type": "scatter", "mode": "markers", "name": name, "marker": {"color": colour, "size": size},
            "x": [math.exp(c.ln_edap) for c in searched.candidates], "y": [c.loss for c in searched.candidates],
            "customdata": [safe(c.architecture.label) for c in searched.candidates],
            "hovertemplate": "%{x:.3~g} of the reference, loss %{y:.3f}<br>%{customdata}<extra></extra>",
        })  # fmt: skip
    x = axis("EDAP over the 3 x 3 network's", type="log", nticks=6)
    return {"data": data, "layout": layout(380, xaxis=x, yaxis=axis("cross-entropy with shared weights"))}


def _history(found: NaxStudy) -> Figure:
    rows = found.search.history
    epochs = [r.epoch for r in rows]
    lines = [
        ("cross-entropy, weights", [r.loss for r in rows], ACCENT, "y"),
        ("cross-entropy, choices", [r.choice_loss for r in rows], WARM, "y"),
        ("ln EDAP of the mixture", [r.ln_edap for r in rows], "#3a8f5c", "y2"),
        ("ln EDAP of the likeliest", [r.chosen_ln_edap for r in rows], "#c9a227", "y2"),
        ("entropy of choices", [r.entropy for r in rows], SOFT, "y2"),
    ]
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": name, "x": epochs, "y": values, "yaxis": place,
         "line": {"color": colour, "width": 2}, "hovertemplate": f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>"}
        for name, values, colour, place in lines
    ]  # fmt: skip
    second = axis(
        "ln EDAP, entropy", overlaying="y", side="right", showgrid=False, zeroline=False, tickmode="auto", nticks=6
    )
    shown = layout(
        380, right=260, xaxis=axis("epoch", dtick=max(1, len(epochs) // 12)), yaxis=axis("cross-entropy"), yaxis2=second
    )
    shown["legend"] = {"x": 1.12, "y": 1, "xanchor": "left", "font": {"size": 12}}
    return {"data": data, "layout": shown}


def render(found: NaxStudy, command: str) -> str:
    """Return the page as one HTML text; it loads nothing."""
    drawn = {"measured": _measured(found), "sampled": _sampled(found), "history": _history(found)}
    misses = found.effects.misses_db
    middle = len(found.space.slots) // 2
    effects = [
        {"kernel": side, "size": size, "e": found.effects.slots[middle][n][m]}
        for n, side in enumerate(found.space.slots[middle].kernels)
        for m, size in enumerate(found.space.slots[middle].arrays)
    ]
    return render_page(
        "nax.html.j2", drawn, s=found, strips=strips(found), layers=[slot.name for slot in found.space.slots],
        version=__version__, command=command, misses=(statistics.median(misses), min(misses), max(misses)), effects=effects,
        middle=found.space.slots[middle].name,
    )  # fmt: skip
