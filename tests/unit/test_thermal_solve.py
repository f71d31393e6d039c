"""The thermal network against what can be solved by hand: one node, uniform power, a fin; and what any such network obeys."""

from __future__ import annotations

import numpy as np
import pytest

from crosstile.errors import SpecError
from crosstile.specs.thermal import SOURCES, ThermalSpec
from crosstile.system.thermal_solve import ThermalNetwork

BARE = ThermalSpec(spreader_thickness=0.0, sink_resistance_k_per_w=0.0, interface_resistance_m2k_per_w=1e-4)
RNG = np.random.default_rng(7)


def below(spec: ThermalSpec) -> float:
    """Area-specific resistance from the die's middle to the spreader's, or to the air."""
    found = spec.silicon_thickness_m / (2 * spec.silicon_conductivity_w_per_mk) + spec.interface_resistance_m2k_per_w
    return found + spec.spreader_thickness_m / (2 * spec.spreader_conductivity_w_per_mk)


@pytest.mark.parametrize("thickness", [0.0, 1e-3])
def test_uniform_power_meets_the_total_resistance(thickness: float) -> None:
    spec = ThermalSpec(spreader_thickness=thickness, spreader_rim=0.0, sink_resistance_k_per_w=7.0)
    network = ThermalNetwork.build(6, 9, 2e-4, spec)
    power = 3.0
    found = network.steady(np.full(54, power / 54))[:54]
    total = below(spec) / (54 * 4e-8) + 7.0
    np.testing.assert_allclose(found, power * total, rtol=1e-11)


def test_a_fin_is_a_cosh_and_the_error_falls_with_the_square_of_the_cell() -> None:
    # A strip of length L, heated evenly over a: k t T'' = T / R'' - q, no flow at the ends.
    length, heated, flux = 8e-3, 1e-3, 1e5
    resistance = below(BARE)
    m = 1 / np.sqrt(BARE.silicon_conductivity_w_per_mk * BARE.silicon_thickness_m * resistance)

    def integral(x: np.ndarray) -> np.ndarray:  # of the exact temperature, from 0
        inner = np.minimum(x, heated)
        hot = inner - np.sinh(m * (length - heated)) / np.sinh(m * length) * np.sinh(m * inner) / m
        outer = np.maximum(x, heated)
        cold = np.sinh(m * heated) / np.sinh(m * length)
        cold = cold * (np.sinh(m * (length - heated)) - np.sinh(m * (length - outer))) / m
        return np.asarray(flux * resistance * (hot + cold))

    errors = []
    for cells in (16, 32, 64, 128):
        dx = length / cells
        power = np.where((np.arange(cells) + 0.5) * dx < heated, flux * dx**2, 0.0)
        found = ThermalNetwork.build(1, cells, dx, BARE).steady(power)
        exact = np.diff(integral(np.linspace(0, length, cells + 1))) / dx
        errors.append(np.abs(found - exact).max() / exact.max())
    ratios = np.array(errors[:-1]) / errors[1:]
    assert errors[-1] < 1e-3
    np.testing.assert_allclose(ratios, 4.0, rtol=0.1)  # second order


def test_heat_is_conserved_and_adds_up() -> None:
    network = ThermalNetwork.build(5, 7, 3e-4, ThermalSpec(spreader_rim=9e-4))
    a, b = RNG.random(35), RNG.random(35)
    rise = network.steady(a)
    assert network.to_air_w_per_k @ rise == pytest.approx(a.sum(), rel=1e-10)
    np.testing.assert_allclose(network.steady(2 * a + b), 2 * rise + network.steady(b), rtol=1e-9)
    np.testing.assert_allclose(network.steady(np.stack([a, b], axis=1))[:, 0], rise, rtol=1e-12)
    influence = network.steady(np.eye(35))[:35]
    np.testing.assert_allclose(influence, influence.T, rtol=1e-9)  # reciprocity
    mirrored = network.steady(a.reshape(5, 7)[::-1, ::-1].ravel())[:35].reshape(5, 7)
    np.testing.assert_allclose(mirrored[::-1, ::-1].ravel(), rise[:35], rtol=1e-9)


