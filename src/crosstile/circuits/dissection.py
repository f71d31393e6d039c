"""Nested dissection of a crossbar: in which order its nodes are eliminated, worked out once for a shape.

The array is cut in tiles of at most :data:`TILE` x :data:`TILE` cells, which are merged two and two up to the whole array. A
node is eliminated in the smallest block that holds every branch at it, so that what a block shows to the outside
is its *ports*: nodes shared with neighbours, and the fixed nodes V_i (sources) and O_j (grounds), which are never
eliminated. Blocks that differ only in their place share one symbolic description, a :class:`Block`.

For N x N cells the work is about 32 N^3 operations and the memory O(N^2 log N); a banded elimination takes O(N^4).
Method: A. George, Nested dissection of a regular finite element mesh, SIAM J. Numer. Anal. 10, 345 (1973),
10.1137/0710032.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from crosstile.circuits.wires import Wires

IntArray = npt.NDArray[np.int64]
TILE = 8
CELL, WORD, FIRST, BIT, LAST = range(5)
"""Kinds of branches: a cell; a word segment; driver and first segment; a bit segment; last segment and sense."""


@dataclass(frozen=True)
class Structure:
    """What of the wires decides the shape of the network: which resistances vanish, and the topology."""

    word_zero: bool
    driver_zero: bool
    bit_zero: bool
    sense_zero: bool
    driven_both: bool
    sensed_both: bool

    @classmethod
    def of(cls, wires: Wires) -> Structure:
        """Return the structure of ``wires``."""
        return cls(
            word_zero=wires.word_line_ohm == 0,
            driver_zero=wires.word_line_ohm + wires.driver_ohm == 0,
            bit_zero=wires.bit_line_ohm == 0,
            sense_zero=wires.bit_line_ohm + wires.sense_ohm == 0,
            driven_both=wires.topology == "driven_both_sides",
            sensed_both=wires.topology == "sensed_both_sides",
        )


@dataclass(frozen=True)
class Ports:
    """How many ports of each kind a block has; they are stored in this order."""

    free: int
    sources: int
    grounds: int

    @property
    def total(self) -> int:
        """All ports."""
        return self.free + self.sources + self.grounds


@dataclass(frozen=True)
class Program:
    """The elimination of a tile, node by node, on the slots where its couplings are kept.

    Pivot k has the couplings ``slots[start[k]:start[k + 1]]`` to its ``degree`` neighbours; each pair of neighbours
    (a, b > a) in turn has the slot ``pairs[...]`` (-1: a pair of fixed nodes, whose coupling nobody needs).
    """

    slots_total: int
    branch_kind: IntArray
    branch_cell: IntArray
    """(branches, 2) row and column within the tile."""
    branch_slot: IntArray
    start: IntArray
    slots: IntArray
    pair_start: IntArray
    pairs: IntArray
    neighbours: IntArray
    """Like ``slots``: the local node behind each coupling; nodes are numbered pivots first, then ports."""
    port_slots: IntArray
    """(ports, ports) slot of each coupling between ports, -1 where there is none; upper triangle."""
    port_word: IntArray
    """(h, w) local node of each cell's word node, and below of its bit node: for what is read inside."""
    port_bit: IntArray


@dataclass(frozen=True)
class Block:
    """All blocks of one symbolic form."""

    ports: Ports
    pivots: int
    origin: IntArray
    """(instances, 2) first row and column of each."""
    height: int
    width: int
    program: Program | None
    """For a tile."""
    children: tuple[int, int]
    """For a merge: numbers of the two blocks' forms, which precede."""
    instance: IntArray
    """(2, instances) which instance of the child's form."""
    maps: tuple[IntArray, IntArray]
    """Where each port of a child stands in the front: pivots first, then this block's ports."""


@dataclass(frozen=True)
class Dissection:
    """The whole order: forms sorted so that children precede; the last is the array."""

    rows: int
    columns: int
    blocks: tuple[Block, ...]


