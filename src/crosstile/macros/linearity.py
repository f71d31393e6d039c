"""How straight a macro's transfer is, and how far its sums lie above the errors.

INL_k = (v_k - line) / LSB with v_k the input at which code k begins, and the line through the first and the last of them;
DNL_k the difference of neighbours. Noise and mismatch are left out: they are random, the bend of the transfer is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.crossbar.program import generator
from crosstile.macros.converter import build_converter, expand
from crosstile.macros.engine import Macro, multiply
from crosstile.macros.spec import ChargeDomainSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Linearity:
    """Largest deviations over the codes of each output, in units of a code."""

    inl: FloatArray
    """(M,)."""
    dnl: FloatArray
    """(M,)."""


def linearity(spec: ChargeDomainSpec, *, seed: int = 0, trial: int = 0) -> Linearity:
    """Return INL and DNL of the outputs of macro number ``trial`` over the range of a fused ReLU, 0 to 1."""
    converter = build_converter(spec, seed=seed, trial=trial)
    inl, dnl = np.zeros(spec.outputs), np.zeros(spec.outputs)
    for m, (levels, a) in enumerate(zip(converter.positive, converter.a, strict=True)):
        begins = expand(levels, float(a))
        # Two references of the same level make a code that never comes: it begins and ends there, DNL -1.
        begins = begins[begins <= 1.0]
        if begins.size < 3:
            continue
        lsb = (begins[-1] - begins[0]) / (begins.size - 1)
        line = begins[0] + lsb * np.arange(begins.size)
        inl[m] = np.abs(begins - line).max() / lsb
        dnl[m] = np.abs(np.diff(begins) / lsb - 1.0).max()
    return Linearity(inl, dnl)


def signal_to_noise_db(
    spec: ChargeDomainSpec, *, seed: int = 0, trial: int = 0, vectors: int = 2048, percentile: float = 99.9
) -> float:
    """Return the ratio of sums to their errors in dB: random weights and inputs over all their values, signed conversions.

    The range is what a share ``percentile`` of the sums does not exceed; a common factor of an output counts as no error.
    """
    rng = generator(seed, "linearity", "operands")
    low_w, low_x = -(2 ** (spec.weight_bits - 1)), -(2 ** (spec.input_bits - 1))
    weights = rng.integers(low_w, -low_w, (spec.inputs, spec.outputs))
    inputs = rng.integers(low_x, -low_x, (vectors, spec.inputs))
    wanted = (inputs @ weights).astype(np.float64)
    codes = 2**spec.converter.bits
    span = (
        max(float(np.percentile(np.abs(wanted), percentile)), codes / 2) if spec.mode == "parallel" else spec.full_span
    )
    found = multiply(inputs, weights, span=span, macro=Macro(spec, seed=seed, trial=trial))
    gain = (found * wanted).sum(axis=0) / (wanted**2).sum(axis=0)
    error = found / np.where(gain > 0, gain, 1.0) - wanted
    noise = float((error**2).mean())
    return float(10.0 * np.log10((wanted**2).mean() / noise)) if noise > 0 else float("inf")
