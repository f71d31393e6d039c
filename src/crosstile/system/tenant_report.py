"""Tenants on one chip in the terminal, and as one HTML page with figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from crosstile import __version__
from crosstile.system.tenant_result import MethodComparison, SharedRun
from crosstile.units import format_quantity

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.study.report_style import Figure

_PALETTE: Final = ("#1f5f99", "#d1662b", "#3a8f5c", "#8a5fa8", "#c9a227", "#2aa3a3", "#b8436b", "#7a5c3e")
_METHOD_COLOUR: Final = {
    "time_shared": "#a9b8c4", "equal": "#c9a227", "proportional": "#3a8f5c", "iterative": "#1f5f99", "exhaustive": "#d1662b",
}  # fmt: skip
_HEADING: Final = {
    "direct": "direct", "time_shared": "in turn", "equal": "equal", "proportional": "by MACs", "iterative": "iterative",
    "exhaustive": "on a grid",
}  # fmt: skip


def _table(title: str, columns: Sequence[str], left: int = 0) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=0)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i < left else "right", no_wrap=True, max_width=17, overflow="ellipsis")
    return table


def makespan_table(found: Sequence[MethodComparison]) -> Table:
    """Return the time until all batches are through, by method; 80 columns."""
    methods = list(found[0].runs)
    table = _table(
        "Time until the batches of all tenants are through", ["arrays", "B", *(_HEADING[m] for m in methods)]
    )
    for one in found:
        times = [format_quantity(one.runs[m].makespan_s, "s", 3) for m in methods]
        table.add_row(str(one.arrays), str(one.batch), *times)
    return table


def gain_table(found: Sequence[MethodComparison], method: str) -> Table:
    """Return what a partition gains on direct deployment, in factors; 80 columns."""
    columns = [
        "arrays",
        "B",
        "faster",
        "= copies,\nside by side",
        "x par-\ntition",
        "less\nenergy",
        "than in\nturn",
        "fair",
        "slow-\ndown",
    ]
    table = _table(f"What {method} gains on direct deployment (factors)", columns)
    for one in found:
        parts, run = one.decomposition(method), one.runs[method]
        copies = parts["pipelining, copies, side by side"]
        table.add_row(
            str(one.arrays), str(one.batch), f"{parts['total'].speed:.3g}", f"{copies.speed:.3g}",
            f"{parts['partition'].speed:.3g}", f"{parts['total'].energy:.3g}", f"{one.gain('time_shared', method).speed:.3g}",
            f"{run.fairness:.3f}", f"{run.mean_slowdown:.3g}",
        )  # fmt: skip
    return table


def tenant_table(run: SharedRun) -> Table:
    """Return each tenant's part and times; 80 columns."""
    title = f"{run.method}: {run.arrays} arrays, batch of {run.batch}, {format_quantity(run.energy_j, 'J', 3)}"
    table = _table(title, ["tenant", "arrays", "used", "rd", "through", "waits", "alone", "slower", "energy"], left=1)
    for one in run.tenants:
        times = [format_quantity(value, "s", 3) for value in (one.end_s, one.wait_s, one.alone_s)]
        table.add_row(
            one.name, str(one.arrays), str(one.arrays_used), str(one.rounds), *times, f"{one.slowdown:.2f}",
            format_quantity(one.energy_j, "J", 3),
        )  # fmt: skip
    return table


def remarks(found: Sequence[MethodComparison], method: str) -> list[str]:
    """Return what a reader should know: notes of the runs, and where taking turns is the better way."""
    said = [note for one in found for note in (*one.runs[method].notes, *one.runs["direct"].notes[:1])]
    for one in found:
        gain = one.gain("time_shared", method).speed
        if gain < 1:
            said.append(
                f"{one.arrays} arrays, batch of {one.batch}: taking turns on the whole chip is faster than {method}, "
                f"{1 / gain:.3g} times"
            )
    return list(dict.fromkeys(said))


