"""What a training gives: the trained network, how it went, and accuracy on chips before and after."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.study.montecarlo import AccuracyResult
from crosstile.training.network import apply_ranges
from crosstile.training.options import TrainOptions


@dataclass(frozen=True)
class EpochRecord:
    """One epoch."""

    epoch: int
    """Counted from 1."""
    lr: float
    """Learning rate of its last step."""
    loss: float
    """Mean cross-entropy over its samples, on the chips that they were trained on."""
    train_accuracy: float
    """Share of its samples that these chips classified right, each before its step."""
    validation_accuracy: float | None
    """On chip 0, programmed after the epoch; None without validation."""
    seconds: float


@dataclass(frozen=True)
class Measured:
    """Accuracy on held-out samples."""

    digital: float
    chip: AccuracyResult

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"digital": self.digital, **dataclasses.asdict(self.chip)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Measured:
        """Return what :meth:`as_dict` was made of."""
        rest: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key != "digital"
        }
        return cls(values["digital"], AccuracyResult(**rest))


@dataclass(frozen=True, eq=False)
class TrainResult:
    """The outcome of :func:`crosstile.train`."""

    model: nn.Module
    """The network as it was given, with trained parameters, in evaluation mode on the CPU."""
    history: tuple[EpochRecord, ...]
    before: Measured | None
    """Held-out accuracy of the network that was given; None without held-out samples."""
    after: Measured | None
    ranges: dict[str, InputScale] | None
    """Learnt scales of the layers' inputs; None where mapping calibrates them."""
    options: TrainOptions
    chip: ChipSpec

    @property
    def state_dict(self) -> dict[str, Tensor]:
        """The trained parameters, for ``load_state_dict`` of the network and ``crosstile run --weights``."""
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    def map(self, calibration: Tensor, chip: ChipSpec | None = None) -> MappedNetwork:
        """Map the trained network, with its learnt ranges if it has any.

        Args:
            calibration: (batch, ...) inputs, as for :func:`crosstile.map`. chip: another one than it was trained for.
        """
        return map_with_ranges(self.model, chip or self.chip, calibration, self.options, self.ranges)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the weights."""
        ranges = self.ranges or {}
        return {
            "chip": self.chip.name,
            "options": dataclasses.asdict(self.options) | {"digital": list(self.options.digital)},
            "before": None if self.before is None else self.before.as_dict(),
            "after": None if self.after is None else self.after.as_dict(),
            "history": [dataclasses.asdict(record) for record in self.history],
            "ranges": {name: dataclasses.asdict(scale) for name, scale in ranges.items()},
            "torch": torch.__version__,
        }


def map_with_ranges(
    model: nn.Module, chip: ChipSpec, calibration: Tensor, options: TrainOptions, ranges: dict[str, InputScale] | None
) -> MappedNetwork:
    """Map a network as ``options`` say; with ``ranges`` instead of calibrated scales of the inputs, if given."""
    mapped = map_network(model, chip, calibration, seed=options.seed, digital=options.digital)
    if ranges is not None:
        apply_ranges(mapped, ranges, calibration)
    return mapped
