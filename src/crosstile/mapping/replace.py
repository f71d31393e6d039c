"""``map``: a network becomes the same network on arrays. The original is not touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crosstile.errors import DataError, ModelError
from crosstile.mapping.bypass import check_nothing_bypasses
from crosstile.mapping.calibrate import input_scale, set_converter
from crosstile.mapping.capture import Capture, LayerCall, capture, run_hooked
from crosstile.mapping.fold import fold_norms
from crosstile.mapping.modules import frozen_copy, replace_modules
from crosstile.mapping.plan import LayerPlan
from crosstile.nn.conv import MappedConv1d, MappedConv2d
from crosstile.nn.layer import MappedLayer, ReadState
from crosstile.nn.linear import MappedLinear
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions


class MappedNetwork(nn.Module):
    """A network whose linear and convolutional layers compute on arrays.

    Calling it reads the arrays: with read noise, each call gives new draws, numbered by sample, so that a
    sample's result does not depend on its batch. :meth:`program` writes another chip; :meth:`seek` goes back
    to a sample.
    """

    def __init__(self, network: nn.Module, layers: dict[str, MappedLayer], chip: ChipSpec, seed: int) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self.chip, self.state = chip, ReadState(seed=seed)
        self.folded: list[str] = []
        self.digital: tuple[str, ...] = ()
        for layer in layers.values():
            layer.state = self.state

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; advances the sample counter by the batch.

        Raises:
            ModelError: torch was told to compute float32 products with fewer bits, which would round exact sums.
        """
        if torch.get_float32_matmul_precision() != "highest":
            raise ModelError(
                f"torch computes float32 products with {torch.get_float32_matmul_precision()!r} precision, which rounds "
                "the sums of arrays; call torch.set_float32_matmul_precision('highest')."
            )
        self.state.batch = x.shape[0]
        for layer in self.layers.values():
            layer.calls = 0
        out: Tensor = self.network(x)
        self.state.first_sample += x.shape[0]
        return out

    def program(
        self,
        trial: int,
        *,
        seed: int | None = None,
        conditions: Conditions | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Write chip number ``trial``; the same seed and trial give the same chip.

        ``conditions`` (default: the chip's) are those under which it is calibrated and read until :meth:`age`.
        """
        self._check(conditions)
        self.state.trial = trial
        if seed is not None:
            self.state.seed = seed
        for name, layer in self.layers.items():
            layer.program(self.state.seed, trial, conditions)
            if progress is not None:
                progress(name)
        self.seek(0)

    def age(self, conditions: Conditions, *, recalibrate: bool = False) -> None:
        """Look at the present chip under other conditions: its cells are the same, aged or warmed.

        ``recalibrate`` fits the gain of each output again, which takes back what all cells of a column do alike.
        """
        self._check(conditions)
        for layer in self.layers.values():
            layer.age(self.state.seed, self.state.trial, conditions, recalibrate=recalibrate)
        self.seek(0)

    def _check(self, conditions: Conditions | None) -> None:
        (conditions or self.chip.conditions).check_arrays({n: layer.plan.arrays for n, layer in self.layers.items()})

    def seek(self, sample: int) -> None:
        """Number the next sample ``sample``: noise depends on this number and on nothing else of the batch."""
        self.state.first_sample = sample

    def plans(self) -> list[LayerPlan]:
        """Return the layers' plans in the order of execution."""
        return [layer.plan for layer in self.layers.values()]


def mapped_layer(call: LayerCall, chip: ChipSpec) -> MappedLayer:
    """Return the layer of ``call`` on arrays of its own, with the fields that the chip has for it."""
    chip = chip.for_layer(call.name)
    module, shape = call.module, call.shape()
    assert isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    weight = module.weight.detach().double().cpu().numpy()
    weight = weight.reshape(weight.shape[0], shape.channels, shape.kernel_area)
    if isinstance(module, nn.Linear):
        return MappedLinear(call.name, shape, weight, module.bias, chip)
    kind = MappedConv2d if isinstance(module, nn.Conv2d) else MappedConv1d
    return kind(call.name, shape, weight, module.bias, chip, module)


def check_batch(x: Tensor, what: str) -> None:
    """Raise :class:`DataError` for an empty batch or values that are not finite."""
    if x.dim() < 2 or x.shape[0] == 0:
        raise DataError(f"{what}: a batch (samples first) is wanted, found shape {tuple(x.shape)}.")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise DataError(f"{what}: {int((~torch.isfinite(x)).sum())} values are NaN or infinite; clean the data first.")


def map_network(
    model: nn.Module,
    chip: ChipSpec,
    calibration: Tensor,
    *,
    seed: int = 0,
    digital: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
    make_layer: Callable[[LayerCall, ChipSpec], MappedLayer] = mapped_layer,
) -> MappedNetwork:
    """Map a trained network to the arrays of a chip.

    Args:
        model: any ``nn.Module`` in which products of weights are ``nn.Linear``, ``nn.Conv1d`` or
        ``nn.Conv2d`` called as modules. chip: the chip. calibration: (batch, ...) inputs that set scales and
        converter ranges; a hundred or so are enough. seed: of everything random. digital: patterns of names
        of layers that stay digital. progress: called with a few words at each step. make_layer: how a layer comes onto arrays.

    Returns:
        a new network, programmed as chip number 0. The original is not touched.

    Raises:
        ModelError: a matrix product of weights would bypass the arrays, or a layer is never called.
        DataError: the calibration data does not fit.
    """
    say = progress or (lambda _: None)
    check_batch(calibration, "calibration data")
    network, x = frozen_copy(model, calibration)
    say("capture")
    seen = capture(network, x[:8], digital)
    chip.check_layers(seen.layers)
    folded = fold_norms(network, seen, x[:8])
    if folded:
        seen = capture(network, x[:8], digital)
    mapped = {call.module: make_layer(call, chip) for call in seen.layers.values()}
    _calibrate(network, seen, mapped, x, say)
    arrays = 0
    for layer in mapped.values():
        layer.first_array = arrays
        arrays += layer.plan.arrays
    result = MappedNetwork(
        replace_modules(network, mapped), {layer.name: layer for layer in mapped.values()}, chip, seed
    )
    result.folded, result.digital = folded, tuple(digital)
    say("program")
    result.program(0, progress=lambda name: say(f"program {name}"))
    say("check")
    check_nothing_bypasses(result, x[:2], digital=[f"network.{pattern}" for pattern in digital])
    result.seek(0)
    for layer in result.layers.values():
        layer.reset_counts()
    return result


def _calibrate(
    network: nn.Module,
    seen: Capture,
    mapped: dict[nn.Module, MappedLayer],
    x: Tensor,
    say: Callable[[str], None],
) -> None:
    """Set input scales and converter ranges while the digital network runs on the calibration data."""

    done: set[str] = set()

    def hook(module: nn.Module, args: Any, _: Any) -> None:
        layer = mapped[module]
        if layer.name in done:  # a layer that is called again keeps the scale of its first call
            return
        done.add(layer.name)
        values = args[0].detach()
        signed = bool((values < 0).any()) or seen.layers[layer.name].signed_inputs
        if signed != layer.shape.signed_inputs:
            seen.layers[layer.name].signed_inputs = signed
            layer.reshape(seen.layers[layer.name].shape())
        inputs = layer.chip.inputs
        layer.input_scale = input_scale(values, inputs.bits, inputs.scale, signed=signed, layer=layer.name)
        set_converter(layer, layer.as_feature_map(values))
        say(f"calibrate {layer.name}")

    run_hooked(network, x, dict.fromkeys(mapped, hook))
