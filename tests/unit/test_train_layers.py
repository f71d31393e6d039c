"""Layers in training: forward as the simulator, backward as the plain layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.circuits.nodal import nodal_effective_conductance
from crosstile.crossbar.encode import quantise_weights
from crosstile.crossbar.program import generator
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_cell, load_chip
from crosstile.training.inputs import InputQuantiser
from crosstile.training.layers import TrainedLayer
from crosstile.training.network import TrainingNetwork, float_copy
from crosstile.training.options import TrainOptions
from crosstile.training.weights import clip_weights, folded

VARIATION = {"kind": "variation", "distribution": "normal", "sigma": {"window": "5 %"}}
STUCK = {"kind": "stuck_at", "on_rate": 0.05, "off_rate": 0.1}
READ_NOISE = {"kind": "read_noise", "sigma": {"window": "3 %"}}
WIRES = {"word_line": "3 ohm", "bit_line": "2 ohm"}
CHIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "ideal cells": ("reram-8b", {"cell__effects": ()}),
    "variation": ("reram-8b", {}),
    "per tensor": ("reram-8b", {"weights__scale": "per_tensor"}),
    "stuck": ("reram-8b", {"cell__effects": (STUCK,)}),
    "offset": ("isaac", {"cell__effects": (VARIATION,)}),
    "two's complement": ("isaac", {"weights__encoding": "twos_complement", "cell__effects": (VARIATION,)}),
    "continuous": ("analog-8b", {"cell__effects": (VARIATION, STUCK)}),
    "wires": ("reram-8b", {"array__wires": WIRES, "cell__effects": (VARIATION,)}),
    "wires, fitted": (
        "reram-8b", {"array__wires": WIRES, "compensation__outputs": "gain_offset", "compensation__rows": "by_current"}
    ),
}  # fmt: skip


def chip_of(name: str, **changes: Any) -> ChipSpec:
    base, own = CHIPS[name]
    return load_chip(base).replaced(**{**own, **changes})


class Mixed(nn.Module):
    """Convolutions in two dimensions and one, plain, grouped and depthwise, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding="same", groups=2)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, padding_mode="reflect", groups=8)
        self.line = nn.Conv1d(16, 6, 3, padding=1, dilation=1)
        self.linear = nn.Linear(6, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        assert self.norm.running_mean is not None
        nn.init.normal_(self.norm.running_mean, std=0.2)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.plain(x)))
        x = self.depthwise(F.relu(self.grouped(x))).flatten(2)
        return self.linear(self.line(x).transpose(1, 2))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    return Mixed().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn((6, 3, 8, 8), generator=torch.Generator().manual_seed(1))


def in_training(model: nn.Module, chip: ChipSpec, x: Tensor, **options: Any) -> TrainingNetwork:
    return TrainingNetwork(float_copy(model), chip, x, TrainOptions(**options))


def simulated(model: nn.Module, chip: ChipSpec, x: Tensor, trial: int) -> MappedNetwork:
    mapped = map_network(model, chip, x)
    mapped.program(trial)
    return mapped


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max())


# ------------------------------------------------------------------ forward


@pytest.mark.parametrize("name", CHIPS)
def test_fast_layers_are_those_of_the_simulator_with_ideal_converters(name: str, model: nn.Module, x: Tensor) -> None:
    """Layer by layer, each on the inputs that it has in the mapped network: single precision is the only difference."""
    chip = chip_of(name, adc__bits=None, adc__range="calibrated")
    mapped = simulated(model, chip, x, trial=7)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for layer_name, layer in mapped.layers.items():
        layer.register_forward_hook(
            lambda _, args, out, key=layer_name: seen.update({key: (args[0].clone(), out.clone())})
        )
    mapped(x)
    network = in_training(model, chip, x)
    network.program(7)
    assert list(network.layers) == list(seen) == ["plain", "grouped", "depthwise", "line", "linear"]
    for layer_name, (given, wanted) in seen.items():
        found = network.layers[layer_name](given)
        assert found.shape == wanted.shape
        assert error(found, wanted) < 1e-5  # sums of up to 72 float32 products


