"""A network in training: the user's own, whose layers compute as the chip would.

The parameters that are trained are those of a copy of the network as it was given, so that what comes out is a state dict for
that very network. Beside it stands a second network of the same parameters, in which batch-norms are folded and
layers are :class:`crosstile.training.layers.TrainedLayer`; this is the one that runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from crosstile.crossbar.program import generator
from crosstile.errors import ModelError
from crosstile.mapping.calibrate import set_converter
from crosstile.mapping.capture import capture, run_hooked
from crosstile.mapping.modules import evaluation_copy, replace_modules
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.nn.layer import MappedLayer
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.training.layers import TrainedLayer
from crosstile.training.options import TrainOptions
from crosstile.training.weights import Mappable, Norm

_PROBE = 8
_LARGEST = 1e18


def float_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU, in single precision and evaluation mode.

    Raises:
        ModelError: it cannot be copied.
    """
    return evaluation_copy(model).float()


def apply_ranges(mapped: MappedNetwork, ranges: dict[str, InputScale], calibration: Tensor, trial: int = 0) -> None:
    """Give a mapped network learnt scales of its inputs, set its converters by them, and programme chip ``trial``.

    Args:
        ranges: by layer. calibration: (batch, ...) inputs, as for mapping.

    Raises:
        ModelError: a layer has no range.
    """
    missing = [name for name in mapped.layers if name not in ranges]
    if missing:
        raise ModelError(f"no learnt range for layer {missing[0]!r}; the ranges belong to another network.")

    def hook(module: nn.Module, args: Any, _: Any) -> None:
        layer = cast(MappedLayer, module)
        if layer.name in waiting:
            waiting.remove(layer.name)
            layer.input_scale = ranges[layer.name]
            set_converter(layer, layer.as_feature_map(args[0].detach()))

    waiting = set(mapped.layers)
    mapped.state.digital, before = True, mapped.state.digital
    try:
        run_hooked(mapped.network, calibration, dict.fromkeys(mapped.layers.values(), hook))
    finally:
        mapped.state.digital = before
    mapped.program(trial)


class TrainingNetwork:
    """The network, its layers in training, and the simulated chip that they are programmed into."""

    def __init__(
        self,
        model: nn.Module,
        chip: ChipSpec,
        calibration: Tensor,
        options: TrainOptions,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Map ``model``, a network from :func:`float_copy`; its own parameters are trained from now on.

        Raises:
            ModelError: the network cannot be mapped, or has no parameter to train.
        """
        self.original, self.chip, self.options = model, chip, options
        self.calibration, self.device = calibration, torch.device(options.device)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ModelError("the network has no parameter that requires a gradient; nothing can be trained.")
        self.mapped = self._map(progress)
        self._folded = self.mapped.folded
        seen = capture(model, calibration[:_PROBE], options.digital)
        shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
        network = copy.deepcopy(model, shared)  # other modules, the same parameters
        modules, twins = dict(model.named_modules()), dict(network.named_modules())
        self.layers: dict[str, TrainedLayer] = {}
        instead: dict[nn.Module, nn.Module] = {}
        for name, call in seen.layers.items():
            norm = call.norm if call.norm in self._folded else None
            self.layers[name] = instead[twins.get(name, network)] = TrainedLayer(
                self.mapped.layers[name],
                cast(Mappable, modules.get(name, model)),
                None if norm is None else cast(Norm, modules[norm]),
                forward=options.forward,
                noise_scale=options.noise_scale,
                learn_ranges=options.learn_ranges,
            )
            if norm is not None:
                instead[twins[norm]] = nn.Identity()
        self.network = replace_modules(network, instead).eval()
        self.network.to(self.device)

    def parameters(self) -> list[nn.Parameter]:
        """Return the network's own parameters that can be trained."""
        return [p for p in self.original.parameters() if p.requires_grad]

    def range_parameters(self) -> dict[str, nn.Parameter]:
        """Return the logarithms of learnt ranges by layer; empty where ranges are calibrated."""
        found = {name: layer.quantiser.log_gain for name, layer in self.layers.items()}
        return {name: cast(nn.Parameter, gain) for name, gain in found.items() if gain is not None}

    def ranges(self) -> dict[str, InputScale]:
        """Return the scale of each layer's inputs."""
        return {name: layer.quantiser.scale for name, layer in self.layers.items()}

    def _map(self, progress: Callable[[str], None] | None = None) -> MappedNetwork:
        options = self.options
        return map_network(
            self.original, self.chip, self.calibration, seed=options.seed, digital=options.digital, progress=progress
        )

    def recalibrate(self, progress: Callable[[str], None] | None = None) -> MappedNetwork:
        """Map the network as it is now: what a chip would be given if training ended here.

        Ranges of inputs and converters are calibrated anew (learnt ranges are kept), as mapping does for the final weights.
        """
        mapped = self._map(progress)
        if mapped.folded != self._folded:
            raise ModelError(
                f"batch-norms that can be folded changed during training, from {self._folded} to {mapped.folded}; the network "
                "leaves the region where mapping is stable: lower --lr."
            )
        if self.options.learn_ranges:
            apply_ranges(mapped, self.ranges(), self.calibration)
        self.mapped = mapped
        for name, layer in self.layers.items():
            layer.recalibrated(mapped.layers[name])
        return mapped

    def program(self, trial: int) -> None:
        """Write the present weights into chip ``trial``."""
        self.mapped.state.trial = trial
        conditions, between = None, self.options.temperatures_k
        if between is not None:
            warm_k = float(generator(self.options.seed, trial, "training temperature").uniform(*between))
            conditions = self.chip.conditions.model_copy(update={"temperature_k": warm_k})
        for layer in self.layers.values():
            layer.program(self.options.seed, trial, conditions)
        if self.options.forward == "exact":
            self.mapped.to(self.device)

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Return the network's scores with gradients; ``step`` names the draws of the reads."""
        state = self.mapped.state
        state.batch, state.first_sample = len(x), step * len(x)
        for layer in self.layers.values():
            layer.mapped.calls = 0
            layer.reseed(self.options.seed, "training reads", step)
        scores: Tensor = self.network(x)
        return scores

    @property
    def diverged(self) -> bool:
        """True when a parameter is not finite, or too large for the product with a batch-norm's factor to be."""
        return not all(bool(p.detach().abs().max() < _LARGEST) for p in self.parameters() if p.numel())

    def clip(self) -> None:
        """Clip weights, where options ask for it."""
        if self.options.clip_sigma is not None:
            for layer in self.layers.values():
                layer.clip(self.options.clip_sigma)
