"""A network on one chip whose arrays, converters and copies differ by layer, scheduled like any other.

Each stage is that of a chip that has its layer's hardware throughout; c copies of a layer take c times its arrays and the
interval ceil(P / c) s (:mod:`crosstile.system.stages`). What is built follows :mod:`crosstile.cost.kinds`: arrays and macros by
kind, tiles and the chip once,

    area = sum over kinds of their arrays and macros + tiles + chip,       energy = sum over layers + leakage power x time held.

With all layers alike this is :func:`crosstile.system.chip.evaluate_table` without duplication, to the last bit; with one copy
each, layers in series and nothing spilled it is :func:`crosstile.cost.estimate.estimate`. Feature maps are held at the bits of
the layer with the most input bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from crosstile.cost.kinds import Built, build
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import LEAKAGE, ChipCost, evaluate_table
from crosstile.system.duplication import Duplication
from crosstile.system.schedule import schedule_from
from crosstile.system.stages import Stage, StageTable, stage_table
from crosstile.workloads.graph import Network


@dataclass(frozen=True)
class PointCost:
    """What a search needs of a chip with a network, for one sample in steady state."""

    energy_j: float
    latency_s: float
    interval_s: float
    area_m2: float
    power_w: float
    arrays_used: int
    arrays_built: int
    buffer_bits: float
    """Wanted by feature maps at once."""
    buffer_capacity_bits: float | None
    spilled_bits: float
    copies: dict[str, int]
    """Of the weights of each layer, where the schedule or a knob of a layer makes more than one."""

    @property
    def edp_js(self) -> float:
        """Energy times latency."""
        return self.energy_j * self.latency_s

    @property
    def edap_jsm2(self) -> float:
        """Energy times latency times area."""
        return self.edp_js * self.area_m2


def cost_of_chip(cost: ChipCost) -> PointCost:
    """Return the figures of a chip whose layers are all alike."""
    plan = cost.schedule
    return PointCost(
        cost.energy_j, cost.latency_s, cost.interval_s, cost.area_m2, cost.power_w, plan.arrays_used, cost.arrays_built,
        plan.buffer_bits, plan.buffer_capacity_bits, plan.spilled_bits,
        {run.layer: run.copies for run in plan.stages if run.copies > 1},
    )  # fmt: skip


class _Copied(Stage):
    """A stage whose copies are built in: however many are asked for, there are these."""

    def option(self, copies: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class MixedTable(StageTable):
    """Stages of layers with hardware of their own."""

    built: Built | None = None
    copies: Mapping[str, int] = field(default_factory=dict)
    """Of layers with more than one."""

    def buffer_capacity_bits(self, tiles: int) -> float | None:
        """Return what all buffers hold together, of the tiles that are built; none where no buffer says its size."""
        assert self.built is not None
        kinds, found = self.built.kinds, []
        every = [(kind, part) for kind in kinds for part in kind.own] + [(kinds[0], part) for part in self.built.shared]
        for kind, part in every:
            if part.role != "buffer":
                continue
            bits, rule = kind.chip.hardware.components[part.name].capacity_bits, part.component.scaling.get("capacity")
            bits = rule.reference if bits is None and rule is not None else bits
            if bits is not None:
                found.append(bits * part.instances(kind.units))
        return sum(found) if found else None


def mixed_table(
    network: Network,
    chip: ChipSpec,
    copies: Mapping[str, int],
    table_of: Callable[[ChipSpec], StageTable] | None = None,
) -> MixedTable:
    """Return the stages of a network on a chip with ``layers``.

    Args:
        network: what runs. chip: may differ by layer. copies: of the weights of each layer; 1 where none are given.
        table_of: gives the stages of a chip without ``layers``; default: works them out.

    Raises:
        SpecError: too few tiles, parts of tiles differ by layer, or a component does not cover what is asked of it.
    """
    make = table_of or (lambda one: stage_table(network, one))
    tables: list[StageTable] = []
    seen: list[ChipSpec] = []
    stages = []
    for index, node in enumerate(network.layers):
        own = chip.for_layer(node.name)
        place = next((i for i, known in enumerate(seen) if known == own), len(seen))
        if place == len(seen):
            seen.append(own)
            tables.append(make(own))
        stages.append(_with_copies(tables[place].stages[index], copies.get(node.name, 1)))
    built = build([replace(s.plan, arrays=s.arrays) for s in stages], chip)
    first, last = tables[0], next(t for t, c in zip(tables, seen, strict=True) if c == chip.for_layer(stages[-1].name))
    widest = max(tables, key=lambda one: one.chip.inputs.bits)
    free = first.chip  # tiles are counted in ``built``
    if chip.hardware.tiles is not None:
        free = free.replaced(hardware__tiles=None)
    return MixedTable(
        network=network, chip=free, parts=first.parts, stages=tuple(stages), links=widest.links,
        input_s=first.input_s, output_s=last.output_s, built=built,
        copies={name: count for name, count in copies.items() if count > 1},
    )  # fmt: skip


def _with_copies(stage: Stage, copies: int) -> Stage:
    if copies == 1:
        return stage
    values = {one.name: getattr(stage, one.name) for one in fields(Stage)}
    values |= {
        "arrays": stage.arrays * copies,
        "copies": np.array([stage.useful(copies)]),
        "intervals_s": np.array([stage.interval_s(copies)]),
    }
    return _Copied(**values)


def scheduled_copies(table: MixedTable, room: float, how: Duplication | None) -> dict[str, int]:
    """Return the copies of each layer that the schedule makes of ``room`` times the arrays of one copy of the network."""
    plan = schedule_from(table, arrays=arrays_of(table, room), duplication=how)
    return {run.layer: run.copies for run in plan.stages}


def arrays_of(table: StageTable, room: float) -> int:
    """Return the arrays that may be used: ``room`` times those of one copy, rounded down."""
    return math.floor(room * table.arrays + 1e-9)


def mixed_cost(table: MixedTable, batch: int | None = None) -> PointCost:
    """Return the figures of a network whose layers differ in hardware; all of it stays on its arrays.

    Raises:
        SpecError: a batch out of range, or hardware that takes no energy.
    """
    assert table.built is not None
    counts = table.built.counts
    cost = evaluate_table(table, batch=batch, duplication="none")
    area_m2 = sum(count * part.figures.area_m2 for part, count in counts)
    leakage_w = sum(count * part.figures.leakage_w for part, count in counts)
    plan = cost.schedule
    held_s = plan.latency_s if table.serial else plan.interval_s
    energy_j = sum((cost.energy_by_component_j | {LEAKAGE: leakage_w * held_s}).values())
    return PointCost(
        energy_j, plan.latency_s, plan.interval_s, area_m2, energy_j / held_s, table.arrays, table.built.arrays,
        plan.buffer_bits, plan.buffer_capacity_bits, plan.spilled_bits, dict(table.copies),
    )  # fmt: skip
