"""Cycles, energy and delay of a basis: by hand, against brute force, and beside the baselines."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import crosstile as ct
from crosstile.basisn.baselines import digital, identity, per_layer, reprogramming, with_write_model
from crosstile.basisn.contest import bit_supports, check_cycles, schedule_exact
from crosstile.basisn.cost import CONTROL, SWITCHES, basis_cost, cycle_s
from crosstile.basisn.cycles import (
    BasisArraySpec,
    layer_cycles,
    layer_cycles_at_rate,
    network_cycles,
    synthetic_codes,
)
from crosstile.cli_basis import register
from crosstile.cost.installed import install
from crosstile.errors import CrosstileError, SpecError
from crosstile.mapping.plan import LayerShape
from crosstile.reproduce.basisn import findings, ratios
from crosstile.reproduce.published import load_study
from crosstile.specs.load import load_chip
from crosstile.system.chip import evaluate_chip
from crosstile.system.reload import write_model
from crosstile.workloads.table import network

CHIP = load_chip("reram-8b")


def shape(outputs: int, rows: int = 100, positions: int = 7, *, signed: bool = False) -> LayerShape:
    return LayerShape("x", "linear", rows, 1, outputs, 1, positions, rows * positions, outputs * positions, signed)


def test_cycles_by_hand() -> None:
    """Two kernels without contest share each cycle, a third waits; two blocks, three copies, 8 planes, twice for signs."""
    codes = np.zeros((3, 2, 4), dtype=np.int8)
    codes[0, :, 0], codes[1, :, 1], codes[2, :, 0] = 3, -1, 1
    layer = shape(3, rows=200, positions=10, signed=True)
    design = BasisArraySpec(arrays=3, sets=1, vectors=4, lines=4, bits=3)
    found = layer_cycles(layer, codes, design, CHIP)
    # Bit 0: kernels 0 and 2 contest, so two cycles; bit 1: kernel 0 alone. In each of the two blocks.
    assert found.groups == (2 * (2 + 1),)
    assert found.planes == 7 * 2
    assert found.reads == 2 * (3 + 1)
    assert found.columns_on == 2 * (3 + 1)
    assert found.cell_rows_on == 200 * 4
    assert found.cycles == math.ceil(10 * 14 * 6 / 3)
    assert found.kernels_per_cycle == pytest.approx(8 / 6)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 4), st.integers(2, 4), st.integers(0, 99))
def test_cycles_are_those_of_schedules(kernels: int, vectors: int, lines: int, bits: int, seed: int) -> None:
    codes = synthetic_codes(kernels, 1, vectors, min(3, vectors), bits, seed=seed)
    design = BasisArraySpec(arrays=1, sets=1, vectors=vectors, lines=lines, bits=bits)
    layer = shape(kernels, positions=3)
    greedy, exact = (layer_cycles(layer, codes, design, CHIP, exact=flag) for flag in (False, True))
    fewest = 0
    for bit in range(bits - 1):
        on = bit_supports(codes[:, 0], bit)
        schedule = schedule_exact(on, lines)
        check_cycles(on, lines, schedule)
        fewest += schedule.count
    assert exact.groups == (fewest,)
    assert exact.cycles == 3 * 8 * fewest <= greedy.cycles
    assert greedy.kernels_per_cycle <= lines


def test_sets_and_copies() -> None:
    codes = synthetic_codes(32, 1, 128, 8, 3)
    one = BasisArraySpec(arrays=2, sets=2, vectors=64, lines=16, bits=3)
    first = layer_cycles(shape(32, positions=64), codes, one, CHIP)
    many = layer_cycles(shape(32, positions=64), codes, BasisArraySpec(8, 2, 64, 16, 3), CHIP)
    assert many.cycles == math.ceil(first.cycles / 4)
    assert first.on(BasisArraySpec(8, 2, 64, 16, 3)) == many
    # With more arrays than positions one job sets the time.
    least = layer_cycles(shape(32, positions=2), codes, BasisArraySpec(64, 2, 64, 16, 3), CHIP)
    assert least.cycles == 8 * max(least.groups)


def test_structured_supports_have_few_contests() -> None:
    """64 columns, 4 a kernel: 16 kernels fit a cycle, and structured supports reach that."""
    design = BasisArraySpec(arrays=1, sets=1, vectors=64, lines=16, bits=2)
    free = layer_cycles(shape(512), synthetic_codes(512, 1, 64, 4, 2, structured=True), design, CHIP)
    random = layer_cycles(shape(512), synthetic_codes(512, 1, 64, 4, 2), design, CHIP)
    assert free.kernels_per_cycle == 16
    assert 8 < random.kernels_per_cycle < 12


def test_rate_equals_codes_without_contests() -> None:
    """Codes whose kernels need every bit and never contest take the cycles of the rate."""
    codes = np.zeros((32, 1, 64), dtype=np.int8)
    for kernel in range(32):
        codes[kernel, 0, 4 * (kernel % 16) : 4 * (kernel % 16) + 4] = 3
    design = BasisArraySpec(arrays=4, sets=1, vectors=64, lines=16, bits=3)
    exact = layer_cycles(shape(32), codes, design, CHIP)
    assert exact == layer_cycles_at_rate(shape(32), design, CHIP, 16, 4)


NET = network("resnet18-cifar100")
DESIGN = BasisArraySpec(arrays=16, sets=2, vectors=64, lines=16, bits=3)
LAYERS = [layer_cycles_at_rate(s, DESIGN, CHIP, 16, 4) for s in NET.shapes]


def test_cost_adds_up_and_counts_what_it_says() -> None:
    found = basis_cost(NET.shapes, LAYERS, DESIGN, CHIP)
    assert found.energy_j == pytest.approx(sum(found.energy_by_component_j.values()))
    assert found.cycles == sum(layer.cycles for layer in LAYERS)
    assert found.time_s >= found.cycles * found.cycle_s
    assert found.kernels_per_cycle == pytest.approx(16, rel=0.01)
    reads = sum(layer.positions * layer.planes * layer.reads for layer in LAYERS)
    assert found.energy_by_component_j["adc"] == pytest.approx(reads * 1.5625e-12)
    assert found.energy_by_component_j[SWITCHES] == pytest.approx(
        reads * 4 * 4 * 10e-15
    )  # 4 pairs, two columns, on and off
    jobs = sum(layer.positions * layer.planes * sum(layer.groups) for layer in LAYERS)
    assert found.energy_by_component_j[CONTROL] > 0
    assert jobs * 16 >= reads
    assert found.write_time_s == found.write_energy_j == 0.0


def test_cycle_time_waits_for_the_converters() -> None:
    parts = install(CHIP)
    assert cycle_s(CHIP, parts, 1) == 10e-9
    assert cycle_s(CHIP, parts, 64) == pytest.approx(64 / 1.28e9)


def test_more_arrays_never_take_longer() -> None:
    times = []
    for arrays in (2, 4, 16, 64, 256, 4096):
        design = BasisArraySpec(arrays, 2, 64, 16, 3)
        times.append(basis_cost(NET.shapes, [layer.on(design) for layer in LAYERS], design, CHIP).time_s)
    assert times == sorted(times, reverse=True)


def test_reprogramming_is_the_schedule() -> None:
    chip = with_write_model(CHIP, "row", 100.0)
    found = reprogramming(NET, chip, 16, 4)
    wanted = evaluate_chip(NET, chip.replaced(hardware__pipeline="pipelined"), arrays=16, batch=4, duplication="greedy")
    assert found.energy_j == wanted.energy_j
    assert found.time_s == wanted.schedule.batch_latency_s / 4
    assert found.write_time_s == wanted.schedule.write_time_per_sample_s > 0


def test_identity_reads_weights_bit_by_bit() -> None:
    """One kernel a cycle, seven bits, blocks of 128 rows: cycles by hand."""
    layer = shape(100, rows=300, positions=6)
    found = identity([layer], CHIP, DESIGN)
    assert found.cycles == math.ceil(6 * 8 * 3 * 7 * 100 / 16)


def test_a_basis_for_each_layer_pays_for_writing() -> None:
    chip = with_write_model(CHIP, "cell", 10.0)
    once, four = (per_layer(NET.shapes, LAYERS, DESIGN, chip, batch) for batch in (1, 4))
    plain, model = basis_cost(NET.shapes, LAYERS, DESIGN, chip), write_model(chip)
    assert once.time_s - plain.time_s == pytest.approx(len(NET.shapes) * model.time_s(16, 2))
    assert once.energy_j - plain.energy_j == pytest.approx(len(NET.shapes) * model.energy_j(16, 2))
    assert four.write_time_s == pytest.approx(once.write_time_s / 4)


def test_digital_coefficients_convert_every_column_once() -> None:
    layer = shape(100, rows=128, positions=6)
    found = digital([layer], CHIP, DESIGN)
    assert found.cycles == 8  # eight copies for six positions: one position with its planes sets the time
    assert found.energy_by_component_j["adc"] == pytest.approx(6 * 8 * 2 * 64 * 1.5625e-12)


def test_the_ratio_depends_on_the_write_model() -> None:
    """ResNet-18 at CIFAR-100's size, 16 arrays, 16 kernels a cycle, single samples: below 1 % where writing is slow."""
    own = basis_cost(NET.shapes, LAYERS, DESIGN, CHIP)
    ratio = {
        (how, cycles): own.edp_js / reprogramming(NET, with_write_model(CHIP, how, cycles), 16, 1).edp_js
        for how in ("cell", "row")
        for cycles in (10.0, 100.0, 1000.0)
    }
    for how in ("cell", "row"):
        values = [ratio[how, cycles] for cycles in (10.0, 100.0, 1000.0)]
        assert values == sorted(values, reverse=True)
    assert ratio["cell", 100.0] < 0.01
    assert ratio["row", 10.0] > 0.01


