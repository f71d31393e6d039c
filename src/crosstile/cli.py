"""The command line. Nothing heavy is imported before a command really needs it."""

from __future__ import annotations

import json
import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from crosstile import __version__
from crosstile.cli_basis import register as register_basis
from crosstile.cli_compare import register as register_compare
from crosstile.cli_device import register as register_device
from crosstile.cli_library import register as register_library
from crosstile.cli_lifetime import register as register_lifetime
from crosstile.cli_macro import register as register_macro
from crosstile.cli_nax import register as register_nax
from crosstile.cli_package import register as register_package
from crosstile.cli_reproduce import register as register_reproduce
from crosstile.cli_schedule import register as register_schedule
from crosstile.cli_search import register as register_search
from crosstile.cli_solve import register as register_solve
from crosstile.cli_sweep import register as register_sweep
from crosstile.cli_tenants import register as register_tenants
from crosstile.cli_text import shape as parse_shape
from crosstile.cli_thermal import register as register_thermal
from crosstile.cli_train import register as register_train
from crosstile.cli_validate import register as register_validate
from crosstile.errors import CrosstileError, OutputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from crosstile.cost.report import CostReport

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Accuracy and cost of a real network on an in-memory-computing chip, from one description.",
)

EstimateArg = Annotated[
    str,
    typer.Argument(
        help="A network of known shapes (lenet5, vgg8, vgg16, resnet8 to resnet56, resnet18, resnet34, resnet50, densenet121, "
        "mobilenet, lstm, transformer, transformer-7b), or package.module:factory."
    ),
]
ModelArg = Annotated[
    str,
    typer.Argument(
        help="A built-in (lenet5, resnet8, resnet20, resnet32, resnet44, resnet56, vgg8) or package.module:factory."
    ),
]
ChipOpt = Annotated[str, typer.Option(help="A chip of the library (see `crosstile chips`) or a path to YAML.")]
DigitalOpt = Annotated[
    list[str] | None, typer.Option("--digital", help="Keep layers of this name (or pattern) digital; may be repeated.")
]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Device(StrEnum):
    """Where tensors live."""

    cpu = "cpu"
    cuda = "cuda"


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"crosstile {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accuracy and cost of a real network on an in-memory-computing chip, from one description."""


