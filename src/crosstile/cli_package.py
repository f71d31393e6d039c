"""``crosstile package``: a network on several chips, over their number."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from crosstile.system.package import PackageResult

FORMAT = "crosstile-package-1"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("package")(package)


def package(
    network: Annotated[str, typer.Argument(help="A network of known shapes, such as resnet50 or transformer-7b.")],
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "isaac",
    on: Annotated[
        str,
        typer.Option("--package", help="A package of the library (board-hypertransport, interposer-aib) or a path."),
    ] = "interposer-aib",
    chips: Annotated[str, typer.Option(help="Numbers of chips, with commas.")] = "1,2,4,8,16",
    tiles: Annotated[int | None, typer.Option(help="Tiles of one chip; default: the package's or the chip's.")] = None,
    batch: Annotated[int, typer.Option(help="Samples between two rewrites, where the network does not fit.")] = 16,
    duplication: Annotated[str, typer.Option(help="Copies of weights: none, greedy or optimal.")] = "optimal",
    serial: Annotated[bool, typer.Option("--serial", help="One layer at a time instead of a pipeline.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for package.json and package.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put a network on one chip or many: throughput, latency, energy, traffic between chips, yield and cost."""
    from crosstile.cli_text import numbers
    from crosstile.specs.load import load_chip
    from crosstile.specs.package import load_package
    from crosstile.system.package import evaluate_package
    from crosstile.workloads.table import network as known

    if duplication not in ("none", "greedy", "optimal"):
        raise UsageError(f"--duplication: none, greedy or optimal is wanted; found {duplication!r}.")
    counts = numbers("--chips", chips)
    pipeline = "layer_serial" if serial else "pipelined"
    described = load_chip(chip).replaced(hardware__pipeline=pipeline)
    base, net = load_package(on), known(network)
    if tiles is not None:
        base = base.replaced(tiles_per_chip=tiles)
    results = [
        evaluate_package(net, described, base.replaced(chips=count), batch=batch, duplication=duplication)  # type: ignore[arg-type]
        for count in counts
    ]
    words: list[Any] = ["crosstile", "package", network, "--chip", chip, "--package", on, "--chips", chips]
    words += ["--batch", batch, "--duplication", duplication]
    words += [*([] if tiles is None else ["--tiles", tiles]), *(["--serial"] if serial else [])]
    command = shlex.join(str(word) for word in words)
    document = {"format": FORMAT, "command": command, "results": [one.as_dict() for one in results]}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if out is not None:
        from crosstile.files import write_all
        from crosstile.study.write import check_writable
        from crosstile.system.package_report import render

        check_writable(out)
        write_all({out / "package.json": text.encode(), out / "package.html": render(results, base, command).encode()})
        typer.echo(f"wrote {out / 'package.json'}, {out / 'package.html'}", err=True)
    if as_json:
        typer.echo(text, nl=False)
        return
    from rich.console import Console

    console = Console(highlight=False)
    for table in package_tables(results):
        console.print(table)
    for note in dict.fromkeys(note for one in results for note in one.notes):
        console.print(f"- {note}", markup=False, style="dim")


def package_tables(results: Sequence[PackageResult]) -> list[Table]:
    """Return what a user sees: time and traffic, then energy and cost; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from crosstile.units import format_quantity

    def table(title: str, headings: Sequence[str]) -> Table:
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for heading in headings:
            made.add_column(heading, justify="right", no_wrap=True)
        return made

    first = results[0]
    title = f"{first.network} on {first.chip}, {first.package}, {first.arrays_per_chip} arrays a chip (* rewritten)"
    time = table(title, ("chips", "used", "latency", "samples/s", "to others", "busiest\nlink", "rewriting\na sample"))
    money = table("", ("chips", "energy", "of links", "area", "yield of\na die", "cost", "of one\nlarge die"))
    for one in results:
        mark = "" if one.fits else "*"
        time.add_row(
            f"{one.chips}{mark}", str(one.chips_used), format_quantity(one.latency_s, "s", 3), f"{one.throughput_hz:.4g}",
            format_quantity(one.link_bits, "bit", 3), f"{100 * one.link_utilisation:.3g} %",
            format_quantity(one.write_time_s, "s", 3) if one.write_time_s else "-",
        )  # fmt: skip
        money.add_row(
            f"{one.chips}{mark}", format_quantity(one.energy_j, "J", 3), format_quantity(one.link_energy_j, "J", 3),
            format_quantity(one.area_m2, "m2", 3), f"{100 * one.cost.die_yield:.3g} %", f"{one.cost.total:.3g}",
            f"{one.one_die.total:.3g}",
        )  # fmt: skip
    return [time, money]
