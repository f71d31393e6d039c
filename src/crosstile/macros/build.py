"""A network becomes the same int8 network on one macro, used for tile after tile. The original is not touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crosstile.crossbar.encode import quantise_weights
from crosstile.errors import ModelError
from crosstile.macros.engine import Conversions, Macro
from crosstile.macros.layers import MacroConv2d, MacroLayer, MacroLinear
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.mapping.bypass import check_nothing_bypasses
from crosstile.mapping.calibrate import input_scale
from crosstile.mapping.capture import LayerCall, capture, run_hooked
from crosstile.mapping.fold import fold_norms
from crosstile.mapping.modules import frozen_copy, replace_modules
from crosstile.mapping.replace import check_batch
from crosstile.nn.layer import ReadState
from crosstile.specs.parts import ScaleSpec, WeightSpec

_RELU_SAMPLES = 8
_MAX_VECTORS = 2048


class MacroNetwork(nn.Module):
    """A network whose layers compute on a macro.

    Each call draws its noise anew, numbered by sample, so that a sample's result does not depend on its batch.
    """

    def __init__(self, network: nn.Module, layers: dict[str, MacroLayer], spec: ChargeDomainSpec, seed: int) -> None:
        super().__init__()
        self.network, self.layers, self.spec = network, layers, spec
        self.state = ReadState(seed=seed)
        for layer in layers.values():
            layer.state = self.state

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; advances the sample counter by the batch."""
        self.state.batch = x.shape[0]
        for layer in self.layers.values():
            layer.calls = 0
        out: Tensor = self.network(x)
        self.state.first_sample += x.shape[0]
        return out

    def program(self, trial: int, *, seed: int | None = None) -> None:
        """Take macro number ``trial``; the same seed and trial give the same macro."""
        self.state.trial = trial
        if seed is not None:
            self.state.seed = seed
        macro = Macro(self.spec, seed=self.state.seed, trial=trial)
        for layer in self.layers.values():
            layer.program(macro)
        self.seek(0)

    def seek(self, sample: int) -> None:
        """Number the next sample ``sample``."""
        self.state.first_sample = sample

    def set_exact(self, exact: bool) -> None:
        """Compute in exact integers, as a digital int8 processor does, instead of on the macro."""
        for layer in self.layers.values():
            layer.exact = exact

    def reset_counts(self) -> None:
        """Start counting conversions anew."""
        for layer in self.layers.values():
            layer.counts = Conversions()


