"""The command line as a person meets it: outputs, exit codes, nothing half-written, nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

CROSSTILE = [sys.executable, "-m", "crosstile"]


def call(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CROSSTILE, *words], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, timeout=300
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small run of the main job, shared by the tests that read its output."""
    out = tmp_path_factory.mktemp("demo")
    done = call("run", "lenet5", "--samples", "200", "--trials", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_the_main_job_writes_a_result_that_obeys_its_schema(demo: Path) -> None:
    result = json.loads((demo / "result.json").read_text())
    schema = json.loads(call("schema", "result").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(result, schema)
    accuracy, cost = result["accuracy"], result["cost"]
    assert accuracy["digital"] >= 0.975
    assert len(accuracy["per_trial"]) == 2
    assert accuracy["ci95"][0] <= accuracy["mean"] <= accuracy["ci95"][1]
    assert accuracy["mean"] == pytest.approx(sum(accuracy["per_trial"]) / 2)
    for key in ("energy_j", "latency_s", "area_m2", "edp_js", "edap", "tops_per_w", "tops_per_mm2"):
        assert cost[key] > 0
    assert cost["edp_js"] == pytest.approx(cost["energy_j"] * cost["latency_s"])
    assert cost["energy_j"] == pytest.approx(sum(c["energy_j"] for c in result["components"]))
    assert cost["energy_j"] == pytest.approx(sum(layer["energy_j"] for layer in result["layers"]))
    assert cost["area_m2"] == pytest.approx(sum(c["area_m2"] for c in result["components"]))
    assert [layer["name"] for layer in result["layers"]] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert all(layer["activity"]["energy_basis"].startswith("measured") for layer in result["layers"])
    cells = sum(sum(layer["conductance"]["target"]) for layer in result["layers"])
    assert cells == result["programming"]["cells"] > 0
    assert any("Nature 608" in reference["text"] for reference in result["references"])
    assert result["seed"] == 0
    assert set(result["versions"]) >= {"crosstile", "torch", "numpy", "numba", "python"}


def test_the_report_is_one_file_without_addresses_to_load(demo: Path) -> None:
    html = (demo / "report.html").read_text()
    assert "lenet5" in html
    assert 'src="http' not in html
    assert "<link" not in html
    assert not (demo / "partial.json").exists()


def test_same_seed_same_result_whatever_the_batch(demo: Path, tmp_path: Path) -> None:
    done = call("run", "lenet5", "--samples", "200", "--trials", "2", "--batch", "17", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    again, before = json.loads(done.stdout), json.loads((demo / "result.json").read_text())
    assert again["accuracy"] == before["accuracy"]
    assert again["cost"] == before["cost"]
    for ours, theirs in zip(again["layers"], before["layers"], strict=True):
        assert ours["saturation_per_slice"] == theirs["saturation_per_slice"]
        assert ours["conductance"] == theirs["conductance"]


def test_report_is_written_again_from_a_result(demo: Path, tmp_path: Path) -> None:
    target = tmp_path / "again.html"
    assert call("report", str(demo / "result.json"), "--out", str(target)).returncode == 0
    assert target.read_text() == (demo / "report.html").read_text()


def test_help_and_lists_do_not_import_torch() -> None:
    program = (
        "import sys\nfrom crosstile.cli import app\n"
        "for words in (['--help'], ['chips'], ['devices'], ['components'], ['schema', 'chip']):\n"
        "    app(words, standalone_mode=False)\n"
        "heavy = {'torch', 'numba', 'sklearn', 'matplotlib', 'plotly', 'pandas', 'scipy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    for name in ("reram-8b", "isaac", "analog-8b", "ideal", "reram-hfox", "adc-survey", "drift", "stuck_at"):
        assert name in done.stdout


def test_import_is_cheap() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, crosstile; print('torch' in sys.modules, 'pydantic' in sys.modules)"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run", "lenet5", "--chip", "isaak"], "did you mean 'isaac'"),
        (["run", "resnet2"], "unknown network"),
        (["run", "nowhere.to:found"], "nowhere"),
        (["run", "lenet5", "--chip", "missing.yaml"], "cannot be read"),
        (["run", "lenet5", "--data", "missing.npz"], "missing.npz"),
        (["run", "lenet5", "--data", "digitz"], "digits"),
        (["run", "lenet5", "--data", "digits"], "does not run on samples of shape (1, 8, 8)"),
        (["run", "lenet5", "--weights", "missing.pt"], "missing.pt"),
        (["run", "resnet20", "--offline"], "weights"),
        (["run", "lenet5", "--trials", "0"], "--trials must be at least 1"),
        (["run", "lenet5", "--samples", "-3"], "--samples must be at least 1"),
        (["run", "lenet5", "--batch", "0"], "--batch must be at least 1"),
        (["run", "lenet5", "--seed", "-1"], "--seed must be between"),
        (["run", "lenet5", "--device", "tpu"], "tpu"),
        (["run", "lenet5", "--digital", "*"], "no layer to map"),
        (["estimate", "lenet5", "--input-shape", "1,x"], "--input-shape"),
        (["estimate", "lenet5", "--input-shape", "3,9,9"], "does not run on inputs of shape"),
        (["estimate", "torch.nn:ReLU", "--input-shape", "4"], "no layer to map"),
        (["report", "missing.json"], "missing.json"),
        (["chips", "nope"], "no chip is called"),
        (["components", "adc-survay"], "adc-survey"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(words: list[str], wanted: str, tmp_path: Path) -> None:
    done = call(*words, cwd=tmp_path, CROSSTILE_DATA="")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert wanted in done.stderr
    assert not list(tmp_path.rglob("result.json"))


def test_an_unwritable_directory_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    start = time.perf_counter()
    done = call("run", "lenet5", "--out", str(tmp_path / "file"))
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "digital network" not in done.stderr
    assert time.perf_counter() - start < 30


def test_corrupt_weights_and_data_are_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"PK\x03\x04 not really a zip")
    done = call("run", "lenet5", "--weights", str(weights), cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    x = np.zeros((4, 1, 28, 28), dtype=np.float32)
    x[2, 0, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", x=x, y=np.zeros(4, dtype=np.int64))
    done = call("run", "lenet5", "--data", str(tmp_path / "nan.npz"), cwd=tmp_path)
    assert done.returncode == 2
    assert "NaN" in done.stderr or "finite" in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    words = ["run", "lenet5", "--trials", "40", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*CROSSTILE, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # Shells start what runs in the background with SIGINT ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    partial = tmp_path / "partial.json"
    deadline = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again" in errors
    assert not (tmp_path / "result.json").exists()
    kept = json.loads(partial.read_text())["accuracies"]
    assert 1 <= len(kept) < 40
    # Mark the kept figures, to see that they are taken over and not computed again.
    document = json.loads(partial.read_text())
    document["accuracies"] = [0.125] * len(kept)
    partial.write_text(json.dumps(document))
    done = call(*words)
    assert done.returncode == 0, done.stderr
    trials = json.loads((tmp_path / "result.json").read_text())["accuracy"]["per_trial"]
    assert trials[: len(kept)] == [0.125] * len(kept)
    assert len(trials) == 40
    assert trials[len(kept)] > 0.9
    assert not partial.exists()


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))\n"
    )
    done = call("run", "mine:net", "--data", "digits", "--samples", "50", "--trials", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["data"]["name"] == "digits"
    assert [layer["rows"] for layer in result["layers"]] == [64, 16]


def test_estimate_needs_no_data_and_little_time() -> None:
    done = call("estimate", "resnet20", "--chip", "isaac", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["layers"]) == 20
    assert report["ops"] == 2 * sum(layer["macs"] for layer in report["layers"])


def test_the_faults_of_the_program_are_not_blamed_on_the_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crosstile import cli

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.delenv("CROSSTILE_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 70
    assert "fault of crosstile" in capsys.readouterr().err
