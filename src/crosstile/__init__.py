"""Crosstile: accuracy and cost of a real network on an in-memory-computing chip, from one description.

    import crosstile as ct
    chip = ct.load_chip("reram-8b")
    mapped = ct.map(model, chip, calibration=images)
    result = ct.evaluate(mapped, x, y, trials=10)
    costs = ct.estimate(mapped)

Importing the package is cheap: torch and the rest come with the first use of a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosstile.api import estimate
    from crosstile.basisn.study import basis
    from crosstile.errors import CrosstileError
    from crosstile.mapping.replace import MappedNetwork
    from crosstile.mapping.replace import map_network as map
    from crosstile.specs.chip import ChipSpec
    from crosstile.specs.load import load_cell, load_chip, parse_chip
    from crosstile.study.montecarlo import evaluate
    from crosstile.study.options import RunOptions
    from crosstile.study.run import run
    from crosstile.sweep.export import load_sweep
    from crosstile.system.chip import evaluate_chip
    from crosstile.system.package import evaluate_package
    from crosstile.system.schedule import schedule
    from crosstile.training.loop import train
    from crosstile.training.options import TrainOptions
    from crosstile.workloads.table import network
    from crosstile.workloads.trace import trace

__version__ = "0.1.0"

_PLACES = {
    "ChipSpec": "crosstile.specs.chip",
    "CrosstileError": "crosstile.errors",
    "MappedNetwork": "crosstile.mapping.replace",
    "RunOptions": "crosstile.study.options",
    "TrainOptions": "crosstile.training.options",
    "basis": "crosstile.basisn.study",
    "estimate": "crosstile.api",
    "evaluate": "crosstile.study.montecarlo",
    "evaluate_chip": "crosstile.system.chip",
    "evaluate_package": "crosstile.system.package",
    "load_cell": "crosstile.specs.load",
    "load_chip": "crosstile.specs.load",
    "load_sweep": "crosstile.sweep.export",
    "map": "crosstile.mapping.replace",
    "network": "crosstile.workloads.table",
    "parse_chip": "crosstile.specs.load",
    "run": "crosstile.study.run",
    "schedule": "crosstile.system.schedule",
    "trace": "crosstile.workloads.trace",
    "train": "crosstile.training.loop",
}
_RENAMED = {"map": "map_network"}

__all__ = [
    "ChipSpec", "CrosstileError", "MappedNetwork", "RunOptions", "TrainOptions", "__version__", "basis", "estimate", "evaluate",
    "evaluate_chip", "evaluate_package", "load_cell", "load_chip", "load_sweep", "map", "network", "parse_chip", "run",
    "schedule", "trace", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'crosstile' has no attribute {name!r}; it offers {', '.join(sorted(_PLACES))}")
    return getattr(import_module(_PLACES[name]), _RENAMED.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
