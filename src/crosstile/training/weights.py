"""From the parameters of a layer to the weights that arrays hold, with gradients straight through the rounding.

    w' = w gamma / sqrt(var + eps)        the batch-norm behind the layer, folded as mapping folds it
    Q(w') = s_w rint(w' / s_w)            dQ/dw' = 1: the largest weight sets the scale, so that nothing clips

Statistics of batch-norms stay as they are; gamma and beta are trained through the fold. The straight-through estimator is
that of Y. Bengio, N. Leonard, A. Courville, arXiv:1308.3432 (2013).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crosstile.crossbar.encode import quantise_weights
from crosstile.specs.parts import WeightSpec

Mappable = nn.Linear | nn.Conv1d | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d


def norm_factor(norm: Norm) -> Tensor:
    """Return (outputs,) gamma / sqrt(var + eps) in double precision."""
    assert norm.running_var is not None
    spread = torch.sqrt(norm.running_var.double() + norm.eps)
    return (torch.ones_like(spread) if norm.weight is None else norm.weight.double()) / spread


def folded(source: Mappable, norm: Norm | None) -> tuple[Tensor, Tensor | None]:
    """Return (outputs, rows) weights and (outputs,) bias as mapping would fold them, to the bit, with gradients."""
    weight, bias = source.weight.flatten(1), source.bias
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    factor = norm_factor(norm)
    start = torch.zeros_like(factor) if bias is None else bias.double()
    beta = torch.zeros_like(factor) if norm.bias is None else norm.bias.double()
    shifted = (start - norm.running_mean.double()) * factor + beta
    return (weight.double() * factor[:, None]).to(weight.dtype), shifted.to(weight.dtype)


def quantised(weight: Tensor, spec: WeightSpec) -> Tensor:
    """Return (outputs, rows) weights on the chip's grid of weights; the gradient passes straight through."""
    integers, scale = quantise_weights(weight.detach().double().cpu().numpy(), spec)
    rounded = torch.from_numpy(integers * scale[:, None]).to(weight)
    return weight + (rounded - weight).detach()


@torch.no_grad()
def clip_weights(source: Mappable, norm: Norm | None, spec: WeightSpec, sigmas: float) -> None:
    """Clip folded weights to so many standard deviations of what shares a scale: an output's, or the layer's.

    The largest weight sets the scale of the others; without a few outliers all of them use more of a cell's window.
    """
    weight, _ = folded(source, norm)
    values = weight.double()
    if spec.scale == "per_channel":
        limit = sigmas * values.std(dim=1, correction=0)
    else:
        limit = sigmas * values.std(correction=0).expand(len(values))
    if norm is not None:
        factor = norm_factor(norm).abs()
        limit = torch.where(factor > 0, limit / torch.where(factor > 0, factor, 1.0), torch.inf)
    bound = torch.where(limit > 0, limit, torch.inf).to(weight.dtype).reshape(-1, *[1] * (source.weight.dim() - 1))
    source.weight.copy_(source.weight.clamp(-bound, bound))
