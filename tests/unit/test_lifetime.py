"""Endurance budgets and refreshing: by hand on simple laws."""

from __future__ import annotations

import math

import pytest

import crosstile as ct
from crosstile.errors import SpecError
from crosstile.specs.base import validate
from crosstile.specs.cell import CellSpec
from crosstile.specs.chip import ChipSpec
from crosstile.system.lifetime import DEFAULTS, YEAR_S, CycleLimit, cycle_limit, inference_rate, wear
from crosstile.system.lifetime_refresh import half_a_level, keeping_time, refresh, refresh_table, typical_loss
from crosstile.system.reload import write_model
from crosstile.system.schedule import schedule
from crosstile.workloads.table import network

BOLTZMANN_EV = 8.617333262e-5


def cell(effects: list[dict] = (), technology: str = "ReRAM", g_off: float = 2e-6) -> CellSpec:
    data = {"name": "c", "technology": technology, "g_on": 1e-4, "g_off": g_off, "effects": list(effects)}
    return validate(CellSpec, data, origin="test")


def chip(effects: list[dict] = (), g_off: float = 2e-6, **weights: object) -> ChipSpec:
    data = {
        "name": "c",
        "cell": {"name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": g_off, "effects": list(effects),
                 "write": {"time": 10e-9, "energy": 1e-12}},
        "weights": {"bits": 8, "cell_bits": 2, **weights},
        "array": {"rows": 64, "columns": 64},
        "write": {"cycles": 5, "verify_time": 10e-9, "verify_energy": 0.0, "parallelism": "row"},
    }  # fmt: skip
    return validate(ChipSpec, data, origin="test")


# ------------------------------------------------------------------------------------------------ cycles


@pytest.mark.parametrize(("a", "share"), [(0.1, 0.5), (0.5, 0.8), (0.02, 0.9)])
def test_cycles_of_an_endurance_law(a: float, share: float) -> None:
    """g_off = 0: (1 + c / c0)^-a = share has c = c0 (share^(-1/a) - 1); a hundred bisections leave rounding alone."""
    law = {"kind": "endurance", "cycles": 1234.0, "onset_cycles": 1e5, "on_exponent": a}
    limit = cycle_limit(cell([law], g_off=0.0), least_window=share)
    by_hand = 1e5 * (share ** (-1 / a) - 1)
    assert limit.cycles == pytest.approx(by_hand, rel=1e-9)
    assert limit.left == pytest.approx(by_hand - 1234.0, rel=1e-9)
    assert "endurance law" in limit.source


def test_a_window_that_closes_from_both_ends() -> None:
    law = {"kind": "endurance", "cycles": 0.0, "onset_cycles": 1e4, "on_exponent": 0.2, "off_exponent": 0.3}
    worn = cycle_limit(cell([law])).cycles
    x = 1 + worn / 1e4
    assert 1e-4 * x**-0.2 - 2e-6 * x**0.3 == pytest.approx(0.5 * 98e-6, rel=1e-9)


def test_where_cycles_come_from() -> None:
    assert cycle_limit(cell()) is DEFAULTS["ReRAM"]
    assert cycle_limit(cell(technology="SRAM")).left == math.inf
    stated = cycle_limit(cell(), stated=3e7)
    assert (stated.cycles, stated.tag) == (3e7, "stated")
    law = {"kind": "endurance", "cycles": 0.0, "on_exponent": 0.1}
    with pytest.raises(SpecError, match="leave one of them out"):
        cycle_limit(cell([law]), stated=1e6)
    with pytest.raises(SpecError, match="--cycles 1e8"):
        cycle_limit(cell(technology="ECRAM"))
    with pytest.raises(SpecError, match="1 to"):
        cycle_limit(cell(), stated=0.0)
    with pytest.raises(SpecError, match="least window"):
        cycle_limit(cell([law]), least_window=1.0)
    assert all(limit.source and limit.tag in ("published", "assumed") for limit in DEFAULTS.values())


# ------------------------------------------------------------------------------------------------ wear