def test_published_beside_ours() -> None:
    rows = ratios(arrays=16, networks=["resnet18-cifar100"])
    study = load_study("basisn")
    found = findings(study, rows)
    assert len(found) == len(study.claims)
    assert all("below 1 % in" in one.ours for one in found[:2])
    slow = [
        r
        for r in rows
        if r.parallelism == "cell" and r.write_cycles >= 100 and r.kernels_per_cycle == 16 and r.batch == 1
    ]
    assert slow
    assert all(row.edp < 0.01 for row in slow)


def test_mistakes_are_told() -> None:
    with pytest.raises(SpecError, match="2 sets need as many arrays"):
        BasisArraySpec(1, 2, 64, 16, 3)
    with pytest.raises(SpecError, match="coefficients of shape"):
        layer_cycles(shape(4), np.zeros((4, 1, 3), dtype=np.int8), DESIGN, CHIP)
    with pytest.raises(SpecError, match="do not fit on 64 columns"):
        layer_cycles_at_rate(shape(4), DESIGN, CHIP, 16, 8)
    with pytest.raises(SpecError, match="there are no coefficients for layer"):
        network_cycles([shape(4)], {}, DESIGN, CHIP)
    with pytest.raises(SpecError, match="cell, row or array"):
        with_write_model(CHIP, "column", 10.0)


