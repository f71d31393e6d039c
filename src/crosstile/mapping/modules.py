"""Copies of networks, and modules in the place of others."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from crosstile.errors import ModelError
from crosstile.mapping.fold import get_parent


def evaluation_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU in evaluation mode.

    Raises:
        ModelError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model).to("cpu").eval()
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"the network cannot be copied: {error}") from error


def frozen_copy(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a copy that no gradient reaches, and a batch for it; both in single precision if the batch is floating point.

    Raises:
        ModelError: it cannot be copied.
    """
    network, batch = evaluation_copy(model), x.cpu()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return (network.float(), batch.float()) if batch.is_floating_point() else (network, batch)


def replace_modules(network: nn.Module, instead: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put modules in the place of others wherever these are used, under each of their names; returns the network."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if module in instead:
            if not name:
                return instead[module]
            parent, leaf = get_parent(network, name)
            setattr(parent, leaf, instead[module])
    return network
