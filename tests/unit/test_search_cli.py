"""Studies of chips from end to end: outcomes against the estimate, resuming, the best chip run again, errors for people."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crosstile.cli_search import register
from crosstile.errors import CrosstileError, UsageError
from crosstile.search.fidelity import AccuracyLadder, wilson
from crosstile.search.loop import search
from crosstile.search.problems import ChipProblem
from crosstile.search.store import Store
from crosstile.search.study import AccuracySpec, StudySpec, load_study
from crosstile.specs.base import validate
from crosstile.specs.load import load_chip
from crosstile.system.chip import evaluate_chip
from crosstile.workloads.table import network

RUNNER = CliRunner()


def _app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def _run(*words: str) -> tuple[int, str]:
    found = RUNNER.invoke(_app(), ["search", *words])
    if found.exception is not None and not isinstance(found.exception, (SystemExit, CrosstileError)):
        raise found.exception
    return found.exit_code, f"{found.stdout} {found.exception or ''}"


def _small(**changes: object) -> ChipProblem:
    study = {
        "name": "small", "network": "lenet5", "chip": "isaac",
        "hardware": {"array.rows": {"values": [64, 128, 256]}, "adc.bits": {"low": 7, "high": 9},
                     "hardware.tiles": {"values": [1, 2]}, "hardware.macros_per_tile": {"values": [1, 4]}},
        "mapping": {"pipeline": {"values": ["layer_serial", "pipelined"]}, "arrays": {"values": [0.5, 1.0]}},
    }  # fmt: skip
    return ChipProblem(validate(StudySpec, study | changes, origin="small", units_required=True))


def test_outcomes_are_those_of_the_chip_and_refusals_name_their_reason() -> None:
    problem = _small(limits={"area_max": "23.45 mm2"})
    found = search(problem, "exhaustive", 1000)
    allowed = {json.dumps(point) for point in found.points}
    reasons = set()
    for point in problem.space.points():
        chip = load_chip("isaac").replaced(
            array__rows=point["array.rows"], hardware__tiles=point["hardware.tiles"], adc__bits=10,
            hardware__macros_per_tile=point["hardware.macros_per_tile"],
        )  # fmt: skip
        area = evaluate_chip(
            network("lenet5"), chip.replaced(adc__bits=max(8, chip.lossless_adc_bits)), arrays=None
        ).area_m2
        lossless = chip.lossless_adc_bits <= int(point["adc.bits"])  # type: ignore[arg-type]
        if not lossless:
            assert json.dumps(point) not in allowed
            reasons.add((problem.known(point) or "")[-90:])
        elif int(point["adc.bits"]) == max(8, chip.lossless_adc_bits):  # type: ignore[arg-type]
            assert (json.dumps(point) in allowed) == (area <= 23.45e-6)
    assert all("raise adc.bits" in reason for reason in reasons)
    assert reasons
    assert {o.reason.split(";")[0].split(" takes ")[0] for o in found.outcomes if not o.feasible} == {"the network"}
    best = found.points[found.best or 0]
    cost = evaluate_chip(network("lenet5"), problem.chip(best), arrays=problem.budget(best))
    assert found.outcomes[found.best or 0].metrics["edp_js"] == cost.edp_js
    assert found.outcomes[found.best or 0].metrics["edp_js"] == min(
        o.metrics["edp_js"] for o in found.outcomes if o.feasible
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"energy_max": "1 pJ"}, "the energy is"),
        ({"latency_max": "1 ns"}, "the latency is"),
        ({"power_max": "1 uW"}, "the power is"),
    ],
)
def test_limits_that_show_only_when_evaluated_make_trials_infeasible(limits: dict[str, str], words: str) -> None:
    problem = _small(limits=limits)
    found = search(problem, "random", 20)
    assert found.best is None
    assert any(words in outcome.reason for outcome in found.outcomes)


def test_slacks_are_above_zero_exactly_where_a_limit_is_broken() -> None:
    limits = {
        "area_max": "23.6 mm2",
        "energy_max": "5 uJ",
        "latency_max": "2.45 ms",
        "power_max": "1 W",
        "spilling": "refused",
    }
    problem = _small(limits=limits)
    found = search(problem, "exhaustive", 1000)
    seen = {name for outcome in found.outcomes for name in outcome.slacks}
    assert seen == {"arrays", "area", "energy", "latency", "power", "buffers"}
    broken = set()
    for point, outcome in zip(found.points, found.outcomes, strict=True):
        assert outcome.feasible == all(value <= 0 for value in outcome.slacks.values()), outcome.reason
        broken |= {name for name, value in outcome.slacks.items() if value > 0}
        if "energy" in outcome.slacks:
            energy_j = problem.cost(point).energy_j
            assert outcome.slacks["energy"] == pytest.approx(math.log(energy_j / 5e-6), rel=1e-9)
    assert {"arrays", "energy", "latency"} <= broken
    assert any(outcome.feasible for outcome in found.outcomes)


def test_arrays_max_is_known_beforehand() -> None:
    problem = _small(limits={"arrays_max": 32})
    points = search(problem, "exhaustive", 1000).points
    built = [p["hardware.tiles"] * p["hardware.macros_per_tile"] * 8 for p in points]  # type: ignore[operator]
    assert built
    assert max(built) == 32
    assert any(p["hardware.tiles"] * p["hardware.macros_per_tile"] * 8 == 64 for p in problem.space.points())  # type: ignore[operator]


@pytest.mark.parametrize("method", ["nested", "relax_and_round", "tpe"])
def test_an_interrupted_search_ends_as_if_it_had_not_been(method: str, tmp_path: Path) -> None:
    if method == "tpe":
        pytest.importorskip("optuna")

    class Counting(ChipProblem):
        evaluations = 0

        def evaluate(self, point):  # type: ignore[no-untyped-def]
            type(self).evaluations += 1
            return super().evaluate(point)

    study = load_study("edge-pareto")
    path, header = tmp_path / "trials.jsonl", {"study": "edge-pareto"}
    whole = search(ChipProblem(study), method, 18, seed=4)
    search(ChipProblem(study), method, 15, seed=4, store=Store(path, header, resume=False))
    with path.open("a") as file:
        file.write('{"trial": 15, "poi')  # killed while writing
    later = search(Counting(study), method, 18, seed=4, store=Store(path, header, resume=True))
    assert later.points == whole.points
    assert later.outcomes == whole.outcomes
    assert (later.replayed, Counting.evaluations) == (15, 3)
    assert len(path.read_text().splitlines()) == 19
    with pytest.raises(UsageError, match="--resume goes on"):
        Store(path, header, resume=False)
    with pytest.raises(UsageError, match="belongs to another search"):
        Store(path, {"study": "other"}, resume=True)


def test_the_best_chip_runs_in_the_other_commands(tmp_path: Path) -> None:
    from crosstile.cli import app as everything

    code, text = _run("edge-pareto", "--trials", "20", "--baseline", "random", "--out", str(tmp_path), "--json")
    assert code == 0
    document = json.loads(text)
    assert document["points"] == 1152
    assert [one["method"] for one in document["baselines"]] == ["random"]
    best = document["result"]["best"]
    again = next(line for line in (tmp_path / "best.yaml").read_text().splitlines() if "schedule" in line)
    words = again.split("crosstile ")[1].replace("best.yaml", str(tmp_path / "best.yaml")).split()
    found = RUNNER.invoke(everything, [*words, "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout)["energy_j"] == pytest.approx(best["metrics"]["energy_j"], rel=1e-12)
    estimate = RUNNER.invoke(everything, ["estimate", "lenet5", "--chip", str(tmp_path / "best.yaml"), "--json"])
    assert estimate.exit_code == 0
    assert json.loads(estimate.stdout)["chip"] == "edge-pareto-best"
    page = (tmp_path / "search.html").read_text()
    for part in ("plot-front", "plot-parallel", "plot-convergence", "plot-importance", "trial-1", "plotly_click"):
        assert part in page
    code, text = _run(
        "edge-pareto", "--trials", "21", "--baseline", "random", "--out", str(tmp_path), "--resume", "--json"
    )
    assert code == 0
    assert json.loads(text)["result"]["replayed"] == 20


def test_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    for words, text in (
        (("nothing-here",), "no search is called"),
        (("edge-pareto", "--method", "nest"), "no method is called"),
        (("edge-pareto", "--trials", "0"), "--trials must be at least 1"),
        (("edge-pareto", "--seed", "-1"), "--seed"),
        (("codesign-resnet18", "--method", "exhaustive"), "takes spaces of up to"),
    ):
        code, found = _run(*words, "--out", str(tmp_path / "out"))
        assert code != 0
        assert text in found
    (tmp_path / "trials.jsonl").write_text("not json\n")
    code, found = _run("edge-pareto", "--trials", "3", "--out", str(tmp_path), "--resume")
    assert code != 0
    assert "is not a file of trials" in found
    with pytest.raises(CrosstileError, match="has no component 'bufer'"):
        _small(hardware={"hardware.components.bufer.capacity": {"values": ["1 KB"]}})


def test_a_search_that_finds_nothing_says_why(tmp_path: Path) -> None:
    text = (
        "name: none\nnetwork: lenet5\nchip: isaac\nhardware: {array.rows: {values: [64, 128]}}\nlimits: {energy_max: 1 pJ}\n"
        "trials: 2\nmethod: random\n"
    )
    (tmp_path / "study.yaml").write_text(text)
    code, found = _run(str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"))
    assert code == 0
    assert "No trial was feasible" in found
    assert "the energy is" in found
    assert not (tmp_path / "out" / "best.yaml").exists()


def test_wilson_against_the_definition() -> None:
    low, high = wilson(0.9, 100, 0.95)
    z = 1.959963984540054
    for end in (low, high):  # ends are where the score test is just at its limit
        assert abs(0.9 - end) == pytest.approx(z * (end * (1 - end) / 100) ** 0.5, rel=1e-9)
    assert wilson(1.0, 10, 0.95)[1] == pytest.approx(1.0)


def test_rungs_stop_early_when_the_interval_decides_or_others_are_better() -> None:
    spec = AccuracySpec(images=(50, 100, 200), trials=(1, 1, 2), keep=0.5)
    asked: list[tuple[int, int, int]] = []

    def counter(share: float):  # type: ignore[no-untyped-def]
        def count(trial: int, first: int, end: int) -> int:
            asked.append((trial, first, end))
            return round(share * (end - first))

        return count

    ladder = AccuracyLadder(spec, None, 0)
    first = ladder.climb(counter(0.8))
    assert (first.accuracy, first.images, first.trials, first.stopped) == (0.8, 200, 2, "complete")
    assert asked == [(0, 0, 50), (0, 50, 100), (0, 100, 200), (1, 0, 200)]  # no image is classified twice
    worse = ladder.climb(counter(0.6))
    assert (worse.images, worse.stopped) == (50, "halving")
    assert ladder.climb(counter(0.9)).stopped == "complete"
    strict = AccuracyLadder(spec, 0.7, 0)
    bad = strict.climb(counter(0.2))
    assert (bad.images, bad.stopped) == (50, "decided")
    assert bad.high < 0.7
    again = AccuracyLadder(spec, None, 0)
    again.remember(first.as_dict())
    assert again.climb(counter(0.6)).stopped == "halving"


def test_accuracy_of_a_real_chip_is_that_of_a_run() -> None:
    import torch

    from crosstile.mapping.replace import map_network
    from crosstile.study.montecarlo import evaluate

    spec = AccuracySpec(images=(10, 20), trials=(1, 2), keep=1.0)
    ladder = AccuracyLadder(spec, None, 0)
    chip = load_chip("reram-8b")
    found = ladder.measure(chip)
    model, x, y, calibration = ladder._samples()
    mapped = map_network(model, chip, calibration, seed=0)
    with torch.inference_mode():
        wanted = evaluate(mapped, x[:20], y[:20], trials=2).mean
    assert found.accuracy == wanted
    assert (found.images, found.trials) == (20, 2)
