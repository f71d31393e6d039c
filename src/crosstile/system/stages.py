"""The stages of a network on a chip: time by copies of the weights, and when each row of each feature map is there.

Layer l is a stage with P vectors (positions). A vector occupies one copy of its arrays for

    s = reads * read cycle + (buffer + network time of the layer) / P,

and its result is there one drain later. With c copies, vector v goes to copy v mod c, in order:

    f(v) = max(ready(v), f(v - c)) + s,        K s = ceil(P / c) s = interval of the stage,

which max-plus algebra turns into running maxima: along one copy, f(k) = max_{j <= k} (ready(j) - j s) + (k + 1) s. ``ready``
follows rows of feature maps through the graph (``Node.rows_needed``). Copies share buffers, buses and routers of their
tiles: a number of copies whose transfers would take longer than the stage is not an option, and further copies stand idle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from crosstile.cost.charges import charge
from crosstile.cost.installed import Installed, by_role, install
from crosstile.cost.latency import layer_time
from crosstile.mapping.plan import LayerPlan, plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.workloads.graph import Network, Node

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stage:
    """One layer with weights: what a copy takes, and the interval by the number of copies."""

    name: str
    index: int
    node: int
    """Place of its node in the network."""
    arrays: int
    """Of one copy."""
    positions: int
    height: int
    vector_s: float
    drain_s: float
    recurrent: bool
    limited_by: str
    """What sets the read cycle, or ``transfers`` where they take longer than the reads."""
    copies: IntArray
    """Useful numbers of copies, rising from 1."""
    intervals_s: FloatArray
    """Interval of the stage at each of ``copies``, falling."""
    energy_by_component_j: dict[str, float]
    """Dynamic energy of one sample."""
    plan: LayerPlan

    @property
    def energy_j(self) -> float:
        """Dynamic energy of one sample."""
        return sum(self.energy_by_component_j.values())

    def option(self, copies: int) -> int:
        """Return the place in ``copies`` of the most copies that help, of ``copies`` that are there."""
        return int(np.searchsorted(self.copies, copies, side="right")) - 1

    def useful(self, copies: int) -> int:
        """Return how many of ``copies`` do work."""
        return int(self.copies[self.option(copies)])

    def interval_s(self, copies: int) -> float:
        """Return the time between samples that the stage can keep up with."""
        return float(self.intervals_s[self.option(copies)])

    @cached_property
    def last_vector(self) -> IntArray:
        """(height,) the vector that completes each row."""
        rows = np.arange(1, self.height + 1, dtype=np.int64)
        return -(-rows * self.positions // self.height) - 1

    @cached_property
    def row_of(self) -> IntArray:
        """(positions,) the row whose inputs each vector waits for."""
        vectors = np.arange(self.positions)
        if self.positions >= self.height:
            return np.searchsorted(self.last_vector, vectors, side="left")
        return np.searchsorted(self.last_vector, vectors, side="right") - 1


@dataclass(frozen=True, eq=False)
class Link:
    """A node of the network as the recurrences walk it."""

    name: str
    stage: int
    """Its stage, or -1 where it has no weights."""
    height: int
    bits: int
    """Of its feature map."""
    inputs: tuple[tuple[int, IntArray | None, int], ...]
    """(node, last row that each of its rows needs, leading rows that need none); no indices: row by row."""


@dataclass(frozen=True, eq=False)
class StageTable:
    """All that a schedule needs of a network on a chip; made once, asked for many budgets of arrays."""

    network: Network
    chip: ChipSpec
    parts: tuple[Installed, ...]
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]
    input_s: float
    """Time that the inputs of one sample take onto the chip, where chip I/O is described."""
    output_s: float
    delays: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    """For (node, node that it reads) on different chips: time of one row on the link between them, and latency of the way."""
    package_s: float = 0.0
    """Shortest interval that links between chips allow."""

    def buffer_capacity_bits(self, tiles: int) -> float | None:
        """Return what the buffers of so many tiles hold together; none where no buffer says its size."""
        hardware, found = self.chip.hardware, []
        units = {
            "array": tiles * hardware.arrays_per_tile,
            "macro": tiles * hardware.macros_per_tile,
            "tile": tiles,
            "chip": 1,
        }
        for part in by_role(self.parts, "buffer"):
            bits, rule = hardware.components[part.name].capacity_bits, part.component.scaling.get("capacity")
            bits = rule.reference if bits is None and rule is not None else bits
            if bits is not None:
                found.append(bits * part.instances(units))
        return sum(found) if found else None

    @property
    def arrays(self) -> int:
        """Arrays of one copy of every layer."""
        return sum(stage.arrays for stage in self.stages)

    @property
    def serial(self) -> bool:
        """True when one layer runs at a time."""
        return self.chip.hardware.pipeline == "layer_serial"

    @property
    def link_s(self) -> float:
        """Shortest interval that chip I/O allows."""
        return max(self.input_s, self.output_s)

    @cached_property
    def _steps(self) -> tuple[FloatArray, IntArray]:
        """Intervals from long to short, and the arrays that reaching each of them takes, over all stages."""
        time, cost = [], []
        for stage in self.stages:
            time.append(stage.intervals_s[:-1])
            cost.append(stage.arrays * np.diff(stage.copies))
        flat, arrays = np.concatenate(time), np.concatenate(cost)
        order = np.argsort(-flat, kind="stable")
        return flat[order], self.arrays + np.cumsum(arrays[order])

    @cached_property
    def _floor_s(self) -> float:
        return max(float(stage.intervals_s[-1]) for stage in self.stages)

    def best_interval_s(self, arrays: int) -> float:
        """Return the least interval of the slowest stage with so many arrays, chip I/O left out; microseconds.

        Getting below an interval takes the next option of every stage that stands at it. The steps sorted by what they
        leave behind therefore say at once how far the arrays reach. Networks that need no rewriting only.
        """
        left_behind, needed = self._steps
        done = int(np.searchsorted(needed, arrays, side="right"))
        if done < len(left_behind):
            return max(float(left_behind[done]), self._floor_s)
        return self._floor_s


def stage_table(network: Network, chip: ChipSpec) -> StageTable:
    """Lay a network on the arrays of a chip and work out the stages.

    Raises:
        SpecError: a component does not cover what is asked of it.
    """
    parts = install(chip)
    place = {node.name: i for i, node in enumerate(network.nodes)}
    layers, stages = network.layers, []
    for index, node in enumerate(layers):
        assert node.layer is not None
        plan = plan_layer(node.layer, chip)
        stages.append(_stage(node, plan, chip, parts, index, place[node.name], last=index == len(layers) - 1))
    plans = [stage.plan for stage in stages]
    of = {stage.node: stage.index for stage in stages}
    links = tuple(_link(node, i, place, network, of, chip) for i, node in enumerate(network.nodes))
    return StageTable(
        network=network,
        chip=chip,
        parts=parts,
        stages=tuple(stages),
        links=links,
        input_s=layer_time(plans[0], chip, parts, first=True).chip_io_s,
        output_s=layer_time(plans[-1], chip, parts, last=True).chip_io_s,
    )


def _stage(
    node: Node, plan: LayerPlan, chip: ChipSpec, parts: tuple[Installed, ...], index: int, place: int, *, last: bool
) -> Stage:
    time, positions = layer_time(plan, chip, parts), plan.shape.positions
    moved_s = time.buffer_s + time.network_s
    vector_s = (time.compute_s + moved_s) / positions
    copies = np.ones(1, dtype=np.int64) if node.recurrent else _waves(positions)
    intervals_s = np.asarray(-(-positions // copies) * vector_s, dtype=np.float64)
    kept = transfer_s(plan, chip, parts, copies) <= intervals_s * (1 + 1e-12)
    kept[0] = True
    return Stage(
        name=node.name,
        index=index,
        node=place,
        arrays=plan.arrays,
        positions=positions,
        height=node.height,
        vector_s=vector_s,
        drain_s=time.drain_s,
        recurrent=node.recurrent,
        limited_by="transfers" if moved_s > time.compute_s else time.limited_by,
        copies=copies[kept],
        intervals_s=intervals_s[kept],
        energy_by_component_j={part.name: charge(part, plan, chip, first=index == 0, last=last) for part in parts},
        plan=plan,
    )


def _waves(positions: int) -> IntArray:
    """Return the numbers of copies at which ceil(positions / copies) falls, from 1 up."""
    root = np.arange(1, math.isqrt(positions) + 2, dtype=np.int64)
    tried = np.unique(np.minimum(np.concatenate((root, -(-positions // root))), positions))
    waves = -(-positions // tried)
    return tried[np.concatenate(([True], np.diff(waves) < 0))]  # of equal waves the fewest copies


def transfer_s(plan: LayerPlan, chip: ChipSpec, parts: tuple[Installed, ...], copies: IntArray) -> FloatArray:
    """Return the time of all transfers of one sample for each number of copies, shared by their tiles; as in ``cost.latency``."""
    hardware, work = chip.hardware, plan.activity
    arrays = plan.arrays * copies
    units = {
        "array": arrays,
        "macro": -(-arrays // hardware.arrays_per_macro),
        "tile": -(-arrays // hardware.arrays_per_tile),
        "chip": np.ones_like(arrays),
    }

    def move_s(bits: float, role: str) -> FloatArray:
        slowest = np.zeros(len(arrays))
        for part in by_role(parts, role):
            rate_hz = part.figures.rate_hz or hardware.clock_hz
            instances = np.ceil(part.count * units[part.per] - 1e-9)
            slowest = np.maximum(slowest, bits / (part.figures.access_bits * rate_hz * instances))
        return slowest

    buffer_s = move_s(work.buffer_read_bits + work.buffer_write_bits, "buffer")
    bus_s = move_s(work.buffer_read_bits + work.output_register_bits, "bus")
    return np.maximum(buffer_s, bus_s) + move_s(work.network_bits * hardware.network_hops, "network")


def _link(node: Node, index: int, place: dict[str, int], network: Network, of: dict[int, int], chip: ChipSpec) -> Link:
    inputs: list[tuple[int, IntArray | None, int]] = []
    for name in node.inputs:
        high = network[name].height
        if node.whole:  # of long maps that is worth a way of its own
            inputs.append((place[name], np.full(node.height, high - 1, dtype=np.int64), 0))
            continue
        needed = [node.rows_needed(row, high) for row in range(1, node.height + 1)]
        if needed == list(range(1, high + 1)):
            inputs.append((place[name], None, 0))
        else:
            last = np.maximum.accumulate(np.array(needed, dtype=np.int64)) - 1
            inputs.append((place[name], np.maximum(last, 0), int((last < 0).sum())))
    return Link(node.name, of.get(index, -1), node.height, node.elements * chip.inputs.bits, tuple(inputs))
