"""kill -9 of a worker, of the scheduler and of the client: nothing recorded is lost or done again, and what is left gets done."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sweep_common import SLOW, SMALL, executions, lines, processes, start, sweep, wait_for, write_study

from crosstile.sweep import workers
from crosstile.sweep.export import load_sweep
from crosstile.sweep.measure import run_trial
from crosstile.sweep.store import RECORDS
from crosstile.sweep.workers import AHEAD

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]
TOTAL = 24


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def recorded(out: Path) -> list[dict[str, Any]]:
    return list(load_sweep(out).records)


def enough(out: Path, count: int) -> None:
    wait_for(lambda: len(lines(out / RECORDS)) >= count)


def check_whole(out: Path) -> None:
    """Every trial has one record, done, and no line is damaged."""
    found = load_sweep(out)
    assert len(found.records) == TOTAL
    assert len(lines(out / RECORDS)) - found.torn == TOTAL
    assert all(record["status"] == "done" for record in found.records)


def test_kill_9_of_the_client(tmp_path: Path) -> None:
    study, out, trace = str(write_study(tmp_path, SLOW)), tmp_path / "out", tmp_path / "trace"
    client = start(tmp_path, study, "--workers", "2", "--out", str(out), trace=trace)
    enough(out, 5)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    before = recorded(out)
    pids = {int(line.split()[2]) for line in lines(trace)}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))  # they end by themselves
    kept = (out / RECORDS).read_bytes()
    told = json.loads(finish(start(tmp_path, study, "--workers", "2", "--out", str(out), "--json", trace=trace))[0])
    assert (told["trials"]["before"], told["trials"]["done"]) == (len(before), TOTAL - len(before))
    assert (out / RECORDS).read_bytes().startswith(kept)
    check_whole(out)
    times = executions(trace)
    assert all(times[record["id"]] == 1 for record in before)  # nothing recorded was done again
    assert set(times) == {record["id"] for record in recorded(out)}
    assert sum(times.values()) - TOTAL <= 2 * AHEAD  # no more than was in hand


def test_ctrl_c_ends_in_good_order(tmp_path: Path) -> None:
    study, out, trace = str(write_study(tmp_path, SLOW)), tmp_path / "out", tmp_path / "trace"
    words = (study, "--workers", "2", "--out", str(out))
    client = start(tmp_path, *words, trace=trace)
    enough(out, 3)
    os.killpg(client.pid, signal.SIGINT)
    _, err = finish(client, code=130)
    assert "Run the same command again to go on" in err
    assert "Traceback" not in err
    before = recorded(out)
    assert 3 <= len(before) < TOTAL
    told = json.loads(finish(start(tmp_path, *words, "--json", trace=trace))[0])
    assert told["trials"]["before"] == len(before)
    check_whole(out)
    assert all(executions(trace)[record["id"]] == 1 for record in before)


def test_kill_9_of_a_worker(tmp_path: Path) -> None:
    study, out, trace = str(write_study(tmp_path, SLOW)), tmp_path / "out", tmp_path / "trace"
    client = start(tmp_path, study, "--workers", "2", "--out", str(out), "--json", trace=trace)
    enough(out, 5)
    victim = int(lines(trace)[-1].split()[2])
    before = recorded(out)
    os.kill(victim, signal.SIGKILL)
    told = json.loads(finish(client)[0])
    assert (told["trials"]["done"], told["trials"]["failed"]) == (TOTAL, 0)
    check_whole(out)
    times = executions(trace)
    assert all(times[record["id"]] == 1 for record in before)
    twice = {name for name, count in times.items() if count > 1}
    begun = {line.split()[0] for line in lines(trace) if int(line.split()[2]) == victim}
    assert twice <= begun  # only what the killed worker had in hand
    assert len({record["ran"]["pid"] for record in recorded(out)}) >= 2


def deadly(text: str, expected: str) -> str:
    """Do a trial, except one, which takes its process along as the system does when memory is out."""
    if json.loads(text)["changes"]["adc.bits"] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_trial(text, expected)


def test_a_trial_that_kills_every_worker_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "run_trial", deadly)
    study = write_study(tmp_path, SMALL, vary={"adc.bits": {"from": 1, "to": 12}})
    outcome, _ = sweep(study, tmp_path / "out", processes(2))
    assert (outcome.done, outcome.failed) == (11, 1)
    failed = [record for record in recorded(tmp_path / "out") if record["status"] == "failed"]
    assert [record["changes"] for record in failed] == [{"adc.bits": 7}]
    assert "were killed, one after the other" in failed[0]["error"]
    monkeypatch.undo()
    assert sweep(study, tmp_path / "out", retry_failed=True)[0].done == 1


class Cluster:
    """Scheduler and workers as a cluster has them: processes of their own, found by address."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, trace: Path) -> tuple[subprocess.Popen[bytes], str]:
        words = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        scheduler = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.started.append(scheduler)
        assert scheduler.stderr is not None
        address = ""
        while not address:
            line = scheduler.stderr.readline().decode()
            assert line, "the scheduler ended"
            found = re.search(r"Scheduler at:\s+(tcp://\S+)", line)
            address = found[1] if found else ""
        for _ in range(2):
            self.worker(address, trace)
        return scheduler, address

    def worker(self, address: str, trace: Path) -> None:
        words = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        environment = os.environ | {"CROSSTILE_SWEEP_TRACE": str(trace)}
        quiet = subprocess.DEVNULL
        self.started.append(
            subprocess.Popen([*words, "--death-timeout", "5"], env=environment, stdout=quiet, stderr=quiet)
        )


