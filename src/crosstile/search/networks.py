"""The network of a study, and the command that costs what was found."""

from __future__ import annotations

from crosstile.search.study import StudySpec
from crosstile.workloads.graph import Network
from crosstile.workloads.named import named_network


def network_of(study: StudySpec) -> Network:
    """Return the graph of a study's network.

    Raises:
        ModelError: there is no such network, or it cannot be imported, run or mapped.
    """
    return named_network(study.network, study.input_shape)


def cost_command(study: StudySpec, budget: int | None, file: str, *, by_layer: bool) -> list[str]:
    """Return the command that costs the chip in ``file`` again; hardware by layer and traced networks are estimated."""
    if ":" not in study.network and not by_layer:
        words = ["crosstile", "schedule", study.network, "--chip", file]
        return words + ([] if budget is None else ["--arrays", str(budget)])
    words = ["crosstile", "estimate", study.network, "--chip", file]
    shape = [] if study.input_shape is None else ["--input-shape", ",".join(str(size) for size in study.input_shape)]
    return words + shape