def test_a_thicker_spreader_and_a_better_conductor_cool_the_hottest_cell() -> None:
    power = np.zeros(25)
    power[12] = 1.0
    peaks = [
        ThermalNetwork.build(5, 5, 2e-4, ThermalSpec(**change)).steady(power).max()
        for change in ({"spreader_thickness": 2e-4}, {}, {"silicon_conductivity_w_per_mk": 1000.0})
    ]
    assert peaks[0] > peaks[1] > peaks[2]


def test_one_node_follows_an_exponential() -> None:
    network = ThermalNetwork.build(1, 1, 1e-3, BARE)
    resistance, capacity = below(BARE) / 1e-6, 1e-6 * BARE.silicon_thickness_m * BARE.silicon_heat_capacity_j_per_m3k
    tau, power = resistance * capacity, 0.5
    assert network.time_constant_s() == pytest.approx(tau, rel=1e-6)
    exact = power * resistance * (1 - np.exp(-2.0))

    def after(steps: int, **how: bool) -> float:
        return float(network.transient(lambda _: np.array([power]), 2 * tau / steps, steps, **how)[-1, 0])

    # Implicit Euler is 1 - (1 + h / tau)^-n to rounding, and of first order; the trapezoidal rule of second.
    assert after(20) == pytest.approx(power * resistance * (1 - 1.1**-20), rel=1e-12)
    euler = [after(n) - exact for n in (40, 80)]
    middle = [after(n, trapezoidal=True) - exact for n in (40, 80)]
    assert euler[0] / euler[1] == pytest.approx(2.0, rel=0.05)
    assert middle[0] / middle[1] == pytest.approx(4.0, rel=0.05)


def test_a_transient_ends_in_the_steady_state_and_stays_there() -> None:
    network = ThermalNetwork.build(3, 4, 5e-4, ThermalSpec(spreader_rim=5e-4))
    power = RNG.random(12)
    steady, tau = network.steady(power), network.time_constant_s()
    late = network.transient(lambda _: power, tau / 2, 60)
    np.testing.assert_allclose(late[-1], steady, rtol=1e-9)
    assert (np.diff(late, axis=0) >= -1e-12).all()  # warms and never overshoots
    held = network.transient(lambda _: power, tau / 50, 5, start_k=steady, trapezoidal=True)
    np.testing.assert_allclose(held, np.tile(steady, (6, 1)), rtol=1e-9)
    stored = network.capacity_j_per_k @ (late[1] - late[0])
    lost = tau / 2 * (network.to_air_w_per_k @ late[1])
    assert stored + lost == pytest.approx(power.sum() * tau / 2, rel=1e-9)  # energy of one implicit step


def test_fast_exchange_of_two_cells_is_their_mean() -> None:
    # What pairing assumes: power that changes sides faster than the chip warms acts as its mean.
    network = ThermalNetwork.build(1, 2, 1e-3, BARE)
    tau = network.time_constant_s()
    half = tau / 200
    steps = 4000
    swapped = network.transient(
        lambda t: np.array([1.0, 0.0]) if int(t / half) % 2 == 0 else np.array([0.0, 1.0]), half, steps
    )
    mean = network.steady(np.array([0.5, 0.5]))
    np.testing.assert_allclose(swapped[-2:].mean(axis=0), mean, rtol=2e-3)
    np.testing.assert_allclose(swapped[-1], mean, rtol=0.01)  # ripple of the order half / tau


def test_too_fine_a_grid_is_refused() -> None:
    with pytest.raises(SpecError, match="at most 400000"):
        ThermalNetwork.build(10, 10, 1e-6, ThermalSpec())
    with pytest.raises(ValueError, match="sink_resistance_k_per_w"):
        ThermalSpec(sink_resistance_k_per_w=-1.0)


def test_every_default_of_the_package_says_where_it_comes_from() -> None:
    settings = {"ambient_k", "cells_per_tile", "columns", "tolerance_k"}
    assert set(SOURCES) == set(ThermalSpec.model_fields) - settings
