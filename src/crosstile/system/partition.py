"""A network cut over chips: as few bits over the links as the chips' arrays allow.

Nodes with weights take arrays, the others none; a layer that is larger than a chip is cut into pieces that share its outputs.
With ``place(i)`` the chip of item ``i``, every item is sent once to each other chip that reads it:

    cut = sum over items u, chips c != place(u) that hold a reader of u, of bits(u)
    sum of arrays of the items of a chip <= arrays of the chip.

``partition_chain`` is exact among partitions whose chips hold consecutive nodes: cost adds up over segments, so a dynamic
programme over (number of chips, last node) finds the least. ``partition_exact`` is exact among all, by integer programming, for
small graphs. ``refine`` moves single items while that saves bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crosstile.errors import SpecError
from crosstile.workloads.graph import Network

_EXACT_LIMIT = 400  # items x chips; beyond it the integer programme takes minutes


@dataclass(frozen=True)
class Item:
    """A node, or a piece of one."""

    node: str
    piece: int
    arrays: int
    bits: int
    """Bits that it makes for one sample."""
    inputs: tuple[int, ...]
    """The items that it reads."""


def items_of(network: Network, arrays: Mapping[str, int], element_bits: int, limit: int) -> tuple[Item, ...]:
    """Return the items of a network whose pieces take at most ``limit`` arrays.

    Args:
        network: the graph.
        arrays: for each layer the arrays that it takes, copies included.
        element_bits: bits of one value of a feature map.
        limit: arrays of one piece, at most those of a chip; larger layers are cut into equal pieces.

    Every value reaches the readers of its node, whichever piece made it. The network's input comes from outside: it is an item
    without arrays and without bits on links.
    """
    if limit < 1:
        raise SpecError(f"package: a chip needs at least one array, found {limit}.")
    items: list[Item] = []
    made: dict[str, tuple[int, ...]] = {}
    for node in network.nodes:
        inputs = tuple(dict.fromkeys(item for name in node.inputs for item in made[name]))
        taken = arrays[node.name] if node.layer is not None else 0
        pieces = max(1, math.ceil(taken / limit))
        bits = 0 if node.kind == "input" else node.elements * element_bits
        first = len(items)
        for piece in range(pieces):
            share, left = divmod(taken, pieces)
            part, rest = divmod(bits, pieces)
            items.append(Item(node.name, piece, share + (piece < left), part + (piece < rest), inputs))
        made[node.name] = tuple(range(first, first + pieces))
    return tuple(items)


def readers_of(items: Sequence[Item]) -> list[list[int]]:
    """Return for each item the items that read it."""
    readers: list[list[int]] = [[] for _ in items]
    for index, item in enumerate(items):
        for source in item.inputs:
            readers[source].append(index)
    return readers


def partition(
    network: Network, arrays: Mapping[str, int], element_bits: int, chips: int, limit: int
) -> tuple[tuple[Item, ...], tuple[int, ...]]:
    """Return the items of a network and the chip of each: in order, then refined.

    Layers are kept whole where they fit on a chip. Only if the chips have no room for that are they cut into pieces of at most
    1/4, then 1/16 of a chip, which pack more tightly; and if that is not enough, chips are filled one after the other and layers
    cut where a chip is full.

    Raises:
        SpecError: the chips have too few arrays.
    """
    for share in (1, 4, 16):
        items = items_of(network, arrays, element_bits, max(1, limit // share))
        try:
            place = partition_chain(items, chips, limit)
        except SpecError:
            continue
        return items, refine(items, place, chips, limit)
    items, place = _filled(network, arrays, element_bits, chips, limit)
    return items, refine(items, place, chips, limit)


def _filled(
    network: Network, arrays: Mapping[str, int], element_bits: int, chips: int, limit: int
) -> tuple[tuple[Item, ...], tuple[int, ...]]:
    """Fill one chip after the other, in order; a layer is cut where its chip is full."""
    items: list[Item] = []
    place: list[int] = []
    made: dict[str, tuple[int, ...]] = {}
    chip, room = 0, limit
    for node in network.nodes:
        inputs = tuple(dict.fromkeys(item for name in node.inputs for item in made[name]))
        left = taken = arrays[node.name] if node.layer is not None else 0
        bits = 0 if node.kind == "input" else node.elements * element_bits
        sent, first = 0, len(items)
        while True:
            if left and not room:
                chip, room = chip + 1, limit
            part = min(left, room)
            left, room = left - part, room - part
            upto = bits * (taken - left) // taken if taken else bits
            items.append(Item(node.name, len(items) - first, part, upto - sent, inputs))
            place.append(chip)
            sent = upto
            if not left:
                break
        made[node.name] = tuple(range(first, len(items)))
    if chip >= chips:
        raise _too_small(items, chips, limit)
    return tuple(items), tuple(place)


@dataclass(frozen=True)
class Transfer:
    """What one item sends to one other chip for one sample."""

    item: int
    source: int
    target: int
    bits: int


def transfers(items: Sequence[Item], place: Sequence[int]) -> tuple[Transfer, ...]:
    """Return all transfers of a partition; their bits add up to its cut."""
    readers = readers_of(items)
    found = []
    for index, item in enumerate(items):
        if item.bits:
            targets = sorted({place[reader] for reader in readers[index]} - {place[index]})
            found += [Transfer(index, place[index], target, item.bits) for target in targets]
    return tuple(found)


def cut_bits(items: Sequence[Item], place: Sequence[int]) -> int:
    """Return the bits that cross links for one sample."""
    return sum(transfer.bits for transfer in transfers(items, place))


def check_places(items: Sequence[Item], place: Sequence[int], chips: int, limit: int) -> None:
    """Raise :class:`SpecError` unless every item stands on one of ``chips`` chips and none of them is overfull."""
    load = [0] * chips
    for item, chip in zip(items, place, strict=True):
        load[chip] += item.arrays
    if max(load) > limit:
        raise SpecError(f"package: chip {load.index(max(load))} would need {max(load)} arrays, it has {limit}.")


def _too_small(items: Sequence[Item], chips: int, limit: int) -> SpecError:
    total = sum(item.arrays for item in items)
    return SpecError(
        f"package: {total} arrays do not fit on {chips} chip(s) of {limit} arrays with layers kept in order; "
        f"{math.ceil(total / limit)} chips are the least for so many arrays. Use more chips or larger ones."
    )


def partition_chain(items: Sequence[Item], chips: int, limit: int) -> tuple[int, ...]:
    """Return the chip of each item: the least cut with consecutive items on each chip.

    Raises:
        SpecError: no such partition has room.
    """
    count = len(items)
    readers = readers_of(items)
    load = np.concatenate([[0], np.cumsum([item.arrays for item in items])])
    # enter[i, j]: bits that flow into the segment of items i..j-1 from before i.
    enter = np.full((count + 1, count + 1), np.inf)
    ahead = [sorted(r) for r in readers]
    arriving = np.zeros(count + 1)  # at its first reader from ``begin`` on, what comes from before
    for begin in range(count):
        for source in {*items[begin - 1].inputs, begin - 1} if begin else ():
            # The segment lost item begin - 1: as a reader, and as a source within.
            readers_now = ahead[source]
            if source != begin - 1 and readers_now and readers_now[0] == begin - 1:
                arriving[readers_now.pop(0) + 1] -= items[source].bits
            if readers_now:
                arriving[readers_now[0] + 1] += items[source].bits
        total = np.cumsum(arriving)
        fits = load - load[begin] <= limit
        enter[begin, begin + 1 :] = np.where(fits, total, np.inf)[begin + 1 :]
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    steps: list[np.ndarray] = []
    for _ in range(min(chips, count)):
        through = best[:, None] + enter
        np.fill_diagonal(through, best)  # an unused chip
        steps.append(through.argmin(axis=0))
        shorter = through.min(axis=0)
        if np.array_equal(shorter, best):
            break
        best = shorter
    if not math.isfinite(best[count]):
        raise _too_small(items, chips, limit)
    borders, end = [], count
    for step in reversed(steps):
        begin = int(step[end])
        if begin != end:
            borders.append(begin)
        end = begin
    place = np.zeros(count, dtype=int)
    for border in borders:
        if border:
            place[border:] += 1
    return tuple(int(chip) for chip in place)


def refine(items: Sequence[Item], place: Sequence[int], chips: int, limit: int) -> tuple[int, ...]:
    """Return ``place`` after moving single items to other chips for as long as a move saves bits."""
    readers = readers_of(items)
    now, load = list(place), [0] * chips
    for item, chip in zip(items, place, strict=True):
        load[chip] += item.arrays
    local = [sorted({i, *items[i].inputs}) for i in range(len(items))]

    def cost(item: int) -> int:
        total = 0
        for source in local[item]:
            total += items[source].bits * len({now[r] for r in readers[source]} - {now[source]})
        return total

    improved = True
    while improved:
        improved = False
        for index, item in enumerate(items):
            home, before = now[index], cost(index)
            near = {now[n] for n in (*item.inputs, *readers[index])} - {home}
            for chip in sorted(near):
                if load[chip] + item.arrays > limit:
                    continue
                now[index] = chip
                if cost(index) < before:
                    load[home] -= item.arrays
                    load[chip] += item.arrays
                    improved = True
                    break
                now[index] = home
    return tuple(now)


def partition_exact(items: Sequence[Item], chips: int, limit: int, *, time_limit_s: float = 60.0) -> tuple[int, ...]:
    """Return the chip of each item with the least cut of all partitions, by integer programming (HiGHS).

    Raises:
        SpecError: the graph is too large for it, nothing fits, or no proof of the optimum was found within ``time_limit_s``.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    count = len(items)
    if count * chips > _EXACT_LIMIT:
        raise SpecError(
            f"package: the exact partition is for up to {_EXACT_LIMIT} items times chips, found {count} x {chips}; "
            "use the partition in order."
        )
    readers = readers_of(items)
    size = count * chips  # place[i, c], then sent[u, c]
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    low: list[float] = []
    high: list[float] = []

    def constrain(entries: Mapping[int, float], least: float, most: float) -> None:
        for column, value in entries.items():
            rows.append(len(low))
            columns.append(column)
            values.append(value)
        low.append(least)
        high.append(most)

    for index in range(count):
        constrain({index * chips + chip: 1.0 for chip in range(chips)}, 1.0, 1.0)
    for chip in range(chips):
        constrain({i * chips + chip: float(item.arrays) for i, item in enumerate(items)}, 0.0, float(limit))
    for source, listeners in enumerate(readers):
        for reader in listeners:
            for chip in range(chips):
                column = size + source * chips + chip
                constrain({column: 1.0, reader * chips + chip: -1.0, source * chips + chip: 1.0}, 0.0, np.inf)
    matrix = coo_array((values, (rows, columns)), shape=(len(low), 2 * size)).tocsc()
    cost = np.concatenate([np.zeros(size), np.repeat([float(item.bits) for item in items], chips)])
    upper = np.ones(2 * size)
    upper[1:chips] = 0.0  # chips are alike: the first item stands on the first
    found = milp(
        cost, constraints=LinearConstraint(matrix, low, high), bounds=Bounds(0.0, upper), integrality=np.ones(2 * size),
        options={"time_limit": time_limit_s},
    )  # fmt: skip
    if found.status == 2:
        raise _too_small(items, chips, limit)
    if found.status != 0 or found.x is None:
        raise SpecError(
            f"package: no proven optimum within {time_limit_s:g} s ({found.message}); use the partition in order."
        )
    return tuple(int(chip) for chip in found.x[:size].reshape(count, chips).argmax(axis=1))
