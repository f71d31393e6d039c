"""Conductances that make up for their wires."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosstile.circuits.kirchhoff import with_wires
from crosstile.circuits.precompensate import precompensate, reachable_scale
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError

LOW, HIGH = 1e-6, 4e-5


def wanted(*shape: int, seed: int = 0) -> torch.Tensor:
    level = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, shape)).double() / 3
    return LOW + level * (HIGH - LOW)


def test_the_array_with_wires_becomes_the_wanted_matrix() -> None:
    w, wires = wanted(2, 64, 64), Wires(2.0, 2.0)
    done = precompensate([w], wires, g_min_s=LOW, g_max_s=HIGH)
    g = done.g_s[0]
    assert float(g.min()) >= LOW
    assert float(g.max()) <= HIGH
    error = float((with_wires(g, wires) - done.scale * w).norm() / (done.scale * w).norm())
    assert error == pytest.approx(done.error, rel=1e-9)
    assert done.error < 0.2 * done.error_before  # measured: 0.0018 of 0.0213
    assert done.iterations < 40


def test_inside_the_window_it_is_exact() -> None:
    """Nothing is clipped, so that only the stopping rule limits it."""
    w, wires = wanted(30, 20).clamp(5e-6, 2e-5), Wires(5.0, 4.0, 100.0)
    done = precompensate([w], wires, g_min_s=0.0, g_max_s=1e-3, scale=0.9, tolerance=1e-9, max_iterations=200)
    assert done.error < 1e-6
    np.testing.assert_allclose(with_wires(done.g_s[0], wires), 0.9 * w, rtol=1e-5)


def test_an_array_does_not_depend_on_its_neighbours() -> None:
    w, wires = torch.cat([wanted(3, 24, 16), torch.full((1, 24, 16), LOW, dtype=torch.float64)]), Wires(20.0, 10.0)
    together = precompensate([w], wires, g_min_s=LOW, g_max_s=HIGH, scale=0.7).g_s[0]
    for n in range(4):
        alone = precompensate([w[n]], wires, g_min_s=LOW, g_max_s=HIGH, scale=0.7).g_s[0]
        assert torch.equal(together[n], alone)


def test_scale() -> None:
    w = wanted(64, 64)
    assert reachable_scale([w], Wires(0.0, 0.0), HIGH) == pytest.approx(1.0, rel=1e-15)
    assert 0.3 < reachable_scale([w], Wires(5.0, 5.0), HIGH) < reachable_scale([w], Wires(1.0, 1.0), HIGH) < 1.0
    assert reachable_scale([torch.full((4, 4), LOW, dtype=torch.float64)], Wires(5.0, 5.0), HIGH) == 1.0


def test_what_cannot_be_done_is_told() -> None:
    w = wanted(6, 6)
    with pytest.raises(UsageError, match="window"):
        precompensate([w], Wires(1.0, 1.0), g_min_s=HIGH, g_max_s=LOW)
    with pytest.raises(UsageError, match="outside the window"):
        precompensate([w], Wires(1.0, 1.0), g_min_s=LOW, g_max_s=HIGH / 2)
    with pytest.raises(UsageError, match="no current"):
        precompensate([w], Wires(float("inf"), 1.0), g_min_s=LOW, g_max_s=HIGH)
