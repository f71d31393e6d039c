"""Read noise and drift of measured cells.

Noise: within a burst, the squares round the mean follow sigma(g)^2 chi^2_(n-1). Where no time was read twice, the
scatter round each cell's power law takes their place. Drift: the slope of ln g against ln t of each programming,
weighted by the noise, is its exponent nu_i with variance v_i; over programmings nu_i ~ N(mean, std^2 + v_i), so
that std is free of what noise alone would spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from crosstile.devices.likelihood import Spread, fit_mean_and_spread, fit_spread
from crosstile.devices.programmings import Programmings, log_slopes
from crosstile.devices.read_csv import Floats, Ids

NOISE_DOF: Final = 16
"""Least degrees of freedom from which noise is fitted."""
DRIFTING: Final = 8
"""Least programmings from which drift is fitted."""
SPAN: Final = 2.0
"""Least ratio of the last time to the first of a programming that tells of drift."""
_NOISY: Final = 0.2  # reads with more relative noise than this are left out of logarithms


@dataclass(frozen=True)
class Noise:
    """Fitted read noise."""

    kind: str
    """``proportional`` or ``polynomial``."""
    values: Floats
    """The share of g, or coefficients (siemens) of g / g_max."""
    errors: Floats
    dof: int
    g_max_s: float
    from_power_law: bool
    """Taken from the scatter round power laws, not from repeated reads."""

    def sigma_s(self, g_s: Floats) -> Floats:
        """Return the standard deviation of one read, siemens."""
        if self.kind == "proportional":
            return np.asarray(self.values[0] * g_s)
        sigma = np.polynomial.polynomial.polyval(g_s / self.g_max_s, self.values)
        return np.asarray(np.maximum(sigma, 0.0), dtype=np.float64)


@dataclass(frozen=True)
class DriftFit:
    """Fitted drift; the exponents of programmings stay, for the figure."""

    mean: Floats
    """(1,) nu, or (2,) its value at r = 0 and its slope with r = g / g_max."""
    mean_errors: Floats
    std: float
    std_error: float
    std_resolved: bool
    """Whether the spread exceeds what noise alone gives."""
    programmings: int
    skipped: int
    """Programmings left out, as their reads are too noisy or zero."""
    t0_s: float
    exponents: Floats
    r: Floats
    chi2: float | None
    """Reduced chi-square of the power law; ``None`` where nothing tells."""
    chi2_dof: int

    def nu(self, r: Floats) -> Floats:
        """Return the mean exponent at states r."""
        return np.asarray(np.polynomial.polynomial.polyval(r, self.mean), dtype=np.float64)


def polynomial_basis(r: Floats, order: int, low: float, high: float) -> tuple[Floats, Floats]:
    """Return Legendre polynomials over [low, high] at ``r``, and the matrix that turns their coefficients into powers of r."""
    from numpy.polynomial import Legendre, Polynomial

    basis = [Legendre.basis(k, domain=[low, high]) for k in range(order + 1)]
    matrix = np.zeros((order + 1, order + 1))
    for k, function in enumerate(basis):
        powers = function.convert(kind=Polynomial).coef
        matrix[: powers.size, k] = powers
    return np.stack([function(r) for function in basis], axis=-1), matrix


def information(log_likelihood: float, parameters: int, data: float) -> float:
    """Return Schwarz's criterion (BIC): the smaller the better."""
    return -2.0 * log_likelihood + parameters * float(np.log(data))


def fit_noise(p: Programmings, g_max_s: float, clusters: Ids) -> Noise | str:
    """Return the read noise, or why it cannot be told; ``clusters`` (p,)."""
    many = p.reads > 1
    squares, dof, mean, of = p.squares[many], p.reads[many] - 1, p.mean_s[many], p.of[many]
    from_power_law = not many.any()
    if from_power_law:
        squares, dof, mean, of = _power_law_scatter(p)
    if dof.sum() < NOISE_DOF:
        return (
            f"repeated reads of one programming give {int(dof.sum())} degrees of freedom; {NOISE_DOF} are wanted"
            if dof.sum() else "no cell was read twice at the same time"
        )  # fmt: skip
    if not squares.sum() > 0:
        return "repeated reads are equal to the last digit"
    r = mean / g_max_s
    low, high = float(r.min()), float(r.max())
    grid = np.linspace(min(low, 0.0), max(high, 1.0), 65)
    scaled = squares / g_max_s**2
    found: list[tuple[float, str, Spread, Floats]] = []
    if low > 0:
        fit = fit_spread(scaled, dof, np.zeros_like(r), r[:, None], grid[grid > 0][:, None], clusters[of])
        found.append((information(fit.log_likelihood, 1, dof.sum()), "proportional", fit, np.eye(1)))
    orders = min(2, np.unique(np.round(r, 2)).size - 1) if high > low else 0
    for order in range(orders + 1):
        phi, matrix = polynomial_basis(r, order, low, max(high, low + 1e-9))
        at, _ = polynomial_basis(grid, order, low, max(high, low + 1e-9))
        fit = fit_spread(scaled, dof, np.zeros_like(r), phi, at, clusters[of])
        found.append((information(fit.log_likelihood, order + 1, dof.sum()), "polynomial", fit, matrix))
    _, kind, fit, matrix = min(found, key=lambda one: one[0])
    unit = 1.0 if kind == "proportional" else g_max_s
    errors = np.sqrt(np.diag(matrix @ fit.covariance @ matrix.T))
    return Noise(kind, matrix @ fit.coefficients * unit, errors * unit, int(dof.sum()), g_max_s, from_power_law)


