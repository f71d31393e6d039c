"""The network of a study: one of known shapes, or a factory of PyTorch modules, traced.

Tracing runs the network once on one sample, as :mod:`crosstile.workloads.trace` says; weights do not matter, except that
inputs count as signed where that run sees negative values.
"""

from __future__ import annotations

from crosstile.search.study import StudySpec
from crosstile.workloads.graph import Network
from crosstile.workloads.table import network as known_network


def network_of(study: StudySpec) -> Network:
    """Return the graph of a study's network.

    Raises:
        ModelError: there is no such network, or it cannot be imported, run or mapped.
    """
    if ":" not in study.network:
        return known_network(study.network)
    from crosstile.workloads.trace import trace
    from crosstile.zoo import build_model

    assert study.input_shape is not None
    model = build_model(study.network, allow_untrained=True).model
    return trace(model, study.input_shape, name=study.network)


def cost_command(study: StudySpec, budget: int | None, file: str, *, by_layer: bool) -> list[str]:
    """Return the command that costs the chip in ``file`` again; hardware by layer and traced networks are estimated."""
    if ":" not in study.network and not by_layer:
        words = ["crosstile", "schedule", study.network, "--chip", file]
        return words + ([] if budget is None else ["--arrays", str(budget)])
    words = ["crosstile", "estimate", study.network, "--chip", file]
    shape = [] if study.input_shape is None else ["--input-shape", ",".join(str(size) for size in study.input_shape)]
    return words + shape
