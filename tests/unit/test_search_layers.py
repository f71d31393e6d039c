"""Hardware and copies by layer: exact where all are alike, the estimate where layers are a chain, and a small optimum."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from test_search_cli import RUNNER, _run

from crosstile.cost.estimate import estimate
from crosstile.errors import ModelError, SpecError
from crosstile.mapping.plan import plan_layer
from crosstile.search.knobs import Point
from crosstile.search.layers import alike, copies_of, layer_and_field, split
from crosstile.search.loop import search
from crosstile.search.parallel_plot import parallel_figure
from crosstile.search.problems import ChipProblem
from crosstile.search.strip import strip
from crosstile.search.study import StudySpec
from crosstile.specs.base import validate
from crosstile.specs.load import load_cell, load_chip
from crosstile.system.chip import POOLING, evaluate_chip

FIGURES = ("energy_j", "latency_s", "interval_s", "area_m2", "power_w", "edp_js", "edap_jsm2", "arrays_built")
ROWS = {"values": [64, 128, 256]}


def _study(**changes: object) -> StudySpec:
    study: dict[str, object] = {
        "name": "by-layer", "network": "lenet5", "chip": "reram-8b",
        "layers": {"conv*": {"array.rows": ROWS, "copies": {"values": [1, 2, 4]}}, "fc1": {"array.rows": ROWS}},
        "mapping": {"pipeline": {"values": ["layer_serial", "pipelined"]}},
    }  # fmt: skip
    return validate(StudySpec, study | changes, origin="by-layer", units_required=True)


def _problem(**changes: object) -> ChipProblem:
    return ChipProblem(_study(**changes))


def _point(problem: ChipProblem, fields: Point) -> Point:
    return {name: fields[layer_and_field(name)[1]] for name in problem.space.names}


def test_each_layer_that_matches_gets_knobs_of_its_own() -> None:
    problem = _problem()
    wanted = (
        "conv1/array.rows",
        "conv1/copies",
        "conv2/array.rows",
        "conv2/copies",
        "fc1/array.rows",
        "mapping.pipeline",
    )
    assert problem.space.names == wanted
    assert problem.hardware == (
        "conv1/array.rows",
        "conv2/array.rows",
        "fc1/array.rows",
    )  # copies belong to the mapping
    assert problem.space.count == 3**5 * 2
    point = _point(problem, {"array.rows": 64, "copies": 2, "mapping.pipeline": "pipelined"})
    rows = {"array.rows": 64}
    assert split(point) == ({"mapping.pipeline": "pipelined"}, {"conv1": rows, "conv2": rows, "fc1": rows})
    assert copies_of(point) == {"conv1": 2, "conv2": 2}
    assert alike(problem.space.knobs) == (
        ("conv1/array.rows", "conv2/array.rows", "fc1/array.rows"),
        ("conv1/copies", "conv2/copies"),
    )


@pytest.mark.parametrize("pipeline", ["layer_serial", "pipelined"])
@pytest.mark.parametrize(("chip", "tiles"), [("reram-8b", None), ("reram-8b", 9), ("isaac", 12)])
def test_with_all_layers_alike_cost_is_that_of_one_chip_to_the_last_bit(
    pipeline: str, chip: str, tiles: int | None
) -> None:
    rows = {"values": [64, 128]}
    problem = _problem(
        network="resnet8", chip=chip, hardware={"hardware.tiles": {"values": [tiles]}},
        layers={"*": {"array.rows": rows, "copies": {"values": [1, 2]}}},
    )  # fmt: skip
    chosen: Point = {"array.rows": 64, "copies": 1, "mapping.pipeline": pipeline, "hardware.tiles": tiles}
    found = problem.cost(_point(problem, chosen))
    described = load_chip(chip).replaced(array__rows=64, hardware__pipeline=pipeline, hardware__tiles=tiles)
    wanted = evaluate_chip(problem.network, described, duplication="none")
    assert {name: getattr(found, name) for name in FIGURES} == {name: getattr(wanted, name) for name in FIGURES}
    assert found.buffer_capacity_bits == wanted.schedule.buffer_capacity_bits
    assert found.spilled_bits == wanted.schedule.spilled_bits


def test_layers_that_differ_cost_what_the_estimate_says_of_them() -> None:
    problem = _problem(
        network="resnet8", layers={"layer*": {"array.rows": ROWS}, "linear": {"weights.cell_bits": {"values": [1, 2]}}}
    )
    sizes = (64, 256, 128, 64, 256, 256)
    point: Point = dict(zip([n for n in problem.space.names if n.endswith("rows")], sizes, strict=True))
    point["mapping.pipeline"] = "layer_serial"
    point["linear/weights.cell_bits"] = 1
    chip, found = problem.chip(point), problem.cost(point)
    wanted = estimate([plan_layer(shape, chip) for shape in problem.network.shapes], chip)
    # The estimate leaves the work of pooling out, which arrays have no part in.
    pooling_j = evaluate_chip(problem.network, load_chip("reram-8b")).energy_by_component_j[POOLING]
    assert found.energy_j == pytest.approx(wanted.energy_j + pooling_j, rel=1e-12)  # sums in another order
    assert found.latency_s == pytest.approx(wanted.latency_s, rel=1e-12)
    assert found.area_m2 == pytest.approx(wanted.area_m2, rel=1e-12)
    assert (found.arrays_built, found.arrays_used) == (wanted.arrays_built, wanted.arrays_used)
    assert len({layer.arrays for layer in wanted.layers}) > 3


@pytest.mark.parametrize("pipeline", ["layer_serial", "pipelined"])
def test_copies_cost_what_a_schedule_with_the_same_copies_costs(pipeline: str) -> None:
    problem = _problem(network="resnet8", layers={"*": {"copies": {"low": 1, "high": 64}}})
    chip = load_chip("reram-8b").replaced(hardware__pipeline=pipeline)
    wanted = evaluate_chip(problem.network, chip, arrays=160, duplication="greedy")
    copies = {f"{run.layer}/copies": run.copies for run in wanted.schedule.stages}
    assert len(set(copies.values())) > 3
    found = problem.cost(copies | {"mapping.pipeline": pipeline})
    assert found.latency_s == pytest.approx(wanted.latency_s, rel=1e-12)
    assert found.interval_s == pytest.approx(wanted.interval_s, rel=1e-12)
    assert found.arrays_used == wanted.schedule.arrays_used
    same = evaluate_chip(problem.network, chip, arrays=wanted.schedule.arrays_used, duplication="greedy")
    assert found.area_m2 == same.area_m2  # as many tiles as the arrays fill
    assert found.energy_j == pytest.approx(same.energy_j, rel=1e-12)


@pytest.mark.parametrize("pipeline", ["layer_serial", "pipelined"])
@pytest.mark.parametrize("how", ["greedy", "optimal"])
def test_room_is_shared_out_as_the_schedule_does(pipeline: str, how: str) -> None:
    mapping = {"pipeline": {"values": [pipeline]}, "room": {"values": [1, 2.5]}, "duplication": {"values": [how]}}
    rows = {"array.rows": {"values": [64, 128]}}
    problem = _problem(network="resnet8", layers={"*": rows}, mapping=mapping)
    point: Point = dict.fromkeys(problem.hardware, 64)
    point |= {"mapping.pipeline": pipeline, "mapping.room": 2.5, "mapping.duplication": how}
    chip = load_chip("reram-8b").replaced(array__rows=64, hardware__pipeline=pipeline)
    outcome = problem.evaluate(point)
    one = evaluate_chip(problem.network, chip, duplication="none").schedule.arrays_used
    wanted = evaluate_chip(problem.network, chip, arrays=math.floor(2.5 * one), duplication=how)  # type: ignore[arg-type]
    copies = {run.layer: run.copies for run in wanted.schedule.stages if run.copies > 1}
    assert outcome.details["copies"] == copies
    assert len(set(copies.values())) > 1
    assert outcome.metrics["latency_s"] == pytest.approx(wanted.latency_s, rel=1e-12)
    assert outcome.metrics["arrays_used"] == wanted.schedule.arrays_used
    flat = _problem(network="resnet8", layers={}, hardware=rows, mapping=mapping)
    alike: Point = {name: value for name, value in point.items() if "/" not in name} | {"array.rows": 64}
    assert flat.evaluate(alike).metrics["energy_j"] == wanted.energy_j


def test_nested_finds_the_exhaustive_optimum_of_three_layers() -> None:
    both = {"array.rows": {"values": [32, 64, 256]}, "copies": {"values": [1, 2, 4]}}
    problem = _problem(
        network="resnet8", objectives=["edap"], mapping={"pipeline": {"values": ["pipelined"]}},
        layers={"conv1": both, "layer3.0.conv2": both, "layer1.0.conv1": {"array.columns": {"values": [32, 64, 128]}}},
    )  # fmt: skip
    everything = search(problem, "exhaustive", 1000)
    assert len(everything.points) == 243
    optimum = min(outcome.losses[0] for outcome in everything.outcomes)
    best = everything.points[everything.best or 0]
    assert best["conv1/array.rows"] != best["layer3.0.conv2/array.rows"]  # layers want arrays of their own
    assert best["conv1/copies"] != best["layer3.0.conv2/copies"]
    found = search(problem, "nested", 40, seed=0)
    assert math.exp(found.outcomes[found.best or 0].losses[0] - optimum) <= 1.01


def test_a_layer_can_have_another_device() -> None:
    problem = _problem(
        layers={"conv2": {"cell": {"values": ["reram-isaac", "pcm-hermes-1"]}, "weights.cell_bits": {"values": [1, 2]}}}
    )
    chip = problem.chip({"conv2/cell": "pcm-hermes-1", "conv2/weights.cell_bits": 1, "mapping.pipeline": "pipelined"})
    assert chip.for_layer("conv2").cell == load_chip("reram-8b").replaced(cell=load_cell("pcm-hermes-1")).cell
    assert (chip.for_layer("conv2").weights.cell_bits, chip.for_layer("conv1").weights.cell_bits) == (1, 2)
    assert chip.for_layer("conv1").cell == load_chip("reram-8b").cell


def test_a_chip_that_is_too_small_for_the_copies_is_told() -> None:
    problem = _problem(hardware={"hardware.tiles": {"values": [1, 20]}}, layers={"*": {"copies": {"values": [1, 64]}}})
    big = _point(problem, {"copies": 64, "mapping.pipeline": "pipelined", "hardware.tiles": 1})
    assert problem.known(big) is None
    outcome = problem.evaluate(big)
    assert not outcome.feasible
    assert "hardware.tiles is 1" in outcome.reason
    small = _point(problem, {"copies": 1, "mapping.pipeline": "pipelined", "hardware.tiles": 20})
    assert problem.evaluate(small).feasible


def test_what_one_layer_cannot_be_is_known_beforehand() -> None:
    problem = _problem(chip="isaac", layers={"conv1": {"adc.bits": {"values": [6, 8]}}})
    point: Point = {"conv1/adc.bits": 6, "mapping.pipeline": "pipelined"}
    assert (problem.known(point) or "").startswith("conv1: ")
    assert problem.known(point | {"conv1/adc.bits": 8}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": {"conw*": {"array.rows": ROWS}}}, "matches no layer"),
        ({"layers": {"conv*": {"array.rows": ROWS}, "conv1": {"array.rows": ROWS}}}, "opened twice"),
        ({"layers": {"conv1": {"hardware.tiles": {"values": [1]}}}}, "hardware.tiles is the same for all layers"),
        ({"layers": {"conv1": {"schedule.batch": {"values": [1]}}}}, "'schedule' is the same for all layers"),
        ({"layers": {"conv1": {"array.rowz": ROWS}}}, "no field 'rowz'"),
        ({"layers": {"conv1": {"copies": {"values": [0, 1]}}}}, "copies is 1 or more"),
        ({"layers": {"conv1": {}}}, "name a field to open"),
        ({"hardware": {"layers.conv1": {"values": [1]}}}, "opened under layers of the study"),
        ({"layers": {}}, "nothing is open"),
        ({"layers": {"fc1": {"array.rows": ROWS}}, "mapping": {"duplication": {"values": ["none"]}}}, "no arrays to share out"),
        ({"mapping": {"room": {"values": [1, 2]}}}, "copies are opened under layers"),
        ({"mapping": {"room": {"values": [1, 2]}, "arrays": {"values": [1]}}}, "open one of them"),
        ({"mapping": {"arrays": {"values": [0.5]}}}, "open mapping.room"),
        ({"layers": {"fc1": {"array.rows": ROWS}}, "mapping": {"room": {"values": [0.5, 1]}}}, "mapping.room: 0.5"),
        ({"network": "a.b:c"}, "add input_shape"),
        ({"input_shape": [1, 28, 28]}, "input_shape belongs to a factory"),
        ({"layers": {"conv1": {"hardware.components.bufer.rate": {"values": ["1 Hz"]}}}, "chip": "isaac"}, "no component"),
    ],
)  # fmt: skip
def test_mistakes_are_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        _problem(**changes)


def test_the_best_chip_is_one_file_that_other_commands_take(tmp_path: Path) -> None:
    from crosstile.cli import app as everything

    layers = {"conv*": {"array.rows": ROWS, "copies": {"values": [1, 2, 4]}}, "fc1": {"array.rows": ROWS}}
    study = {
        "name": "by-layer", "network": "lenet5", "chip": "reram-8b", "layers": layers, "objectives": ["energy", "area"],
        "trials": 14,
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    code, text = _run(str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    best = json.loads(text)["result"]["best"]
    chip = load_chip(str(tmp_path / "out" / "best.yaml"))
    for layer in ("conv1", "conv2", "fc1"):
        assert chip.for_layer(layer).array.rows == best["point"][f"{layer}/array.rows"]
    assert chip.for_layer("fc2").array.rows == 128
    shown = RUNNER.invoke(everything, ["estimate", "lenet5", "--chip", str(tmp_path / "out" / "best.yaml"), "--json"])
    assert shown.exit_code == 0
    remarks = (tmp_path / "out" / "best.yaml").read_text().splitlines()[:4]
    assert any("crosstile estimate lenet5 --chip best.yaml" in line for line in remarks)
    front = {one["trial"] for one in json.loads(text)["result"]["front"]}
    assert {path.name for path in (tmp_path / "out" / "front").iterdir()} == {f"trial-{n}.yaml" for n in front}
    page = (tmp_path / "out" / "search.html").read_text()
    assert "Layers of the best trial" in page
    assert all(f'href="front/trial-{n}.yaml"' in page for n in front - {best["trial"]})


def test_the_strip_and_the_lines_show_the_trials() -> None:
    problem = _problem()
    result = search(problem, "random", 12, seed=1)
    point = result.points[result.best or 0]
    shown = strip(problem, point, copies_of(point))
    assert shown is not None
    assert shown["layers"] == ["conv1", "conv2", "fc1"]
    cells = {row["field"]: [cell and cell["text"] for cell in row["cells"]] for row in shown["rows"]}
    assert cells["array.rows"] == [str(point[f"{layer}/array.rows"]) for layer in shown["layers"]]
    assert cells["copies"] == [str(point["conv1/copies"]), str(point["conv2/copies"]), None]
    flat = ChipProblem(_study(layers={}, hardware={"array.rows": ROWS}))
    assert strip(flat, {"array.rows": 64, "mapping.pipeline": "pipelined"}, {"conv1": 2}) is None
    lines = parallel_figure(problem, result)["data"]
    feasible = [i for i, outcome in enumerate(result.outcomes) if outcome.feasible]
    assert sum(line["x"].count(None) for line in lines) == len(feasible)
    assert {mark[0] for line in lines for mark in line["customdata"] if mark} == {i + 1 for i in feasible}
    best = next(line for line in lines if line["name"] == "best fifth")
    assert best["customdata"][0][0] == 1 + min(feasible, key=lambda i: result.outcomes[i].losses[0])


def test_accuracy_is_that_of_layers_on_chips_of_their_own() -> None:
    import torch

    from crosstile.mapping.replace import map_network, mapped_layer
    from crosstile.search.fidelity import AccuracyLadder
    from crosstile.search.study import AccuracySpec
    from crosstile.study.montecarlo import evaluate

    problem = _problem(layers={"conv2": {"adc.bits": {"values": [3, 8]}}, "fc1": {"array.rows": ROWS}})
    point: Point = {"conv2/adc.bits": 3, "fc1/array.rows": 256, "mapping.pipeline": "pipelined"}
    ladder = AccuracyLadder(AccuracySpec(images=(40,), trials=(1,)), None, 0)
    found = ladder.measure(problem.chip(point))
    base = load_chip("reram-8b").replaced(hardware__pipeline="pipelined")
    own = {"conv2": base.replaced(adc__bits=3), "fc1": base.replaced(array__rows=256)}
    model, x, y, calibration = ladder._samples()
    mapped = map_network(
        model, base, calibration, make_layer=lambda call, chip: mapped_layer(call, own.get(call.name, chip))
    )
    with torch.inference_mode():
        assert found.accuracy == evaluate(mapped, x[:40], y[:40], trials=1).mean
    assert found.accuracy != ladder.measure(base).accuracy  # three bits show


def test_a_factory_is_traced() -> None:
    from crosstile.workloads.trace import trace
    from crosstile.zoo import build_model

    factory = "crosstile.zoo.resnet:resnet8"
    problem = _problem(network=factory, input_shape=[3, 32, 32], layers={}, hardware={"array.rows": ROWS})
    found = problem.evaluate({"array.rows": 64, "mapping.pipeline": "pipelined"})
    chip = load_chip("reram-8b").replaced(array__rows=64, hardware__pipeline="pipelined")
    graph = trace(build_model(factory, allow_untrained=True).model, (3, 32, 32))
    wanted = evaluate_chip(replace(graph, name=factory), chip)
    assert found.feasible
    assert found.metrics["edp_js"] == wanted.edp_js
    with pytest.raises(ModelError, match="importing nowhere failed"):
        _problem(network="nowhere:net", input_shape=[3, 32, 32], layers={}, hardware={"array.rows": ROWS})
