"""Heat of a chip: power, leakage that feeds back, runaway, and remedies that move work."""

from __future__ import annotations

import dataclasses
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.optimize import brentq

import crosstile as ct
from crosstile.cost.estimate import estimate
from crosstile.errors import SpecError, UsageError
from crosstile.mapping.plan import LayerPlan, LayerShape, plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_cell
from crosstile.specs.thermal import ThermalSpec
from crosstile.system.floorplan import Floorplan, Placement, by_layer
from crosstile.system.thermal import ChipHeat, conductance_factor, full_rate, leakage_factor
from crosstile.system.thermal_remedies import pair, remap
from crosstile.units import BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

STACK = ThermalSpec(silicon_thickness=50e-6, interface_resistance_m2k_per_w=1e-4)
SHAPES = (
    LayerShape("a", "conv2d", 16, 9, 16, 1, 1024, 16384, 16384, False),
    LayerShape("b", "conv2d", 16, 9, 32, 1, 256, 16384, 8192, False),
    LayerShape("c", "linear", 512, 1, 64, 1, 1, 512, 64, False),
)


def chip(**changes: object) -> ChipSpec:
    own = {
        "hardware__macros_per_tile": 1, "hardware__arrays_per_macro": 4, "hardware__tiles": 9, "hardware__pipeline": "pipelined",
        "hardware__adcs_per_array": 8.0,
    }  # fmt: skip
    changed: ChipSpec = ct.load_chip("reram-8b").replaced(**(own | changes))
    return changed


def heated(
    spec: ThermalSpec = STACK, rate_hz: float | None = None, **changes: object
) -> tuple[ChipHeat, Placement, list[LayerPlan]]:
    one = chip(**changes)
    plans = [plan_layer(shape, one) for shape in SHAPES]
    heat = ChipHeat.of(plans, estimate(plans, one), one, spec, rate_hz)
    return heat, Placement.in_order(heat.arrays, heat.plan), plans


def layer_of(plans: list[LayerPlan]) -> np.ndarray:
    return np.repeat(np.arange(len(plans)), [plan.arrays for plan in plans])


def test_the_power_is_that_of_the_cost_model() -> None:
    one = chip()
    plans = [plan_layer(shape, one) for shape in SHAPES]
    cost = estimate(plans, one)
    for rate in (None, 0.0, 100.0):
        heat = ChipHeat.of(plans, cost, one, STACK, rate)
        power, leak = heat.tile_powers(np.full(9, 300.0), Placement.in_order(heat.arrays, heat.plan))
        hz = full_rate(cost) if rate is None else rate
        assert leak == pytest.approx(cost.leakage_power_w, rel=1e-12)
        assert power.sum() == pytest.approx(hz * cost.dynamic_energy_j + cost.leakage_power_w, rel=1e-12)
    assert ChipHeat.of(plans, cost, one, STACK).rate_hz * cost.energy_j == pytest.approx(cost.power_w, rel=1e-12)
    with pytest.raises(UsageError, match=r"not between 0 and the"):
        ChipHeat.of(plans, cost, one, STACK, 1.01 * full_rate(cost))
    serial = estimate(plans, one.replaced(hardware__pipeline="layer_serial"))
    assert full_rate(serial) == pytest.approx(1 / serial.latency_s)


def test_the_floorplan_has_the_area_of_the_chip() -> None:
    one = chip(hardware__tiles=7)
    plans = [plan_layer(shape, one) for shape in SHAPES]
    cost = estimate(plans, one)
    plan = Floorplan.of(cost, one, STACK)
    assert (plan.tiles, plan.columns, plan.rows, plan.sites) == (7, 3, 3, 9)
    assert 7 * plan.pitch_m**2 == pytest.approx(cost.area_m2)
    assert Floorplan.of(cost, one, STACK.replaced(columns=7)).rows == 1
    with pytest.raises(SpecError, match=r"thermal.columns is 8"):
        Floorplan.of(cost, one, STACK.replaced(columns=8))
    with pytest.raises(SpecError, match="29 arrays do not fit"):
        Placement.in_order(29, plan)
    named = by_layer(np.arange(5.0), ["x", "y"], [2, 3])
    assert named == {"x": (0.0, 1.0), "y": (2.0, 3.0, 4.0)}


