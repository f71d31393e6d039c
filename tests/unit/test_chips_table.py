"""`crosstile chips --table`: the definitions, by hand where that can be done, and what a user sees."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from crosstile.comparison.chips import PRESETS, TILES, compare_chips, network_figures, peak_figures
from crosstile.cost.supply import nominal_supply_v
from crosstile.errors import ModelError, SpecError
from crosstile.specs.load import load_chip
from crosstile.workloads.table import STANDARD, network


def test_peak_figures_by_hand() -> None:
    """reram-8b: 14 columns a weight, so 9 outputs an array; 8 planes of the longer of 10 ns and 65 conversions at 1.28 GS/s."""
    chip = load_chip("reram-8b")
    found = peak_figures(chip)
    outputs = chip.outputs_per_array
    cycle_s = max(10e-9, outputs * chip.weights.slices / 1.28e9)
    gops = TILES * 32 * 2 * 128 * outputs / (8 * cycle_s) * 1e-9
    assert found.ce_gops_per_mm2 == pytest.approx(gops / found.area_mm2)
    assert found.se_mb_per_mm2 == pytest.approx(TILES * 32 * 128 * outputs / 2**20 / found.area_mm2)
    assert found.bit_factor == 1.0
    assert (found.node_factor_area, found.node_factor_energy) == (1.0, 1.0)


def test_normalisation_to_another_node() -> None:
    found = peak_figures(load_chip("prime-like"))
    assert found.node_factor_area == pytest.approx((32 / 65) ** 2)
    ratio = nominal_supply_v(32e-9) / nominal_supply_v(65e-9)
    assert found.node_factor_energy == pytest.approx(32 / 65 * ratio**2)
    assert found.bit_factor == pytest.approx(9 * 6 / 64)


@pytest.mark.parametrize("name", PRESETS)
def test_effective_stays_below_peak(name: str) -> None:
    chip = load_chip(name)
    peak = peak_figures(chip)
    for net in ("lenet5", "resnet20", "resnet18", "lstm"):
        found = network_figures(chip, net)
        assert all(math.isfinite(v) and v > 0 for v in (found.latency_s, found.throughput_hz, found.energy_j))
        # The peak's words are full of zeros and ones alike; bits that are all in use cannot be read for less.
        assert found.pe_gops_per_w < peak.pe_gops_per_w * 1.35
        if found.fits:
            assert (
                found.ce_gops_per_mm2 * found.tiles
                <= peak.ce_gops_per_mm2 * peak.tiles * found.tiles / peak.tiles * 1.001
            )
        assert 0 < found.array_utilisation <= 1


def test_a_small_chip_is_rewritten_and_a_chip_without_size_grows() -> None:
    edge = network_figures(load_chip("edge-40nm"), "resnet18")
    assert (edge.tiles, edge.fits) == (4, False)
    free = network_figures(load_chip("reram-8b"), "vgg16")
    assert free.fits
    assert free.tiles == 2 * math.ceil(free.arrays / 32) > TILES


def test_every_preset_runs_every_standard_network() -> None:
    """Shapes only: the whole table."""
    peaks, found = compare_chips(PRESETS, STANDARD)
    assert len(peaks) == len(PRESETS) >= 5
    assert {(f.chip, f.network) for f in found} == {(c, n) for c in PRESETS for n in STANDARD}
    assert all(f.bottleneck for f in found)
    work = {f.network: f for f in found if f.chip == "isaac"}
    assert work["resnet50"].energy_j > work["resnet18"].energy_j > work["lenet5"].energy_j
    assert network("resnet50").macs > network("resnet18").macs


def test_mistakes_are_told() -> None:
    with pytest.raises(ModelError, match="did you mean 'resnet50'"):
        compare_chips(["isaac"], ["resnet500"])
    with pytest.raises(SpecError, match="no chip is called 'isaak'"):
        compare_chips(["isaak"], ["lenet5"])


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosstile", *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command() -> None:
    shown = _run("chips", "--table", "--chips", "isaac,edge-40nm", "--networks", "lenet5,resnet18")
    assert shown.returncode == 0, shown.stderr
    assert max(len(line) for line in shown.stdout.splitlines()[:-4]) <= 80
    assert "*" in shown.stdout
    told = json.loads(_run("chips", "isaac", "--table", "--networks", "lenet5", "--json").stdout)
    assert told["peak"][0]["chip"] == "isaac"
    for words, text in (
        (("chips", "--networks", "lenet5"), "go with --table"),
        (("chips", "isaac", "--table", "--chips", "isaac"), "give chips once"),
        (("chips", "--table", "--networks", "nix"), "no network of known shapes"),
    ):
        found = _run(*words)
        assert (found.returncode, text in found.stderr, "Traceback" in found.stderr) == (2, True, False), found.stderr
