"""A sweep from beginning to end: what is not recorded is done, and recorded as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from crosstile.errors import UsageError
from crosstile.sweep.measure import load_inputs
from crosstile.sweep.plan import Trial, trials_of
from crosstile.sweep.space import canonical
from crosstile.sweep.spec import Study
from crosstile.sweep.store import Store
from crosstile.sweep.workers import Workers


@dataclass(frozen=True)
class Outcome:
    """Counts of trials. ``total = before + done + failed`` when a sweep ran to its end."""

    total: int
    before: int
    """Recorded already, and left as they were."""
    done: int
    failed: int
    seconds: float
    """From the first trial handed out to the last record."""
    torn: int
    """Damaged lines among the records; their trials were done again."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON."""
        return asdict(self)


class Watcher(Protocol):
    """Told how a sweep goes on."""

    def start(self, total: int, before: int) -> None:
        """The work begins: so many trials in all, so many recorded before."""

    def advance(self, done: int, failed: int) -> None:
        """So many more are recorded, done and failed."""

    def say(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """A watcher that shows nothing."""

    def start(self, total: int, before: int) -> None:
        """Nothing."""

    def advance(self, done: int, failed: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def run_sweep(
    study: Study,
    directory: Path,
    workers: Callable[[], AbstractContextManager[Workers]],
    *,
    resume: bool = True,
    retry_failed: bool = False,
    watcher: Watcher | None = None,
) -> Outcome:
    """Do all trials of a study that ``directory`` has no record of.

    Args:
        study: from :func:`crosstile.sweep.spec.load_study`.
        directory: the store; made if it is not there.
        workers: opens the workers, only called when there is something to do.
        resume: False refuses a store that has records.
        retry_failed: do failed trials again; their earlier records stay in the file, the new ones count.
        watcher: told how it goes on.

    Raises:
        CrosstileError: study, data, store or workers cannot be used. A single trial that fails is recorded and does not end the
            sweep.
    """
    watcher = watcher or Silent()
    trials = trials_of(study)
    with Store(directory, study) as store:
        status = store.status()
        if status and not resume:
            raise UsageError(
                f"{directory}: has {len(status)} recorded trials, and --no-resume was given; name another folder with --out."
            )
        if store.index.rebuilt:
            watcher.say("the index was missing or damaged and was made again from the records")
        if store.torn:
            watcher.say(
                f"{store.torn} damaged record{'s are' if store.torn > 1 else ' is'} ignored; what is missing is done again"
            )
        left = {None, "failed"} if retry_failed else {None}
        waiting = [trial for trial in trials if status.get(trial.id) in left]
        before = len(trials) - len(waiting)
        if waiting:
            _check_inputs(waiting)
        done = failed = 0
        start = time.perf_counter()
        if waiting:
            with workers() as pool:
                watcher.start(len(trials), before)
                start = time.perf_counter()
                for records in pool.results(waiting):
                    bad = store.append(records)
                    done, failed = done + len(records) - bad, failed + bad
                    watcher.advance(len(records) - bad, bad)
        seconds = time.perf_counter() - start if waiting else 0.0
        return Outcome(len(trials), before, done, failed, seconds, store.torn)


def _check_inputs(trials: list[Trial]) -> None:
    """Refuse data or weights that no trial could use, before workers are asked for."""
    for trial in trials:
        if trial.task["measure"] == "accuracy":
            load_inputs(trial.task["model"], canonical(trial.task["settings"]))
            return
