"""Learned co-design beside ours: the baseline is the preset's best mapping, and claims stay apart from findings."""

from __future__ import annotations

import json
import math

import pytest

from crosstile.reproduce.codesign import STUDY, document, findings, median, preset, run_table, runs
from crosstile.reproduce.published import load_study as load_published
from crosstile.search.study import load_study
from crosstile.specs.load import load_chip
from crosstile.system.chip import evaluate_chip
from crosstile.workloads.table import network


def test_the_baseline_is_the_best_mapping_of_the_preset() -> None:
    tuned, net = preset(load_study(STUDY)), network("resnet18")
    chip = load_chip("isaac").replaced(hardware__tiles=168)
    arrays = 168 * 96
    costs = [
        evaluate_chip(net, chip.replaced(hardware__pipeline=pipeline), arrays=int(share * arrays), batch=batch, duplication=how)
        for pipeline in ("layer_serial", "pipelined")
        for share in (0.5, 0.75, 1.0)
        for batch in (1, 16)
        for how in ("none", "greedy")
    ]  # fmt: skip
    fitting = [cost for cost in costs if cost.schedule.fits and cost.schedule.spilled_bits == 0]
    assert tuned.edp_js <= min(cost.edp_js for cost in fitting)
    assert tuned.edp_js == pytest.approx(min(cost.edp_js for cost in fitting), rel=0.02)  # optimal copies beside greedy
    limit_m2 = load_study(STUDY).limits.area_max_m2
    assert limit_m2 is not None
    assert tuned.outcome.metrics["area_m2"] == pytest.approx(limit_m2, rel=1e-3)  # the area that the study grants
    assert tuned.outcome.metrics["area_m2"] <= limit_m2


def test_findings_follow_from_the_runs() -> None:
    published, tuned = load_published("codesign"), preset(load_study(STUDY))
    found = runs(14, 1, methods=("nested", "random"))
    told = findings(published, found, tuned)
    assert len(told) == len(published.claims)
    assert [claim.points for claim in published.claims.values()] == [18, 40, None]
    best = min(o.losses[0] for one in found["nested"] for o in one.outcomes if o.feasible)
    gain = 1 - math.exp(best) / tuned.edp_js
    assert told[0].ours.startswith(f"{abs(gain):.1%} {'lower' if gain > 0 else 'HIGHER'} EDP than ISAAC")
    data = document(published, found, tuned, "crosstile reproduce codesign")
    assert json.loads(json.dumps(data, allow_nan=False))["runs"][0]["evaluations"] == 14
    assert run_table(found, tuned).row_count == 2


def test_the_median_is_the_middle() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert median([1.0, math.inf, math.inf]) == math.inf
