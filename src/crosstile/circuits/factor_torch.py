"""A crossbar's elimination in tensor operations, for CUDA: the same as :mod:`crosstile.circuits.factor`.

Tiles are eliminated level by level (:mod:`crosstile.circuits.plan_torch`), then fronts densely. With couplings F among
pivots I and ports R of a front, and the diagonal D_kk = sum of all couplings of k, D_kl = -F_kl,

    M = D^-1,   X = M F_IR,   C = F_RR + F_IR^T X                what the front shows to the outside
    v_I = X v_R + M i_I,      i_R += X^T i_I                     voltages; currents fed in
    Y = X D_RR,   q_k = 1/2 sum_a X_ka Y_ka                      derivatives: D_IR = Y - q,   D_II = Y X^T - q - q^T

M comes from D = L S L^T by M = L^-T S^-1 L^-1, where S holds the totals s_k, each summed anew from the couplings that k
still has, and L^-1 >= 0: no difference is ever formed. A Cholesky factorisation of D would take fewer operations, but
subtracts: it loses digits where drivers and sense amplifiers conduct far less than wires and cells do, and fails where
nodes float.

Fronts of one level are reduced together. Nothing waits for the device, and no sum is left to atomic operations: on one
device, a chunk gives the same bits each time, as far as its matrix products do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosstile.circuits import tiles_torch
from crosstile.circuits.dissection import Structure
from crosstile.circuits.factor import branch_conductances
from crosstile.circuits.plan_torch import Form, Plan, plan
from crosstile.circuits.tiles_torch import LEAK_S, Shares, reciprocal
from crosstile.circuits.wires import Wires

CHUNK_CELLS = 2**21
"""Cells that are eliminated together. A cell takes some 1.3 KB, with derivatives 2 KB: 4 GB for these, 128 arrays of
128 x 128, which is work enough for a device in most of the 2300 operations. Fixed, so that results do not depend on
what memory is free."""
_PANEL = 32
"""Most pivots whose effect on the rest of a front is one matrix product."""


@dataclass
class TorchFactor:
    """The elimination of (arrays, rows, columns) cells; units are blocks of a form: array first, then instance."""

    plan: Plan
    arrays: int
    coupling: Tensor
    """(arrays, rows, columns) between each source and each ground: the effective conductance, siemens."""
    shares: list[list[Shares]]
    """For each form and step of its sparse phase; empty unless kept, like the others."""
    reach: list[Tensor]
    """For each form X (units, pivots, ports)."""
    inverse: list[Tensor]
    """For each form M (units, pivots, pivots), ohms."""

    @classmethod
    @torch.no_grad()
    def of(cls, g_s: Tensor, wires: Wires, *, keep: bool) -> TorchFactor:
        """Eliminate every node of (arrays, rows, columns) float64 cells; ``keep`` what voltages and derivatives need.

        The topology's mirror image (``same_side``) is the caller's business.
        """
        arrays, rows, columns = g_s.shape
        order = plan(rows, columns, Structure.of(wires), g_s.device)
        constants = torch.from_numpy(branch_conductances(wires)).to(g_s.device)
        count = len(order.forms)
        outs: list[Tensor | None] = [None] * count
        shares: list[list[Shares]] = [[] for _ in range(count)]
        reach, inverse = [g_s.new_empty(0)] * count, [g_s.new_empty(0)] * count
        awaited = [sum(child.form == n for form in order.forms for child in form.children) for n in range(count)]
        for level in order.levels:
            fronts = []
            for number in level:
                form = order.forms[number]
                if form.tile is not None:
                    fronts.append(
                        tiles_torch.eliminate(form, form.tile, g_s, constants, shares[number] if keep else None)
                    )
                    continue
                fronts.append(_join(form, outs, arrays))
                for child in form.children:
                    awaited[child.form] -= 1
                    if not awaited[child.form]:
                        outs[child.form] = None  # frees its memory
            solved = _invert([(f, order.forms[n].pivots) for f, n in zip(fronts, level, strict=True)])
            for number in level:
                front, m = fronts.pop(0), solved.pop(0)
                pivots = order.forms[number].pivots
                x = m @ front[:, :pivots, pivots:]
                out = torch.baddbmm(front[:, pivots:, pivots:], x.mT, front[:, :pivots, pivots:])
                out[:, 0, 0] = 0.0  # what padding points to
                outs[number] = out.view(arrays, order.forms[number].instances, -1)
                if keep:
                    reach[number], inverse[number] = x, m.contiguous()
        root = outs[-1]
        assert root is not None
        coupling = root.view(arrays, rows + columns, -1)[:, :rows, rows:].contiguous()  # its ports: sources, grounds
        return cls(order, arrays, coupling, *((shares, reach, inverse) if keep else ([], [], [])))

    @torch.no_grad()
    def voltages(
        self, sources: Tensor, grounds: Tensor, injected: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return voltages inside, and the currents that injected ones drive into the grounds.

        Args:
            sources, grounds: (arrays, rows, K) and (arrays, columns, K) volts. injected: (arrays, rows, columns, K)
            amperes taken from each word node and fed into the bit node below.

        Returns:
            word_v, bit_v (arrays, rows, columns, K) and currents (arrays, columns, K), without those of the sources.
        """
        rows, columns, count = self.plan.rows, self.plan.columns, sources.shape[2]
        fed: list[Tensor] = []
        fed_steps: list[list[Tensor]] = [[] for _ in self.plan.forms]
        reached = sources.new_zeros(self.arrays, columns, count)
        if injected is not None:
            reached = self._accumulate(injected, fed, fed_steps)[:, 0, -columns:]
        word_v, bit_v = (sources.new_empty(self.arrays, rows * columns, count) for _ in range(2))
        ports: list[Tensor | None] = [None] * len(self.plan.forms)
        ports[-1] = torch.cat([sources, grounds], dim=1).unsqueeze(1)
        for number in reversed(range(len(self.plan.forms))):
            form, mine = self.plan.forms[number], ports[number]
            assert mine is not None
            outside = mine.reshape(-1, form.ports, count)
            inside = self.reach[number] @ outside
            v = torch.cat([inside + fed[number] if fed else inside, outside], dim=1)
            for child in form.children:
                part = v.view(self.arrays, form.instances, -1, count).index_select(2, child.place)
                self._hand_down(ports, child.form, child.instance, part)
            if form.tile is not None:
                state = tiles_torch.substitute(form.tile, v, self.shares[number], fed_steps[number])
                for nodes, target in ((form.tile.word, word_v), (form.tile.bit, bit_v)):
                    found = state.index_select(0, nodes).view(len(nodes), self.arrays, form.instances, count)
                    target.index_copy_(1, form.tile.cells, found.transpose(0, 1).reshape(self.arrays, -1, count))
            ports[number] = None
        shape = self.arrays, rows, columns, count
        return word_v.view(shape), bit_v.view(shape), reached

    def _hand_down(self, ports: list[Tensor | None], number: int, instance: Tensor, part: Tensor) -> None:
        """Write what belongs to ``instance`` of a form; every instance has one parent, so that all get written."""
        target = ports[number]
        if target is None:
            shape = self.arrays, self.plan.forms[number].instances, *part.shape[2:]
            target = ports[number] = part.new_empty(shape)
        target.index_copy_(1, instance, part)

    def _accumulate(self, injected: Tensor, fed: list[Tensor], fed_steps: list[list[Tensor]]) -> Tensor:
        """Hand currents fed in up to the array's ports; ``fed`` becomes M i_I, ``fed_steps`` i_k / s_k."""
        count = injected.shape[3]
        ports: list[Tensor] = []
        flat = injected.reshape(self.arrays, -1, count)
        for number, form in enumerate(self.plan.forms):
            units, n = self.arrays * form.instances, form.pivots + form.ports
            if (tile := form.tile) is not None:
                values = flat.index_select(1, tile.cells).view(self.arrays, -1, form.instances, count).transpose(0, 1)
                state, fed_steps[number] = tiles_torch.accumulate(tile, values, self.shares[number])
                current = state.index_select(0, tile.rest).transpose(0, 1)
            else:
                joined = injected.new_zeros(self.arrays, form.instances, n, count)
                for child in form.children:
                    part = ports[child.form].index_select(1, child.instance)
                    joined.index_copy_(2, child.place, part.add_(joined.index_select(2, child.place)))
                current = joined.view(units, n, count)
            inside = current[:, : form.pivots]
            fed.append(self.inverse[number] @ inside)
            outside = torch.baddbmm(current[:, form.pivots :], self.reach[number].mT, inside)
            ports.append(outside.view(self.arrays, form.instances, form.ports, count))
        return ports[-1]

    @torch.no_grad()
    def gradient(self, upstream: Tensor) -> Tensor:
        """Return (arrays, rows, columns) derivatives by the cells of sum(upstream * coupling)."""
        rows, columns = self.plan.rows, self.plan.columns
        gradient = upstream.new_empty(self.arrays, rows * columns)
        ports: list[Tensor | None] = [None] * len(self.plan.forms)
        size = self.plan.forms[-1].ports
        root = upstream.new_zeros(self.arrays, 1, size, size)
        root[:, 0, :rows, rows:] = upstream
        root[:, 0, rows:, :rows] = upstream.mT
        ports[-1] = root
        for number in reversed(range(len(self.plan.forms))):
            form, mine, x = self.plan.forms[number], ports[number], self.reach[number]
            assert mine is not None
            outer = mine.reshape(-1, form.ports, form.ports)
            y = x @ outer
            q = 0.5 * (x * y).sum(dim=2, keepdim=True)
            inner = torch.baddbmm(-(q + q.mT), y, x.mT)
            inner.diagonal(dim1=1, dim2=2).zero_()
            y -= q
            d = torch.cat([torch.cat([inner, y], dim=2), torch.cat([y.mT, outer], dim=2)], dim=1).flatten(1)
            for child in form.children:
                ends = len(child.place)
                part = d.view(self.arrays, form.instances, -1).index_select(2, child.pick)
                self._hand_down(ports, child.form, child.instance, part.view(self.arrays, -1, ends, ends))
            if (tile := form.tile) is not None:
                found = tiles_torch.differentiate(tile, d, self.shares[number]).index_select(0, tile.cell_slots)
                found = found.view(-1, self.arrays, form.instances).transpose(0, 1)
                gradient.index_copy_(1, tile.cells, found.reshape(self.arrays, -1))
            ports[number] = None
        return gradient.view(self.arrays, rows, columns)


