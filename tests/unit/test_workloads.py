"""Networks by their shapes: counts of the literature, the built-in networks, and what tracing finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from crosstile.errors import ModelError
from crosstile.mapping.capture import capture
from crosstile.mapping.plan import LayerShape
from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network, Node, chain
from crosstile.workloads.sequential import transformer_7b
from crosstile.workloads.table import STANDARD, network, network_names
from crosstile.workloads.trace import trace
from crosstile.zoo import build_model

# Millions of weights and of multiply-accumulates as commonly stated for these networks (biases and normalisation left
# out), to the digits given; they follow from the architectures, so agreement to rounding is demanded.
STATED = {
    "vgg16": (138.3, 15_470),
    "resnet18": (11.7, 1_814),
    "resnet34": (21.8, 3_664),
    "resnet50": (25.5, 4_089),
    "densenet121": (7.9, 2_834),
    "mobilenet": (4.2, 569),
}


@pytest.mark.parametrize("name", STATED)
def test_counts_are_those_of_the_literature(name: str) -> None:
    weights, macs = STATED[name]
    assert network(name).weights / 1e6 == pytest.approx(weights, abs=0.05)
    assert network(name).macs / 1e6 == pytest.approx(macs, abs=0.5)


def test_the_standard_networks_are_known() -> None:
    assert set(STANDARD) <= set(network_names())
    assert 6.6e9 < network("transformer-7b").weights < 6.7e9


def test_products_of_feature_maps_count_as_work_off_the_arrays() -> None:
    short, long = transformer_7b(1, 128), transformer_7b(1, 256)
    assert short.weights == long.weights
    assert long.macs - short.macs == 32 * 2 * 128 * 4096


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "resnet20", "resnet56", "vgg8"])
def test_shapes_agree_with_the_network_that_runs(name: str) -> None:
    loaded = build_model(name, allow_untrained=True)
    assert loaded.info is not None
    x = torch.randn((1, *loaded.info.input_shape), generator=torch.Generator().manual_seed(0))
    seen = [call.shape() for call in capture(loaded.model, x).layers.values()]
    assert [replace(shape, name="") for shape in seen] == [replace(shape, name="") for shape in network(name).shapes]


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "vgg8"])
def test_tracing_finds_the_same_connections(name: str) -> None:
    loaded = build_model(name, allow_untrained=True)
    assert loaded.info is not None
    found, wanted = trace(loaded.model, loaded.info.input_shape, name=name), network(name)
    place = {node.name: number for number, node in enumerate(found.layers)}
    names = [node.name for node in wanted.layers]
    for ours, theirs in zip(found.layers, wanted.layers, strict=True):
        sources = {source if source == "input" else names[place[source]] for source in found.sources[ours.name]}
        assert sources == set(wanted.sources[theirs.name])
        assert (ours.kernel, ours.stride, ours.padding) == (theirs.kernel, theirs.stride, theirs.padding)
        assert (ours.channels, ours.height, ours.width) == (theirs.channels, theirs.height, theirs.width)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "height"),
    [(3, 1, 1, 8), (3, 2, 1, 9), (2, 2, 0, 8), (5, 1, 0, 7), (7, 2, 3, 11), (1, 2, 0, 8)],
)
def test_rows_needed_are_those_that_windows_touch(kernel: int, stride: int, padding: int, height: int) -> None:
    made = (height + 2 * padding - kernel) // stride + 1
    node = Node("x", "pool", ("input",), 1, made, 1, False, kernel, stride, padding)
    for rows in range(1, made):
        last = max(
            y for r in range(rows) for y in range(r * stride - padding, r * stride - padding + kernel) if y < height
        )
        assert node.rows_needed(rows, height) == last + 1
    assert node.rows_needed(0, height) == 0
    assert node.rows_needed(made, height) == height  # a map is released as a whole once its last row is made


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [layer(x).view(1, 10, 4, 8).transpose(1, 2) for layer in (self.q, self.k, self.v)]
        mixed = nn.functional.scaled_dot_product_attention(*heads)
        out: torch.Tensor = self.o(mixed.transpose(1, 2).reshape(1, 10, 32)) + x
        return out


def test_tracing_follows_attention() -> None:
    found = trace(_Attention(), (10, 32))
    assert [node.name for node in found.layers] == ["q", "k", "v", "o"]
    assert set(found.sources["o"]) == {"q", "k", "v"}
    assert found.sources["q"] == ("input",)
    assert found.macs == 4 * 10 * 32 * 32 + 2 * 10 * 10 * 32
    assert found.output.kind == "add"


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.b(self.a(self.a(x)))
        return out


def test_a_layer_that_is_called_twice_makes_a_chain_and_says_so() -> None:
    found = trace(_Twice(), (8,))
    assert "chain" in found.description
    assert found.shapes[0].positions == 2
    assert found.sources["b"] == ("a",)


def test_a_chain_waits_for_whole_maps() -> None:
    found = chain(
        "two",
        [
            LayerShape("a", "linear", 4, 1, 3, 1, 5, 20, 15, True),
            LayerShape("b", "linear", 15, 1, 2, 1, 1, 15, 2, True),
        ],
    )
    assert found["b"].rows_needed(1, found["a"].height) == 5
    with pytest.raises(ModelError, match="no layer"):
        chain("none", [])


def test_mistakes_are_told() -> None:
    with pytest.raises(ModelError, match="did you mean 'densenet121'"):
        network("densnet121")
    with pytest.raises(ModelError, match="too small for its windows"):
        Builder("tiny", (1, 2, 2)).pool("pool", Builder("tiny", (1, 2, 2)).input, 4)
    b = Builder("loop", (1, 4, 4))
    with pytest.raises(ModelError, match="no layer with weights"):
        b.build()
    node = Node("a", "pass", ("b",), 1, 1, 1, False)
    with pytest.raises(ModelError, match="no earlier node makes"):
        Network("loop", (b.input, node))
