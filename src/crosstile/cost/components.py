"""A library component in its setting: resolution, size, rate and node in, energy, area and rate out."""

from __future__ import annotations

from dataclasses import replace

from crosstile.cost import (  # noqa: F401  (they register themselves)
    adc_flash,
    adc_neurosim,
    adc_ramp,
    adc_survey,
    adc_zigzag,
    adders,
    cell_array,
    drivers,
    links,
    memories,
    sram_cells,
)
from crosstile.cost.figures import FORMULAS, Figures, Request
from crosstile.cost.library import ComponentSpec, Rule
from crosstile.cost.scaling import NodeFactors, node_factors
from crosstile.cost.supply import check_supply, nominal_supply_v, supply_factors
from crosstile.errors import SpecError


def evaluate(component: ComponentSpec, request: Request) -> Figures:
    """Return the figures of one instance of ``component``.

    A rate in the request replaces the library's; energy per action stays as it is, except where the
    component's formula takes the rate in. Raises :class:`SpecError` outside the component's range.
    """
    if request.vdd_v is not None and component.node_scaling != "none":
        check_supply(request.node_m, request.vdd_v)
    if component.formula is not None:
        figures = FORMULAS.get(component.formula)(request)
        bent = replace(figures, access_bits=component.access_bits)
    elif component.table:
        bent = _from_table(component, request)
    else:
        bent = _from_actions(component, request)
    if component.node_scaling == "stillmaker-baas-2017":
        bent = _scaled(bent, node_factors(component.node_m, request.node_m))
    if request.vdd_v is not None and component.node_scaling != "none" and not component.supply_in_formula:
        bent = _scaled(bent, _at_supply(component, request.node_m, request.vdd_v))
    if request.rate_hz is None or component.node_scaling == "in_formula":
        return bent
    notes = bent.notes
    if bent.rate_hz is not None and request.rate_hz > bent.rate_hz * (1 + 1e-9):
        asked = f"asked for {request.rate_hz:.4g}/s, its source reaches {bent.rate_hz:.4g}/s here"
        notes += (f"{component.name}: {asked}",)
    return replace(bent, rate_hz=request.rate_hz, notes=notes)


def _scaled(figures: Figures, factor: NodeFactors) -> Figures:
    return replace(
        figures,
        energy_j={action: energy * factor.energy for action, energy in figures.energy_j.items()},
        area_m2=figures.area_m2 * factor.area,
        leakage_w=figures.leakage_w * factor.leakage,
        rate_hz=_times(figures.rate_hz, 1.0 / factor.delay),
        busy_power_w=_times(figures.busy_power_w, factor.energy / factor.delay),
    )


def _at_supply(component: ComponentSpec, node_m: float, vdd_v: float) -> NodeFactors:
    """Return what figures that are at the chip's node already are multiplied by at its supply."""
    if component.node_scaling == "in_formula":  # figures at the chip's node and its nominal supply
        factor = supply_factors(node_m, nominal_supply_v(node_m), node_m, vdd_v)
        return NodeFactors(factor.energy, 1.0, factor.delay, factor.leakage)
    from_v = nominal_supply_v(component.node_m) if component.vdd_v is None else component.vdd_v
    factor = supply_factors(component.node_m, from_v, node_m, vdd_v)
    # The factor of energy is for both nodes and supplies: take back what the nodes gave at one supply.
    energy = factor.energy / node_factors(component.node_m, node_m).energy
    return NodeFactors(energy, 1.0, factor.delay, factor.leakage)


def _from_table(component: ComponentSpec, request: Request) -> Figures:
    wanted = request.bits or component.table[-1].bits
    point = next((p for p in component.table if p.bits >= wanted), None)
    if point is None:
        raise SpecError(
            f"{component.name}: the largest converter of its table has {component.table[-1].bits} bits, "
            f"found {wanted}; lower the bits or choose a component that scales with them."
        )
    notes = () if point.bits == wanted else (f"{component.name}: {point.bits} bits taken for {wanted}",)
    energy_j = {"convert": point.energy_j}
    return Figures(energy_j, point.area_m2, component.leakage_w, point.rate_hz, notes=notes)


def _from_actions(component: ComponentSpec, request: Request) -> Figures:
    assert component.actions is not None
    assert component.area_m2 is not None
    energy = area = leakage = rate = 1.0
    values: dict[str, float | None] = {
        "bits": request.bits, "width": request.width_bits, "capacity": request.capacity_bits,
        "length": request.length_m,
        "rows": request.rows, "columns": request.columns, "read_time": request.read_time_s,
        "cells": request.rows * request.columns if request.rows and request.columns else None,
    }  # fmt: skip
    for variable, rules in component.scaling.items():
        value = values[variable]
        if value is None:  # as the library figure has it
            continue
        energy *= _factor(rules.energy, value, rules.reference)
        area *= _factor(rules.area, value, rules.reference)
        leakage *= _factor(rules.leakage, value, rules.reference)
        rate *= _factor(rules.rate, value, rules.reference)
    return Figures(
        energy_j={action: value * energy for action, value in component.actions.items()},
        area_m2=component.area_m2 * area,
        leakage_w=component.leakage_w * leakage,
        rate_hz=_times(component.rate_hz, rate),
        access_bits=component.access_bits,
        # The source's busy power is at its own size: follow the energy and the rate.
        busy_power_w=_times(component.busy_power_w, energy * rate),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _factor(rule: Rule | None, value: float, reference: float) -> float:
    return 1.0 if rule is None else rule.factor(value, reference)
