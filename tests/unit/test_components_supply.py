"""The supply voltage: nothing changes without it; with it, the laws by hand, their limits, and the direction."""

from __future__ import annotations

from itertools import pairwise

import pytest

from crosstile.cost.components import evaluate
from crosstile.cost.figures import Request
from crosstile.cost.library import component_names, load_component
from crosstile.cost.peak import peak
from crosstile.cost.scaling import energy_polynomial, node_factors
from crosstile.cost.supply import (
    nominal_supply_v,
    relative_delay,
    relative_leakage,
    supply_factors,
    supply_range_v,
)
from crosstile.errors import SpecError
from crosstile.specs.cell import CellSpec
from crosstile.specs.chip import ChipSpec

NODES_M = [n * 1e-9 for n in (130, 90, 65, 45, 40, 32, 28, 22, 16, 14, 10, 7)]
SCALED = [n for n in component_names() if load_component(n).node_scaling == "stillmaker-baas-2017"]


def test_nominal_supplies() -> None:
    assert nominal_supply_v(130e-9) == 1.3
    assert nominal_supply_v(7e-9) == 0.7
    assert nominal_supply_v(28e-9) == pytest.approx(0.85 + 0.6 * 0.05)
    assert nominal_supply_v(250e-9) == 1.3  # beyond the table its end


def test_the_polynomial_between_nodes_is_the_table_between_nodes() -> None:
    """At 0.8 V, where the older table was made: linear in the node either way."""
    for node_m in (*NODES_M, 55e-9, 12e-9, 180e-9, 5e-9):
        a, b, c = energy_polynomial(node_m)
        a0, b0, c0 = energy_polynomial(32e-9)
        ours = (a * 0.64 + b * 0.8 + c) / (a0 * 0.64 + b0 * 0.8 + c0)
        assert ours == pytest.approx(node_factors(32e-9, node_m).energy, rel=1e-12)


def test_laws_by_hand() -> None:
    found = supply_factors(65e-9, 1.1, 32e-9, 0.7)
    p65 = 3.755 * 1.21 - 4.398 * 1.1 + 1.975
    p32 = 0.9559 * 0.49 - 0.7823 * 0.7 + 0.471
    assert found.energy == pytest.approx(p32 / p65)
    assert found.delay == pytest.approx((0.7 / 0.9) * ((0.9 - 0.442) / (0.7 - 0.442)) ** 1.3)
    assert found.leakage == pytest.approx((0.7 / 0.9) * 10 ** (0.1 * (0.7 - 0.9) / 0.09))
    same = supply_factors(65e-9, 1.1, 65e-9, 1.1)
    assert (same.energy, same.delay, same.leakage) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", SCALED)
def test_at_its_own_node_and_supply_a_component_is_as_its_file_has_it(name: str) -> None:
    spec = load_component(name)
    own_v = nominal_supply_v(spec.node_m) if spec.vdd_v is None else spec.vdd_v
    setting = {"node_m": spec.node_m, "bits": 8, "rows": 64, "columns": 64, "read_time_s": 1e-7}
    plain, given = evaluate(spec, Request(**setting)), evaluate(spec, Request(**setting, vdd_v=own_v))
    assert given == plain


@pytest.mark.parametrize("name", [n for n in component_names() if load_component(n).node_scaling != "none"])
def test_less_supply_takes_less_energy_and_leaks_less_and_is_slower(name: str) -> None:
    spec = load_component(name)
    for node_m in NODES_M:
        low_v, high_v = supply_range_v(node_m)
        at = [
            evaluate(spec, Request(node_m=node_m, bits=6, rows=64, columns=64, read_time_s=1e-7, vdd_v=v))
            for v in (1.1 * low_v, nominal_supply_v(node_m), high_v)
        ]
        for low, high in pairwise(at):
            assert all(low.energy_j[action] < high.energy_j[action] for action in low.energy_j)
            assert low.leakage_w <= high.leakage_w
            assert low.area_m2 == high.area_m2
            if not spec.supply_in_formula and low.rate_hz is not None:
                assert low.rate_hz < high.rate_hz  # type: ignore[operator]


def test_a_chip_follows_its_supply() -> None:
    chip = ChipSpec(name="t", cell=CellSpec(name="t", technology="ideal", g_on_s=100e-6, g_off_s=1e-6))
    at = {v: peak(chip.replaced(hardware__vdd_v=v)).energy_j for v in (0.7, 0.9)}
    plain = peak(chip).energy_j
    ratio = (0.9559 * 0.49 - 0.7823 * 0.7 + 0.471) / (0.9559 * 0.81 - 0.7823 * 0.9 + 0.471)
    assert at[0.9]["adc"] == plain["adc"]  # 32 nm, as the converter's figures, and its nominal supply
    assert at[0.7]["adc"] == pytest.approx(ratio * plain["adc"])
    assert at[0.7]["cell_array"] == plain["cell_array"]  # their voltage is that of the read
    with pytest.raises(SpecError, match=r"chip 't': hardware.components.\w+: a supply of 0.3 V at 32 nm"):
        peak(chip.replaced(hardware__vdd_v=0.3))


def test_analog_figures_do_not_follow_the_supply() -> None:
    spec = load_component("amplifier-tia")
    assert evaluate(spec, Request(node_m=28e-9, vdd_v=0.6)) == evaluate(spec, Request(node_m=28e-9))


@pytest.mark.parametrize("node_m", NODES_M)
def test_limits(node_m: float) -> None:
    low_v, high_v = supply_range_v(node_m)
    assert low_v < nominal_supply_v(node_m) < high_v
    a, b, _ = energy_polynomial(node_m)
    assert 2 * a * low_v + b >= -1e-9  # energy does not fall any more with the supply above the lowest
    assert relative_delay(node_m, nominal_supply_v(node_m)) == 1.0
    assert relative_leakage(node_m, nominal_supply_v(node_m)) == 1.0
    for wrong in (0.9 * low_v, 1.1 * high_v):
        with pytest.raises(SpecError, match="scaling laws hold from"):
            evaluate(load_component("adder-aladdin"), Request(node_m=node_m, vdd_v=wrong))
        with pytest.raises(SpecError, match="scaling laws hold from"):
            evaluate(load_component("cells-charge"), Request(node_m=node_m, vdd_v=wrong))  # takes the supply itself
