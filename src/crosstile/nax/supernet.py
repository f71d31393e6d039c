"""The network with all choices in it: one convolution a layer, whose kernel is the mixture of all kernels.

A convolution is linear in its kernel, so that paths need not be computed one by one. With P the probabilities (kernels, arrays)
of a layer's choices, K_k the crop of the shared kernel to k x k, and (a, s, r) the effects of arrays,

    W' = sum_kx P(k, x) [ (1 - a_kx) K_k W + s_kx m_k e ],        y = conv(x, W') + (sum_kx P(k, x) r_kx) rms(y) e'

which is the chosen path where P is 1 at one place. A 3 x 3 kernel is thus the middle of the 7 x 7 one. Batch-norms use the
statistics of the batch while searching, since those of a mixture belong to no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.mapping.modules import replace_modules
from crosstile.nax.nonideal import Effects
from crosstile.nax.space import Architecture, NaxSpace, Slot


class ChoiceLayer(nn.Module):
    """Stands in for a convolution or a linear layer; ``choice`` is set before each pass."""

    def __init__(self, source: nn.Conv2d | nn.Linear, slot: Slot, effects: tuple[Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        self.weight, self.bias = source.weight, source.bias
        self.slot = slot
        self.stride = source.stride if isinstance(source, nn.Conv2d) else None
        for name, table in zip(("loss", "spread", "noise"), effects, strict=True):
            self.register_buffer(name, table, persistent=False)
        self.choice: Tensor | None = None
        self.generator: torch.Generator | None = None
        """Of the errors; None: none at all."""

    def crop(self, kernel: int) -> Tensor:
        """Return the middle of the kernel."""
        if self.slot.linear:
            return self.weight
        cut = (self.weight.shape[-1] - kernel) // 2
        side = self.weight.shape[-1] - cut
        return self.weight[:, :, cut:side, cut:side]

    def _mixture(self, choice: Tensor) -> Tensor:
        """Return W', cut to the largest kernel that has a share."""
        shares = choice.sum(dim=1)
        used = [n for n, share in enumerate(shares.tolist()) if share != 0 or choice.requires_grad]
        largest = self.slot.kernels[max(used)]
        like = self.crop(largest)
        drawn = None
        if self.generator is not None:
            drawn = torch.randn(like.shape, generator=self.generator).to(like.device)
        total = torch.zeros_like(like)
        loss, spread = self.get_buffer("loss"), self.get_buffer("spread")
        for n in used:
            kernel, part = self.slot.kernels[n], choice[n]
            cropped = self.crop(kernel)
            pad = 0 if self.slot.linear else (largest - kernel) // 2
            added = (part * (1.0 - loss[n])).sum() * cropped
            if drawn is not None:
                reach = cropped.detach().flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (cropped.dim() - 1))
                inner = drawn if pad == 0 else drawn[:, :, pad:-pad, pad:-pad]
                added = added + (part * spread[n]).sum() * reach * inner
            total = total + (F.pad(added, (pad, pad, pad, pad)) if pad else added)
        return total

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs for a batch."""
        assert self.choice is not None
        choice = self.choice.to(x.device)
        weight = self._mixture(choice)
        if self.stride is None:
            out = F.linear(x, weight)
        else:
            out = F.conv2d(x, weight, None, self.stride, weight.shape[-1] // 2)
        if self.generator is not None:
            level = (choice * self.get_buffer("noise")).sum() * out.detach().square().mean().sqrt()
            out = out + level * torch.randn(out.shape, generator=self.generator).to(out.device)
        return out if self.bias is None else out + (self.bias if self.stride is None else self.bias.reshape(-1, 1, 1))


class GatedBlock(nn.Module):
    """A block that may be left out: g block(x) + (1 - g) x."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.gate: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixture of the block's output and its input."""
        assert self.gate is not None
        gate = self.gate.to(x.device)
        if not gate.requires_grad and float(gate) in (0.0, 1.0):
            out: Tensor = self.block(x) if float(gate) else x
            return out
        mixed: Tensor = gate * self.block(x) + (1.0 - gate) * x
        return mixed


class SuperNet(nn.Module):
    """All networks of a space at once."""

    def __init__(self, space: NaxSpace, effects: Effects, *, seed: int) -> None:
        super().__init__()
        self.space = space
        largest = {slot.name: max(slot.kernels) for slot in space.slots if not slot.linear}
        arrays = {slot.name: slot.arrays[0] for slot in space.slots}
        network = space.build(Architecture(largest, arrays), seed=seed)
        modules = dict(network.named_modules())
        tables = zip(*(effects.tables(name) for name in ("loss", "spread", "noise")), strict=True)
        self.choices: dict[str, ChoiceLayer] = {}
        for slot, (loss, spread, noise) in zip(space.slots, tables, strict=True):
            source = modules[slot.name]
            assert isinstance(source, (nn.Conv2d, nn.Linear))
            self.choices[slot.name] = ChoiceLayer(source, slot, (loss, spread, noise))
        self.gates = {name: GatedBlock(modules[name]) for name in space.blocks_to_skip}
        network = replace_modules(network, {modules[name]: layer for name, layer in self.choices.items()})
        self.network = replace_modules(network, {gate.block: gate for gate in self.gates.values()})

    def forward(
        self,
        x: Tensor,
        probabilities: Sequence[Tensor],
        keep: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return scores of a mixture of networks.

        Args:
            x: images. probabilities: (kernels, arrays) of each layer. keep: of blocks that may be skipped; default: all.
            generator: draws the errors of arrays, on the CPU; None: a network without them.
        """
        for (name, layer), choice in zip(self.choices.items(), probabilities, strict=True):
            layer.choice = choice.to(layer.weight.dtype)
            layer.generator = generator
            assert name == layer.slot.name
        for name, gate in self.gates.items():
            gate.gate = torch.ones(()) if keep is None else keep[name].float()
        scores: Tensor = self.network(x)
        return scores

    def plain(self, architecture: Architecture) -> nn.Module:
        """Return the network of an architecture with the weights that it has here."""
        network = self.space.build(architecture, seed=0)
        own = {name.replace(".block.", "."): value for name, value in self.network.state_dict().items()}
        state = {}
        for name in network.state_dict():
            layer = self.choices.get(name.rpartition(".")[0])
            cropped = layer is not None and name.endswith(".weight")
            assert layer is not None or not cropped
            value = (
                layer.crop(architecture.kernels.get(layer.slot.name, 1)) if layer is not None and cropped else own[name]
            )
            state[name] = value.detach().clone()
        network.load_state_dict(state)
        return network.eval()
