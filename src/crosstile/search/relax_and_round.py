"""Relax and round: Bayesian optimisation as if every knob were a number, rounded to the nearest point.

A GP over the relaxed cube [0, 1]^d sees the places that were proposed, not the points that they were rounded to; what proved
infeasible counts as the worst loss found. Points that known constraints refuse are passed over.
"""

from __future__ import annotations

import numpy as np

from crosstile.search.base import Method, Outcome, Problem
from crosstile.search.knobs import Point
from crosstile.search.space import FloatArray, key_of
from crosstile.search.surrogate import LossModel, expected_improvement

CANDIDATES = 1000


class RelaxAndRound(Method):
    """The usual way to put Bayesian optimisation on a space it is not made for."""

    name = "relax_and_round"

    def __init__(self, problem: Problem, seed: int = 0, start: int = 10) -> None:
        super().__init__(problem, seed)
        self.start = start
        self._model = LossModel(seed)
        self._places: list[FloatArray] = []
        self._asked: tuple[str, FloatArray] | None = None

    def ask(self) -> Point | None:
        """Return the allowed rounding of the most promising place."""
        losses = self.scalar(self.weights()) if len(self.problem.objectives) > 1 else self.scalar()
        if len(self.points) < self.start or not losses:
            return self.draw()
        worst = max(losses.values())
        y = np.array([losses.get(i, worst) for i in range(len(self.points))])
        self._model.fit(np.array(self._places), y)
        best = self._places[min(losses, key=lambda i: losses[i])]
        far = self.rng.random((CANDIDATES // 2, len(best)))
        near = np.clip(best + 0.1 * self.rng.normal(size=(CANDIDATES // 2, len(best))), 0.0, 1.0)
        places = np.concatenate((far, near))
        promise = expected_improvement(*self._model.predict(places), min(losses.values()))
        for i in np.argsort(-promise, kind="stable"):
            point = self.space.rounded(places[i])
            if self.fresh(point):
                self._asked = (key_of(point), places[i])
                return point
        return self.draw()

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Learn what a point gave, at the place that was proposed."""
        super().tell(point, outcome)
        asked = self._asked
        own = asked is not None and asked[0] == key_of(point)
        self._places.append(asked[1] if own and asked is not None else self.space.relaxed([point])[0])
        self._asked = None