@pytest.mark.parametrize("base", ["reram-8b", "analog-8b"])
def test_exact_is_the_simulator_with_converters_and_read_noise(base: str, model: nn.Module, x: Tensor) -> None:
    chip = load_chip(base).replaced(cell__effects=(VARIATION, READ_NOISE), adc__bits=6)
    mapped = simulated(model, chip, x, trial=4)
    mapped.seek(5 * len(x))
    network = in_training(model, chip, x, forward="exact")
    network.program(4)
    wanted = mapped(x)
    assert error(network.forward(x, step=5), wanted) < 1e-5
    fast = in_training(model, chip, x)
    fast.program(4)
    assert error(fast.forward(x, step=5), wanted) > 1e-3  # what is compared does differ where it should


def test_exact_follows_the_weights_between_two_chips(model: nn.Module, x: Tensor) -> None:
    """On ideal arrays the surrogate is exact: trained weights act at once, though the chip still holds earlier ones."""
    chip = load_chip("ideal")
    network = in_training(model, chip, x, forward="exact")
    network.program(0)
    before = network.forward(x, 0)
    with torch.no_grad():
        network.original.linear.weight.mul_(1.5)
        network.original.linear.bias.add_(1.0)
    fresh = simulated(network.original, chip, x, trial=0)
    assert error(network.forward(x, 0), fresh(x)) < 1e-5
    assert error(before, fresh(x)) > 1e-2


def test_wires_are_the_effective_matrix_of_the_arrays(x: Tensor) -> None:
    """From the weights to conductances by hand, through the wires by nodal analysis, and back."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    chip = load_chip("analog-8b").replaced(
        array__wires={"word_line": "400 ohm", "bit_line": "300 ohm"}, cell__effects=(), adc__bits=None
    )
    inputs = torch.randn((20, 6), generator=torch.Generator().manual_seed(2))
    network = in_training(model, chip, inputs)
    network.program(0)
    weight = model[0].weight.detach().double().numpy()
    integers, scale = quantise_weights(weight, chip.weights)
    low, window = chip.cell.g_off_s, chip.cell.g_on_s - chip.cell.g_off_s
    pairs = np.stack([np.maximum(integers, 0), np.maximum(-integers, 0)], axis=-1)  # outputs, rows, polarities
    assert chip.wires is not None
    cells = low + window * pairs.transpose(1, 0, 2).reshape(6, 8)
    seen = (nodal_effective_conductance(cells, chip.wires) - low) / window
    wanted = scale[:, None] * (seen.reshape(6, 4, 2)[..., 0] - seen.reshape(6, 4, 2)[..., 1]).T
    held = network.layers["0"].held
    assert held is not None
    step = 2.0 ** -network.layers["0"].mapped.packs[0].grid.fraction_bits.min()  # of the grid that makes sums exact
    assert step < 1e-3
    found = held.packs[0].matrix.numpy() / scale[:, None]
    np.testing.assert_allclose(found, wanted / scale[:, None], atol=1.5 * step)  # two cells and their difference
    assert np.abs(wanted - weight).max() > 0.02 * np.abs(weight).max()


def test_faults_strike_the_cells_of_the_simulated_chip(model: nn.Module, x: Tensor) -> None:
    """Stuck cells alone: weights are wrong in just the places where the programmed cells are."""
    chip = load_chip("analog-8b").replaced(cell__effects=({"kind": "stuck_at", "on_rate": 0.04},), adc__bits=None)
    network = in_training(model, chip, x)
    network.program(11)
    layer = network.layers["linear"]
    held, (integers, scale) = layer.held, quantise_weights(model.linear.weight.detach().double().numpy(), chip.weights)
    assert held is not None
    found = held.packs[0].matrix.numpy() / scale[:, None] - integers
    mapped = simulated(model, chip, x, trial=11).layers["linear"]
    cells = mapped.packs[0].segments[0].levels.T  # a continuous pair, subtracted
    rounding = 1e-3  # of the grid that makes sums exact; a stuck cell is off by far more here
    stuck = np.abs(cells - integers) > rounding
    assert 0 < stuck.sum() < stuck.size / 3
    np.testing.assert_array_equal(np.abs(found) > rounding, stuck)


def test_read_noise_has_the_variance_of_the_arrays(x: Tensor) -> None:
    """4,000 reads of the same inputs, by the layer in training and by the simulator's own arithmetic."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    for base in ("analog-8b", "isaac"):  # isaac: bit planes, slices, and noise of a unit column
        chip = load_chip(base).replaced(cell__effects=(READ_NOISE,), adc__bits=None, adc__range="calibrated")
        image = x[:1, :, :3, :3].abs()
        network = in_training(model, chip, image, noise_scale=0.5)
        network.program(0)
        reads = 4000
        layer, many = network.layers["0"], image.expand(reads, 3, 3, 3)
        layer.reseed("test")
        found = layer(many).detach().flatten(1)
        mapped = simulated(model, chip, image, trial=0)
        wanted = mapped(many).flatten(1)
        ratio = found.std(dim=0) / wanted.std(dim=0)
        assert (ratio / 0.5 - 1).abs().max() < 5 / reads**0.5  # two estimates, each with 1 / sqrt(2 n)
        apart = (found.mean(dim=0) - wanted.mean(dim=0)) / wanted.std(dim=0)
        assert apart.abs().max() < 5 * 1.25**0.5 / reads**0.5
        correlation = torch.corrcoef(found.T) - torch.corrcoef(wanted.T)
        assert correlation.abs().max() < 5 * 2**0.5 / reads**0.5


