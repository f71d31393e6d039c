"""What a macro does in a second and what it takes: operations, energy by part, conversions.

    GOPS = 2 N M f / cycles,     E = k (E_cells + E_adders + E_converters + E_registers + E_additions)

for one product of N inputs with M outputs:

    E_cells      = alpha N M I J C V^2          charged anew where the bit product is 1, in the share alpha of them
    E_adders     = M C_adders (alpha V)^2       row nodes and adders swing by alpha V on average
    E_converters = conversions (E_compare + share converted E_convert)

k is the one constant of calibration. A multiply-accumulate counts as two operations.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosstile.cost.adc_survey import MIN_BITS, survey_energy_j
from crosstile.errors import SpecError
from crosstile.macros.spec import ChargeDomainSpec


@dataclass(frozen=True)
class MacroFigures:
    """One macro at full use, SI units."""

    gops: float
    cycles: int
    """Of one product."""
    conversions: int
    """Of one product, by all outputs together."""
    energy_j: dict[str, float]
    """Of one product, by part; the constant of calibration is in."""
    macs: int

    @property
    def total_j(self) -> float:
        """Energy of one product."""
        return sum(self.energy_j.values())

    @property
    def mac_j(self) -> float:
        """Energy of one multiply-accumulate."""
        return self.total_j / self.macs

    @property
    def tops_per_w(self) -> float:
        """Efficiency in 10^12 operations a joule."""
        return 2e-12 / self.mac_j

    @property
    def power_w(self) -> float:
        """Power at full speed."""
        return self.gops * 1e-3 / self.tops_per_w


def conversion_energy_j(spec: ChargeDomainSpec) -> float:
    """Return the energy of one conversion before calibration; each converter makes one a cycle.

    Raises:
        SpecError: none is given and the fit to published converters does not cover the resolution.
    """
    if spec.energy.conversion_j is not None:
        return spec.energy.conversion_j
    if spec.converter.bits < MIN_BITS:
        raise SpecError(
            f"{spec.name}: energy.conversion: the fit to published converters covers {MIN_BITS} bits and more, found "
            f"converter.bits {spec.converter.bits}; give energy.conversion, such as '1 pJ'."
        )
    return survey_energy_j(spec.converter.bits, spec.clock_hz, spec.node_m)


def macro_figures(spec: ChargeDomainSpec, *, skipped: float = 0.0) -> MacroFigures:
    """Return the figures of a macro in full use.

    Args:
        spec: the macro.
        skipped: share of results that are negative, and not converted behind a fused ReLU.
    """
    cycles = spec.input_bits if spec.mode == "bit_serial" else 1
    macs = spec.inputs * spec.outputs
    conversions = conversions_each(spec) * spec.outputs
    additions = (conversions_each(spec) - 1) * spec.outputs
    energy = _energy(spec, macs, conversions, round(skipped * conversions), spec.inputs, spec.outputs, additions)
    gops = 2.0 * macs * spec.clock_hz / cycles * 1e-9
    return MacroFigures(gops, cycles, conversions, energy, macs)


def conversions_each(spec: ChargeDomainSpec) -> int:
    """Return how many conversions one output takes for one product."""
    return spec.input_bits * spec.weight_bits if spec.mode == "bit_serial" else 1


def _energy(
    spec: ChargeDomainSpec, macs: int, conversions: float, skipped: float, inputs: int, outputs: int, additions: float
) -> dict[str, float]:
    """Return energy by part; ``outputs`` counts results, ``inputs`` the numbers written to input registers."""
    energy, caps, k = spec.energy, spec.capacitors, spec.energy.calibration
    products = spec.input_bits * spec.weight_bits
    cells = energy.activity * macs * products * caps.cell_f * spec.reference_v**2
    adders = 0.0
    if spec.mode == "parallel":
        rows = products * 2 ** (spec.input_bits - 1) * caps.first_adder_f
        nodes = spec.weight_bits * 2 ** (spec.weight_bits - 1) * caps.second_adder_f
        adders = outputs * (rows + nodes) * (energy.activity * spec.reference_v) ** 2
    compare = energy.comparison_j if spec.converter.sign_first and spec.mode == "parallel" else 0.0
    return {
        "cells": k * cells,
        "adders": k * adders,
        "converters": k * (conversions * compare + (conversions - skipped) * conversion_energy_j(spec)),
        "registers": k * (inputs * spec.input_bits + outputs * spec.converter.bits) * energy.register_bit_j,
        "additions": k * additions * energy.addition_j,
    }


def layer_energy(
    spec: ChargeDomainSpec, *, macs: int, pieces: int, outputs: int, rows_driven: int, skipped: float
) -> dict[str, float]:
    """Return the energy by part that the products of one layer take; rows and outputs that it leaves free take none.

    Args:
        spec: the macro.
        macs: multiply-accumulates, rows that hold a bias left out.
        pieces: results taken from the macro: outputs x row pieces.
        outputs: outputs, after the pieces are added.
        rows_driven: numbers written to input registers, summed over cycles.
        skipped: results that were negative and not converted.
    """
    each = conversions_each(spec)
    additions = pieces * (each - 1) + (pieces - outputs)
    return _energy(spec, macs, pieces * each, skipped, rows_driven, pieces, additions)


def calibration_constant(spec: ChargeDomainSpec, tops_per_w: float) -> float:
    """Return the constant that brings the macro to an efficiency, all results being converted."""
    return macro_figures(spec).tops_per_w * spec.energy.calibration / tops_per_w
