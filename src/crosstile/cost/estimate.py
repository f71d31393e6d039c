"""Energy, latency and area of a network on a chip, from the work of its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crosstile.cost.charges import charge
from crosstile.cost.installed import Installed, install, notes_of
from crosstile.cost.latency import LayerTime, layer_time, pipelined_latency
from crosstile.cost.peak import peak_of, units_of
from crosstile.cost.report import ComponentCost, CostReport, LayerCost
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerPlan
from crosstile.specs.chip import ChipSpec

LEAKAGE = "leakage"


def estimate(plans: Sequence[LayerPlan], chip: ChipSpec) -> CostReport:
    """Return what one sample costs on ``chip``, the layers taken in order as a chain.

    ``plans`` come from :func:`crosstile.mapping.plan.plan_layer` for the same chip, or from a run on data.
    Raises :class:`SpecError` when there is no layer, the chip has too few tiles, or a component does not
    cover what is asked of it.
    """
    if not plans:
        raise SpecError("cost: there is no mapped layer to estimate; map a network with at least one matrix product.")
    parts = install(chip)
    if any(part.name == LEAKAGE for part in parts):
        raise SpecError(f"chip {chip.name!r}: hardware.components.{LEAKAGE}: this name is taken; rename the entry.")
    arrays = sum(plan.arrays for plan in plans)
    units = _units(chip, arrays)
    counts = {part.name: part.instances(units) for part in parts}
    areas_m2 = {part.name: counts[part.name] * part.figures.area_m2 for part in parts}
    leakage_w = sum(counts[part.name] * part.figures.leakage_w for part in parts)
    area_m2 = sum(areas_m2.values())

    ends = [(i == 0, i == len(plans) - 1) for i in range(len(plans))]
    times = [layer_time(p, chip, parts, first=f, last=e) for p, (f, e) in zip(plans, ends, strict=True)]
    totals_s = [time.total_s for time in times]
    latency_s, interval_s = sum(totals_s), max(totals_s)
    pipelined_s = pipelined_latency([plan.shape for plan in plans], totals_s)
    serial = chip.hardware.pipeline == "layer_serial"
    # Leakage lasts as long as a sample holds the chip; layers share it by their time.
    held_s = latency_s if serial else interval_s
    layers = [
        _layer(plan, time, chip, parts, arrays, leakage_w * held_s * time.total_s / latency_s, *end)
        for plan, time, end in zip(plans, times, ends, strict=True)
    ]
    energy_j = sum(layer.energy_j for layer in layers)
    if not (energy_j > 0 and area_m2 > 0 and latency_s > 0):
        raise SpecError(
            f"chip {chip.name!r}: the hardware section takes no energy, area or time at all "
            f"({energy_j:.3g} J, {area_m2:.3g} m2, {latency_s:.3g} s); describe cells and converters."
        )
    components = _components(parts, layers, counts, areas_m2, leakage_w, energy_j, area_m2)
    ops = 2 * sum(plan.shape.macs for plan in plans)
    delay_s = latency_s if serial else pipelined_s
    peak = peak_of(chip, parts, units)
    factor = None if chip.weights.bits is None else chip.inputs.bits * chip.weights.bits / 64.0
    tops_per_w, tops_per_mm2 = ops / energy_j * 1e-12, ops / held_s * 1e-12 / (area_m2 * 1e6)
    notes = notes_of(chip, parts)
    bases = sorted({plan.activity.energy_basis for plan in plans} - {"measured"})
    notes += [f"cell energy is {basis}" for basis in bases]
    return CostReport(
        chip=chip.name,
        schedule=chip.hardware.pipeline,
        node_m=chip.hardware.node_m,
        ops=ops,
        energy_j=energy_j,
        dynamic_energy_j=sum(c.energy_j for c in components if c.name != LEAKAGE),
        leakage_power_w=leakage_w,
        latency_s=latency_s,
        latency_pipelined_s=pipelined_s,
        throughput_hz=1.0 / interval_s,
        area_m2=area_m2,
        power_w=energy_j / held_s,
        edp_js=energy_j * delay_s,
        edap_jsm2=energy_j * delay_s * area_m2,
        tops_per_w=tops_per_w,
        tops_per_mm2=tops_per_mm2,
        tops_per_w_peak=peak.tops_per_w,
        tops_per_mm2_peak=peak.tops_per_mm2,
        tops_peak=peak.tops,
        bit_factor=factor,
        tops_per_w_8b=None if factor is None else tops_per_w * factor,
        tops_per_mm2_8b=None if factor is None else tops_per_mm2 * factor,
        tops_per_w_peak_8b=None if factor is None else peak.tops_per_w * factor,
        tops_per_mm2_peak_8b=None if factor is None else peak.tops_per_mm2 * factor,
        arrays_used=arrays,
        arrays_built=units["array"],
        tiles_needed=math.ceil(arrays / chip.hardware.arrays_per_tile),
        tiles_built=units["tile"],
        cell_utilisation=sum(plan.cells_used for plan in plans) / sum(plan.cells_total for plan in plans),
        array_utilisation=arrays / units["array"],
        layers=tuple(layers),
        components=components,
        notes=tuple(dict.fromkeys(notes)),
    )


def _units(chip: ChipSpec, arrays: int) -> dict[str, int]:
    hardware = chip.hardware
    needed = math.ceil(arrays / hardware.arrays_per_tile)
    if hardware.tiles is not None and needed > hardware.tiles:
        raise SpecError(
            f"chip {chip.name!r}: hardware.tiles is {hardware.tiles}, but the network takes {arrays} arrays "
            f"and needs {needed} tiles of {hardware.arrays_per_tile} arrays; "
            f"set tiles to {needed} or more, or to null."
        )
    return units_of(chip, hardware.tiles or needed)


def _layer(
    plan: LayerPlan,
    time: LayerTime,
    chip: ChipSpec,
    parts: tuple[Installed, ...],
    arrays: int,
    leakage_j: float,
    first: bool,
    last: bool,
) -> LayerCost:
    spent = {part.name: charge(part, plan, chip, first=first, last=last) for part in parts}
    spent[LEAKAGE] = leakage_j
    return LayerCost(
        name=plan.shape.name,
        macs=plan.shape.macs,
        arrays=plan.arrays,
        area_share=plan.arrays / arrays,
        utilisation=plan.utilisation,
        energy_j=sum(spent.values()),
        energy_by_component_j=spent,
        latency_s=time.total_s,
        compute_s=time.compute_s,
        drain_s=time.drain_s,
        buffer_s=time.buffer_s,
        network_s=time.network_s,
        chip_io_s=time.chip_io_s,
        read_cycle_s=time.read_cycle_s,
        limited_by=time.limited_by,
        energy_basis=plan.activity.energy_basis,
    )


def _components(
    parts: tuple[Installed, ...],
    layers: Sequence[LayerCost],
    counts: dict[str, int],
    areas_m2: dict[str, float],
    leakage_w: float,
    energy_j: float,
    area_m2: float,
) -> tuple[ComponentCost, ...]:
    spent = {name: sum(layer.energy_by_component_j[name] for layer in layers) for name in (*counts, LEAKAGE)}
    lines = [
        ComponentCost(
            name=part.name,
            role=part.role,
            component=part.component.name,
            count=counts[part.name],
            energy_j=spent[part.name],
            energy_share=spent[part.name] / energy_j,
            area_m2=areas_m2[part.name],
            area_share=areas_m2[part.name] / area_m2,
            leakage_w=counts[part.name] * part.figures.leakage_w,
            source=part.source,
            tag=part.tag,
        )
        for part in parts
    ]
    source = "leakage power of all components x the time a sample holds the chip"
    # Its area is with the components that leak.
    own_j, name = spent[LEAKAGE], LEAKAGE
    total = ComponentCost(name, name, name, 1, own_j, own_j / energy_j, 0.0, 0.0, leakage_w, source, "derived")
    return (*lines, total)
