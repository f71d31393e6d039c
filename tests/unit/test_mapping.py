"""``map_network``: what goes on arrays, the lossless chip as a quantised digital network, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.errors import CrosstileError, DataError, ModelError
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.nn.conv import MappedConv1d, MappedConv2d
from crosstile.nn.linear import MappedLinear
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip

IDEAL = load_chip("ideal")
NOISE = [{"kind": "variation", "sigma": {"window": 0.02}}, {"kind": "read_noise", "sigma": {"window": 0.02}}]
NOISY = IDEAL.replaced(cell__effects=NOISE, adc__range="calibrated", adc__bits=8)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """Convolutions of all kinds and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.grouped = nn.Conv2d(8, 12, 1, groups=4)
        self.hidden = nn.Linear(12, 10)
        self.fc = nn.Linear(10, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.depthwise(x))
        x = self.grouped(x).amax(dim=(2, 3))
        return self.fc(F.relu(self.hidden(x)))


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build().eval()


def data(*shape: int, seed: int = 1, signed: bool = True) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x if signed else x.abs()


# ------------------------------------------------------------ the quantised digital network, written anew


def integer_sums(module: nn.Module, q: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Sums of integer inputs and integer weights in double precision, by explicit windows."""
    if isinstance(module, nn.Linear):
        return q @ w.T
    one = isinstance(module, nn.Conv1d)
    if one:
        q, w = q[:, :, None, :], w[:, :, None, :]
    pair = [(1, v[0]) if one else v for v in (module.kernel_size, module.stride, module.dilation)]
    kernel, stride, dilation = pair
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        edges = [(t // 2, t - t // 2) for t in total]
    elif module.padding == "valid":
        edges = [(0, 0), (0, 0)]
    else:
        edges = [(p, p) for p in ((0, *module.padding) if one else module.padding)]
    mode = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}[module.padding_mode]
    q = np.pad(q, [(0, 0), (0, 0), *edges], mode=mode)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    height, width = ((q.shape[2 + a] - span[a]) // stride[a] + 1 for a in (0, 1))
    out = np.zeros((len(q), len(w), height, width))
    per_group, channels = len(w) // module.groups, w.shape[1]
    for j in range(len(w)):
        group = j // per_group
        mine = q[:, group * channels : (group + 1) * channels]
        for y in range(height):
            for x in range(width):
                top, left = y * stride[0], x * stride[1]
                window = mine[:, :, top : top + span[0] : dilation[0], left : left + span[1] : dilation[1]]
                out[:, j, y, x] = (window * w[j]).sum(axis=(1, 2, 3))
    return out[:, :, 0] if one else out


def quantised_twin(model: nn.Module, calibration: Tensor, percentile: float = 99.9) -> nn.Module:
    """Return a copy whose linear and convolutional layers have 8-bit weights and inputs, as the chip should.

    y = sum (float32) * (s_w * s_x) + b, scales in float32, per output channel and per layer.
    """
    twin = copy.deepcopy(model)
    names = {m: n for n, m in twin.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    scales: dict[nn.Module, tuple[np.float32, bool]] = {}

    def observe(module: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> None:
        values = args[0].numpy().reshape(-1)
        signed = bool((values < 0).any())
        magnitude = np.abs(values)
        reach = np.percentile(magnitude[magnitude > 0], percentile)
        scales.setdefault(module, (np.float32(float(reach) / (127 if signed else 255)), signed))

    hooks = [module.register_forward_hook(observe) for module in names]
    with torch.inference_mode():
        twin(calibration)
    for hook in hooks:
        hook.remove()

    def replace(module: nn.Module) -> Callable[[Tensor], Tensor]:
        weight = module.weight.detach().double().numpy()
        flat = weight.reshape(len(weight), -1)
        step = (np.abs(flat).max(axis=1) / 127).astype(np.float32)
        w = np.rint(flat / step[:, None].astype(np.float64)).reshape(weight.shape)
        scale, signed = scales[module]
        limits = (-127, 127) if signed else (0, 255)

        def forward(x: Tensor) -> Tensor:
            q = np.clip(np.rint(x.numpy() * np.float32(1.0 / float(scale))), *limits)
            sums = integer_sums(module, q.astype(np.float64), w).astype(np.float32)
            shape = (-1, *[1] * (0 if isinstance(module, nn.Linear) else len(module.kernel_size)))
            out = sums * (step * scale).reshape(shape)
            if module.bias is not None:
                out = out + module.bias.detach().numpy().reshape(shape)
            return torch.from_numpy(out)

        return forward

    for module in names:
        module.forward = replace(module)
    return twin


def logits(mapped: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return mapped(x)


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(3, 7, 3),
    "stride-padding": lambda: nn.Conv2d(3, 7, (3, 2), stride=(2, 3), padding=(2, 1)),
    "dilation": lambda: nn.Conv2d(3, 7, 3, dilation=(1, 2), padding=2),
    "groups": lambda: nn.Conv2d(6, 9, 3, groups=3, padding=1),
    "depthwise": lambda: nn.Conv2d(6, 12, 3, groups=6),
    "same": lambda: nn.Conv2d(3, 7, (2, 3), padding="same"),
    "same-dilated": lambda: nn.Conv2d(3, 7, 4, dilation=(1, 2), padding="same"),
    "valid": lambda: nn.Conv2d(3, 7, 3, padding="valid", bias=False),
    "circular": lambda: nn.Conv2d(3, 7, 3, padding=(1, 2), padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(3, 7, 3, padding=(2, 1), padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(3, 7, 3, padding=1, padding_mode="replicate"),
    "same-circular": lambda: nn.Conv2d(3, 7, 3, padding="same", padding_mode="circular"),
    "1d": lambda: nn.Conv1d(3, 7, 3),
    "1d-stride-padding-dilation": lambda: nn.Conv1d(3, 7, 3, stride=2, padding=3, dilation=2),
    "1d-groups": lambda: nn.Conv1d(6, 8, 2, groups=2),
    "1d-same": lambda: nn.Conv1d(3, 7, 4, padding="same"),
    "1d-circular": lambda: nn.Conv1d(3, 7, 3, padding=2, padding_mode="circular"),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_ideal_chip_is_the_quantised_convolution(name: str, signed: bool) -> None:
    model = seeded(CONVOLUTIONS[name])
    shape = (4, model.in_channels, 9) if isinstance(model, nn.Conv1d) else (4, model.in_channels, 7, 8)
    x = data(*shape, signed=signed)
    mapped = map_network(model, IDEAL, x)
    kind = MappedConv1d if isinstance(model, nn.Conv1d) else MappedConv2d
    assert type(mapped.network) is kind
    fresh = data(*shape, seed=2, signed=signed)
    for batch in (x, fresh):
        want = quantised_twin(model, x)(batch)
        assert torch.equal(logits(mapped, batch), want)
    exact = logits(model, fresh)
    # Eight-bit steps of both operands, and clipping of the largest thousandth of the inputs.
    assert float((want - exact).abs().mean()) < 0.05 * float(exact.std())
    assert torch.equal(logits(mapped, fresh[0]), want[0])  # without a batch dimension


@pytest.mark.parametrize(
    "chip",
    [
        IDEAL,
        IDEAL.replaced(array__rows=32, array__columns=32),
        IDEAL.replaced(array__rows=5, array__columns=9),
        IDEAL.replaced(array__active_rows=9),
        IDEAL.replaced(weights__encoding="offset"),
        IDEAL.replaced(weights__encoding="twos_complement", weights__flip=True),
        IDEAL.replaced(inputs__signed="bipolar"),
        IDEAL.replaced(inputs__dac_bits=8, adc__bits=20),
        IDEAL.replaced(weights__difference="digital"),
        IDEAL.replaced(adc__bits=None),
    ],
    ids=["ideal", "32x32", "5x9", "active-rows", "offset", "flip", "bipolar", "dac8", "digital", "no-adc"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_lossless_chip_is_the_quantised_network(chip: ChipSpec, seed: int) -> None:
    model, x = seeded(Small, seed), data(12, 3, 10, 10, seed=seed)
    want = quantised_twin(model, x)(x)
    mapped = map_network(model, chip, x)
    assert torch.equal(logits(mapped, x), want)
    assert want.unique().numel() > 50


@pytest.mark.parametrize("mode", ["tables", "planes"])
def test_reading_digit_by_digit_gives_the_same_lossless_result(mode: str) -> None:
    model, x = seeded(Small), data(12, 3, 10, 10)
    mapped = map_network(model, IDEAL.replaced(array__rows=32, array__columns=32), x)
    for layer in mapped.layers.values():
        layer.mode = mode  # type: ignore[assignment]
    mapped.program(0)
    assert torch.equal(logits(mapped, x), quantised_twin(model, x)(x))
    for layer in mapped.layers.values():
        clipping = layer.clipping()
        assert clipping is not None
        assert (clipping.conversions > 0).all()
        assert (clipping.clipped == 0).all()


def test_a_layer_larger_than_an_array_is_split_into_blocks() -> None:
    model, x = seeded(lambda: nn.Linear(100, 21)), data(30, 100)
    chip = IDEAL.replaced(array__rows=32, array__columns=32)
    mapped = map_network(model, chip, x)
    (plan,) = mapped.plans()
    (pack,) = plan.packs
    # 4 slices in pairs: 8 columns a weight, 4 outputs an array; 100 rows in 4 blocks of 25.
    assert [len(block.rows) for block in pack.blocks] == [25, 25, 25, 25]
    assert (pack.column_blocks, plan.arrays) == (6, 24)
    assert plan.utilisation == 100 * 21 * 8 / (24 * 32 * 32)
    assert torch.equal(logits(mapped, x), quantised_twin(model, x)(x))
    assert torch.equal(logits(mapped, x), logits(map_network(model, IDEAL, x), x))


# ------------------------------------------------------------ shapes and structure


def test_linear_layers_take_more_dimensions() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)))
    x = data(3, 7, 2, 6)
    mapped = map_network(model, IDEAL, x)
    out = logits(mapped, x)
    assert out.shape == (3, 7, 2, 4)
    assert torch.equal(out, quantised_twin(model, x)(x))
    assert [plan.shape.positions for plan in mapped.plans()] == [14, 14]


def test_names_order_and_types() -> None:
    mapped = map_network(seeded(Small), IDEAL, data(8, 3, 10, 10))
    assert list(mapped.layers) == ["first", "depthwise", "grouped", "hidden", "fc"]
    assert [type(layer) for layer in mapped.layers.values()] == [MappedConv2d] * 3 + [MappedLinear] * 2
    signed = {name: layer.plan.shape.signed_inputs for name, layer in mapped.layers.items() if name != "hidden"}
    assert signed == {"first": True, "depthwise": False, "grouped": False, "fc": False}
    assert [plan.shape.positions for plan in mapped.plans()] == [100, 25, 25, 1, 1]


def test_utilisation_of_depthwise_layers_by_hand() -> None:
    cases = [
        # Groups side by side on the diagonal: rows allow 128 // 9 = 14, columns 128 // 8 = 16 outputs.
        (nn.Conv2d(8, 8, 3, groups=8), 1, 8 * 9 * 8),
        (nn.Conv2d(20, 20, 3, groups=20), 2, 20 * 9 * 8),
        (nn.Conv2d(30, 30, 3, groups=30), 3, 30 * 9 * 8),
        # Two outputs a group: columns allow 16 // 2 = 8 groups.
        (nn.Conv2d(16, 32, 3, groups=16), 2, 16 * 9 * 2 * 8),
        # Rows of one group: 4 x 25 = 100 of 128.
        (nn.Conv2d(8, 8, 5, groups=2), 2, 2 * 100 * 4 * 8),
    ]
    for model, arrays, used in cases:
        (plan,) = map_network(model, IDEAL, data(2, model.in_channels, 6, 6)).plans()
        assert plan.arrays == arrays
        assert plan.cells_used == used
        assert plan.cells_total == arrays * 128 * 128
        assert plan.utilisation == used / (arrays * 16384)


def test_tied_modules_share_their_arrays() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 6)
            self.b = self.a
            self.out = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.b(F.relu(self.a(x)))))

    model, x = seeded(Tied), data(16, 6)
    mapped = map_network(model, IDEAL, x)
    assert list(mapped.layers) == ["a", "out"]
    assert mapped.network.a is mapped.network.b
    assert mapped.layers["a"].plan.shape.positions == 2
    assert mapped.layers["a"].plan.arrays == 1
    noisy = map_network(model, NOISY, x)
    out = logits(noisy, x)
    noisy.seek(0)
    assert torch.equal(logits(noisy, x), out)


def test_the_original_is_not_touched() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    )
    model.train()
    x = data(8, 3, 6, 6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    mapped = map_network(model, NOISY, x)
    logits(mapped, x)
    assert [type(m) for m in model] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Flatten, nn.Linear]
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(hook for m in model.modules() for hook in (m._forward_hooks, m._forward_pre_hooks))


# ------------------------------------------------------------ batch-norm


def norm_with_statistics(norm: nn.Module) -> nn.Module:
    size = norm.num_features
    norm.running_mean.copy_(data(size, seed=5))
    norm.running_var.copy_(data(size, seed=6).abs() + 0.5)
    if norm.weight is not None:
        norm.weight.data.copy_(data(size, seed=7))
        norm.bias.data.copy_(data(size, seed=8))
    return norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_is_folded(affine: bool, bias: bool) -> None:
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3, bias=bias),
            norm_with_statistics(nn.BatchNorm2d(5, affine=affine)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(80, 6, bias=bias),
            norm_with_statistics(nn.BatchNorm1d(6, affine=affine)),
        )
    )
    x = data(16, 3, 6, 6)
    mapped = map_network(model, IDEAL, x)
    assert sorted(mapped.folded) == ["1", "5"]
    assert not [m for m in mapped.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    exact, out = logits(model, x), logits(mapped, x)
    # Two layers of eight bits each: a few thousandths of the spread.
    assert float((out - exact).abs().mean()) < 0.03 * float(exact.std())


def test_batch_norm_is_not_folded_when_the_output_is_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)
            self.norm = norm_with_statistics(nn.BatchNorm2d(5))

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return (self.norm(y) + y).amax(dim=(2, 3))

    model, x = seeded(Twice), data(8, 3, 6, 6)
    mapped = map_network(model, IDEAL, x)
    assert mapped.folded == []
    assert isinstance(mapped.network.norm, nn.BatchNorm2d)
    assert torch.equal(logits(mapped, x), logits(quantised_twin(model, x), x))


def test_batch_norm_of_a_sum_or_after_an_activation_is_not_folded() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), norm_with_statistics(nn.BatchNorm1d(5))))
    x = data(8, 6)
    mapped = map_network(model, IDEAL, x)
    assert mapped.folded == []
    assert torch.equal(logits(mapped, x), logits(quantised_twin(model, x), x))


# ------------------------------------------------------------ layers that stay digital


def test_a_layer_kept_digital() -> None:
    model, x = seeded(Small), data(8, 3, 10, 10)
    mapped = map_network(model, IDEAL, x, digital=["fc"])
    assert "fc" not in mapped.layers
    assert type(mapped.network.fc) is nn.Linear
    assert torch.equal(mapped.network.fc.weight, model.fc.weight)
    twin = quantised_twin(model, x)
    twin.fc.forward = model.fc.forward
    # The twin's inputs of fc are bit-identical, and so is the same product in floating point.
    assert torch.equal(logits(mapped, x), logits(twin, x))
    assert list(map_network(model, IDEAL, x, digital=["f*", "hidden"]).layers) == ["depthwise", "grouped"]
    with pytest.raises(ModelError, match="no layer to map"):
        map_network(model, IDEAL, x, digital=["*"])


# ------------------------------------------------------------ reproducibility


@pytest.mark.parametrize("adc_bits", [8, None])
@pytest.mark.parametrize("dac_bits", [1, 8])
def test_a_samples_result_does_not_depend_on_its_batch(adc_bits: int | None, dac_bits: int) -> None:
    model, x = seeded(Small), data(64, 3, 10, 10)
    mapped = map_network(model, NOISY.replaced(adc__bits=adc_bits, inputs__dac_bits=dac_bits), x, seed=3)
    results = {}
    for batch in (1, 7, 64):
        mapped.seek(0)
        results[batch] = torch.cat([logits(mapped, part) for part in x.split(batch)])
    assert torch.equal(results[1], results[64])
    assert torch.equal(results[7], results[64])
    mapped.seek(20)
    assert torch.equal(logits(mapped, x[20:30]), results[64][20:30])
    assert torch.equal(logits(mapped, x[30:35]), results[64][30:35])  # the counter moved on
    mapped.seek(21)
    assert not torch.equal(logits(mapped, x[20:30]), results[64][20:30])  # other samples' draws


def run(seed: int, trial: int = 0, model_seed: int = 0) -> Tensor:
    x = data(16, 3, 10, 10)
    mapped = map_network(seeded(Small, model_seed), NOISY, x, seed=seed)
    if trial:
        mapped.program(trial)
    return logits(mapped, x)


def test_seeds_and_chips() -> None:
    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert not torch.equal(run(1), run(1, trial=1))
    assert torch.equal(run(1, trial=1), run(1, trial=1))


def test_programming_again_gives_the_same_chip() -> None:
    model, x = seeded(Small), data(16, 3, 10, 10)
    mapped = map_network(model, NOISY, x, seed=5)
    chips = []
    for trial in (0, 1, 2, 1, 0):
        mapped.program(trial)
        chips.append(logits(mapped, x))
    assert torch.equal(chips[0], chips[4])
    assert torch.equal(chips[1], chips[3])
    assert not torch.equal(chips[0], chips[1])
    assert not torch.equal(chips[1], chips[2])
    mapped.program(1, seed=6)
    other = logits(mapped, x)
    assert not torch.equal(other, chips[1])
    assert torch.equal(other, (mapped.program(1), logits(mapped, x))[1])  # the seed stays
    # The programmed cells themselves, not only what is read of them:
    mapped.program(1, seed=5)
    again = map_network(model, NOISY, x, seed=5)
    again.program(1)
    for name, layer in mapped.layers.items():
        for one, two in zip(layer.packs, again.layers[name].packs, strict=True):
            for a, b in zip(one.segments, two.segments, strict=True):
                np.testing.assert_array_equal(a.levels, b.levels)


def test_noise_is_drawn_anew_at_each_call() -> None:
    mapped = map_network(seeded(Small), NOISY, data(16, 3, 10, 10))
    x = data(16, 3, 10, 10, seed=9)
    assert not torch.equal(logits(mapped, x), logits(mapped, x))


# ------------------------------------------------------------ what is refused


class Named(nn.Module):
    """A mapped layer ``ok`` and whatever a test adds."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.ok = nn.Linear(8, 8)
        for name, part in parts.items():
            setattr(self, name, part)
        self.body = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, self.ok(x))


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def masked(mask: object) -> nn.Module:
    net = Named(lambda net, x: F.linear(x, net.w * net.mask), w=nn.Parameter(torch.randn(3, 8)))
    if isinstance(mask, Tensor):
        net.register_buffer("mask", mask)
    else:
        net.mask = mask
    return net


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "never-called": (lambda: Named(lambda net, x: x, unused=nn.Linear(8, 3)), r"never called.*: unused"),
    "functional": (
        lambda: Named(lambda net, x: F.linear(x, net.w), w=parameter(3, 8)),
        r"bypass.*(linear|mm)",
    ),
    "functional-transposed": (lambda: Named(lambda net, x: x @ net.w.t(), w=parameter(3, 8)), r"bypass.*mm"),
    "einsum": (
        lambda: Named(lambda net, x: torch.einsum("bi,oi->bo", x, net.w), w=parameter(3, 8)),
        "bypass",
    ),
    "functional-conv": (
        lambda: Named(lambda net, x: F.conv1d(x[:, None], net.w), w=parameter(3, 1, 3)),
        r"bypass.*conv",
    ),
    "own-weights-of-a-layer": (
        lambda: Named(lambda net, x: F.linear(x, net.fc.weight, net.fc.bias), fc=nn.Linear(8, 3)),
        "never called.*fc",
    ),
    "mask": (lambda: masked(torch.ones(3, 8)), "bypass"),
    "mask-number": (lambda: masked(2.0), "bypass"),
    "mask-row": (lambda: masked(torch.ones(8)), "bypass"),
    "mask-scalar": (lambda: masked(torch.tensor(0.5)), "bypass"),
    "attention": (
        lambda: Named(lambda net, x: net.mha(x[None], x[None], x[None])[0][0], mha=nn.MultiheadAttention(8, 2)),
        r"mha",
    ),
    "lstm": (
        lambda: Named(lambda net, x: net.rnn(x)[0], rnn=nn.LSTM(8, 4)),
        r"bypass.*module 'network\.rnn' \(LSTM\)",
    ),
    "gru": (
        lambda: Named(lambda net, x: net.rnn(x)[0], rnn=nn.GRU(8, 4)),
        r"bypass.*module 'network\.rnn' \(GRU\)",
    ),
    "transformer": (
        lambda: Named(lambda net, x: net.enc(x[None])[0], enc=nn.TransformerEncoderLayer(8, 2, 16)),
        r"enc",
    ),
    "transformer-batch-first": (
        lambda: Named(lambda net, x: net.enc(x[None])[0], enc=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        r"enc",
    ),
    "subclass": (
        lambda: Named(lambda net, x: net.own(x), own=Scaled(8, 3)),
        r"layer 'own' is a Scaled, a Linear",
    ),
    "transposed-convolution": (
        lambda: Named(lambda net, x: net.up(x[:, :, None]), up=nn.ConvTranspose1d(8, 3, 2)),
        "bypass.*ConvTranspose1d",
    ),
    "conv3d": (
        lambda: Named(lambda net, x: net.c(x.reshape(-1, 1, 2, 2, 2)), c=nn.Conv3d(1, 3, 2)),
        "bypass.*Conv3d",
    ),
    "bilinear": (lambda: Named(lambda net, x: net.b(x, x), b=nn.Bilinear(8, 8, 3)), "bypass"),
    "nothing-to-map": (
        lambda: nn.Sequential(nn.ReLU(), nn.Flatten()),
        "no layer to map.*nn.Linear, nn.Conv1d",
    ),
    "shape": (lambda: nn.Linear(9, 3), r"does not run on inputs of shape \(4, 8\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_would_bypass_the_arrays_are_refused(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        map_network(seeded(build), IDEAL, data(4, 8))


def test_what_is_refused_can_be_kept_digital() -> None:
    model = seeded(lambda: Named(lambda net, x: net.rnn(x)[0], rnn=nn.LSTM(8, 4)))
    x = data(4, 8)
    mapped = map_network(model, IDEAL, x, digital=["rnn"])
    assert list(mapped.layers) == ["ok"]
    assert logits(mapped, x).shape == (4, 4)


def test_products_of_data_with_data_are_no_bypass() -> None:
    model = seeded(lambda: Named(lambda net, x: torch.softmax(x @ x.t(), dim=1) @ x))
    x = data(4, 8)
    mapped = map_network(model, IDEAL, x)
    assert torch.equal(logits(mapped, x), logits(quantised_twin(model, x), x))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_calibration_data_must_be_finite(value: float) -> None:
    x = data(4, 8)
    x[1, 2] = value
    with pytest.raises(DataError, match="calibration data: 1 values are NaN or infinite"):
        map_network(nn.Linear(8, 3), IDEAL, x)


def test_activations_must_be_finite_and_the_layer_is_named() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    model[0].bias.data[0] = 1e30
    model[0].weight.data[0] = 1e30
    model[0].weight.data[1] = 3e38
    with pytest.raises(CrosstileError, match="'1'"):
        map_network(model, IDEAL, data(4, 8).abs() * 1e9)


def test_weights_must_be_finite_and_the_layer_is_named() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    model[1].weight.data[0, :2] = float("nan")
    with pytest.raises(ModelError, match="layer '1': weights contain 2 values that are not finite"):
        map_network(model, IDEAL, data(4, 8))


@pytest.mark.parametrize("shape", [(0, 8), (8,)])
def test_calibration_data_must_be_a_batch(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"a batch \(samples first\) is wanted"):
        map_network(nn.Linear(8, 3), IDEAL, torch.zeros(shape))


def test_a_network_of_zeros_maps() -> None:
    model = nn.Linear(8, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    for chip in (IDEAL, NOISY, load_chip("analog-8b"), load_chip("isaac")):
        mapped: MappedNetwork = map_network(model, chip, torch.zeros(4, 8))
        assert torch.isfinite(logits(mapped, torch.zeros(4, 8))).all()


class _PlainMask(nn.Module):
    """A weight masked with a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.mask = torch.ones(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.first(x), self.weight * self.mask)


def test_a_weight_masked_by_a_plain_tensor_is_found() -> None:
    with pytest.raises(ModelError, match="bypass the arrays"):
        map_network(_PlainMask(), load_chip("ideal"), torch.randn(8, 4))


def test_products_of_data_with_data_are_not_weights() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            scores = torch.softmax(self.q(x) @ self.k(x).transpose(-1, -2), dim=-1)
            return (scores @ self.v(x)).mean(dim=1)

    mapped = map_network(Attention().eval(), load_chip("ideal"), torch.randn(5, 7, 6))
    assert sorted(mapped.layers) == ["k", "q", "v"]


def test_a_pattern_that_keeps_nothing_digital_is_refused() -> None:
    net = nn.Sequential()
    net.add_module("classifier", nn.Linear(4, 2))
    with pytest.raises(ModelError, match=r"no layer is called 'clasifier'.*did you mean 'classifier'"):
        map_network(net, load_chip("ideal"), torch.randn(4, 4), digital=["clasifier"])


def test_an_estimate_refuses_what_bypasses_the_arrays() -> None:
    from crosstile.api import estimate

    with pytest.raises(ModelError, match="bypass the arrays"):
        estimate(_PlainMask(), load_chip("reram-8b"), input_shape=(4,))
