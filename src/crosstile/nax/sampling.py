"""Choices drawn from logits, with gradients.

    gumbel:    p = softmax((a + g) / tau), g = -ln(-ln u);    hard: the largest entry is 1, the gradient that of p
    two_path:  two paths drawn by softmax(a), without putting back; one of them by their share, gradient that of the shares

Gumbel-softmax: E. Jang et al., arXiv:1611.01144; C. Maddison et al., arXiv:1611.00712 (2016). Two paths: H. Cai et al.,
ProxylessNAS, arXiv:1812.00332 (2018).
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel(logits: Tensor, temperature: float, generator: torch.Generator, *, hard: bool = False) -> Tensor:
    """Return probabilities of the shape of ``logits``, all of whose entries are one choice."""
    flat = logits.flatten()
    uniform = (
        torch.rand(flat.shape, generator=generator, dtype=torch.float64).clamp(1e-300, 1.0 - 1e-16).to(flat.device)
    )
    drawn = ((flat.double() - torch.log(-torch.log(uniform))) / temperature).softmax(dim=0).to(flat.dtype)
    if hard:
        drawn = straight_through(drawn, int(drawn.detach().argmax()))
    return drawn.reshape(logits.shape)


def two_path(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return 1 for one of two paths that were drawn and 0 elsewhere; gradients reach the two paths' logits."""
    flat = logits.flatten()
    if flat.numel() == 1:
        return torch.ones_like(logits)
    chances = flat.detach().double().softmax(dim=0).cpu()
    # Paths that rounding left without a chance can still be the second.
    pair = torch.multinomial(chances.clamp_min(1e-12), 2, replacement=False, generator=generator).to(flat.device)
    shares = flat[pair].softmax(dim=0)
    taken = int(torch.multinomial(shares.detach().double().cpu(), 1, generator=generator))
    gates = straight_through(shares, taken)
    return torch.zeros_like(flat).scatter(0, pair, gates).reshape(logits.shape)


def straight_through(probabilities: Tensor, index: int) -> Tensor:
    """Return 1 at ``index`` and 0 elsewhere, with the gradient of ``probabilities``."""
    exact = torch.zeros_like(probabilities)
    exact[index] = 1.0
    return exact + probabilities - probabilities.detach()
