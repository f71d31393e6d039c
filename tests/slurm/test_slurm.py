"""A real sweep through Slurm: jobs are submitted, workers of theirs do the trials, a cancelled job is made good.

Needs a Slurm that answers, such as that of ``.ci/slurm.sh start``; skips with the reason where there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crosstile.sweep.export import load_sweep
from crosstile.sweep.run import run_sweep
from crosstile.sweep.spec import load_study
from crosstile.sweep.workers import open_workers

STUDY = {
    "model": "transformer-7b",  # about a quarter of a second a trial
    "vary": {"array.rows": [64, 128], "array.read_time": {"low": "10 ns", "high": "100 ns", "points": 12}},
    "measure": {"cost": ["energy", "latency"]},
}
DRIVER = """
import sys
import typer
from crosstile.cli_sweep import register

app = typer.Typer()
app.callback()(lambda: None)
register(app)
if __name__ == "__main__":
    app()
"""


def why_not() -> str | None:
    if shutil.which("sinfo") is None or shutil.which("sbatch") is None:
        return "Slurm is not installed here (no sinfo, no sbatch)"
    try:
        found = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return "sinfo does not answer; `.ci/slurm.sh start` starts a Slurm of one node"
    if found.returncode != 0 or not found.stdout.strip():
        told = found.stderr.strip().splitlines()
        return f"no Slurm answers ({told[-1] if told else 'sinfo lists no node'}); `.ci/slurm.sh start` starts one"
    return None


REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.skipif(REASON is not None, reason=REASON or "")]


def jobs() -> list[str]:
    found = subprocess.run(
        ["squeue", "-h", "-n", "crosstile-sweep", "-o", "%i %t"], capture_output=True, text=True, timeout=20
    )
    return found.stdout.split("\n")[:-1]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    study, profile, driver = tmp_path / "study.yaml", tmp_path / "profile.yaml", tmp_path / "driver.py"
    study.write_text(json.dumps(STUDY), encoding="utf-8")
    profile.write_text(
        json.dumps({
            "cores": 1, "memory": "1 GB", "walltime": "00:10:00", "queue": "test", "jobs": 1,
            "job_directives": ["--comment=sweep"], "prologue": [f"export CROSSTILE_SWEEP_TRACE={tmp_path / 'trace'}"],
            "log_directory": str(tmp_path / "logs"), "local_directory": str(tmp_path),
        }),
        encoding="utf-8",
    )  # fmt: skip
    driver.write_text(DRIVER, encoding="utf-8")
    return [
        sys.executable,
        str(driver),
        "sweep",
        str(study),
        "--slurm",
        str(profile),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]


def wait_for(what: Any, seconds: float = 90.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s; jobs: {jobs()}")


def traced(tmp_path: Path) -> list[str]:
    path = tmp_path / "trace"
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_a_sweep_on_slurm_equals_one_in_this_process(tmp_path: Path, words: list[str]) -> None:
    found = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["trials"]["done"] == 24
    records = load_sweep(tmp_path / "out").records
    assert all(record["ran"]["pid"] != os.getpid() for record in records)
    assert sorted(traced(tmp_path)) == sorted(record["id"] for record in records)  # by the job, each once
    run_sweep(load_study(tmp_path / "study.yaml"), tmp_path / "here", lambda: open_workers(workers=0))
    here = {record["id"]: record["values"] for record in load_sweep(tmp_path / "here").records}
    assert {record["id"]: record["values"] for record in records} == here
    wait_for(lambda: not jobs())  # no job is left behind


def test_kill_9_of_a_client_and_going_on(tmp_path: Path, words: list[str]) -> None:
    client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    path = tmp_path / "out"
    wait_for(lambda: (path / "study.json").exists() and len(load_sweep(path).records) >= 5)
    client.kill()
    client.communicate()
    before = [record["id"] for record in load_sweep(path).records]
    wait_for(lambda: not jobs())  # workers without a scheduler end their job
    found = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)["trials"]
    assert (told["before"], told["done"]) == (len(before), 24 - len(before))
    assert all(traced(tmp_path).count(name) == 1 for name in before)
