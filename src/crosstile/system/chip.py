"""A network on one chip: the schedule, and the energy of one sample in steady state.

    energy = dynamic (work counted in mapped layers) + pooling + partial sums of cut layers
             + leakage power x time that a sample holds the chip + (writes + spills) of one sample

The chip is held for the latency of a sample when layers run one after the other, for the interval when they are pipelined or
rewritten. Area and leakage are those of ``hardware.tiles``, or of the tiles that the arrays fill. For a layer-serial chip that
holds the network once, spills nothing and has no pooling units that are charged, all figures equal those of
:func:`crosstile.cost.estimate.estimate`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from crosstile.cost.installed import Installed, by_role, notes_of
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.system.duplication import Duplication
from crosstile.system.schedule import Schedule, array_budget, schedule_from
from crosstile.system.stages import StageTable, stage_table
from crosstile.workloads.graph import Network

LEAKAGE, WRITES, SPILLS, PARTIAL, POOLING = "leakage", "writes", "spills", "partial sums", "pooling work"


@dataclass(frozen=True)
class LayerEnergy:
    """Dynamic energy of one layer for one sample."""

    name: str
    macs: int
    energy_j: float
    energy_by_component_j: dict[str, float]
    energy_basis: str


@dataclass(frozen=True)
class ChipCost:
    """One sample of a network on a chip, in steady state. An operation is half a multiply-accumulate on arrays."""

    network: str
    chip: str
    schedule: Schedule
    ops: int
    energy_j: float
    dynamic_energy_j: float
    """Of mapped layers."""
    energy_by_component_j: dict[str, float]
    """All of ``energy_j``: components of mapped layers, pooling work, partial sums, leakage, writes, spills."""
    leakage_power_w: float
    area_m2: float
    latency_s: float
    interval_s: float
    throughput_hz: float
    power_w: float
    edp_js: float
    edap_jsm2: float
    tops_per_w: float
    """Effective."""
    tops_per_mm2: float
    """Effective."""
    tiles_built: int
    arrays_built: int
    layers: tuple[LayerEnergy, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        data = asdict(self)
        data["schedule"] = self.schedule.as_dict()
        data["layers"], data["notes"] = list(data["layers"]), list(data["notes"])
        return data


def evaluate_chip(
    network: Network,
    chip: ChipSpec,
    *,
    batch: int | None = None,
    arrays: int | None = None,
    duplication: Duplication | None = None,
) -> ChipCost:
    """Return time, energy and area of a network on a chip; arguments and errors as :func:`crosstile.system.schedule.schedule`."""
    return evaluate_table(stage_table(network, chip), batch=batch, arrays=arrays, duplication=duplication)


def evaluate_table(
    table: StageTable, *, batch: int | None = None, arrays: int | None = None, duplication: Duplication | None = None
) -> ChipCost:
    """Return the same for a stage table, which many budgets of arrays can share."""
    chip, parts = table.chip, table.parts
    taken = {LEAKAGE, WRITES, SPILLS, PARTIAL, POOLING}
    for part in parts:
        if part.name in taken:
            raise SpecError(
                f"chip {chip.name!r}: hardware.components.{part.name}: this name is taken; rename the entry."
            )
    plan = schedule_from(table, batch=batch, arrays=arrays, duplication=duplication)
    tiles = chip.hardware.tiles or math.ceil(array_budget(table, arrays) / chip.hardware.arrays_per_tile)
    units = {
        "array": tiles * chip.hardware.arrays_per_tile,
        "macro": tiles * chip.hardware.macros_per_tile,
        "tile": tiles,
        "chip": 1,
    }
    area_m2 = sum(part.instances(units) * part.figures.area_m2 for part in parts)
    leakage_w = sum(part.instances(units) * part.figures.leakage_w for part in parts)
    held_s = plan.latency_s if table.serial and plan.fits else plan.interval_s
    layers = tuple(
        LayerEnergy(s.name, s.plan.shape.macs, s.energy_j, s.energy_by_component_j, s.plan.activity.energy_basis)
        for s in table.stages
    )
    spent = {part.name: sum(layer.energy_by_component_j[part.name] for layer in layers) for part in parts}
    dynamic_j = sum(spent.values())
    spent |= {
        POOLING: _pooling_j(table),
        PARTIAL: _partial_j(parts, plan.partial_sum_bits),
        LEAKAGE: leakage_w * held_s,
        WRITES: plan.write_energy_per_sample_j,
        SPILLS: plan.spill_energy_j,
    }
    energy_j = sum(spent.values())
    if not (energy_j > 0 and area_m2 > 0):
        raise SpecError(
            f"chip {chip.name!r}: the hardware section takes no energy or area at all ({energy_j:.3g} J, {area_m2:.3g} m2); "
            "describe cells and converters."
        )
    ops = 2 * sum(layer.macs for layer in layers)
    notes = [*notes_of(chip, parts), *plan.notes]
    if spent[POOLING] > 0:
        notes = [note for note in notes if note != "pooling: area and leakage only"]
    bases = sorted({layer.energy_basis for layer in layers} - {"measured"})
    notes += [f"cell energy is {basis}" for basis in bases]
    return ChipCost(
        network=plan.network,
        chip=chip.name,
        schedule=plan,
        ops=ops,
        energy_j=energy_j,
        dynamic_energy_j=dynamic_j,
        energy_by_component_j=spent,
        leakage_power_w=leakage_w,
        area_m2=area_m2,
        latency_s=plan.latency_s,
        interval_s=plan.interval_s,
        throughput_hz=plan.throughput_hz,
        power_w=energy_j / held_s,
        edp_js=energy_j * plan.latency_s,
        edap_jsm2=energy_j * plan.latency_s * area_m2,
        tops_per_w=ops / energy_j * 1e-12,
        tops_per_mm2=ops / held_s * 1e-12 / (area_m2 * 1e6),
        tiles_built=tiles,
        arrays_built=units["array"],
        layers=layers,
        notes=tuple(dict.fromkeys(notes)),
    )


def _pooling_j(table: StageTable) -> float:
    """Return the energy of pooling: a window of k values takes k - 1 operations, shared by the pooling units alike."""
    units = [part for part in by_role(table.parts, "pooling") if "pool" in part.figures.energy_j]
    if not units:
        return 0.0
    operations = 0
    for node in table.network.nodes:
        if node.kind == "pool":
            source = table.network[node.inputs[0]]
            window = source.height * source.width if node.whole else node.kernel * min(node.kernel, source.width)
            operations += node.elements * (window - 1)
    return operations * sum(part.figures.energy_j["pool"] for part in units) / len(units)


def _partial_j(parts: tuple[Installed, ...], bits: float) -> float:
    """Return the energy of partial sums in the buffers, half of the bits written and half read."""
    return sum(
        0.5 * bits * (part.figures.energy_j["read"] + part.figures.energy_j["write"]) / part.figures.access_bits
        for part in by_role(parts, "buffer")
    )
