"""Maximum likelihood of normal errors whose spread depends on the state.

y_i ~ N(x_i' beta, s_i^2 + v_i) with s_i = phi_i' c and known v_i. Given s, beta is the generalised least-squares
solution; given beta, c minimises 1/2 sum_i [d_i ln(s_i^2 + v_i) + e_i^2 / (s_i^2 + v_i)], with e_i = y_i - x_i' beta and
d_i = 1 - h_i, h_i the leverage of i. The two alternate. With these d_i the fixed point is that of the restricted
likelihood (Patterson and Thompson, Biometrika 58, 545 (1971)), free of the bias that fitting a mean brings.

Standard errors are those of the sandwich A^-1 B A^-1 (Huber 1967; White, Econometrica 50, 1 (1982)), with scores summed
by cluster: they hold where errors are not normal, and where a cell's errors go together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.errors import DataError

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.intp]

_FLOOR: Final = 1e-3  # of the root mean square error: s stays above it, as ln(0) has no likelihood
_ROUNDS: Final = 100
_SETTLED: Final = 1e-7


@dataclass(frozen=True)
class Spread:
    """A fitted spread (and mean); in the units of the data."""

    coefficients: Floats
    """(k,) c."""
    covariance: Floats
    """(k, k) of c."""
    mean: Floats
    """(m,) beta; empty without a mean."""
    mean_covariance: Floats
    """(m, m)."""
    s: Floats
    """(n,) fitted spread of each datum, without v."""
    residual: Floats
    """(n,) e."""
    log_likelihood: float
    bounded: bool
    """Whether the spread touches its floor somewhere."""


def fit_spread(squares: Floats, dof: Floats, known: Floats, phi: Floats, grid: Floats, clusters: Ids) -> Spread:
    """Fit a spread to sums of squares.

    Args:
        squares: (n,) sums of squared errors.
        dof: (n,) degrees of freedom of each.
        known: (n,) variance that is not part of the spread.
        phi: (n, k) basis functions of the spread at each datum.
        grid: (g, k) the same where the spread must stay positive.
        clusters: (n,) data of one number may go together.
    """
    c, bounded = _minimise(squares, dof, known, phi, grid)
    s = phi @ c
    q = s**2 + known
    score = (s * (dof / q - squares / q**2))[:, None] * phi
    bread = (phi * (2.0 * dof * s**2 / q**2)[:, None]).T @ phi
    empty = np.empty(0)
    return Spread(
        c,
        _sandwich(bread, score, clusters),
        empty,
        np.empty((0, 0)),
        s,
        empty,
        _log_likelihood(squares, dof, q),
        bounded,
    )


def fit_mean_and_spread(y: Floats, x: Floats, known: Floats, phi: Floats, grid: Floats, clusters: Ids) -> Spread:
    """Fit mean and spread; ``y`` (n,), ``x`` (n, m) regressors of the mean, the rest as in :func:`fit_spread`."""
    q = np.full(y.size, float(np.var(y)) or 1.0)
    before = q
    for _ in range(_ROUNDS):
        beta, covariance = _weighted(y, x, q)
        squares = (y - x @ beta) ** 2
        dof = 1.0 - np.einsum("ij,jk,ik->i", x, covariance, x) / q
        dof = np.maximum(dof, 0.0)
        c, _ = _minimise(squares, dof, known, phi, grid)
        before, q = q, (phi @ c) ** 2 + known
        if np.abs(q - before).max() <= _SETTLED * q.max():
            break
    else:
        raise DataError(f"mean and spread did not settle in {_ROUNDS} rounds of fitting; fix a smaller --order.")
    beta, covariance = _weighted(y, x, q)
    residual = y - x @ beta
    spread = fit_spread(residual**2, dof, known, phi, grid, clusters)
    q = spread.s**2 + known
    score = (residual / q)[:, None] * x
    robust = _sandwich(np.asarray(np.linalg.inv(covariance), dtype=np.float64), score, clusters)
    return Spread(
        spread.coefficients, spread.covariance, beta, robust, spread.s, residual,
        _log_likelihood(residual**2, np.ones_like(y), q), spread.bounded,
    )  # fmt: skip


def _weighted(y: Floats, x: Floats, q: Floats) -> tuple[Floats, Floats]:
    weighted = x / q[:, None]
    covariance = np.linalg.inv(weighted.T @ x)
    return np.asarray(covariance @ (weighted.T @ y)), np.asarray(covariance, dtype=np.float64)


def _log_likelihood(squares: Floats, dof: Floats, q: Floats) -> float:
    return float(-0.5 * (dof * np.log(2 * np.pi * q) + squares / q).sum())


def _minimise(squares: Floats, dof: Floats, known: Floats, phi: Floats, grid: Floats) -> tuple[Floats, bool]:
    """Return c, and whether the spread lies on its floor somewhere on the grid."""
    from scipy.optimize import minimize

    total = float(dof.sum())
    scale = float(np.sqrt(squares.sum() / total))
    squares, known = squares / scale**2, known / scale**2

    def objective(c: Floats) -> tuple[float, Floats]:
        s = phi @ c
        q = s**2 + known
        slope = s * (dof / q - squares / q**2)
        return float(0.5 * (dof * np.log(q) + squares / q).sum() / total), phi.T @ slope / total

    start = np.zeros(phi.shape[1])
    start[0] = 1.0  # the first basis function is positive: a constant, or g itself
    low = float((grid @ start).min())
    found = minimize(
        objective, start, jac=True, method="SLSQP", options={"maxiter": 500, "ftol": 1e-13},
        constraints={"type": "ineq", "fun": lambda c: grid @ c - _FLOOR * low, "jac": lambda _: grid},
    )  # fmt: skip
    # 8: no descent left in double precision, which is an end as well.
    if found.status not in (0, 8) or not np.isfinite(found.fun) or found.fun > objective(start)[0] + 1e-12:
        raise DataError(f"the spread could not be fitted ({found.message}); fix a smaller --order.")
    s = grid @ found.x
    return np.asarray(found.x * scale), bool((s <= 2 * _FLOOR * low).any())


def _sandwich(bread: Floats, score: Floats, clusters: Ids) -> Floats:
    """Return the covariance A^-1 B A^-1, with the usual factor for few clusters."""
    count = int(clusters.max()) + 1
    summed = np.stack([np.bincount(clusters, column, count) for column in score.T], axis=1)
    used = np.unique(clusters).size
    inverse = np.linalg.pinv(bread, hermitian=True)
    correction = used / max(used - score.shape[1], 1)
    return np.asarray(inverse @ (summed.T @ summed) @ inverse * correction)
