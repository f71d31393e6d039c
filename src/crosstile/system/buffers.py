"""What the feature maps between layers take of the buffers, and what must go off the chip.

A row of a map is held from when it is made until the last row that needs it is made. Per map, with a sample let in every T,
the rows held at once are the largest overlap of the intervals [made, released) repeated every T. Within a round of a network
that does not fit, maps that a later round reads are held for the whole batch; partial sums of a layer that is cut likewise, at
the width of the accumulators.

``dynamic`` takes the largest sum over time; ``static`` gives each map a place of its own, so places add up. What the buffers of
all tiles together cannot hold is spilled map by map, those first that free most of the buffer for a bit moved: a spilled map is
written once and read once by each of its readers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crosstile.system.recurrence import SampleTimes
from crosstile.system.stages import FloatArray, StageTable


@dataclass(frozen=True)
class MapBuffer:
    """One feature map in one round."""

    name: str
    round: int
    rows: int
    """Held at once, of all samples in flight."""
    height: int
    bits: float
    crosses: bool
    """A later round reads it."""
    spilled: bool = False


@dataclass(frozen=True)
class Spill:
    """What goes off the chip, per sample."""

    maps: tuple[MapBuffer, ...]
    buffer_bits: float
    """Wanted at once, spilled maps included."""
    spilled_bits: float
    """Moved off the chip and back for one sample."""


def releases(table: StageTable, times: SampleTimes, node: int, readers: Sequence[int]) -> FloatArray:
    """Return when each row of a map is needed no more; readers that run in other rounds do not count."""
    made = times.rows_s[node]
    released = made.copy()
    rows = np.arange(len(made))
    for reader in readers:
        done = times.rows_s[reader]
        what = table.network.nodes[reader]
        if what.whole:
            last = np.full(len(made), len(done) - 1)
        else:
            last = np.minimum((rows + what.padding) // what.stride, len(done) - 1)
        released = np.maximum(released, done[last])
    return released


def rows_held(made_s: FloatArray, released_s: FloatArray, interval_s: float) -> int:
    """Return the most rows held at once when rows made and released at these times come again every ``interval_s``."""
    return round(most_held([(made_s, released_s, 1.0)], interval_s))


def most_held(maps: Sequence[tuple[FloatArray, FloatArray, float]], interval_s: float) -> float:
    """Return the largest sum over time of (made, released, bits of a row) of maps that come again every ``interval_s``.

    A row that is kept for n intervals and a rest is there n times always, and once more during the rest.
    """
    at, change, always = [], [], 0.0
    for made_s, released_s, bits in maps:
        held = released_s > made_s
        made, kept = made_s[held], (released_s - made_s)[held]
        end = made + kept
        if math.isfinite(interval_s):
            whole = np.floor(kept / interval_s)
            made = np.mod(made, interval_s)
            end = made + (kept - whole * interval_s)
            wrapped = end > interval_s
            always += bits * float(whole.sum() + wrapped.sum())
            end = np.where(wrapped, end - interval_s, end)
        at += [made, end]
        change += [np.full(len(made), bits), np.full(len(end), -bits)]
    times_s, steps = np.concatenate(at or [np.zeros(0)]), np.concatenate(change or [np.zeros(0)])
    if not len(times_s):
        return always
    order = np.lexsort((-steps, times_s))  # made before released where both happen at once
    return always + max(0.0, float(np.cumsum(steps[order]).max()))


@dataclass(frozen=True, eq=False)
class _RoundMaps:
    held: list[MapBuffer]
    moving: dict[str, tuple[FloatArray, FloatArray, float]]
    """By name (made, released, bits of a row) of the maps that live within the round."""
    interval_s: float

    def wanted_bits(self, spilled: set[str], dynamic: bool) -> float:
        """Return what all maps that are not spilled take."""
        here = [one for one in self.held if one.name not in spilled]
        if not dynamic:
            return sum(one.bits for one in here)
        moving = [rows for name, rows in self.moving.items() if name not in spilled]
        return sum(one.bits for one in here if one.crosses) + most_held(moving, self.interval_s)


def plan_buffers(
    table: StageTable,
    rounds: Sequence[tuple[SampleTimes, float]],
    partial_bits: Sequence[Mapping[str, float]],
    batch: int,
    capacity_bits: float,
) -> Spill:
    """Return the buffers of all maps and what is spilled.

    Args:
        table: the network. rounds: for each round a sample's times and the interval (infinite: one sample at a time).
        partial_bits: for each round the bits of partial sums of layers that are cut, of one sample. batch: samples.
        capacity_bits: of all buffers; infinite where none are described.
    """
    made_in = {node: r for r, (times, _) in enumerate(rounds) for node in times.rows_s}
    readers: dict[int, list[int]] = {node: [] for node in made_in}
    for j, link in enumerate(table.links):
        for source in {source for source, _, _ in link.inputs}:
            readers[source].append(j)
    found = []
    for r, (times, interval_s) in enumerate(rounds):
        maps = _RoundMaps([], {}, interval_s)
        for node, born in made_in.items():
            link, last = table.links[node], max([made_in[j] for j in readers[node]], default=born)
            if born <= r <= last and born < last:
                bits = float(link.bits * batch)
                maps.held.append(MapBuffer(link.name, r, link.height * batch, link.height, bits, True))
            elif born == r == last:
                made, released = times.rows_s[node], releases(table, times, node, readers[node])
                rows = rows_held(made, released, interval_s)
                if rows:
                    row_bits = link.bits / link.height
                    maps.moving[link.name] = (made, released, row_bits)
                    maps.held.append(MapBuffer(link.name, r, rows, link.height, rows * row_bits, False))
        for name, bits in partial_bits[r].items():
            maps.held.append(MapBuffer(name, r, 0, 0, bits * batch, True))
        found.append(maps)
    return _spill(table, found, partial_bits, readers, capacity_bits)


def _spill(
    table: StageTable,
    found: Sequence[_RoundMaps],
    partial_bits: Sequence[Mapping[str, float]],
    readers: Mapping[int, Sequence[int]],
    capacity_bits: float,
) -> Spill:
    dynamic = table.chip.schedule.buffers == "dynamic"
    traffic = {
        link.name: float(link.bits * (1 + max(len(readers.get(i, ())), 1))) for i, link in enumerate(table.links)
    }
    for name in {name for kept in partial_bits for name in kept}:
        sets = [kept[name] for kept in partial_bits if name in kept]  # the first piece only writes, the last only reads
        traffic[name] = 2.0 * sets[0] * (len(sets) - 1)
    spilled: set[str] = set()
    wanted = 0.0
    for maps in found:
        bits = maps.wanted_bits(set(), dynamic)
        wanted = max(wanted, bits)
        if bits <= capacity_bits:
            continue
        order = [one.name for one in sorted(maps.held, key=lambda one: (-one.bits / traffic[one.name], one.name))]
        order = [name for name in order if name not in spilled]
        # The more is spilled, the less is wanted: look for the fewest.
        count = bisect_left(
            range(len(order)),
            True,
            key=lambda n: maps.wanted_bits(spilled | set(order[:n]), dynamic) <= capacity_bits,
        )
        spilled |= set(order[:count])
    all_maps = tuple(replace(one, spilled=one.name in spilled) for maps in found for one in maps.held)
    return Spill(all_maps, wanted, sum(traffic[name] for name in sorted(spilled)))
