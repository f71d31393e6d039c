"""Ways between the chips of a package, and what they carry.

Chips stand on a grid in snake order, so that neighbours in number are neighbours in place. A mesh is routed first along its rows,
then along its columns; a ring the shorter way round; ``all_to_all`` has a link for every pair. A link carries both directions:

    load(a -> b) = bits of all transfers whose way goes from a to b,     link time = largest load / bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from crosstile.specs.package import Topology, grid
from crosstile.system.partition import Transfer

Hop = tuple[int, int]


@cache
def route(source: int, target: int, chips: int, topology: Topology) -> tuple[Hop, ...]:
    """Return the links, as (from, to), that lead from one chip to another."""
    if source == target:
        return ()
    if topology == "all_to_all":
        return ((source, target),)
    if topology == "ring":
        step = 1 if (target - source) % chips <= (source - target) % chips else -1
        here, hops = source, []
        while here != target:
            hops.append((here, (here + step) % chips))
            here = (here + step) % chips
        return tuple(hops)
    columns = grid(chips, topology)[1]
    row, column = _place(source, columns)
    to_row, to_column = _place(target, columns)
    hops, here = [], source
    while (row, column) != (to_row, to_column):
        if column != to_column:
            column += 1 if to_column > column else -1
        else:
            row += 1 if to_row > row else -1
        following = _number(row, column, columns)
        hops.append((here, following))
        here = following
    return tuple(hops)


def _place(chip: int, columns: int) -> Hop:
    row, column = divmod(chip, columns)
    return row, columns - 1 - column if row % 2 else column


def _number(row: int, column: int, columns: int) -> int:
    return row * columns + (columns - 1 - column if row % 2 else column)


def link_loads(moved: Iterable[Transfer], chips: int, topology: Topology) -> dict[Hop, int]:
    """Return the bits that each link carries for one sample."""
    loads: dict[Hop, int] = {}
    for transfer in moved:
        for hop in route(transfer.source, transfer.target, chips, topology):
            loads[hop] = loads.get(hop, 0) + transfer.bits
    return loads
