"""Finds matrix products of weights that did not go through arrays.

While the mapped network runs, each low-level operation is seen. What derives from the input is data; what
derives from a parameter or buffer and from no data counts as a weight. A matrix product, convolution or
recurrent cell that takes a weight outside a mapped layer is a bypass. Fused attention and LSTMs, functional
calls, masked weights and subclasses are found this way whatever module they hide in; a product written out as
elementwise multiplication and a sum is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crosstile.errors import ModelError
from crosstile.mapping.capture import is_kept_digital
from crosstile.nn.layer import MappedLayer

_PRODUCTS = (
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "linear", "linear_backward", "matmul",
    "conv", "mkldnn", "lstm", "gru", "rnn", "multi_head_attention", "transformer_encoder_layer", "bilinear",
    "trilinear", "einsum",
)  # fmt: skip
_NOT_PRODUCTS = ("batch_norm",)


def _is_product(name: str) -> bool:
    base = name.split("::")[-1].split(".")[0].strip("_")
    return any(
        base == p or base.startswith(p + "_") or f"_{p}" in base or base.startswith(p) for p in _PRODUCTS
    ) and not any(n in base for n in _NOT_PRODUCTS)


def _address(tensor: Tensor) -> int:
    return 0 if tensor.is_sparse else tensor.untyped_storage().data_ptr()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows weights and data through the operations, by the storage that they live in."""

    def __init__(self, weights: Iterable[Tensor], data: Tensor, where: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights = {_address(w) for w in weights} - {0}
        self.data: set[int] = set()
        self.keep: list[Tensor] = []
        self.where = where
        self.inside = 0
        self.found: list[str] = []
        self.mark_data(data)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that its compiler, which takes over a second to import, has nothing to do here."""
        return False

    def mark_data(self, values: Any) -> None:
        """Note that tensors derive from the input."""
        for tensor in tree_leaves(values):
            if isinstance(tensor, Tensor):
                self._mark(tensor, self.data)

    def _mark(self, tensor: Tensor, where: set[int]) -> None:
        if _address(tensor):
            where.add(_address(tensor))
            self.keep.append(tensor)  # a freed tensor's address could come back as something else

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.inside:
            return out
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_data = [_address(t) in self.data for t in tensors]
        is_weight = [_address(t) in self.weights and not d for t, d in zip(tensors, is_data, strict=True)]
        name = func.name()
        if _is_product(name) and any(w and t.dim() >= 2 for w, t in zip(is_weight, tensors, strict=True)):
            self.found.append(f"{name.split('::')[-1]} in {self.where[-1] if self.where else 'the network itself'}")
        if any(is_data):
            self.mark_data(out)
        elif any(is_weight):
            for result in tree_leaves(out):
                if isinstance(result, Tensor):
                    self._mark(result, self.weights)
        return out


def check_nothing_bypasses(
    network: nn.Module, x: Tensor, digital: Sequence[str] = (), *, planned: Collection[nn.Module] = ()
) -> None:
    """Run one batch and raise when a mapped layer is never called or a product of weights bypasses the arrays.

    Args:
        network: a mapped network, or one that is only planned.
        x: one batch.
        digital: patterns of names of layers that stay digital.
        planned: layers that count as mapped although they are not (for an estimate).

    Raises:
        ModelError: naming the operation and the module that it happened in.
    """
    mapped = {name: m for name, m in network.named_modules() if isinstance(m, MappedLayer)}
    on_arrays = {*mapped.values(), *planned}
    kept = [m for name, m in network.named_modules() if is_kept_digital(name, digital)]
    excused = {id(p) for module in kept for p in module.parameters()}
    weights: list[Tensor] = [p for p in network.parameters() if id(p) not in excused]
    weights += list(network.buffers())
    where: list[str] = []
    watch = _Watch([w for w in weights if w.numel()], x, where)
    before = {name: layer.total_calls for name, layer in mapped.items()}
    with ExitStack() as stack:
        for name, module in network.named_modules():
            label = f"module {name!r} ({type(module).__name__})" if name else "the network itself"
            is_mapped = module in on_arrays

            def enter(_: nn.Module, __: Any, label: str = label, is_mapped: bool = is_mapped) -> None:
                where.append(label)
                watch.inside += is_mapped

            def leave(_: nn.Module, __: Any, out: Any, is_mapped: bool = is_mapped) -> None:
                where.pop()
                watch.inside -= is_mapped
                if is_mapped:
                    watch.mark_data(out)

            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        with torch.no_grad(), watch:
            network(x)
    never = [name for name, layer in mapped.items() if layer.total_calls == before[name]]
    if never:
        raise ModelError(
            f"mapped layers that were never called: {', '.join(never[:5])}; their weights bypass the arrays."
        )
    if watch.found:
        more = f" and {len(watch.found) - 3} more" if len(watch.found) > 3 else ""
        raise ModelError(
            f"products of weights that bypass the arrays: {'; '.join(watch.found[:3])}{more}. Layers that go on arrays are "
            "nn.Linear, nn.Conv1d and nn.Conv2d called as modules; write the product with one of them, or say that it "
            "stays digital (--digital NAME)."
        )
