"""Per-layer measurements against brute force: ohmic energy, input density, signal to error, histograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.crossbar.program import Window, program_array
from crosstile.mapping.replace import MappedNetwork
from crosstile.study.analyse import analyse, conductance_histogram


def _mapped(dac_bits: int, signed: str, effects: list[dict]) -> tuple[MappedNetwork, nn.Module, torch.Tensor]:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).eval()
    x = torch.randn(5, 2, 5, 5)
    chip = ct.load_chip("reram-8b").replaced(
        cell__effects=effects, inputs__bits=4, inputs__dac_bits=dac_bits, inputs__signed=signed, array__rows=16,
        array__columns=32,
    )  # fmt: skip
    return ct.map(net, chip, x), net, x


VARIATION = [{"kind": "variation", "sigma": {"proportional": 0.1}}]


@pytest.mark.parametrize(("dac_bits", "signed"), [(1, "two_phase"), (2, "bipolar"), (3, "two_phase")])
def test_cell_energy_is_the_sum_over_every_cell_and_read(dac_bits: int, signed: str) -> None:
    """E = sum over reads and cells of G V^2 t, cell by cell; equal to rounding."""
    mapped, _, x = _mapped(dac_bits, signed, VARIATION)
    found = analyse(mapped, x)
    chip = mapped.chip
    window = Window.of(chip)
    outputs = {}
    with torch.no_grad():
        outputs["0"] = x
        outputs["3"] = mapped.network[2](mapped.network[1](mapped.network[0](x)))
    mapped.seek(0)
    for name, layer in mapped.layers.items():
        q = layer.scale.quantise(outputs[name])
        vectors = layer.make_inputs(q).vectors(q).numpy()
        energy = 0.0
        driven = []
        for number, (pack, matrix) in enumerate(zip(layer.plan.packs, layer.packs, strict=True)):
            rows = layer.pack_rows(pack)
            conductance = np.zeros(pack.rows)
            array = 0
            levels = _targets(layer, pack)
            for block in pack.blocks:
                block_rows = list(block.rows)
                for part in range(pack.column_blocks):
                    per = chip.outputs_per_array
                    physical = levels[block_rows, part * per : (part + 1) * per].reshape(len(block_rows), -1)
                    done = program_array(
                        physical, chip, seed=0, trial=0, layer=f"{name}/{number}", array=array, array_number=0
                    )
                    conductance[block_rows] += window.to_siemens(done.levels).sum(axis=1)
                    array += 1
            np.testing.assert_allclose(conductance, matrix.row_conductance_s, rtol=1e-12)
            for vector in vectors[:, rows]:
                magnitude = np.abs(vector).astype(int)
                for plane in range(-(-layer.scale.magnitude_bits // dac_bits)):
                    digit = magnitude // 2 ** (plane * dac_bits) % 2**dac_bits
                    volts = chip.array.read_voltage_v * digit / chip.max_digit
                    energy += float((conductance * volts**2).sum()) * chip.array.read_time_s
                    driven.append((digit / chip.max_digit) ** 2)
        activity = found[name].plan.activity
        assert activity.cell_energy_j == pytest.approx(energy / len(x), rel=1e-9)
        assert activity.input_density == pytest.approx(float(np.mean(driven)), rel=1e-9)
        assert activity.energy_basis.startswith("measured on 5 samples")


def _targets(layer: object, pack: object) -> np.ndarray:
    from crosstile.crossbar.encode import encode

    return encode(layer.pack_weights(pack), layer.chip.weights)


def test_signal_to_error_by_hand() -> None:
    mapped, net, x = _mapped(1, "two_phase", VARIATION)
    found = analyse(mapped, x)
    with torch.no_grad():
        wanted = net[0](x)
        first = mapped.network[0](x)
        inner = torch.relu(wanted).flatten(1)
        local = mapped.network[3](inner)
        whole = mapped.network[3](torch.relu(first).flatten(1))
        last = net(x)

    def db(signal: torch.Tensor, value: torch.Tensor) -> float:
        return 10 * math.log10(float((signal.double() ** 2).sum() / ((value - signal).double() ** 2).sum()))

    assert found["0"].snr_db == pytest.approx(db(wanted, first), abs=1e-3)
    assert found["0"].snr_cumulative_db == pytest.approx(found["0"].snr_db, abs=1e-3)
    assert found["3"].snr_db == pytest.approx(db(last, local), abs=1e-3)
    assert found["3"].snr_cumulative_db == pytest.approx(db(last, whole), abs=1e-3)
    assert found["3"].snr_cumulative_db < found["3"].snr_db


def test_more_variation_lowers_the_ratio_and_analysis_leaves_no_trace() -> None:
    ratios = []
    for sigma in (0.02, 0.1, 0.3):
        mapped, _, x = _mapped(1, "two_phase", [{"kind": "variation", "sigma": {"proportional": sigma}}])
        before = mapped(x)
        mapped.seek(0)
        ratios.append(analyse(mapped, x)["3"].snr_cumulative_db)
        assert torch.equal(mapped(x), before)
        assert all(layer.record is None for layer in mapped.layers.values())
    assert ratios == sorted(ratios, reverse=True)


def test_histograms_count_every_cell_before_and_after() -> None:
    mapped, _, _ = _mapped(1, "two_phase", VARIATION)
    for layer in mapped.layers.values():
        histogram = conductance_histogram(layer)
        cells = sum(matrix.writes.cells for matrix in layer.packs)
        assert sum(histogram["target"]) == sum(histogram["programmed"]) == cells
        occupied = [n for n in histogram["target"] if n]
        assert len(occupied) == 4, "two-bit cells have four targets"
        assert sum(n > 0 for n in histogram["programmed"]) > 8


def test_a_level_is_a_conductance_in_siemens() -> None:
    """I = sum G V in amperes equals V u / D times (sum of digit x level + off levels x sum of digits)."""
    chip = ct.load_chip("reram-8b").replaced(inputs__bits=4, inputs__dac_bits=3)
    window, rng = Window.of(chip), np.random.default_rng(0)
    levels, digits = rng.integers(0, 4, size=(20, 3)).astype(float), rng.integers(0, 8, size=20).astype(float)
    volts = chip.array.read_voltage_v * digits / chip.max_digit
    amperes = volts @ window.to_siemens(levels)
    off = chip.cell.g_off_s / window.unit_s
    wanted = chip.array.read_voltage_v * window.unit_s / chip.max_digit * (digits @ levels + off * digits.sum())
    np.testing.assert_allclose(amperes, wanted, rtol=1e-12)
    np.testing.assert_allclose(window.to_levels(window.to_siemens(levels)), levels, atol=1e-12)
    assert window.to_siemens(np.array([3.0]))[0] == pytest.approx(chip.cell.g_on_s)
