"""The standard networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from crosstile.errors import ModelError
from crosstile.specs.base import near_match
from crosstile.workloads import convolutional as cnn
from crosstile.workloads import sequential as seq
from crosstile.workloads.graph import Network

_NETWORKS: dict[str, Callable[[], Network]] = {
    "lenet5": cnn.lenet5,
    "vgg8": cnn.vgg8,
    "vgg16": cnn.vgg16,
    "vgg16-cifar10": cnn.vgg16_cifar10,
    **{f"resnet{depth}": partial(cnn.cifar_resnet, depth) for depth in (8, 20, 32, 44, 56)},
    **{f"resnet{depth}": partial(cnn.resnet, depth) for depth in (18, 34, 50)},
    **{f"resnet{depth}-cifar100": partial(cnn.resnet, depth, small=True) for depth in (18, 34, 50)},
    "densenet121": cnn.densenet121,
    "densenet121-cifar100": partial(cnn.densenet121, small=True),
    "mobilenet": cnn.mobilenet,
    "lstm": seq.lstm,
    "transformer": seq.transformer_block,
    "transformer-7b": seq.transformer_7b,
}
STANDARD = (
    "lenet5", "vgg8", "vgg16", "resnet18", "resnet20", "resnet50", "densenet121", "mobilenet", "lstm", "transformer",
)  # fmt: skip
"""The networks of the standard table, one of each kind."""


def network_names() -> tuple[str, ...]:
    """Return the names of all networks that are known by their shapes."""
    return tuple(_NETWORKS)


@cache
def network(name: str) -> Network:
    """Return a standard network by its shapes; an unknown name raises :class:`ModelError` with a near match."""
    if name not in _NETWORKS:
        raise ModelError(
            f"no network of known shapes is called {name!r}{near_match(name, _NETWORKS)}; known are {', '.join(_NETWORKS)}. "
            "Your own goes as package.module:factory with --input-shape."
        )
    return _NETWORKS[name]()
