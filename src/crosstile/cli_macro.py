"""``crosstile macro``: figures of a charge-domain macro, and the accuracy of an int8 network on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.macros.spec import ChargeDomainSpec

_NETWORK_ONLY = (
    "data", "weights", "samples", "trials", "seed", "batch", "data_dir", "offline", "digital", "uncompensated", "out",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("macro")(macro)


def macro(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A macro of the library or a path to YAML; without it the library is listed.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Run this network: a built-in or package.module:factory.")] = None,
    data: Annotated[
        str | None, typer.Option(help="mnist5k, digits, cifar10, fashion-mnist, or an .npz with x and y.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test samples to classify; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Macros that differ by their draws.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    batch: Annotated[int, typer.Option(help="Samples at once; the result does not depend on it.")] = 128,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    digital: Annotated[
        list[str] | None,
        typer.Option("--digital", help="Keep layers of this name (or pattern) digital; may be repeated."),
    ] = None,
    uncompensated: Annotated[
        bool, typer.Option("--uncompensated", help="Measure the accuracy without compensation, too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for macro.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show a charge-domain macro's figures, or run an int8 network on it."""
    from crosstile.macros.load import load_macro, macro_names

    if model is None:
        _refuse_network_options(context)
    if name is None:
        if model is not None:
            raise UsageError(f"--model: name the macro to run it on, one of {', '.join(macro_names())} or a YAML file.")
        _list([load_macro(entry) for entry in macro_names()], as_json)
        return
    spec = load_macro(name)
    if model is None:
        _show(spec, as_json)
        return
    from crosstile.study.options import RunOptions

    options = RunOptions(
        model=model, data=data, weights=weights, data_dir=data_dir, samples=samples, trials=trials, seed=seed, batch=batch,
        digital=tuple(digital or ()), download=not offline,
    )  # fmt: skip
    called = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{model}-{Path(name).stem}").strip("-.") or "macro"
    target = (out or Path("crosstile-out") / f"macro-{called}") / "macro.json"
    _run(spec, options, uncompensated, target, as_json)


def _refuse_network_options(context: typer.Context) -> None:
    sources = {key: context.get_parameter_source(key) for key in _NETWORK_ONLY}
    given = [key for key, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} needs a network; add --model, such as --model resnet20.")


def _list(specs: list[ChargeDomainSpec], as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps([spec.model_dump(mode="json") for spec in specs], indent=1))
        return
    console = Console(highlight=False)
    for spec in specs:
        console.print(spec.name, style="bold", markup=False)
        console.print(f"  {' '.join(spec.description.split())}", markup=False, soft_wrap=True)


def _show(spec: ChargeDomainSpec, as_json: bool) -> None:
    from rich.console import Console

    with Console(stderr=True).status("loading torch"):
        from crosstile.macros.study import describe
    document = describe(spec)
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    for table in (
        _figure_table(document),
        _energy_table(document),
        _linearity_table(document),
        _source_table(document),
    ):
        console.print(table)
    _print_differences(console, document["published"], document["limits"])


def _run(spec: ChargeDomainSpec, options: Any, uncompensated: bool, target: Path, as_json: bool) -> None:
    from rich.console import Console

    from crosstile.study.write import check_writable
    from crosstile.zoo.table import model_info

    if ":" not in options.model:
        model_info(options.model)
    missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    check_writable(target.parent)
    console = Console(stderr=True, highlight=False)
    try:
        with console.status("loading torch"):
            from crosstile.files import write_all
            from crosstile.macros.study import study_macro
        from crosstile.study.progress import bar

        with bar(console) as progress:
            document = study_macro(spec, options, uncompensated=uncompensated, progress=progress)
        write_all({target: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()})
    except BaseException:
        for folder in missing:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
    else:
        told = Console(highlight=False)
        told.print(_accuracy_table(document))
        told.print(_layer_table(document))
        _print_differences(told, document["published"], spec.limits)
    console.print(f"wrote {target}", markup=False, soft_wrap=True)


