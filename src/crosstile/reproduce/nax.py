"""Network and crossbar sizes searched together: ours beside NAX, and beside other co-searches as their authors report them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstile.errors import UsageError
from crosstile.reproduce.published import Finding, PublishedStudy, findings_document

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.nax.toy import Recovered

_SIZE_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Line:
    """What one seed came to: a design beside the found one."""

    name: str
    points: float
    """Accuracy on chip of the found, minus that of the design, in points."""
    edap: float
    """EDAP of the found over that of the design."""
    objective: float
    """Cross-entropy + lam ln EDAP of the found, minus that of the design; below 0: the found is better."""


@dataclass(frozen=True)
class Job:
    """One finished job, from its JSON."""

    seed: int
    data: str
    accuracy: float
    edap_jsm2: float
    arrays: tuple[int, ...]
    kernels: tuple[int, ...]
    lines: tuple[Line, ...]
    """Against: best of one array size, 3 x 3, random search; those that were run."""


def job_of(document: dict[str, Any]) -> Job:
    """Return the comparison in a document that ``crosstile nax`` wrote.

    Raises:
        UsageError: it is no such document.
    """
    try:
        designs, found = document["designs"], document["designs"]["found"]
        own = found["cost"]["edap_jsm2"]
        uniform = [name for name in designs if name.startswith("all ")]
        names = [min(uniform, key=lambda name: designs[name]["cost"]["edap_jsm2"])] if uniform else []
        names += [name for name in ("3 x 3", "random search") if name in designs]
        lines = tuple(
            Line(
                name, 100 * (found["chip"] - designs[name]["chip"]), own / designs[name]["cost"]["edap_jsm2"],
                found["objective"] - designs[name]["objective"],
            )
            for name in names
        )  # fmt: skip
        architecture = found["architecture"]
        return Job(
            int(document["options"]["seed"]), str(document["data"]), float(found["chip"]), float(own),
            tuple(sorted(set(architecture["arrays"].values()))), tuple(sorted(set(architecture["kernels"].values()))), lines,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"this is no result of crosstile nax with baselines: {error!r} is missing or wrong."
        ) from error


def read_jobs(paths: Sequence[Path]) -> list[Job]:
    """Return the jobs of earlier runs, ``nax.json`` each.

    Raises:
        UsageError: a file is no such result.
    """
    found = []
    for path in paths:
        try:
            if path.stat().st_size > _SIZE_LIMIT:
                raise UsageError(f"{path}: larger than {_SIZE_LIMIT} bytes.")
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read: {error}.") from error
        try:
            found.append(job_of(document))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return found


def toy(seed: int, tell: Callable[[str], None] | None = None) -> Recovered:
    """Return the gradient's rank among all 729 combinations of three layers, on the digits."""
    from crosstile.nax.nonideal import fit_effects
    from crosstile.nax.options import SearchOptions
    from crosstile.nax.space import NaxSpace
    from crosstile.nax.study import nax_data
    from crosstile.nax.toy import recover
    from crosstile.specs.load import load_chip

    data, image, classes = nax_data("digits", download=False)
    space = NaxSpace(
        load_chip("reram-8b-fitted"),
        (3, 5, 7),
        (32, 64, 128),
        "plain",
        8,
        3,
        image=image,
        classes=classes,
        linear_arrays=(64,),
    )
    if tell is not None:
        tell(f"three layers, seed {seed}")
    return recover(space, fit_effects(space, seed=seed), data.train, SearchOptions(epochs=10, seed=seed), steps=1500)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return statistics.fmean(values)


