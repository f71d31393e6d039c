"""Which samples are trained on, and which ones accuracy is measured with: no sample is both.

A data set with a training part is trained on that and measured on its test part. One without is cut in two: the first samples are
held out, so that ``crosstile run --samples N`` measures on the very same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstile.datasets import Dataset
from crosstile.datasets.base import Array
from crosstile.errors import UsageError
from crosstile.study.samples import CALIBRATION_SAMPLES


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs as the network takes them, and labels."""

    x: Tensor
    y: Tensor
    held_out: tuple[Tensor, Tensor]
    calibration: Tensor
    text: str
    """In words, for the result."""


def split(data: Dataset, *, hold_out: int | None, samples: int | None, train_samples: int | None) -> Split:
    """Cut a data set.

    Args:
        hold_out: first samples of a data set without a training part that are kept to measure accuracy.
        samples: held-out samples to measure with at most; default all. train_samples: to train on at most.

    Raises:
        UsageError: a number that does not fit the data set.
    """
    for name, value in (("hold-out", hold_out), ("samples", samples), ("train-samples", train_samples)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, found {value}.")
    calibration = data.x_calibration[:CALIBRATION_SAMPLES]
    if data.x_train is not None and data.y_train is not None:
        if hold_out is not None:
            raise UsageError(
                f"--hold-out: data set {data.name!r} has {len(data.x_train)} training samples of its own, and accuracy is "
                "measured on its test samples; leave the option out."
            )
        x, y, x_held, y_held = data.x_train, data.y_train, data.x, data.y
        text = f"trained on {{}} training samples of {data.name}, measured on {{}} test samples"
    else:
        if hold_out is None:
            raise UsageError(
                f"data set {data.name!r} has no training samples here, so that its {len(data)} test samples have to serve for "
                "both; say how many of the first are held out to measure accuracy, and not trained on: --hold-out 2000."
            )
        if hold_out >= len(data):
            raise UsageError(
                f"--hold-out {hold_out} leaves none of the {len(data)} samples of {data.name!r} to train on."
            )
        x, y, x_held, y_held = data.x[hold_out:], data.y[hold_out:], data.x[:hold_out], data.y[:hold_out]
        text = f"trained on {{}} test samples of {data.name} (it has no training samples here), measured on {{}} others"
    x, y, x_held, y_held = x[:train_samples], y[:train_samples], x_held[:samples], y_held[:samples]

    def inputs(images: Array) -> Tensor:
        return torch.from_numpy(data.normalised(images))

    def labels(values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.int64))

    return Split(
        inputs(x), labels(y), (inputs(x_held), labels(y_held)), inputs(calibration), text.format(len(x), len(x_held))
    )
