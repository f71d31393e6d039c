"""Networks written down layer by layer; each call adds one node and returns it."""

from __future__ import annotations

from collections.abc import Sequence

from crosstile.errors import ModelError
from crosstile.mapping.plan import LayerShape
from crosstile.workloads.graph import Network, Node


def _extent(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


class Builder:
    """Collects the nodes of a network, in running order."""

    def __init__(self, name: str, shape: tuple[int, int, int], *, signed: bool = True) -> None:
        """Start a network whose input has ``shape`` (channels, height, width)."""
        self.name = name
        self.input = Node("input", "input", (), *shape, signed)
        self._nodes = [self.input]

    def _put(self, node: Node) -> Node:
        if min(node.channels, node.height, node.width) < 1:
            raise ModelError(
                f"network {self.name!r}: {node.name!r} would make a map of {node.channels} x {node.height} x {node.width}; "
                "the input is too small for its windows."
            )
        self._nodes.append(node)
        return node

    def conv(
        self, name: str, x: Node, channels: int, kernel: int = 3, *, stride: int = 1, padding: int | None = None,
        groups: int = 1, relu: bool = True,
    ) -> Node:  # fmt: skip
        """Add a two-dimensional convolution with square windows; ``padding`` defaults to half the kernel."""
        pad = kernel // 2 if padding is None else padding
        high, wide = (_extent(size, kernel, stride, pad) for size in (x.height, x.width))
        shape = LayerShape(
            name, "conv2d", x.channels // groups, kernel * kernel, channels // groups, groups, high * wide,
            x.elements, channels * high * wide, x.signed,
        )  # fmt: skip
        return self._put(
            Node(
                name, "layer", (x.name,), channels, high, wide, not relu, kernel, stride, pad, layer=shape, macs=shape.macs
            )
        )  # fmt: skip

    def linear(self, name: str, x: Node, outputs: int, *, relu: bool = False, tokens: bool = False) -> Node:
        """Add a linear layer: on the flattened map, or with ``tokens`` on each row of it."""
        features, positions = (x.channels * x.width, x.height) if tokens else (x.elements, 1)
        shape = LayerShape(
            name, "linear", features, 1, outputs, 1, positions, x.elements, outputs * positions, x.signed
        )  # fmt: skip
        return self._put(
            Node(
                name,
                "layer",
                (x.name,),
                outputs,
                positions,
                1,
                not relu,
                whole=not tokens,
                layer=shape,
                macs=shape.macs,
            )
        )

    def recurrent(self, name: str, x: Node, hidden: int, gates: int) -> Node:
        """Add a recurrent layer: for each token one product of [input, state, 1] with ``gates`` x ``hidden`` columns."""
        steps, rows = x.height, x.channels * x.width + hidden + 1
        shape = LayerShape(
            name, "linear", rows, 1, gates * hidden, 1, steps, rows * steps, gates * hidden * steps, True
        )  # fmt: skip
        return self._put(
            Node(name, "layer", (x.name,), hidden, steps, 1, True, recurrent=True, layer=shape, macs=shape.macs)
        )

    def product(self, name: str, a: Node, b: Node, channels: int, macs: int) -> Node:
        """Add a product of two feature maps, such as attention; each row of the result needs all of both."""
        return self._put(Node(name, "product", (a.name, b.name), channels, a.height, 1, True, whole=True, macs=macs))

    def pool(self, name: str, x: Node, kernel: int, stride: int | None = None, padding: int = 0) -> Node:
        """Add pooling with square windows."""
        step = stride or kernel
        high, wide = (_extent(size, kernel, step, padding) for size in (x.height, x.width))
        return self._put(Node(name, "pool", (x.name,), x.channels, high, wide, x.signed, kernel, step, padding))

    def global_pool(self, name: str, x: Node) -> Node:
        """Add the mean over all positions."""
        return self._put(Node(name, "pool", (x.name,), x.channels, 1, 1, x.signed, whole=True))

    def add(self, name: str, inputs: Sequence[Node], *, relu: bool = False) -> Node:
        """Add the sum of maps of equal size; a map with fewer channels or more rows is cut and padded (option A)."""
        first = inputs[0]
        stride = max(1, inputs[-1].height // first.height)
        signed = not relu and any(node.signed for node in inputs)
        names = tuple(node.name for node in inputs)
        if stride > 1:  # a node of its own, since its window holds for this input alone
            cut = inputs[-1]
            short = Node(
                f"{name}.cut", "pass", (cut.name,), first.channels, first.height, first.width, cut.signed, 1, stride
            )
            names = (*names[:-1], self._put(short).name)
        return self._put(Node(name, "add", names, first.channels, first.height, first.width, signed))

    def concat(self, name: str, inputs: Sequence[Node], *, relu: bool = False) -> Node:
        """Add the concatenation of maps along the channels, with a ReLU behind it if asked for."""
        first = inputs[0]
        channels = sum(node.channels for node in inputs)
        signed = not relu and any(node.signed for node in inputs)
        return self._put(
            Node(name, "concat", tuple(node.name for node in inputs), channels, first.height, first.width, signed)
        )

    def passed(self, name: str, x: Node, *, signed: bool) -> Node:
        """Add an operation that keeps the shape: an activation or a normalisation."""
        return self._put(Node(name, "pass", (x.name,), x.channels, x.height, x.width, signed))

    def build(self, description: str = "", reference: str = "") -> Network:
        """Return the network."""
        return Network(self.name, tuple(self._nodes), description, reference)
