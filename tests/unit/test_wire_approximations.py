"""Approximations of wire resistance against the exact answer: their order, their limits, and where they fail."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from crosstile.circuits.approximations import first_order, ideal, one_sweep, sweeps
from crosstile.circuits.nodal import nodal_effective_conductance
from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import UsageError

WIRES = Wires(2.0, 3.0, 11.0, 7.0)
HALF = Wires(1.0, 1.5, 5.5, 3.5)


def cells(*shape: int, low: float = 1e-6, high: float = 1e-4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    exponent = torch.empty(shape, dtype=torch.float64).uniform_(math.log(low), math.log(high), generator=generator)
    return exponent.exp()


def inputs(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def exact(g: torch.Tensor, wires: Wires) -> torch.Tensor:
    return torch.from_numpy(nodal_effective_conductance(g.numpy(), wires))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("approximation", [first_order, one_sweep])
def test_error_is_of_second_order_in_the_resistances(approximation, topology: str) -> None:
    """Halving all resistances divides the error by 4, up to the third order: 2 % at drops of 1 %."""
    g = cells(9, 7)
    small, smaller = (replace(w, topology=topology) for w in (WIRES, HALF))
    error = (approximation(g, small) - exact(g, small)).norm()
    halved = (approximation(g, smaller) - exact(g, smaller)).norm()
    assert float(error / halved) == pytest.approx(4, rel=0.05)
    without = (ideal(g) - exact(g, small)).norm() / (ideal(g) - exact(g, smaller)).norm()
    assert float(without) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_sweeps_converge_to_the_exact_currents(topology: str) -> None:
    g, v = cells(9, 7), inputs(3, 9)
    wires = replace(WIRES, topology=topology)
    done = sweeps(g, v, wires, 12)
    assert not done.diverges
    assert list(done.changes) == sorted(done.changes, reverse=True)
    torch.testing.assert_close(done.currents_a, v @ exact(g, wires), rtol=1e-10, atol=0)


def test_matrices_are_what_currents_say() -> None:
    g, v = cells(2, 6, 8), inputs(2, 4, 6)
    torch.testing.assert_close(sweeps(g, v, WIRES, 1).currents_a, v @ one_sweep(g, WIRES), rtol=1e-12, atol=0)
    torch.testing.assert_close(sweeps(g, v, WIRES, 0).currents_a, v @ ideal(g), rtol=1e-12, atol=0)


def test_first_order_is_the_drops_of_ideal_currents() -> None:
    """Against the drops segment by segment: what flows on, times the segment's resistance, summed from the held end."""
    g, v = cells(6, 8), inputs(6)
    current = g * v[:, None]
    word_ohm, bit_ohm = torch.full((8,), 2.0, dtype=torch.float64), torch.full((6, 1), 3.0, dtype=torch.float64)
    word_ohm[0] += 11
    bit_ohm[-1] += 7
    drop = (current.flip(1).cumsum(1).flip(1) * word_ohm).cumsum(1)
    rise = (current.cumsum(0) * bit_ohm).flip(0).cumsum(0).flip(0)
    wanted = (g * (v[:, None] - drop - rise)).sum(0)
    torch.testing.assert_close(v @ first_order(g, WIRES), wanted, rtol=1e-12, atol=0)


def test_divergence_is_reported() -> None:
    g, v = torch.full((64, 64), 1e-3, dtype=torch.float64), torch.ones(1, 64, dtype=torch.float64)
    done = sweeps(g, v, Wires(2.0, 2.0), 6)
    assert done.diverges
    assert done.changes[-1] > 10 * done.changes[0]
    currents = v @ exact(g, Wires(2.0, 2.0))
    assert float((done.currents_a - currents).norm() / currents.norm()) > 1


def test_ideal_wires_change_nothing() -> None:
    g = cells(5, 4)
    for topology in TOPOLOGIES:
        wires = Wires(0.0, 0.0, topology=topology)
        for matrix in (ideal(g), first_order(g, wires), one_sweep(g, wires)):
            assert torch.equal(matrix, g)
        assert sweeps(g, torch.ones(1, 5, dtype=torch.float64), wires, 4).changes == (0.0,) * 4


def test_what_cannot_be_done_is_refused() -> None:
    g, v = cells(5, 4), torch.ones(1, 5, dtype=torch.float64)
    with pytest.raises(UsageError, match=r"driver_ohm.*finite"):
        first_order(g, Wires(1.0, 1.0, driver_ohm=np.inf))
    for count in (-1, 1.5, True):
        with pytest.raises(UsageError, match="count"):
            sweeps(g, v, WIRES, count)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 0 S"):
        one_sweep(-g, WIRES)
