"""The converter of ZigZag's analog in-memory-computing model, 28 nm, 0.9 V.

A[um2] = 10^(1.206 - 0.0369 b) 2^b,  t[ns] = b (0.00653 rows + 0.640),  E[fJ] = (100 b + 0.001 * 4^b) Vdd^2,
as coded by ZigZag (hardware/architecture/imc_array.py, BSD-3), fitted there to three chips.
"""

from __future__ import annotations

from crosstile.cost.figures import Figures, Request, register

VDD_V = 0.9


@register("adc-zigzag")
def adc_zigzag(request: Request) -> Figures:
    """Return the figures at 28 nm; the rate is the reciprocal of the delay, which grows with the rows."""
    bits, rows = request.bits or 8, request.rows or 128
    energy_j = (100.0 * bits + 0.001 * 4.0**bits) * VDD_V**2 * 1e-15
    delay_s = bits * (0.00653 * rows + 0.640) * 1e-9
    area_m2 = 10.0 ** (1.206 - 0.0369 * bits) * 2.0**bits * 1e-12
    return Figures({"convert": energy_j}, area_m2, rate_hz=1.0 / delay_s)