def _join(form: Form, outs: list[Tensor | None], arrays: int) -> Tensor:
    """Return the fronts (units, n, n) of merges: the couplings of both children."""
    n = form.pivots + form.ports
    front: Tensor | None = None
    for child in form.children:
        out = outs[child.form]
        assert out is not None
        part = out[:, child.instance.unsqueeze(1), child.gather]
        front = part if front is None else front.add_(part)
    assert front is not None
    return front.view(arrays * form.instances, n, n)


def _invert(fronts: list[tuple[Tensor, int]]) -> list[Tensor]:
    """Return M (units, pivots, pivots) of fronts (units, n, n) with so many pivots each, all worked on together."""
    most, units = max(pivots for _, pivots in fronts), sum(len(front) for front, _ in fronts)
    first = fronts[0][0]
    w = first.new_zeros(units, most, most + 1)  # couplings among pivots; last, those to all ports together
    start = 0
    for front, pivots in fronts:
        mine = w[start : start + len(front), :pivots]
        mine[:, :, :pivots] = front[:, :pivots, :pivots]
        torch.sum(front[:, :pivots, pivots:], dim=2, out=mine[:, :, most])
        start += len(front)
    w[:, :, most] += LEAK_S
    totals = first.new_empty(most, units)
    for low in range(0, most, _PANEL):
        high = min(low + _PANEL, most)
        panel = torch.cat([w[:, low:high, low:high], w[:, low:high, high:].sum(dim=2, keepdim=True)], dim=2)
        for k in range(high - low):
            row, total = panel[:, k, k + 1 :], totals[low + k]
            torch.sum(row, dim=1, out=total)
            if k + 1 < high - low:
                share = row[:, :-1] / total.unsqueeze(1)
                panel[:, k + 1 :, k + 1 :].addcmul_(share.unsqueeze(2), row.unsqueeze(1))
        w[:, low:high, low:high] = panel[:, :, :-1]
        if high < most:
            s = totals[low:high].t().unsqueeze(2)
            rows = _lower_inverse(panel[:, :, :-1], s) @ w[:, low:high, high:]
            w[:, low:high, high:] = rows
            w[:, high:, high:].baddbmm_((rows[:, :, :-1] / s).mT, rows)
    lower = _lower_inverse(w[:, :, :-1], totals.t().unsqueeze(2))
    m = lower.mT @ (lower * reciprocal(totals).t().unsqueeze(2))
    parts = torch.split(m, [len(front) for front, _ in fronts])
    return [part[:, :pivots, :pivots] for part, (_, pivots) in zip(parts, fronts, strict=True)]


def _lower_inverse(c: Tensor, totals: Tensor) -> Tensor:
    """Return L^-1 >= 0 of L = I - f^T; f = c / totals, c above the diagonal is what each pivot had when it went."""
    minus_f = torch.triu(c, diagonal=1).div_(-totals)
    unit = torch.eye(c.shape[1], dtype=c.dtype, device=c.device).expand_as(minus_f)
    inverse: Tensor = torch.linalg.solve_triangular(minus_f.mT, unit, upper=False, unitriangular=True)
    return inverse
