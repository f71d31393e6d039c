"""``crosstile compare``: memory technologies side by side, with the knobs that save accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.cli_text import numbers, words

if TYPE_CHECKING:
    from crosstile.comparison.designs import CompareOptions
    from crosstile.comparison.result import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("compare")(compare)


def compare(
    model: Annotated[str, typer.Argument(help="A built-in network or package.module:factory.")],
    devices: Annotated[
        str,
        typer.Option(
            help="Cells with commas between: names of the library, the ending -7nm may be left out, or YAML files."
        ),
    ] = "sram-8t,fefet,reram,sot-mram",
    rows: Annotated[str, typer.Option(help="Rows (and columns) of an array, such as 32,64,128.")] = "64",
    cell_bits: Annotated[str, typer.Option(help="Bits of a cell, such as 1,2.")] = "1",
    active_rows: Annotated[str, typer.Option(help="Shares of the rows that one read drives, such as 1,1/2,1/4.")] = "1",
    references: Annotated[
        str, typer.Option(help="Reference levels of the converters: uniform, calibrated (gain and offset), custom.")
    ] = "uniform,calibrated,custom",
    chip: Annotated[
        str, typer.Option(help="The chip that all designs start from: a name or a path to YAML.")
    ] = "compare-7nm",
    data: Annotated[
        str | None, typer.Option(help="mnist5k, digits, cifar10, fashion-mnist, or an .npz with x and y.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme of each design.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(help="Samples at once; the result does not depend on it.")] = 128,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json, compare.csv and compare.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare memory technologies: accuracy, errors of sums, sense margin, energy, latency and area of every design."""
    from rich.console import Console

    from crosstile.comparison.designs import CompareOptions

    options = CompareOptions(
        model=model, devices=words(devices), rows=numbers("--rows", rows), cell_bits=numbers("--cell-bits", cell_bits),
        active_rows=words(active_rows), references=words(references), chip=chip, data=data, weights=weights,
        data_dir=data_dir, samples=samples, trials=trials, seed=seed, batch=batch, download=not offline,
    )  # fmt: skip
    result = run_to_files(options, out or Path("crosstile-out") / f"{model.replace(':', '-')}-compare")
    if as_json:
        typer.echo(result.to_json(), nl=False)
        return
    from crosstile.comparison.tables import design_tables, gain_table

    console = Console(highlight=False)
    for table in (*design_tables(result), gain_table(result)):
        console.print(table)
    for text in result.left_out:
        console.print(f"left out: {text}", markup=False, style="dim")


def run_to_files(options: CompareOptions, directory: Path) -> Comparison:
    """Run a comparison with progress, and write compare.json, compare.csv and compare.html.

    Raises:
        CrosstileError: anything that the input got wrong; then nothing is written.
    """
    from rich.console import Console

    from crosstile.comparison.designs import make_designs
    from crosstile.specs.load import load_chip
    from crosstile.study.write import output_folder

    make_designs(options, load_chip(options.chip))  # what cannot work is told before anything is loaded or written
    console = Console(stderr=True, highlight=False)
    try:
        with output_folder(directory):
            with console.status("loading torch"):
                from crosstile.comparison.report import render
                from crosstile.comparison.run import compare as run_comparison
                from crosstile.comparison.run import forget
                from crosstile.files import write_all
                from crosstile.study.progress import bar
            with bar(console) as progress:
                result = run_comparison(options, out=directory, progress=progress)
    except KeyboardInterrupt:
        console.print(
            f"interrupted; finished designs are kept in {directory}. Run the same command again to go on.",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    paths = {name: directory / f"compare.{name}" for name in ("json", "csv", "html")}
    texts = {"json": result.to_json(), "csv": result.to_csv(), "html": render(result)}
    write_all({paths[name]: text.encode() for name, text in texts.items()})
    forget(directory)
    console.print("wrote " + ", ".join(str(path) for path in paths.values()), soft_wrap=True, markup=False)
    return result
