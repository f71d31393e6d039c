"""``crosstile tenants``: several networks on one chip, side by side or in turn."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosstile.system.tenant_result import MethodComparison

FORMAT = "crosstile-tenants-1"
_MOST_CASES = 64


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("tenants")(tenants)


def tenants(
    networks: Annotated[list[str], typer.Argument(help="Two or more networks of known shapes, such as resnet20 vgg8.")],
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "reram-8b",
    arrays: Annotated[
        str | None, typer.Option(help="Sizes of the chip, such as 2048,8192; default: hardware.tiles, or all fit once.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Samples of each tenant, such as 1,16.")] = "1",
    method: Annotated[
        str, typer.Option(help="Partition: iterative, equal, proportional (to MACs), exhaustive (2 or 3 tenants).")
    ] = "iterative",
    objective: Annotated[
        str, typer.Option(help="makespan, or slowdown: the weighted mean against having the chip alone.")
    ] = "makespan",
    weights: Annotated[str | None, typer.Option(help="Weights of the slowdowns, one a tenant, such as 2,1,1.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tenants.json and tenants.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Share one chip among networks: parts, times, energy and fairness, beside direct deployment and other baselines."""
    from crosstile.cli_text import numbers
    from crosstile.specs.load import load_chip
    from crosstile.system.tenants import OBJECTIVES, Tenants
    from crosstile.workloads.table import network as known

    if len(networks) < 2:
        raise UsageError(
            f"tenants: two networks or more are wanted, found {networks[0]!r} alone; crosstile schedule takes a single one."
        )
    sides = ("iterative", "equal", "proportional", "exhaustive")
    if method not in sides:
        more = "; direct and time_shared are always printed beside it" if method in ("direct", "time_shared") else ""
        raise UsageError(f"--method: one of {', '.join(sides)} is wanted; found {method!r}{more}.")
    if objective not in OBJECTIVES:
        raise UsageError(f"--objective: one of {', '.join(OBJECTIVES)} is wanted; found {objective!r}.")
    batches = _positive("--batch", numbers("--batch", batch))
    sizes = None if arrays is None else _positive("--arrays", numbers("--arrays", arrays))
    shared = Tenants([known(name) for name in networks], load_chip(chip), _weights(weights))
    sizes = sizes or (shared.built or shared.arrays_of_one_copy,)
    if len(sizes) * len(batches) > _MOST_CASES:
        raise UsageError(f"--arrays, --batch: {len(sizes) * len(batches)} cases; at most {_MOST_CASES} at once.")
    if out is not None:
        from crosstile.study.write import check_writable

        check_writable(out)
    names = list(dict.fromkeys(("direct", "time_shared", "equal", "proportional", method)))
    found = [
        shared.compare(size, batch=b, methods=names, objective=objective)  # type: ignore[arg-type]
        for size in sizes
        for b in batches
    ]
    command = _command(networks, chip, arrays, batch, method, objective, weights)
    if out is not None:
        _write(found, method, out, command)
    if as_json:
        typer.echo(document(found, networks, command), nl=False)
        return
    from rich.console import Console

    from crosstile.system.tenant_report import gain_table, makespan_table, remarks, tenant_table

    console = Console(highlight=False)
    for table in (*(tenant_table(one.runs[method]) for one in found), makespan_table(found), gain_table(found, method)):
        console.print(table)
    for note in remarks(found, method):
        console.print(f"- {note}", markup=False, style="dim")


def _positive(flag: str, values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or min(values) < 1:
        raise UsageError(
            f"{flag}: whole numbers of at least 1 are wanted; found {', '.join(map(str, values)) or 'none'}."
        )
    return tuple(dict.fromkeys(values))


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights: numbers with commas between are wanted, one a tenant; found {text!r}.") from None


def _command(
    networks: Sequence[str], chip: str, arrays: str | None, batch: str, method: str, objective: str, weights: str | None
) -> str:
    words: list[Any] = ["crosstile", "tenants", *networks, "--chip", chip]
    words += [] if arrays is None else ["--arrays", arrays]
    words += ["--batch", batch, "--method", method, "--objective", objective]
    words += [] if weights is None else ["--weights", weights]
    return shlex.join(str(word) for word in words)


def document(found: Sequence[MethodComparison], networks: Sequence[str], command: str) -> str:
    """Return all runs as JSON."""
    data = {"format": FORMAT, "command": command, "networks": list(networks), "cases": [one.as_dict() for one in found]}
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _write(found: Sequence[MethodComparison], method: str, directory: Path, command: str) -> None:
    from rich.console import Console

    from crosstile.files import write_all
    from crosstile.system.tenant_report import render

    networks = [one.network for one in found[0].runs[method].tenants]
    pages = {"json": document(found, networks, command), "html": render(found, method, command)}
    paths = {name: directory / f"tenants.{name}" for name in pages}
    write_all({path: pages[name].encode() for name, path in paths.items()})
    text = "wrote " + ", ".join(str(path) for path in paths.values())
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)
