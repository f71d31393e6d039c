"""A network as a graph of feature maps: which layer waits for which rows of which other.

A feature map is ``channels x height x width``. A node makes one; to make its first ``r`` rows it needs of each
input, whose height is ``H``, the first

    min(H, (r - 1) stride + kernel - padding)

rows, or all of them where ``whole`` is set (flattening, a global mean, attention over tokens). Sequences are maps with one
token a row. Weights sit in nodes with a ``layer``; ``product`` nodes multiply two feature maps, which no cell can keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from crosstile.errors import ModelError
from crosstile.mapping.plan import LayerShape

NodeKind = Literal["input", "layer", "product", "pool", "add", "concat", "pass"]


@dataclass(frozen=True)
class Node:
    """One operation, and the feature map that it makes."""

    name: str
    kind: NodeKind
    inputs: tuple[str, ...]
    channels: int
    height: int
    width: int
    signed: bool
    """Values may be negative."""
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    """Of the window over rows."""
    whole: bool = False
    """Needs all rows of its inputs before it makes its first."""
    recurrent: bool = False
    """Each row waits for the row before: copies of the weights do not help within one sample."""
    layer: LayerShape | None = None
    """The matrix product that goes on arrays; for kind ``layer`` only."""
    macs: int = 0
    """Multiply-accumulates of one sample, on arrays or (``product``) off them."""

    @property
    def elements(self) -> int:
        """Values of the feature map."""
        return self.channels * self.height * self.width

    def rows_needed(self, rows: int, height: int) -> int:
        """Return how many rows of an input of ``height`` the first ``rows`` rows of this map need."""
        if rows <= 0:
            return 0
        if self.whole or rows >= self.height:
            return height
        return max(0, min(height, (rows - 1) * self.stride + self.kernel - self.padding))


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which they can run; the first is the input, the last gives the result."""

    name: str
    nodes: tuple[Node, ...]
    description: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in seen]
            if missing or node.name in seen:
                what = f"reads {missing[0]!r}, which no earlier node makes" if missing else "stands twice"
                raise ModelError(
                    f"network {self.name!r}: node {node.name!r} {what}; order the nodes by who waits for whom."
                )
            if (node.kind == "layer") != (node.layer is not None) or (node.kind == "input") != (not node.inputs):
                raise ModelError(f"network {self.name!r}: node {node.name!r} of kind {node.kind!r} is not complete.")
            seen.add(node.name)
        if not any(node.layer for node in self.nodes):
            raise ModelError(f"network {self.name!r} has no layer with weights; there is nothing to put on arrays.")

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def input(self) -> Node:
        """The input of the network."""
        return self.nodes[0]

    @property
    def output(self) -> Node:
        """The node that gives the result."""
        return self.nodes[-1]

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes with weights, in running order."""
        return tuple(node for node in self.nodes if node.layer is not None)

    @property
    def shapes(self) -> tuple[LayerShape, ...]:
        """The shapes of the layers, as :func:`crosstile.mapping.plan.plan_layer` takes them."""
        return tuple(node.layer for node in self.layers if node.layer is not None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample, products of feature maps included."""
        return sum(node.macs for node in self.nodes)

    @property
    def weights(self) -> int:
        """Weights on arrays, biases left out."""
        return sum(shape.rows * shape.outputs * shape.groups for shape in self.shapes)

    @cached_property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """For each layer the layers (or the input) whose values reach it through nodes without weights."""
        behind: dict[str, dict[str, None]] = {}
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            reached: dict[str, None] = {}
            for name in node.inputs:
                reached.update({name: None} if self[name].kind in ("input", "layer") else behind[name])
            behind[node.name] = reached
            if node.layer is not None:
                found[node.name] = tuple(reached)
        return found

    @cached_property
    def consumers(self) -> dict[str, tuple[str, ...]]:
        """For each node the nodes that read it."""
        readers: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node.name)
        return {name: tuple(found) for name, found in readers.items()}


def chain(name: str, shapes: Sequence[LayerShape]) -> Network:
    """Return the network in which each of ``shapes`` waits for the whole of the one before.

    For layers whose connections are not known; the rows of a map are its positions.
    """
    if not shapes:
        raise ModelError(f"network {name!r}: there is no layer.")
    first = shapes[0]
    nodes = [Node("input", "input", (), first.input_elements, 1, 1, first.signed_inputs)]
    for shape in shapes:
        channels = max(1, shape.output_elements // max(1, shape.positions))
        nodes.append(
            Node(
                shape.name,
                "layer",
                (nodes[-1].name,),
                channels,
                shape.positions,
                1,
                True,
                whole=True,
                layer=shape,
                macs=shape.macs,
            )
        )
    return Network(name, tuple(nodes))