def test_the_strength_of_errors_scales(model: nn.Module, x: Tensor) -> None:
    chip = chip_of("variation", adc__bits=None)
    outs = {}
    for k in (0.0, 1.0, 2.0):
        network = in_training(model, chip, x, noise_scale=k)
        network.program(3)
        outs[k] = network.layers["plain"](x).detach()
    ideal = simulated(model, chip.replaced(cell__effects=()), x, trial=3)
    assert error(outs[0.0], ideal.layers["plain"](x)) < 1e-5
    assert error(outs[2.0] - outs[0.0], 2 * (outs[1.0] - outs[0.0])) < 1e-3


# ------------------------------------------------------------------ backward


def test_gradients_are_those_of_the_plain_layer(x: Tensor) -> None:
    """Straight through: with its inputs and its effective weights, each parameter's gradient is the plain layer's."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8)).eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2.0)
    nn.init.normal_(model[1].weight)
    network = in_training(model, chip_of("wires", cell__effects=(VARIATION,)), x)
    network.program(5)
    layer = network.layers["0"]
    towards = torch.randn((6, 8, 6, 6), generator=torch.Generator().manual_seed(4))
    given = x.clone().requires_grad_()
    layer(given).backward(towards)

    applied = layer.quantiser(x)[0].detach()
    plain = float_copy(model)
    plain(applied).backward(towards)
    for name, parameter in plain.named_parameters():
        found = dict(network.original.named_parameters())[name].grad
        assert found is not None
        assert parameter.grad is not None
        assert error(found, parameter.grad) < 1e-5, name
    held, probe = layer.held, applied.clone().requires_grad_()
    assert held is not None
    F.conv2d(probe, held.packs[0].matrix.reshape(8, 3, 3, 3)).backward(towards)
    scale = layer.quantiser.scale
    inside = x.abs() / scale.scale < scale.largest
    assert given.grad is not None
    assert probe.grad is not None
    assert not inside.all()
    assert error(given.grad, probe.grad * inside) < 1e-5


def test_range_gradient_is_that_of_learned_step_size() -> None:
    """Against the published formula, and against central differences of the surrogate with its rounding held still."""
    generator = torch.Generator().manual_seed(0)
    for signed in (True, False):
        scale = InputScale(0.02, signed, 6)
        values = torch.randn((40, 10), generator=generator)
        towards = torch.randn(values.shape, generator=generator)
        quantiser = InputQuantiser(scale, learn=True)
        applied, integers = quantiser(values)
        applied.backward(towards)
        assert torch.equal(integers, scale.quantise(values))
        low, high = (-scale.largest if signed else 0), scale.largest
        ratio = (values / scale.scale).double()
        inside = (ratio > low) & (ratio < high)
        assert 0 < int(inside.sum()) < inside.numel()
        formula = torch.where(inside, ratio.round() - ratio, ratio.clamp(low, high))
        gain = 1 / (10 * high) ** 0.5  # ten inputs a sample
        wanted = float((formula * towards).sum()) * gain * scale.scale  # s = s_0 exp(t): ds/dt = s
        assert quantiser.log_gain is not None
        assert quantiser.log_gain.grad is not None
        assert float(quantiser.log_gain.grad) == pytest.approx(wanted, rel=1e-4)

        rest = ratio.clamp(low, high).round() - ratio.clamp(low, high)

        def surrogate(t: float, rest: Tensor = rest, x: Tensor = values, lo: int = low, hi: int = high, s: float = scale.scale,
                      g: Tensor = towards) -> float:  # fmt: skip
            step = s * float(np.exp(t))
            return float((((x.double() / step).clamp(lo, hi) + rest) * step * g).sum())

        h = 1e-7
        slope = (surrogate(h) - surrogate(-h)) / (2 * h) * gain
        assert float(quantiser.log_gain.grad) == pytest.approx(slope, rel=1e-3)


# ------------------------------------------------------------------ weights


def test_weights_fold_as_mapping_folds_them(model: nn.Module, x: Tensor) -> None:
    """To the bit, since a weight on the edge between two integers must fall on the same side."""
    mapped = map_network(model, load_chip("ideal"), x)
    assert mapped.folded == ["norm"]
    weight, bias = folded(model.plain, model.norm)
    np.testing.assert_array_equal(weight.detach().numpy(), mapped.layers["plain"].weight)
    assert bias is not None
    assert torch.equal(bias, mapped.layers["plain"].bias)


@pytest.mark.parametrize("scale", ["per_channel", "per_tensor"])
def test_clipping(scale: str, model: nn.Module) -> None:
    spec = load_chip("reram-8b").weights.model_copy(update={"scale": scale})
    with torch.no_grad():
        model.plain.weight[0, 0, 0, 0] = 50.0
        model.norm.weight[3] = 0.0  # an output that has died
    before = folded(model.plain, model.norm)[0].detach()
    spread = before.std(dim=1, correction=0)[:, None] if scale == "per_channel" else before.std(correction=0)
    clip_weights(model.plain, model.norm, spec, 2.0)
    after = folded(model.plain, model.norm)[0].detach()
    wanted = torch.where(spread > 0, before.clamp(-2 * spread, 2 * spread), before)
    torch.testing.assert_close(after, wanted, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(model.plain.weight).all()
    assert after[0].abs().max() < 0.9 * before[0].abs().max()


def test_layers_that_share_weights_and_layers_kept_digital(x: Tensor) -> None:
    """One module in two places is one layer; a digital one is trained without errors; nothing is trained twice."""
    torch.manual_seed(0)
    twice = nn.Linear(8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), twice, nn.ReLU(), twice, nn.Linear(8, 3))
    network = in_training(model, chip_of("variation"), x, digital=("5",))
    network.program(0)
    assert list(network.layers) == ["1", "2"]
    network.forward(x, 0).square().sum().backward()
    own = network.parameters()
    assert len(own) == 6
    assert all(parameter.grad is not None for parameter in own)
    assert isinstance(network.network[2], TrainedLayer)
    assert network.network[2] is network.network[4]


def test_each_chip_can_stand_at_a_temperature_of_its_own(model: nn.Module, x: Tensor) -> None:
    """The layer in training is the simulated chip at that temperature; the temperature is drawn once a chip, between the two."""
    thermal = load_chip("reram-8b").replaced(cell=load_cell("reram-thermal").model_dump(), adc__bits=None)
    network = in_training(model, thermal, x, temperatures_k=(320.0, 380.0))
    drawn = []
    for trial in (0, 1, 2):
        network.program(trial)
        warm = network.mapped.layers["plain"].packs[0]
        drawn.append(float(generator(0, trial, "training temperature").uniform(320.0, 380.0)))
        mapped = simulated(model, thermal, x, trial)
        mapped.program(trial, conditions=thermal.conditions.model_copy(update={"temperature_k": drawn[-1]}))
        assert np.array_equal(mapped.layers["plain"].packs[0].segments[0].levels, warm.segments[0].levels)
        cool = simulated(model, thermal, x, trial).layers["plain"].packs[0]
        assert not np.array_equal(cool.segments[0].levels, warm.segments[0].levels)
    assert len(set(drawn)) == 3
    assert all(320.0 <= t <= 380.0 for t in drawn)
