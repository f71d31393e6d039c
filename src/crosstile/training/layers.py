"""A layer in training: the forward pass is the programmed chip's, the backward pass the plain layer's.

    fast:   y = x' (Q(w) + k D)^T + k n + b          x' the quantised inputs, Q(w) the quantised weights, k ``noise_scale``
    exact:  y = chip(x) + x' (W - W_c)^T + b - b_c

D = W_hw - Q(w_c) is what the chip made of the weights w_c that were programmed into it; it stays until the next chip is
programmed, while w goes on being trained. n is read noise, normal with the variance that the arrays have for these inputs.
``exact`` runs the simulator, chip(x), converters and all; W = Q(w) + D, W_c and b_c are weights and bias as programmed:
where w is still w_c, y is the chip's answer. Gradients of x reach it through the disturbed weights; those of w pass
straight through (dW/dw = 1), with wires, too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.program import derive_key
from crosstile.nn.conv import MappedConv1d, MappedConv2d
from crosstile.nn.layer import MappedLayer
from crosstile.specs.conditions import Conditions
from crosstile.training.held import Held, HeldPack, held_by
from crosstile.training.inputs import InputQuantiser
from crosstile.training.weights import Mappable, Norm, clip_weights, folded, quantised


class TrainedLayer(nn.Module):
    """Stands in for one ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d`` and the batch-norm folded into it.

    The parameters are those of the layers that it stands for.
    """

    def __init__(
        self,
        mapped: MappedLayer,
        source: Mappable,
        norm: Norm | None,
        *,
        forward: str = "fast",
        noise_scale: float = 1.0,
        learn_ranges: bool = False,
    ) -> None:
        super().__init__()
        self.source, self.norm = source, norm
        self.exact, self.noise_scale = forward == "exact", noise_scale
        self.quantiser = InputQuantiser(mapped.scale, learn=learn_ranges)
        self.generator: torch.Generator | None = None
        self._hardware: tuple[MappedLayer, Held | None, tuple[Tensor, ...]] = (mapped, None, ())

    @property
    def mapped(self) -> MappedLayer:
        """The layer on the simulated chip. Not a submodule: it has no part in parameters and state."""
        return self._hardware[0]

    @property
    def held(self) -> Held | None:
        """What the present chip holds; None before it is programmed."""
        return self._hardware[1]

    def recalibrated(self, mapped: MappedLayer) -> None:
        """Take a layer that was mapped anew; the chip has to be programmed again."""
        self._hardware = (mapped, None, ())
        if self.quantiser.log_gain is None:
            self.quantiser.calibrated = mapped.scale

    def program(self, seed: int, trial: int, conditions: Conditions | None = None) -> None:
        """Write the present weights into chip ``trial``, which is read under ``conditions`` (default: the chip's)."""
        mapped = self.mapped
        with torch.no_grad():
            weight, bias = folded(self.source, self.norm)
            mapped.input_scale = self.quantiser.scale
            mapped.write_weights(weight.detach().double().cpu().numpy(), bias)
            mapped.program(seed, trial, conditions)
            held = held_by(mapped, weight.device)
            ideal = self._blocks(quantised(weight, mapped.chip.weights), held)
            self._hardware = mapped, held, tuple(p.matrix - w for p, w in zip(held.packs, ideal, strict=True))

    def reseed(self, *parts: object) -> None:
        """Name the draws of the reads to come."""
        device = self.source.weight.device
        self.generator = torch.Generator(device).manual_seed(derive_key(*parts, self.mapped.name) >> 1)

    def clip(self, sigmas: float) -> None:
        """Clip the weights to so many standard deviations."""
        clip_weights(self.source, self.norm, self.mapped.chip.weights, sigmas)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the chip gives for ``x``, a batch as the layer takes it."""
        mapped, held, deviations = self._hardware
        if held is None:
            raise RuntimeError(f"layer {mapped.name!r} has not been programmed")
        weight, bias = folded(self.source, self.norm)
        stored = self._blocks(quantised(weight, mapped.chip.weights), held)
        applied, integers = self.quantiser(mapped.as_feature_map(x))
        scale = 1.0 if self.exact else self.noise_scale
        weights = [w + scale * d for w, d in zip(stored, deviations, strict=True)]
        out = self._product(applied, weights, held)
        if held.power is not None and not self.exact and scale > 0:
            out = out + self._read_noise(integers, held) * (scale * self.quantiser.scale.scale)
        offset = None if held.offset is None else scale * held.offset
        out = _plus(_plus(out, bias), offset)
        if not self.exact:
            return self._as_output(out, x)
        with torch.no_grad():
            mapped.input_scale = self.quantiser.scale
            plain = self._product(applied, [pack.matrix for pack in held.packs], held)
            rest = mapped(x) - self._as_output(_plus(_plus(plain, held.bias), held.offset), x)
        answer: Tensor = self._as_output(out, x) + rest
        return answer

    # ------------------------------------------------------------------ parts

    def _blocks(self, weight: Tensor, held: Held) -> list[Tensor]:
        """Return the (pack outputs, pack rows) matrices of (outputs, rows) weights, groups along the diagonal."""
        outputs, blocks, first = self.mapped.shape.outputs, [], 0
        for pack in held.packs:
            parts = weight[first : first + pack.groups * outputs]
            first += len(parts)
            blocks.append(_diagonal(parts, outputs))
        return blocks

    def _product(self, values: Tensor, matrices: list[Tensor], held: Held) -> Tensor:
        """Return the outputs of all packs for a feature map: (B, outputs, height, width), or (n, outputs)."""
        parts = [self._pack_product(values, matrix, pack) for matrix, pack in zip(matrices, held.packs, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _pack_product(self, values: Tensor, matrix: Tensor, pack: HeldPack) -> Tensor:
        mapped, driven = self.mapped, values[:, pack.channels]
        if not isinstance(mapped, (MappedConv1d, MappedConv2d)):
            return F.linear(driven, matrix)
        kernel = matrix.reshape(len(matrix), -1, *mapped.kernel)
        return F.conv2d(driven, kernel, None, mapped.stride, mapped.padding, mapped.dilation)

    @torch.no_grad()
    def _read_noise(self, integers: Tensor, held: Held) -> Tensor:
        """Return noise of the outputs in units of the inputs' scale, normal with the variance of the arrays."""
        assert held.power is not None
        power = held.power[integers.abs().nan_to_num_(0.0).long()]  # NaN is told by the loss
        parts = []
        for pack in held.packs:
            outputs = len(pack.matrix)
            assert pack.variance is not None  # the cells of all arrays have the same effects
            spread = self._pack_product(power, pack.variance, pack).clamp_min(0.0).sqrt()
            drawn = spread * torch.randn(spread.shape, generator=self.generator, device=spread.device)
            noise = drawn[:, :outputs]
            if pack.unit_factor is not None:
                noise = noise + torch.einsum("nu...,uo->no...", drawn[:, outputs:], pack.unit_factor)
            parts.append(noise * pack.noise_scale.reshape(-1, *[1] * (noise.dim() - 2)))
        return torch.cat(parts, dim=1)

    def _as_output(self, out: Tensor, x: Tensor) -> Tensor:
        """Give the outputs the shape that the layer gives for ``x``."""
        if isinstance(self.mapped, MappedConv2d):
            return out.squeeze(0) if x.dim() == 3 else out
        if isinstance(self.mapped, MappedConv1d):
            return out.squeeze(2).squeeze(0) if x.dim() == 2 else out.squeeze(2)
        return out.reshape(*x.shape[:-1], out.shape[-1])


def _diagonal(weight: Tensor, outputs: int) -> Tensor:
    """Return (groups * outputs, rows) weights as blocks along the diagonal of one matrix."""
    groups, rows = len(weight) // outputs, weight.shape[1]
    if groups == 1:
        return weight
    eye = torch.eye(groups, dtype=weight.dtype, device=weight.device)
    blocks = weight.reshape(groups, outputs, 1, rows) * eye.reshape(groups, 1, groups, 1)
    return blocks.reshape(len(weight), -1)


def _plus(out: Tensor, bias: Tensor | None) -> Tensor:
    """Add (outputs,) to outputs in dimension 1."""
    return out if bias is None else out + bias.reshape(-1, *[1] * (out.dim() - 2))
