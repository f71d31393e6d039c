"""A network on the chips of a package: one schedule over all their arrays, and what the links between them add.

Copies of layers are chosen as on one chip with the arrays of all, or of fewer where the links would be the slower for it; layers
are placed on chips with the least traffic (:mod:`crosstile.system.partition`), and the schedule is worked out again with the
links in it:

    row r of a map is on another chip at   a(r) = max(there(r), a(r - 1)) + bits(row) / bandwidth,   plus hops x hop latency
    interval >= largest load of a link / bandwidth
    energy   = that of the chips + sum over transfers of bits x hops x energy per bit

One chip, or links of endless bandwidth and no latency, give exactly what one chip with all arrays gives. Links are not shared in
the latency of a single sample: two maps that travel at once delay each other only through the interval. A network that does not
fit on all chips together is rewritten in rounds, each placed on its own; partial sums of layers that are cut stay where they are.
Each chip has its own channel to the memory off the chips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from crosstile.cost.installed import install
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.package import PackageSpec
from crosstile.system.chip import ChipCost, evaluate_table
from crosstile.system.duplication import Duplication
from crosstile.system.package_cost import PackageCost, package_cost
from crosstile.system.partition import Item, Transfer, partition, transfers
from crosstile.system.routes import link_loads, route
from crosstile.system.schedule import Schedule, schedule_from
from crosstile.system.stages import StageTable, stage_table
from crosstile.workloads.graph import Network, Node

_BETTER = 1e-9


@dataclass(frozen=True)
class PackageResult:
    """One sample of a network on a package, in steady state; SI units."""

    package: str
    network: str
    chip: str
    chips: int
    chips_used: int
    arrays_per_chip: int
    arrays_used: int
    fits: bool
    """Nothing is rewritten."""
    latency_s: float
    interval_s: float
    throughput_hz: float
    energy_j: float
    link_energy_j: float
    link_bits: int
    """Sent to other chips, each transfer once."""
    link_bit_hops: int
    """Sent over links, each link counted."""
    busiest_link_bits: int
    link_time_s: float
    """Of the busiest link for one sample: the interval cannot be shorter."""
    link_utilisation: float
    """Of the busiest link."""
    write_time_s: float
    """Per sample."""
    area_m2: float
    """Of all chips."""
    edp_js: float
    tops: float
    tops_per_w: float
    cost: PackageCost
    one_die: PackageCost
    """The same tiles on one die."""
    place: dict[str, tuple[int, ...]]
    """For each layer the chips that hold it in its last round."""
    schedule: Schedule
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        data = asdict(self)
        data["schedule"] = self.schedule.as_dict()
        data["cost"]["total"], data["one_die"]["total"] = self.cost.total, self.one_die.total
        data["notes"] = list(self.notes)
        return data


def arrays_of_a_chip(chip: ChipSpec, package: PackageSpec) -> int:
    """Return the arrays of one chip of the package.

    Raises:
        SpecError: neither the package nor the chip says how many tiles a chip has.
    """
    tiles = package.tiles_per_chip or chip.hardware.tiles
    if tiles is None:
        raise SpecError(
            f"package {package.name!r}: tiles_per_chip is null and so is hardware.tiles of chip {chip.name!r}; say how many "
            "tiles one chip has (--tiles)."
        )
    return tiles * chip.hardware.arrays_per_tile


def evaluate_package(
    network: Network,
    chip: ChipSpec,
    package: PackageSpec,
    *,
    batch: int | None = None,
    duplication: Duplication | None = None,
) -> PackageResult:
    """Return time, energy and cost of a network on a package of ``package.chips`` chips.

    Args:
        network: from :mod:`crosstile.workloads`. chip: one chip. package: number of chips, links, cost.
        batch, duplication: as for one chip.

    Raises:
        SpecError: a chip has no number of tiles, or a figure is out of range.
    """
    each, count = arrays_of_a_chip(chip, package), package.chips
    tiles = each // chip.hardware.arrays_per_tile
    whole = _as_one(chip, tiles, count)
    table = stage_table(network, whole)
    best: PackageResult | None = None
    for arrays in _budgets(table, count, each):
        plan = schedule_from(table, arrays=arrays, batch=batch, duplication=duplication)
        places, moved = _place_rounds(network, plan, chip, count, each)
        loads = link_loads(moved, count, package.link.topology)
        link_s = max(loads.values(), default=0) / package.link.bandwidth_bits_per_s
        linked = replace(table, delays=_delays(table, places, package), package_s=link_s)
        found = evaluate_table(linked, arrays=arrays, batch=batch, duplication=duplication)
        result = _result(package, network, chip, each, found, places, moved, loads, link_s)
        if best is None or result.interval_s < best.interval_s * (1 - _BETTER):
            best = result
    assert best is not None
    return best


def _as_one(chip: ChipSpec, tiles: int, count: int) -> ChipSpec:
    """Return one chip with the tiles of all, and a channel to the memory off the chips for each."""
    whole: ChipSpec = chip.replaced(hardware__tiles=tiles * count)
    if count == 1:
        return whole
    spill = chip.schedule.spill
    channels: ChipSpec = whole.replaced(
        schedule__spill__bandwidth_bit_per_s=count * spill.bandwidth_bit_per_s,
        schedule__spill__source=f"{count} channels, one a chip: {spill.source}",
    )
    return channels


def _budgets(table: StageTable, chips: int, each: int) -> list[int]:
    """Return how many arrays may be used: all, and where copies would be for nothing but traffic, those of fewer chips."""
    found = [chips * each]
    fewer = chips
    while fewer > 1 and fewer * each > table.arrays:
        fewer = fewer * 3 // 4
        if fewer * each >= table.arrays:
            found.append(fewer * each)
    if table.arrays < chips * each:
        found.append(table.arrays)
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Places:
    """Where the items of all rounds stand."""

    items: tuple[Item, ...]
    chips: tuple[int, ...]
    of_node: dict[str, tuple[int, ...]]
    """Items of each node in its last round."""


def _place_rounds(
    network: Network, plan: Schedule, chip: ChipSpec, count: int, each: int
) -> tuple[_Places, tuple[Transfer, ...]]:
    bits = chip.inputs.bits
    if plan.fits:
        items, place = partition(network, {run.layer: run.arrays for run in plan.stages}, bits, count, each)
        of_node: dict[str, tuple[int, ...]] = {}
        for index, item in enumerate(items):
            of_node[item.node] = (*of_node.get(item.node, ()), index)
        return _Places(items, place, of_node), transfers(items, place)
    done: dict[str, int] = {}
    last = {run.layer: run.round for run in plan.stages}
    for node in network.nodes:  # a node runs as soon as all that it reads is there
        done[node.name] = max([last.get(node.name, 0), *(done[name] for name in node.inputs)])
    all_items: list[Item] = []
    all_chips: list[int] = []
    made: dict[str, tuple[int, ...]] = {}
    for number in range(len(plan.rounds)):
        arrays = {run.layer: run.arrays for run in plan.stages if run.round == number}
        nodes = [node for node in network.nodes if done[node.name] == number or node.name in arrays]
        part = _sub_network(network, nodes, set(arrays))
        items, place = partition(part, arrays, bits, count, each)
        shift = len(all_items)
        here: dict[str, tuple[int, ...]] = {}
        shift_of = {
            old: shift + old - 1 for old in range(1, len(items))
        }  # the first is the input, which is no item here
        for item, where in zip(items, place, strict=True):
            if item.node == part.input.name:
                continue
            here[item.node] = (*here.get(item.node, ()), len(all_items))
            inside = [shift_of[source] for source in item.inputs if source != 0]
            outside = [i for name in network[item.node].inputs if name in made for i in made[name]]
            unfinished = done[item.node] != number  # partial sums stay where they are
            all_items.append(
                replace(item, bits=0 if unfinished else item.bits, inputs=tuple(dict.fromkeys([*outside, *inside])))
            )
            all_chips.append(where)
        made |= here
    items_, chips_ = tuple(all_items), tuple(all_chips)
    return _Places(items_, chips_, made), transfers(items_, chips_)


def _sub_network(network: Network, nodes: Sequence[Node], layers: set[str]) -> Network:
    """Return the nodes of one round as a network of their own; what they read from elsewhere comes from its input."""
    inside = {node.name for node in nodes}
    first = network.input
    kept: list[Node] = [first]
    for node in nodes:
        if node.kind == "input":
            continue
        inputs = tuple(dict.fromkeys(name if name in inside else first.name for name in node.inputs))
        kept.append(replace(node, inputs=inputs))
    return Network(network.name, tuple(kept))


def _delays(table: StageTable, places: _Places, package: PackageSpec) -> dict[tuple[int, int], tuple[float, float]]:
    """Return for each (node, node that it reads) the time of a row on the link, and the latency of the way."""
    number = {node.name: i for i, node in enumerate(table.network.nodes)}
    link, found = package.link, {}
    for node in table.network.nodes:
        targets = {places.chips[i] for i in places.of_node.get(node.name, ())}
        for name in node.inputs:
            sources = places.of_node.get(name, ())
            hops, bits = 0, 0
            for target in targets:
                ways = [
                    (len(route(places.chips[i], target, package.chips, link.topology)), places.items[i].bits)
                    for i in sources
                    if places.chips[i] != target
                ]
                hops = max([hops, *(length for length, _ in ways)])
                bits = max([bits, *(size for _, size in ways)])
            if hops:
                height = table.network[name].height
                found[number[node.name], number[name]] = (
                    bits / height / link.bandwidth_bits_per_s, hops * link.hop_latency_s,
                )  # fmt: skip
    return found


def _result(
    package: PackageSpec,
    network: Network,
    chip: ChipSpec,
    each: int,
    found: ChipCost,
    places: _Places,
    moved: Sequence[Transfer],
    loads: Mapping[tuple[int, int], int],
    link_s: float,
) -> PackageResult:
    count, plan = package.chips, found.schedule
    one_m2, one_w = _one_chip(chip, each)
    held_s = found.latency_s if plan.mode == "layer_serial" and plan.fits else plan.interval_s
    link_j = sum(loads.values()) * package.link.energy_per_bit_j
    # Parts of the whole chip (its I/O) are there once for each chip.
    energy_j = found.energy_j + link_j + (count * one_w - found.leakage_power_w) * held_s
    notes = list(found.notes)
    if not plan.fits:
        notes.append(
            "rounds are placed on the chips one by one; partial sums of layers that are cut stay where they are"
        )
    if link_s > 0 and link_s >= plan.interval_s * (1 - _BETTER):
        notes.append("the busiest link sets the interval")
    return PackageResult(
        package=package.name,
        network=network.name,
        chip=chip.name,
        chips=count,
        chips_used=len(set(places.chips)),
        arrays_per_chip=each,
        arrays_used=plan.arrays_used,
        fits=plan.fits,
        latency_s=plan.latency_s,
        interval_s=plan.interval_s,
        throughput_hz=plan.throughput_hz,
        energy_j=energy_j,
        link_energy_j=link_j,
        link_bits=sum(transfer.bits for transfer in moved),
        link_bit_hops=sum(loads.values()),
        busiest_link_bits=max(loads.values(), default=0),
        link_time_s=link_s,
        link_utilisation=min(1.0, link_s / plan.interval_s),
        write_time_s=plan.write_time_per_sample_s,
        area_m2=count * one_m2,
        edp_js=energy_j * plan.latency_s,
        tops=found.ops / held_s * 1e-12,
        tops_per_w=found.ops / energy_j * 1e-12,
        cost=package_cost(count, one_m2, package.cost),
        one_die=package_cost(1, found.area_m2, package.cost),
        place={
            name: tuple(sorted({places.chips[i] for i in items}))
            for name, items in places.of_node.items()
            if network[name].layer is not None
        },
        schedule=plan,
        notes=tuple(dict.fromkeys(notes)),
    )


def _one_chip(chip: ChipSpec, arrays: int) -> tuple[float, float]:
    """Return area and leakage of one chip of so many arrays."""
    tiles = math.ceil(arrays / chip.hardware.arrays_per_tile)
    units = {"array": arrays, "macro": tiles * chip.hardware.macros_per_tile, "tile": tiles, "chip": 1}
    parts = install(chip)
    area_m2 = sum(part.instances(units) * part.figures.area_m2 for part in parts)
    return area_m2, sum(part.instances(units) * part.figures.leakage_w for part in parts)
