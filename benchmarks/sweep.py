"""Sweeps: speed with 1 and 2 workers, what the scheduler costs a trial, how fast records load; a table in Markdown.

    python benchmarks/sweep.py [--trials 200] [--records 10000] [--rounds 1]

Trials are cost estimates of transformer-7b, about a fifth of a second each on an idle core; for the overhead, of LeNet-5, about a
millisecond. Times are from the first trial handed out to the last record on the disk; starting workers is not in them.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from crosstile.sweep.export import load_sweep
from crosstile.sweep.run import run_sweep
from crosstile.sweep.spec import Study, load_study
from crosstile.sweep.store import INDEX, RECORDS, Store
from crosstile.sweep.workers import open_workers


def study(folder: Path, model: str, trials: int) -> Study:
    path = folder / f"{model}.yaml"
    clock = {"low": "200 MHz", "high": "2 GHz", "points": trials}
    text = {"model": model, "vary": {"hardware.clock": clock}, "measure": {"cost": ["energy", "latency", "area"]}}
    path.write_text(json.dumps(text), encoding="utf-8")
    return load_study(path)


def measure(loaded: Study, out: Path, workers: int) -> tuple[float, float]:
    """Return the wall time of a sweep, and the sum of what its trials took in their workers, in seconds."""
    outcome = run_sweep(loaded, out, functools.partial(open_workers, workers=workers))
    assert outcome.failed == 0
    return outcome.seconds, sum(record["ran"]["seconds"] for record in load_sweep(out).records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| model | workers | time, s | in trials, s | overhead a trial, ms | speed-up |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for model in ("transformer-7b", "lenet5"):
            loaded = study(folder, model, given.trials)
            times: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
            for number in range(given.rounds):
                for workers in times:
                    times[workers].append(measure(loaded, folder / f"{model}-{workers}-{number}", workers))
            base = statistics.median(wall for wall, _ in times[1])
            for workers, found in times.items():
                wall = statistics.median(wall for wall, _ in found)
                busy = statistics.median(busy for _, busy in found)
                over = (wall * max(workers, 1) - busy) / given.trials * 1e3
                words = "this process" if workers == 0 else str(workers)
                print(f"| {model} | {words} | {wall:.2f} | {busy:.2f} | {over:.1f} | {base / wall:.2f} |", flush=True)
        records(study(folder, "lenet5", 2), folder / "many", given.records)


def records(loaded: Study, out: Path, count: int) -> None:
    measure(loaded, out, 0)
    one = load_sweep(out).records[0]
    texts = [json.dumps({**one, "id": f"{n:020d}", "variant": n}) for n in range(count)]
    with Store(out, loaded) as store:
        begin = time.perf_counter()
        for text in texts[:200]:
            store.append([text])
        single = (time.perf_counter() - begin) / 200
        store.append(texts[200:])
    print(f"\none record, fsynced and indexed: {single * 1e3:.2f} ms")
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = len(load_sweep(out).records)
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    print(
        f"{found} records ({(out / RECORDS).stat().st_size / 1e6:.0f} MB) load in {wall:.2f} s, {cpu:.2f} s of CPU time"
    )
    for words, lost in (("by the index", False), ("the index made again", True)):
        if lost:
            (out / INDEX).unlink()
        begin = time.perf_counter()
        with Store(out, loaded) as store:
            known = len(store.status())
        print(f"opening the store to go on, {words}: {known} trials in {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
