"""Adder tree and accumulator of digital in-memory computing, by the count of full adders.

A tree of N operands of w bits in ripple-carry adders takes  N (w + 1) - (w + log2 N + 1)  full adders, of which a
quarter switches in a read; its delay is that of log2 N sums and of the carries of the widest adder, w + log2 N - 1.
Operands are products of w_w bits of a weight with w_x bits of an input: w = w_w + w_x - 1. An accumulator or
shift-adder of w bits is w - 1 full adders and w flip-flops, which all switch. Counts and activity as coded by ZigZag;
gates at 28 nm in :mod:`crosstile.cost.gates`.
"""

from __future__ import annotations

import math

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register


def tree_full_adders(operands: int, width_bits: int) -> float:
    """Return the full adders of a tree; for operands that are no power of two, log2 as it stands."""
    return operands * (width_bits + 1) - (width_bits + math.log2(operands) + 1)


@register("adder-tree-gates")
def adder_tree(request: Request) -> Figures:
    """Return one tree over the rows of a read, for products of ``width_bits`` of a weight with the input bits of a read."""
    operands = max(2, request.active_rows or request.rows or 128)
    width = (request.width_bits or request.weight_bits or 8) + (request.input_bits or 1) - 1
    adders, levels = tree_full_adders(operands, width), math.log2(operands)
    energy_j = adders * gates.ACTIVITY * gates.switching_energy_j(gates.FULL_ADDER_CAP_F)
    delay_s = levels * gates.SUM_DELAY_S + (width + levels - 1) * gates.CARRY_DELAY_S
    return Figures({"add": energy_j}, adders * gates.FULL_ADDER_AREA_M2, rate_hz=1.0 / delay_s)


@register("accumulator-gates")
def accumulator(request: Request) -> Figures:
    """Return one accumulator (or shift-adder) of ``width_bits``."""
    width = request.width_bits or 16
    cap_f = (width - 1) * gates.FULL_ADDER_CAP_F + width * gates.FLIP_FLOP_CAP_F
    area_m2 = (width - 1) * gates.FULL_ADDER_AREA_M2 + width * gates.FLIP_FLOP_AREA_M2
    delay_s = gates.SUM_DELAY_S + width * gates.CARRY_DELAY_S
    return Figures({"add": gates.switching_energy_j(cap_f)}, area_m2, rate_hz=1.0 / delay_s)