def _bars(found: Sequence[MethodComparison], method: str, field: str, scale: float, unit: str) -> list[Figure]:
    from crosstile.study.report_style import safe

    data: list[Figure] = []
    for n, tenant in enumerate(found[0].runs[method].tenants):
        runs = [one.runs[method].tenants[n] for one in found]
        values = [getattr(run, field) for run in runs]
        data.append(
            {"type": "bar", "name": safe(tenant.name, 24), "x": list(range(len(found))), "y": [scale * v for v in values],
             "marker": {"color": _PALETTE[n % len(_PALETTE)]}, "customdata": [
                 f"{safe(run.name)}: {run.arrays} arrays, {run.arrays_used} used, slower by {run.slowdown:.3g}" for run in runs
             ], "hovertemplate": f"%{{customdata}}<br>%{{y:.4~g}} {unit}<extra></extra>"}
        )  # fmt: skip
    return data


def figures(found: Sequence[MethodComparison], method: str) -> dict[str, Figure]:
    """Return share of the arrays and time by tenant, and speed-up over sizes of the chip, by the id of their place."""
    from crosstile.study.report_style import axis, axis_scale, layout

    ticks = [f"{one.arrays}, B {one.batch}" for one in found]
    across = axis(
        "arrays of the chip, batch", tickvals=list(range(len(ticks))), ticktext=ticks, showgrid=False, zeroline=False
    )
    parts = _bars(found, method, "arrays", 1.0, "arrays")
    for bar in parts:
        bar["y"] = [100 * y / one.arrays for y, one in zip(bar["y"], found, strict=True)]
        bar["hovertemplate"] = "%{customdata}<br>%{y:.3~g} % of the chip<extra></extra>"
    factor, unit = axis_scale(max(one.runs[method].makespan_s for one in found), "s")
    times = _bars(found, method, "end_s", factor, unit)
    for points in times:  # a bar on a logarithmic axis would begin anywhere
        points |= {"type": "scatter", "mode": "markers", "marker": points["marker"] | {"size": 12}}
    shares = layout(340, barmode="stack", xaxis=across, yaxis=axis("arrays (%)", range=[0, 100]))
    through = layout(340, xaxis=across, yaxis=axis(f"time until through ({unit})", type="log"))
    return {
        "share": {"data": parts, "layout": shares}, "time": {"data": times, "layout": through}, "speed": _speed(found),
    }  # fmt: skip


def _speed(found: Sequence[MethodComparison]) -> Figure:
    from crosstile.study.report_style import axis, layout

    data = []
    batches = list(dict.fromkeys(one.batch for one in found))
    for n, batch in enumerate(batches):
        mine = sorted((one for one in found if one.batch == batch), key=lambda one: one.arrays)
        for name, colour in _METHOD_COLOUR.items():
            if name in mine[0].runs:
                data.append(
                    {"type": "scatter", "mode": "lines+markers", "name": f"{_HEADING[name]}, batch {batch}",
                     "x": [one.arrays for one in mine], "y": [one.gain("direct", name).speed for one in mine],
                     "line": {"color": colour, "width": 2, "dash": ("solid", "dash", "dot", "dashdot")[n % 4]},
                     "marker": {"size": 8}, "hovertemplate": "%{x} arrays: %{y:.3~g} times as fast<extra></extra>"}
                )  # fmt: skip
    axes: dict[str, Any] = {
        "xaxis": axis("arrays of the chip", type="log", tickvals=sorted({one.arrays for one in found})),
        "yaxis": axis("speed-up over direct deployment", type="log"),
    }
    return {"data": data, "layout": layout(420, 220, **axes)}


def render(found: Sequence[MethodComparison], method: str, command: str = "") -> str:
    """Return the page as one HTML text; it loads nothing."""
    from crosstile.study.report import render_page

    return render_page(
        "tenants.html.j2", figures(found, method), found=found, method=method, command=command, version=__version__,
        first=found[0].runs[method], remarks=remarks(found, method), headings=_HEADING,
    )  # fmt: skip
