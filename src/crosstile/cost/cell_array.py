"""The cells of one array: rows x columns x height x width x F^2; their energy is in the activity record."""

from __future__ import annotations

from crosstile.cost.figures import Figures, Request, register


@register("cell-array")
def cell_array(request: Request) -> Figures:
    """Return the area of the cells; selectors and drivers outside the cell are other components."""
    cells = (request.rows or 128) * (request.columns or 128)
    return Figures({}, cells * request.cell_area_f2 * request.node_m**2)
