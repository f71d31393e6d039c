"""Sweeps from end to end: figures, failed trials, resuming, worker counts, tables, the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from test_sweep_common import SMALL, executions, processes, sweep, write_study
from typer.testing import CliRunner

import crosstile as ct
from crosstile.cli_sweep import register
from crosstile.cost.estimate import estimate
from crosstile.errors import CrosstileError, SpecError
from crosstile.mapping.plan import plan_layer
from crosstile.study.options import RunOptions
from crosstile.sweep import measure
from crosstile.sweep.export import chip_yaml, export_csv, export_parquet, load_sweep
from crosstile.sweep.plan import command
from crosstile.system.chip import evaluate_chip
from crosstile.workloads.table import network

ACCURACY = {
    "model": "lenet5",
    "points": [{"adc.bits": 3}, {"adc.bits": 8, "array.rows": 64}],
    "measure": {"cost": ["energy"], "accuracy": {"data": "mnist5k", "samples": 50, "trials": 2}},
}


def facts(out: Path) -> list[Any]:
    """All of each record but who did it and when, as text: equal text is equal to the last bit."""
    return [json.dumps({k: v for k, v in r.items() if k != "ran"}, sort_keys=True) for r in load_sweep(out).records]


def call(*words: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["sweep", *words], env={"COLUMNS": "80"})
    if isinstance(result.exception, CrosstileError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_figures_are_those_of_estimate_and_schedule(tmp_path: Path) -> None:
    sweep(write_study(tmp_path, SMALL), tmp_path / "one")
    for record in load_sweep(tmp_path / "one").records:
        changes = {path.replace(".", "__"): value for path, value in record["changes"].items()}
        chip = ct.load_chip("reram-8b").replaced(**changes)
        report = estimate([plan_layer(shape, chip) for shape in network("lenet5").shapes], chip)
        assert record["values"] == {
            name: getattr(report, name) for name in ("energy_j", "latency_s", "area_m2", "edp_js")
        }
    settings = {
        "by": "schedule",
        "batch": 4,
        "arrays": 200,
        "duplication": "greedy",
        "figures": ["throughput", "power"],
    }
    study = write_study(tmp_path, SMALL, vary={"hardware.pipeline": ["pipelined"]}, measure={"cost": settings})
    sweep(study, tmp_path / "two")
    found = load_sweep(tmp_path / "two").records[0]["values"]
    chip = ct.load_chip("reram-8b").replaced(hardware__pipeline="pipelined")
    cost = evaluate_chip(network("lenet5"), chip, batch=4, arrays=200, duplication="greedy")
    assert found == {"throughput_hz": cost.throughput_hz, "power_w": cost.power_w}


def test_cost_of_a_factory_is_that_of_its_shapes(tmp_path: Path) -> None:
    """Oracle: the same network of known shapes, but for signs of inputs, which a trace on noise sees in the first layer."""
    study = {
        "model": "crosstile.zoo.resnet:resnet8", "vary": {"array.rows": [64, 128]},
        "measure": {"cost": {"figures": ["energy", "area"], "by": "schedule", "input_shape": [3, 32, 32]}},
    }  # fmt: skip
    sweep(write_study(tmp_path, study), tmp_path / "one")
    for record in load_sweep(tmp_path / "one").records:
        chip = ct.load_chip("reram-8b").replaced(array__rows=record["changes"]["array.rows"])
        found = evaluate_chip(network("resnet8"), chip)
        assert record["values"] == {"energy_j": found.energy_j, "area_m2": found.area_m2}
        assert command(record).endswith("--input-shape 3,32,32")


def test_a_recorded_trial_can_be_repeated_from_its_record(tmp_path: Path) -> None:
    sweep(write_study(tmp_path, ACCURACY), tmp_path / "out")
    records = load_sweep(tmp_path / "out").records
    assert [r["measure"] for r in records] == ["cost", "accuracy", "accuracy"] * 2
    last = records[-1]
    text = chip_yaml(last)
    (tmp_path / "variant.yaml").write_text(text, encoding="utf-8")
    command = text.splitlines()[0].removeprefix("# ").split()
    assert command[:5] == ["crosstile", "run", "lenet5", "--chip", "CHIP.yaml"]
    seed = int(command[command.index("--seed") + 1])
    options = RunOptions("lenet5", str(tmp_path / "variant.yaml"), "mnist5k", samples=50, trials=1, seed=seed)
    assert ct.run(options).accuracy.per_trial == (last["values"]["accuracy"],)
    cost = records[3]
    chip = ct.parse_chip(chip_yaml(cost))
    report = estimate([plan_layer(shape, chip) for shape in network("lenet5").shapes], chip)
    assert cost["values"]["energy_j"] == report.energy_j
    assert {"crosstile", "torch", "numpy", "python"} <= set(last["versions"])


def test_one_worker_two_workers_and_this_process_agree_to_the_bit(tmp_path: Path) -> None:
    study = write_study(tmp_path, SMALL)
    for count in (1, 2):
        sweep(study, tmp_path / str(count), processes(count))
    sweep(study, tmp_path / "here")
    assert facts(tmp_path / "1") == facts(tmp_path / "2") == facts(tmp_path / "here")
    assert {r["ran"]["pid"] for r in load_sweep(tmp_path / "here").records}.isdisjoint(
        r["ran"]["pid"] for r in load_sweep(tmp_path / "2").records
    )


@pytest.mark.slow
def test_accuracies_agree_to_the_bit_whatever_the_workers(tmp_path: Path) -> None:
    study = write_study(tmp_path, ACCURACY)
    sweep(study, tmp_path / "2", processes(2))
    sweep(study, tmp_path / "here")
    assert facts(tmp_path / "2") == facts(tmp_path / "here")
    accuracies = [r["values"]["correct"] for r in load_sweep(tmp_path / "here").records if r["measure"] == "accuracy"]
    assert len(set(accuracies)) > 1  # chips differ, so that agreement means something


def test_resuming_does_what_is_missing_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("CROSSTILE_SWEEP_TRACE", str(trace))
    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    real, seen = measure._measure, 0

    def stops(task: dict[str, Any]) -> dict[str, Any]:
        nonlocal seen
        seen += 1
        if seen == 6:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(measure, "_measure", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(study, out)
    monkeypatch.setattr(measure, "_measure", real)
    first = (out / "records.jsonl").read_bytes()
    outcome, _ = sweep(study, out)
    assert (outcome.total, outcome.before, outcome.done) == (9, 5, 4)
    assert (out / "records.jsonl").read_bytes().startswith(first)
    assert sorted(executions(trace).values()) == [1] * 8 + [2]  # twice: the one that was interrupted
    opened = []
    sweep(study, out, lambda: opened.append(1))  # type: ignore[arg-type, return-value]
    assert not opened  # no workers are asked for when nothing is left


def test_failed_trials_are_kept_and_retried_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path, SMALL, vary={"array.rows": [64, 128], "array.active_rows": [32, 100]})
    out = tmp_path / "out"
    outcome, _ = sweep(study, out)
    assert (outcome.done, outcome.failed) == (3, 1)
    failed = next(r for r in load_sweep(out).records if r["status"] == "failed")
    assert failed["changes"] == {"array.rows": 64, "array.active_rows": 100}
    assert "active_rows (100) must not exceed rows (64)" in failed["error"]
    assert "Traceback" not in failed["error"]
    assert failed["values"] == {}
    assert sweep(study, out)[0].before == 4  # a failure is a result until somebody asks
    real = measure._measure
    monkeypatch.setattr(
        measure, "_measure", lambda task: {"energy_j": 1.0} if task["id"] == failed["id"] else real(task)
    )
    again, _ = sweep(study, out, retry_failed=True)
    assert (again.before, again.done, again.failed) == (3, 1, 0)
    assert all(r["status"] == "done" for r in load_sweep(out).records)
    assert len((out / "records.jsonl").read_text(encoding="utf-8").splitlines()) == 5  # the failure stays in the file


def test_a_fault_of_the_program_fails_one_trial_and_not_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measure._measure

    def faulty(task: dict[str, Any]) -> dict[str, Any]:
        if task["changes"]["adc.bits"] == 7:
            raise ZeroDivisionError("by nought")
        return {"energy_j": float("nan")} if task["changes"]["adc.bits"] == 6 else real(task)

    monkeypatch.setattr(measure, "_measure", faulty)
    outcome, _ = sweep(write_study(tmp_path, SMALL, vary={"adc.bits": [6, 7, 8]}), tmp_path / "out")
    assert (outcome.done, outcome.failed) == (1, 2)
    errors = [r["error"] for r in load_sweep(tmp_path / "out").records]
    assert errors[1:] == ["ZeroDivisionError: by nought", None]
    assert "not finite" in errors[0]


def test_a_worker_of_another_version_is_told(tmp_path: Path) -> None:
    from crosstile.sweep.plan import trials_of
    from crosstile.sweep.spec import load_study

    trial = trials_of(load_study(write_study(tmp_path, SMALL)))[0]
    record = json.loads(measure.run_trial(json.dumps(trial.task), "0.0.9"))
    assert record["status"] == "failed"
    assert "install the same version" in record["error"]


def test_export_round_trips(tmp_path: Path) -> None:
    import pandas
    from pyarrow import parquet

    vary = {"adc.bits": [4, None], "array.rows, array.columns": [64, 128], "hardware.clock": ["1 GHz"]}
    sweep(write_study(tmp_path, SMALL, vary=vary), tmp_path / "out")
    found = load_sweep(tmp_path / "out")
    export_csv(found, tmp_path / "t.csv")
    export_parquet(found, tmp_path / "t.parquet")
    rows = found.rows()
    assert len(rows) == 4
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        for read, row in zip(csv.DictReader(file), rows, strict=True):
            assert list(read) == list(row)
            assert float(read["energy_j"]) == row["energy_j"]  # all digits
            assert read["hardware.clock"] == "1 GHz"
            assert read["adc.bits"] == ("" if row["adc.bits"] is None else "4")
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows
    frame = found.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["energy_j"]) == [row["energy_j"] for row in rows]


def test_the_command_line(tmp_path: Path) -> None:
    study, out = str(write_study(tmp_path, SMALL, name="small")), str(tmp_path / "out")
    text = call(study, "--workers", "0", "--out", out)
    assert "lenet5 on reram-8b: 9 variants" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    summary = json.loads(call("run", study, "--workers", "0", "--out", out, "--json"))
    assert summary["trials"]["before"] == 9
    assert [v["energy_j"] for v in summary["variants"]] == [r["values"]["energy_j"] for r in load_sweep(out).records]
    assert "9 trials recorded, 0 of them failed" in call("status", out)
    call("export", out, "--csv", str(tmp_path / "x" / "t.csv"))
    assert len((tmp_path / "x" / "t.csv").read_text(encoding="utf-8").splitlines()) == 10
    name = load_sweep(out).records[4]["id"]
    chip = ct.parse_chip(call("chip", out, name[:8]))
    assert (chip.array.rows, chip.adc.bits) == (128, 7)
    wide = str(write_study(tmp_path, SMALL, name="wide", measure={"cost": None}))  # all figures
    text = call(wide, "--workers", "0", "--out", str(tmp_path / "wide"))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "without" in text
    for words, told in (
        (("export", out), "--csv FILE"),
        (("chip", out, "zzz"), "no trial"),
        (("missing.yaml",), "no such study"),
        ((study, "--scheduler", "tcp://127.0.0.1:9", "--workers", "1", "--out", str(tmp_path / "n")), "Give one"),
    ):
        with pytest.raises(CrosstileError, match=told):
            call(*words)


def test_missing_extras_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import sys

    study, out = write_study(tmp_path, SMALL), tmp_path / "out"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CrosstileError, match=r"crosstile\[cluster\]"):
        sweep(study, out, processes(2))
    monkeypatch.undo()
    sweep(study, out)
    for name in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CrosstileError, match=r"crosstile\[tables\]"):
        load_sweep(out).frame()
    with pytest.raises(CrosstileError, match=r"crosstile\[tables\]"):
        export_parquet(load_sweep(out), tmp_path / "t.parquet")


def test_bad_data_is_refused_before_any_trial(tmp_path: Path) -> None:
    measure_ = {"accuracy": {"data": "mnist5k", "weights": "bad.pt"}}
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(CrosstileError, match=r"bad\.pt") as error:
        sweep(write_study(tmp_path, SMALL, measure=measure_), tmp_path / "out")
    assert not isinstance(error.value, SpecError)
    assert not load_sweep(tmp_path / "out").records
