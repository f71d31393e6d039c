"""How far a model is off, and how far one constant a class would bring it.

With r = published / ours for each macro, the constant of a class is the geometric mean of its r: it minimises the sum of
squared logarithms of what is left. The error is ours / published - 1. Leaving one out, a macro is multiplied by the
constant of the other members of its class; a class of one by that of all other macros. A calibrated figure is no
prediction; the figure with its own macro left out is one, within the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosstile.errors import SpecError


@dataclass(frozen=True)
class Pair:
    """One figure of one macro, published and predicted."""

    name: str
    group: str
    published: float
    ours: float

    @property
    def error(self) -> float:
        """ours / published - 1."""
        return self.ours / self.published - 1.0


@dataclass(frozen=True)
class Calibrated:
    """A figure with the constants applied."""

    name: str
    group: str
    error: float
    """Uncalibrated."""
    constant: float
    """Of its class, its own figure among those it was fitted to."""
    error_calibrated: float
    constant_left_out: float | None
    """Fitted without this macro; ``None`` when there is no other."""
    error_left_out: float | None
    left_out_from: str
    """``"class"``, ``"all"`` (its class has no other member) or ``"none"``."""


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive numbers."""
    logs = [math.log(value) for value in values]
    if not logs:
        raise SpecError("validation: a constant cannot be fitted to no macro at all.")
    return math.exp(math.fsum(logs) / len(logs))


def median(values: Sequence[float]) -> float:
    """Return the median; of an even number the mean of the two in the middle."""
    if not values:
        raise SpecError("validation: no macro has this figure; there is no median.")
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def constants(pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the constant of each class, the geometric mean of published / ours."""
    groups = sorted({pair.group for pair in pairs})
    return {group: geometric_mean(p.published / p.ours for p in pairs if p.group == group) for group in groups}


def calibrate(pairs: Sequence[Pair]) -> tuple[Calibrated, ...]:
    """Return each figure with the constant of its class, and with the one that it had no part in."""
    for pair in pairs:
        if not (pair.published > 0 and pair.ours > 0):
            raise SpecError(
                f"validation: {pair.name}: figures must be positive, found {pair.published} and {pair.ours}."
            )
    fitted, found = constants(pairs), []
    for index, pair in enumerate(pairs):
        others = [other for i, other in enumerate(pairs) if i != index]
        own_class = [other for other in others if other.group == pair.group]
        source, left_out_from = (own_class, "class") if own_class else (others, "all" if others else "none")
        left_out = geometric_mean(p.published / p.ours for p in source) if source else None
        found.append(
            Calibrated(
                name=pair.name,
                group=pair.group,
                error=pair.error,
                constant=fitted[pair.group],
                error_calibrated=fitted[pair.group] * pair.ours / pair.published - 1.0,
                constant_left_out=left_out,
                error_left_out=None if left_out is None else left_out * pair.ours / pair.published - 1.0,
                left_out_from=left_out_from,
            )
        )
    return tuple(found)
