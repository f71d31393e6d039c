"""Inputs of a layer as integers, with gradients for the inputs and for their scale.

    x' = s clamp(rint(x / s), -Q_n, Q_p)

    dx'/dx = 1 inside, 0 where it clips
    dx'/ds = rint(x / s) - x / s inside, -Q_n or Q_p where it clips

This is the learned step size of S. K. Esser et al., Learned step size quantization, ICLR 2020, with their gradient scale
1 / sqrt(N Q_p) for N inputs a sample. Here the logarithm of the scale is what is trained: s = s_0 exp(t), so that a step
changes any scale by a share of itself, and no scale becomes negative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crosstile.nn.scale import InputScale


class InputQuantiser(nn.Module):
    """Quantises as :class:`crosstile.nn.layer.InputScale` does; to the same integers."""

    log_gain: Tensor | None

    def __init__(self, calibrated: InputScale, *, learn: bool) -> None:
        super().__init__()
        self.calibrated = calibrated
        self.register_parameter("log_gain", nn.Parameter(torch.zeros(())) if learn else None)

    @property
    def scale(self) -> InputScale:
        """The scale in force."""
        start = self.calibrated
        if self.log_gain is None:
            return start
        learnt = start.scale * math.exp(float(self.log_gain.detach()))
        return InputScale(float(torch.tensor(learnt, dtype=torch.float32)), start.signed, start.bits)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs as the arrays apply them, s q, and the integers q themselves, without gradient."""
        scale = self.scale
        low, high = (-scale.largest if scale.signed else 0), scale.largest
        if self.log_gain is None:
            held = x.mul(1.0 / scale.scale).clamp(low, high)
            integers = scale.quantise(x.detach())
            return (held + (integers - held).detach()) * scale.scale, integers
        share = 1.0 / math.sqrt(max(1, x[0].numel()) * high)
        log_gain = self.log_gain * share + (self.log_gain * (1.0 - share)).detach()
        # The factor is 1 in value: the scale is rounded once, in the property, for mapping and training alike.
        step = scale.scale * torch.exp(log_gain - log_gain.detach())
        held = (x / step).clamp(low, high)
        integers = scale.quantise(x.detach())
        return (held + (integers - held).detach()) * step, integers
