"""Layers side by side: for each opened field the choice of every layer, shaded by its place in the range of the knob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crosstile.search.knobs import Point
from crosstile.search.layers import COPIES, is_of_layer, layer_and_field
from crosstile.search.problems import ChipProblem
from crosstile.search.words import short, value_text

_DARKEST = 0.55


def strip(problem: ChipProblem, point: Point, copies: Mapping[str, int]) -> dict[str, Any] | None:
    """Return layers and rows of (field, cells) for the page; None where nothing is opened by layer.

    ``copies`` are those that the schedule made; they are a row of their own where no knob opens them.
    A cell is None where the field is not open for the layer, else its text, and the shade 0 to 0.55 of its place in the range.
    """
    names = [name for name in problem.space.names if is_of_layer(name)]
    if not names:
        return None
    known = layers = list(dict.fromkeys(layer_and_field(name)[0] for name in names))
    fields = list(dict.fromkeys(layer_and_field(name)[1] for name in names))
    rows: list[dict[str, Any]] = []
    for field in fields:
        cells: list[dict[str, Any] | None] = []
        for layer in layers:
            name = f"{layer}/{field}"
            if name not in point:
                cells.append(None)
                continue
            place = problem.space.knobs[name].unit_position(point[name])
            cells.append({"text": value_text(point[name]), "shade": round(_DARKEST * place, 3)})
        rows.append({"field": short(field), "cells": cells})
    if copies and COPIES not in fields:
        layers, most = [node.name for node in problem.network.layers], max(copies.values())
        for row in rows:
            row["cells"] = [row["cells"][known.index(one)] if one in known else None for one in layers]
        counts = [copies.get(layer, 1) for layer in layers]
        made = [{"text": str(c), "shade": round(_DARKEST * (c - 1) / max(1, most - 1), 3)} for c in counts]
        rows.append({"field": COPIES, "cells": made})
    return {"layers": layers, "rows": rows}
