"""Accuracy over time and temperature: every chip is programmed once, and looked at under one condition after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from crosstile.errors import UsageError
from crosstile.mapping.replace import MappedNetwork
from crosstile.specs.conditions import Conditions
from crosstile.study.montecarlo import count_correct, interval
from crosstile.units import parse_quantity

MAX_CONDITIONS = 64


@dataclass(frozen=True)
class Seen:
    """Accuracy of all chips under one condition, calibrated in one way."""

    per_trial: tuple[float, ...]
    mean: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class AgedAccuracy:
    """Accuracy under one condition."""

    conditions: Conditions
    once: Seen
    """Calibrated after programming, as the chip's description says, and left alone."""
    again: Seen
    """The outputs' gain fitted again under the condition."""
    method: str
    """How the interval of ``once`` was computed."""


def parse_conditions(times: Sequence[str], temperatures: Sequence[str], default: Conditions) -> tuple[Conditions, ...]:
    """Return the conditions of all pairs of a time and a temperature.

    Args:
        times, temperatures: texts such as ``"1 d"`` and ``"85 C"``, also several in one, parted by commas.
        default: what is not given.

    Raises:
        UsageError: a text that is no time or temperature, or more than 64 pairs.
    """

    def parse(texts: Sequence[str], dimension: str, low: float, high: float) -> list[float]:
        found = []
        for text in (part.strip() for whole in texts for part in whole.split(",")):
            try:
                value = parse_quantity(text, dimension)
            except ValueError as error:
                raise UsageError(f"--{dimension}: {error}.") from None
            if not low <= value <= high:
                unit = "s" if dimension == "time" else "K"
                raise UsageError(f"--{dimension}: {text!r} lies outside {low:g} to {high:g} {unit}.")
            if value not in found:
                found.append(value)
        return found

    moments: list[float | None] = [*parse(times, "time", 0.0, 1e11)] or [default.time_s]
    warmths = parse(temperatures, "temperature", 200.0, 600.0) or [default.temperature_k]
    if len(moments) * len(warmths) > MAX_CONDITIONS:
        raise UsageError(
            f"{len(moments)} times and {len(warmths)} temperatures are {len(moments) * len(warmths)} conditions; at most "
            f"{MAX_CONDITIONS} in one run."
        )
    return tuple(Conditions(time=t, temperature=k) for k in warmths for t in moments)


def steps(conditions: int, trials: int, samples: int) -> int:
    """Return how many samples :func:`evaluate_ageing` classifies."""
    return 2 * conditions * trials * samples


def evaluate_ageing(
    mapped: MappedNetwork,
    x: Tensor,
    y: Tensor,
    conditions: Sequence[Conditions],
    *,
    trials: int,
    batch: int = 128,
    done: Sequence[float] = (),
    progress: Callable[[int], None] | None = None,
    after_each: Callable[[list[float]], None] | None = None,
) -> list[AgedAccuracy]:
    """Classify the samples under every condition, on chips that are programmed once each.

    Converters and input scales stay as they were set for fresh cells.

    Args:
        mapped: from :func:`crosstile.map`. x, y: samples and labels. conditions: the first is that of the calibration
        which is kept. trials: chips. done: accuracies already found, in the order of ``after_each`` (a resumed run).
        progress: called with the number of samples finished. after_each: called with all accuracies so far.
    """
    found = list(done)
    for trial in range(trials):
        per_trial = 2 * len(conditions)
        if len(found) >= (trial + 1) * per_trial:
            continue
        mapped.program(trial, conditions=conditions[0])
        for number, condition in enumerate(conditions):
            for again in (False, True):
                if len(found) > trial * per_trial + 2 * number + again:
                    continue
                mapped.age(condition, recalibrate=again)
                found.append(count_correct(mapped, x, y, batch, progress) / len(x))
                if after_each is not None:
                    after_each(found)
    table = np.reshape(found, (trials, len(conditions), 2))

    def seen(number: int, again: int) -> tuple[Seen, str]:
        values = [float(v) for v in table[:, number, again]]
        ci95, method = interval(values, len(x))
        return Seen(tuple(values), round(float(np.mean(values)), 12), ci95), method

    result = []
    for number, condition in enumerate(conditions):
        once, method = seen(number, 0)
        result.append(AgedAccuracy(condition, once, seen(number, 1)[0], method))
    return result
