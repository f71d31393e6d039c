"""``crosstile schedule``: who runs when on a chip, with copies of weights, batches and rewriting."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.cli_text import shape
from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.system.chip import ChipCost

FORMAT = "crosstile-schedule-1"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("schedule")(schedule)


def schedule(
    network: Annotated[
        str, typer.Argument(help="A network of known shapes, such as resnet18 or lstm, or package.module:factory.")
    ],
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "reram-8b",
    arrays: Annotated[
        int | None, typer.Option(help="Arrays that may be used; default: the chip's, or one copy of all layers.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples in a batch; default: the chip's schedule.batch.")] = None,
    duplication: Annotated[
        str | None, typer.Option(help="Copies of weights: none, greedy or optimal; default: the chip's.")
    ] = None,
    serial: Annotated[
        bool | None,
        typer.Option("--serial/--pipelined", help="One layer at a time, or all at once; default: hardware.pipeline."),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Shape of one sample, such as 3,32,32; needed for a factory, which is traced.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for schedule.json and schedule.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Schedule a network on a chip: start and end of every layer, latency, throughput, energy, rewriting and buffers."""
    from crosstile.specs.load import load_chip
    from crosstile.system.chip import evaluate_chip
    from crosstile.workloads.named import is_factory, named_network

    if duplication not in (None, "none", "greedy", "optimal"):
        raise UsageError(f"--duplication: none, greedy or optimal is wanted; found {duplication!r}.")
    if is_factory(network) != (input_shape is not None):
        raise UsageError("--input-shape goes with a network package.module:factory, and such a network needs it.")
    sizes = None if input_shape is None else shape("--input-shape", input_shape)
    described = load_chip(chip)
    if serial is not None:
        described = described.replaced(hardware__pipeline="layer_serial" if serial else "pipelined")
    cost = evaluate_chip(named_network(network, sizes), described, batch=batch, arrays=arrays, duplication=duplication)  # type: ignore[arg-type]
    if out is not None:
        _write(cost, out, _command(network, chip, arrays, batch, duplication, serial, input_shape))
    if as_json:
        typer.echo(_json(cost), nl=False)
        return
    from rich.console import Console

    console = Console(highlight=False)
    for table in (layer_table(cost), summary_table(cost)):
        console.print(table)
    for note in cost.notes:
        console.print(f"- {note}", markup=False, style="dim")


def _command(
    network: str, chip: str, arrays: int | None, batch: int | None, duplication: str | None, serial: bool | None,
    input_shape: str | None,
) -> str:  # fmt: skip
    words: list[Any] = ["crosstile", "schedule", network, "--chip", chip]
    given = (("--arrays", arrays), ("--batch", batch), ("--duplication", duplication), ("--input-shape", input_shape))
    for flag, value in given:
        words += [] if value is None else [flag, value]
    words += [] if serial is None else ["--serial" if serial else "--pipelined"]
    return shlex.join(str(word) for word in words)


def _json(cost: ChipCost) -> str:
    return json.dumps({"format": FORMAT} | cost.as_dict(), indent=1, allow_nan=False) + "\n"


def _write(cost: ChipCost, directory: Path, command: str) -> None:
    from rich.console import Console

    from crosstile.files import write_all
    from crosstile.study.write import check_writable
    from crosstile.system.gantt import render

    check_writable(directory)
    paths = {name: directory / f"schedule.{name}" for name in ("json", "html")}
    write_all({paths["json"]: _json(cost).encode(), paths["html"]: render(cost, command).encode()})
    text = "wrote " + ", ".join(str(path) for path in paths.values())
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)


def layer_table(cost: ChipCost) -> Table:
    """Return the table of layers; 80 columns. Times are those of the first sample, from the start of the batch."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    plan = cost.schedule
    longest = plan.stages[-1].end_s
    factor, unit = next(((f, u) for f, u in ((1.0, "s"), (1e3, "ms"), (1e6, "us")) if longest * f >= 1), (1e9, "ns"))
    title = f"{plan.network} on {plan.chip}, batch of {plan.batch}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", no_wrap=True, max_width=17, overflow="ellipsis")
    for name in ("copies", "arrays", f"start\n{unit}", f"end\n{unit}", f"busy\n{unit}"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    if not plan.fits:
        table.add_column("rd", justify="right", no_wrap=True, min_width=2)
    table.add_column("limit", no_wrap=True, max_width=9, overflow="ellipsis")
    for run in plan.stages:
        times = [f"{value * factor:.3g}" for value in (run.start_s, run.end_s, run.busy_s)]
        numbers = [str(run.copies), str(run.arrays), *times, *([] if plan.fits else [str(run.round)])]
        table.add_row(run.layer, *numbers, run.limited_by)
    return table


def summary_table(cost: ChipCost) -> Table:
    """Return what matters of a schedule; 80 columns."""
    from rich.table import Table

    from crosstile.units import format_quantity

    plan = cost.schedule

    def show(value: float, unit: str) -> str:
        return format_quantity(value, unit, 4)

    table = Table(show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    capacity = "" if plan.buffer_capacity_bits is None else f" of {show(plan.buffer_capacity_bits, 'bit')}"
    rows = {
        "schedule": f"{plan.mode.replace('_', '-')}, duplication {plan.duplication}",
        "arrays": f"{plan.arrays_used} of {plan.arrays}, {plan.tiles_used} tiles",
        "rounds": f"{len(plan.rounds)}" + ("" if not plan.fits else ": fits, nothing is rewritten"),
        "latency of one sample": show(plan.latency_s, "s"),
        "latency of the batch": show(plan.batch_latency_s, "s"),
        "samples per second": f"{plan.throughput_hz:.4g}",
        "bottleneck": plan.bottleneck,
        "array utilisation in time": f"{100 * plan.array_utilisation:.3g} %",
        "rewriting a batch": f"{show(plan.write_time_s, 's')}, {show(plan.write_energy_j, 'J')}, {plan.cells_written} cells",
        "buffers wanted": show(plan.buffer_bits, "bit") + capacity,
        "spilled a sample": f"{show(plan.spilled_bits, 'bit')}, {show(plan.spill_time_s, 's')}, {show(plan.spill_energy_j, 'J')}",
        "energy of one sample": show(cost.energy_j, "J"),
        "area": show(cost.area_m2, "m2"),
        "power": show(cost.power_w, "W"),
        "TOPS/W, TOPS/mm2": f"{cost.tops_per_w:.4g}, {cost.tops_per_mm2:.4g}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