def map_to_macro(
    model: nn.Module,
    spec: ChargeDomainSpec,
    calibration: Tensor,
    *,
    seed: int = 0,
    digital: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> MacroNetwork:
    """Map a trained network to a macro.

    Args:
        model: any ``nn.Module`` in which products of weights are ``nn.Linear`` or ``nn.Conv2d`` called as modules.
        spec: the macro.
        calibration: (batch, ...) inputs that set the scales of activations and the converter's range.
        seed: of everything random.
        digital: patterns of names of layers that stay digital, in floating point.
        progress: called with a few words at each step.

    Returns:
        a new network on macro number 0.

    Raises:
        ModelError: a product of weights would bypass the macro, or a layer is of a kind that it does not take.
        DataError: the calibration data does not fit.
    """
    say = progress or (lambda _: None)
    check_batch(calibration, "calibration data")
    network, x = frozen_copy(model, calibration)
    say("capture")
    seen = capture(network, x[:8], digital)
    if fold_norms(network, seen, x[:8]):
        seen = capture(network, x[:8], digital)
    check_nothing_bypasses(network, x[:2], digital, planned=[call.module for call in seen.layers.values()])
    mapped = {call.module: _macro_layer(call, spec) for call in seen.layers.values()}
    followed = _followed_by_relu(network, list(mapped), x[:_RELU_SAMPLES])
    say("calibrate")
    _calibrate(network, mapped, followed, x)
    network = replace_modules(network, mapped)
    result = MacroNetwork(network, {layer.name: layer for layer in mapped.values()}, spec, seed)
    say("program")
    result.program(0)
    return result


def _macro_layer(call: LayerCall, spec: ChargeDomainSpec) -> MacroLayer:
    module, shape = call.module, call.shape()
    if not isinstance(module, (nn.Linear, nn.Conv2d)):
        raise ModelError(
            f"layer {call.name!r} is a {type(module).__name__}; macros take nn.Linear and nn.Conv2d. Keep it digital "
            f"(--digital {call.name})."
        )
    weight = module.weight.detach().double().cpu().numpy()
    flat = weight.reshape(weight.shape[0], -1)
    if not np.isfinite(flat).all():
        raise ModelError(f"layer {call.name!r}: weights hold values that are not finite.")
    rule = WeightSpec(bits=spec.weight_bits, cell_bits=1, encoding="twos_complement")
    integers, scale = quantise_weights(flat, rule)
    whole = integers.astype(np.int64).reshape(weight.shape[0], shape.channels, shape.kernel_area)
    if isinstance(module, nn.Linear):
        return MacroLinear(call.name, shape, whole, scale, module.bias, spec)
    layer = MacroConv2d(call.name, shape, whole, scale, module.bias, spec)
    layer.take_geometry(module)
    return layer


def _followed_by_relu(network: nn.Module, layers: list[nn.Module], x: Tensor) -> set[nn.Module]:
    """Return the layers whose negative outputs are used nowhere: with ReLU put behind, the network gives the same.

    Found by running, so that ReLU counts in whatever form it is written. A layer that has no negative output on these
    samples is not among them, since nothing is shown.
    """
    with torch.inference_mode():
        before = network(x)
    found = set()
    for layer in layers:
        negative: list[bool] = []

        def hook(_: nn.Module, __: Any, out: Tensor, negative: list[bool] = negative) -> Tensor:
            negative.append(bool((out < 0).any()))
            return out.clamp(min=0)

        handle = layer.register_forward_hook(hook)
        try:
            with torch.inference_mode():
                after = network(x)
        finally:
            handle.remove()
        if all(negative) and isinstance(after, Tensor) and torch.equal(after, before):
            found.add(layer)
    return found


def _calibrate(network: nn.Module, mapped: dict[nn.Module, MacroLayer], followed: set[nn.Module], x: Tensor) -> None:
    """Set input scales, fused ReLUs and converter ranges while the digital network runs on the calibration data."""
    done: set[str] = set()

    def hook(module: nn.Module, args: Any, _: Any) -> None:
        layer = mapped[module]
        if layer.name in done:  # a layer that is called again keeps what its first call set
            return
        done.add(layer.name)
        values, spec = args[0].detach(), layer.spec
        layer.input_scale = input_scale(values, spec.input_bits, ScaleSpec(), signed=True, layer=layer.name)
        layer.fused = module in followed and layer.fits_with_bias
        if spec.converter.range == "calibrated":
            layer.span = _span(layer, values)

    run_hooked(network, x, dict.fromkeys(mapped, hook))


def _span(layer: MacroLayer, values: Tensor) -> float:
    """Return the sum that the calibrated share of the layer's sums does not exceed; a code stands for 1 at least."""
    assert isinstance(layer, (MacroConv2d, MacroLinear))
    spec, q = layer.spec, layer.scale.quantise(layer.as_feature_map(values)[:32])
    inputs = layer.make_inputs(q)
    vectors = inputs.vectors(q)
    sample = vectors[:: max(1, len(vectors) // _MAX_VECTORS)][:_MAX_VECTORS].double().numpy()
    bias, outputs = layer.bias_integers().astype(np.float64), layer.shape.outputs
    seen: list[npt.NDArray[np.float64]] = []
    for piece in layer.pieces:
        sums = sample[:, layer.vector_rows(piece, 1)] @ layer.piece_weights(piece).astype(np.float64)
        if layer.fused:
            sums = np.maximum(sums + bias[piece.group * outputs : (piece.group + 1) * outputs], 0.0)
        seen.append(np.abs(sums).reshape(-1))
    joined = np.concatenate(seen)
    joined = joined[joined > 0]
    reach = float(np.percentile(joined, spec.converter.percentile)) if joined.size else 0.0
    codes = 2**spec.converter.bits if layer.fused else 2 ** (spec.converter.bits - 1)
    return min(max(reach, float(codes)), max(spec.full_span, float(codes)))