def test_wear_of_a_network_that_is_reloaded() -> None:
    """Every cell takes rounds x cycles writes a batch at most; levelled, it is all pulses over all cells."""
    described = ct.load_chip("isaac")
    plan, model = schedule(network("resnet18"), described, arrays=400, batch=32), write_model(described)
    assert not plan.fits
    found = wear(plan, model, rate_hz=inference_rate(plan, None))
    rounds = len(plan.rounds)
    assert found.reload_hz == pytest.approx(rounds * model.cycles * plan.throughput_hz / 32, rel=1e-12)
    limit = CycleLimit(1e6, 1e5, "x", "stated")
    assert found.lifetime_s(limit) == pytest.approx(9e5 / found.total_hz, rel=1e-12)
    half = wear(plan, model, rate_hz=plan.throughput_hz / 2)
    assert half.lifetime_s(limit) == pytest.approx(2 * found.lifetime_s(limit), rel=1e-12)
    level = wear(plan, model, rate_hz=plan.throughput_hz, levelling="ideal")
    pulses = sum(one.arrays_written for one in plan.rounds) * model.cells * model.cycles
    assert level.reload_hz == pytest.approx(pulses / (400 * model.cells) * plan.throughput_hz / 32, rel=1e-12)
    assert level.reload_hz <= found.reload_hz
    assert wear(plan, model, rate_hz=1.0, refresh_interval_s=1.0).refresh_hz == 0.0  # fresh with every batch


def test_wear_by_refreshing_and_training() -> None:
    described = chip()
    plan = schedule(network("lenet5"), described.replaced(hardware__tiles=100))
    model = write_model(described)
    assert plan.fits
    assert plan.arrays == 3200
    idle = wear(plan, model, rate_hz=1.0)
    assert (idle.total_hz, idle.lifetime_s(DEFAULTS["ReRAM"])) == (0.0, math.inf)
    both = wear(plan, model, rate_hz=1.0, refresh_interval_s=1e3, updates_per_step=0.25, steps_hz=8.0)
    assert both.refresh_hz == pytest.approx(5 / 1e3)
    assert both.training_hz == pytest.approx(2.0)
    assert both.lifetime_s(CycleLimit(2.005e6, 0.0, "x", "stated")) == pytest.approx(1e6)
    level = wear(
        plan, model, rate_hz=1.0, refresh_interval_s=1e3, updates_per_step=0.25, steps_hz=8.0, levelling="ideal"
    )
    assert level.total_hz == pytest.approx(both.total_hz * plan.arrays_used / 3200, rel=1e-12)
    with pytest.raises(SpecError, match="steps_hz"):
        wear(plan, model, rate_hz=1.0, steps_hz=-1.0)
    with pytest.raises(SpecError, match="samples a second"):
        inference_rate(plan, plan.throughput_hz * 2)


# ------------------------------------------------------------------------------------------------ refreshing


@pytest.mark.parametrize("nu", [0.02, 0.1])
@pytest.mark.parametrize("law", ["t/t0", "(t+t0)/t0"])
def test_interval_of_power_law_drift(nu: float, law: str) -> None:
    """g_on loses most: g_on (1 - r^-nu) = u / 2 with u a third of the window, r the ratio of times."""
    described = chip([{"kind": "drift", "nu_mean": nu, "nu_std": 0.5 * nu, "t0": 20.0, "time_law": law}])
    ratio = (1 - 0.5 * (98e-6 / 3) / 1e-4) ** (-1 / nu)
    expected = 20.0 * ratio if law == "t/t0" else 20.0 * (ratio - 1)
    found = keeping_time(described, 300.0)
    assert found.bound == "found"
    assert found.time_s == pytest.approx(expected, rel=1e-9)  # sixty bisections of a bracket of a tenth of a decade


@pytest.mark.parametrize("kelvin", [300.0, 358.15, 420.0])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_interval_of_retention_after_arrhenius(kelvin: float, beta: float) -> None:
    """A cell at g_on falls towards g_off: L (1 - exp(-(t / tau)^beta)) = 1/6 of the window."""
    described = chip(
        [{"kind": "retention", "tau": 1e7, "beta": beta, "energy": 1.1 * 1.602176634e-19, "energy_std": 1e-21,
          "spread": 0.4, "loss": 0.8, "reference_temperature": 358.15},
         {"kind": "temperature", "on_coefficient": 0.002}]
    )  # fmt: skip
    tau = 1e7 * math.exp(1.1 / BOLTZMANN_EV * (1 / kelvin - 1 / 358.15))
    expected = tau * (-math.log(1 - 1 / 6 / 0.8)) ** (1 / beta)
    found = keeping_time(described, kelvin)
    if expected > 1e11:
        assert (found.bound, found.time_s) == ("longer", 1e11)
    else:
        # Boltzmann's constant in eV above has ten digits, which the exponent multiplies by up to fifty.
        assert found.time_s == pytest.approx(expected, rel=1e-7)
        assert typical_loss(described, found.time_s, kelvin) == pytest.approx(1 / 6, rel=1e-9)


