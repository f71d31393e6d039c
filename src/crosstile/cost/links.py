"""Links on a chip: repeated wires, H-trees made of them, and hops of a mesh; one bit a transfer.

    wire     E = a C' L V^2,  t = t' L,  A = pitch L
    H-tree   over a square of side s, from the root to one leaf: halves of the side in turn, L -> s; its own
             switches are a NAND a level, log2(leaves) of them
    hop      a wire of the length of one tile, and the router at its end

C' = 0.2 pF/mm of wire with its repeaters, a = 1/4 of the bits rise, 100 ps/mm and a pitch of four feature sizes are
assumed, the usual order for wires between blocks: capacitance per length hardly changes with the node, so that C'
does not scale. The router is ISAAC's, 32 nm, 20.74 pJ and 0.15 mm2 for 256 bits, as coded by hwcomponents-library.
"""

from __future__ import annotations

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.scaling import node_factors
from crosstile.cost.supply import nominal_supply_v, supply_factors

CAP_F_PER_M = 0.2e-12 / 1e-3
DELAY_S_PER_M = 100e-12 / 1e-3
RISING = 0.25
PITCH_F = 4.0
DEFAULT_LENGTH_M = 1e-3
TREE_LEVELS = 6
"""Of an H-tree with 64 leaves."""
ROUTER_NODE_M = 32e-9
ROUTER_ENERGY_J = 20.74e-12 / 256
ROUTER_AREA_M2 = 0.15e-6 / 256


def wire_energy_j(length_m: float, node_m: float, vdd_v: float | None) -> float:
    """Return the energy of one bit over ``length_m`` of repeated wire in joules."""
    supply_v = nominal_supply_v(node_m) if vdd_v is None else vdd_v
    return RISING * CAP_F_PER_M * length_m * supply_v**2


def _wire(request: Request) -> tuple[float, float, float]:
    """Return (energy, area, delay) of one bit's wire."""
    length_m = DEFAULT_LENGTH_M if request.length_m is None else request.length_m
    energy_j = wire_energy_j(length_m, request.node_m, request.vdd_v)
    return energy_j, PITCH_F * request.node_m * length_m, DELAY_S_PER_M * length_m


@register("link-wire")
def link_wire(request: Request) -> Figures:
    """Return one bit's wire of the given length (1 mm)."""
    energy_j, area_m2, delay_s = _wire(request)
    return Figures({"transfer": energy_j}, area_m2, rate_hz=1.0 / delay_s)


@register("link-htree")
def link_htree(request: Request) -> Figures:
    """Return one bit's way from the root to a leaf, for a square of the given side (1 mm) with 64 leaves."""
    energy_j, area_m2, delay_s = _wire(request)
    energy_j += TREE_LEVELS * RISING * gates.energy_at_j(gates.NAND_CAP_F, request.node_m, request.vdd_v)
    area_m2 += TREE_LEVELS * gates.NAND_AREA_M2 * node_factors(gates.NODE_M, request.node_m).area
    return Figures({"transfer": energy_j}, area_m2, rate_hz=1.0 / delay_s)


@register("link-mesh-hop")
def link_mesh_hop(request: Request) -> Figures:
    """Return one bit's hop: the wire along one tile (1 mm) and the router."""
    energy_j, area_m2, delay_s = _wire(request)
    router = node_factors(ROUTER_NODE_M, request.node_m)
    factor = router.energy
    if request.vdd_v is not None:
        factor = supply_factors(ROUTER_NODE_M, nominal_supply_v(ROUTER_NODE_M), request.node_m, request.vdd_v).energy
    energy_j += ROUTER_ENERGY_J * factor
    return Figures({"transfer": energy_j}, area_m2 + ROUTER_AREA_M2 * router.area, rate_hz=1.0 / delay_s)
