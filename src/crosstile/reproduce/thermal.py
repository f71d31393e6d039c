"""Heat and remedies against it, beside what is published of such remedies."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from crosstile.cost.estimate import estimate
from crosstile.errors import UsageError
from crosstile.reproduce.published import Finding, PublishedStudy
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_cell, load_chip
from crosstile.specs.thermal import ThermalSpec
from crosstile.system.thermal_options import ThermalOptions, parse_remedies
from crosstile.system.thermal_result import HeatPoint, ThermalResult

DAY_S = 86400.0
AMBIENTS = ("300 K", "320 K", "340 K", "352 K", "360 K")
REMEDIES = parse_remedies(["none", "remap", "pair", "reference", "remap+reference", "pair+bits"])
PACKAGE = ThermalSpec(silicon_thickness=50e-6, interface_resistance_m2k_per_w=1e-4)
_IDLE = 0.25


def chip_for(model: str) -> ChipSpec:
    """Return the chip of the study for a built-in network: so many tiles that about a fifth of them is idle."""
    from crosstile.system.thermal_study import bare_plans
    from crosstile.zoo import build_model

    chip: ChipSpec = load_chip("reram-8b").replaced(
        name="reram-8b-thermal", cell=load_cell("reram-thermal").model_dump(), conditions__time_s=DAY_S,
        hardware__macros_per_tile=1, hardware__adcs_per_array=8.0, hardware__pipeline="pipelined",
    )  # fmt: skip
    needed = estimate(bare_plans(build_model(model, allow_untrained=True), chip, None), chip).tiles_needed
    with_idle: ChipSpec = chip.replaced(hardware__tiles=math.ceil(needed * (1 + _IDLE)))
    return with_idle


def options(
    model: str,
    *,
    data: str,
    weights: Path | None,
    data_dir: Path | None,
    samples: int | None,
    trials: int,
    seed: int,
    download: bool = True,
) -> ThermalOptions:
    """Return the study that stands beside the published ones; its chip and package are given to the run itself."""
    return ThermalOptions(
        model=model, ambients=AMBIENTS, remedies=REMEDIES, data=data, weights=weights, data_dir=data_dir, samples=samples,
        trials=trials, seed=seed, download=download,
    )  # fmt: skip


def command(options: ThermalOptions) -> str:
    """Return the command line that repeats the study."""
    words = ["crosstile", "reproduce", "thermal", "--model", options.model]
    for flag, value in (
        ("--data", options.data), ("--data-dir", options.data_dir), ("--weights", options.weights),
        ("--samples", options.samples), ("--trials", options.trials), ("--seed", options.seed),
    ):  # fmt: skip
        words += [flag, str(value)] if value is not None else []
    return shlex.join(words + ([] if options.download else ["--offline"]))


def check(result: ThermalResult) -> None:
    """Raise :class:`UsageError` for the result of another study."""
    there = {(point.remedy, point.ambient_k) for point in result.points if point.accuracy is not None}
    airs = {point.ambient_k for point in result.points}
    missing = sorted(remedy for remedy in REMEDIES for air in airs if (remedy, air) not in there)
    if missing or result.cool is None or not airs:
        raise UsageError(
            f"this thermal.json lacks accuracies of {', '.join(dict.fromkeys(missing)) or 'everything'}; the claims are "
            "compared with a thermal.json of crosstile reproduce thermal."
        )


def near(result: ThermalResult, remedy: str, temperature_k: float) -> HeatPoint:
    """Return the point of a remedy in that air in which the chip without remedies comes nearest to a mean temperature."""
    plain = [point for point in result.points if point.remedy == "none"]
    air = min(plain, key=lambda point: abs(point.mean_k - temperature_k)).ambient_k
    return result.at(remedy, air)


def _accuracy(point: HeatPoint) -> float:
    assert point.accuracy is not None
    return point.accuracy.mean


def _blur(result: ThermalResult, share: float) -> float:
    """Return two standard deviations of an accuracy on so many samples."""
    assert result.data is not None
    return 2 * math.sqrt(max(share * (1 - share), 1e-4) / result.data.samples)


def findings(result: ThermalResult, study: PublishedStudy) -> list[Finding]:
    """Return each claim beside ours; the verdict says how a number compares, not that one is right.

    Raises:
        UsageError: ``result`` is that of another study.
    """
    check(result)
    claims, found = study.claims, []
    airs = sorted({point.ambient_k for point in result.points})

    def number(name: str) -> float:
        points = claims[name].points
        assert points is not None
        return points

    def gain(claim: str, remedy: str) -> Finding:
        gains = {air: 100 * (_accuracy(result.at(remedy, air)) - _accuracy(result.at("none", air))) for air in airs}
        air, best = max(gains.items(), key=lambda item: item[1])
        ours = f"{remedy}: up to {best:+.1f} points (air of {air:g} K, from {100 * _accuracy(result.at('none', air)):.1f} %)"
        told = best > 100 * _blur(result, _accuracy(result.at("none", air)))
        return Finding(
            claims[claim].text, ours, True if told else None, "" if told else "not told apart on so few samples"
        )

    def cooler(claim: str, remedy: str, field: str) -> Finding:
        before, after = near(result, "none", 360.0), near(result, remedy, 360.0)
        fall = round(getattr(before, field) - getattr(after, field), 3) + 0.0  # never -0
        ours = f"{remedy}: {getattr(before, field):.2f} K falls by {fall:.2f} K in air of {before.ambient_k:g} K"
        return Finding(
            claims[claim].text, ours, fall > 0.05, f"ours is {fall / number(claim):.2f} of the published fall"
        )

    def loss(claim: str, remedy: str) -> Finding:
        assert result.cool is not None
        here = near(result, remedy, 360.0)
        lost = 100 * (result.cool.mean - _accuracy(here))
        plain = 100 * (result.cool.mean - _accuracy(near(result, "none", 360.0)))
        ours = f"{remedy}: {lost:.1f} points lost at a mean of {here.mean_k:.1f} K, without remedies {plain:.1f}"
        bound = number(claim)
        verdict = (
            f"within the published bound of {bound:g}"
            if lost < bound
            else f"NOT within the published bound of {bound:g}"
        )
        if plain < 100 * _blur(result, result.cool.mean):
            return Finding(claims[claim].text, ours, None, f"{verdict}, but heat takes nothing that shows here")
        return Finding(claims[claim].text, ours, lost < bound, verdict)

    found.append(gain("training_and_mapping", "remap+reference"))
    found.append(gain("bits_and_pairing", "pair+bits"))
    found.append(cooler("pairing_peak", "pair", "peak_k"))
    found.append(cooler("pairing_mean", "pair", "mean_k"))
    found.append(loss("remapping_loss", "remap"))
    found.append(loss("compensated_loss", "remap+reference"))
    found.append(cooler("layout_peak", "remap", "peak_k"))
    found.append(cooler("climbing_temperature", "remap", "peak_k"))
    before, after = near(result, "none", 360.0), near(result, "remap", 360.0)
    less = 100 * (1 - after.leakage_w / before.leakage_w)
    found.append(
        Finding(
            claims["climbing_leakage"].text, f"remap: leakage falls by {less:.2g} %", less > 0.05,
            f"ours is {less / number('climbing_leakage'):.3f} of the published fall",
        )
    )  # fmt: skip
    return found


def run_of(result: ThermalResult) -> str:
    """Return what was run, in a few words."""
    assert result.data is not None
    return (
        f"Run: {result.model}, {result.data.samples} samples of {result.data.name}, {result.trials} chips, "
        f"{result.arrays} arrays on {result.tiles} tiles, {result.rate_hz:.4g} samples/s."
    )
