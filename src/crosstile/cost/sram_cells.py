"""Cells of SRAM arrays, by what one read charges: capacitors, bit lines, or the gates of one-bit multipliers.

    charge domain   half of the cells' capacitors are charged:  E = n C V^2 / 2
    current domain  half of the inputs and half of the weights are one; a bit line of capacitance C a cell loses a
                    quarter of its swing:                       E = n C V^2 / 4
    digital         a NOR a cell and input bit, of which a quarter switches:    E = n b C_nand V^2 / 4

for the n cells that a read drives. Capacitors: 2 fF a cell whatever the node (as coded by CiMLoop for Jia et al.
2020); bit lines 0.35 fF a cell at 28 nm, in proportion to the node, and NOR gates, as coded by ZigZag. Area: the
cell's height and width in F.
"""

from __future__ import annotations

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.scaling import node_factors
from crosstile.cost.supply import nominal_supply_v

CAPACITOR_F = 2e-15
CHARGED = 0.5
DISCHARGED = 0.25


def _driven(request: Request) -> float:
    """Return the cells that one read drives."""
    rows = request.active_rows or request.rows or 128
    return float(rows * (request.columns or 128) * request.cells_per_column)


def _area_m2(request: Request) -> float:
    """Return the area of all cells of the array."""
    cells = (request.rows or 128) * (request.columns or 128) * request.cells_per_column
    return cells * request.cell_area_f2 * request.node_m**2


def _supply_v(request: Request) -> float:
    return nominal_supply_v(request.node_m) if request.vdd_v is None else request.vdd_v


@register("cells-charge")
def cells_charge(request: Request) -> Figures:
    """Return the array; the capacitor lies on top of the cells and does not scale with the node."""
    cap_f = CAPACITOR_F if request.capacitance_f is None else request.capacitance_f
    energy_j = _driven(request) * CHARGED * cap_f * _supply_v(request) ** 2
    return Figures({"read": energy_j}, _area_m2(request))


@register("cells-current")
def cells_current(request: Request) -> Figures:
    """Return the array; however an input is coded, a bit line loses a quarter of its full swing on average."""
    line_f = gates.LINE_CAP_PER_CELL_F * request.node_m / gates.NODE_M
    cap_f = line_f if request.capacitance_f is None else request.capacitance_f
    energy_j = _driven(request) * DISCHARGED * cap_f * _supply_v(request) ** 2
    return Figures({"read": energy_j}, _area_m2(request))


@register("cells-digital")
def cells_digital(request: Request) -> Figures:
    """Return the array with a NOR for each cell that a read drives and each input bit that it applies."""
    gate_count = _driven(request) * (request.input_bits or 1)
    energy_j = gate_count * gates.ACTIVITY * gates.energy_at_j(gates.NAND_CAP_F, request.node_m, request.vdd_v)
    gate_area_m2 = gate_count * gates.NAND_AREA_M2 * node_factors(gates.NODE_M, request.node_m).area
    return Figures({"read": energy_j}, _area_m2(request) + gate_area_m2)
