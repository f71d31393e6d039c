"""``crosstile search``: a space of chips and mappings from a study file, searched within its limits."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.search.knobs import Point
    from crosstile.search.loop import SearchResult
    from crosstile.search.problems import ChipProblem

FORMAT = "crosstile-search-result-1"
FRONT = 30
"""Trials of the front whose chips are written, at most."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("search")(search)


def search(
    study: Annotated[str, typer.Argument(help="A study file (YAML), or one of the library such as codesign-resnet18.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="nested, random, relax_and_round, evolutionary, tpe, gp or exhaustive; default: the study's."
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Evaluations; default: the study's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; default: the study's.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Another method to compare with at as many evaluations; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for trials, the best chip and the report.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the trials in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search hardware and mapping within limits; write the best chip as YAML that other commands take."""
    from crosstile import __version__
    from crosstile.files import write_all
    from crosstile.search.describe import base_mapping
    from crosstile.search.loop import search as run
    from crosstile.search.methods import make_method
    from crosstile.search.problems import ChipProblem
    from crosstile.search.report import render
    from crosstile.search.store import Store, fingerprint
    from crosstile.search.study import load_study
    from crosstile.study.write import check_writable

    described = load_study(study)
    chosen, count = method or described.method, described.trials if trials is None else trials
    start = described.seed if seed is None else seed
    if count < 1:
        raise UsageError(f"--trials must be at least 1, found {count}.")
    if not 0 <= start < 2**31:
        raise UsageError(f"--seed must be between 0 and 2^31 - 1, found {start}.")
    problem = ChipProblem(described.replaced(seed=start))
    for name in (chosen, *(baseline or ())):
        make_method(name, problem, start)  # a wrong name is told before work begins
    directory = out or Path("crosstile-out") / f"search-{described.name}-{chosen}"
    check_writable(directory)
    words: list[Any] = ["crosstile", "search", study, "--method", chosen, "--trials", count, "--seed", start]
    words += [word for name in baseline or () for word in ("--baseline", name)]
    command = shlex.join(str(word) for word in words)
    decides = {
        "study": problem.study.model_dump(mode="json"),
        "base": base_mapping(described.chip),
        "version": __version__,
    }

    def one(name: str, path: Path) -> SearchResult:
        header = {"study": described.name, "method": name, "seed": start, "fingerprint": fingerprint(decides)}
        store = Store(path, header, resume=resume)
        fresh = problem if name == chosen else ChipProblem(problem.study)
        return _watched(run, fresh, name, count, start, store, quiet=as_json)

    result = one(chosen, directory / "trials.jsonl")
    others = [one(name, directory / f"trials-{name}.jsonl") for name in dict.fromkeys(baseline or ()) if name != chosen]
    best = None if result.best is None else _chip_yaml(problem, result, result.best, "best")
    chips = {i: f"front/trial-{i + 1}.yaml" for i in result.front[:FRONT]} if len(problem.objectives) > 1 else {}
    files = {} if result.best is None else {result.best: "best.yaml"} | chips
    written = {directory / "search.html": render(problem, result, others, command, best, files).encode()}
    document = json.dumps(_document(problem, result, others, command), indent=1, allow_nan=False) + "\n"
    written[directory / "search.json"] = document.encode()
    if best is not None:
        written[directory / "best.yaml"] = best.encode()
    said = [*written, directory / "trials.jsonl", *([directory / "front"] if chips else [])]
    for i, name in chips.items():
        written[directory / name] = _chip_yaml(problem, result, i, f"trial-{i + 1}").encode()
    write_all(written)
    typer.echo("wrote " + ", ".join(str(path) for path in said), err=True)
    if as_json:
        typer.echo(document, nl=False)
        return
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables(problem, result, others):
        console.print(table)
    if best is None:
        from crosstile.search.report import refusals

        console.print("No trial was feasible. What was in the way:")
        for number, text in refusals(result)[:5]:
            console.print(f"- {number} x {text}", markup=False, soft_wrap=True)


def _watched(
    run: Any, problem: ChipProblem, name: str, count: int, seed: int, store: Any, *, quiet: bool
) -> SearchResult:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from crosstile.search.base import Outcome
    from crosstile.search.problems import metric_of
    from crosstile.search.report import shown

    console, first = Console(stderr=True, highlight=False), problem.objectives[0]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    least: list[float] = []
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(name, total=count)

        def tell(number: int, point: Point, outcome: Outcome) -> None:
            if outcome.feasible and (not least or outcome.losses[0] < least[0]):
                least[:] = [outcome.losses[0]]
                text = f"{name}: {first} {shown(first, outcome.metrics[metric_of(first)])}"
                bar.update(task, description=text)
            bar.advance(task)

        found: SearchResult = run(problem, name, count, seed=seed, store=store, progress=tell)
    return found


def _chip_yaml(problem: ChipProblem, result: SearchResult, place: int, name: str) -> str:
    from crosstile.search.describe import point_yaml
    from crosstile.search.networks import cost_command
    from crosstile.search.problems import metric_of
    from crosstile.search.report import shown

    point, outcome, study, file = result.points[place], result.outcomes[place], problem.study, f"{name}.yaml"
    figures = ", ".join(f"{o} {shown(o, outcome.metrics[metric_of(o)])}" for o in problem.objectives)
    remarks = [
        f"Found by crosstile search {study.name}, {result.method}, seed {result.seed}, trial {place + 1}: {figures}."
    ]
    again = shlex.join(cost_command(study, problem.budget(point), file, by_layer=problem.by_layer))
    copies = outcome.details.get("copies", {})
    if copies and problem.by_layer:
        remarks.append("Copies of weights: " + ", ".join(f"{layer} {count}" for layer, count in copies.items()) + ".")
    chain = " (one copy of each layer, layers taken as a chain)" if again.startswith("crosstile estimate") else ""
    remarks.append(f"Cost again: {again}{chain}")
    if study.accuracy is not None:
        spec, seen = study.accuracy, outcome.details
        words = [
            "crosstile",
            "run",
            spec.model,
            "--chip",
            file,
            "--samples",
            seen["images"],
            "--trials",
            seen["trials"],
        ]
        words += ["--seed", study.seed, *([] if spec.data is None else ["--data", spec.data])]
        words += [] if spec.weights is None else ["--weights", spec.weights]
        remarks.append(f"Accuracy again: {shlex.join(str(word) for word in words)}")
    return point_yaml(problem.base, point, f"{study.name}-{name}", remarks)


def _document(problem: ChipProblem, result: SearchResult, others: list[SearchResult], command: str) -> dict[str, Any]:
    def brief(one: SearchResult) -> dict[str, Any]:
        best = one.best
        return {
            "method": one.method, "seed": one.seed, "evaluations": len(one.points), "exhausted": one.exhausted,
            "feasible_share": one.feasible_share, "replayed": one.replayed,
            "best": None if best is None else {
                "trial": best + 1, "point": one.points[best], "metrics": one.outcomes[best].metrics,
            },
            "front": [{"trial": i + 1, "point": one.points[i], "metrics": one.outcomes[i].metrics} for i in one.front],
            "convergence": one.convergence(),
        }  # fmt: skip

    return {
        "format": FORMAT, "command": command, "study": problem.study.model_dump(mode="json"), "points": problem.space.count,
        "objectives": list(problem.objectives), "result": brief(result), "baselines": [brief(one) for one in others],
    }  # fmt: skip


def tables(problem: ChipProblem, result: SearchResult, others: list[SearchResult]) -> list[Table]:
    """Return what a user sees: methods side by side, then the best point; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from crosstile.search.problems import metric_of
    from crosstile.search.report import shown

    count = problem.space.count
    size = "" if count is None else f", {count:,} points"
    methods = Table(title=f"{problem.study.name}: {problem.study.network}{size}", title_justify="left", box=SIMPLE_HEAD)
    for name in (
        "method",
        "evaluations",
        "feasible",
        *(f"best {o}" if o == problem.objectives[0] else o for o in problem.objectives),
    ):
        methods.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for one in (result, *others):
        metrics = None if one.best is None else one.outcomes[one.best].metrics
        figures = ["-" if metrics is None else shown(o, metrics[metric_of(o)]) for o in problem.objectives]
        methods.add_row(one.method, str(len(one.points)), f"{100 * one.feasible_share:.3g} %", *figures)
    if result.best is None:
        return [methods]
    best = Table(title=f"Best: trial {result.best + 1}", title_justify="left", box=SIMPLE_HEAD)
    best.add_column("knob", overflow="fold")
    best.add_column("value", overflow="fold")
    for name, value in result.points[result.best].items():
        best.add_row(name, str(value))
    return [methods, best]
