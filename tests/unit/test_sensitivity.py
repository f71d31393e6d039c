"""Noise through wires: exact to first order, against derivatives, brute force, and the sums that the engine uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosstile.circuits.kirchhoff import with_wires
from crosstile.circuits.sensitivity import current_variance, row_variance
from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import UsageError


def case(rows: int, columns: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    g = torch.from_numpy(rng.uniform(1e-4, 1e-3, (rows, columns)))
    return g, torch.from_numpy(rng.uniform(-0.2, 0.3, (3, rows))), (spread * g) ** 2


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("ohms", [(20.0, 30.0, 50.0, 10.0), (0.0, 30.0, 0.0, 0.0), (20.0, 0.0, 0.0, 10.0)])
def test_equals_the_sum_over_derivatives(topology: str, ohms: tuple[float, ...]) -> None:
    g, v, variance = case(12, 9, 0.02)
    wires = Wires(*ohms, topology=topology)
    jacobian = torch.autograd.functional.jacobian(lambda x: v @ with_wires(x, wires), g)
    np.testing.assert_allclose(
        current_variance(g, v, variance, wires), (jacobian**2 * variance).sum((-1, -2)), rtol=1e-11
    )


def test_brute_force() -> None:
    g, v, variance = case(16, 12, 0.01)
    wires = Wires(20.0, 30.0, 50.0, 10.0)
    rng = np.random.default_rng(7)
    draws = 8000
    noisy = g + torch.from_numpy(rng.normal(size=(draws, 16, 12))) * variance.sqrt()
    seen = (v @ with_wires(noisy, wires)).var(dim=0)
    # A variance from n draws has a relative deviation of sqrt(2 / n) = 1.6 %; 36 of them stay within 4.5 deviations.
    np.testing.assert_allclose(seen, current_variance(g, v, variance, wires), rtol=4.5 * (2 / draws) ** 0.5)


def test_without_wires_it_is_the_usual_sum() -> None:
    g, v, variance = case(8, 5, 0.1)
    for wires in (Wires(0.0, 0.0), Wires(1e-9, 1e-9)):
        np.testing.assert_allclose(current_variance(g, v, variance, wires), v**2 @ variance, rtol=1e-6)
        np.testing.assert_allclose(
            row_variance(g[None].numpy(), variance[None].numpy(), wires, 0.5)[0], variance, rtol=1e-6
        )


def test_batches_share_inputs_or_bring_their_own() -> None:
    g = torch.stack([case(8, 5, 0.1, seed)[0] for seed in range(3)])
    variance, v = (0.1 * g) ** 2, case(8, 5, 0.1)[1]
    wires = Wires(20.0, 30.0)
    shared = current_variance(g, v, variance, wires)
    own = current_variance(g, v.expand(3, 3, 8), variance, wires)
    assert shared.shape == (3, 3, 5)
    assert torch.equal(shared, own)
    np.testing.assert_allclose(shared[1], current_variance(g[1], v, variance[1], wires), rtol=1e-14)


@pytest.mark.parametrize(("activity", "bias", "spread"), [(0.25, 0.02, 0.12), (0.5, 0.015, 0.09), (0.75, 0.015, 0.09)])
def test_what_the_engine_uses_is_near_the_exact_variance(activity: float, bias: float, spread: float) -> None:
    """128 x 128 cells of 1 to 40 uS behind 2 ohm a segment; measured: 2.6 times too much without wires."""
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-6, 4e-5, (1, 128, 128))
    variance, wires = (0.03 * g) ** 2, Wires(2.0, 2.0)
    v = (rng.random((32, 128)) < activity).astype(np.float64)
    exact = current_variance(torch.from_numpy(g), torch.from_numpy(v), torch.from_numpy(variance), wires)[0].numpy()
    ratio = v @ row_variance(g, variance, wires, activity)[0] / exact
    assert abs(ratio.mean() - 1) < bias
    assert np.abs(ratio - 1).max() < spread
    assert (v @ variance[0] / exact).mean() > 1.8


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_the_engine_uses_is_exact_where_every_input_is_on(topology: str) -> None:
    """At activity 1, and where what one row's cells do to other columns hardly counts beside their own."""
    g, _, variance = case(24, 6, 0.02)
    wires = Wires(5.0, 5.0, topology=topology)
    exact = current_variance(g, torch.ones(1, 24, dtype=torch.float64), variance, wires)[0]
    mine = row_variance(g[None].numpy(), variance[None].numpy(), wires, 1.0)[0].sum(axis=0)
    np.testing.assert_allclose(mine, exact, rtol=1e-12)


def test_what_does_not_fit_is_told() -> None:
    g, v, variance = case(8, 5, 0.1)
    with pytest.raises(UsageError, match="variance_s2"):
        current_variance(g, v, variance[:4], Wires(1.0, 1.0))
    with pytest.raises(UsageError, match="at least 0"):
        current_variance(g, v, -variance, Wires(1.0, 1.0))
