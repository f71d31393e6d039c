"""The comparison of 8T SRAM, FeFET, ReRAM and SOT-MRAM at 7 nm, beside what is published of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from crosstile.comparison.designs import CompareOptions
from crosstile.comparison.result import Comparison, DesignResult, gains
from crosstile.reproduce.published import Finding, PublishedStudy

DEVICES = ("sram-8t-7nm", "fefet-7nm", "reram-7nm", "sot-mram-7nm")


def options(
    model: str,
    *,
    data: str | None,
    weights: Path | None,
    data_dir: Path | None,
    samples: int | None,
    trials: int,
    seed: int,
    cell_bits: Sequence[int] = (1,),
    download: bool = True,
) -> CompareOptions:
    """Return the comparison that stands beside the published one."""
    return CompareOptions(
        model=model, devices=DEVICES, rows=(32, 64, 128), cell_bits=tuple(cell_bits), active_rows=("1", "1/4"),
        data=data, weights=weights, data_dir=data_dir, samples=samples, trials=trials, seed=seed, download=download,
    )  # fmt: skip


def _ranking(designs: Sequence[DesignResult], field: str = "accuracy") -> list[tuple[str, float]]:
    """Return devices with their mean accuracy (or another field) over the designs, the largest first."""
    devices = dict.fromkeys(one.device for one in designs)
    means = {d: float(np.mean([getattr(one, field) for one in designs if one.device == d])) for d in devices}
    return sorted(means.items(), key=lambda item: -item[1])


def _told_apart(ranking: Sequence[tuple[str, float]], samples: int) -> bool:
    """True when the best and the worst differ by more than two standard deviations of so many samples."""
    if len(ranking) < 2:
        return False
    middle = 0.5 * (ranking[0][1] + ranking[-1][1])
    return ranking[0][1] - ranking[-1][1] > 2 * float(np.sqrt(middle * (1 - middle) / samples))


def _told(ranking: Sequence[tuple[str, float]]) -> str:
    return " > ".join(f"{device} {100 * mean:.1f} %" for device, mean in ranking)


def findings(result: Comparison, study: PublishedStudy) -> list[Finding]:
    """Return each claim beside what the comparison gives.

    The ranking is that of mean accuracies over array sizes and active rows, with fitted references: with references for
    ideal arrays all technologies may fail alike. Gains are the largest over all designs that differ in nothing else.
    """
    found = []
    fitted = [one for one in result.designs if one.references != "uniform" and one.cell_bits == 1]
    ranking = _ranking(fitted)
    order = [device for device, _ in ranking]
    close = order[:2] == ["fefet-7nm", "reram-7nm"] if _told_apart(ranking, result.data.samples) else None
    found.append(Finding(study.claims["ranking"].text, _told(ranking), close))
    errors = _ranking(fitted, "wrong_codes")[::-1]
    told = " < ".join(f"{device} {100 * mean:.2g} %" for device, mean in errors)
    few = [device for device, _ in errors][:2] == ["fefet-7nm", "reram-7nm"] if len(errors) > 1 else None
    found.append(Finding(f"the same by wrong codes, fewest first: {study.claims['ranking'].text}", told, few))
    largest = max(one.rows for one in result.designs)
    large = _ranking([one for one in fitted if one.rows == largest and one.active_share == 1])
    best = large[0][0] == "fefet-7nm" if _told_apart(large, result.data.samples) else None
    found.append(Finding(study.claims["large_arrays"].text, f"{largest} rows, all active: {_told(large)}", best))
    all_gains = gains(result)
    for claim, knobs in (
        ("fewer_active_rows", ("fewer active rows",)),
        ("custom_references", ("custom against uniform", "calibrated against uniform", "custom against calibrated")),
    ):
        parts = []
        most = 0.0
        for knob in knobs:
            mine = [gain for gain in all_gains if gain.knob == knob]
            if mine:
                top = max(mine, key=lambda gain: gain.gain)
                most = max(most, top.gain)
                parts.append(f"{knob}: up to {100 * top.gain:+.2f} points ({top.device}, {top.before.rows} rows)")
        found.append(
            Finding(study.claims[claim].text, "; ".join(parts) or "no such designs", most > 0 if parts else None)
        )
    trend = _size_trend(fitted)
    if trend:
        found.append(Finding("(ours) errors of sums grow with the array", trend[0], trend[1]))
    return found


def _size_trend(designs: Sequence[DesignResult]) -> tuple[str, bool] | None:
    sizes = sorted({one.rows for one in designs})
    if len(sizes) < 2:
        return None
    parts, grows = [], True
    for device in dict.fromkeys(one.device for one in designs):
        wrong = [
            float(np.mean([o.wrong_codes for o in designs if o.device == device and o.rows == size and o.active_share == 1]))
            for size in sizes
        ]  # fmt: skip
        grows = grows and all(b >= a for a, b in pairwise(wrong))
        parts.append(f"{device} " + ", ".join(f"{100 * w:.2g} %" for w in wrong))
    return f"wrong codes at {', '.join(map(str, sizes))} rows: " + "; ".join(parts), grows