class _Nodes:
    """Names of nodes; wires without resistance merge theirs."""

    def __init__(self, rows: int, columns: int, structure: Structure) -> None:
        self.rows, self.columns, self.structure = rows, columns, structure
        self.first_source = 2 * rows * columns
        self.first_ground = self.first_source + rows

    def word(self, row: int, column: int) -> int:
        if self.structure.driver_zero:
            return self.source(row)
        return row * self.columns + (0 if self.structure.word_zero else column)

    def bit(self, row: int, column: int) -> int:
        if self.structure.sense_zero:
            return self.ground(column)
        at = self.rows - 1 if self.structure.bit_zero else row
        return self.rows * self.columns + at * self.columns + column

    def source(self, row: int) -> int:
        return self.first_source + row

    def ground(self, column: int) -> int:
        return self.first_ground + column

    def ports(self, top: int, bottom: int, left: int, right: int) -> tuple[list[int], Ports]:
        """Return the ports of the block of cells [top, bottom) x [left, right): free, sources, grounds."""
        found: dict[int, None] = {}
        for row in range(top, bottom):
            found[self.word(row, left - 1) if left else self.source(row)] = None
        for row in range(top, bottom):
            if right < self.columns:
                found[self.word(row, right - 1)] = None
            elif self.structure.driven_both:
                found[self.source(row)] = None
        for column in range(left, right):
            if top:
                found[self.bit(top, column)] = None
            elif self.structure.sensed_both:
                found[self.ground(column)] = None
        for column in range(left, right):
            found[self.bit(bottom, column) if bottom < self.rows else self.ground(column)] = None
        free = [n for n in found if n < self.first_source]
        sources = [n for n in found if self.first_source <= n < self.first_ground]
        grounds = [n for n in found if n >= self.first_ground]
        return free + sources + grounds, Ports(len(free), len(sources), len(grounds))

    def branches(self, top: int, bottom: int, left: int, right: int) -> list[tuple[int, int, int, int, int]]:
        """Return (node, node, kind, row, column) of each branch that the block owns."""
        s = self.structure
        found = []
        for row in range(top, bottom):
            for column in range(left, right):
                here, below = self.word(row, column), self.bit(row, column)
                found.append((here, below, CELL, row, column))
                if column:
                    found.append((self.word(row, column - 1), here, WORD, row, column))
                else:
                    found.append((self.source(row), here, FIRST, row, column))
                if column == self.columns - 1 and s.driven_both:
                    found.append((here, self.source(row), FIRST, row, column))
                if row < self.rows - 1:
                    found.append((below, self.bit(row + 1, column), BIT, row, column))
                else:
                    found.append((below, self.ground(column), LAST, row, column))
                if row == 0 and s.sensed_both:
                    found.append((below, self.ground(column), LAST, row, column))
        return [branch for branch in found if branch[0] != branch[1]]

    def kind(self, node: int) -> int:
        """0 free, 1 source, 2 ground."""
        return int(node >= self.first_source) + int(node >= self.first_ground)


def _index(values: list[Any]) -> IntArray:
    return np.asarray(values, dtype=np.int64)


def _program(nodes: _Nodes, top: int, bottom: int, left: int, right: int) -> tuple[Program, Ports, int]:
    ports, kinds = nodes.ports(top, bottom, left, right)
    branches = nodes.branches(top, bottom, left, right)
    graph: dict[int, set[int]] = {node: set() for node in ports}
    for a, b, *_ in branches:
        graph.setdefault(a, set()).add(b)
        graph.setdefault(b, set()).add(a)
    slot: dict[tuple[int, int], int] = {}

    def at(a: int, b: int) -> int:
        kind = nodes.kind(a)
        if kind and kind == nodes.kind(b):
            return -1
        return slot.setdefault((a, b) if a < b else (b, a), len(slot))

    branch_slot = [at(a, b) for a, b, *_ in branches]
    inner = {node for node in graph if node not in set(ports)}
    order: list[int] = []
    start, slots, pair_start, pairs, neighbours = [0], [], [0], [], []
    while inner:
        pivot = min(inner, key=lambda node: (len(graph[node]), node))  # minimum degree
        inner.discard(pivot)
        order.append(pivot)
        around = sorted(graph.pop(pivot))
        for node in around:
            graph[node].discard(pivot)
            slots.append(at(pivot, node))
            neighbours.append(node)
        for i, a in enumerate(around):
            for b in around[i + 1 :]:
                where = at(a, b)
                pairs.append(where)
                if where >= 0:
                    graph[a].add(b)
                    graph[b].add(a)
        start.append(len(slots))
        pair_start.append(len(pairs))
    local = {node: k for k, node in enumerate(order + ports)}
    port_slots = np.full((len(ports), len(ports)), -1, dtype=np.int64)
    for i, a in enumerate(ports):
        for j in range(i + 1, len(ports)):
            port_slots[i, j] = slot.get((min(a, ports[j]), max(a, ports[j])), -1)
    word = [[local[nodes.word(r, c)] for c in range(left, right)] for r in range(top, bottom)]
    bit = [[local[nodes.bit(r, c)] for c in range(left, right)] for r in range(top, bottom)]
    program = Program(
        slots_total=len(slot),
        branch_kind=_index([kind for *_, kind, _, _ in branches]),
        branch_cell=_index([(row - top, column - left) for *_, row, column in branches]).reshape(-1, 2),
        branch_slot=_index(branch_slot),
        start=_index(start), slots=_index(slots), pair_start=_index(pair_start), pairs=_index(pairs),
        neighbours=_index([local[node] for node in neighbours]),
        port_slots=port_slots, port_word=_index(word), port_bit=_index(bit),
    )  # fmt: skip
    return program, kinds, len(order)


