"""``crosstile device fit``: measured cells become a cell description that every other command takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.devices.fit import DeviceFit


def register(app: typer.Typer) -> None:
    """Add the group ``device`` to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Cells of your own from measured data.")

    @group.callback()
    def device() -> None:
        """Cells of your own from measured data."""

    group.command("fit")(fit)
    app.add_typer(group, name="device")


def fit(
    file: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with a header and one read a row: target_uS and read_uS (or S, mS, nS, ohm, kohm, Mohm), optionally "
            "time_s (since programming), temperature_K or temperature_C, cell and cycle."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the cell; default: that of the file.")] = None,
    technology: Annotated[str, typer.Option(help="Such as ReRAM or PCM.")] = "measured",
    source: Annotated[
        str | None, typer.Option(help="Where the data come from, in words; file and SHA-256 are added.")
    ] = None,
    g_on: Annotated[str | None, typer.Option(help='Largest conductance, "40 uS"; default: the largest target.')] = None,
    g_off: Annotated[str | None, typer.Option(help="Smallest conductance; default: the smallest target.")] = None,
    order: Annotated[int | None, typer.Option(help="Degree of sigma; default: least BIC of 0 to 4.")] = None,
    out: Annotated[Path | None, typer.Option(help="The YAML to write; default: crosstile-out/NAME.yaml.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the fit to this .png, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit programming spread, drift and read noise to measured cells, and write the cell as YAML."""
    from crosstile.devices.fit import fit_device
    from crosstile.devices.read_csv import read_measured
    from crosstile.devices.write_yaml import cell_text
    from crosstile.files import write_all

    called = name if name is not None else re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).strip("-.") or "cell"
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", called).strip("-.") or "cell"
    target = out or Path("crosstile-out") / f"{plain}.yaml"
    _check_names(file, target, figure)
    window = {"g_on_s": _conductance(g_on, "--g-on"), "g_off_s": _conductance(g_off, "--g-off")}
    fitted = fit_device(read_measured(file), order=order, **window)
    text, _ = cell_text(fitted, name=called, technology=technology, source=source)
    contents = {target: text.encode()}
    if figure is not None:
        from crosstile.devices.figure import figure_png

        title = "".join(c if c.isprintable() else "?" for c in f"{called}, fitted to {file.name}")
        contents[figure] = figure_png(fitted, title)
    write_all(contents)
    document = describe(fitted, called, [str(path) for path in contents])
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    _print(document)


def _check_names(file: Path, target: Path, figure: Path | None) -> None:
    if target.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out: {target}; a name that ends in .yaml is wanted.")
    if figure is not None and figure.suffix.lower() != ".png":
        raise UsageError(f"--figure: {figure}; a name that ends in .png is wanted.")
    for path in (target, figure):
        if path is not None and path.exists() and file.exists() and path.samefile(file):
            raise UsageError(f"{path} is the file of measured data, which is not overwritten; name another file.")


def _conductance(text: str | None, option: str) -> float | None:
    from crosstile.units import parse_quantity

    if text is None:
        return None
    try:
        return parse_quantity(text, "conductance")
    except ValueError as error:
        raise UsageError(f"{option}: {error}.") from None


def describe(fitted: DeviceFit, name: str, files: list[str]) -> dict[str, Any]:
    """Return the fit as plain values for JSON."""
    measured = fitted.measured
    return {
        "name": name,
        "file": measured.name,
        "sha256": measured.sha256,
        "rows": len(measured),
        "programmings": len(fitted.programmings),
        "cells": None if measured.cell is None else int(measured.cell.max()) + 1,
        "g_on_s": fitted.g_on_s,
        "g_off_s": fitted.g_off_s,
        "g_max_s": fitted.g_max_s,
        "parameters": _parameters(fitted),
        "bic_by_order": {str(order): value for order, value in fitted.criteria.items()},
        "bias_p": fitted.bias_p,
        "goodness": fitted.goodness,
        "levels": fitted.levels,
        "left_out": fitted.left_out,
        "warnings": fitted.warnings,
        "unused_columns": list(measured.unused),
        "files": files,
    }


def _parameters(fitted: DeviceFit) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(name: str, value: float, error: float | None, unit: str) -> None:
        found.append(
            {
                "name": name,
                "value": float(value),
                "standard_error": None if error is None else float(error),
                "unit": unit,
            }
        )

    for k, (c, e) in enumerate(zip(fitted.sigma, fitted.sigma_errors, strict=True)):
        add(f"programming sigma, r^{k}", c * 1e6, e * 1e6, "uS")
    for k, (c, e) in enumerate(zip(fitted.bias, fitted.bias_errors, strict=True)):
        add(f"bias of the mean, r^{k} (not written)", c * 1e6, e * 1e6, "uS")
    if fitted.shares is not None:
        add("device-to-device share of the variance (not written)", fitted.shares.share, fitted.shares.error, "")
    drift, noise = fitted.drift, fitted.noise
    if drift is not None:
        for k, (c, e) in enumerate(zip(drift.mean, drift.mean_errors, strict=True)):
            add("drift exponent, mean" + (f", r^{k}" if drift.mean.size > 1 else ""), c, e, "")
        add("drift exponent, spread", drift.std, drift.std_error if drift.std_resolved else None, "")
        add("drift, t0", drift.t0_s, None, "s")
    if noise is not None and noise.kind == "proportional":
        add("read noise / g", 100 * noise.values[0], 100 * noise.errors[0], "%")
    elif noise is not None:
        for k, (c, e) in enumerate(zip(noise.values, noise.errors, strict=True)):
            add(f"read noise sigma, r^{k}", c * 1e6, e * 1e6, "uS")
    return found


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_parameter_table(document))
    console.print(_level_table(document))
    console.print(_goodness_table(document))
    for key, what in (("left_out", "not fitted: "), ("warnings", "warning: ")):
        for text in document[key]:
            console.print(what + text, markup=False, soft_wrap=True)
    if document["unused_columns"]:
        console.print(f"columns not used: {', '.join(document['unused_columns'])}", markup=False, soft_wrap=True)
    for path in document["files"]:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _parameter_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    cells = "" if document["cells"] is None else f" of {document['cells']} cells"
    table = Table(
        title=Text(f"{document['name']}: {document['rows']} reads, {document['programmings']} programmings{cells}; "
                   f"r = g / {document['g_max_s'] * 1e6:.6g} uS")
    )  # fmt: skip
    for column in ("parameter", "value", "standard error", "unit"):
        table.add_column(column, justify="left" if column in ("parameter", "unit") else "right")
    for one in document["parameters"]:
        error = one["standard_error"]
        table.add_row(one["name"], f"{one['value']:.5g}", "-" if error is None else f"{error:.2g}", one["unit"])
    return table


def _level_table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="By level: spread (with noise) as measured and fitted")
    for column in ("target uS", "writes", "mean uS", "spread uS", "fitted uS", "chi2/dof", "p"):
        table.add_column(column, justify="right")
    for one in document["levels"]:
        siemens = (one["target_s"], one["mean_s"], one["sigma_s"], one["fitted_sigma_s"])
        target, mean, spread, fitted = (f"{value * 1e6:.4g}" for value in siemens)
        table.add_row(
            target, str(one["programmings"]), mean, spread, fitted, f"{one['chi2']:.3g}", f"{one['chi2_p']:.2g}"
        )
    return table


def _goodness_table(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table, good = Table(title="Goodness of fit", show_header=False), document["goodness"]
    table.add_column("figure", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_row("Verdict", Text(good["verdict"]))
    table.add_row("Anderson-Darling", f"A2 = {good['anderson_darling']:.3g}, p = {good['anderson_darling_p']:.2g}")
    table.add_row("Largest difference", f"{100 * good['ks_distance']:.2g} % of the distribution (Kolmogorov-Smirnov)")
    beyond, expected = (f"{100 * good[key]:.2g} %" for key in ("beyond_3_sigma", "beyond_3_sigma_expected"))
    table.add_row("Beyond 3 sigma", f"{beyond}, expected {expected} (p = {good['beyond_3_sigma_p']:.2g})")
    table.add_row("Skewness, excess kurtosis", f"{good['skewness']:.2g}, {good['excess_kurtosis']:.2g}")
    return table
