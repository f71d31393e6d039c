"""Kirchhoff's laws for a crossbar with resistive wires, solved exactly and once for all inputs.

With linear cells the crossbar is a linear network: I = V G_eff, where G_eff (rows, columns) depends on cells and wires
alone (:mod:`crosstile.circuits.wires` draws the network). G_eff is found by nested dissection
(:mod:`crosstile.circuits.dissection`) in arithmetic without subtraction (:mod:`crosstile.circuits.elimination`), which
keeps every entry to a relative error of some 1e-13, whatever the ratio of wires to cells. Without any wire
resistance it is the cells' own conductance, bit for bit. CUDA tensors are worked on where they are
(:mod:`crosstile.circuits.factor_torch`), all others by compiled code on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crosstile.circuits.factor import Factor
from crosstile.circuits.factor_torch import CHUNK_CELLS, TorchFactor
from crosstile.circuits.wires import Topology, Wires
from crosstile.errors import UsageError
from crosstile.parallel import for_each

MAX_SIZE = 4096
"""Largest number of rows or columns; 1024 x 1024 takes seconds and about 2 GB."""
_CHUNK_CELLS = 2**14
"""Cells that are eliminated together on the CPU: few enough to stay in the cache, enough to fill vector registers."""


def effective_conductance(
    g_s: Tensor,
    *,
    word_line_ohm: float,
    bit_line_ohm: float,
    driver_ohm: float = 0.0,
    sense_ohm: float = 0.0,
    topology: Topology = "standard",
) -> Tensor:
    """Return the matrix that a crossbar with resistive wires multiplies with.

    Args:
        g_s: (..., rows, columns) cell conductances, siemens, >= 0; any floating type, computed in float64.
        word_line_ohm, bit_line_ohm: resistance of one segment of a word line and of a bit line, ohms.
        driver_ohm, sense_ohm: output resistance of a driver and input resistance of a sense amplifier, ohms. All four
        may be 0 or infinite. topology: see :mod:`crosstile.circuits.wires`.

    Returns:
        (..., rows, columns) float64 siemens: column currents are ``v @ g_eff``. Differentiable by ``g_s``.

    Raises:
        UsageError: a shape, conductance or resistance that is not possible.
    """
    return with_wires(g_s, Wires(word_line_ohm, bit_line_ohm, driver_ohm, sense_ohm, topology))


def with_wires(g_s: Tensor, wires: Wires) -> Tensor:
    """Return :func:`effective_conductance` for a :class:`Wires`."""
    g_s = check_conductance(g_s)
    if wires.ideal or g_s.numel() == 0:
        return g_s.clone()
    mirrored = wires.topology == "same_side"  # sensed above row 0: the standard network upside down
    cells = g_s.flip(-2) if mirrored else g_s
    result: Tensor = _Solve.apply(cells.reshape(-1, *cells.shape[-2:]), wires)  # type: ignore[no-untyped-call]
    result = result.reshape(g_s.shape)
    return result.flip(-2) if mirrored else result


def check_conductance(g_s: Tensor) -> Tensor:
    """Return ``g_s`` in float64, or raise :class:`UsageError` with the first cell that is not possible."""
    if not isinstance(g_s, Tensor):
        raise UsageError(f"g_s: a torch.Tensor (..., rows, columns) is wanted, found {type(g_s).__name__}.")
    if g_s.dim() < 2 or not g_s.is_floating_point():
        raise UsageError(
            f"g_s: a floating tensor (..., rows, columns) is wanted, found {tuple(g_s.shape)} of {g_s.dtype}."
        )
    if max(g_s.shape[-2:]) > MAX_SIZE or min(g_s.shape[-2:]) < 1:
        raise UsageError(
            f"g_s: arrays of 1 to {MAX_SIZE} rows and columns can be solved, found {tuple(g_s.shape[-2:])}."
        )
    wrong = ~(torch.isfinite(g_s) & (g_s >= 0))
    if bool(wrong.any()):
        where = tuple(int(k) for k in wrong.nonzero()[0])
        raise UsageError(
            f"g_s: {int(wrong.sum())} cells are negative, infinite or not a number, the first at {where} with "
            f"{float(g_s[where]):.4g} S; conductances are finite and at least 0 S."
        )
    return g_s.to(torch.float64)


def _in_torch(device: torch.device) -> bool:
    """Whether tensors of ``device`` are worked on where they are; elsewhere, compiled code on the CPU does it."""
    return device.type == "cuda"


def _factor(g_s: Tensor, wires: Wires, *, keep: bool) -> Factor | TorchFactor:
    if _in_torch(g_s.device):
        return TorchFactor.of(g_s.detach(), wires, keep=keep)
    return Factor.of(g_s.detach().cpu().contiguous().numpy(), wires, keep=keep)


def _gradient(factor: Factor | TorchFactor, upstream: Tensor) -> Tensor:
    if isinstance(factor, TorchFactor):
        return factor.gradient(upstream.detach())
    return torch.from_numpy(factor.gradient(upstream.detach().cpu().contiguous().numpy()))


def _voltages(factor: Factor | TorchFactor, sources: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Return volts on word and bit lines; the grounds of all ``columns`` are at 0 V."""
    grounds = sources.new_zeros(factor.arrays, columns, sources.shape[2])
    if isinstance(factor, TorchFactor):
        return factor.voltages(sources.detach(), grounds)[:2]
    word_v, bit_v, _ = factor.voltages(sources.detach().cpu().contiguous().numpy(), grounds.cpu().numpy())
    return torch.from_numpy(word_v), torch.from_numpy(bit_v)


