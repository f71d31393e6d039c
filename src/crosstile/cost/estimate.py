"""Energy, latency and area of a network on a chip, from the work of its layers."""

from __future__ import annotations

from collections.abc import Sequence

from crosstile.cost.charges import charge
from crosstile.cost.installed import notes_of
from crosstile.cost.kinds import Built, Kind, build
from crosstile.cost.latency import LayerTime, layer_time, pipelined_latency
from crosstile.cost.peak import peak_of
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
    built = build(plans, chip)
    if any(part.name == LEAKAGE for kind in built.kinds for part in kind.parts):
        raise SpecError(f"chip {chip.name!r}: hardware.components.{LEAKAGE}: this name is taken; rename the entry.")
    arrays = sum(plan.arrays for plan in plans)
    leakage_w = sum(count * part.figures.leakage_w for part, count in built.counts)
    area_m2 = sum(count * part.figures.area_m2 for part, count in built.counts)
    kinds = [built.of(number) for number in range(len(plans))]

    ends = [(i == 0, i == len(plans) - 1) for i in range(len(plans))]
    times = [layer_time(p, k.chip, k.parts, first=f, last=e) for p, k, (f, e) in zip(plans, kinds, ends, strict=True)]
    totals_s = [time.total_s for time in times]
    latency_s, interval_s = sum(totals_s), max(totals_s)
    pipelined_s = pipelined_latency([plan.shape for plan in plans], totals_s)
    serial = chip.hardware.pipeline == "layer_serial"
    # Leakage lasts as long as a sample holds the chip; layers share it by their time.
    held_s = latency_s if serial else interval_s
    layers = [
        _layer(plan, time, kind, arrays, leakage_w * held_s * time.total_s / latency_s, *end)
        for plan, time, kind, end in zip(plans, times, kinds, ends, strict=True)
    ]
    energy_j = sum(layer.energy_j for layer in layers)
    if not (energy_j > 0 and area_m2 > 0 and latency_s > 0):
        raise SpecError(
            f"chip {chip.name!r}: the hardware section takes no energy, area or time at all "
            f"({energy_j:.3g} J, {area_m2:.3g} m2, {latency_s:.3g} s); describe cells and converters."
        )
    components = _components(built, layers, leakage_w, energy_j, area_m2)
    ops = 2 * sum(plan.shape.macs for plan in plans)
    delay_s = latency_s if serial else pipelined_s
    tops, peak_w = _peak(built, leakage_w)
    factors = {
        None if one.weights.bits is None else one.inputs.bits * one.weights.bits / 64.0
        for one in (k.chip for k in built.kinds)
    }
    factor = factors.pop() if len(factors) == 1 else None
    peak_per_w, peak_per_mm2 = tops / peak_w, tops / (area_m2 * 1e6)
    tops_per_w, tops_per_mm2 = ops / energy_j * 1e-12, ops / held_s * 1e-12 / (area_m2 * 1e6)
    notes = [note for kind in built.kinds for note in notes_of(kind.chip, kind.parts)]
    if len(built.kinds) > 1:
        notes.append(f"arrays of {len(built.kinds)} kinds: a macro holds arrays of one, a tile macros of any")
    if factor is None and not any(kind.chip.weights.continuous for kind in built.kinds):
        notes.append("layers differ in bits: no figure is normalised to 8-bit operations")
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
        tops_per_w_peak=peak_per_w,
        tops_per_mm2_peak=peak_per_mm2,
        tops_peak=tops,
        bit_factor=factor,
        tops_per_w_8b=None if factor is None else tops_per_w * factor,
        tops_per_mm2_8b=None if factor is None else tops_per_mm2 * factor,
        tops_per_w_peak_8b=None if factor is None else peak_per_w * factor,
        tops_per_mm2_peak_8b=None if factor is None else peak_per_mm2 * factor,
        arrays_used=arrays,
        arrays_built=built.arrays,
        tiles_needed=built.tiles_needed,
        tiles_built=built.tiles,
        cell_utilisation=sum(plan.cells_used for plan in plans) / sum(plan.cells_total for plan in plans),
        array_utilisation=arrays / built.arrays,
        layers=tuple(layers),
        components=components,
        notes=tuple(dict.fromkeys(notes)),
    )


def _peak(built: Built, leakage_w: float) -> tuple[float, float]:
    """Return peak TOPS and watts of all arrays together, each kind at its own rate."""
    peaks = [peak_of(kind.chip, kind.parts, kind.units) for kind in built.kinds]
    if len(peaks) == 1:
        return peaks[0].tops, peaks[0].power_w
    return sum(one.tops for one in peaks), sum(one.power_w - one.leakage_w for one in peaks) + leakage_w


def _layer(
    plan: LayerPlan,
    time: LayerTime,
    kind: Kind,
    arrays: int,
    leakage_j: float,
    first: bool,
    last: bool,
) -> LayerCost:
    spent = {part.name: charge(part, plan, kind.chip, first=first, last=last) for part in kind.parts}
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
    built: Built, layers: Sequence[LayerCost], leakage_w: float, energy_j: float, area_m2: float
) -> tuple[ComponentCost, ...]:
    names = list(dict.fromkeys(part.name for kind in built.kinds for part in kind.parts))
    spent = {name: sum(layer.energy_by_component_j.get(name, 0.0) for layer in layers) for name in (*names, LEAKAGE)}

    def line(name: str) -> ComponentCost:
        found = [(part, count) for part, count in built.counts if part.name == name]
        own_m2 = sum(count * part.figures.area_m2 for part, count in found)
        first = found[0][0]
        return ComponentCost(
            name=name,
            role=first.role,
            component=", ".join(dict.fromkeys(part.component.name for part, _ in found)),
            count=sum(count for _, count in found),
            energy_j=spent[name],
            energy_share=spent[name] / energy_j,
            area_m2=own_m2,
            area_share=own_m2 / area_m2,
            leakage_w=sum(count * part.figures.leakage_w for part, count in found),
            source="; ".join(dict.fromkeys(part.source for part, _ in found)),
            tag=first.tag,
        )

    source = "leakage power of all components x the time a sample holds the chip"
    # Its area is with the components that leak.
    own_j, name = spent[LEAKAGE], LEAKAGE
    total = ComponentCost(name, name, name, 1, own_j, own_j / energy_j, 0.0, 0.0, leakage_w, source, "derived")
    return (*(line(one) for one in names), total)