def findings(study: PublishedStudy, jobs: Sequence[Job], toys: Sequence[Recovered]) -> list[Finding]:
    """Return what the publications claim beside ours."""

    def claim(name: str) -> str:
        one = study.claims[name]
        return f"{one.text} ({one.basis}: {one.source})"

    def against(name: str) -> list[Line]:
        return [
            line
            for job in jobs
            for line in job.lines
            if line.name == name or (name == "all" and line.name.startswith("all "))
        ]

    def told(lines: Sequence[Line]) -> str:
        points, ratio = mean([one.points for one in lines]), math.exp(mean([math.log(one.edap) for one in lines]))
        each = "; ".join(f"{one.points:+.2f} points, {100 * (one.edap - 1):+.1f} %" for one in lines)
        return f"{points:+.2f} points and {100 * (ratio - 1):+.1f} % EDAP in the mean of {len(lines)} seeds ({each})"

    found = []
    small = against("3 x 3")
    if small:
        both = mean([one.points for one in small]) > 0 and mean([math.log(one.edap) for one in small]) < 0
        found.append(Finding(claim("cifar10"), f"against 3 x 3 kernels on arrays of 128: {told(small)}", both))
    found.append(Finding(claim("tiny_imagenet"), "not run: no such images here", None, "not run"))
    mixed = [job for job in jobs if len(job.arrays) > 1]
    sizes = ", ".join("/".join(map(str, job.arrays)) for job in jobs)
    found.append(
        Finding(claim("heterogeneous"), f"array sizes of the found networks: {sizes}", len(mixed) == len(jobs))
    )
    for name, text in (
        ("all", "the best arrays of one size for the same kernels"),
        ("random search", "random search of as many passes"),
    ):
        lines = against(name)
        if lines:
            better = sum(one.objective < 0 for one in lines)
            words = f"{told(lines)}; objective lower in {better} of {len(lines)} seeds"
            found.append(Finding(f"our own bar: better than {text}", words, None, "our own bar"))
    if toys:
        ranks = ", ".join(f"rank {one.rank} (regret {one.regret:.4f} of a spread of {one.spread:.3f})" for one in toys)
        best = sum(one.rank == 1 for one in toys)
        words = f"{ranks} among {toys[0].combinations}; the optimum itself in {best} of {len(toys)} seeds"
        found.append(
            Finding(
                "our own bar: the optimum of a network of three layers, all combinations tried",
                words,
                None,
                "our own bar",
            )
        )
    ours = ", ".join(f"{100 * job.accuracy:.2f} % at {job.edap_jsm2:.2e} J s m2" for job in jobs)
    apart = "other networks, data and cost models: no comparison"
    found += [Finding(claim(name), f"{ours}; {jobs[0].data}", None, apart) for name in ("xpert", "crossnas", "gibbon")]
    return found


def job_table(jobs: Sequence[Job]) -> Table:
    """Return the found networks beside their baselines, seed by seed; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="The found network beside others", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("seed", "against", "accuracy", "EDAP", "objective", "kernels", "arrays"):
        table.add_column(name, justify="left" if name in ("against", "kernels", "arrays") else "right", no_wrap=True)
    for job in jobs:
        for number, line in enumerate(job.lines):
            own = ("/".join(map(str, job.kernels)), "/".join(map(str, job.arrays))) if number == 0 else ("", "")
            table.add_row(
                str(job.seed) if number == 0 else "", line.name, f"{line.points:+.2f} pt", f"{100 * (line.edap - 1):+.1f} %",
                f"{line.objective:+.3f}", *own,
            )  # fmt: skip
    return table


def document(study: PublishedStudy, jobs: Sequence[Job], toys: Sequence[Recovered], command: str) -> dict[str, Any]:
    """Return claims, findings and all jobs, ready for JSON."""
    data = findings_document(study, command, findings(study, jobs, toys))
    data["jobs"] = [
        {
            "seed": job.seed, "data": job.data, "accuracy": job.accuracy, "edap_jsm2": job.edap_jsm2, "arrays": list(job.arrays),
            "kernels": list(job.kernels), "lines": [vars(line) for line in job.lines],
        }
        for job in jobs
    ]  # fmt: skip
    data["toy"] = [
        {"combinations": one.combinations, "rank": one.rank, "regret": one.regret, "spread": one.spread,
         "chosen": one.chosen.architecture.as_dict(), "best": one.best.architecture.as_dict()}
        for one in toys
    ]  # fmt: skip
    return data
