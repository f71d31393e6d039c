"""The sparse phase of a crossbar's tiles in tensor operations, level by level (:mod:`crosstile.circuits.plan_torch`).

As in :mod:`crosstile.circuits.elimination`, with f_ka = c_ka / s_k: c_ab += f_ka c_kb. A tile's couplings lie
along the first dimension and the tiles ("units": array first, then instance) next to each other along the second, so
that what is gathered are whole rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crosstile.circuits.plan_torch import Form, Tile

LEAK_S = 1e-300
"""Siemens from every pivot to 0 V, which saves a test for nodes that float; beside a cell it is nothing."""
_FLOATING_S = 1e-290
"""A node with a smaller total floats: it takes 0 V."""

Shares = tuple[Tensor, Tensor]
"""Of a step: f_ka (pivots * degree, units) and 1 / s_k (pivots, units)."""


def reciprocal(total: Tensor) -> Tensor:
    """Return 1 / total, and 0 for nodes that float."""
    return torch.where(total > _FLOATING_S, total.reciprocal(), 0.0)


def eliminate(form: Form, tile: Tile, g_s: Tensor, constants: Tensor, kept: list[Shares] | None) -> Tensor:
    """Return the fronts (units, n, n) of tiles after their sparse phase; its shares are appended to ``kept``."""
    arrays, units = len(g_s), len(g_s) * form.instances
    cells = g_s.reshape(arrays, -1).index_select(1, tile.cells).view(arrays, -1, form.instances)
    c = (tile.branches @ constants).unsqueeze(1).repeat(1, units)  # (slots + 1, units): units next to each other
    # No other branch lies beside a cell, the only one between its word and bit line.
    c.index_copy_(0, tile.cell_slots, cells.transpose(0, 1).reshape(-1, units))
    for step in tile.steps:
        mine = c.index_select(0, step.slots).view(-1, step.degree, units)
        total = mine.sum(dim=1).add_(LEAK_S)
        share = mine.div_(total.unsqueeze(1)).view(-1, units)
        for target, which, row in step.additions:
            part = c.index_select(0, target).addcmul_(share.index_select(0, which), c.index_select(0, row))
            c.index_copy_(0, target, part)
        if kept is not None:
            kept.append((share, reciprocal(total)))
    n = len(tile.rest)
    return c.t().contiguous().index_select(1, tile.front).view(units, n, n)


def accumulate(tile: Tile, injected: Tensor, shares: list[Shares]) -> tuple[Tensor, list[Tensor]]:
    """Hand the currents fed in inside tiles to their fronts.

    Args:
        injected: (h * w, arrays, instances, K) amperes taken from each word node and fed into the bit node below.

    Returns:
        (nodes, units, K) amperes, of which those of the front count, and i_k / s_k (pivots, units, K) of each step.
    """
    count = injected.shape[3]
    state = (tile.incidence @ injected.reshape(len(injected), -1)).view(tile.nodes, -1, count)
    fed = []
    for step, (share, inverse) in zip(tile.steps, shares, strict=True):
        fed.append(state.index_select(0, step.pivots) * inverse.unsqueeze(2))
        for target, which, pivot in step.currents:
            f, part = share.index_select(0, which).unsqueeze(2), state.index_select(0, target)
            state.index_copy_(0, target, part.addcmul_(f, state.index_select(0, pivot)))
    return state, fed


def substitute(tile: Tile, v: Tensor, shares: list[Shares], fed: list[Tensor]) -> Tensor:
    """Return volts (nodes, units, K) of all nodes of tiles, given those of their fronts (units, n, K)."""
    units, count = v.shape[0], v.shape[2]
    state = v.new_zeros(tile.nodes, units, count)
    state.index_copy_(0, tile.rest, v.transpose(0, 1))
    for number in reversed(range(len(tile.steps))):
        step, (share, _) = tile.steps[number], shares[number]
        found = state.index_select(0, step.neighbours).mul_(share.unsqueeze(2))
        inside = found.view(-1, step.degree, units, count).sum(dim=1)
        state.index_copy_(0, step.pivots, inside + fed[number] if fed else inside)
    return state


def differentiate(tile: Tile, d: Tensor, shares: list[Shares]) -> Tensor:
    """Return derivatives (slots + 1, units) by the couplings of tiles, given those by their fronts' (units, n * n)."""
    units = len(d)
    state = d.new_zeros(tile.slots + 1, units)
    state.index_copy_(0, tile.upper_slots, d.index_select(1, tile.upper).t())
    for step, (share, _) in zip(reversed(tile.steps), reversed(shares), strict=True):
        f = share.view(-1, step.degree, units)
        between = state.index_select(0, step.pairs).view(-1, step.degree, step.degree, units)
        mine = between.mul_(f.unsqueeze(1)).sum(dim=2)
        mine -= 0.5 * (f * mine).sum(dim=1, keepdim=True)
        state.index_copy_(0, step.real_slots, mine.view(-1, units).index_select(0, step.real))
    return state
