"""The fit as a picture: reads and errors against the target, quantiles of the residuals, drift."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from crosstile.devices.fit import DeviceFit
from crosstile.devices.noise_drift import DriftFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS: Final = 5000  # drawn of each scatter, evenly chosen
_DATA, _FIT, _BAND = "#4477aa", "#bb2233", "#ee99aa"  # told apart by every kind of colour vision


def figure_png(fit: DeviceFit, title: str) -> bytes:
    """Return a PNG of the fit.

    Args:
        fit: the fit.
        title: line above the panels.
    """
    from matplotlib.figure import Figure

    panels = 3 + (fit.drift is not None)
    shape = (2, 2) if panels == 4 else (1, 3)
    figure = Figure(figsize=(11.0, 9.0) if panels == 4 else (15.0, 4.9), layout="constrained", dpi=130)
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)  # no mathematics in a file's name
    axes = figure.subplots(*shape).ravel()
    _against_target(axes[0], fit)
    _errors(axes[1], fit)
    _quantiles(axes[2], fit)
    if fit.drift is not None:
        _drift(axes[3], fit, fit.drift)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _some(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.unique(np.linspace(0, n - 1, min(n, _POINTS)).astype(np.intp))


def _grid(fit: DeviceFit) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.linspace(min(fit.g_off_s, fit.programmings.target_s.min()), max(fit.g_on_s, fit.g_max_s), 300)


def _against_target(axes: Axes, fit: DeviceFit) -> None:
    some, g = _some(len(fit.programmings)), _grid(fit)
    middle, sigma = g + fit.bias_s(g), fit.sigma_s(g)
    axes.plot(
        fit.programmings.target_s[some] * 1e6,
        fit.g_s[some] * 1e6,
        ".",
        color=_DATA,
        ms=3,
        alpha=0.5,
        label="programmed",
    )
    axes.fill_between(g * 1e6, (middle - 3 * sigma) * 1e6, (middle + 3 * sigma) * 1e6, color=_BAND, alpha=0.4, lw=0,
                      label="fitted mean ± 3 sigma")  # fmt: skip
    axes.plot(g * 1e6, g * 1e6, "k--", lw=1, label="target")
    axes.set(title="Conductance", xlabel="target, µS", ylabel="programmed, µS")
    axes.legend(frameon=False, fontsize=9)


def _errors(axes: Axes, fit: DeviceFit) -> None:
    some, g = _some(len(fit.programmings)), _grid(fit)
    target = fit.programmings.target_s
    axes.plot(target[some] * 1e6, (fit.g_s - target)[some] * 1e6, ".", color=_DATA, ms=3, alpha=0.35, zorder=1)
    bias, sigma = fit.bias_s(g) * 1e6, fit.sigma_s(g) * 1e6
    axes.plot(g * 1e6, bias, color=_FIT, lw=1.2, label="fitted mean")
    for sign in (-1, 1):
        axes.plot(g * 1e6, bias + sign * sigma, color=_FIT, lw=1.5, ls="--", label="± sigma" if sign > 0 else None)
    level = np.array([[one["target_s"], one["mean_s"] - one["target_s"], one["sigma_s"]] for one in fit.levels]) * 1e6
    axes.errorbar(level[:, 0], level[:, 1], yerr=level[:, 2], fmt="o", color="black", ms=4, capsize=3, lw=1, zorder=3,
                  label="measured mean ± standard deviation")  # fmt: skip
    axes.axhline(0.0, color="0.6", lw=0.8, zorder=0)
    axes.set(title="Error of programming (with noise)", xlabel="target, µS", ylabel="programmed − target, µS")
    axes.legend(frameon=False, fontsize=9)


def _quantiles(axes: Axes, fit: DeviceFit) -> None:
    from scipy.stats import beta, norm

    n = fit.z.size
    some, rank = _some(n), np.arange(1, n + 1)
    normal = norm.ppf((rank - 0.375) / (n + 0.25))
    low, high = (norm.ppf(beta.ppf(level, rank, n + 1 - rank)) for level in (0.025, 0.975))
    axes.fill_between(
        normal[some], low[some], high[some], color="0.85", lw=0, label="95 % of normal samples, each point"
    )
    axes.plot(normal[some], normal[some], "k--", lw=1)
    axes.plot(normal[some], np.sort(fit.z)[some], ".", color=_DATA, ms=4, label="residuals / sigma")
    axes.set(title="Quantiles of the residuals", xlabel="normal quantile", ylabel="standardised residual")
    axes.legend(frameon=False, fontsize=9)


def _drift(axes: Axes, fit: DeviceFit, drift: DriftFit) -> None:
    spread = drift.r * 1e6 * fit.g_max_s
    some = _some(spread.size)
    axes.plot(
        spread[some], drift.exponents[some], ".", color=_DATA, ms=4, alpha=0.5, label="one programming (with noise)"
    )
    r = np.linspace(drift.r.min(), drift.r.max(), 50)
    mean = drift.nu(r) * np.ones_like(r)
    axes.fill_between(r * 1e6 * fit.g_max_s, mean - drift.std, mean + drift.std, color=_BAND, alpha=0.5, lw=0,
                      label="fitted mean ± spread over cells")  # fmt: skip
    axes.plot(r * 1e6 * fit.g_max_s, mean, color=_FIT, lw=1.5)
    low, high = np.percentile(drift.exponents, [0.5, 99.5])
    room = 0.3 * (high - low) or 0.01
    axes.set(title="Drift exponent", xlabel="target, µS", ylabel="ν", ylim=(low - room, high + room))
    axes.legend(frameon=False, fontsize=9)
