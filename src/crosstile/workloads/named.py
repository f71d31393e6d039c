"""A network by its name: one of known shapes, or a factory of PyTorch modules, traced."""

from __future__ import annotations

import functools

from crosstile.workloads.graph import Network
from crosstile.workloads.table import network as known_network


def is_factory(name: str) -> bool:
    """Return whether a name is that of a factory, ``package.module:factory``."""
    return ":" in name


@functools.lru_cache(maxsize=4)
def named_network(name: str, input_shape: tuple[int, ...] | None = None) -> Network:
    """Return the graph of a network.

    A factory is imported, called, and run once on one sample of ``input_shape``, as :mod:`crosstile.workloads.trace` says;
    weights do not matter, except that inputs count as signed where that run sees negative values.

    Raises:
        SpecError: there is no network of this name. ModelError: a factory cannot be imported, run or mapped.
    """
    if not is_factory(name):
        return known_network(name)
    from crosstile.workloads.trace import trace
    from crosstile.zoo import build_model

    assert input_shape is not None
    return trace(build_model(name, allow_untrained=True).model, input_shape, name=name)
