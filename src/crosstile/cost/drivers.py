"""Word-line drivers by the load of the line, converters of input bits, and the switches of a column multiplexer.

The line of a row loads its driver with C = columns x 0.35 fF at 28 nm (as coded by ZigZag), in proportion to the node;
C V^2 is taken when the line rises. One input bit: it rises for half of the inputs. Inputs of b bits as a number of
pulses: (2^b - 1) / 2 times on average. Inputs of b bits as a voltage: ZigZag's converter, 50 fF b V^2, besides one rise
of the line for half of the inputs; its capacitors do not shrink with the node.
Areas are assumed: ten NANDs a driver, and one more for each pulse counter's or converter's level.
"""

from __future__ import annotations

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.scaling import node_factors
from crosstile.cost.supply import nominal_supply_v

DAC_CAP_PER_BIT_F = 50e-15
DRIVER_NANDS = 10.0
LINE_TOGGLE = 0.5


def line_cap_f(request: Request) -> float:
    """Return the capacitance of a row's line in farads."""
    per_cell_f = gates.LINE_CAP_PER_CELL_F * request.node_m / gates.NODE_M
    if request.capacitance_f is not None:
        per_cell_f = request.capacitance_f
    return (request.columns or 128) * request.cells_per_column * per_cell_f


def _supply_v(request: Request) -> float:
    return nominal_supply_v(request.node_m) if request.vdd_v is None else request.vdd_v


def _area_m2(request: Request, nands: float) -> float:
    return nands * gates.NAND_AREA_M2 * node_factors(gates.NODE_M, request.node_m).area


@register("wordline-driver")
def wordline_driver(request: Request) -> Figures:
    """Return one driver of one-bit inputs."""
    energy_j = LINE_TOGGLE * line_cap_f(request) * _supply_v(request) ** 2
    return Figures({"convert": energy_j}, _area_m2(request, DRIVER_NANDS))


@register("wordline-pulses")
def wordline_pulses(request: Request) -> Figures:
    """Return one driver of inputs given as a number of pulses, with its counter."""
    bits = request.bits or 4
    pulses = (2**bits - 1) / 2.0
    # A count toggles two flip-flops on average.
    counter_j = gates.energy_at_j(2.0 * pulses * gates.FLIP_FLOP_CAP_F, request.node_m, request.vdd_v)
    line_j = pulses * line_cap_f(request) * _supply_v(request) ** 2
    nands = DRIVER_NANDS + bits * gates.FLIP_FLOP_AREA_M2 / gates.NAND_AREA_M2
    return Figures({"convert": line_j + counter_j}, _area_m2(request, nands))


@register("dac-zigzag")
def dac_zigzag(request: Request) -> Figures:
    """Return one converter of an input to a voltage; for one bit it is the driver alone."""
    bits = request.bits or 4
    cap_f = LINE_TOGGLE * line_cap_f(request) + (DAC_CAP_PER_BIT_F * bits if bits > 1 else 0.0)
    nands = DRIVER_NANDS + (2**bits if bits > 1 else 0)
    return Figures({"convert": cap_f * _supply_v(request) ** 2}, _area_m2(request, nands))


@register("column-mux")
def column_mux(request: Request) -> Figures:
    """Return the switch of one column: a transmission gate as large as half a NAND, and its share of the select lines.

    A conversion opens one switch and closes another; the lines that select run past as many columns as share a
    converter.
    """
    ways = request.columns_per_adc or 8
    cap_f = 2.0 * gates.NAND_CAP_F + ways * gates.LINE_CAP_PER_CELL_F
    return Figures({"select": gates.switching_energy_j(cap_f)}, 0.5 * gates.NAND_AREA_M2)
