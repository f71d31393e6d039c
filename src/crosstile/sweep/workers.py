"""Who does the trials: this process, processes of this machine, any Dask cluster, or jobs of Slurm.

Workers take trials as text and give records as text; they write nothing. Few trials are handed out ahead (so many as keep every
worker busy), so that little is lost with a worker or a scheduler.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from crosstile.errors import CrosstileError, OutputError, UsageError
from crosstile.sweep.measure import record, run_trial, versions
from crosstile.sweep.plan import Trial
from crosstile.sweep.slurm import SlurmProfile

AHEAD: Final = 4  # trials in hand for each thread of a worker
_PAUSE_S: Final = 0.002  # between two looks for a result
_LOOK_S: Final = 2.0  # between two looks at how many workers there are


class Workers(Protocol):
    """Something that does trials."""

    where: str
    """In words, for people."""

    def results(self, trials: Sequence[Trial]) -> Iterator[list[str]]:
        """Yield records as they come, several at a time."""


class Here:
    """This process, one trial after the other."""

    where = "this process"

    def results(self, trials: Sequence[Trial]) -> Iterator[list[str]]:
        """Yield one record after the other."""
        for trial in trials:
            yield [run_trial(_text(trial), versions()["crosstile"])]


class Dask:
    """Workers of a Dask cluster."""

    def __init__(self, client: Any, where: str, say: Callable[[str], None]) -> None:
        self._client, self.where, self._say = client, where, say
        self._seen, self._threads = 0.0, 1

    def results(self, trials: Sequence[Trial]) -> Iterator[list[str]]:
        """Yield records as they come.

        Raises:
            OutputError: the scheduler is gone.
        """
        waiting, expected, run = iter(trials), versions()["crosstile"], uuid.uuid4().hex[:8]
        inside: dict[Any, Trial] = {}
        try:
            done = _dask().as_completed(loop=self._client.loop, with_results=True, raise_errors=False)
            while True:
                room = max(0, max(self._width(), 1) - len(inside))
                for trial in itertools.islice(waiting, room):
                    key = f"trial-{run}-{trial.id}"
                    future = self._client.submit(run_trial, _text(trial), expected, key=key, pure=False)
                    inside[future] = trial
                    done.add(future)
                if not inside:
                    return
                self._wait(done)
                records, lost = [], False
                for future, result in done.next_batch():
                    trial = inside.pop(future)
                    if future.status in ("cancelled", "lost") or (
                        future.status == "finished" and not isinstance(result, str)
                    ):
                        lost = True
                    else:
                        records.append(result if future.status == "finished" else _killed(trial, result))
                yield records  # first, what did arrive
                if lost:
                    raise self._lost()
        except (OSError, RuntimeError) as error:
            if isinstance(error, CrosstileError):
                raise
            if self._client.status == "running" and not isinstance(error, OSError):
                raise
            raise self._lost() from None

    def _wait(self, done: Any) -> None:
        """Wait for a result; tell once when there is nobody to bring one."""
        told = False
        while not done.has_ready():
            time.sleep(_PAUSE_S)
            if self._width() == 0 and not told:
                told = True
                self._say("no workers are left; waiting for new ones (what is recorded stays, should you stop here)")

    def _width(self) -> int:
        """Return how many trials to have in hand."""
        if time.monotonic() - self._seen > _LOOK_S:
            self._seen = time.monotonic()
            self._threads = sum(self._client.nthreads().values())
        return AHEAD * self._threads

    def _lost(self) -> OutputError:
        return OutputError(
            f"the connection to the scheduler ({self.where}) was lost. All finished trials that had arrived are recorded: start "
            "a scheduler again and run the same command to go on."
        )


def _text(trial: Trial) -> str:
    return json.dumps(trial.task, allow_nan=False)


def _killed(trial: Trial, result: Any) -> str:
    """Return the record of a trial that never came back: its workers died of it, or it could not even begin."""
    error = result[1] if isinstance(result, tuple) and len(result) > 1 else result
    text = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "KilledWorker":
        text = (
            "the workers that ran this trial were killed, one after the other; most likely it takes more memory than they have. "
            "Give them more, or take fewer samples or a smaller batch, and use --retry-failed."
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return record(
        trial.task, {}, text, {"host": socket.gethostname(), "pid": os.getpid(), "seconds": 0.0, "finished": now}
    )


def _dask() -> Any:
    return importlib.import_module("distributed")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own lines away: what happens to scheduler and workers is told in our words, or seen in the records."""
    _dask()
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("distributed", "tornado")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def need_dask(module: str, what: str) -> None:
    """Raise :class:`UsageError` with the extra to install, if a module is not there."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"{what} needs {module}: pip install 'crosstile[cluster]', or use --workers 0 for this process alone."
        )


@contextlib.contextmanager
def open_workers(
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    slurm: SlurmProfile | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Workers]:
    """Open the workers that are asked for, and close what was started.

    Args:
        workers: processes of this machine (default: one a core), 0 for this process; with ``slurm`` the number of jobs.
        scheduler: address of a running Dask scheduler.
        slurm: jobs to ask Slurm for.
        say: told what is opened and waited for.

    Raises:
        UsageError: a combination that has no meaning, or an extra that is not installed.
        OutputError: no scheduler answers.
    """
    if scheduler is not None and slurm is not None:
        raise UsageError("--scheduler and --slurm: give one of them.")
    if scheduler is not None and workers is not None:
        raise UsageError("--workers starts workers; those behind --scheduler run already. Give one of them.")
    if workers is not None and workers < 0:
        raise UsageError(f"--workers must be at least 0, found {workers}.")
    if workers == 0 and slurm is not None:
        raise UsageError("--workers 0 is this process; with --slurm give the number of jobs, at least 1.")
    if workers == 0:
        yield Here()
        return
    need_dask("distributed", "more than one worker")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        client, where = _connect(stack, workers, scheduler, slurm)
        if importlib.util.find_spec("bokeh") is None:
            say(f"{where}; for the live dashboard, install bokeh")
        else:
            say(f"{where}; dashboard: {client.dashboard_link}")
        if not client.nthreads():
            say("waiting for the first worker")
            client.wait_for_workers(1)
        yield Dask(client, where, say)


def _connect(
    stack: contextlib.ExitStack, workers: int | None, scheduler: str | None, slurm: SlurmProfile | None
) -> tuple[Any, str]:
    dask = _dask()
    if scheduler is not None:
        try:
            return stack.enter_context(
                dask.Client(scheduler, timeout="10s", set_as_default=False)
            ), f"scheduler at {scheduler}"
        except (OSError, ValueError) as error:
            raise OutputError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({_first_line(error)}); an address looks like "
                "tcp://host:8786."
            ) from None
    # One trial a thread at a worker, the others wait at the scheduler: when a worker dies, nothing but what it ran is suspected.
    stack.enter_context(importlib.import_module("dask").config.set({"distributed.scheduler.worker-saturation": 1.0}))
    if slurm is not None:
        need_dask("dask_jobqueue", "--slurm")
        jobs = workers or slurm.jobs
        cluster = stack.enter_context(slurm.cluster())
        cluster.scale(jobs=jobs)
        where = f"{jobs} Slurm job{'s' if jobs > 1 else ''} of {slurm.cores} worker{'s' if slurm.cores > 1 else ''}"
    else:
        count = workers or os.cpu_count() or 1
        cluster = stack.enter_context(
            dask.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL, preload=["crosstile.sweep.preload"],
            )
        )  # fmt: skip
        where = f"{count} worker{'s' if count > 1 else ''} on this machine"
    return stack.enter_context(dask.Client(cluster, set_as_default=False)), where


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
