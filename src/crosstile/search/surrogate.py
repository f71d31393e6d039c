"""Gaussian processes for losses and for limits, and the acquisitions that weigh them.

Loss: y ~ GP(0, s^2 k + noise), k Matern 5/2 with one length a feature (ARD), y standardised. By how much limit j is missed is
c_j, a GP of its own, so that a near miss teaches more than a label does. Failures that no c_j explains go to a GP classifier
(logistic link, Laplace's approximation). With mean m and deviation s of what is predicted and the best y* found,

    P(feasible) = P(classifier) prod_j Phi(-m_j / s_j),
    LCB = m - lambda s,      EI = (y* - m) Phi(z) + s phi(z),  z = (y* - m) / s

(constraints as GPs: Gardner et al., ICML 2014).

Losses further above the median than the best is below it are cut there: how bad a bad point is should not set the scale.
The fit of hyperparameters is what takes time: it is repeated when the data have grown by a fifth.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

FloatArray = npt.NDArray[np.float64]
LEAST = 4
"""Values of a slack from which on it is predicted."""


class LossModel:
    """A GP of losses over features; ``cut`` caps what is far worse than the median."""

    def __init__(self, seed: int, *, cut: bool = True) -> None:
        self.seed, self.cut, self._kernel, self._fitted = seed, cut, None, 0
        self._model: Any = None
        self._mean, self._scale = 0.0, 1.0

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """Learn (points, features) and (points,)."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        best, middle = float(y.min()), float(np.median(y))
        if self.cut and middle > best:
            y = np.minimum(y, middle + (middle - best))
        self._mean, self._scale = float(y.mean()), float(y.std()) or 1.0
        anew = self._kernel is None or len(y) >= 1.2 * self._fitted
        usual = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(x.shape[1], 0.7), (0.05, 20.0), nu=2.5)
        kernel = self._kernel if self._kernel is not None and not anew else usual + WhiteKernel(1e-3, (1e-6, 0.3))
        self._model = GaussianProcessRegressor(
            kernel, optimizer="fmin_l_bfgs_b" if anew else None, random_state=self.seed, alpha=1e-8
        )
        with warnings.catch_warnings():  # hyperparameters at their bounds are no fault here
            warnings.simplefilter("ignore")
            self._model.fit(x, (y - self._mean) / self._scale)
        if anew:
            self._kernel, self._fitted = self._model.kernel_, len(y)

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and deviation of the loss at (points, features)."""
        mean, deviation = self._model.predict(x, return_std=True)
        return mean * self._scale + self._mean, np.maximum(deviation, 1e-9) * self._scale


class LabelModel:
    """A GP classifier of labels; until both were seen, the share of feasible ones with one success added (Laplace's rule)."""

    def __init__(self, seed: int) -> None:
        self.seed, self._kernel, self._fitted = seed, None, 0
        self._model: Any = None
        self._share = 1.0

    def fit(self, x: FloatArray, feasible: npt.NDArray[np.bool_]) -> None:
        """Learn (points, features) and (points,) labels."""
        from sklearn.gaussian_process import GaussianProcessClassifier
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        self._share = (float(feasible.sum()) + 1.0) / (len(feasible) + 1.0)
        if feasible.all() or not feasible.any():
            self._model = None
            return
        anew = self._kernel is None or len(feasible) >= 1.2 * self._fitted
        kernel = self._kernel or ConstantKernel(4.0, (0.5, 200.0)) * Matern(
            np.full(x.shape[1], 0.7), (0.05, 20.0), nu=2.5
        )
        self._model = GaussianProcessClassifier(
            kernel, optimizer="fmin_l_bfgs_b" if anew else None, random_state=self.seed, max_iter_predict=50
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model.fit(x, feasible)
        if anew:
            self._kernel, self._fitted = self._model.kernel_, len(feasible)

    def probability(self, x: FloatArray) -> FloatArray:
        """Return the probability of being feasible at (points, features)."""
        if self._model is None:
            return np.full(len(x), self._share)
        return np.asarray(self._model.predict_proba(x)[:, 1], dtype=np.float64)


class FeasibilityModel:
    """The probability that all limits hold: a GP for each slack, and a classifier for failures that no slack explains."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._labels = LabelModel(seed)
        self._slacks: dict[str, LossModel] = {}
        self._ready: list[str] = []
        self._unexplained = False

    def fit(
        self, x: FloatArray, feasible: npt.NDArray[np.bool_], slacks: Sequence[Mapping[str, float]] | None = None
    ) -> None:
        """Learn (points, features), (points,) labels, and for each point what is known of its slacks."""
        known = [{} for _ in feasible] if slacks is None else slacks
        explained = np.array([any(value > 0 for value in one.values()) for one in known])
        self._unexplained = bool((~feasible & ~explained).any())
        if self._unexplained:
            self._labels.fit(x, feasible | explained)
        self._ready = []
        for name in sorted({name for one in known for name in one}):
            places = [i for i, one in enumerate(known) if name in one]
            if len(places) >= LEAST:
                model = self._slacks.setdefault(name, LossModel(self.seed, cut=False))
                model.fit(x[places], np.array([known[i][name] for i in places]))
                self._ready.append(name)

    def probability(self, x: FloatArray) -> FloatArray:
        """Return the probability of being feasible at (points, features)."""
        found = self._labels.probability(x) if self._unexplained else np.ones(len(x))
        for name in self._ready:
            mean, deviation = self._slacks[name].predict(x)
            found = found * norm.cdf(-mean / deviation)
        return np.asarray(found, dtype=np.float64)


def lower_bound(mean: FloatArray, deviation: FloatArray, width: float = 1.0) -> FloatArray:
    """Return the lower confidence bound; the least is the most promising."""
    return mean - width * deviation


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Return by how much a point is expected to fall below ``best``; the largest is the most promising."""
    z = (best - mean) / deviation
    return np.asarray((best - mean) * norm.cdf(z) + deviation * norm.pdf(z), dtype=np.float64)
