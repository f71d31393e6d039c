"""The look of the report's figures and numbers: formats, axes, colours and safe text."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from crosstile.study.result import LayerResult
from crosstile.units import format_quantity

Figure = dict[str, Any]

INK: Final = "#22303c"
GRID, ACCENT, SOFT, WARM = "#e3e8ec", "#1f77b4", "#a9b8c4", "#d1662b"
_MAX_TICKS: Final = 48
_PREFIX: Final = {-24: "y", -21: "z", -18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k"}
POINT: Final = "%{customdata[0]}<br>%{customdata[1]}: %{customdata[2]}<extra></extra>"


def pretty(si: float | None, unit: str, digits: int = 4) -> str:
    """Return :func:`format_quantity` with typographic signs (µ, mm²), or a dash for ``None``."""
    if si is None:
        return "–"
    return format_quantity(si, unit, digits).replace(" u", " µ").replace("m2", "m²")


def percent(share: float | None, digits: int = 4) -> str:
    """Return a share as per cent, or a dash for ``None``; what is too small to matter is shown as a bound."""
    if share is None:
        return "–"
    return "< 0.001 %" if 0 < share < 1e-5 else f"{100 * share:.{digits}g} %"


def accuracy_text(share: float) -> str:
    """Return an accuracy as per cent with two decimals."""
    return f"{100 * share:.2f} %"


def axis_scale(largest_si: float, unit: str) -> tuple[float, str]:
    """Return (factor, unit with prefix) that bring values up to ``largest_si`` between 1 and 1000."""
    if unit == "m2":
        return (1e6, "mm²") if largest_si >= 1e-9 else (1e12, "µm²")
    if not largest_si > 0:
        return 1.0, unit
    exponent = min(max(math.floor(math.log10(largest_si) / 3) * 3, -24), 3)
    return 10.0**-exponent, f"{_PREFIX[exponent]}{unit}"


def safe(name: str, limit: int = 200) -> str:
    """Return a user's name as plotly must get it: plotly reads a subset of HTML in every text."""
    return html.escape(name if len(name) <= limit else name[: limit - 1] + "…", quote=False)


def layout(height: int, right: int = 180, **more: Any) -> Figure:
    """Return the layout that all figures share; heights and margins in CSS pixels."""
    base: Figure = {
        "height": height,
        "margin": {"l": 78, "r": right, "t": 14, "b": 52},
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 12.5,
            "color": INK,
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#ffffff",
        "bargap": 0.3,
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": INK}},
        "legend": {"x": 1.015, "y": 1, "xanchor": "left", "font": {"size": 12}},
    }
    return base | more


def axis(title: str, **more: Any) -> Figure:
    """Return an axis with its title, which names the unit."""
    base = {
        "title": {"text": title, "standoff": 10},
        "gridcolor": GRID,
        "zerolinecolor": SOFT,
        "automargin": True,
    }
    return base | more


def crowded(layers: Sequence[LayerResult]) -> bool:
    """Return whether the layers' names must be tilted, which takes height."""
    return len(layers) > 12 or max(len(layer.name) for layer in layers) > 16


def layer_axis(layers: Sequence[LayerResult]) -> Figure:
    """Return the horizontal axis of the figures by layer."""
    # Positions are numbers, so that equal, long or number-like names neither merge nor sort themselves.
    step = math.ceil(len(layers) / _MAX_TICKS)
    shown = range(0, len(layers), step)
    return axis(
        "layer",
        tickvals=list(shown),
        ticktext=[safe(layers[i].name, 24) for i in shown],
        tickangle=-45 if crowded(layers) else 0,
        range=[-0.6, len(layers) - 0.4],
        showgrid=False,
        zeroline=False,
    )


def bars(
    layers: Sequence[LayerResult],
    name: str,
    values: Sequence[float | None],
    factor: float,
    colour: str,
    show: Callable[[float | None], str],
) -> Figure:
    """Return one bar a layer: ``factor`` scales SI values to the axis, ``show`` formats them for hover."""
    return {
        "type": "bar",
        "name": safe(name, 24),
        "x": list(range(len(layers))),
        "y": [None if v is None else v * factor for v in values],
        "customdata": [[safe(la.name), safe(name), show(v)] for la, v in zip(layers, values, strict=True)],
        "hovertemplate": POINT,
        "marker": {"color": colour},
    }
