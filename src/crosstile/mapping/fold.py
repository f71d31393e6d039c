"""Batch-norm folded into the layer before it: w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta.

Folding is checked by running: where the folded network does not give what the network gave (an output that is also used
elsewhere, say), the batch-norm stays digital.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crosstile.mapping.capture import Capture


def get_parent(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return (parent module, attribute) of a named module."""
    *path, leaf = name.split(".")
    parent = network
    for part in path:
        parent = parent.get_submodule(part)
    return parent, leaf


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
    beta = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias.detach()
    factor = gamma.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = torch.zeros_like(factor) if layer.bias is None else layer.bias.detach().double()
    weight = layer.weight.detach().double() * factor.reshape(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    shifted = (bias - norm.running_mean.double()) * factor + beta.double()
    layer.bias = nn.Parameter(shifted.to(layer.weight.dtype), requires_grad=False)


def fold_norms(network: nn.Module, captured: Capture, x: Tensor) -> list[str]:
    """Fold batch-norms in place and return their names; none when the outputs would change."""
    candidates = {call.name: call.norm for call in captured.layers.values() if call.norm is not None}
    modules = dict(network.named_modules())
    candidates = {
        layer: norm for layer, norm in candidates.items() if getattr(modules[norm], "running_mean", None) is not None
    }
    if not candidates or not isinstance(captured.output, Tensor):
        return []
    saved = []
    for layer_name, norm_name in candidates.items():
        layer, norm = modules[layer_name], modules[norm_name]
        saved.append((layer, layer.weight, layer.bias, norm_name, norm))
        _fold(layer, norm)
        parent, leaf = get_parent(network, norm_name)
        setattr(parent, leaf, nn.Identity())
    with torch.inference_mode():
        out = network(x)
    reference = captured.output
    tolerance = 1e-3 * float(reference.abs().max()) + 1e-6
    if isinstance(out, Tensor) and out.shape == reference.shape and float((out - reference).abs().max()) <= tolerance:
        return list(candidates.values())
    for layer, weight, bias, norm_name, norm in saved:
        layer.weight, layer.bias = weight, bias
        parent, leaf = get_parent(network, norm_name)
        setattr(parent, leaf, norm)
    return []
