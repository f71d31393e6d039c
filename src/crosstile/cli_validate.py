"""``crosstile validate``: the cost model against published silicon."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("validate")(validate)


def validate(
    name: Annotated[
        str | None, typer.Argument(help="One macro: a name of the library, or a YAML file of your own. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Set the cost model beside macros that were built and measured: efficiency, density, and the errors."""
    from crosstile.validation.silicon import load_silicon, silicon_names
    from crosstile.validation.study import validate_macros

    macros = [load_silicon(entry) for entry in silicon_names()]
    wanted = None if name is None else load_silicon(name)
    if wanted is not None and wanted.name not in {macro.name for macro in macros}:
        macros.append(wanted)
    elif wanted is not None:  # a file of one's own takes the place of the library's entry
        macros = [wanted if macro.name == wanted.name else macro for macro in macros]
    result = validate_macros(macros)
    if wanted is None and as_json:
        typer.echo(json.dumps(result.as_dict(), indent=1, allow_nan=False))
        return
    index = next((i for i, row in enumerate(result.rows) if wanted is not None and row.name == wanted.name), None)
    if index is not None and wanted is not None and as_json:
        data = result.as_dict()
        document = {
            "macro": json.loads(wanted.model_dump_json(by_alias=True)), "row": data["rows"][index],
            "calibrated": data["calibrated"][index],
        }  # fmt: skip
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return

    from rich.console import Console

    from crosstile.validation import tables

    console = Console(highlight=False)
    if index is not None and wanted is not None:
        row, found = result.rows[index], result.calibrated[index]
        console.print(wanted.name, style="bold")
        console.print(wanted.work, markup=False, soft_wrap=True)
        for line in tables.macro_lines(wanted, row):
            console.print(f"  {line}", markup=False, soft_wrap=True)
        left_out = {"class": "of its class", "all": "of all other macros, its class having no other", "none": ""}
        console.print(
            f"error of TOPS/W: {tables.percent(found.error)} uncalibrated; {tables.percent(found.error_calibrated)} with the "
            f"constant {found.constant:.3g} of {found.group}, itself among those it is fitted to",
            markup=False,
            soft_wrap=True,
        )
        if found.constant_left_out is not None:
            console.print(
                f"left out: {tables.percent(found.error_left_out)} with the constant {found.constant_left_out:.3g} "
                f"{left_out[found.left_out_from]}",
                markup=False,
                soft_wrap=True,
            )
        return
    for table in (tables.efficiency_table(result), tables.density_table(result), tables.speed_table(result)):
        if table is not None:
            console.print(table)
            console.print()
    console.print(tables.class_table(result))
    console.print()
    for line in tables.summary(result):
        console.print(line, markup=False, soft_wrap=True)
