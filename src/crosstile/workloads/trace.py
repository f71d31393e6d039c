"""The graph of a PyTorch network, found by running it once and following each tensor.

The network's own code is run, so that any control flow is followed. Operations that keep rows apart (windows of pooling, sums,
concatenation of channels) become nodes with their windows; whatever else is met is taken to need all of its inputs, which
can only make a schedule slower than it need be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crosstile.mapping.bypass import check_nothing_bypasses
from crosstile.mapping.capture import Capture, capture
from crosstile.workloads.graph import Network, Node, NodeKind, chain

_SUMS = ("add", "add_", "sub", "sub_", "mul", "mul_")
_PRODUCTS = ("bmm", "matmul", "mm", "baddbmm")


def trace(network: nn.Module, input_shape: Sequence[int], digital: Sequence[str] = (), *, name: str = "") -> Network:
    """Return the graph of ``network`` for samples of ``input_shape``: (channels, height, width), (channels, length), (features,).

    Layers that match ``digital`` stay off the arrays. A network that calls one layer several times is returned as a chain in
    which each layer waits for the one before; its description says so.

    Raises:
        ModelError: nothing can be mapped, the network does not run on such inputs, or products of weights bypass the arrays.
    """
    x = torch.randn((1, *input_shape), generator=torch.Generator().manual_seed(0))
    seen = capture(network, x, digital)
    check_nothing_bypasses(network, x, digital, planned=[call.module for call in seen.layers.values()])
    name = name or type(network).__name__
    if any(call.calls > 1 for call in seen.layers.values()):
        graph = chain(name, [call.shape() for call in seen.layers.values()])
        return Network(name, graph.nodes, "taken as a chain, since some layers are called more than once")
    follow = _Follow(seen, x)
    with ExitStack() as stack:
        for layer, call in seen.layers.items():
            stack.callback(call.module.register_forward_pre_hook(follow.enter).remove)
            stack.callback(call.module.register_forward_hook(follow.leaver(layer)).remove)
        with torch.no_grad(), follow:
            network(x)
    return Network(name, tuple(follow.nodes))


def _extent(tensor: Tensor, tokens: bool) -> tuple[int, int, int]:
    """Return (channels, height, width) of one sample; ``tokens``: features come last."""
    size = tuple(tensor.shape[1:])
    if len(size) == 3:
        return size[0], size[1], size[2]
    if len(size) == 2:
        return (size[1], size[0], 1) if tokens else (size[0], size[1], 1)
    return max(1, tensor.numel() // max(1, tensor.shape[0])), 1, 1


class _Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Knows of each tensor which node made it."""

    def __init__(self, seen: Capture, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = seen
        self.made: dict[int, tuple[Tensor, Node]] = {}  # holding the tensor keeps its id from being reused
        self.inside = 0
        first = Node("input", "input", (), *_extent(x, False), True)
        self.nodes = [first]
        self.made[id(x)] = (x, first)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that its compiler has nothing to do here."""
        return False

    def enter(self, module: nn.Module, args: Any) -> None:
        """Note that a layer's own operations follow."""
        self.inside += 1

    def leaver(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """Return the hook that makes the node of the layer ``name``."""

        def leave(module: nn.Module, args: Any, out: Tensor) -> None:
            self.inside -= 1
            shape, source = self.seen.layers[name].shape(), self._sources(args)
            channels, height, width = _extent(out, isinstance(module, nn.Linear))
            window = (1, 1, 0)
            if isinstance(module, nn.Conv2d | nn.Conv1d):
                # A dilated window reaches as far as one of (k - 1) d + 1.
                reach = (module.kernel_size[0] - 1) * module.dilation[0] + 1
                pad = module.padding[0] if isinstance(module.padding, tuple) else reach // 2
                window = (reach, module.stride[0], int(pad))
            self._put(
                out,
                Node(
                    name,
                    "layer",
                    source,
                    channels,
                    height,
                    width,
                    bool((out < 0).any()),
                    *window,
                    layer=shape,
                    macs=shape.macs,
                ),
            )

        return leave

    def _sources(self, values: Any) -> tuple[str, ...]:
        found = [self.made[id(t)][1].name for t in tree_leaves(values) if isinstance(t, Tensor) and id(t) in self.made]
        return tuple(dict.fromkeys(found)) or ("input",)

    def _put(self, out: Tensor, node: Node) -> None:
        self.nodes.append(node)
        self.made[id(out)] = (out, node)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.inside:
            return out
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = {id(t): t for t in tensors if id(t) in self.made}
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if known and results:
            operation = func.name().split("::")[-1].split(".")[0]
            self._operation(operation, list(known.values()), args, results[0])
        return out

    def _operation(self, operation: str, inputs: list[Tensor], args: Any, out: Tensor) -> None:
        before = self.made[id(inputs[0])][1]
        tokens = before.width == 1 and out.dim() == 3 and out.shape[2] == before.channels
        extent = _extent(out, tokens)
        if len(inputs) == 1 and out.shape == inputs[0].shape:
            self.made[id(out)] = (out, before)  # elementwise, normalisation, copies: the same map
            return
        kind: NodeKind = "pass"
        window, whole, macs = (1, 1, 0), True, 0
        if operation in _SUMS and all(t.shape == out.shape for t in inputs):
            kind, whole = "add", False
        elif operation == "cat" and out.dim() == 4 and all(t.shape[2:] == out.shape[2:] for t in inputs):
            kind, whole = "concat", False
        elif operation.startswith(("max_pool2d", "avg_pool2d")):
            kind, whole, window = "pool", False, _pool_window(args)
        elif operation in ("mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"):
            kind = "pool"
        elif operation == "slice" and out.dim() == 4:
            along, step = int(args[1]), int(args[4]) if len(args) > 4 else 1
            begins = int(args[2] or 0) if len(args) > 2 else 0
            if along != 2 or begins == 0:
                whole, window = False, (1, step if along == 2 else 1, 0)
        elif operation == "constant_pad_nd" and out.dim() == 4 and out.shape[2] == inputs[0].shape[2]:
            whole = False
        elif len(inputs) > 1 and (operation in _PRODUCTS or "attention" in operation):
            kind, macs = "product", _product_macs(operation, inputs, out)
        names = self._sources(inputs)
        label = f"{operation.strip('_')}.{len(self.nodes)}"
        negative = bool((out < 0).any())
        self._put(out, Node(label, kind, names, *extent, negative, *window, whole=whole, macs=macs))


def _pool_window(args: Any) -> tuple[int, int, int]:
    kernel = args[1][0]
    stride = args[2][0] if len(args) > 2 and args[2] else kernel
    return kernel, stride, args[3][0] if len(args) > 3 else 0


def _product_macs(operation: str, inputs: list[Tensor], out: Tensor) -> int:
    if "attention" in operation:  # queries x keys, then scores x values
        q, k = inputs[0], inputs[1]
        return 2 * q.numel() * k.shape[-2]
    return out.numel() * inputs[-2].shape[-1]
