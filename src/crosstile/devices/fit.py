"""The fit of a cell to measured reads: read noise, then drift, then the spread of programming.

The first burst of each programming, taken back to t0 by the mean drift, is g. Then g = target + b(r) + sigma(r) z + noise
with b linear and sigma a polynomial in r = g_target / g_max, by restricted maximum likelihood
(:mod:`crosstile.devices.likelihood`); the degree of sigma is the one of least BIC. The noise is known by then, so that sigma
does not contain it. What the data cannot show is left out, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from crosstile.devices.goodness import Shares, fit_shares, judge, lognormal_gain, whitened
from crosstile.devices.levels import bias_p, by_level, check_levels, mean_error, warn_of_fit
from crosstile.devices.likelihood import Spread, fit_mean_and_spread
from crosstile.devices.noise_drift import DriftFit, Noise, fit_drift, fit_noise, information, polynomial_basis
from crosstile.devices.programmings import BURST, Programmings, chosen, group
from crosstile.devices.read_csv import Floats, Ids, Measured
from crosstile.errors import DataError, UsageError

MOST_ORDER: Final = 7
_CELLS: Final = 10  # from so many named cells on, errors are told by cell


@dataclass(frozen=True)
class DeviceFit:
    """What was fitted, in siemens, and how well."""

    measured: Measured
    programmings: Programmings
    """Those that the spread was fitted to."""
    g_on_s: float
    g_off_s: float
    g_max_s: float
    """Where r = 1."""
    sigma: Floats
    """(k,) coefficients of r, siemens."""
    sigma_errors: Floats
    bias: Floats
    """(2,) siemens at r = 0, and slope with r."""
    bias_errors: Floats
    bias_p: float
    criteria: dict[int, float]
    """BIC of each degree that was tried."""
    noise: Noise | None
    drift: DriftFit | None
    shares: Shares | None
    g_s: Floats
    """(p,) as programmed, siemens."""
    z: Floats
    """(p,) independent standardised residuals."""
    goodness: dict[str, Any]
    levels: list[dict[str, float]]
    left_out: list[str]
    warnings: list[str]

    def sigma_s(self, g_s: Floats) -> Floats:
        """Return the fitted spread of programming, siemens."""
        return np.maximum(np.polynomial.polynomial.polyval(g_s / self.g_max_s, self.sigma), 0.0)

    def bias_s(self, g_s: Floats) -> Floats:
        """Return the fitted bias of the mean, siemens."""
        return np.asarray(self.bias[0] + self.bias[1] * g_s / self.g_max_s)


def fit_device(
    measured: Measured, *, g_on_s: float | None = None, g_off_s: float | None = None, order: int | None = None
) -> DeviceFit:
    """Fit a cell.

    Args:
        measured: the reads.
        g_on_s, g_off_s: window of the cell; default: the largest and smallest target.
        order: degree of the polynomial of sigma; default: that of least BIC among 0 to 4.

    Raises:
        DataError: too few programmings, or data from which no spread follows.
        UsageError: the window or the degree do not fit the data.
    """
    left_out: list[str] = []
    warnings: list[str] = []
    high, low = float(measured.target_s.max()), float(measured.target_s.min())
    on, off = g_on_s if g_on_s is not None else high, g_off_s if g_off_s is not None else low
    if not high > low:
        raise DataError(f"{measured.name}: one target only ({high * 1e6:.6g} uS); at least 2 levels are wanted.")
    if not on > off:
        raise UsageError(f"--g-on ({on:.4g} S) must be larger than --g-off ({off:.4g} S).")
    if on > high * (1 + 1e-9) or off < low * (1 - 1e-9):
        warnings.append(
            f"the window, {off * 1e6:.4g} to {on * 1e6:.4g} uS, is wider than the targets, {low * 1e6:.4g} to "
            f"{high * 1e6:.4g} uS: sigma is extrapolated"
        )
    p = group(measured)
    check_levels(measured, p)
    clusters = _clusters(measured, p, warnings)
    noise = _noise(measured, p, high, clusters, left_out)
    drift = _drift(measured, p, noise, high, clusters, left_out, warnings)
    if drift is None:
        p, clusters = _one_moment(measured, p, clusters, warnings)
    g_s, known = _as_programmed(p, noise, drift, high)
    r = p.target_s / high
    window = (min(off, low) / high, max(on, high) / high)
    fit, matrix, criteria = _fit_sigma(measured, g_s, known, r, window, clusters, order)
    if fit.bounded:
        warnings.append(
            "sigma touches zero within the window, where its standard errors do not hold; try a smaller --order"
        )
    q = fit.s**2 + known / high**2
    z = fit.residual / np.sqrt(q)
    shares = fit_shares(z, known / high**2 / q, p.cell) if measured.cell is not None else None
    if shares is None:
        left_out.append("device-to-device and cycle-to-cycle are not told apart: " + (
            "no column cell" if measured.cell is None else "no two programmings of one cell"))  # fmt: skip
    independent = whitened(z, p.cell, shares)
    goodness = judge(independent, lognormal_gain(g_s / high, r + mean_error(fit, r), q))
    levels = by_level(p, g_s, q, z, high, shares)
    bias = bias_p(fit)
    warn_of_fit(fit, bias, levels, high, (off, on), warnings)
    if (g_s == 0).mean() > 0.01:
        warnings.append(
            f"{100 * float((g_s == 0).mean()):.2g} % of programmings read 0: what was cut off there makes the spread look smaller"
        )
    transform = matrix @ fit.covariance @ matrix.T
    return DeviceFit(
        measured, p, on, off, high, matrix @ fit.coefficients * high, np.sqrt(np.diag(transform)) * high, fit.mean * high,
        np.sqrt(np.diag(fit.mean_covariance)) * high, bias, criteria, noise, drift, shares, g_s, independent, goodness, levels,
        left_out, warnings,
    )  # fmt: skip


def _clusters(measured: Measured, p: Programmings, warnings: list[str]) -> Ids:
    """Return what goes together in standard errors: cells where there are enough, else programmings."""
    cells = int(p.cell.max()) + 1
    if measured.cell is None or cells >= _CELLS:
        return p.cell
    warnings.append(
        f"{cells} cell(s): too few to know how cells differ; standard errors count each programming on its own and do not "
        "hold for cells that were not measured"
    )
    return np.arange(len(p))


def _noise(measured: Measured, p: Programmings, high: float, clusters: Ids, left_out: list[str]) -> Noise | None:
    found = (
        fit_noise(p, high, clusters)
        if measured.cell is not None
        else "no column cell, so no read is known to repeat another"
    )
    if isinstance(found, str):
        left_out.append(f"read noise: {found}; it is part of the spread of programming")
        return None
    return found


def _drift(
    measured: Measured, p: Programmings, noise: Noise | None, high: float, clusters: Ids, left_out: list[str], warnings: list[str]
) -> DriftFit | None:  # fmt: skip
    found: DriftFit | str
    if measured.time_s is None:
        found = "no time column"
    elif measured.cell is None:
        found = "no column cell, so no cell can be followed over time"
    elif measured.time_s.min() <= 0 < measured.time_s.max():
        raise DataError(
            f"{measured.name}: a time of 0 s beside later ones; a power law needs the time since programming of each read, "
            "above 0."
        )
    else:
        found = fit_drift(p, noise, high, clusters)
    if isinstance(found, str):
        left_out.append(f"drift: {found}")
        return None
    ends = found.nu(np.array([0.0, 1.0]) if found.mean.size > 1 else np.zeros(1))
    centre = float(found.nu(np.array([found.r.mean()]))[0])
    if found.mean.size == 1 and not found.std_resolved and abs(centre) < 2 * float(found.mean_errors[0]):
        left_out.append(f"drift: the exponent {centre:.2g} is not above its standard error {found.mean_errors[0]:.2g}")
        return None
    if centre <= 0 or ends.max() > 1 or found.std > 1:
        left_out.append(
            f"drift: the mean exponent is {centre:.3g} (spread over cells {found.std:.3g}); the effect 'drift' lets conductance "
            "fall, with an exponent from 0 to 1"
        )
        return None
    if found.mean.size > 1:
        warnings.append("the drift exponent depends on the state; it is written as a line in r, floored at 0")
    if centre < 2 * found.std:
        warnings.append(
            "part of the drift exponents would be negative; the effect counts these as 0, which raises their mean"
        )
    if noise is None:
        warnings.append("the spread of the drift exponents contains read noise, as that could not be told")
    if found.skipped:
        warnings.append(
            f"drift: {found.skipped} programming(s) left out, as reads are zero or have more than 20 % noise"
        )
    if found.chi2 is not None and found.chi2 > 1.0 + 4.0 * np.sqrt(2.0 / found.chi2_dof) and found.chi2 > 1.2:
        warnings.append(
            f"drift is no clean power law: reads scatter round it with {found.chi2:.3g} times the variance of read noise"
        )
    return found


def _one_moment(
    measured: Measured, p: Programmings, clusters: Ids, warnings: list[str]
) -> tuple[Programmings, Ids]:  # fmt: skip
    """Without drift, keep the programmings that were first read at the earliest time."""
    first = p.time_s[p.first]
    keep = first <= max(float(first.min()) * BURST, 0.0)
    if keep.all():
        return p, clusters
    warnings.append(
        f"drift is not part of the fit: only the {int(keep.sum())} of {len(p)} programmings that were read at the earliest time, "
        f"{float(first.min()):.4g} s, are used for the spread"
    )
    kept = chosen(p, keep)
    if np.unique(kept.target_s).size < 2:
        raise DataError(f"{measured.name}: one target only at the earliest time; at least 2 levels are wanted there.")
    check_levels(measured, kept)
    return kept, np.unique(clusters[keep], return_inverse=True)[1].reshape(-1)


def _as_programmed(
    p: Programmings, noise: Noise | None, drift: DriftFit | None, high: float
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return (p,) conductances at t0, siemens, and the variance that noise and drift bring to them."""
    g_s, known = p.mean_s[p.first].copy(), np.zeros(len(p))
    if noise is not None:
        known += noise.sigma_s(g_s) ** 2 / p.reads[p.first]
    if drift is not None:
        x = np.log(p.time_s[p.first] / drift.t0_s)
        back = np.exp(np.maximum(drift.nu(p.target_s / high), 0.0) * x)
        g_s *= back
        known = known * back**2 + (g_s * drift.std * x) ** 2
    return g_s, known


