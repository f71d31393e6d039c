"""``crosstile sweep``: a study on many workers, recorded durably; its results as tables."""

from __future__ import annotations

import functools
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from crosstile.sweep.export import Sweep

FORMAT = "crosstile-sweep-summary-1"
_SHOWN = 20  # variants in the table of the terminal
_LINE_S = 10.0  # between two lines of progress where there is no terminal


class _RunByDefault(TyperGroup):
    """``crosstile sweep STUDY.yaml`` is ``crosstile sweep run STUDY.yaml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweep_app = typer.Typer(cls=_RunByDefault, no_args_is_help=True, rich_markup_mode=None, add_completion=False)
DirArg = Annotated[Path, typer.Argument(help="The folder of a sweep.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(
        sweep_app,
        name="sweep",
        help="Measure many variants of a chip on many workers: crosstile sweep STUDY.yaml. Runs go on where they stopped.",
    )


@sweep_app.command("run")
def run(
    study: Annotated[str, typer.Argument(help="A study file, or a study of the library.")],
    workers: Annotated[
        int | None,
        typer.Option(help="Processes on this machine (default: one a core; 0: this process); with --slurm, jobs."),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    slurm: Annotated[Path | None, typer.Option(help="Profile of Slurm jobs, in YAML.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; default crosstile-out/sweep-NAME.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what the folder holds.")] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed trials again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts and variants as JSON.")] = False,
) -> None:
    """Do all trials of a study that are not recorded so far."""
    from rich.console import Console

    from crosstile.sweep.export import load_sweep
    from crosstile.sweep.run import run_sweep
    from crosstile.sweep.slurm import load_profile
    from crosstile.sweep.spec import load_study
    from crosstile.sweep.workers import open_workers

    loaded = load_study(study)
    directory = out or Path("crosstile-out") / f"sweep-{_name(loaded.spec.name, study)}"
    profile = None if slurm is None else load_profile(slurm)
    console = Console(stderr=True, highlight=False)
    watcher = _Show(console)
    opened = functools.partial(open_workers, workers=workers, scheduler=scheduler, slurm=profile, say=watcher.say)
    try:
        with watcher:
            outcome = run_sweep(loaded, directory, opened, resume=resume, retry_failed=retry_failed, watcher=watcher)
    except KeyboardInterrupt:
        message = f"interrupted; finished trials are kept in {directory}. Run the same command again to go on."
        console.print(message, soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    sweep = load_sweep(directory)
    if as_json:
        counts = outcome.as_dict()
        whole = {"format": FORMAT, "directory": str(directory), "trials": counts, "variants": sweep.variants()}
        typer.echo(json.dumps(whole, indent=1, allow_nan=False))
    else:
        shown = Console(highlight=False)
        shown.print(variant_table(sweep, shown.width))
    failed = sum(record["status"] == "failed" for record in sweep.records)
    text = (
        f"{outcome.total} trials: {outcome.before} recorded before, {outcome.done} done and {outcome.failed} failed now"
    )
    if outcome.done + outcome.failed:
        text += f", in {outcome.seconds:.1f} s ({(outcome.done + outcome.failed) / max(outcome.seconds, 1e-9):.1f}/s)"
    console.print(f"{text}; {directory}", soft_wrap=True, markup=False)
    if failed:
        first = next(record for record in sweep.records if record["status"] == "failed")
        console.print(f"{failed} failed; the first, {first['id']}: {first['error']}", soft_wrap=True, markup=False)
        console.print("Once the reason is gone, --retry-failed does them again.", soft_wrap=True, markup=False)


@sweep_app.command("export")
def export(
    directory: DirArg,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write Parquet to this file (needs pyarrow).")] = None,
) -> None:
    """Write all trials as a table, one row each, in SI units."""
    from crosstile.sweep.export import export_csv, export_parquet, load_sweep

    if csv is None and parquet is None:
        raise UsageError("export: say where to, with --csv FILE, --parquet FILE, or both.")
    sweep = load_sweep(directory)
    for path, write in ((csv, export_csv), (parquet, export_parquet)):
        if path is not None:
            write(sweep, path)
            typer.echo(f"wrote {len(sweep.records)} trials to {path}", err=True)


@sweep_app.command("status")
def status(directory: DirArg) -> None:
    """Tell how far a sweep is, also while it runs; and the errors of failed trials."""
    from crosstile.sweep.export import load_sweep

    sweep = load_sweep(directory)
    failed = [record for record in sweep.records if record["status"] == "failed"]
    typer.echo(f"{len(sweep.records)} trials recorded, {len(failed)} of them failed; {sweep.torn} damaged lines")
    for record in failed:
        typer.echo(f"{record['id']}: {record['error']}")


@sweep_app.command("chip")
def chip(
    directory: DirArg,
    trial: Annotated[str, typer.Argument(help="The id of a trial, or the beginning of it.")],
) -> None:
    """Print the chip of one trial as YAML; its first line is the command that repeats the trial."""
    from crosstile.sweep.export import chip_yaml, load_sweep

    typer.echo(chip_yaml(load_sweep(directory).find(trial)), nl=False)


def _name(given: str, study: str) -> str:
    text = Path(study).stem if given == "study" else given
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "study"


class _Show:
    """Progress: a bar with rate and expected end where there is a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Any = None
        self._done = self._failed = self._before = self._total = 0
        self._start = self._told = 0.0

    def __enter__(self) -> _Show:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int, before: int) -> None:
        """The work begins."""
        self._total, self._before, self._start = total, before, time.monotonic()
        self._told = self._start
        self.say(f"{total} trials, {before} of them recorded before")
        if self.console.is_terminal:
            from rich import progress as rich

            self._bar = rich.Progress(
                rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeElapsedColumn(),
                rich.TextColumn("left"), rich.TimeRemainingColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("trials", total=total, completed=before)

    def advance(self, done: int, failed: int) -> None:
        """More trials are recorded."""
        self._done, self._failed = self._done + done, self._failed + failed
        rate = (self._done + self._failed) / max(time.monotonic() - self._start, 1e-9)
        bad = f", {self._failed} failed" if self._failed else ""
        if self._bar is not None:
            self._bar.update(self._task, advance=done + failed, description=f"trials ({rate:.1f}/s{bad})")
        elif time.monotonic() - self._told > _LINE_S:
            self._told = time.monotonic()
            ready = self._before + self._done + self._failed
            self.say(
                f"{ready} of {self._total} trials{bad}; {rate:.1f}/s, about {(self._total - ready) / rate:.0f} s left"
            )

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True, markup=False)


