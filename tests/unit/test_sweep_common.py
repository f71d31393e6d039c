"""What the tests of sweeps share: small studies, and the command line in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from crosstile.sweep.run import Outcome, Silent, run_sweep
from crosstile.sweep.spec import load_study
from crosstile.sweep.workers import Here, Workers, open_workers

DRIVER = """
import sys
import typer
from crosstile.cli_sweep import register
from crosstile.errors import CrosstileError

app = typer.Typer()
app.callback()(lambda: None)
register(app)
if __name__ == "__main__":
    try:
        app()
    except CrosstileError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
"""

SMALL = {
    "model": "lenet5",
    "vary": {"array.rows": [64, 128, 256], "adc.bits": {"from": 6, "to": 8}},
    "measure": {"cost": ["energy", "latency", "area", "edp"]},
    "seed": 3,
}
SLOW = {  # about a quarter of a second a trial, without PyTorch
    "model": "transformer-7b",
    "vary": {"array.rows": [64, 128], "array.read_time": {"low": "10 ns", "high": "100 ns", "points": 12}},
    "measure": {"cost": ["energy", "latency"]},
}


def write_study(folder: Path, data: dict[str, Any], **changes: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(json.dumps(data | changes), encoding="utf-8")  # JSON is YAML
    return path


@contextlib.contextmanager
def here() -> Iterator[Workers]:
    yield Here()


def processes(count: int) -> Callable[[], AbstractContextManager[Workers]]:
    return lambda: open_workers(workers=count)


def sweep(
    path: Path, out: Path, workers: Callable[[], AbstractContextManager[Workers]] = here, **options: Any
) -> tuple[Outcome, Silent]:
    watcher = Silent()
    return run_sweep(load_study(path), out, workers, watcher=watcher, **options), watcher


def start(folder: Path, *words: str, trace: Path) -> subprocess.Popen[str]:
    """Start the command line; each trial that begins leaves a line in ``trace``."""
    driver = folder / "driver.py"
    driver.write_text(DRIVER, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(driver), "sweep", *words],
        env=os.environ | {"CROSSTILE_SWEEP_TRACE": str(trace)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,  # as a terminal does; Ctrl-C goes to all of it
    )  # fmt: skip


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def executions(trace: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in lines(trace))