def _chunk(g_s: Tensor, inputs: int = 1) -> int:
    """Return how many of (arrays, rows, columns) are eliminated together."""
    cells = CHUNK_CELLS if _in_torch(g_s.device) else _CHUNK_CELLS
    return max(1, cells // (g_s.shape[1] * g_s.shape[2] * max(1, inputs)))


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g_s: Tensor, wires: Wires) -> Tensor:
        keep = ctx.needs_input_grad[0]
        factors = for_each(torch.split(g_s, _chunk(g_s)), lambda cells: _factor(cells, wires, keep=keep))
        ctx.factors = factors if keep else []
        return torch.cat([torch.as_tensor(factor.coupling) for factor in factors]).to(g_s.device)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        sizes = [factor.arrays for factor in ctx.factors]
        pairs = list(zip(ctx.factors, torch.split(upstream[0], sizes), strict=True))
        return torch.cat(for_each(pairs, lambda pair: _gradient(*pair))).to(upstream[0].device), None


@dataclass(frozen=True)
class CrossbarSolution:
    """Currents and voltages of crossbars, one row of ``v`` after the other."""

    currents_a: Tensor
    """(..., K, columns) amperes into the sense amplifiers."""
    word_v: Tensor
    """(..., K, rows, columns) volts on the word line above each cell."""
    bit_v: Tensor
    """(..., K, rows, columns) volts on the bit line below each cell."""
    g_s: Tensor
    """(..., rows, columns) the cells."""
    v: Tensor
    """(..., K, rows) the inputs, volts."""
    effective_conductance_s: Tensor
    """(..., rows, columns)."""

    @property
    def cell_v(self) -> Tensor:
        """(..., K, rows, columns) volts across each cell."""
        return self.word_v - self.bit_v

    @property
    def cell_power_w(self) -> Tensor:
        """(..., K, rows, columns) watts that each cell turns to heat."""
        return self.cell_v.square() * self.g_s.unsqueeze(-3)

    @property
    def source_power_w(self) -> Tensor:
        """(..., K) watts that the sources deliver into cells and wires: each source's current times its voltage."""
        into = (self.g_s.unsqueeze(-3) * self.cell_v).sum(dim=-1)  # what a word line's cells take, its source delivers
        return (into * self.v).sum(dim=-1)

    @property
    def wire_power_w(self) -> Tensor:
        """(..., K) watts that drivers, wires and sense amplifiers turn to heat: all that the cells do not."""
        return self.source_power_w - self.cell_power_w.sum(dim=(-2, -1))


def solve_crossbar(g_s: Tensor, v: Tensor, wires: Wires) -> CrossbarSolution:
    """Return the currents and all voltages of crossbars for given inputs.

    Args:
        g_s: (..., rows, columns) siemens. v: (..., K, rows) volts, leading dimensions as of ``g_s`` (or none: the same
        inputs for every array). wires: resistances and topology.

    A node that nothing connects to a source or to ground takes 0 V.

    Raises:
        UsageError: shapes that do not fit, or values that are not possible.
    """
    cells, inputs = check_conductance(g_s), check_inputs(v, g_s)
    mirrored = wires.topology == "same_side"
    number = math.prod(cells.shape[:-2])  # said outright: without inputs, -1 would be ambiguous
    flat, drive = cells.reshape(number, *cells.shape[-2:]), inputs.reshape(number, *inputs.shape[-2:])
    if mirrored:
        flat, drive = flat.flip(-2), drive.flip(-1)
    word, bit, matrix = [], [], []
    step = _chunk(flat, drive.shape[1])
    for part, rows_v in zip(torch.split(flat, step), torch.split(drive, step), strict=True):
        factor = _factor(part, wires, keep=True)
        word_v, bit_v = _voltages(factor, rows_v.transpose(1, 2), flat.shape[2])
        word.append(word_v)
        bit.append(bit_v)
        matrix.append(torch.as_tensor(factor.coupling))

    def shaped(parts: list[Tensor]) -> Tensor:
        joined = torch.cat(parts).permute(0, 3, 1, 2)
        joined = joined.flip(-2) if mirrored else joined
        return joined.reshape(*cells.shape[:-2], drive.shape[1], *cells.shape[-2:]).to(g_s.device)

    effective = torch.cat(matrix)
    effective = (effective.flip(-2) if mirrored else effective).reshape(cells.shape).to(g_s.device)
    return CrossbarSolution(inputs @ effective, shaped(word), shaped(bit), cells, inputs, effective)


def check_inputs(v: Tensor, g_s: Tensor) -> Tensor:
    """Return ``v`` in float64 for every array of ``g_s``, or raise :class:`UsageError`."""
    rows = g_s.shape[-2]
    if not isinstance(v, Tensor) or v.dim() < 2 or v.shape[-1] != rows:
        found = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
        raise UsageError(f"v: a tensor (..., inputs, {rows}) of volts is wanted, found {found}.")
    if not bool(torch.isfinite(v).all()):
        raise UsageError(f"v: {int((~torch.isfinite(v)).sum())} voltages are not finite.")
    leading = g_s.shape[:-2]
    if v.shape[:-2] not in (leading, torch.Size()):
        raise UsageError(f"v: leading dimensions {tuple(leading)} or none are wanted, found {tuple(v.shape[:-2])}.")
    return v.to(torch.float64).expand(*leading, *v.shape[-2:])
