"""Trials: one piece of work each, with a name and a seed that come from what it is and not from when it runs.

    id = blake2b(what is measured, of what, chip, chip number, seed of the study),   seed = key(study seed, content, chip number)

A trial is plain JSON, so that it goes to any worker as text and stands in its record as it was.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import Any

from crosstile.errors import SpecError
from crosstile.sweep.space import canonical, key_of
from crosstile.sweep.spec import FIGURES, Study

_LOOKED_AT = 50  # variants that are tried for a valid one, before the work begins


@dataclass(frozen=True)
class Trial:
    """A piece of work. ``task`` is all that a worker needs."""

    id: str
    task: dict[str, Any]


def trials_of(study: Study) -> list[Trial]:
    """Return all trials of a study in its order: variant by variant, cost first, then chip by chip.

    Raises:
        SpecError: no variant is a valid chip; the message is that of the first.
    """
    variants = study.variants()
    _check_some(study, variants)
    found: dict[str, Trial] = {}
    measure = study.spec.measure
    for number, changes in enumerate(variants):
        common: dict[str, Any] = {"variant": number, "changes": changes, "model": study.spec.model, "problem": None}
        try:
            common["chip"] = study.chip_data(changes)
        except SpecError as error:  # it becomes the trial's, like those that the chip's own checks find
            common |= {"chip": None, "problem": str(error)}
        if measure.cost is not None:
            settings = measure.cost.model_dump(mode="json")
            trial = _trial(common | {"measure": "cost", "settings": settings, "chip_number": 0, "seed": 0})
            found.setdefault(trial.id, trial)
        if measure.accuracy is not None:
            settings = measure.accuracy.model_dump(mode="json", exclude={"trials"})
            content = {"measure": "accuracy", "model": study.spec.model, "changes": changes, "settings": settings}
            for chip_number in range(measure.accuracy.trials):
                seed = key_of(study.spec.seed, content, chip_number) >> 1
                what = {"measure": "accuracy", "settings": settings, "chip_number": chip_number, "seed": seed}
                trial = _trial(common | what)
                found.setdefault(trial.id, trial)
    return list(found.values())


def _trial(task: dict[str, Any]) -> Trial:
    content = {key: value for key, value in task.items() if key not in ("variant", "problem")}
    name = hashlib.blake2b(canonical(content).encode(), digest_size=10).hexdigest()
    return Trial(name, task | {"id": name})


def _check_some(study: Study, variants: list[dict[str, Any]]) -> None:
    """Refuse a study none of whose first variants is a chip: most likely a path is misspelt."""
    first: SpecError | None = None
    for changes in variants[:_LOOKED_AT]:
        try:
            study.chip(changes)
        except SpecError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def command(task: dict[str, Any], chip_file: str = "CHIP.yaml") -> str:
    """Return the command line that repeats a trial, its chip being in ``chip_file``."""
    settings = task["settings"]
    if task["measure"] == "cost":
        words = ["crosstile", settings["by"], task["model"], "--chip", chip_file]
        for name in ("arrays", "batch", "duplication"):
            words += [] if settings[name] is None else [f"--{name}", str(settings[name])]
        if settings.get("input_shape") is not None:
            words += ["--input-shape", ",".join(map(str, settings["input_shape"]))]
        return shlex.join(words)
    words = ["crosstile", "run", task["model"], "--chip", chip_file]
    for name in ("data", "data_dir", "weights", "samples"):
        words += [] if settings[name] is None else [f"--{name.replace('_', '-')}", str(settings[name])]
    words += ["--trials", "1", "--seed", str(task["seed"]), "--batch", str(settings["batch"])]
    words += ["--offline"] if settings["offline"] else []
    for pattern in settings["digital"]:
        words += ["--digital", pattern]
    return shlex.join(words)


def figures(settings: dict[str, Any]) -> list[str]:
    """Return the fields of a cost estimate that a task asks for."""
    return [FIGURES[name] for name in settings["figures"]]
