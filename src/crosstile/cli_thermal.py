"""``crosstile thermal``: how warm a chip gets, what that does to accuracy, and what remedies bring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.cli_text import quantity, shape, words
from crosstile.errors import UsageError

if TYPE_CHECKING:
    from crosstile.specs.chip import ChipSpec
    from crosstile.specs.thermal import ThermalSpec
    from crosstile.system.thermal_options import ThermalOptions
    from crosstile.system.thermal_result import ThermalResult


def register(app: typer.Typer) -> None:
    """Add the command, and the study of ``crosstile reproduce``, to the command line."""
    from crosstile.cli_reproduce import studies

    app.command("thermal")(thermal)
    studies.command("thermal")(reproduce)


def thermal(
    model: Annotated[str, typer.Argument(help="A built-in network or package.module:factory.")],
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "reram-8b",
    package: Annotated[Path | None, typer.Option(help="YAML of the die's package; default: a small one.")] = None,
    ambient: Annotated[str, typer.Option(help="Temperatures of the air, such as 300K,360K.")] = "",
    remedies: Annotated[
        str, typer.Option(help="none, remap, pair, reference, bits; with commas between, several at once by +.")
    ] = "none",
    rate: Annotated[
        str | None, typer.Option(help="Samples per second, such as '500 Hz'; default: as fast as the schedule goes.")
    ] = None,
    bits: Annotated[int, typer.Option(help="Bits of a weight for the remedy bits.")] = 6,
    time: Annotated[str | None, typer.Option(help="Time since programming, such as 1d.")] = None,
    data: Annotated[str | None, typer.Option(help="A data set for accuracies; without it, temperatures only.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Shape of one sample, such as 3,32,32; for a network of your own without --data.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(help="Samples at once; the result does not depend on it.")] = 128,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for thermal.json and thermal.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the temperatures of a chip at work, the accuracy that they leave, and what remedies bring."""
    from rich.console import Console

    from crosstile.system.thermal_options import ThermalOptions, parse_remedies

    options = ThermalOptions(
        model=model, chip=chip, package=package, ambients=words(ambient), remedies=parse_remedies(words(remedies)),
        rate_hz=None if rate is None else quantity("--rate", rate, "frequency"), bits=bits, time=time, data=data, weights=weights,
        input_shape=None if input_shape is None else shape("--input-shape", input_shape), samples=samples, trials=trials,
        seed=seed, batch=batch, data_dir=data_dir, download=not offline,
    )  # fmt: skip
    result = run_to_files(options, out or Path("crosstile-out") / f"{model.replace(':', '-')}-thermal")
    if as_json:
        typer.echo(result.to_json(), nl=False)
        return
    from crosstile.system.thermal_tables import heat_table, sensitivity_table

    console = Console(highlight=False)
    console.print(heat_table(result))
    if result.sensitivity:
        console.print(sensitivity_table(result))


def reproduce(
    model: Annotated[str, typer.Option(help="A built-in network.")] = "resnet20",
    data: Annotated[str | None, typer.Option(help="The data set; default: that of the network.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify.")] = 100,
    trials: Annotated[int, typer.Option(help="Chips to programme.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    earlier: Annotated[
        Path | None, typer.Option("--from", help="Use this thermal.json of an earlier run, and run nothing.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for thermal.json and thermal.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print claims and findings as JSON.")] = False,
) -> None:
    """Heat: remapping, pairing, compensation and fewer bits, beside what is published of such remedies."""
    import json

    from rich.console import Console

    from crosstile.reproduce import thermal as study
    from crosstile.reproduce.published import findings_document, load_study, show_findings
    from crosstile.system.thermal_result import ThermalResult
    from crosstile.system.thermal_tables import heat_table
    from crosstile.zoo.table import model_info

    published = load_study("thermal")
    if earlier is not None:
        result = ThermalResult.from_json(earlier)
    else:
        info = model_info(model)
        if info.bundled_weights is None and weights is None:
            raise UsageError(
                f"{model} needs trained weights: --weights FILE. --model lenet5 runs the same study on weights and data that "
                "come with the package."
            )
        options = study.options(
            model, data=data or info.default_dataset, weights=weights, data_dir=data_dir, samples=samples, trials=trials,
            seed=seed, download=not offline,
        )  # fmt: skip
        result = run_to_files(
            options, out or Path("crosstile-out") / f"thermal-{model}", study.chip_for(model), study.PACKAGE,
            study.command(options),
        )  # fmt: skip
    found = study.findings(result, published)
    if as_json:
        typer.echo(json.dumps(findings_document(published, result.command, found), indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    console.print(heat_table(result))
    show_findings(console, published, found, [study.run_of(result)])


def run_to_files(
    options: ThermalOptions,
    directory: Path,
    chip: ChipSpec | None = None,
    package: ThermalSpec | None = None,
    command: str | None = None,
) -> ThermalResult:
    """Run a thermal study with progress, and write thermal.json and thermal.html.

    Args:
        chip, package: instead of those that the options name. command: that repeats the study, where the options' does not.

    Raises:
        CrosstileError: anything that the input got wrong; then nothing is written.
    """
    from rich.console import Console

    from crosstile.specs.load import load_chip
    from crosstile.specs.thermal import ThermalSpec as Package
    from crosstile.specs.thermal import load_thermal
    from crosstile.study.write import output_folder
    from crosstile.system.thermal_options import check, parse_ambients

    check(options)  # what cannot work is told before anything is loaded or written
    if chip is None:
        load_chip(options.chip)
    described = package or (load_thermal(options.package) if options.package else Package())
    parse_ambients(options.ambients, described.ambient_k)
    console = Console(stderr=True, highlight=False)
    with output_folder(directory):
        with console.status("loading torch"):
            from crosstile.files import write_all
            from crosstile.study.progress import bar
            from crosstile.system.thermal_report import render
            from crosstile.system.thermal_study import run
        with bar(console) as progress:
            result = run(options, chip=chip, package=package, command=command, progress=progress)
    paths = {name: directory / f"thermal.{name}" for name in ("json", "html")}
    write_all({paths["json"]: result.to_json().encode(), paths["html"]: render(result).encode()})
    console.print("wrote " + ", ".join(str(path) for path in paths.values()), soft_wrap=True, markup=False)
    return result
