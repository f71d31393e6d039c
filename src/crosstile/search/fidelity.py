"""Accuracy as the costly objective: few images and chips first, more where it is worth it.

Rungs r = 0, 1, ... have n_r images and t_r programmed chips. A chip goes on from a rung when its accuracy is among the best
``keep`` of all that reached that rung (successive halving as trials come in: Li et al., MLSys 2020, ASHA), and stops as soon
as Wilson's interval over the images lies wholly below or above ``accuracy_min`` (J. Am. Stat. Assoc. 22 (1927) 209):

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

Chips share the images, so that n counts images alone; the interval is wide rather than narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.special import ndtri

from crosstile.errors import UsageError
from crosstile.search.study import AccuracySpec
from crosstile.specs.chip import ChipSpec

Counter = Callable[[int, int, int], int]
"""(chip, first image, end) to images classified right."""


@dataclass(frozen=True)
class Measured:
    """An accuracy and what stands behind it."""

    accuracy: float
    low: float
    high: float
    images: int
    trials: int
    stopped: str
    """``complete``, ``halving`` (others were better), or ``decided`` (the interval says enough)."""
    rungs: tuple[float, ...]
    """Accuracy at each rung that was reached."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers."""
        return asdict(self) | {"rungs": list(self.rungs)}


def wilson(accuracy: float, images: int, confidence: float) -> tuple[float, float]:
    """Return the score interval of an accuracy over so many images."""
    z = float(ndtri(0.5 + confidence / 2))
    centre = accuracy + z * z / (2 * images)
    half = z * math.sqrt(accuracy * (1 - accuracy) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


class AccuracyLadder:
    """Rungs of images and chips, and what reached them."""

    def __init__(self, spec: AccuracySpec, minimum: float | None, seed: int) -> None:
        self.spec, self.minimum, self.seed = spec, minimum, seed
        self.reached: list[list[float]] = [[] for _ in spec.images]
        self._loaded: Any = None

    def remember(self, details: dict[str, Any]) -> None:
        """Take note of the rungs of an earlier run."""
        for rung, accuracy in enumerate(details["rungs"]):
            self.reached[rung].append(accuracy)

    def measure(self, chip: ChipSpec) -> Measured:
        """Return the accuracy of a chip.

        Raises:
            CrosstileError: model, data or chip do not fit.
        """
        return self.climb(self._counter(chip))

    def climb(self, count: Counter) -> Measured:
        """Return the accuracy that ``count`` finds, over as many rungs as it is worth."""
        spec, found = self.spec, []
        right: dict[int, int] = {}
        seen: dict[int, int] = {}
        accuracy, low, high, stopped, rung = 0.0, 0.0, 1.0, "complete", 0
        for rung, (images, trials) in enumerate(zip(spec.images, spec.trials, strict=True)):
            for trial in range(trials):
                right[trial] = right.get(trial, 0) + count(trial, seen.get(trial, 0), images)
                seen[trial] = images
            accuracy = sum(right.values()) / (images * trials)
            low, high = wilson(accuracy, images, spec.confidence)
            found.append(accuracy)
            others = self.reached[rung]
            others.append(accuracy)
            if rung + 1 == len(spec.images):
                break
            if self.minimum is not None and not low <= self.minimum <= high:
                stopped = "decided"
                break
            better = sum(other > accuracy for other in others)
            if better >= max(1, math.ceil(spec.keep * len(others))):
                stopped = "halving"
                break
        return Measured(accuracy, low, high, spec.images[rung], spec.trials[rung], stopped, tuple(found))

    def _counter(self, chip: ChipSpec) -> Counter:
        from crosstile.mapping.replace import map_network
        from crosstile.study.montecarlo import count_correct

        model, x, y, calibration = self._samples()
        mapped = map_network(model, chip, calibration, seed=self.seed)
        programmed = 0  # mapping leaves chip 0

        def count(trial: int, first: int, end: int) -> int:
            nonlocal programmed
            if trial != programmed:
                mapped.program(trial)
                programmed = trial
            mapped.seek(first)
            return 0 if first == end else count_correct(mapped, x[first:end], y[first:end], 128)

        return count

    def _samples(self) -> Any:
        if self._loaded is None:
            from crosstile.study.options import RunOptions
            from crosstile.study.samples import check_outputs, load_samples
            from crosstile.study.stages import Progress
            from crosstile.zoo import build_model

            spec = self.spec
            weights = None if spec.weights is None else Path(spec.weights)
            loaded = build_model(spec.model, weights=weights)
            options = RunOptions(model=spec.model, data=spec.data, samples=max(spec.images), download=False)
            data, x, y, calibration = load_samples(options, loaded, Progress())
            check_outputs(loaded, x, data)
            if len(x) < max(spec.images):
                raise UsageError(
                    f"search: accuracy.images wants {max(spec.images)} images; {data.name} has {len(x)} for tests."
                )
            self._loaded = (loaded.model, x, y, calibration)
        return self._loaded
