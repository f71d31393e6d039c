"""Intervals and the order of draws of a Monte-Carlo over chips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import crosstile as ct
from crosstile.study.montecarlo import interval


def test_students_t_over_chips() -> None:
    values = [0.91, 0.89, 0.93, 0.90]
    (low, high), method = interval(values, 1000)
    wanted = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(wanted, rel=1e-9)
    assert "4 programmed chips" in method


def test_wilson_for_one_chip_or_chips_that_agree() -> None:
    wanted = stats.binomtest(45, 50).proportion_ci(0.95, method="wilson")
    for values in ([0.9], [0.9, 0.9, 0.9]):
        (low, high), method = interval(values, 50)
        assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=1e-6)
        assert "Wilson" in method
    assert interval([1.0], 10)[0][1] == pytest.approx(1.0)


def test_students_t_covers_the_mean_at_its_rate() -> None:
    """2,000 studies of 5 chips: the share that covers the true mean is 95 % within 2.5 points (5 sigma)."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        (low, high), _ = interval(list(rng.normal(0.8, 0.01, size=5)), 100)
        covered += low <= 0.8 <= high
    assert abs(covered / 2000 - 0.95) < 0.025


def _noisy() -> tuple[ct.MappedNetwork, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    x = torch.randn(90, 12)
    effects = [
        {"kind": "variation", "sigma": {"window": 0.1}},
        {"kind": "read_noise", "sigma": {"window": 0.05}},
    ]
    chip = ct.load_chip("reram-8b").replaced(cell__effects=effects)
    return ct.map(net, chip, x), x, net(x).argmax(dim=1)


def test_batch_order_and_resumption_do_not_change_the_result() -> None:
    mapped, x, y = _noisy()
    whole = ct.evaluate(mapped, x, y, trials=4, batch=90, seed=3)
    assert len(set(whole.per_trial)) > 1, "chips must differ for this test to show anything"
    assert ct.evaluate(mapped, x, y, trials=4, batch=7, seed=3) == whole
    assert ct.evaluate(mapped, x, y, trials=4, batch=32, seed=3, done=whole.per_trial[:2]) == whole
    assert ct.evaluate(mapped, x, y, trials=4, batch=90, seed=4).per_trial != whole.per_trial


def test_reduced_precision_products_are_refused() -> None:
    mapped, x, _ = _noisy()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(ct.CrosstileError, match="set_float32_matmul_precision"):
            mapped(x)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert mapped(x).shape == (90, 4)
