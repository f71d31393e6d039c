"""Samplers of Optuna behind our interface: NSGA-II, tree-structured Parzen estimators, Gaussian processes.

Optuna (Akiba et al., KDD 2019) is told infeasible outcomes as a violated constraint. A proposal that known constraints refuse or
that was evaluated before is told as failed, and a fresh neighbour of it is evaluated instead.
"""

from __future__ import annotations

import warnings
from typing import Any

from crosstile.errors import UsageError
from crosstile.search.base import Method, Outcome, Problem
from crosstile.search.knobs import Point
from crosstile.search.space import key_of

_VIOLATION = "violation"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("this method needs Optuna: pip install 'crosstile[search]', or use --method nested.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class _OptunaMethod(Method):
    sampler: str

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        super().__init__(problem, seed)
        self._optuna = _optuna()
        make = getattr(self._optuna.samplers, self.sampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constraints are called experimental
            sampler = make(seed=seed, constraints_func=lambda trial: trial.user_attrs[_VIOLATION], **self.options())
        self._study = self._optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=sampler)
        self._spread = {name: self._distribution(name) for name in self.space.names}
        self._asked: tuple[str, Any] | None = None

    def options(self) -> dict[str, Any]:
        """Return what the sampler is told besides seed and constraints."""
        return {}

    def _distribution(self, name: str) -> Any:
        kinds, knob = self._optuna.distributions, self.space.knobs[name]
        if not knob.has_order:
            return kinds.CategoricalDistribution(list(range(knob.count or 0)))
        if knob.count is None:
            return kinds.FloatDistribution(0.0, 1.0)
        return kinds.IntDistribution(0, knob.count - 1)

    def _point(self, params: dict[str, Any]) -> Point:
        knobs = self.space.knobs
        return {n: k.rounded(params[n]) if k.count is None else k.at(int(params[n])) for n, k in knobs.items()}

    def _params(self, point: Point) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, knob in self.space.knobs.items():
            if knob.count is None:
                found[name] = knob.unit_position(point[name])
            else:
                found[name] = next(i for i in range(knob.count) if knob.at(i) == point[name])
        return found

    def ask(self) -> Point | None:
        """Return the sampler's proposal, or a fresh neighbour of it."""
        trial = self._study.ask(self._spread)
        point = self._point(trial.params)
        if self.fresh(point):
            self._asked = (key_of(point), trial)
            return point
        self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        for changes in range(1, len(self.space.names) + 1):
            for _ in range(100):
                near = self.space.near(point, self.rng, changes)
                if self.fresh(near):
                    return near
        return self.draw()

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Tell the study; an infeasible outcome has the worst losses found and a violated constraint."""
        super().tell(point, outcome)
        values, violation = list(outcome.losses), [0.0 if outcome.feasible else 1.0]
        if not outcome.feasible:
            found = [self.outcomes[i].losses for i in self.feasible()]
            values = [max((losses[k] for losses in found), default=0.0) for k in range(len(self.problem.objectives))]
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == key_of(point):
            asked[1].set_user_attr(_VIOLATION, violation)
            self._study.tell(asked[1], values)
            return
        self._study.add_trial(
            self._optuna.trial.create_trial(
                values=values, params=self._params(point), distributions=self._spread, user_attrs={_VIOLATION: violation},
                system_attrs={"constraints": violation},
            )
        )  # fmt: skip


class Evolutionary(_OptunaMethod):
    """NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6 (2002) 182), 20 a generation."""

    name, sampler = "evolutionary", "NSGAIISampler"

    def options(self) -> dict[str, Any]:
        """Small generations suit small budgets."""
        return {"population_size": 20}


class ParzenEstimators(_OptunaMethod):
    """Tree-structured Parzen estimators (Bergstra et al., NIPS 2011)."""

    name, sampler = "tpe", "TPESampler"


class GaussianProcess(_OptunaMethod):
    """Optuna's Gaussian process with constraints; needs PyTorch."""

    name, sampler = "gp", "GPSampler"