def _power_law_scatter(p: Programmings) -> tuple[Floats, Floats, Floats, Ids]:
    keep = (p.bursts > 2)[p.of] & (np.minimum.reduceat(p.mean_s, p.first) > 0)[p.of]
    of, count = p.of[keep], len(p)
    x, y = np.log(p.time_s[keep]), np.log(p.mean_s[keep])
    number = np.maximum(np.bincount(of, minlength=count), 1)
    dx = x - (np.bincount(of, x, count) / number)[of]
    dy = y - (np.bincount(of, y, count) / number)[of] - log_slopes(p)[of] * dx
    squares = np.bincount(of, (dy * p.mean_s[keep]) ** 2, count).astype(np.float64)
    mean = np.asarray(np.bincount(of, p.mean_s[keep], count) / number, dtype=np.float64)
    used = np.unique(of)
    return squares[used], number[used] - 2.0, mean[used], used.astype(np.intp)


def fit_drift(p: Programmings, noise: Noise | None, g_max_s: float, clusters: Ids) -> DriftFit | str:
    """Return the drift, or why it cannot be told; ``clusters`` (p,)."""
    last = p.first + p.bursts - 1
    followed = p.time_s[last] >= SPAN * p.time_s[p.first]
    if followed.sum() < DRIFTING:
        return (
            f"{int(followed.sum())} programming(s) of a cell were followed over time by a factor of {SPAN:g} or more; "
            f"{DRIFTING} are wanted"
        )
    relative = np.zeros_like(p.mean_s)
    if noise is not None:
        relative = noise.sigma_s(p.mean_s) / np.sqrt(p.reads) / np.where(p.mean_s > 0, p.mean_s, 1.0)
    bad = (p.mean_s <= 0) | (relative > _NOISY)
    use = followed & (np.bincount(p.of, bad, len(p)) == 0)
    if use.sum() < DRIFTING:
        return f"reads of all but {int(use.sum())} programmings are zero or have more than 20 % noise"
    t0 = float(f"{np.median(p.time_s[p.first[use]]):.6g}")
    keep = use[p.of]
    of, x, d = p.of[keep], np.log(p.time_s[keep] / t0), relative[keep] ** 2
    y = np.log(p.mean_s[keep]) + 0.5 * d  # E ln(g + noise) = ln g - d / 2
    w = 1.0 / d if noise is not None else np.ones_like(d)
    total = np.bincount(of, w, len(p))
    total[total == 0] = 1.0
    dx = x - (np.bincount(of, w * x, len(p)) / total)[of]
    dy = y - (np.bincount(of, w * y, len(p)) / total)[of]
    sxx = np.bincount(of, w * dx**2, len(p))
    nu = -np.bincount(of, w * dx * dy, len(p))[use] / sxx[use]
    v = 1.0 / sxx[use] if noise is not None else np.zeros_like(nu)
    rest = dy + dx * (np.bincount(of, w * dx * -dy, len(p)) / np.where(sxx > 0, sxx, 1.0))[of]
    dof = int((p.bursts[use] - 2).sum())
    told = noise is not None and not noise.from_power_law and dof > 0
    fit, resolved = _best_exponents(nu, v, p.target_s[use] / g_max_s, clusters[use])
    return DriftFit(
        mean=fit.mean, mean_errors=np.sqrt(np.diag(fit.mean_covariance)),
        std=float(fit.coefficients[0]) if resolved else 0.0, std_error=float(np.sqrt(fit.covariance[0, 0])),
        std_resolved=resolved, programmings=int(use.sum()), skipped=int((followed & ~use).sum()), t0_s=t0, exponents=nu,
        r=p.target_s[use] / g_max_s, chi2=float((w * rest**2).sum() / dof) if told else None, chi2_dof=dof,
    )  # fmt: skip


def _best_exponents(nu: Floats, v: Floats, r: Floats, clusters: Ids) -> tuple[Spread, bool]:
    """Return the better of a constant mean and one linear in r, and whether the spread is more than noise."""
    if not np.ptp(nu) > 1e-12:
        flat, nothing = np.zeros_like(nu), np.zeros((1, 1))  # without noise and spread there is no likelihood
        return Spread(np.zeros(1), nothing, nu[:1], nothing, flat, flat, 0.0, True), False
    one, fits = np.ones((nu.size, 1)), []
    for x in [one, np.stack([one[:, 0], r], axis=1)] if np.ptp(r) > 0 and nu.size >= 2 * DRIFTING else [one]:
        fit = fit_mean_and_spread(nu, x, v, one, one[:1], clusters)
        fits.append((information(fit.log_likelihood, x.shape[1], nu.size), x, fit))
    _, x, fit = min(fits, key=lambda one_fit: one_fit[0])
    if not v.all():
        return fit, True
    weighted = x / v[:, None]
    rest = nu - x @ np.linalg.solve(weighted.T @ x, weighted.T @ nu)
    alone = float(-0.5 * (np.log(2 * np.pi * v) + rest**2 / v).sum())
    return fit, 2.0 * (fit.log_likelihood - alone) > 2.706  # one-sided, 5 %: the spread cannot be negative
