"""Doing one trial, on any worker: JSON text in, JSON text out, and never an exception for a fault of the variant.

An accuracy is that of ``crosstile run --trials 1 --seed SEED`` on the variant: the chip with number 0 of the trial's own seed.
One thread computes, whatever the machine, so that sums are taken in one order everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import platform
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstile.errors import CrosstileError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_from_mapping
from crosstile.sweep.plan import figures
from crosstile.sweep.space import canonical

if TYPE_CHECKING:
    from torch import Tensor

    from crosstile.mapping.replace import MappedNetwork
    from crosstile.zoo import LoadedModel

_LONGEST_ERROR = 2000


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that results depend on, as this process has them."""
    found = {name: importlib.metadata.version(name) for name in ("crosstile", "numpy", "torch", "numba")}
    return found | {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def run_trial(text: str, expected: str) -> str:
    """Do the trial ``text`` describes and return its record as text.

    Args:
        text: a task of :mod:`crosstile.sweep.plan`.
        expected: the version of crosstile that the client has; another one here makes the trial fail.

    A fault of the variant, the data or the program becomes ``status: failed`` with ``error``, one line of text.
    """
    task: dict[str, Any] = json.loads(text)
    _trace(task["id"])
    start = time.perf_counter()
    values: dict[str, Any] = {}
    error: str | None = None
    try:
        if versions()["crosstile"] != expected:
            raise CrosstileError(
                f"the worker on {socket.gethostname()} has crosstile {versions()['crosstile']}, the client {expected}; install "
                "the same version on both and use --retry-failed."
            )
        found = _measure(task)
        _check_finite(found)
        values = found
    except CrosstileError as problem:
        error = str(problem)
    except Exception as problem:  # kept in the record; one bad trial does not end a sweep of thousands
        error = f"{type(problem).__name__}: {problem}"
    ran = {
        "host": socket.gethostname(), "pid": os.getpid(), "seconds": round(time.perf_counter() - start, 6),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return record(task, values, error, ran)


def _check_finite(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise CrosstileError(
                f"{name} is not finite ({value}): the chip's description leads to no meaningful figure."
            )


def _trace(name: str) -> None:
    """Note the beginning of a trial in the file that CROSSTILE_SWEEP_TRACE names, to find one that kills its worker."""
    path = os.environ.get("CROSSTILE_SWEEP_TRACE")
    if path:
        with open(path, "a", encoding="utf-8") as file:  # one short write, which does not mix with those of others
            file.write(f"{name} {socket.gethostname()} {os.getpid()}\n")


def record(task: dict[str, Any], values: dict[str, Any], error: str | None, ran: dict[str, Any]) -> str:
    """Return the record of a trial as one line of JSON."""
    status = "done" if error is None else "failed"
    short = None if error is None else " ".join(error.split())[:_LONGEST_ERROR]
    whole = task | {"status": status, "values": values, "error": short, "versions": versions(), "ran": ran}
    return json.dumps(whole, allow_nan=False)


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    if task["chip"] is None:
        raise CrosstileError(task["problem"])
    chip = chip_from_mapping(task["chip"], f"variant {canonical(task['changes'])}")
    return _cost(task, chip) if task["measure"] == "cost" else _accuracy(task)


def _cost(task: dict[str, Any], chip: ChipSpec) -> dict[str, Any]:
    from crosstile.workloads.named import named_network

    settings = task["settings"]
    shape = settings.get("input_shape")
    known = named_network(task["model"], None if shape is None else tuple(shape))
    if settings["by"] == "schedule":
        from crosstile.system.chip import evaluate_chip

        found: Any = evaluate_chip(
            known, chip, batch=settings["batch"], arrays=settings["arrays"], duplication=settings["duplication"]
        )
    else:
        from crosstile.cost.estimate import estimate
        from crosstile.mapping.plan import plan_layer

        found = estimate([plan_layer(shape, chip) for shape in known.shapes], chip)
    return {name: getattr(found, name) for name in figures(settings)}


def _accuracy(task: dict[str, Any]) -> dict[str, Any]:
    from crosstile.study.montecarlo import count_correct

    with one_thread():
        # Chips of one variant follow each other, so that the mapped network of the last one serves again.
        mapped, x, y = _mapped(canonical([task["model"], task["chip"], task["settings"]]))
        mapped.program(0, seed=task["seed"])
        correct = count_correct(mapped, x, y, task["settings"]["batch"])
    return {"accuracy": correct / len(x), "correct": correct, "samples": len(x)}


@functools.lru_cache(maxsize=1)
def _mapped(text: str) -> tuple[MappedNetwork, Tensor, Tensor]:
    from crosstile.mapping.replace import map_network

    model, data, settings = json.loads(text)
    loaded, x, y, calibration = load_inputs(model, canonical(settings))
    chip = chip_from_mapping(data, "variant")
    return map_network(loaded.model, chip, calibration, digital=tuple(settings["digital"])), x, y


@functools.lru_cache(maxsize=1)
def load_inputs(model: str, settings_text: str) -> tuple[LoadedModel, Tensor, Tensor, Tensor]:
    """Return network, samples, labels and calibration samples; errors are those of ``crosstile run``."""
    from crosstile.study.options import RunOptions
    from crosstile.study.samples import check_outputs, load_samples
    from crosstile.study.stages import Progress
    from crosstile.zoo import build_model

    settings = json.loads(settings_text)
    options = RunOptions(
        model=model,
        data=settings["data"],
        weights=None if settings["weights"] is None else Path(settings["weights"]),
        data_dir=None if settings["data_dir"] is None else Path(settings["data_dir"]),
        samples=settings["samples"],
        download=not settings["offline"],
    )
    loaded = build_model(model, weights=options.weights)
    data, x, y, calibration = load_samples(options, loaded, Progress())
    check_outputs(loaded, x, data)
    return loaded, x, y, calibration


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread while the block runs."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
