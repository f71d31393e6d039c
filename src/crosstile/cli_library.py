"""What the library holds: ``crosstile chips``, ``crosstile devices``, ``crosstile components``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

JsonOpt = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (chips, devices, components):
        app.command()(command)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def chips(
    name: Annotated[str | None, typer.Argument(help="Print this chip's YAML.")] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Efficiencies of the presets, peak and on the standard networks.")
    ] = False,
    chips: Annotated[str | None, typer.Option(help="With --table: these chips, names or files with commas.")] = None,
    networks: Annotated[str | None, typer.Option(help="With --table: these networks, with commas.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """List the chips of the library, print one as a start for your own, or compare them."""
    from crosstile.specs.load import chip_yaml, library_names, load_chip

    if table:
        _compare(name, chips, networks, as_json)
        return
    if chips is not None or networks is not None:
        raise UsageError("--chips and --networks go with --table.")
    if name is not None:
        chip = load_chip(name)
        typer.echo(chip.model_dump_json(indent=1) if as_json else chip_yaml(name), nl=as_json)
        return
    entries = [load_chip(chip_name) for chip_name in library_names("chips")]
    if as_json:
        typer.echo(json.dumps([json.loads(chip.model_dump_json()) for chip in entries], indent=1))
        return
    rows = []
    for chip in entries:
        weights, adc = chip.weights, chip.adc
        stored = "continuous" if weights.continuous else f"{weights.bits} b in {weights.cell_bits}-b cells"
        rows.append(
            [chip.name, f"{chip.array.rows}x{chip.array.columns}", f"{stored}, {weights.encoding}",
             f"{chip.inputs.bits} b by {chip.inputs.dac_bits}", f"{adc.bits or 'ideal'} b {adc.range}", chip.cell.name,
             " ".join(chip.description.split()), "; ".join(chip.references) or "ours"]
        )  # fmt: skip
    _blocks(rows, ["arrays", "weights", "inputs", "converter", "cell", "", "source"])


def _compare(name: str | None, chips: str | None, networks: str | None, as_json: bool) -> None:
    from crosstile.comparison.chips import PRESETS, chip_tables, compare_chips, document
    from crosstile.workloads.table import STANDARD

    if name is not None and chips is not None:
        raise UsageError(f"give chips once: as the argument {name!r} or with --chips.")
    wanted = [part.strip() for part in (name or chips or ",".join(PRESETS)).split(",") if part.strip()]
    named = [part.strip() for part in (networks or ",".join(STANDARD)).split(",") if part.strip()]
    peaks, found = compare_chips(wanted, named)
    if as_json:
        typer.echo(json.dumps(document(peaks, found), indent=1, allow_nan=False))
        return
    for one in chip_tables(peaks, found):
        _console().print(one)
    _console().print(
        "Pipelined, with copies of weights on idle arrays; chips that do not say their size have 168 tiles, or twice as many as "
        "the network needs.\nNormalised figures are rules of thumb: crosstile chips --help, docs/chips.md.",
        markup=False, style="dim", soft_wrap=True,
    )  # fmt: skip


def devices(
    name: Annotated[str | None, typer.Argument(help="Print this cell's YAML.")] = None, as_json: JsonOpt = False
) -> None:
    """List the memory cells of the library and the effects that can be combined, with their sources."""
    from crosstile.nonidealities import EFFECTS
    from crosstile.specs.load import cell_yaml, library_names, load_cell
    from crosstile.units import format_quantity

    if name is not None:
        cell = load_cell(name)
        typer.echo(cell.model_dump_json(indent=1) if as_json else cell_yaml(name), nl=as_json)
        return
    cells = [load_cell(cell_name) for cell_name in library_names("cells")]
    if as_json:
        typer.echo(json.dumps([json.loads(cell.model_dump_json()) for cell in cells], indent=1))
        return
    rows = []
    for cell in cells:
        window = f"{format_quantity(cell.g_off_s, 'S')} to {format_quantity(cell.g_on_s, 'S')}"
        effects = ", ".join(effect.kind for effect in cell.effects) or "none"
        sources = "; ".join(f"{key}: {s.source} [{s.tag}]" for key, s in cell.sources.items())
        description = " ".join(cell.description.split())
        rows.append(
            [
                cell.name,
                cell.technology,
                window,
                f"{cell.height_f:g} x {cell.width_f:g} F",
                effects,
                description,
                sources,
            ]
        )
    _blocks(rows, ["technology", "window", "size", "effects", "", "source"])
    console = _console()
    console.print("\nEffects that a cell can list:", style="bold")
    for kind in EFFECTS:
        summary = (sys.modules[EFFECTS.get(kind).__module__].__doc__ or "").strip().splitlines()[0]
        console.print(f"  {kind}: {summary}", markup=False, soft_wrap=True)


def components(
    name: Annotated[str | None, typer.Argument(help="Print this component.")] = None, as_json: JsonOpt = False
) -> None:
    """List the cost components of the library with their sources."""
    from crosstile.cost.library import component_names, load_component

    names = component_names() if name is None else (name,)
    entries = [load_component(entry) for entry in names]
    if as_json:
        dumped = [json.loads(entry.model_dump_json()) for entry in entries]
        typer.echo(json.dumps(dumped if name is None else dumped[0], indent=1))
        return
    rows = []
    for entry in entries:
        source = "; ".join(dict.fromkeys(_sources_of(entry.model_dump())))
        rows.append(
            [entry.name, ", ".join(entry.roles), entry.weakest_tag, " ".join(entry.description.split()), source]
        )
    _blocks(rows, ["role", "weakest figure", "", "source"])


def _sources_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["source"]] if isinstance(value.get("source"), str) else []
        return own + [s for key, item in value.items() if key != "source" for s in _sources_of(item)]
    if isinstance(value, (list, tuple)):
        return [s for item in value for s in _sources_of(item)]
    return []


def _blocks(rows: list[list[str]], labels: list[str]) -> None:
    """Print entries as short blocks: legible at any width."""
    from rich.padding import Padding
    from rich.text import Text

    console = _console()
    for title, *values in rows:
        console.print(Text(title, style="bold"))
        for label, value in zip(labels, values, strict=True):
            if value:
                line = Text(f"{label}: " if label else "", style="dim")
                line.append(value, style="not dim")
                console.print(Padding(line, (0, 0, 0, 2)))
