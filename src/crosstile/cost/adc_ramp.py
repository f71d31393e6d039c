"""Ramp (single-slope) converter: one comparator and one counter of b bits; a conversion takes 2^b steps of the ramp.

    E = 2^b (E_comparator / 8 + 2 E_flip_flop),  t = 2^b t_step

A counter that runs through 2^b states toggles 2 (2^b - 1) flip-flops. The comparator (TIMELY's, 65 nm: 41.7 fJ and
40 um2, as coded by hwcomponents-library) follows the ramp continuously; an eighth of a decision's energy a step, a
step of 1 ns and a ramp generator that all columns share, which is not counted, are assumed.
"""

from __future__ import annotations

from crosstile.cost import gates
from crosstile.cost.adc_flash import COMPARATOR_AREA_M2, COMPARATOR_ENERGY_J, NODE_M
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.scaling import node_factors

STEP_S = 1e-9
SHARE_OF_A_DECISION = 0.125


@register("adc-ramp")
def adc_ramp(request: Request) -> Figures:
    """Return the figures at 65 nm."""
    bits = request.bits or 8
    to_65 = node_factors(gates.NODE_M, NODE_M)
    flip_flop_j = gates.switching_energy_j(gates.FLIP_FLOP_CAP_F) * to_65.energy
    energy_j = 2**bits * (SHARE_OF_A_DECISION * COMPARATOR_ENERGY_J + 2.0 * flip_flop_j)
    area_m2 = COMPARATOR_AREA_M2 + bits * gates.FLIP_FLOP_AREA_M2 * to_65.area
    return Figures({"convert": energy_j}, area_m2, rate_hz=1.0 / (2**bits * STEP_S))
