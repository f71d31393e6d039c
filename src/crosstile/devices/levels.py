"""The fit level by level: are there enough data, and do mean and spread follow their curves?"""

from __future__ import annotations

from typing import Final

import numpy as np

from crosstile.devices.goodness import Shares
from crosstile.devices.likelihood import Spread
from crosstile.devices.programmings import Programmings
from crosstile.devices.read_csv import Floats, Measured
from crosstile.errors import DataError

LEAST: Final = 8
"""Programmings that each level must have."""
_BINS: Final = 16
_SIGNIFICANT: Final = 0.01


def check_levels(measured: Measured, p: Programmings) -> None:
    """Refuse levels with too few programmings; targets that hardly ever repeat count as continuous."""
    target, count = np.unique(p.target_s, return_counts=True)
    what = "programmings (a cell, cycle and target each)" if measured.cell is not None else "rows"
    if (count == 1).mean() > 0.5:
        if count.sum() < 2 * LEAST:
            raise DataError(
                f"{measured.name}: {int(count.sum())} {what} at {target.size} targets; at least {LEAST} at each of 2 targets are "
                f"wanted, or {2 * LEAST} in all where targets do not repeat."
            )
        return
    if count.min() < LEAST:
        worst = int(count.argmin())
        raise DataError(
            f"{measured.name}: the target {target[worst] * 1e6:.6g} uS has {int(count[worst])} {what}; at least {LEAST} are "
            f"wanted at each of 2 targets or more. {int((count < LEAST).sum())} of {target.size} targets have too few: "
            "measure more, or leave them out."
        )


def mean_error(fit: Spread, r: Floats) -> Floats:
    """Return the fitted bias at states r, in units of g_max."""
    return np.asarray(fit.mean[0] + fit.mean[1] * r)


def by_level(
    p: Programmings, g_s: Floats, q: Floats, z: Floats, high: float, shares: Shares | None
) -> list[dict[str, float]]:  # fmt: skip
    """Return by level (or bin of targets) the mean, the spread, and the reduced chi-square with its p-value."""
    from scipy.stats import chi2, norm

    target, which = np.unique(p.target_s, return_inverse=True)
    which = which.reshape(-1)
    if (np.bincount(which) == 1).mean() > 0.5 or target.size > 64:
        bins = min(_BINS, len(p) // LEAST)
        which = np.argsort(np.argsort(p.target_s, kind="stable"), kind="stable") * bins // len(p)
    together = (
        shares.between / (shares.between + shares.within) if shares is not None and shares.p < _SIGNIFICANT else 0.0
    )
    found = []
    for level in range(int(which.max()) + 1):
        at = which == level
        n = int(at.sum())
        repeats = n / np.unique(p.cell[at]).size - 1.0  # errors of one cell go together: fewer count
        effective = max(n / (1.0 + repeats * together**2), 1.0)
        squares, shift = float((z[at] ** 2).mean()), float(z[at].mean()) * np.sqrt(n / (1.0 + repeats * together))
        tail = float(chi2.cdf(squares * effective, effective))
        found.append({
            "target_s": float(p.target_s[at].mean()), "programmings": n, "mean_s": float(g_s[at].mean()),
            "sigma_s": float((g_s[at] - p.target_s[at]).std(ddof=1)), "fitted_sigma_s": float(np.sqrt(q[at].mean())) * high,
            "chi2": squares, "chi2_p": 2.0 * min(tail, 1.0 - tail), "mean_p": 2.0 * float(norm.sf(abs(shift))),
        })  # fmt: skip
    return found


def bias_p(fit: Spread) -> float:
    """Return the p-value of as much bias by chance (Wald)."""
    from scipy.stats import chi2

    return float(chi2.sf(fit.mean @ np.linalg.pinv(fit.mean_covariance, hermitian=True) @ fit.mean, fit.mean.size))


def warn_of_fit(
    fit: Spread, p: float, levels: list[dict[str, float]], high: float, window: tuple[float, float], warnings: list[str]
) -> None:  # fmt: skip
    """Tell of a bias, a curved mean and a spread that the polynomial does not follow; ``window`` in siemens."""
    if p < _SIGNIFICANT:
        off, on = (float(mean_error(fit, np.array([g / high]))[0]) * high * 1e6 for g in window)
        warnings.append(
            f"the mean misses its target by {off:+.3g} uS at g_off and {on:+.3g} uS at g_on (p = {p:.1g}); the effect "
            "'variation' has no bias, so this is not part of the description"
        )
    for key, what in (
        ("mean_p", "the mean error is not linear in the target"),
        ("chi2_p", "sigma does not follow the polynomial"),
    ):
        worst = min(levels, key=lambda level: level[key])
        if worst[key] * len(levels) < _SIGNIFICANT:
            warnings.append(
                f"{what}: at {worst['target_s'] * 1e6:.4g} uS the measured mean is {worst['mean_s'] * 1e6:.4g} uS and the spread "
                f"{worst['sigma_s'] * 1e6:.3g} uS, fitted {worst['fitted_sigma_s'] * 1e6:.3g} uS"
            )
