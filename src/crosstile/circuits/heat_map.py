"""Where a crossbar loses its voltage, drawn cell by cell."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from crosstile.circuits.solve_file import Floats, Problem, Solution
from crosstile.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAP: Final = "viridis"  # lightness rises evenly, for every kind of colour vision; holds no grey
_DECADES: Final = 1.5  # beyond this spread the scale is logarithmic


def heat_map_png(problem: Problem, solution: Solution, number: int, title: str) -> bytes:
    """Return a PNG of three maps for one input: voltage across each cell, its power, and G_eff / G.

    Args:
        problem: the crossbar.
        solution: its solution.
        number: which input.
        title: line above the maps.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    g_s, v = problem.g_s, problem.v[number]
    rows, columns = g_s.shape
    figure = Figure(
        figsize=(15.0, min(max(4.0 * rows / columns, 2.8), 6.0) + 1.5),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1),
        dpi=130,
    )
    figure.suptitle(title, fontsize=12)
    left, middle, right = figure.subplots(1, 3)

    own = bool((np.abs(v) > 1e-6 * np.abs(v).max()).all()) and bool(v.any())
    reference = np.abs(v).max() or 1.0
    relative = solution.cell_v[number] / (v[:, None] if own else reference)
    _draw(figure, left, relative, "Voltage across the cell", "relative to its word line's input" if own else
          f"relative to the largest input, {format_quantity(float(reference), 'V')}", logarithmic=False)  # fmt: skip
    power, unit = _with_prefix(solution.cell_power_w[number])
    _draw(figure, middle, power, "Power in the cell", f"power, {unit}")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(g_s > 0, solution.effective_conductance_s / g_s, np.nan)
    _draw(figure, right, ratio, "Effective over own conductance", "$G_\\mathrm{eff}\\,/\\,G$")
    left.set_ylabel("Word line (row)")
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _draw(figure: Figure, axes: Axes, values: Floats, title: str, label: str, logarithmic: bool | None = None) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    shown = np.ma.masked_invalid(values)
    positive = shown.compressed()[shown.compressed() > 0]
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (0.0, 1.0)
    if logarithmic is None:
        logarithmic = bool(positive.size and high > 10**_DECADES * low)
    norm: Normalize
    if logarithmic:
        norm = LogNorm(max(low, high * 1e-9), high)
        shown = np.ma.masked_less_equal(shown, 0.0)
    else:
        norm = Normalize(*_span(shown.compressed()))
    colours = colormaps[_MAP].with_extremes(bad="0.85")
    rows, columns = values.shape
    square = 1 / 3 <= rows / columns <= 3
    image = axes.imshow(shown, cmap=colours, norm=norm, aspect="equal" if square else "auto", interpolation="nearest")
    grey = " (grey: none)" if np.ma.getmaskarray(shown).any() else ""
    axes.set_title(title + grey, fontsize=11)
    axes.set_xlabel("Bit line (column)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 4, 5, 8, 10], integer=True, min_n_ticks=1))
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    bar.set_label(label, fontsize=10)
    bar.ax.tick_params(labelsize=9)


def _span(values: Floats) -> tuple[float, float]:
    """Limits of a linear scale; a constant gets room on both sides, so that its colour means something."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    room = 0.05 * abs(high) or 0.05
    return low - room, high + room


def _with_prefix(power_w: Floats) -> tuple[Floats, str]:
    """Return powers and their unit, so that the largest lies between 1 and 1,000."""
    largest = float(power_w.max(initial=0.0))
    for factor, unit in ((1.0, "W"), (1e-3, "mW"), (1e-6, "µW"), (1e-9, "nW"), (1e-12, "pW")):
        if largest >= factor:
            return power_w / factor, unit
    return power_w / 1e-15, "fW"
