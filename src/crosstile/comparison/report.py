"""The page of a comparison: figures and tables in one HTML file."""

from __future__ import annotations

from typing import Any, Final

from crosstile.comparison.result import Comparison, DesignResult, gains
from crosstile.comparison.tables import accuracy_with_interval, grouped, share_text
from crosstile.study.report import render_page
from crosstile.study.report_style import Figure, axis, layout, pretty, safe

_PALETTE: Final = ("#1f5f99", "#d1662b", "#3a8f5c", "#8a5fa8", "#c9a227", "#2aa3a3", "#b8436b", "#7a5c3e")
_DASH: Final = {"uniform": "dot", "calibrated": "dash", "custom": "solid"}
_SYMBOL: Final = {"uniform": "x", "calibrated": "circle-open", "custom": "circle"}


def render(result: Comparison) -> str:
    """Return the page as one HTML text; it loads nothing."""
    return render_page(
        "compare.html.j2", figures(result), r=result, groups=grouped(result), gains=gains(result), share=share_text,
        interval=accuracy_with_interval, kinds=list(dict.fromkeys(one.references for one in result.designs)),
    )  # fmt: skip


def figures(result: Comparison) -> dict[str, Figure]:
    """Return accuracy and wrong codes over the share of driven rows, and accuracy over energy."""
    return {
        "accuracy": _grid(result, "accuracy", "accuracy (%)", 100.0, log=False),
        "wrong": _grid(result, "wrong_codes", "wrong codes (%)", 100.0, log=True),
        "energy": _energy(result),
    }


def _colours(result: Comparison) -> dict[str, str]:
    devices = dict.fromkeys(one.device for one in result.designs)
    return {device: _PALETTE[n % len(_PALETTE)] for n, device in enumerate(devices)}


def _hover(one: DesignResult) -> list[str]:
    words = (
        f"{one.device}, {one.rows} rows, {one.cell_bits} b a cell, {share_text(one.active_share)} active, "
        f"{one.references} references"
    )
    wrong = f"{100 * one.wrong_codes:.3g} % wrong codes"
    return [safe(words), f"{accuracy_with_interval(one)} %, {wrong}", pretty(one.energy_j, "J", 3)]


def _grid(result: Comparison, field: str, title: str, factor: float, *, log: bool) -> Figure:
    """Return small panels, array sizes from left to right and bits a cell from top to bottom."""
    rows = sorted({one.rows for one in result.designs})
    bits = sorted({one.cell_bits for one in result.designs})
    shares = sorted({one.active_share for one in result.designs}, reverse=True)
    colours, data = _colours(result), []
    axes: Figure = {}
    notes: list[Any] = []
    gap_x, gap_y = 0.05, 0.14
    wide, high = (1 - gap_x * (len(rows) - 1)) / len(rows), (1 - gap_y * (len(bits) - 1)) / len(bits)
    told: set[str] = set()
    legend = {"x": 1.015, "y": 1, "xanchor": "left", "font": {"size": 12}, "tracegroupgap": 0}
    kinds = {one.references for one in result.designs}
    height = max(90 + 260 * len(bits), 60 + 25 * len(colours) * len(kinds))  # the legend has a line for each
    for i, bit in enumerate(bits):
        for j, row in enumerate(rows):
            number = i * len(rows) + j + 1
            mark = "" if number == 1 else str(number)
            left, bottom = j * (wide + gap_x), 1 - (i + 1) * high - i * gap_y
            axes[f"xaxis{mark}"] = axis(
                "active rows" if i == len(bits) - 1 else "", domain=[left, left + wide], anchor=f"y{mark}",
                tickvals=list(range(len(shares))), ticktext=[share_text(s) for s in shares],
                range=[-0.3, len(shares) - 0.7], zeroline=False,
            )  # fmt: skip
            more: Figure = {"type": "log", "exponentformat": "power"} if log else {"rangemode": "tozero"}
            axes[f"yaxis{mark}"] = axis(
                title if j == 0 else "", domain=[bottom, bottom + high], anchor=f"x{mark}", **more
            )
            if number > 1:
                axes[f"yaxis{mark}"]["matches"] = "y"
            notes.append(
                {"text": f"{row} x {row}, {bit} b a cell", "xref": "paper", "yref": "paper", "x": left + wide / 2,
                 "y": bottom + high, "xanchor": "center", "yanchor": "bottom", "showarrow": False}
            )  # fmt: skip
            for device, colour in colours.items():
                for kind, dash in _DASH.items():
                    line = [
                        one for one in result.designs
                        if (one.device, one.rows, one.cell_bits, one.references) == (device, row, bit, kind)
                    ]  # fmt: skip
                    if not line:
                        continue
                    name = f"{device}, {kind}"
                    values = [factor * getattr(one, field) for one in line]
                    if log:
                        values = [max(value, 1e-4) for value in values]  # none at all is drawn at the bottom
                    data.append(
                        {"type": "scatter", "mode": "lines+markers", "name": safe(name), "legendgroup": name,
                         "showlegend": name not in told, "xaxis": f"x{mark}", "yaxis": f"y{mark}",
                         "x": [shares.index(one.active_share) for one in line], "y": values,
                         "line": {"color": colour, "dash": dash, "width": 2},
                         "marker": {"color": colour, "symbol": _SYMBOL[kind], "size": 8},
                         "customdata": [_hover(one) for one in line],
                         "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]} a sample<extra></extra>"}
                    )  # fmt: skip
                    told.add(name)
    return {"data": data, "layout": layout(height, right=210, annotations=notes, legend=legend, **axes)}


def _energy(result: Comparison) -> Figure:
    colours, data = _colours(result), []
    for device, colour in colours.items():
        for kind, symbol in _SYMBOL.items():
            mine = [one for one in result.designs if (one.device, one.references) == (device, kind)]
            if mine:
                data.append(
                    {"type": "scatter", "mode": "markers", "name": safe(f"{device}, {kind}"),
                     "x": [1e6 * one.energy_j for one in mine], "y": [100 * one.accuracy for one in mine],
                     "marker": {"color": colour, "symbol": symbol, "size": 9}, "customdata": [_hover(one) for one in mine],
                     "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]} a sample<extra></extra>"}
                )  # fmt: skip
    axes = {
        "xaxis": axis("energy of a sample (µJ)", rangemode="tozero"),
        "yaxis": axis("accuracy (%)", rangemode="tozero"),
    }
    return {"data": data, "layout": layout(420, right=210, **axes)}
