"""Accuracy over programmed chips: mean, interval, and the same result whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from crosstile.mapping.replace import MappedNetwork


@dataclass(frozen=True)
class AccuracyResult:
    """Accuracy of one network on one chip description."""

    mean: float
    ci95: tuple[float, float]
    per_trial: tuple[float, ...]
    samples: int
    method: str


def count_correct(
    network: nn.Module, x: Tensor, y: Tensor, batch: int, progress: Callable[[int], None] | None = None
) -> int:
    """Return how many of the samples the network classifies right (argmax over dimension 1)."""
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(x), batch):
            out = network(x[start : start + batch])
            correct += int((out.argmax(dim=1).cpu() == y[start : start + batch]).sum())
            if progress is not None:
                progress(min(batch, len(x) - start))
    return correct


def _wilson(mean: float, samples: int) -> tuple[float, float]:
    """Wilson's score interval at 95 % (E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927))."""
    z2 = 1.959964**2
    centre = (mean + z2 / (2 * samples)) / (1 + z2 / samples)
    half = math.sqrt(z2 * (mean * (1 - mean) / samples + z2 / (4 * samples**2))) / (1 + z2 / samples)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def interval(per_trial: Sequence[float], samples: int) -> tuple[tuple[float, float], str]:
    """Return the 95 % interval of the mean accuracy and how it was computed.

    Chips that differ: Student's t over chips, on the same test samples. One chip, or chips that all agree (as those
    without random effects do): Wilson's score interval over the test samples.
    """
    n, mean = len(per_trial), float(np.mean(per_trial))
    if len(set(per_trial)) == 1:
        chips = "one programmed chip" if n == 1 else f"{n} programmed chips, which all agree"
        return _wilson(per_trial[0], samples), f"Wilson score interval over {samples} test samples of {chips}"
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975)) * float(np.std(per_trial, ddof=1)) / math.sqrt(n)
    return (max(mean - half, 0.0), min(mean + half, 1.0)), (
        f"Student's t over {n} programmed chips on the same {samples} test samples; the choice of samples itself adds "
        f"about ±{100 * 1.96 * math.sqrt(mean * (1 - mean) / samples):.2g} points that are not in it"
    )


def evaluate(
    mapped: MappedNetwork,
    x: Tensor,
    y: Tensor,
    *,
    trials: int = 3,
    batch: int = 128,
    seed: int | None = None,
    done: Sequence[float] = (),
    progress: Callable[[int], None] | None = None,
    program: Callable[[int], None] | None = None,
    after_trial: Callable[[list[float]], None] | None = None,
) -> AccuracyResult:
    """Programme ``trials`` chips and classify the samples on each.

    Args:
        mapped: from :func:`crosstile.map`.
        x: (samples, ...) inputs as the network takes them.
        y: (samples,) labels.
        trials: chips to programme.
        batch: samples at once; the result does not depend on it.
        seed: replaces the network's seed.
        done: accuracies of trials already finished (a resumed run).
        progress: called with the number of samples finished.
        program: programmes chip number so-and-so, if more is to happen then; default: ``mapped.program``.
        after_trial: called with all accuracies so far after each trial.
    """
    accuracies = list(done)
    for trial in range(len(accuracies), trials):
        if program is not None:
            program(trial)
        else:
            mapped.program(trial, seed=seed)
        accuracies.append(count_correct(mapped, x, y, batch, progress) / len(x))
        if after_trial is not None:
            after_trial(accuracies)
    ci95, method = interval(accuracies, len(x))
    return AccuracyResult(round(float(np.mean(accuracies)), 12), ci95, tuple(accuracies), len(x), method)
