"""``crosstile reproduce``: published results beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from crosstile.comparison.result import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("reproduce")(reproduce)


def reproduce(
    study: Annotated[str | None, typer.Argument(help="Which study; without it, what there is.")] = None,
    model: Annotated[str, typer.Option(help="The network; the published one by default.")] = "resnet20",
    data: Annotated[str | None, typer.Option(help="The data set; default: that of the network.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    cell_bits: Annotated[str, typer.Option(help="Bits of a cell, such as 1,2.")] = "1",
    samples: Annotated[int | None, typer.Option(help="Test samples to classify.")] = 100,
    trials: Annotated[int, typer.Option(help="Chips to programme of each design.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    earlier: Annotated[
        Path | None, typer.Option("--from", help="Use this compare.json of an earlier run, and run nothing.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the comparison.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print claims and findings as JSON.")] = False,
) -> None:
    """Print what a publication claims beside what Crosstile finds, with every difference of set-up."""
    from rich.console import Console

    from crosstile.reproduce.published import load_study, study_names

    console = Console(highlight=False)
    if study is None:
        for name in study_names():
            console.print(f"{name}: {load_study(name).work}", markup=False, soft_wrap=True)
        return
    published = load_study(study)
    from crosstile.cli_compare import numbers, run_to_files
    from crosstile.comparison.result import Comparison
    from crosstile.reproduce.memory_technologies import findings, options

    if earlier is not None:
        result = Comparison.from_json(earlier)
    else:
        if model == "resnet20" and weights is None:
            raise UsageError(
                "ResNet-20 needs trained weights: --weights FILE, such as resnet20-12fca82f.th of akamaster's "
                "pytorch_resnet_cifar10. --model lenet5 runs the same comparison on weights and data that come with the package."
            )
        result = run_to_files(
            options(
                model, data=data, weights=weights, data_dir=data_dir, samples=samples, trials=trials, seed=seed,
                cell_bits=numbers("--cell-bits", cell_bits), download=not offline,
            ),
            out or Path("crosstile-out") / f"{study}-{model.replace(':', '-')}",
        )  # fmt: skip
    found = findings(result, published)
    if as_json:
        document = {
            "study": published.name, "work": published.work, "command": result.command,
            "findings": [vars(one) for one in found], "differences": list(published.differences),
        }  # fmt: skip
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    _show(console, result)
    console.print(f"\nPublished: {published.work} (read: {published.seen})", markup=False, soft_wrap=True)
    for one in found:
        same = {True: "same direction", False: "NOT the same direction", None: "not told apart by these designs"}
        console.print(f"\n- {one.published}", markup=False, style="bold", soft_wrap=True)
        console.print(f"  ours: {one.ours}", markup=False, soft_wrap=True)
        console.print(f"  {same[one.same_direction]}", markup=False)
    console.print("\nWhat differs:", style="bold")
    for text in (*published.differences, f"Run: {result.model.name}, {result.data.samples} samples of {result.data.name}, "
                 f"{result.trials} chips, {result.weight_bits}-bit weights, {result.input_bits}-bit inputs."):  # fmt: skip
        console.print(f"- {text}", markup=False, soft_wrap=True)


def _show(console: object, result: Comparison) -> None:
    from rich.console import Console

    from crosstile.comparison.tables import design_tables, gain_table

    assert isinstance(console, Console)
    for table in (*design_tables(result), gain_table(result)):
        console.print(table)