@pytest.fixture
def cluster() -> Any:
    made = Cluster()
    yield made
    for process in made.started:
        process.kill()  # they have no children, and nothing to lose
        process.communicate()


def test_kill_9_of_the_scheduler(tmp_path: Path, cluster: Any) -> None:
    study, out, trace = str(write_study(tmp_path, SLOW)), tmp_path / "out", tmp_path / "trace"
    scheduler, address = cluster(trace)
    client = start(tmp_path, study, "--scheduler", address, "--out", str(out), trace=trace)
    enough(out, 5)
    scheduler.send_signal(signal.SIGKILL)
    _, err = finish(client, code=2)
    assert "the connection to the scheduler" in err
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    before = recorded(out)
    assert 5 <= len(before) < TOTAL
    # Workers that lost their scheduler end what they have in hand; only then is it known what was begun.
    done_before = executions(trace)
    _, address = cluster(trace)
    told = json.loads(
        finish(start(tmp_path, study, "--scheduler", address, "--out", str(out), "--json", trace=trace))[0]
    )
    assert (told["trials"]["before"], told["trials"]["done"]) == (len(before), TOTAL - len(before))
    check_whole(out)
    times = executions(trace)
    assert all(times[record["id"]] == 1 for record in before)
    assert sum(done_before.values()) - len(before) <= 2 * AHEAD


def test_workers_that_go_away_are_told_and_new_ones_go_on(tmp_path: Path, cluster: Any) -> None:
    study, out, trace = str(write_study(tmp_path, SLOW)), tmp_path / "out", tmp_path / "trace"
    _, address = cluster(trace)
    client = start(tmp_path, study, "--scheduler", address, "--out", str(out), "--json", trace=trace)
    enough(out, 3)
    for process in cluster.started[1:]:
        process.kill()
    assert client.stderr is not None
    assert any("no workers are left" in line for line in client.stderr)  # else it ends, with all lines read
    cluster.worker(address, trace)
    assert json.loads(finish(client)[0])["trials"]["done"] == TOTAL
    check_whole(out)


def test_no_scheduler_is_told(tmp_path: Path) -> None:
    study = str(write_study(tmp_path, SLOW))
    words = (study, "--scheduler", "tcp://127.0.0.1:9", "--out", str(tmp_path / "out"))
    _, err = finish(start(tmp_path, *words, trace=tmp_path / "trace"), code=2)
    assert "no Dask scheduler answers there" in err
    assert "Traceback" not in err