def _cuts(size: int) -> tuple[int, ...]:
    """Return where tiles begin and end: as equal as possible, at most TILE cells each."""
    count = -(-size // TILE)
    return tuple(size * k // count for k in range(count + 1))


@lru_cache(maxsize=64)
def dissect(rows: int, columns: int, structure: Structure) -> Dissection:
    """Return the elimination order of a (rows, columns) crossbar."""
    nodes = _Nodes(rows, columns, structure)
    row_cuts, column_cuts = _cuts(rows), _cuts(columns)
    forms: dict[object, int] = {}
    made: list[dict[str, object]] = []
    origins: list[list[tuple[int, int]]] = []
    instances: list[list[tuple[int, int]]] = []

    def build(r0: int, r1: int, c0: int, c1: int) -> tuple[int, int]:
        """Make the block of tiles [r0, r1) x [c0, c1); returns (form, instance)."""
        top, bottom, left, right = row_cuts[r0], row_cuts[r1], column_cuts[c0], column_cuts[c1]
        key = (
            tuple(np.diff(row_cuts[r0 : r1 + 1])), tuple(np.diff(column_cuts[c0 : c1 + 1])),
            top == 0, bottom == rows, left == 0, right == columns,
        )  # fmt: skip
        pair: tuple[tuple[int, int], tuple[int, int]] | None = None
        if (r1 - r0) * (c1 - c0) > 1:
            if (bottom - top >= right - left and r1 - r0 > 1) or c1 - c0 == 1:
                middle = (r0 + r1) // 2
                pair = build(r0, middle, c0, c1), build(middle, r1, c0, c1)
                halves = (top, row_cuts[middle], left, right), (row_cuts[middle], bottom, left, right)
            else:
                middle = (c0 + c1) // 2
                pair = build(r0, r1, c0, middle), build(r0, r1, middle, c1)
                halves = (top, bottom, left, column_cuts[middle]), (top, bottom, column_cuts[middle], right)
        if key not in forms:
            forms[key] = len(made)
            origins.append([])
            instances.append([])
            if pair is None:
                program, ports, pivots = _program(nodes, top, bottom, left, right)
                made.append({"program": program, "ports": ports, "pivots": pivots, "children": (-1, -1),
                             "maps": (np.zeros(0, np.int64),) * 2})  # fmt: skip
            else:
                mine, ports = nodes.ports(top, bottom, left, right)
                theirs = [nodes.ports(*half)[0] for half in halves]
                outside = set(mine)
                inner = list(dict.fromkeys(node for part in theirs for node in part if node not in outside))
                place = {node: k for k, node in enumerate(inner + mine)}
                maps = tuple(np.array([place[node] for node in part], dtype=np.int64) for part in theirs)
                made.append({"program": None, "ports": ports, "pivots": len(inner),
                             "children": (pair[0][0], pair[1][0]), "maps": maps})  # fmt: skip
            made[-1] |= {"height": bottom - top, "width": right - left}
        form = forms[key]
        origins[form].append((top, left))
        if pair is not None:
            instances[form].append((pair[0][1], pair[1][1]))
        return form, len(origins[form]) - 1

    build(0, len(row_cuts) - 1, 0, len(column_cuts) - 1)
    blocks = [
        Block(
            origin=np.array(where, dtype=np.int64),
            instance=np.ascontiguousarray(np.array(which, dtype=np.int64).reshape(-1, 2).T),
            **form,  # type: ignore[arg-type]
        )
        for form, where, which in zip(made, origins, instances, strict=True)
    ]
    return Dissection(rows, columns, tuple(blocks))
