"""Ask and tell: what a problem is, what a trial found, and what every method does.

A method proposes points that no known constraint refuses and learns from outcomes. It draws random numbers from its own
generator alone, so that the same seed and the same outcomes give the same proposals: resuming replays stored outcomes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from crosstile.errors import SpecError
from crosstile.search.knobs import Point
from crosstile.search.space import Space, key_of

REJECTIONS = 20_000
"""Draws without an allowed point after which the constraints are taken to leave too little."""


@dataclass(frozen=True)
class Outcome:
    """What one evaluation found."""

    feasible: bool
    metrics: dict[str, float] = field(default_factory=dict)
    """Figures in SI units; complete where ``feasible``."""
    losses: tuple[float, ...] = ()
    """One for each objective, to be made small: ln of a cost, or minus an accuracy; empty where infeasible."""
    reason: str = ""
    """Why it is infeasible."""
    blames_hardware: bool = False
    """True where no mapping of this hardware can be feasible."""
    slacks: dict[str, float] = field(default_factory=dict)
    """By how much each limit is missed: above 0 where it is broken, such as ln(value / limit); limits that were not looked at are
    left out."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping, such as images and trials behind an accuracy."""


class Problem(Protocol):
    """What a method needs to know of a problem."""

    @property
    def space(self) -> Space:
        """All knobs."""

    @property
    def hardware(self) -> tuple[str, ...]:
        """Names of the knobs of the hardware; the others are those of the mapping."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of knobs of the same meaning, such as one field of several layers, in order."""

    def known(self, point: Point) -> str | None:
        """Return why a point is refused without evaluating it, or none."""

    def evaluate(self, point: Point) -> Outcome:
        """Return what a point gives."""


class Method(ABC):
    """A way to choose points."""

    name: str

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self.space = problem, problem.space
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.points: list[Point] = []
        self.outcomes: list[Outcome] = []
        self.seen: set[str] = set()
        self._known: dict[str, bool] = {}

    @abstractmethod
    def ask(self) -> Point | None:
        """Return a new point, or none when there is none left."""

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Learn what a point gave."""
        self.points.append(point)
        self.outcomes.append(outcome)
        self.seen.add(key_of(point))

    def allowed(self, point: Point) -> bool:
        """Return whether no known constraint refuses a point; remembered."""
        key = key_of(point)
        if key not in self._known:
            self._known[key] = self.problem.known(point) is None
        return self._known[key]

    def fresh(self, point: Point) -> bool:
        """Return whether a point is allowed and was not evaluated yet."""
        return key_of(point) not in self.seen and self.allowed(point)

    def draw(self) -> Point | None:
        """Return a fresh random point by rejection; none when a small space is exhausted.

        Raises:
            SpecError: none of 20,000 draws is allowed by the known constraints.
        """
        reason = ""
        for _ in range(REJECTIONS):
            point = self.space.sample(self.rng)
            if self.fresh(point):
                return point
            if not reason and not self.allowed(point):
                reason = self.problem.known(point) or ""
        if any(self._known.values()):
            return None  # all that is allowed was seen
        raise SpecError(
            f"search: none of {REJECTIONS:,} points drawn is allowed by the known constraints, such as: {reason or 'none'} "
            "Loosen the constraints or widen the knobs."
        )

    def feasible(self) -> list[int]:
        """Return the places of feasible trials."""
        return [i for i, outcome in enumerate(self.outcomes) if outcome.feasible]

    def scalar(self, weights: Mapping[int, float] | None = None) -> dict[int, float]:
        """Return one loss for each feasible trial.

        With several objectives it is the augmented Chebyshev sum max_k w_k t_k + 0.05 sum_k w_k t_k of losses t scaled to
        [0, 1] over what was seen (Knowles, IEEE Trans. Evol. Comput. 10 (2006) 50).
        """
        places = self.feasible()
        if not places or len(self.problem.objectives) == 1:
            return {i: self.outcomes[i].losses[0] for i in places}
        losses = np.array([self.outcomes[i].losses for i in places], dtype=np.float64)
        low, high = losses.min(axis=0), losses.max(axis=0)
        scaled = (losses - low) / np.where(high > low, high - low, 1.0)
        w = np.array([1.0 if weights is None else weights[k] for k in range(losses.shape[1])])
        total = (w * scaled).max(axis=1) + 0.05 * (w * scaled).sum(axis=1)
        return dict(zip(places, (float(t) for t in total), strict=True))

    def weights(self) -> dict[int, float]:
        """Return weights of the objectives drawn evenly from the simplex."""
        drawn = self.rng.dirichlet(np.ones(len(self.problem.objectives)))
        return {k: float(w) for k, w in enumerate(drawn)}


def best_of(outcomes: list[Outcome]) -> int | None:
    """Return the place of the feasible outcome with the least first loss (ties: the first), or none."""
    found, least = None, math.inf
    for i, outcome in enumerate(outcomes):
        if outcome.feasible and outcome.losses[0] < least:
            found, least = i, outcome.losses[0]
    return found
