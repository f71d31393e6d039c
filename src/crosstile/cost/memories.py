"""SRAM buffer by capacity: square sub-arrays of at most 128 x 128 cells, read a word at a time.

A word of w bits takes its word line (c = 0.35 fF a cell at 28 nm, over all columns of the sub-array, rising once) and
the bit lines of all its columns, pre-charged again over a tenth of the supply; a sense amplifier and a
flip-flop a bit; and wires of 0.2 pF/mm to the middle of the memory:

    E = [ columns c + columns rows c / 10 + w (2 C_nand + C_flip-flop) ] V^2 + w E_wire(side / 2)
    A = bits a_cell (1 + 0.5) + w (A_flip-flop + 4 A_nand),  leakage 10 pW a cell at 28 nm

Line and gate capacitances as coded by ZigZag; cells of 160 F2, half as much again for decoders, the swing and the
leakage are assumed.
"""

from __future__ import annotations

import math

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.links import wire_energy_j

WORD_BITS = 64
LARGEST_SIDE = 128
SWING = 0.1
CELL_F2 = 160.0
PERIPHERY = 0.5
LEAKAGE_W_PER_BIT = 10e-12
ACCESS_S = 1e-9


@register("sram-buffer")
def sram_buffer(request: Request) -> Figures:
    """Return the figures at 28 nm and 0.9 V; reading and writing take the same."""
    bits = request.capacity_bits or 65536.0
    side = min(LARGEST_SIDE, 2 ** math.ceil(math.log2(math.sqrt(bits))))
    lines_f = side * gates.LINE_CAP_PER_CELL_F * (1.0 + SWING * side)
    sensing_f = WORD_BITS * (2.0 * gates.NAND_CAP_F + gates.FLIP_FLOP_CAP_F)
    area_m2 = bits * CELL_F2 * gates.NODE_M**2 * (1.0 + PERIPHERY)
    area_m2 += WORD_BITS * (gates.FLIP_FLOP_AREA_M2 + 4.0 * gates.NAND_AREA_M2)
    wires_j = WORD_BITS * wire_energy_j(math.sqrt(area_m2) / 2.0, gates.NODE_M, gates.VDD_V)
    energy_j = gates.switching_energy_j(lines_f + sensing_f) + wires_j
    return Figures({"read": energy_j, "write": energy_j}, area_m2, bits * LEAKAGE_W_PER_BIT, rate_hz=1.0 / ACCESS_S)
