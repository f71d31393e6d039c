"""Nested constrained Bayesian optimisation: hardware outside, mapping inside.

GPs of the loss and of the slack of each limit (and a classifier for what no slack explains) see hardware x and mapping z
together, so that what works on one chip is tried first on the next. Outer, over hardware, with the mappings Z that promise
most on the best hardware found,

    a(x) = max_{z in Z} EI(x, z) P(feasible | x, z)

(or U - LCB(x, z) in place of EI, with LCB = m - s and U the largest LCB) over random hardware that known constraints allow and
neighbours of the best; where P < 0.7 the point is left out as long as others are there (then P < 0.5; then the surest is
taken). Inner, over all mappings of the chosen x, the same a; it ends after ``inner`` evaluations, when no mapping left has an LCB
below the best loss found anywhere, or when the outcome blames the hardware. The first ``start`` chips are random, with one
mapping each.

Knobs of the same meaning (one field, opened for many layers) are also moved together: two of three random starts have them equal,
half of the neighbours set a run of consecutive ones to one value, and the models see their means besides.

After Z. Shi et al., learned hardware/software co-design, arXiv:2010.02075, as far as its abstract says; layers are laid on arrays
by rules here, so that the inner search has mappings of a whole network, not loop orders of a layer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from crosstile.search.base import Method, Outcome, Problem
from crosstile.search.knobs import Point
from crosstile.search.space import FloatArray, Space, key_of
from crosstile.search.surrogate import FeasibilityModel, LossModel, expected_improvement, lower_bound

CANDIDATES, MAPPINGS, LEADERS = 400, 200, 6
SURE, DRAWS = 0.7, 60


class Nested(Method):
    """Our constrained Bayesian optimisation."""

    name = "nested"

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        *,
        start: int = 12,
        inner: int = 3,
        acquisition: Literal["ei", "lcb"] = "ei",
    ) -> None:
        super().__init__(problem, seed)
        self.start, self.inner, self.acquisition = start, inner, acquisition
        self._outer = self.space.part(problem.hardware)
        self._within = self.space.part([name for name in self.space.names if name not in problem.hardware])
        self._loss, self._feasibility = LossModel(seed), FeasibilityModel(seed)
        self._chosen: Point | None = None
        self._tried = 0
        self._weights = dict.fromkeys(range(len(problem.objectives)), 1.0)
        self._losses: dict[int, float] = {}
        self._pool: dict[str, Point] = {}
        self.outer_trials = 0
        """Hardware points that were proposed."""
        self.first_of_outer: list[int] = []
        """Number of the first trial of each of them."""

    def ask(self) -> Point | None:
        """Return the next mapping of the hardware in hand, or a first one of other hardware."""
        ready = self._learn()
        if ready and self._chosen is not None and self._tried < self.inner:
            point = self._inner(self._chosen)
            if point is not None:
                return point
        self._weights = self.weights()
        point = self._outer_step() if ready else self._start()
        if point is None:
            point = self.draw()
        if point is not None:
            self._chosen, self._tried = self._outer.cut(point), 0
            self.outer_trials += 1
            self.first_of_outer.append(len(self.points))
        return point

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Learn an outcome; one that blames the hardware ends its inner search."""
        super().tell(point, outcome)
        self._tried += 1
        if outcome.blames_hardware:
            self._chosen = None

    def _learn(self) -> bool:
        """Fit both models; return whether there is enough to go by."""
        self._losses = self.scalar(self._weights)
        if len(self.points) < self.start or not self._losses:
            return False
        places = list(self._losses)
        x = self._features(self.points)
        self._loss.fit(x[places], np.array([self._losses[i] for i in places]))
        slacks = [outcome.slacks for outcome in self.outcomes]
        self._feasibility.fit(x, np.array([outcome.feasible for outcome in self.outcomes]), slacks)
        return True

    def _start(self) -> Point | None:
        """Return a random point, mostly with knobs of the same meaning equal."""
        if self.problem.groups and len(self.points) % 3 < 2:
            for _ in range(DRAWS):
                point = self.space.sample(self.rng)
                point |= {name: point[group[0]] for group in self.problem.groups for name in group}
                if self.fresh(point):
                    return point
        return self.draw()

    def _features(self, points: list[Point]) -> FloatArray:
        """Return the features of points, and the means over groups of ordered knobs."""
        x = self.space.features(points)
        if not self.problem.groups:
            return x
        places = self.space.relaxed(points)
        names, knobs = self.space.names, self.space.knobs
        groups = [[names.index(one) for one in group] for group in self.problem.groups if knobs[group[0]].has_order]
        return np.column_stack([x, *(places[:, group].mean(axis=1) for group in groups)])

    def _near(self, space: Space, point: Point) -> Point:
        """Return a neighbour within a part of the space: one to three knobs changed, or a run of a group set to one value."""
        groups = [group for group in self.problem.groups if group[0] in space.knobs]
        if not groups or self.rng.random() < 0.5:
            return space.near(point, self.rng, 1 + int(self.rng.integers(3)))
        group = groups[int(self.rng.integers(len(groups)))]
        first, last = sorted(int(i) for i in self.rng.integers(len(group), size=2))
        if self.rng.random() < 0.3:
            first, last = 0, len(group) - 1
        value = space.knobs[group[0]].sample(self.rng)
        return point | dict.fromkeys(group[first : last + 1], value)

    def _mappings(self) -> list[Point]:
        count = self._within.count
        if count is not None and count <= MAPPINGS:
            return list(self._within.points())
        ranked = sorted(self._losses, key=lambda i: self._losses[i])[:LEADERS]
        known = [self._within.cut(self.points[i]) for i in ranked]
        fresh = [self._within.sample(self.rng) for _ in range(MAPPINGS // 2)]
        return [*known, *fresh, *(self._near(self._within, known[i % len(known)]) for i in range(MAPPINGS // 2))]

    def _joined(self, hardware: Point, mapping: Point) -> Point:
        both = hardware | mapping
        return {name: both[name] for name in self.space.names}

    def _promise(self, points: list[Point]) -> tuple[FloatArray, FloatArray]:
        """Return the acquisition of points, and their lower confidence bounds."""
        x = self._features(points)
        mean, deviation = self._loss.predict(x)
        bound, chance = lower_bound(mean, deviation), self._feasibility.probability(x)
        if self.acquisition == "ei":
            utility = expected_improvement(mean, deviation, min(self._losses.values()))
        else:
            utility = np.asarray(bound.max() - bound + 1e-12)
        for least in (SURE, 0.5):
            if (chance >= least).any():
                return np.where(chance >= least, utility * chance, 0.0), bound
        return chance, bound

    def _inner(self, hardware: Point) -> Point | None:
        options = [point for mapping in self._mappings() if self.fresh(point := self._joined(hardware, mapping))]
        if not options:
            return None
        promise, bound = self._promise(options)
        choice = int(np.argmax(promise))
        return options[choice] if bound[choice] < min(self._losses.values()) else None

    def _outer_step(self) -> Point | None:
        ranked = sorted(self._losses, key=lambda i: self._losses[i])
        best = [self._outer.cut(self.points[i]) for i in ranked[:6]]
        every = self._mappings()
        _, bound = self._promise([self._joined(best[0], mapping) for mapping in every])
        leaders = [every[i] for i in np.argsort(bound, kind="stable")[:LEADERS]]
        chips = self._candidates(best)
        options = [p for chip in chips for mapping in leaders if self.fresh(p := self._joined(chip, mapping))]
        if not options:
            return None
        return options[int(np.argmax(self._promise(options)[0]))]

    def _candidates(self, best: list[Point]) -> list[Point]:
        """Return hardware: random, and neighbours of the best; what known constraints refuse is passed over."""
        mapping = self._within.sample(self.rng)
        for _ in range(DRAWS):  # a pool that grows: most draws may be refused, and each refusal takes time
            hardware = self._outer.sample(self.rng)
            if self.allowed(self._joined(hardware, mapping)):
                self._pool[key_of(hardware)] = hardware
        pool = list(self._pool.values())
        picked = self.rng.permutation(len(pool))[: CANDIDATES // 3]
        found = {key_of(pool[i]): pool[i] for i in picked}
        for _ in range(3 * CANDIDATES):
            base = best[min(int(self.rng.exponential(1.5)), len(best) - 1)]
            hardware = self._near(self._outer, base)
            key = key_of(hardware)
            if key not in found and self.allowed(self._joined(hardware, mapping)):
                found[key] = hardware
            if len(found) >= CANDIDATES:
                break
        return list(found.values())
