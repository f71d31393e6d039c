"""The choices of a search: their logits, and the ways to draw from them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from crosstile.nax.sampling import gumbel, straight_through, two_path
from crosstile.nax.space import Architecture, NaxSpace


class Choices(nn.Module):
    """The logits of all choices."""

    def __init__(self, space: NaxSpace) -> None:
        super().__init__()
        self.space = space
        self.layers = nn.ParameterList([torch.zeros(len(slot.kernels), len(slot.arrays)) for slot in space.slots])
        self.blocks = nn.ParameterList([torch.zeros(2) for _ in space.blocks_to_skip])

    def probabilities(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return softmax of the logits, for layers and that blocks are there."""
        layers = [logits.flatten().softmax(dim=0).reshape(logits.shape) for logits in self.layers]
        return layers, {n: b.softmax(dim=0)[0] for n, b in zip(self.space.blocks_to_skip, self.blocks, strict=True)}

    def drawn(
        self, sampling: str, temperature: float, draws: torch.Generator
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return drawn choices, 0 or 1, with gradients; ``sampling``: ``gumbel`` or ``two_path``."""

        def one(logits: Tensor) -> Tensor:
            if sampling == "gumbel":
                return gumbel(logits, temperature, draws, hard=True)
            return two_path(logits, draws)

        layers = [one(logits) for logits in self.layers]
        return layers, {n: one(b)[0] for n, b in zip(self.space.blocks_to_skip, self.blocks, strict=True)}

    def taken(self, draws: torch.Generator) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        """Return choices drawn by their probabilities, and the logarithm of the probability of having drawn them."""
        chance = torch.zeros(())

        def one(logits: Tensor) -> Tensor:
            nonlocal chance
            logs = logits.flatten().log_softmax(dim=0)
            index = int(torch.multinomial(logs.detach().double().exp(), 1, generator=draws))
            chance = chance + logs[index]
            return straight_through(torch.zeros(logits.numel()), index).reshape(logits.shape)

        layers = [one(logits) for logits in self.layers]
        keep = {n: one(b)[0] for n, b in zip(self.space.blocks_to_skip, self.blocks, strict=True)}
        return layers, keep, chance

    def even(self, draws: torch.Generator, *, skip: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return choices drawn evenly; with ``skip`` half of the blocks that may be left out are, else all are there."""
        layers = []
        for logits in self.layers:
            index = int(torch.randint(logits.numel(), (), generator=draws))
            layers.append(straight_through(torch.zeros(logits.numel()), index).reshape(logits.shape))
        there = {
            name: not (skip and float(torch.rand((), generator=draws)) < 0.5) for name in self.space.blocks_to_skip
        }
        return layers, {name: torch.tensor(float(kept)) for name, kept in there.items()}

    def likeliest(self) -> Architecture:
        """Return the architecture with the largest probability of each layer."""
        kernels, arrays = {}, {}
        for slot, logits in zip(self.space.slots, self.layers, strict=True):
            k, x = divmod(int(logits.detach().argmax()), len(slot.arrays))
            arrays[slot.name] = slot.arrays[x]
            if not slot.linear:
                kernels[slot.name] = slot.kernels[k]
        pairs = zip(self.space.blocks_to_skip, self.blocks, strict=True)
        return Architecture(kernels, arrays, tuple(n for n, b in pairs if float(b[1].detach()) > float(b[0].detach())))

    def entropies(self) -> list[Tensor]:
        """Return the entropy of each layer's choices in nats, with its gradient."""
        return [-(p * p.clamp_min(1e-30).log()).sum() for p in self.probabilities()[0]]

    def entropy(self) -> float:
        """Return the mean entropy of the layers with a choice, over its largest value."""
        pairs = zip(self.layers, self.entropies(), strict=True)
        found = [float(nats.detach()) / math.log(p.numel()) for p, nats in pairs if p.numel() > 1]
        return float(np.mean(found)) if found else 0.0


def random_architecture(space: NaxSpace, rng: np.random.Generator) -> Architecture:
    """Return an architecture drawn evenly."""
    kernels = {slot.name: int(rng.choice(slot.kernels)) for slot in space.slots if not slot.linear}
    arrays = {slot.name: int(rng.choice(slot.arrays)) for slot in space.slots}
    return Architecture(kernels, arrays, tuple(b for b in space.blocks_to_skip if rng.random() < 0.5))
