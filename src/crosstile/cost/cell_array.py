"""The cells of one array: rows x columns x height x width x F^2; their energy is in the activity record.

The record has G V^2 t: a cell that discharges what its driver holds at V. A column whose bit line a clamp holds at the
read voltage V draws its current from the supply instead, so that each cell takes G V V_dd t.
"""

from __future__ import annotations

from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.supply import nominal_supply_v


@register("cell-array")
def cell_array(request: Request) -> Figures:
    """Return the area of the cells; selectors and drivers outside the cell are other components."""
    cells = (request.rows or 128) * (request.columns or 128)
    return Figures({}, cells * request.cell_area_f2 * request.node_m**2)


@register("cell-array-clamped")
def cell_array_clamped(request: Request) -> Figures:
    """Return the area of the cells, and how much more than their ohmic energy the supply delivers."""
    cells = (request.rows or 128) * (request.columns or 128)
    supply_v = nominal_supply_v(request.node_m) if request.vdd_v is None else request.vdd_v
    read_v = supply_v if request.read_voltage_v is None else request.read_voltage_v
    area_m2 = cells * request.cell_area_f2 * request.node_m**2
    return Figures({}, area_m2, cell_energy_factor=max(1.0, supply_v / read_v))
