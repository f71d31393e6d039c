"""Jobs of Slurm as workers: a profile in YAML, handed to dask-jobqueue.

cores: 16
memory: 64 GB
walltime: "04:00:00"
queue: normal
account: my-project
jobs: 4
job_directives: ["--constraint=skylake"]
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from crosstile.errors import OutputError
from crosstile.specs.base import Spec, validate
from crosstile.specs.yaml import read_yaml

_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(MB|GB|TB|MiB|GiB|TiB)\s*")
_TIME = re.compile(r"(?:\d+-)?\d{1,2}:\d{2}:\d{2}")


def _memory(value: object) -> str:
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"memory of a job is wanted, such as '64 GB'; found {value!r}")
    return f"{match[1]} {match[2]}"


def _time(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:  # YAML reads 04:00:00 as base-60 digits
        return f"{value // 3600:02d}:{value // 60 % 60:02d}:{value % 60:02d}"
    if not isinstance(value, str) or _TIME.fullmatch(value) is None:
        raise ValueError(f"a time is wanted, such as '04:00:00' or '1-00:00:00'; found {value!r}")
    return value


def _line(value: object) -> object:
    if isinstance(value, str) and ("\n" in value or not value.strip()):
        raise ValueError(f"one line of text is wanted; found {value!r}")
    return value


Line = Annotated[str, BeforeValidator(_line)]


class SlurmProfile(Spec):
    """One kind of job."""

    cores: int = Field(ge=1, le=1024)
    """Of one job; each becomes a worker of one thread."""
    memory: Annotated[str, BeforeValidator(_memory)]
    """Of one job; its workers share it alike."""
    walltime: Annotated[str, BeforeValidator(_time)] = "01:00:00"
    queue: Line | None = None
    account: Line | None = None
    jobs: int = Field(default=1, ge=1, le=10_000)
    job_directives: tuple[Line, ...] = ()
    """Further lines after ``#SBATCH``."""
    prologue: tuple[Line, ...] = ()
    """Shell lines before a worker starts, such as ``module load python``."""
    interface: Line | None = None
    """Network interface between workers and this process, such as ``ib0``."""
    python: Line | None = None
    """Python of the workers; default: that of this process, at the same path."""
    log_directory: str | None = None
    local_directory: str | None = None

    def cluster(self) -> Any:
        """Return a cluster without jobs so far; its scheduler runs in this process.

        Raises:
            OutputError: Slurm is not there, or refuses.
        """
        if shutil.which("sbatch") is None:
            raise OutputError(
                "--slurm: there is no sbatch on this machine; run this on a node that submits jobs to Slurm."
            )
        given = {
            "queue": self.queue, "account": self.account, "interface": self.interface, "python": self.python or sys.executable,
            "log_directory": self.log_directory, "local_directory": self.local_directory,
        }  # fmt: skip
        jobqueue: Any = importlib.import_module("dask_jobqueue")
        return jobqueue.SLURMCluster(
            cores=self.cores,
            processes=self.cores,
            memory=self.memory,
            walltime=self.walltime,
            job_name="crosstile-sweep",
            job_extra_directives=list(self.job_directives),
            job_script_prologue=list(self.prologue),
            scheduler_options={"dashboard_address": ":0"},
            **{name: value for name, value in given.items() if value is not None},
        )


def load_profile(path: Path) -> SlurmProfile:
    """Read a profile.

    Raises:
        SpecError: naming the field, what was found and what is allowed.
    """
    return validate(SlurmProfile, read_yaml(path), origin=str(path))
