"""The dissection of a crossbar as index tensors, by which :mod:`crosstile.circuits.factor_torch` gathers.

A tile's elimination has two phases. Nodes far apart do not see each other: a pivot's level is 1 + the largest level
among earlier pivots next to it, and all pivots of a level are eliminated in one :class:`Step` (same result as one by
one, up to the order of sums). What is left when levels get narrow, and every merge, is a dense *front*.

Tables are padded: a coupling that does not exist is the row after the last slot of a tile, which stays 0, or entry
(0, 0) of a block's coupling matrix, a diagonal and kept at 0. Nothing is summed by atomic operations: where several
contributions meet, they are dealt to *rounds* in which every target is met once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosstile.circuits.dissection import CELL, Block, IntArray, Program, Structure, dissect

_WIDE = 8
"""Fewest pivots of a level that are worth a step of their own; narrower levels go to the dense front."""

Round = tuple[Tensor, Tensor, Tensor]
"""Targets, all different, and for each the entry of the (pivots * degree) shares and the row that it multiplies."""


@dataclass(frozen=True)
class Step:
    """P pivots of a tile that are eliminated together; d is the largest degree among them."""

    pivots: Tensor
    """(P,) local nodes."""
    slots: Tensor
    """(P * d,) slots of the couplings, padded."""
    neighbours: Tensor
    """(P * d,) local node behind each, padded with any."""
    degree: int
    additions: tuple[Round, ...]
    """Target slot; the share f_ka; the slot of c_kb."""
    currents: tuple[Round, ...]
    """Target node; the share f_ka; the pivot."""
    pairs: Tensor
    """(P * d * d,) slot between two neighbours of a pivot, padded."""
    real: Tensor
    """Entries of ``slots`` that are no padding."""
    real_slots: Tensor


@dataclass(frozen=True)
class Tile:
    """The sparse phase of a tile of h x w cells on ``slots`` couplings between ``nodes`` nodes."""

    slots: int
    nodes: int
    steps: tuple[Step, ...]
    cells: Tensor
    """(h * w * instances,) which of the array's cells, row by row."""
    cell_slots: Tensor
    """(h * w,)."""
    branches: Tensor
    """(slots + 1, 5) how many branches of each kind lie in a slot; cells are not counted."""
    rest: Tensor
    """(n,) local nodes of the front."""
    front: Tensor
    """(n * n,) slot of each coupling of the front, padded."""
    upper: Tensor
    """Entries of the front with a slot, each pair once."""
    upper_slots: Tensor
    word: Tensor
    bit: Tensor
    """(h * w,) local nodes above and below each cell."""
    incidence: Tensor
    """(nodes, h * w) float64: -1 for the node above a cell, 1 for the one below."""


@dataclass(frozen=True)
class Child:
    """How a merge takes one of its two blocks."""

    form: int
    instance: Tensor
    """(instances,)."""
    gather: Tensor
    """(n * n,) entry of the child's coupling matrix for each of the front, padded."""
    place: Tensor
    """(ports of the child,) where each stands in the front."""
    pick: Tensor
    """(ports * ports,) entry of the front for each of the child's."""


@dataclass(frozen=True)
class Form:
    """A :class:`crosstile.circuits.dissection.Block`; its front is ``pivots`` nodes, then ``ports``."""

    pivots: int
    ports: int
    instances: int
    tile: Tile | None
    children: tuple[Child, ...]


@dataclass(frozen=True)
class Plan:
    """All forms, children before parents, and which of them can be reduced together."""

    rows: int
    columns: int
    forms: tuple[Form, ...]
    levels: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=16)
def plan(rows: int, columns: int, structure: Structure, device: torch.device) -> Plan:
    """Return the index tensors of a (rows, columns) crossbar on ``device``."""
    blocks = dissect(rows, columns, structure).blocks
    forms: list[Form] = []
    height: list[int] = []
    for block in blocks:
        if block.program is not None:
            forms.append(_tile(block, block.program, columns, device))
            height.append(0)
        else:
            forms.append(_merge(block, blocks, device))
            height.append(1 + max(height[child] for child in block.children))
    levels = (tuple(n for n, h in enumerate(height) if h == level) for level in range(max(height) + 1))
    return Plan(rows, columns, tuple(forms), tuple(levels))


def _to(device: torch.device, values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)


def _merge(block: Block, blocks: tuple[Block, ...], device: torch.device) -> Form:
    n = block.pivots + block.ports.total
    children = []
    for form, instance, place in zip(block.children, block.instance, block.maps, strict=True):
        size = blocks[form].ports.total
        pick = place[:, None] * n + place
        gather = np.zeros(n * n, dtype=np.int64)
        gather[pick] = np.arange(size * size).reshape(size, size)
        gather[:: n + 1] = 0  # the front's diagonal is kept at 0 too
        children.append(Child(form, *(_to(device, v) for v in (instance, gather, place, pick.ravel()))))
    return Form(block.pivots, block.ports.total, len(block.origin), None, tuple(children))


