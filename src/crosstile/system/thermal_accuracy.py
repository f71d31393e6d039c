"""What the temperatures of a chip's arrays do to its accuracy: chips under local conditions, and which layers mind heat most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.mapping.replace import MappedNetwork
from crosstile.specs.conditions import Conditions
from crosstile.study.montecarlo import count_correct
from crosstile.system.floorplan import by_layer

FloatArray = npt.NDArray[np.float64]


def local_conditions(
    mapped: MappedNetwork, arrays_k: FloatArray, time_s: float | None, *, reference_columns: bool = False
) -> list[Conditions]:
    """Return the conditions of each copy of the arrays.

    Args:
        arrays_k: (copies, arrays) temperatures, such as those of :class:`crosstile.system.thermal.ThermalState`.
    """
    names, counts = list(mapped.layers), [layer.plan.arrays for layer in mapped.layers.values()]
    return [
        Conditions(
            time=time_s, temperature=float(copy.mean()), arrays=by_layer(copy, names, counts),
            reference_columns=reference_columns,
        )
        for copy in np.unique(arrays_k, axis=0)
    ]  # fmt: skip


def accuracy(
    mapped: MappedNetwork,
    x: Tensor,
    y: Tensor,
    conditions: Sequence[Conditions],
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Return the share of samples that the present chip classifies right; with several conditions (copies in turn) their mean."""
    right = 0
    for condition in conditions:
        mapped.age(condition)
        right += count_correct(mapped, x, y, batch, progress)
    return right / (len(x) * len(conditions))


def layer_sensitivity(
    mapped: MappedNetwork,
    x: Tensor,
    hot_k: float,
    time_s: float | None,
    progress: Callable[[int], None] | None = None,
) -> FloatArray:
    """Return (layers,) error of the network's scores for each kelvin of one layer, all others as cool as the chip is described.

    The error is the root mean square change of the scores over their standard deviation, with the same read noise; it is measured
    at ``hot_k`` and divided by the warming, which is first order.

    Args:
        mapped: programmed; left at the chip's own conditions. x: a few samples.
    """
    cool_k = mapped.chip.conditions.temperature_k
    cool = Conditions(time=time_s, temperature=cool_k)

    def scores(condition: Conditions) -> Tensor:
        mapped.age(condition)
        with torch.inference_mode():
            out: Tensor = mapped(x).double().cpu()
        return out

    wanted = scores(cool)
    scale = float(wanted.std()) or 1.0
    found = []
    state = mapped.state
    for layer in mapped.layers.values():
        hot = cool.model_copy(update={"temperature_k": hot_k})
        layer.age(state.seed, state.trial, hot, recalibrate=False)
        mapped.seek(0)
        with torch.inference_mode():
            changed = mapped(x).double().cpu()
        layer.age(state.seed, state.trial, cool, recalibrate=False)
        found.append(float((changed - wanted).square().mean().sqrt()) / scale / max(abs(hot_k - cool_k), 1.0))
        if progress is not None:
            progress(1)
    mapped.age(mapped.chip.conditions)
    return np.array(found)
