"""NeuroSim's successive-approximation converter, LSTP transistors at 300 K.

P[uW] = a n + c for n bits, t[ns] = n + 1, E = P t, with (a, c) by node; 269 + 109 (n-1) NMOS and
209 + 73 (n-1) PMOS transistors of least width; as coded by DNN+NeuroSim V1.4 (SarADC.cpp). Its further term
for the column current is left out: the ohmic energy of the cells is charged from the activity record.
Between coded nodes a and c are interpolated on a log-log line. The area of one transistor is assumed:
28 F x 4 F, a standard-cell row of 28 F and a contacted pitch of 4 F.
"""

from __future__ import annotations

import math
from itertools import pairwise

from crosstile.cost.figures import Figures, Request, register
from crosstile.errors import SpecError

_COEFFICIENTS = (
    (130, 8.448, 65.24), (90, 5.987, 37.46), (65, 3.751, 25.84), (45, 2.169, 16.69), (32, 1.129, 8.900),
    (22, 0.538, 4.375), (14, 0.3132, 2.568), (10, 0.1823, 1.507), (7, 0.1061, 0.8847), (5, 0.0645, 0.5511),
    (3, 0.0333, 0.2849), (2, 0.0207, 0.1764), (1, 0.0101, 0.0843),
)  # fmt: skip
TRANSISTOR_AREA_F2 = 28.0 * 4.0


def sar_power_w(bits: int, node_m: float) -> float:
    """Return the power in watts while converting, without the column current."""
    node_nm = node_m * 1e9
    for (above, a1, c1), (below, a0, c0) in pairwise(_COEFFICIENTS):
        if below * (1 - 1e-9) <= node_nm <= above * (1 + 1e-9):
            t = math.log(node_nm / below) / math.log(above / below)
            a, c = a0 * (a1 / a0) ** t, c0 * (c1 / c0) ** t
            return float((a * bits + c) * 1e-6)
    raise SpecError(f"adc-neurosim-sar: nodes of 130 to 1 nm are coded, found {node_nm:.4g} nm; choose another adc.")


@register("adc-neurosim-sar")
def adc_neurosim_sar(request: Request) -> Figures:
    """Return the figures at the asked node."""
    bits = request.bits or 8
    delay_s = (bits + 1) * 1e-9
    transistors = (269 + 109 * (bits - 1)) + (209 + 73 * (bits - 1))
    area_m2 = transistors * TRANSISTOR_AREA_F2 * request.node_m**2
    return Figures({"convert": sar_power_w(bits, request.node_m) * delay_s}, area_m2, rate_hz=1.0 / delay_s)