def _call(*words: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["basis", *words], env={"COLUMNS": "80"})
    if isinstance(result.exception, CrosstileError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_by_shapes(tmp_path: Path) -> None:
    out = tmp_path / "x"
    shown = _call("resnet8", "--rate", "16", "--arrays", "4,8", "--batch", "1", "--out", str(out))
    assert max(len(line) for line in shown.splitlines() if not line.startswith("-")) <= 80
    assert "…" not in shown
    told = json.loads((out / "basis.json").read_text())
    assert told["accuracy"] is None
    assert {c["cost"]["name"] for c in told["compared"]} == {
        "basis",
        "identity",
        "digital",
        "per layer",
        "reprogramming",
    }
    assert "plot-edp" in (out / "basis.html").read_text()


def test_large_ratios_fit_in_the_table() -> None:
    shown = _call("resnet20", "--rate", "1", "--arrays", "4", "--batch", "16", "--write", "row:1")
    assert "…" not in shown
    assert "e+" not in shown
    assert re.search(r"\d\d,\d00 %", shown)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nix", "--rate", "16"), "no network of known shapes"),
        (("lenet5", "--rate", "40"), "kernels per cycle"),
        (("resnet18", "--rate", "16", "--write", "column:3"), "--write"),
        (("resnet18", "--rate", "16", "--train", "--out", "y"), "--rate is for a network without weights"),
        (("lenet5", "--train"), "--train needs --out"),
        (("lenet5", "--device", "tpu"), "--device must be auto, cpu or cuda, found 'tpu'"),
        (("lenet5", "--chip", "isaac", "--samples", "2"), "differential"),
    ],
)
def test_what_the_command_refuses(
    words: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CrosstileError, match=text):
        _call(*words)
    assert not list(tmp_path.iterdir())


def test_from_python() -> None:
    found = ct.basis("resnet8", kernels_per_cycle=16, arrays=(4,))
    assert found.accuracy is None
    assert [c.cost.name for c in found.compared] == ["basis", "identity", "digital", "per layer", "reprogramming"]
    with pytest.raises(CrosstileError, match=r"has no option 'array' \(did you mean 'arrays'"):
        ct.basis("resnet8", array=4)


def test_the_command_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shown = _call("lenet5", "--samples", "40", "--trials", "2", "--sets", "2", "--json", "--batch", "1")
    told = json.loads(shown)
    assert told["options"]["device"] == "cpu"
    assert told["notes"][0] == "accuracy computed on cpu"
    assert "--device" not in told["command"]
    assert told["accuracy"]["digital"] > 0.9
    assert told["accuracy"]["basis"] > 0.5
    assert 0 < told["layers"][1]["error"] < 1
    assert all(layer["cycles"]["kernels_per_cycle"] > 0 for layer in told["layers"])
    assert len(told["contest_graph"]) > 1
