"""Energy and area of a converter from a fit to the Murmann survey of published ADCs.

FoM_S = min(213.7807 - 2.871903 ln fs, M[ceil ENOB]) dB, M[i] = 128.3068 + 3.220512 i
SNDR = 6.0206 ENOB + 1.7609 dB,  E0 = 1 / (2 * 10^((FoM_S - SNDR) / 10)) J
E[pJ] = E0 exp(26.04962 + 1.880037 ln(nm) - 2.829126 ln ENOB - 1.470202)
A[um2] = exp(1.346192 + 0.993279 ln(nm) + 0.180715 ln fs + 0.299124 ln E[pJ])

As coded by accelergy-adc-plug-in; energy is fitted to about the best fifth of the designs, area to about the
best tenth. ENOB is set to the resolution.
"""

from __future__ import annotations

import math

from crosstile.cost.figures import Figures, Request, register
from crosstile.errors import SpecError

DEFAULT_RATE_HZ = 1e9
MIN_BITS, MAX_BITS, MAX_RATE_HZ = 4, 20, 1e10


def survey_energy_j(enob: float, rate_hz: float, node_m: float) -> float:
    """Return the energy of one conversion in joules."""
    fom_db = min(213.7807 - 2.871903 * math.log(rate_hz), 128.3068 + 3.220512 * math.ceil(enob))
    sndr_db = 6.0206 * enob + 1.7609
    e0_j = 1.0 / (2.0 * 10.0 ** ((fom_db - sndr_db) / 10.0))
    exponent = 26.04962 + 1.880037 * math.log(node_m * 1e9) - 2.829126 * math.log(enob) - 1.470202
    return float(e0_j * math.exp(exponent) * 1e-12)


def survey_area_m2(energy_j: float, rate_hz: float, node_m: float) -> float:
    """Return the area in m2 of a converter that takes ``energy_j`` for a conversion."""
    exponent = 1.346192 + 0.993279 * math.log(node_m * 1e9) + 0.180715 * math.log(rate_hz)
    return math.exp(exponent + 0.299124 * math.log(energy_j * 1e12)) * 1e-12


@register("adc-survey")
def adc_survey(request: Request) -> Figures:
    """Return the fitted figures; resolutions and rates outside the fit raise :class:`SpecError`."""
    bits = request.bits or 8
    rate_hz = request.rate_hz or DEFAULT_RATE_HZ
    if not MIN_BITS <= bits <= MAX_BITS:
        raise SpecError(
            f"adc-survey: the fit covers {MIN_BITS} to {MAX_BITS} bits, found adc.bits {bits}; "
            "raise adc.bits or choose another adc component, such as adc-isaac-sar-8b."
        )
    if rate_hz > MAX_RATE_HZ:
        raise SpecError(f"adc-survey: the fit ends at 10 GS/s, found {rate_hz:.3g}; lower rate or use more converters.")
    energy_j = survey_energy_j(bits, rate_hz, request.node_m)
    return Figures({"convert": energy_j}, survey_area_m2(energy_j, rate_hz, request.node_m), rate_hz=rate_hz)
