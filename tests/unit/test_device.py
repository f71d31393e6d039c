"""Single devices outside of a chip: the same cells as in a chip, over time and temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import crosstile as ct
from crosstile.devices.device import Device
from crosstile.errors import DataError, SpecError
from crosstile.specs.load import library_names, load_cell

YEAR = 31557600.0


@pytest.mark.parametrize("name", library_names("cells"))
def test_every_cell_is_written_aged_and_read(name: str) -> None:
    """As written without a time; the same cells at each call; nothing outside of what conductances can be."""
    device = Device.load(name)
    target = np.tile(device.level_targets(device.cell.max_bits), 50)
    cells = device.program(target, np.random.default_rng(1))
    fresh = device.conductance(cells)
    if not any(effect.stage in ("fault", "age") for effect in device.cell.effects):
        np.testing.assert_array_equal(fresh, cells.written_s)
    for temperature in (300.0, 350.0):
        one, two = (device.conductance(cells, temperature_k=temperature) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert (one >= 0).all()
    again = device.program(target, np.random.default_rng(1))
    np.testing.assert_array_equal(again.written_s, cells.written_s)
    assert cells.writes.cells == target.size


def test_drift_of_pcm_has_its_exponent() -> None:
    """ln(g(t) / g(0)) over ln((t + t0) / t0) is -nu of the cell: mean 0.06 or so, the same whatever the time."""
    device = Device.load("pcm-nandakumar-2019")
    cells = device.program(np.full(20_000, 20e-6), np.random.default_rng(2))
    t0 = next(effect for effect in device.cell.effects if effect.kind == "drift").t0_s
    start = device.conductance(cells)
    usable = start > 0
    nus = [
        -np.log(device.conductance(cells, time_s=t)[usable] / start[usable]) / np.log((t + t0) / t0)
        for t in (1e3, YEAR)
    ]
    np.testing.assert_allclose(nus[0], nus[1], rtol=1e-9, atol=1e-12)
    drift = next(effect for effect in device.cell.effects if effect.kind == "drift")
    state = np.full(1, 20e-6 / (drift.nu_mean.g_max_s or device.cell.g_on_s))
    mean, spread = float(drift.nu_mean.at(state)[0]), float(drift.nu_std.at(state)[0])
    low, high = stats.norm.interval(0.999, mean, spread / np.sqrt(usable.sum()))
    assert low - 1e-4 < nus[0].mean() < high + 1e-3  # those below zero are folded or floored, which raises the mean


def test_reads_scatter_by_the_noise_of_the_description() -> None:
    device = Device.load("analog-pair")
    cells = device.program(np.full(20_000, 12e-6), np.random.default_rng(3))
    noise = device.read(cells, np.random.default_rng(4)) - device.conductance(cells)
    assert noise.std() == pytest.approx(0.01 * 25e-6, rel=0.03)  # 1 % of the window; 20,000 draws: 0.5 %
    quiet = Device(load_cell("ideal"))
    cells = quiet.program(np.full(10, 50e-6), np.random.default_rng(0))
    np.testing.assert_array_equal(quiet.read(cells, np.random.default_rng(1)), quiet.conductance(cells))


def test_writing_counts_pulses_energy_and_time() -> None:
    cell = load_cell("reram-hfox")
    write = {"time_s": 10e-9, "energy_j": 0.6e-12, "verify_time_s": 5e-9, "verify_energy_j": 1e-15}
    cell = cell.replaced(effects=[*cell.effects, {"kind": "write_verify", "tolerance": 0.02}], write=write)
    device = Device(cell)
    cells = device.program(np.full(2_000, 20e-6), np.random.default_rng(5))
    assert cells.writes.writes > 2 * cells.writes.cells
    assert cells.energy_j == pytest.approx(cells.writes.writes * 0.601e-12)
    assert cells.time_s == pytest.approx(cells.writes.writes * 15e-9)
    within = np.abs(cells.written_s - 20e-6) <= 0.02 * (cell.g_on_s - cell.g_off_s)
    assert (~within).sum() == cells.writes.unconverged
    assert Device.load("sram-8t-7nm").program(np.zeros(3), np.random.default_rng(0)).energy_j is None


def test_heat_opens_the_off_state() -> None:
    device = Device.load("reram-thermal")
    cells = device.program(np.full(1_000, device.cell.g_off_s), np.random.default_rng(6))
    means = [device.conductance(cells, temperature_k=k).mean() for k in (300.0, 350.0, 400.0)]
    assert means[0] < means[1] < means[2]


def test_currents_follow_the_law_of_the_description() -> None:
    cell = load_cell("reram-hfox")
    g, v = 20e-6, np.array([-0.3, 0.0, 0.2])
    np.testing.assert_allclose(Device(cell).current(g, v), g * v)
    sinh = Device(cell.replaced(current={"sinh": 0.25}))
    np.testing.assert_allclose(sinh.current(g, v), g * 0.25 * np.sinh(v / 0.25), rtol=1e-12)
    cubic = Device(cell.replaced(current={"polynomial": [0.0, 2.0]}))
    np.testing.assert_allclose(cubic.current(g, v), g * (v + 2.0 * v**3), rtol=1e-12)
    with pytest.raises(SpecError, match="give one of sinh"):
        cell.replaced(current={})


def test_a_network_takes_nonlinear_cells_at_one_voltage_only() -> None:
    chip = ct.load_chip("reram-8b")
    cell = chip.cell.replaced(current={"sinh": 0.25})
    assert chip.replaced(cell=cell).cell.current is not None
    for changes in (
        {"inputs__dac_bits": 2},
        {"array__wires": {"word_line": {"resistance_ohm": 1.0}, "bit_line": {"resistance_ohm": 1.0}}},
    ):
        with pytest.raises(SpecError, match="not proportional to its voltage"):
            chip.replaced(cell=cell, **changes)


@pytest.mark.parametrize("target", [[-1e-6], [np.nan], [np.inf]])
def test_impossible_targets_are_refused(target: list[float]) -> None:
    with pytest.raises(DataError, match="finite and not negative"):
        Device.load("reram-hfox").program(target, np.random.default_rng(0))
    with pytest.raises(DataError, match="1 to 3 bits"):
        Device.load("reram-hfox").level_targets(4)