@app.command()
def run(
    model: ModelArg,
    chip: ChipOpt = "reram-8b",
    data: Annotated[
        str | None, typer.Option(help="mnist5k, digits, cifar10, fashion-mnist, or an .npz with x and y.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(help="Samples at once; the result does not depend on it.")] = 128,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.cpu,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    time: Annotated[
        list[str] | None,
        typer.Option(
            help="Time since programming, such as 1d; several, repeated or as 1h,1d,1y, give accuracy over time."
        ),
    ] = None,
    temperature: Annotated[
        list[str] | None, typer.Option(help="Temperature of cells and wires, such as 85C; several like --time.")
    ] = None,
    digital: DigitalOpt = None,
    out: Annotated[Path | None, typer.Option(help="Folder for result.json and report.html.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Map a trained network to a chip, evaluate its accuracy on data, estimate its cost, write a report."""
    from crosstile.study.write import check_writable

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{model}-{Path(chip).stem}").strip("-.") or "run"
    directory = out or Path("crosstile-out") / name
    _check_early(model, chip)
    fresh = not directory.exists()
    check_writable(directory)
    console = _console(stderr=True)
    with console.status("loading torch"):
        from crosstile.study.options import RunOptions
        from crosstile.study.run import run as run_study
    from crosstile.study.progress import bar

    options = RunOptions(
        model=model, chip=chip, data=data, weights=weights, data_dir=data_dir, samples=samples, trials=trials, seed=seed,
        batch=batch, device=device.value, digital=tuple(digital or ()), download=not offline,
        times=tuple(time or ()), temperatures=tuple(temperature or ()),
    )  # fmt: skip
    try:
        with bar(console) as progress:
            result = run_study(options, out=directory, progress=progress)
    except KeyboardInterrupt:
        message = f"interrupted; finished chips are kept in {directory}. Run the same command again to go on."
        console.print(message, soft_wrap=True)
        raise typer.Exit(130) from None
    except CrosstileError:
        if fresh and directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
            if out is None and not any(directory.parent.iterdir()):
                directory.parent.rmdir()
        raise
    from crosstile.study.write import write_result

    result_path, report_path = write_result(result, directory)
    for kept in ("partial.json", "partial-ageing.json"):
        (directory / kept).unlink(missing_ok=True)
    if as_json:
        typer.echo(result.to_json(), nl=False)
    else:
        from crosstile.study.tables import ageing_table, component_table, layer_table, summary_table

        tables = [summary_table(result), layer_table(result), component_table(result)]
        if result.ageing:
            tables.insert(1, ageing_table(result))
        for table in tables:
            _console().print(table)
    console.print(f"wrote {result_path} and {report_path}", soft_wrap=True)


def _check_early(model: str, chip: str) -> None:
    """Refuse what can be refused before torch is loaded."""
    from crosstile.specs.load import load_chip
    from crosstile.zoo.table import model_info

    load_chip(chip)
    if ":" not in model:
        model_info(model)


@app.command()
def estimate(
    model: EstimateArg,
    chip: ChipOpt = "reram-8b",
    input_shape: Annotated[
        str | None, typer.Option(help="Shape of one sample, such as 3,32,32; needed for a network of your own.")
    ] = None,
    digital: DigitalOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Estimate energy, latency and area of one inference; no data and no trained weights needed."""
    shape = None if input_shape is None else parse_shape("--input-shape", input_shape)
    if ":" not in model and shape is None and not digital:
        _estimate_shapes(model, chip, as_json)
        return
    _check_early(model, chip)
    with _console(stderr=True).status("loading torch"):
        from crosstile.api import estimate as estimate_network
        from crosstile.zoo import build_model
    from crosstile.specs.load import load_chip

    loaded = build_model(model, allow_untrained=True)
    if shape is None:
        if loaded.info is None:
            raise UsageError(
                f"network {model!r} is not a built-in: give the shape of one sample, such as --input-shape 3,32,32."
            )
        shape = loaded.info.input_shape
    report = estimate_network(loaded.model, load_chip(chip), input_shape=shape, digital=tuple(digital or ()))
    _show_estimate(loaded.name, report, as_json)


def _estimate_shapes(model: str, chip: str, as_json: bool) -> None:
    """Estimate a network of known shapes; PyTorch is not loaded."""
    from crosstile.cost.estimate import estimate as estimate_plans
    from crosstile.mapping.plan import plan_layer
    from crosstile.specs.load import load_chip
    from crosstile.workloads.table import network

    described = load_chip(chip)
    report = estimate_plans([plan_layer(shape, described) for shape in network(model).shapes], described)
    _show_estimate(model, report, as_json)


def _show_estimate(name: str, report: CostReport, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1, allow_nan=False))
        return
    from crosstile.study.tables import estimate_tables

    console = _console()
    for table in estimate_tables(name, report.as_dict()):
        console.print(table)
    for note in (f"cell energy: {report.layers[0].energy_basis}", *report.notes):
        console.print(f"- {note}", markup=False, style="dim")


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A result.json.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default report.html beside the result.")] = None,
) -> None:
    """Write the HTML report of a result again."""
    from crosstile.study.report import render_report
    from crosstile.study.result import Result

    html = render_report(Result.from_json(result))
    target = out or result.with_name("report.html")
    try:
        waiting = target.with_name(target.name + ".tmp")
        waiting.write_text(html, encoding="utf-8")
        os.replace(waiting, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}.") from None
    typer.echo(f"wrote {target}")


class SchemaKind(StrEnum):
    """What a schema describes."""

    result = "result"
    chip = "chip"
    cell = "cell"


@app.command()
def schema(what: Annotated[SchemaKind, typer.Argument(help="Which file to describe.")] = SchemaKind.result) -> None:
    """Print the JSON schema of result.json, of a chip or of a cell."""
    if what is SchemaKind.result:
        from crosstile.study.result import result_schema

        document = result_schema()
    else:
        from crosstile.specs.cell import CellSpec
        from crosstile.specs.chip import ChipSpec

        document = (ChipSpec if what is SchemaKind.chip else CellSpec).model_json_schema()
    typer.echo(json.dumps(document, indent=1))


for register in (
    register_library,
    register_compare,
    register_device,
    register_macro,
    register_solve,
    register_train,
    register_reproduce,
    register_validate,
    register_thermal,
    register_package,
    register_schedule,
    register_basis,
    register_tenants,
    register_lifetime,
    register_sweep,
    register_search,
    register_nax,
):
    register(app)


def main() -> NoReturn:
    """Run the command line: errors of the input are one message and exit code 2."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except CrosstileError as error:
        _fail(str(error), 2)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _unexpected(error)


def _unexpected(error: Exception) -> NoReturn:
    show = getattr(error, "show", None)  # usage errors of the command-line library know how to show themselves
    if show is not None:
        show()
        sys.exit(2)
    if os.environ.get("CROSSTILE_DEBUG"):
        raise error
    kind = type(error).__name__
    text = f"{kind}: {error}".splitlines()[0]
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
        _fail(f"out of memory ({text}); use a smaller --batch or fewer --samples.", 2)
    _fail(
        f"this is a fault of crosstile, not of your input ({text}). Please report it with the output of the same command under "
        "CROSSTILE_DEBUG=1.",
        70,
    )


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
