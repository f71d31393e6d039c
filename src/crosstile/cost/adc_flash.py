"""Flash converter: 2^b - 1 comparators that decide at once, and full adders that count their ones.

    E = (2^b - 1) E_comparator + (2^b - b - 1) E_full_adder,  A likewise,  t = t_comparator + (2 b - 1) t_sum

The comparator is TIMELY's charging comparator, 65 nm: 41.7 fJ and 40 um2, as coded by hwcomponents-library
(timely.py); its decision time of 1 ns is assumed. Full adders are those of :mod:`crosstile.cost.gates`, brought
to 65 nm by the same scaling as everything else. A ladder of references is not counted.
"""

from __future__ import annotations

from crosstile.cost import gates
from crosstile.cost.figures import Figures, Request, register
from crosstile.cost.scaling import node_factors

NODE_M = 65e-9
COMPARATOR_ENERGY_J = 41.7e-15
COMPARATOR_AREA_M2 = 40e-12
COMPARATOR_DELAY_S = 1e-9


@register("adc-flash")
def adc_flash(request: Request) -> Figures:
    """Return the figures at 65 nm."""
    bits = request.bits or 4
    levels, counters = 2**bits - 1, 2**bits - bits - 1
    to_65 = node_factors(gates.NODE_M, NODE_M)
    adder_energy_j = gates.switching_energy_j(gates.FULL_ADDER_CAP_F) * to_65.energy
    energy_j = levels * COMPARATOR_ENERGY_J + counters * adder_energy_j
    area_m2 = levels * COMPARATOR_AREA_M2 + counters * gates.FULL_ADDER_AREA_M2 * to_65.area
    delay_s = COMPARATOR_DELAY_S + (2 * bits - 1) * gates.SUM_DELAY_S * to_65.delay
    return Figures({"convert": energy_j}, area_m2, rate_hz=1.0 / delay_s)