def test_laws_of_temperature() -> None:
    t = np.array([300.0, 360.0])
    expected = 1.2**2 * np.exp(-0.3 * ELEMENTARY_CHARGE_C / BOLTZMANN_J_PER_K * (1 / 360 - 1 / 300))
    np.testing.assert_allclose(leakage_factor(t, ThermalSpec()), [1.0, expected], rtol=1e-12)
    assert (conductance_factor(t, chip()) == 1).all()  # a cell without the effect
    warm = chip(cell=load_cell("reram-thermal").model_dump())
    on, off = 1 / 1.06, np.exp(-0.1 * ELEMENTARY_CHARGE_C / BOLTZMANN_J_PER_K * (1 / 360 - 1 / 300))
    np.testing.assert_allclose(conductance_factor(t, warm), [1.0, (on * 40 + off * 1) / 41], rtol=1e-12)


def test_refining_the_grid_converges() -> None:
    means = []
    for cells in (2, 4, 8, 16):
        heat, place, _ = heated(STACK.replaced(cells_per_tile=cells, spreader_rim_m=0.0))
        means.append(heat.settle(place).tiles_k)
    steps = [np.abs(b - a).max() for a, b in pairwise(means)]
    assert steps[2] < 0.01
    assert steps[0] / steps[1] > 2.5
    assert steps[1] / steps[2] > 2.5


def lumped(leakage_w: float, air: float = 300.0) -> tuple[ChipHeat, Placement, float]:
    """One tile with uniform power: one resistance, so that the fixed point is a scalar equation."""
    one = chip(hardware__tiles=None, hardware__arrays_per_macro=64)
    plans = [plan_layer(shape, one) for shape in SHAPES]
    spec = ThermalSpec(spreader_rim=0.0, cells_per_tile=1, ambient=air)
    heat = ChipHeat.of(plans, estimate(plans, one), one, spec)
    heat = dataclasses.replace(heat, leakage_w=leakage_w)
    resistance = float(heat.network.steady(np.array([1.0]))[0])
    return heat, Placement.in_order(heat.arrays, heat.plan), resistance


def test_leakage_settles_where_the_scalar_equation_does() -> None:
    for leakage_w in (0.0, 0.02, 0.08):
        heat, place, resistance = lumped(leakage_w)
        working = float(heat.dynamic_w.sum() + heat.cells_w.sum())

        def excess(t: float, heat: ChipHeat = heat, working: float = working, r: float = resistance) -> float:
            leak = heat.leakage_w * float(leakage_factor(np.array([t]), heat.spec)[0])
            return 300.0 + r * (working + leak) - t

        exact = brentq(excess, 300.0, 300.0 + 1.5 * resistance * (working + leakage_w) + 1e-6)
        assert heat.settle(place).peak_k == pytest.approx(exact, abs=0.01)  # the tolerance that is promised
        fine = dataclasses.replace(heat, spec=heat.spec.replaced(tolerance_k=1e-6))
        assert fine.settle(place).peak_k == pytest.approx(exact, abs=1e-6)


def test_runaway_is_told_where_no_temperature_is_steady() -> None:
    def steady(leakage_w: float) -> bool:
        heat, _, resistance = lumped(leakage_w)
        working = float(heat.dynamic_w.sum() + heat.cells_w.sum())
        t = np.linspace(300, 600, 30_001)
        return bool((300 + resistance * (working + leakage_w * leakage_factor(t, heat.spec)) < t).any())

    low, high = 0.01, 2.0
    assert steady(low)
    assert not steady(high)
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if steady(middle) else (low, middle)
    heat, place, _ = lumped(0.99 * low)
    assert 300 < heat.settle(place).peak_k < 600
    heat, place, _ = lumped(1.01 * high)
    with pytest.raises(SpecError, match="thermal runaway in air of 300 K"):
        heat.settle(place)
    hot = dataclasses.replace(heat, leakage_w=0.0, dynamic_w=heat.dynamic_w + 10.0)
    with pytest.raises(SpecError, match="beyond the 600 K"):
        hot.settle(place)


