"""Gates of digital components at 28 nm and 0.9 V: switched capacitance, area and delay of a NAND and what is made of it.

A gate that switches takes C V^2. NAND2: 0.7 fF, 0.614 um2, 47.8 ps; XOR2 1.5 times the capacitance, 2.4 times
area and delay; flip-flop 3 times the capacitance, 6 times the area; a full adder is three NANDs and two XORs; all
as coded by ZigZag (hardware/architecture/imc_unit.py). Leakage is not in that source.
"""

from __future__ import annotations

from typing import Final

from crosstile.cost.scaling import node_factors
from crosstile.cost.supply import supply_factors

NODE_M: Final = 28e-9
VDD_V: Final = 0.9
NAND_CAP_F: Final = 0.7e-15
NAND_AREA_M2: Final = 0.614e-12
NAND_DELAY_S: Final = 47.8e-12

XOR_CAP_F: Final = 1.5 * NAND_CAP_F
XOR_AREA_M2: Final = 2.4 * NAND_AREA_M2
XOR_DELAY_S: Final = 2.4 * NAND_DELAY_S
FLIP_FLOP_CAP_F: Final = 3.0 * NAND_CAP_F
FLIP_FLOP_AREA_M2: Final = 6.0 * NAND_AREA_M2
FULL_ADDER_CAP_F: Final = 3.0 * NAND_CAP_F + 2.0 * XOR_CAP_F
FULL_ADDER_AREA_M2: Final = 3.0 * NAND_AREA_M2 + 2.0 * XOR_AREA_M2
CARRY_DELAY_S: Final = 2.0 * NAND_DELAY_S
SUM_DELAY_S: Final = 2.0 * XOR_DELAY_S

LINE_CAP_PER_CELL_F: Final = 0.35e-15
"""Of a word line or bit line, a cell."""

ACTIVITY: Final = 0.25
"""Share of the gates of multipliers and adder trees that switch in a read: half of the inputs toggle, half of the
weights are one."""


def switching_energy_j(cap_f: float) -> float:
    """Return C V^2 in joules of ``cap_f`` at 0.9 V."""
    return cap_f * VDD_V**2


def energy_at_j(cap_f: float, node_m: float, vdd_v: float | None) -> float:
    """Return the energy of switching ``cap_f`` (as at 28 nm) at another node and supply; ``None``: nodes alone scale."""
    if vdd_v is None:
        return switching_energy_j(cap_f) * node_factors(NODE_M, node_m).energy
    return switching_energy_j(cap_f) * supply_factors(NODE_M, VDD_V, node_m, vdd_v).energy
