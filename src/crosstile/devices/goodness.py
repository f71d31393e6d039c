"""Whether the fitted model is that of the data.

Residuals are standardised by the fitted spread and, where a cell's errors go together, made independent by the
inverse root of their covariance, (z - mean) / sqrt(W) + mean / sqrt(W + n A) within a cell. Their shape is tested by
Anderson and Darling's A^2 with mean and variance estimated (D'Agostino and Stephens, Goodness-of-Fit Techniques, 1986,
table 4.9), their tails by the share beyond 3 sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from crosstile.devices.read_csv import Floats, Ids

_REJECT: Final = 0.01
_SMALL: Final = 0.005  # a largest difference of the distributions below this changes no result
BEYOND: Final = 0.002699796063  # of a normal distribution, outside +-3 sigma


@dataclass(frozen=True)
class Shares:
    """What of the programming spread belongs to the cell and stays."""

    between: float
    """A: variance of the standardised errors between cells."""
    within: float
    """W: within a cell, with noise."""
    share: float
    """Of the variance of programming (without noise) that is device to device."""
    error: float
    p: float
    """Of as much or more without any."""


def fit_shares(z: Floats, noise_part: Floats, cell: Ids) -> Shares | None:
    """Return the variance between and within cells by maximum likelihood; ``None`` where no cell was written twice."""
    from scipy.optimize import minimize
    from scipy.stats import chi2

    n = np.bincount(cell).astype(float)
    if n.size < 2 or not (n > 1).any():
        return None
    mean = np.bincount(cell, z) / n
    inside = float(((z - mean[cell]) ** 2).sum())
    total = float((n - 1).sum())

    def loss(x: Floats) -> float:
        within, both = x[0], x[0] + n * x[1]
        return float(0.5 * (total * np.log(within) + inside / within + (np.log(both) + n * mean**2 / both).sum()))

    alone = float((z**2).mean())
    found = minimize(
        loss, [0.5 * alone, 0.5 * alone], method="L-BFGS-B", bounds=[(1e-6 * alone, None), (0.0, None)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    within, between = (float(value) for value in found.x)
    both = within + n * between
    fisher = 0.5 * np.array([
        [total / within**2 + (1 / both**2).sum(), (n / both**2).sum()],
        [(n / both**2).sum(), (n**2 / both**2).sum()],
    ])  # fmt: skip
    covariance = np.linalg.pinv(fisher, hermitian=True)
    write = max(within - float(noise_part.mean()), 0.0)
    whole = write + between or 1.0
    slope = np.array([-between, write]) / whole**2
    gain = 2.0 * (loss(np.array([alone, 0.0])) - float(found.fun))
    p = 0.5 * float(chi2.sf(gain, 1)) if gain > 0 else 1.0
    return Shares(between, within, between / whole, float(np.sqrt(slope @ covariance @ slope)), p)


def whitened(z: Floats, cell: Ids, shares: Shares | None) -> Floats:
    """Return independent residuals of unit variance, if the model is right."""
    if shares is None or shares.p > _REJECT:
        return z
    n = np.bincount(cell).astype(float)
    mean = np.bincount(cell, z) / n
    root = np.sqrt(shares.within + n * shares.between)
    return np.asarray((z - mean[cell]) / np.sqrt(shares.within) + (mean / root)[cell])


def anderson_darling(z: Floats) -> tuple[float, float]:
    """Return A^2, corrected for the size of the sample, and its p-value; mean and variance are taken from the sample."""
    from scipy.special import log_ndtr

    n = z.size
    x = np.sort((z - z.mean()) / z.std(ddof=1))
    i = np.arange(1, n + 1)
    a = float(-n - ((2 * i - 1) * (log_ndtr(x) + log_ndtr(-x[::-1]))).mean())
    a *= 1.0 + 0.75 / n + 2.25 / n**2
    if a >= 0.6:
        p = np.exp(min(1.2937 - 5.709 * a + 0.0186 * a**2, 0.0)) if a < 13.0 else 0.0
    elif a >= 0.34:
        p = np.exp(0.9177 - 4.279 * a - 1.38 * a**2)
    elif a >= 0.2:
        p = 1.0 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2)
    else:
        p = 1.0 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2)
    return a, float(p)


def judge(z: Floats, lognormal_gain: Floats) -> dict[str, Any]:
    """Return the figures of the tests and a verdict.

    Args:
        z: (n,) independent standardised residuals.
        lognormal_gain: (m,) log likelihood of a lognormal error over that of a normal one, by programming.
    """
    from scipy.stats import binom, kstest

    a, p = anderson_darling(z)
    n = z.size
    distance = float(kstest((z - z.mean()) / z.std(ddof=1), "norm").statistic)
    beyond = int((np.abs(z) > 3.0).sum())
    tails_p = float(binom.sf(beyond - 1, n, BEYOND))
    centred = (z - z.mean()) / z.std()
    skewness, kurtosis = float((centred**3).mean()), float((centred**4).mean() - 3.0)
    rejected = p < _REJECT and distance > _SMALL
    heavy = tails_p < _REJECT and kurtosis > 0 and (rejected or tails_p < 0.1 * _REJECT)
    skewed = rejected and abs(skewness) > 3.0 * np.sqrt(6.0 / n)
    gain = float(lognormal_gain.sum())
    clear = lognormal_gain.size > 1 and gain > 2.576 * float(lognormal_gain.std()) * np.sqrt(lognormal_gain.size)
    told = f"Anderson-Darling p {'< 1e-4' if p < 1e-4 else f'= {p:.2g}'}"
    reasons = []
    if heavy:
        reasons.append(
            f"the tails are heavier than normal: {100 * beyond / n:.2g} % lie beyond 3 sigma, "
            f"{100 * BEYOND:.2g} % are expected"
        )
    if skewed:
        reasons.append(f"errors are skewed to the {'right' if skewness > 0 else 'left'} (skewness {skewness:.2g})")
    if rejected and clear:
        reasons.append(
            "a lognormal write fits better: 'distribution: lognormal' in the description keeps mean and sigma"
        )
    if rejected and not heavy and not skewed:
        reasons.append(
            f"errors are not normal: the distributions differ by up to {100 * distance:.2g} % of programmings "
            f"(excess kurtosis {kurtosis:.2g})"
        )
    near = "; the difference is real but small" if p < _REJECT and not rejected else ""
    verdict = f"{'; '.join(reasons)} ({told})" if reasons else f"normal errors fit ({told}{near})"
    return {
        "verdict": verdict, "normal": not reasons, "anderson_darling": a, "anderson_darling_p": p, "ks_distance": distance,
        "beyond_3_sigma": beyond / n, "beyond_3_sigma_expected": BEYOND, "beyond_3_sigma_p": tails_p,
        "skewness": skewness, "excess_kurtosis": kurtosis, "lognormal_gain": gain,
    }  # fmt: skip


def lognormal_gain(g: Floats, mean: Floats, q: Floats) -> Floats:
    """Return the log likelihood of a lognormal over a normal error of equal mean and variance, where both are defined."""
    use = (g > 0) & (mean > 0)
    g, mean, q = g[use], mean[use], q[use]
    log_variance = np.log1p(q / mean**2)
    lognormal = -np.log(g) - 0.5 * (np.log(log_variance) + (np.log(g / mean) + 0.5 * log_variance) ** 2 / log_variance)
    return np.asarray(lognormal + 0.5 * (np.log(q) + (g - mean) ** 2 / q))