def _two_columns(title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_header=False)
    table.add_column("figure", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    return table


def _figure_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from crosstile.units import format_quantity

    published, geometry, sources = document["published"] or {}, document["geometry"], document["sources"]
    table = Table(title=Text(f"{document['name']}, {document['mode'].replace('_', '-')}"))
    table.add_column("figure", style="bold")
    table.add_column("ours", justify="right")
    table.add_column("what ours is")
    table.add_column("published", justify="right")
    calibrated = sources.get("energy.calibration", {}).get("tag") == "calibrated"
    energy_tag = f"calibrated, x {document['calibration']:g}" if calibrated else "from the energies of its parts"

    def row(what: str, ours: str, kind: str, theirs: str = "-") -> None:
        table.add_row(what, ours, kind, theirs)

    shape = f"{geometry['inputs']} x {geometry['outputs']} at {format_quantity(geometry['clock_hz'], 'Hz')}"
    row("Geometry", shape, sources.get("inputs", {}).get("tag", "-"))
    row("Throughput", f"{document['gops']:.4g} GOPS", "2 N M f / cycles", _with(published.get("gops"), "GOPS"))
    row("Efficiency", f"{document['tops_per_w']:.4g} TOPS/W", energy_tag, _with(published.get("tops_per_w"), "TOPS/W"))
    row("Energy of a MAC", format_quantity(document["mac_j"], "J"), "as the efficiency")
    row("Power", format_quantity(document["power_w"], "W"), "as the efficiency")
    row("Conversions a product", str(document["conversions"]), f"{document['cycles']} cycle(s)")
    serial = document["bit_serial"]
    row(
        "Bit-serial, same cells",
        f"{serial['conversions']} conv.",
        f"{serial['cycles']} cycles, {serial['ratio']:g} x as many",
    )
    row("Bit-serial efficiency", f"{serial['tops_per_w']:.3g} TOPS/W", "computed with the same constant")
    signal = document["signal"]
    row(
        "Largest sum",
        format_quantity(signal["full_scale_v"], "V"),
        f"parasitics leave {100 * signal['attenuation']:.1f} %",
    )
    noise = format_quantity(signal["thermal_units"] * signal["unit_v"], "V")
    row("kT/C noise", noise, f"{signal['thermal_units']:.0f} units of the sum")
    return table


def _with(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:g} {unit}"


def _energy_table(document: dict[str, Any]) -> Table:
    from crosstile.units import format_quantity

    table = _two_columns("Energy of one product, calibration included")
    whole = sum(document["energy_j"].values())
    for part, joules in document["energy_j"].items():
        share = 100 * joules / whole if whole else 0.0
        table.add_row(part, f"{format_quantity(joules, 'J')}   {share:.1f} %")
    return table


def _linearity_table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="Compensation (codes of a fused ReLU; random operands)")
    table.add_column("compensation")
    for column in ("INL, worst output", "INL, mean", "DNL", "signal to noise"):
        table.add_column(column, justify="right")
    for kind, found in document["linearity"].items():
        chosen = " (chosen)" if kind == document["compensation"] else ""
        snr = "exact" if found["snr_db"] is None else f"{found['snr_db']:.1f} dB"
        table.add_row(kind + chosen, *(f"{found[key]:.3g} LSB" for key in ("inl_lsb", "inl_mean_lsb", "dnl_lsb")), snr)
    return table


def _source_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Sources")
    for column in ("field", "tag", "source"):
        table.add_column(column, overflow="fold")
    for key, origin in document["sources"].items():
        table.add_row(key, origin["tag"], Text(origin["source"]))
    return table


def _accuracy_table(document: dict[str, Any]) -> Table:
    from crosstile.units import format_quantity

    accuracy, conversions, energy = document["accuracy"], document["conversions"], document["energy"]
    table = _two_columns(f"{document['model']['name']} on {document['macro']['name']}")
    table.add_row("Data", f"{document['data']['name']}, {document['data']['samples']} samples")
    table.add_row("Accuracy, digital", f"{100 * accuracy['digital']:.2f} %")
    table.add_row("Accuracy, int8", f"{100 * accuracy['int8']:.2f} %")
    table.add_row("Accuracy, ideal macro", f"{100 * accuracy['ideal_macro']:.2f} %")
    for key, what in (("macro", "macro"), ("uncompensated", "not compensated")):
        if key in accuracy:
            low, high = (100 * end for end in accuracy[key]["ci95"])
            mean = f"{100 * accuracy[key]['mean']:.2f} %   (95 % interval {low:.2f} % to {high:.2f} %, "
            table.add_row(f"Accuracy, {what}", f"{mean}{document['trials']} macro(s))")
    published = (document["published"] or {}).get("accuracy", {}).get(document["data"]["name"])
    if published is not None:
        table.add_row("Accuracy, published", f"{100 * published:.1f} %   (another network; differences below)")
    skipped, whole = conversions["skipped"], conversions["per_sample"]
    table.add_row(
        "Conversions", f"{whole:,} a sample, of which {skipped:,.0f} ({100 * skipped / whole:.1f} %) are skipped"
    )
    table.add_row("ReLU fused", f"{conversions['fused_layers']} of {len(document['layers'])} layers, "
                  f"{100 * conversions['fused_share']:.1f} % of the conversions")  # fmt: skip
    table.add_row("Bit-serial", f"{conversions['bit_serial']:,} conversions a sample, {conversions['ratio']:g} x as many; "
                  f"{format_quantity(energy['bit_serial_j'], 'J')}")  # fmt: skip
    table.add_row("Energy", f"{format_quantity(energy['per_sample_j'], 'J')} a sample, {energy['tops_per_w']:.3g} TOPS/W "
                  "(calibrated; macro only)")  # fmt: skip
    table.add_row("Time", f"{format_quantity(document['time']['per_sample_s'], 's')} a sample on one macro, "
                  f"{document['time']['cycles']:,} cycles")  # fmt: skip
    return table


def _layer_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from crosstile.units import format_quantity

    table = Table(title="Layers")
    table.add_column("layer", overflow="fold")
    for column in ("matrix", "pieces", "conversions", "skipped %", "range", "energy"):
        table.add_column(column, justify="right")
    for layer in document["layers"]:
        skipped = f"{100 * layer['skipped'] / layer['conversions']:.1f}" if layer["fused_relu"] else "-"
        table.add_row(
            Text(layer["name"]), f"{layer['rows']}x{layer['outputs']}", str(layer["pieces"]), f"{layer['conversions']:,}",
            skipped, f"{layer['range']:.0f}", format_quantity(sum(layer["energy_j"].values()), "J", 3),
        )  # fmt: skip
    return table


def _print_differences(console: Any, published: dict[str, Any] | None, limits: str) -> None:
    if published is not None:
        console.print(f"published: {published['work']}", markup=False, soft_wrap=True)
        for text in published["differences"]:
            console.print(f"- {text}", markup=False, soft_wrap=True)
    if limits:
        console.print(f"limits: {' '.join(limits.split())}", markup=False, soft_wrap=True)
