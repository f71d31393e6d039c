"""The usual approximations of wire resistance, to be compared with the exact answer; no simulation uses them.

Let W_jk be the resistance that the paths from a word line's source to its columns j and k share, and B_im what the paths
from rows i and m of a bit line to ground share. Kirchhoff's laws for linear cells are then, exactly,

    u_ij = v_i - sum_k W_jk c_ik         b_ij = sum_m B_im c_mj         c_ij = g_ij (u_ij - b_ij)         I_j = sum_i c_ij

with c the currents of the cells. The approximations begin with those of ideal wires, c = g v. As matrices (I = V G; gW and
Bg are matrix products, all else is taken entry by entry):

    ideal          G = g                               error O(R)
    first order    G = g (1 - gW - Bg)                 both drops from c = g v, once; error O(R^2)
    one sweep      G = g (1 - gW) (1 - Bg)             u first, c anew, then b; error O(R^2)

Further sweeps go on from the voltages of the last: the backward/forward sweep of distribution networks (D. Shirmohammadi et
al., IEEE Trans. Power Syst. 3, 753 (1988), 10.1109/59.192932). Sweeps need not converge: the largest eigenvalue of W is
about 0.4 N^2 R for a line of N segments, and where that times the mean conductance of the cells exceeds a bound near 1
(0.6 for log-uniform cells over two decades), each sweep makes the error larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstile.circuits.kirchhoff import check_conductance, check_inputs
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError


@dataclass(frozen=True)
class Sweeps:
    """What some sweeps came to."""

    currents_a: Tensor
    """(..., K, columns) amperes."""
    changes: tuple[float, ...]
    """Largest change of a cell's voltage in each sweep, over the largest input."""

    @property
    def diverges(self) -> bool:
        """True when the last sweep changed more than the one before: more sweeps are not better."""
        return len(self.changes) > 1 and not self.changes[-1] < self.changes[-2] and self.changes[-1] > 1e-12


def ideal(g_s: Tensor) -> Tensor:
    """Return (..., rows, columns) siemens: the cells, as if wires had no resistance."""
    return check_conductance(g_s).clone()


def first_order(g_s: Tensor, wires: Wires) -> Tensor:
    """Return (..., rows, columns) siemens: the exact matrix to first order in the wires' resistance.

    The wires carry what they would carry if they were ideal; the drops that follow are taken off the cells' voltages, once.
    Entries can be negative where drops are large.

    Args:
        g_s: (..., rows, columns) siemens. wires: resistances, finite, and topology.

    Raises:
        UsageError: a conductance that is not possible, or an infinite resistance.
    """
    g = check_conductance(g_s)
    word, bit = _shared_ohm(g, wires)
    return g * (1 - g @ word - bit @ g)


def one_sweep(g_s: Tensor, wires: Wires) -> Tensor:
    """Return (..., rows, columns) siemens: the matrix of a single sweep of :func:`sweeps`; arguments as :func:`first_order`."""
    g = check_conductance(g_s)
    word, bit = _shared_ohm(g, wires)
    return g * (1 - g @ word) * (1 - bit @ g)


def sweeps(g_s: Tensor, v: Tensor, wires: Wires, count: int) -> Sweeps:
    """Return currents after ``count`` sweeps along all word lines, then all bit lines.

    A sweep sums the cells' currents along each word line, takes the drops off its voltages, recomputes the currents, does the
    same along each bit line, and recomputes the currents. Simulators that iterate like this add
    under-relaxation to converge a little further; here is none.

    Args:
        g_s: (..., rows, columns) siemens. v: (..., K, rows) volts, leading dimensions as of ``g_s``, or none. wires:
        resistances, finite, and topology. count: of sweeps, 0 (ideal wires) or more.

    Raises:
        UsageError: shapes or values that are not possible, or an infinite resistance.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(f"count: a number of sweeps of 0 or more is wanted, found {count!r}.")
    g, inputs = check_conductance(g_s), check_inputs(v, g_s)
    word, bit = _shared_ohm(g, wires)
    cells, driven = g.unsqueeze(-3), inputs.unsqueeze(-1)
    word_v = driven.expand(*inputs.shape, g.shape[-1])
    bit_v = torch.zeros_like(word_v)
    largest = float(inputs.abs().max()) if inputs.numel() else 0.0
    changes = []
    for _ in range(count):
        before = word_v - bit_v
        word_v = driven - (cells * before) @ word
        bit_v = bit @ (cells * (word_v - bit_v))
        change = float((word_v - bit_v - before).abs().max()) if before.numel() else 0.0
        changes.append(change / largest if largest else 0.0)
    return Sweeps((cells * (word_v - bit_v)).sum(dim=-2), tuple(changes))


def _shared_ohm(g: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Return W (columns, columns) and B (rows, rows) in ohms, for any topology."""
    for name in ("word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"):
        if math.isinf(getattr(wires, name)):
            raise UsageError(
                f"{name}: approximations need finite resistances; effective_conductance takes infinite ones."
            )
    rows, columns = g.shape[-2:]
    word = _line(columns, wires.word_line_ohm, wires.driver_ohm, both=wires.topology == "driven_both_sides")
    bit = _line(rows, wires.bit_line_ohm, wires.sense_ohm, both=wires.topology == "sensed_both_sides")
    if wires.topology != "same_side":
        bit = bit.flip(0, 1)  # grounded behind the last row
    return word.to(g.device), bit.to(g.device)


def _line(count: int, segment: float, end: float, *, both: bool) -> Tensor:
    """Return (count, count) volts at one node per ampere into another, of a line held at its beginning or at both ends."""
    path = end + segment * torch.arange(1, count + 1, dtype=torch.float64)
    near, far = torch.minimum(path, path[:, None]), torch.maximum(path, path[:, None])
    if not both:
        return near
    total = 2 * end + segment * (count + 1)
    return near * (total - far) / total if total > 0 else near
