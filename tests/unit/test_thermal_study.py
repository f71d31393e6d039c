"""The thermal study: accuracies under local temperatures, the command, its files, and the published claims beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import crosstile as ct
from crosstile.cli_reproduce import register as register_reproduce
from crosstile.cli_thermal import register
from crosstile.errors import CrosstileError, SpecError, UsageError
from crosstile.reproduce.published import load_study
from crosstile.reproduce.thermal import REMEDIES, check, chip_for, findings
from crosstile.specs.conditions import Conditions
from crosstile.specs.load import load_cell
from crosstile.specs.thermal import ThermalSpec, load_thermal
from crosstile.system.thermal_accuracy import accuracy, layer_sensitivity, local_conditions
from crosstile.system.thermal_options import ThermalOptions, parse_ambients, parse_remedies
from crosstile.system.thermal_report import figures, render
from crosstile.system.thermal_result import ThermalResult
from crosstile.system.thermal_study import run
from crosstile.units import ELEMENTARY_CHARGE_C

CHIP = """
name: hot
cell: reram-thermal
array: {rows: 64, columns: 64, read_time: 10 ns}
conditions: {time: 30 d}
hardware: {arrays_per_macro: 8, macros_per_tile: 1, tiles: 24, adcs_per_array: 8, pipeline: pipelined}
"""
PACKAGE = "silicon_thickness: 50 um\ninterface_resistance_m2k_per_w: 1.0e-3\nsink_resistance_k_per_w: 500\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thermal")
    (path / "hot.yaml").write_text(CHIP)
    (path / "stack.yaml").write_text(PACKAGE)
    return path


@pytest.fixture(scope="module")
def studied(folder: Path) -> ThermalResult:
    options = ThermalOptions(
        "lenet5", chip=str(folder / "hot.yaml"), package=folder / "stack.yaml", ambients=("300 K", "390 K"),
        remedies=parse_remedies(["remap", "pair", "reference"]), data="mnist5k", samples=60, trials=1,
    )  # fmt: skip
    return run(options)


def call(*words: str) -> str:
    app = typer.Typer()
    register_reproduce(app)
    register(app)
    found = CliRunner().invoke(app, list(words))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.stdout


def test_heat_costs_accuracy_and_reference_columns_bring_it_back(studied: ThermalResult) -> None:
    assert studied.cool is not None
    assert studied.digital is not None

    def share(remedy: str, air: float) -> float:
        found = studied.at(remedy, air).accuracy
        assert found is not None
        return found.mean

    assert studied.cool.mean > 0.9
    assert share("none", 300.0) > 0.9
    assert share("none", 390.0) < studied.cool.mean - 0.05
    assert share("reference", 390.0) > share("none", 390.0)
    point = studied.at("reference", 390.0)
    lost = studied.cool.mean - share("none", 390.0)
    assert point.recovered == pytest.approx((share("reference", 390.0) - share("none", 390.0)) / lost)
    assert studied.at("none", 390.0).recovered is None


def test_remedies_that_move_work_cool_the_hottest_tile(studied: ThermalResult) -> None:
    for air in (300.0, 390.0):
        plain = studied.at("none", air)
        assert plain.ambient_k < plain.coolest_array_k < plain.hottest_array_k <= plain.peak_k
        for remedy in ("remap", "pair"):
            assert studied.at(remedy, air).peak_k < plain.peak_k - 0.05
            assert studied.at(remedy, air).power_w == pytest.approx(plain.power_w, rel=0.02)
        assert studied.at("reference", air).peak_k == plain.peak_k
    assert studied.at("none", 390.0).leakage_w > 5 * studied.at("none", 300.0).leakage_w
    assert [s.layer for s in studied.sensitivity] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert min(s.per_kelvin for s in studied.sensitivity) > 0


def test_the_result_is_written_and_read_back(studied: ThermalResult, tmp_path: Path) -> None:
    path = tmp_path / "thermal.json"
    path.write_text(studied.to_json())
    assert ThermalResult.from_json(path) == studied
    path.write_text("{}")
    with pytest.raises(CrosstileError, match="no result of crosstile thermal"):
        ThermalResult.from_json(path)
    assert set(figures(studied)) == {"maps", "peak", "accuracy"}
    maps = figures(studied)["maps"]["data"]
    assert len(maps) == 4
    assert maps[0]["z"] == [list(row) for row in studied.at("none", 390.0).tiles_k]
    html = render(studied)
    assert not re.search(r"(src|href)=.?https?:", html.split("<script>")[0])
    assert "two columns more an array" in html
    assert studied.command.startswith("crosstile thermal lenet5 --chip ")
    assert "--ambient '300 K,390 K' --remedies none,remap,pair,reference" in studied.command


def test_copies_of_arrays_are_looked_at_in_turn() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4))
    x = torch.rand(64, 20)
    spec = ct.load_chip("reram-8b").replaced(
        cell=load_cell("reram-thermal").model_dump(), array__rows=16, conditions__time_s=1e6
    )
    mapped = ct.map(model, spec, calibration=x)
    with torch.inference_mode():
        y = model(x).argmax(dim=1)
    arrays = sum(layer.plan.arrays for layer in mapped.layers.values())
    both = local_conditions(mapped, np.stack([np.full(arrays, 310.0), np.linspace(380.0, 460.0, arrays)]), 1e6)
    assert [sum(map(len, c.arrays.values())) for c in both if c.arrays] == [arrays] * 2
    each = [accuracy(mapped, x, y, [condition], 32) for condition in both]
    assert accuracy(mapped, x, y, both, 32) == pytest.approx(sum(each) / 2)
    assert accuracy(mapped, x, y, [Conditions(time=1e6, temperature=310.0)], 32) == each[0]
    assert len(local_conditions(mapped, np.full((2, arrays), 310.0), None)) == 1


def test_sensitivity_is_measured_one_layer_at_a_time() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Linear(16, 4))
    x = torch.rand(32, 20)
    effect = {"kind": "temperature", "on_coefficient_per_k": 0.002}
    spec = ct.load_chip("reram-8b").replaced(cell__effects=[effect], adc__bits=None)
    mapped = ct.map(model, spec, calibration=x)
    before = mapped(x)
    mapped.seek(0)
    found = layer_sensitivity(mapped, x, 350.0, None)
    assert torch.equal(mapped(x), before)  # left as it was
    # Ideal but for warmth: metal shrinks by f = 1 / 1.1, a level, which is metal above g_off, by (1 - f) g_on / (g_on - g_off).
    scores = before.double()
    last = scores - mapped.layers["1"].bias.double()
    share = (1 - 1 / 1.1) * spec.cell.g_on_s / (spec.cell.g_on_s - spec.cell.g_off_s)
    expected = float((last * share).square().mean().sqrt() / scores.std() / 50)
    assert found[1] == pytest.approx(expected, rel=1e-3)
    assert found[0] > 0


def test_the_command_gives_temperatures_without_data(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ["--chip", str(folder / "hot.yaml"), "--package", str(folder / "stack.yaml"), "--out", str(out)]
    text = call(
        "thermal", "lenet5", *common, "--ambient", "300K,27C", "--remedies", "pair+bits", "--rate", "100 Hz", "--json"
    )
    document = json.loads(text)
    assert [p["remedy"] for p in document["points"]] == ["none", "pair+bits"] * 2
    assert document["data"] is None
    assert document["rate_hz"] == 100.0
    assert document["points"][0]["accuracy"] is None
    assert document["points"][1]["power_w"] < document["points"][0]["power_w"]
    assert ThermalResult.from_json(out / "thermal.json").to_json() == text
    assert "lenet5 on hot" in call("thermal", "lenet5", *common)
    assert (out / "thermal.html").stat().st_size > 1_000_000


def test_wrong_input_is_told(folder: Path, tmp_path: Path) -> None:
    hot, out = str(folder / "hot.yaml"), tmp_path / "none"

    def refused(*words: str) -> str:
        with pytest.raises(CrosstileError) as caught:
            call("thermal", "lenet5", "--chip", hot, "--out", str(out), *words)
        assert not out.exists()
        return str(caught.value)

    assert "did you mean 'remap'" in refused("--remedies", "rmap")
    assert "--ambient: the unit 'kg'" in refused("--ambient", "5 kg")
    assert "outside 200 to 550 K" in refused("--ambient", "150 K")
    assert "must be less, found 8" in refused("--remedies", "bits", "--bits", "8")
    assert "not between 0 and" in refused("--rate", "1 GHz")
    assert "negative" in refused("--rate=-1 Hz")
    assert "takes data" in refused("--samples", "10")
    assert "--time" in refused("--time", "soon")
    assert "2 tiles" in refused("--remedies", "pair", "--chip", _small(tmp_path))
    (tmp_path / "bad.yaml").write_text("sink_resistance_k_per_w: -1\n")
    assert "sink_resistance_k_per_w" in refused("--package", str(tmp_path / "bad.yaml"))
    (tmp_path / "worst.yaml").write_text("sink_resistance_k_per_w: 30000\n")
    assert re.search(
        "runaway|beyond the 600 K", refused("--package", str(tmp_path / "worst.yaml"), "--ambient", "400 K")
    )
    with pytest.raises(UsageError, match="input-shape"):
        call("thermal", "lenet5", "--input-shape", "3,x")


def _small(folder: Path) -> str:
    path = folder / "small.yaml"
    path.write_text(CHIP.replace("arrays_per_macro: 8", "arrays_per_macro: 96").replace("tiles: 24", "tiles: 2"))
    return str(path)


def test_options_are_parsed() -> None:
    assert parse_remedies(["bits+pair", "none", "pair+bits"]) == ("none", "pair+bits")
    assert parse_ambients(["27 C", "300.15 K", "320 K"], 1.0) == (300.15, 320.0)
    assert parse_ambients([], 310.0) == (310.0,)


def test_a_package_is_read_from_yaml(folder: Path) -> None:
    found = load_thermal(folder / "stack.yaml")
    assert found.silicon_thickness_m == pytest.approx(50e-6)
    assert found.leakage_energy_j == pytest.approx(0.3 * ELEMENTARY_CHARGE_C)
    assert found.replaced(
        silicon_thickness_m=3e-4, interface_resistance_m2k_per_w=1.25e-5, sink_resistance_k_per_w=20.0
    ) == (ThermalSpec())
    (folder / "unit.yaml").write_text("silicon_thickness: 5\n")
    with pytest.raises(SpecError, match="has no unit"):
        load_thermal(folder / "unit.yaml")


def test_published_claims_stand_beside_ours(studied: ThermalResult) -> None:
    study = load_study("thermal")
    with pytest.raises(UsageError, match=r"lacks accuracies of pair\+bits, remap\+reference"):
        check(studied)
    # A result with all remedies, of known numbers, around 360 K: none loses 20 points, all remedies together 0.5.
    base = studied.points[0]
    shares = {"none": 0.75, "remap": 0.80, "remap+reference": 0.945}
    points = []
    for remedy in REMEDIES:
        share = shares.get(remedy, 0.9)
        peak = 371.0 - (6.2 if remedy == "pair" else 10.4 if remedy == "remap" else 0.0)
        seen = {"mean": share, "ci95": (share, share), "per_trial": (share,)}
        change = {"remedy": remedy, "ambient_k": 350.0, "peak_k": peak, "mean_k": 360.0, "leakage_w": 1.0}
        points.append(base.model_dump() | change | {"accuracy": seen})
    known = studied.model_dump() | {"points": points, "cool": {"mean": 0.95, "ci95": (0.9, 1.0), "per_trial": (0.95,)}}
    found = findings(ThermalResult.model_validate(known), study)
    assert len(found) == len(study.claims)
    assert [one.published for one in found] == [claim.text for claim in study.claims.values()]
    assert "up to +19.5 points" in found[0].ours
    assert found[0].same_direction is True
    assert "ours is 1.00 of the published fall" in found[2].told
    assert "15.0 points lost" in found[4].ours
    assert found[4].told == "NOT within the published bound of 2"
    assert found[5].told == "within the published bound of 1"
    assert "ours is 1.00" in found[6].told
    assert found[8].same_direction is False
    assert all(claim.basis == "published" and "abstract" in claim.source for claim in study.claims.values())


def test_the_chip_of_the_study_has_idle_tiles() -> None:
    spec = chip_for("lenet5")
    assert spec.hardware.tiles == 8  # 42 arrays take 6 tiles of 8
    assert spec.conditions.time_s == 86400.0
    with pytest.raises(UsageError, match="needs trained weights"):
        call("reproduce", "thermal", "--model", "resnet20")