def _fit_sigma(
    measured: Measured, g_s: Floats, known: Floats, r: Floats, window: tuple[float, float], clusters: Ids, order: int | None
) -> tuple[Spread, Floats, dict[int, float]]:  # fmt: skip
    """Return the spread in units of g_max, the matrix to powers of r, and BIC by degree."""
    most = min(np.unique(r).size - 1, MOST_ORDER)
    if order is not None and not 0 <= order <= most:
        raise UsageError(f"--order: {order}; {np.unique(r).size} targets allow 0 to {most}.")
    error = g_s / g_s.max() if g_s.max() > 0 else g_s
    if not np.ptp(g_s) > 0 or not np.ptp(error) > 0:
        raise DataError(f"{measured.name}: all reads are equal; check the column of reads.")
    y = g_s / float(measured.target_s.max()) - r
    if float(np.abs(y - np.polynomial.polynomial.polyval(r, np.polynomial.polynomial.polyfit(r, y, 1))).max()) < 1e-12:
        raise DataError(f"{measured.name}: reads follow the targets without any spread; there is nothing to fit.")
    x = np.stack([np.ones_like(r), r], axis=1)
    scaled, grid = known / float(measured.target_s.max()) ** 2, np.linspace(*window, 65)
    best: tuple[float, Spread, Floats] | None = None
    criteria: dict[int, float] = {}
    for degree in range(min(most, 4) + 1) if order is None else (order,):
        phi, matrix = polynomial_basis(r, degree, float(r.min()), 1.0)
        at, _ = polynomial_basis(grid, degree, float(r.min()), 1.0)
        fit = fit_mean_and_spread(y, x, scaled, phi, at, clusters)
        criteria[degree] = information(fit.log_likelihood, degree + 1, y.size)
        if best is None or criteria[degree] < best[0]:
            best = criteria[degree], fit, matrix
    if best is None:
        raise DataError(f"{measured.name}: no degree of sigma can be fitted.")
    return best[1], best[2], criteria
