"""``crosstile lifetime``: how long cells last, when weights need a refresh, and what stuck cells and years take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.cli_text import quantity, words

if TYPE_CHECKING:
    from crosstile.system.lifetime_options import LifetimeOptions
    from crosstile.system.lifetime_result import LifetimeResult


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("lifetime")(lifetime)


def lifetime(
    model: Annotated[str, typer.Argument(help="A network of known shapes; with --data, one that is built in.")],
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "reram-8b",
    years: Annotated[float, typer.Option(help="Years that the chip is to work.")] = 10.0,
    temperature: Annotated[str, typer.Option(help="Temperatures such as 300K,85C; accuracies are at the first.")] = "",
    rate: Annotated[str | None, typer.Option(help="Samples per second, such as '30 Hz'; default: continuous.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples between two rewrites of a network that does not fit.")
    ] = None,
    arrays: Annotated[int | None, typer.Option(help="Arrays that may be used; default: as crosstile schedule.")] = None,
    cycles: Annotated[float | None, typer.Option(help="Cycles that a cell stands; default: by its technology.")] = None,
    least_window: Annotated[str, typer.Option(help="Share of the window that an endurance law must leave.")] = "50%",
    loss: Annotated[
        str | None,
        typer.Option(help="Share of the window, such as 2%, after which weights are refreshed; default: half a level."),
    ] = None,
    levelling: Annotated[
        str, typer.Option(help="Wear levelling: none, or ideal over all arrays of the chip.")
    ] = "none",
    updates: Annotated[float, typer.Option(help="Training on the chip: writes of a cell in a step.")] = 0.0,
    steps: Annotated[str | None, typer.Option(help="Training on the chip: steps per second, such as '10 Hz'.")] = None,
    faults: Annotated[
        str | None, typer.Option(help="Shares of cells stuck on and off, such as 1.75%/9.04%; default: the cell's.")
    ] = None,
    spares: Annotated[int, typer.Option(help="Spare rows, and as many spare columns, of an array.")] = 0,
    remap: Annotated[str, typer.Option(help="Lines that avoid stuck cells: none, columns, rows or both.")] = "none",
    data: Annotated[str | None, typer.Option(help="A data set for accuracies; without it, the budget only.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(help="Samples at once; the result does not depend on it.")] = 128,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for lifetime.json and lifetime.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find how long the cells of a chip last, when weights need a refresh, and what years and stuck cells take."""
    from rich.console import Console

    from crosstile.system.lifetime_options import LifetimeOptions, check, parse_faults, parse_temperatures

    options = LifetimeOptions(
        model=model, chip=chip, years=years, temperatures_k=parse_temperatures(words(temperature)),
        rate_hz=None if rate is None else quantity("--rate", rate, "frequency"), batch_size=batch_size, arrays=arrays,
        cycles=cycles, least_window=quantity("--least-window", least_window, "ratio"),
        loss=None if loss is None else quantity("--loss", loss, "ratio"), levelling=levelling, updates_per_step=updates,
        steps_hz=0.0 if steps is None else quantity("--steps", steps, "frequency"),
        faults=None if faults is None else parse_faults(faults), spares=spares, remap=remap, data=data, weights=weights,
        samples=samples, trials=trials, seed=seed, batch=batch, data_dir=data_dir, download=not offline,
    )  # fmt: skip
    check(options)
    result = _run(options, out)
    if as_json:
        typer.echo(result.to_json(), nl=False)
        return
    from crosstile.system.lifetime_tables import tables

    console = Console(highlight=False)
    for table in tables(result):
        console.print(table)
    for note in result.notes:
        console.print(f"- {note}", markup=False, style="dim")


def _run(options: LifetimeOptions, out: Path | None) -> LifetimeResult:
    from rich.console import Console

    from crosstile.files import write_all
    from crosstile.study.progress import bar
    from crosstile.study.write import output_folder
    from crosstile.system.lifetime_study import budget, run

    budget(options)  # what cannot work is told before anything is loaded or written
    console = Console(stderr=True, highlight=False)
    with output_folder(out), bar(console) as progress:
        result = run(options, progress=progress)
    if out is not None:
        from crosstile.system.lifetime_report import render

        paths = {name: out / f"lifetime.{name}" for name in ("json", "html")}
        write_all({paths["json"]: result.to_json().encode(), paths["html"]: render(result).encode()})
        console.print("wrote " + ", ".join(str(path) for path in paths.values()), soft_wrap=True, markup=False)
    return result
