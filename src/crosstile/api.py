"""Cost of a network, with or without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosstile.cost.estimate import estimate as _estimate_plans
from crosstile.cost.report import CostReport
from crosstile.mapping.plan import plan_layer

if TYPE_CHECKING:
    from torch import nn

    from crosstile.mapping.replace import MappedNetwork
    from crosstile.specs.chip import ChipSpec


def estimate(
    network: MappedNetwork | nn.Module,
    chip: ChipSpec | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    digital: Sequence[str] = (),
) -> CostReport:
    """Estimate energy, latency and area of one inference.

    Args:
        network: a mapped network, or any ``nn.Module`` together with ``chip`` and ``input_shape``.
        chip: the chip; taken from a mapped network.
        input_shape: shape of one sample, (channels, height, width) or (features,).
        digital: patterns of names of layers that stay digital.

    No data is needed: inputs are taken as stated in each layer's ``energy_basis``. The sign of a layer's
    inputs is taken from a mapped network; otherwise the first layer's are signed and the others' are what a
    run on noise shows.

    Raises:
        CrosstileError: the network has nothing to map, does not run on ``input_shape``, or has products of
            weights that would bypass the arrays.
    """
    from crosstile.errors import UsageError
    from crosstile.mapping.replace import MappedNetwork

    if isinstance(network, MappedNetwork):
        return _estimate_plans(network.plans(), network.chip)
    if chip is None or input_shape is None:
        raise UsageError("estimate() of a network that is not mapped needs chip and input_shape.")
    import torch

    from crosstile.mapping.bypass import check_nothing_bypasses
    from crosstile.mapping.capture import capture

    x = torch.randn((1, *input_shape), generator=torch.Generator().manual_seed(0))
    seen = capture(network, x, digital)
    check_nothing_bypasses(network, x, digital, planned=[call.module for call in seen.layers.values()])
    return _estimate_plans([plan_layer(call.shape(), chip) for call in seen.layers.values()], chip)
