"""Samples of a study, and the quantised twin that its chip is measured against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crosstile.datasets import Dataset, load_dataset
from crosstile.errors import DataError, UsageError
from crosstile.specs.chip import ChipSpec
from crosstile.study.options import RunOptions
from crosstile.study.stages import Progress
from crosstile.study.wires import without_wires
from crosstile.zoo import LoadedModel

CALIBRATION_SAMPLES = 128


def load_samples(
    options: RunOptions, loaded: LoadedModel, progress: Progress
) -> tuple[Dataset, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the data set, normalised test samples, their labels, and calibration samples.

    Raises:
        UsageError: no data set is named and the network has none of its own.
        DataError: it cannot be had.
    """
    name = options.data or (loaded.info.default_dataset if loaded.info else None)
    if name is None:
        raise UsageError(f"network {options.model!r} has no default data set; name one with --data.")
    seen = -1

    def downloading(done: int, total: int | None) -> None:
        nonlocal seen
        if seen < 0 or done < seen:  # the first file, or the next
            progress.stage(f"download {name}", total)
            seen = 0
        progress.advance(done - seen)
        seen = done

    data = load_dataset(name, data_dir=options.data_dir, download=options.download, progress=downloading)
    count = min(options.samples or len(data), len(data))
    x = torch.from_numpy(data.normalised(data.x[:count]))
    y = torch.from_numpy(np.asarray(data.y[:count], dtype=np.int64))
    calibration = torch.from_numpy(data.normalised(data.x_calibration[:CALIBRATION_SAMPLES]))
    return data, x, y, calibration


def check_outputs(loaded: LoadedModel, x: Tensor, data: Dataset) -> None:
    """Run one sample, so that a misfit is told as such."""
    try:
        with torch.inference_mode():
            out = loaded.model(x[:2])
    except (RuntimeError, ValueError, TypeError) as error:
        expected = f" (it takes {loaded.info.input_shape})" if loaded.info else ""
        raise DataError(
            f"network {loaded.name!r}{expected} does not run on samples of shape {tuple(x.shape[1:])} from data set "
            f"{data.name!r}: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(out, Tensor) or out.dim() != 2 or out.shape[0] != min(2, len(x)):
        found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise DataError(
            f"network {loaded.name!r} must give (samples, classes) scores; on two samples it gives {found}."
        )
    if not bool(torch.isfinite(out).all()):
        raise DataError(f"network {loaded.name!r} gives scores that are not finite; check weights and data.")
    if data.num_classes > out.shape[1]:
        raise DataError(
            f"data set {data.name!r} has {data.num_classes} classes but network {loaded.name!r} gives {out.shape[1]} scores."
        )


def ideal_twin(chip: ChipSpec) -> ChipSpec:
    """Return the same chip with ideal cells, wires and converters: the quantised network and nothing else."""
    ideal: ChipSpec = without_wires(chip).replaced(
        cell__effects=(),
        adc__bits=None,
        adc__range="calibrated",
        adc__references="uniform",
        compensation__outputs="none",
    )
    return ideal