def variant_table(sweep: Sweep, width: int = 80) -> Table:
    """Return the table of the first variants; columns that ``width`` has no room for are named below it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = sweep.variants()
    paths = list(dict.fromkeys(path for row in rows for path in row["changes"]))
    hidden = ("variant", "changes", "failed", "chips")
    names = list(dict.fromkeys(name for row in rows for name in row if name not in hidden))
    columns = {path.replace(".", ".\n"): [str(row["changes"].get(path, "")) for row in rows[:_SHOWN]] for path in paths}
    for name in names:
        head = re.sub(r"_(j|s|m2|w|js|jsm2|hz)$", "", name)
        columns[head] = [_written(name, row.get(name)) for row in rows[:_SHOWN]]
    if any(row["failed"] for row in rows):
        columns["failed"] = [str(row["failed"] or "") for row in rows[:_SHOWN]]
    title = f"{sweep.study['study']['model']} on {sweep.study['study']['chip']}: {len(rows)} variants"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    left, room = [], width - 2
    for head, cells in columns.items():
        room -= max(len(text) for text in (*head.split("\n"), *cells)) + 2
        if room < 0 and table.columns:
            left.append(head.replace("\n", ""))
        else:
            table.add_column(head, justify="right", overflow="fold")
    shown = [cells for head, cells in columns.items() if head.replace("\n", "") not in left]
    for line in zip(*shown, strict=True):
        table.add_row(*line)
    notes = [f"the first {_SHOWN} variants"] if len(rows) > _SHOWN else []
    notes += [f"without {', '.join(left)}"] if left else []
    table.caption = f"{', '.join(notes)}; `crosstile sweep export` writes all" if notes else None
    return table


def _written(name: str, value: Any) -> str:
    from crosstile.units import format_quantity

    if value is None:
        return ""
    if name == "accuracy":
        return f"{value:.2%}"
    unit = {"j": "J", "s": "s", "m2": "m2", "w": "W", "hz": "Hz"}.get(name.rpartition("_")[2])
    return f"{value:.3g}" if unit is None else format_quantity(value, unit, 3)