def test_the_state_satisfies_both_equations() -> None:
    heat, place, _ = heated(rate_hz=None, cell=load_cell("reram-thermal").model_dump())
    state = heat.settle(place, 350.0)
    power, leak = heat.tile_powers(state.tiles_k, place)
    again = 350.0 + heat.network.steady(heat.spread(power))[: heat.network.cells]
    assert np.abs(again.reshape(state.cells_k.shape) - state.cells_k).max() < 0.01
    assert leak == pytest.approx(state.leakage_w, rel=1e-3)
    assert state.peak_k >= state.tiles_k.max() > state.mean_k > 350
    assert state.arrays_k.shape == (1, heat.arrays)
    assert (state.arrays_k[0] == state.tiles_k[place.tile_of[0]]).all()


def test_influence_is_symmetric_and_predicts_the_rise() -> None:
    heat, place, _ = heated()
    r = heat.influence()
    np.testing.assert_allclose(r, r.T, rtol=1e-9)
    state = heat.settle(place)
    np.testing.assert_allclose(300 + r @ state.tiles_w, state.tiles_k, atol=0.01)


def objective(heat: ChipHeat, tile_of: np.ndarray, weight: np.ndarray) -> float:
    tiles = heat.plan.tiles
    power = np.bincount(tile_of, weights=heat.dynamic_w + heat.cells_w, minlength=tiles)
    return float(np.bincount(tile_of, weights=weight, minlength=tiles) @ heat.influence() @ power)


@pytest.mark.parametrize("sensitivity", [None, np.array([0.1, 1.0, 5.0]), np.array([3.0, 0.0, 1.0])])
def test_remapping_ends_where_no_exchange_helps(sensitivity: np.ndarray | None) -> None:
    heat, place, plans = heated(hardware__arrays_per_macro=6, hardware__tiles=6)
    layer = layer_of(plans)
    moved = remap(heat, place, layer, sensitivity)
    power = heat.dynamic_w + heat.cells_w
    weight = power if sensitivity is None else (sensitivity / np.bincount(layer))[layer]
    found = moved.tile_of[0]
    counts = np.bincount(found, minlength=6)
    assert counts.max() <= 6
    best = objective(heat, found, weight)
    assert best < 0.999 * objective(heat, place.tile_of[0], weight)
    for i, j in combinations(range(len(found)), 2):  # brute force over all exchanges
        swapped = found.copy()
        swapped[[i, j]] = swapped[[j, i]]
        assert objective(heat, swapped, weight) >= best * (1 - 1e-9)
    for i in range(len(found)):
        for tile in np.flatnonzero(counts < 6):
            swapped = found.copy()
            swapped[i] = tile
            assert objective(heat, swapped, weight) >= best * (1 - 1e-9)
    if sensitivity is None:
        assert heat.settle(moved).peak_k < heat.settle(place).peak_k - 1.0


def test_remapping_may_leave_idle_tiles_idle() -> None:
    heat, place, plans = heated()
    kept = remap(heat, place, layer_of(plans), keep_idle=True)
    np.testing.assert_array_equal(kept.idle(), place.idle())
    assert len(place.idle()) > 0
    assert len(remap(heat, place, layer_of(plans)).idle()) < len(place.idle())


def test_pairing_halves_what_hot_tiles_take() -> None:
    heat, place, _ = heated()
    paired = pair(heat, place)
    assert paired.copies == 2
    before, after = heat.settle(place), heat.settle(paired)
    assert after.peak_k < before.peak_k - 2.0
    work = heat.dynamic_w + heat.cells_w
    assert paired.power_by_tile(work).sum() == pytest.approx(place.power_by_tile(work).sum(), rel=1e-12)
    hot = int(np.argmax(before.tiles_k))
    assert paired.power_by_tile(work)[hot] == pytest.approx(0.5 * place.power_by_tile(work)[hot])
    moved = paired.tile_of[0] != paired.tile_of[1]
    assert set(paired.tile_of[1][moved]) <= set(place.idle().tolist())
    full, crowded, _ = heated(hardware__tiles=None)
    with pytest.raises(UsageError, match="none is idle"):
        pair(full, crowded)
