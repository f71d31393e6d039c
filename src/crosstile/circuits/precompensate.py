"""Conductances for which the crossbar *with* its wires is the wanted matrix.

Minimise  F(G) = 1/2 |G_eff(G) - s W|^2  over  g_min <= G <= g_max  by projected gradients through the solve, with
the loss of each cell's own path as preconditioner:

    G <- clip(G - t (dF/dG) / q^2),      q_ij = G_eff,ij / G_ij at G = W.

A far cell at g_max can pass less than a near one, whatever it is set to; the common scale s makes room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstile.circuits.kirchhoff import check_conductance, with_wires
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError

_QUANTILE = 0.02
"""Share of the high cells that the scale need not make room for; they stay at g_max."""


@dataclass(frozen=True)
class Precompensated:
    """Cells to programme, and how well they do."""

    g_s: tuple[Tensor, ...]
    """Siemens, one tensor for each of the wanted ones."""
    scale: float
    """s: the arrays with their wires are s times the wanted matrix."""
    error_before: float
    """Root mean square of G_eff - s W over that of s W, for the cells as wanted, each column's best scale taken out."""
    error: float
    """The same for the cells to programme."""
    iterations: int


def reachable_scale(wanted_s: Sequence[Tensor], wires: Wires, g_max_s: float) -> float:
    """Return the scale at which nearly every cell that is wanted high can be reached with ``g_max_s``."""
    ratios = []
    for wanted in wanted_s:
        high = wanted >= 0.5 * g_max_s
        if bool(high.any()):
            ratios.append(((with_wires(wanted, wires) / wanted) * (g_max_s / wanted))[high])
    if not ratios:
        return 1.0
    joined = torch.cat(ratios)
    rank = max(1, round(_QUANTILE * joined.numel()))
    return min(1.0, float(joined.kthvalue(rank).values))


def precompensate(
    wanted_s: Sequence[Tensor],
    wires: Wires,
    *,
    g_min_s: float,
    g_max_s: float,
    scale: float | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 40,
) -> Precompensated:
    """Return conductances whose effective matrix is ``scale`` times the wanted one, as nearly as the window allows.

    Args:
        wanted_s: (..., rows, columns) wanted conductances of arrays that share one scale, siemens.
        g_min_s, g_max_s: window of the cells. scale: default :func:`reachable_scale`. tolerance: stop when an iteration
        lowers the squared error by less than this share.

    Raises:
        UsageError: an empty window, a wanted conductance outside it, or wires that let nothing through.
    """
    if not 0 <= g_min_s < g_max_s:
        raise UsageError(f"the window must open upwards from 0 S or more, found {g_min_s:.4g} to {g_max_s:.4g} S.")
    wanted = [check_conductance(w) for w in wanted_s]
    for w in wanted:
        if bool((w > g_max_s * (1 + 1e-12)).any()) or bool((w < g_min_s * (1 - 1e-12)).any()):
            raise UsageError(
                f"wanted conductances run from {float(w.min()):.4g} to {float(w.max()):.4g} S, outside the window of "
                f"{g_min_s:.4g} to {g_max_s:.4g} S."
            )
    s = reachable_scale(wanted, wires, g_max_s) if scale is None else scale
    if s <= 0:
        raise UsageError(
            "the wires let no current through; nothing can be compensated. Check for infinite resistances."
        )
    found, before, after, norm, most = [], 0.0, 0.0, 0.0, 0
    for w in wanted:
        g, iterations = _descend(w, s, wires, g_min_s, g_max_s, tolerance, max_iterations)
        first = with_wires(w, wires)
        fit = (first * w).sum(dim=-2, keepdim=True) / first.square().sum(dim=-2, keepdim=True).clamp_min(1e-300)
        before += float((s * (fit * first - w)).square().sum())
        after += float((with_wires(g, wires) - s * w).square().sum())
        norm += float((s * w).square().sum())
        most = max(most, iterations)
        found.append(g)
    norm = max(norm, 1e-300)
    return Precompensated(tuple(found), s, (before / norm) ** 0.5, (after / norm) ** 0.5, most)


def _descend(
    wanted: Tensor, scale: float, wires: Wires, low: float, high: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, int]:
    start = wanted.clamp(min=max(low, 1e-6 * high))
    own = (with_wires(start, wires) / start).clamp_min(1e-3)
    g = (scale * wanted / own).clamp(low, high)
    step = torch.ones((*wanted.shape[:-2], 1, 1), dtype=torch.float64, device=wanted.device)
    loss, gradient = _loss(g, scale * wanted, wires)
    finished = loss == 0  # an array that is done stays as it is: its result does not depend on its neighbours
    for iteration in range(1, max_iterations + 1):
        trial = (g - step * gradient / own.square()).clamp(low, high)
        new_loss, new_gradient = _loss(trial, scale * wanted, wires)
        better = (new_loss < loss) & ~finished
        g, gradient = torch.where(better, trial, g), torch.where(better, new_gradient, gradient)
        gain = torch.where(better, loss - new_loss, 0.0) / loss.clamp_min(1e-300)
        loss = torch.where(better, new_loss, loss)
        finished = finished | (better & (gain < tolerance)) | (step < 1e-3)
        step = torch.where(better, (1.3 * step).clamp_max(1.5), 0.5 * step)
        if bool(finished.all()):
            return g, iteration
    return g, max_iterations


def _loss(g: Tensor, goal: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Return the squared error of each array (..., 1, 1) and its gradient."""
    with torch.inference_mode(False), torch.enable_grad():  # callers may be calibrating without gradients
        cells, goal = g.detach().clone().requires_grad_(), goal.clone()
        loss = 0.5 * (with_wires(cells, wires) - goal).square().sum(dim=(-2, -1), keepdim=True)
        (gradient,) = torch.autograd.grad(loss.sum(), cells)
    return loss.detach(), gradient