def test_shares_other_than_half_a_level() -> None:
    described = chip([{"kind": "retention", "tau": 1e6}])
    assert keeping_time(described, 300.0, 0.25).time_s == pytest.approx(-1e6 * math.log(0.75), rel=1e-9)
    assert half_a_level(described) == pytest.approx(1 / 6)
    continuous = chip([{"kind": "retention", "tau": 1e6}], bits=None, cell_bits=None)
    assert half_a_level(continuous) == pytest.approx(0.5 / 31)  # the cell is said to hold five bits
    with pytest.raises(SpecError, match="share of the window"):
        keeping_time(described, 300.0, 0.0)


def test_bounds_of_what_is_known() -> None:
    assert keeping_time(chip(), 400.0).bound == "longer"
    gone = keeping_time(chip([{"kind": "drift", "nu_mean": 1.0, "t0": 1e-9}]), 300.0)
    assert (gone.bound, gone.time_s) == ("shorter", 1e-6)
    fit = {"kind": "relaxation", "log": {"first": 1.0, "last": 1e5, "sigma": {"window": 0.01}, "sigma_slope": {"window": 0.01},
           "mean_slope": {"polynomial": [-0.5], "unit": 1e-6}}}  # fmt: skip
    known = keeping_time(chip([fit]), 300.0)  # 0.5 uS times ln t is below 16.3 uS to the end of the fit
    assert (known.bound, known.time_s) == ("longer", 1e5)
    fast = {**fit, "log": {**fit["log"], "mean_slope": {"polynomial": [-2.0], "unit": 1e-6}}}
    assert keeping_time(chip([fast]), 300.0).time_s == pytest.approx(math.exp(98 / 6 / 2.0), rel=1e-9)


def test_what_refreshing_takes() -> None:
    """64 rows x 5 cycles x 20 ns an array, all arrays at once; 4096 cells x 5 x 1 pJ each, and two bits from the DRAM."""
    described = chip([{"kind": "retention", "tau": 1.0}])
    model, limit = write_model(described), CycleLimit(1e9, 0.0, "x", "stated")
    interval = -math.log(5 / 6)
    found = refresh(described, model, 30, limit, 300.0)
    assert found.possible
    assert found.energy_j == pytest.approx(30 * 4096 * (5e-12 + 2 * 20e-12), rel=1e-12)
    copied = refresh(described, model, 30, limit, 300.0, distinct=10)  # each array fetched once for three copies
    assert copied.energy_j == pytest.approx(4096 * (30 * 5e-12 + 10 * 2 * 20e-12), rel=1e-12)
    assert found.duration_s == pytest.approx(64 * 5 * 20e-9, rel=1e-12)
    assert found.power_w == pytest.approx(found.energy_j / interval, rel=1e-9)
    assert found.time_share == pytest.approx(6.4e-6 / interval, rel=1e-9)
    assert found.writes_hz == pytest.approx(5 / interval, rel=1e-9)
    assert found.lifetime_s == pytest.approx(1e9 * interval / 5, rel=1e-9)
    table = refresh_table(chip(), model, 30, limit, (300.0, 400.0))
    assert [(row.temperature_k, row.power_w, row.lifetime_s) for row in table] == [
        (300.0, 0.0, math.inf),
        (400.0, 0.0, math.inf),
    ]
    fast = refresh(chip([{"kind": "retention", "tau": 2e-5}]), model, 30, limit, 300.0)  # 3.6 us, written in 6.4 us
    assert (fast.possible, fast.interval.bound) == (False, "found")


def test_years() -> None:
    assert YEAR_S == 365.25 * 86400