def _levels(p: Program) -> IntArray:
    """Return the level of each pivot."""
    pivots = len(p.start) - 1
    level = np.zeros(pivots, dtype=np.int64)
    for k in range(pivots):
        around = p.neighbours[p.start[k] : p.start[k + 1]]
        later = around[around < pivots]
        level[later] = np.maximum(level[later], level[k] + 1)
    return level


def _tile(block: Block, p: Program, columns: int, device: torch.device) -> Form:
    none, nodes, level = p.slots_total, block.pivots + block.ports.total, _levels(p)
    narrow = 0
    while (level == narrow).sum() >= _WIDE:
        narrow += 1
    slot = np.full((nodes, nodes), none, dtype=np.int64)  # between any two nodes of the front
    slot[block.pivots :, block.pivots :] = np.where(p.port_slots >= 0, p.port_slots, none)
    for k in np.flatnonzero(level >= narrow):
        slot[k, p.neighbours[p.start[k] : p.start[k + 1]]] = p.slots[p.start[k] : p.start[k + 1]]
    slot = np.minimum(slot, slot.T)
    rest = np.concatenate([np.flatnonzero(level >= narrow), np.arange(block.pivots, nodes)])
    front = slot[rest[:, None], rest].ravel()
    upper = np.flatnonzero((front < none) & np.triu(np.ones((len(rest),) * 2, dtype=bool), 1).ravel())
    inside = np.array([(r, c) for r in range(block.height) for c in range(block.width)], dtype=np.int64)
    cells = (block.origin[:, 0] + inside[:, :1]) * columns + block.origin[:, 1] + inside[:, 1:]
    is_cell = p.branch_kind == CELL
    at = np.empty((block.height, block.width), dtype=np.int64)
    at[p.branch_cell[is_cell, 0], p.branch_cell[is_cell, 1]] = p.branch_slot[is_cell]
    branches = np.zeros((none + 1, 5))
    np.add.at(branches, (p.branch_slot[~is_cell], p.branch_kind[~is_cell]), 1.0)
    incidence = np.zeros((nodes, at.size))
    np.add.at(incidence, (p.port_word.ravel(), np.arange(at.size)), -1.0)
    np.add.at(incidence, (p.port_bit.ravel(), np.arange(at.size)), 1.0)
    tile = Tile(
        slots=none, nodes=nodes, steps=tuple(_step(p, np.flatnonzero(level == n), device) for n in range(narrow)),
        cells=_to(device, cells.ravel()), cell_slots=_to(device, at.ravel()),
        branches=torch.from_numpy(branches).to(device), rest=_to(device, rest), front=_to(device, front),
        upper=_to(device, upper), upper_slots=_to(device, front[upper]),
        word=_to(device, p.port_word.ravel()), bit=_to(device, p.port_bit.ravel()),
        incidence=torch.from_numpy(incidence).to(device),
    )  # fmt: skip
    return Form(len(rest) - block.ports.total, block.ports.total, len(block.origin), tile, ())


def _step(p: Program, pivots: IntArray, device: torch.device) -> Step:
    d = int(np.diff(p.start)[pivots].max())
    slots = np.full((len(pivots), d), p.slots_total, dtype=np.int64)
    neighbours = np.zeros((len(pivots), d), dtype=np.int64)
    neighbours[:] = pivots[:, None]
    pairs = np.full((len(pivots), d, d), p.slots_total, dtype=np.int64)
    additions: list[tuple[int, int, int]] = []
    currents: list[tuple[int, int, int]] = []
    for row, k in enumerate(pivots):
        degree = int(p.start[k + 1] - p.start[k])
        slots[row, :degree] = p.slots[p.start[k] : p.start[k + 1]]
        neighbours[row, :degree] = p.neighbours[p.start[k] : p.start[k + 1]]
        currents += [(int(neighbours[row, a]), row * d + a, int(k)) for a in range(degree)]
        a, b = np.triu_indices(degree, 1)
        between = p.pairs[p.pair_start[k] : p.pair_start[k + 1]]
        there = between >= 0
        pairs[row, a[there], b[there]] = pairs[row, b[there], a[there]] = between[there]
        additions += zip(between[there], row * d + a[there], slots[row, b[there]], strict=True)
    real = np.flatnonzero(slots.ravel() < p.slots_total)
    return Step(
        pivots=_to(device, pivots), slots=_to(device, slots.ravel()), neighbours=_to(device, neighbours.ravel()),
        degree=d, additions=_rounds(additions, device), currents=_rounds(currents, device),
        pairs=_to(device, pairs.ravel()), real=_to(device, real), real_slots=_to(device, slots.ravel()[real]),
    )  # fmt: skip


def _rounds(contributions: Iterable[tuple[int, int, int]], device: torch.device) -> tuple[Round, ...]:
    met: dict[int, int] = {}
    rounds: list[list[tuple[int, int, int]]] = []
    for entry in contributions:
        number = met[entry[0]] = met.get(entry[0], -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(entry)
    tables = (np.array(entries, dtype=np.int64) for entries in rounds)
    return tuple((_to(device, t[:, 0]), _to(device, t[:, 1]), _to(device, t[:, 2])) for t in tables)
