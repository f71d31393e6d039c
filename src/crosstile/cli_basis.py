"""``crosstile basis``: a network on one set of basis vectors that is written once, beside reprogramming."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.basisn.study import BasisStudy

FORMAT = "crosstile-basis-1"
CHECKPOINT = "basis-checkpoint.pt"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("basis")(basis)


def basis(
    model: Annotated[
        str, typer.Argument(help="A built-in with --weights, package.module:factory, or shapes with --rate.")
    ],
    chip: Annotated[
        str, typer.Option(help="A chip of the library or a path to YAML; differential pairs.")
    ] = "reram-8b",
    arrays: Annotated[str, typer.Option(help="Numbers of arrays, with commas.")] = "16",
    sets: Annotated[int, typer.Option(help="Arrays with different vectors that a segment drives side by side.")] = 2,
    coefficient_bits: Annotated[int, typer.Option(help="Bits of a coefficient, sign included.")] = 3,
    lines: Annotated[int, typer.Option(help="Summing lines of an array: kernels that a cycle can serve.")] = 16,
    sparsity: Annotated[int | None, typer.Option(help="Vectors that a segment may use; default all.")] = None,
    method: Annotated[str, typer.Option(help="How the basis starts: pca, kmeans, ksvd or random.")] = "pca",
    combined: Annotated[
        str,
        typer.Option(
            "--combine", help="Accuracy with coefficients applied by switches (switched) or digital logic (digital)."
        ),
    ] = "switched",
    batch: Annotated[str, typer.Option(help="Samples between two rewrites of the baseline, with commas.")] = "1,16",
    rate: Annotated[
        float | None,
        typer.Option(help="A network of known shapes, without weights: kernels that a cycle serves on average."),
    ] = None,
    write: Annotated[
        str | None, typer.Option(help="Write model of the baselines, such as row:100 or cell:10; default: the chip's.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The data set; default: that of the network.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    saved: Annotated[Path | None, typer.Option("--basis", help="A trained basis, written by --train.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Train basis and coefficients first.")] = False,
    epochs: Annotated[int, typer.Option(help="Epochs of --train.")] = 4,
    contest: Annotated[
        float, typer.Option(help="Strength against contests while coefficients are found, such as 4: fewer cycles.")
    ] = 0.0,
    augment: Annotated[
        bool, typer.Option("--augment", help="With --train: shift and mirror images at random.")
    ] = False,
    hold_out: Annotated[
        int | None, typer.Option(help="With --train: first samples kept to measure, where data have no training part.")
    ] = None,
    train_samples: Annotated[int | None, typer.Option(help="With --train: samples to train on.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples to classify.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[
        str,
        typer.Option(help="Where to compute: auto (cuda where torch finds a CUDA device, else cpu), cpu or cuda."),
    ] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for basis.json and basis.html, and the trained basis.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put a network on a basis: accuracy, cycles, energy and delay, beside reprogramming and other baselines."""
    from rich.console import Console

    from crosstile.basisn.study import BasisOptions, study_basis
    from crosstile.cli_text import numbers
    from crosstile.study.progress import bar
    from crosstile.study.write import check_writable

    if rate is not None and (train or saved is not None or weights is not None or data is not None):
        raise UsageError("--rate is for a network without weights; leave out --weights, --data, --basis and --train.")
    if train and out is None:
        raise UsageError("--train needs --out, a folder for the trained basis and its checkpoint.")
    if train and saved is not None:
        raise UsageError("--basis and --train exclude each other: a saved basis is used as it is.")
    if out is not None:
        check_writable(out)
    options = BasisOptions(
        model=model, chip=chip, arrays=tuple(numbers("--arrays", arrays)), sets=sets, coefficient_bits=coefficient_bits,
        lines=lines, sparsity=sparsity, method=method, combined=combined, batches=tuple(numbers("--batch", batch)),
        kernels_per_cycle=rate,
        write=_write(write), data=data, weights=weights, data_dir=data_dir, saved=saved, train=train, epochs=epochs,
        contest=contest, augment=augment, hold_out=hold_out, train_samples=train_samples, samples=samples,
        trials=trials, seed=seed, device=device, download=not offline,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    checkpoint = None if out is None or not train else out / CHECKPOINT
    try:
        with bar(console) as progress:
            found, trained = study_basis(options, progress, checkpoint=checkpoint)
    except KeyboardInterrupt:
        kept = checkpoint is not None and checkpoint.exists()
        told = (
            f"the last whole epoch is kept in {checkpoint}; run the same command again to go on"
            if kept
            else "nothing is kept"
        )
        console.print(f"interrupted; {told}.", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    command = _command(options)
    text = json.dumps({"format": FORMAT, "command": command} | found.as_dict(), indent=1, allow_nan=False) + "\n"
    if out is not None:
        from crosstile.basisn.report import render
        from crosstile.files import write_all

        write_all({out / "basis.json": text.encode(), out / "basis.html": render(found, command).encode()})
        told = f"wrote {out / 'basis.json'}, {out / 'basis.html'}"
        if trained is not None:
            trained.save(out / "basis.npz")
            told += f", {out / 'basis.npz'}"
        console.print(told, soft_wrap=True, markup=False)
    if as_json:
        typer.echo(text, nl=False)
        return
    shown = Console(highlight=False)
    for table in basis_tables(found):
        shown.print(table)
    for note in found.notes:
        shown.print(f"- {note}", markup=False, style="dim")


def _write(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    how, _, cycles = text.partition(":")
    try:
        count = float(cycles)
    except ValueError:
        count = 0.0
    if how not in ("cell", "row", "array") or not 1 <= count <= 1e6:
        raise UsageError(
            f"--write: cell, row or array and write-verify cycles are wanted, such as row:100; found {text!r}."
        )
    return how, count


def _command(options: Any) -> str:
    o = options
    words: list[Any] = [
        "crosstile",
        "basis",
        o.model,
        "--chip",
        o.chip,
        "--arrays",
        ",".join(map(str, o.arrays)),
        "--sets",
        o.sets,
    ]
    words += ["--coefficient-bits", o.coefficient_bits, "--lines", o.lines, "--method", o.method]
    words += [] if o.combined == "switched" else ["--combine", o.combined]
    words += [] if o.contest == 0 else ["--contest", o.contest]
    words += ["--batch", ",".join(map(str, o.batches)), "--trials", o.trials, "--seed", o.seed]
    for flag, value in (
        ("--sparsity", o.sparsity), ("--rate", o.kernels_per_cycle), ("--data", o.data), ("--weights", o.weights),
        ("--data-dir", o.data_dir), ("--basis", o.saved), ("--samples", o.samples),
        ("--write", None if o.write is None else f"{o.write[0]}:{o.write[1]:g}"),
    ):  # fmt: skip
        words += [] if value is None else [flag, value]
    if o.train:
        words += ["--train", "--epochs", o.epochs, *(["--augment"] if o.augment else [])]
        words += [] if o.hold_out is None else ["--hold-out", o.hold_out]
        words += [] if o.train_samples is None else ["--train-samples", o.train_samples]
    words += [] if o.device == "auto" else ["--device", o.device]
    words += [] if o.download else ["--offline"]
    return shlex.join(str(word) for word in words)


def basis_tables(found: BasisStudy) -> list[Table]:
    """Return what a user sees; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from crosstile.units import format_quantity

    def table(title: str, *headings: str) -> Table:
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for number, heading in enumerate(headings):
            made.add_column(heading, justify="right" if number else "left", no_wrap=True)
        return made

    def large(value: float) -> str:
        for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= limit:
                return f"{value / limit:.3g}{suffix}"
        return f"{value:.3g}"

    def share(value: float, digits: int) -> str:
        if value >= 0.995:
            return f"{float(f'{100 * value:.3g}'):,.0f} %"  # 14,800 %: an exponent does not fit in 80 columns
        if value >= 1e-5:
            return f"{100 * value:.{digits}g} %"
        return f"{100 * value:.0e} %"

    design, tables = found.design, []
    if found.accuracy is not None:
        a = found.accuracy
        shown = Table(title=f"{found.network}: {a.text}", title_justify="left", show_header=False)
        shown.add_row("digital", f"{100 * a.digital:.2f} %")
        shown.add_row("own weights on the chip", f"{100 * a.chip:.2f} %")
        if found.before_training is not None:
            shown.add_row("basis, before training", f"{100 * found.before_training:.2f} %")
        low, high = (100 * share for share in a.ci95)
        shown.add_row(
            "basis", f"{100 * a.basis:.2f} %   (95 % interval {low:.2f} % to {high:.2f} %, {len(a.per_trial)} chips)"
        )
        tables.append(shown)
    title = (
        f"Layers: {design.sets} sets of {design.vectors} vectors, {design.bits}-bit coefficients, {design.lines} lines"
    )
    layers = table(
        title, "layer", "blocks", "kernels", "kernels\na cycle", f"cycles on\n{design.arrays} arrays", "weights\nmissed"
    )
    for one in found.layers:
        c = one.cycles
        layers.add_row(
            c.name[:26], str(c.blocks), str(c.kernels), f"{c.kernels_per_cycle:.1f}", large(c.cycles),
            "-" if one.error is None else f"{100 * one.error:.1f} %",
        )  # fmt: skip
    tables.append(layers)
    own = {(c.arrays, c.batch): c.cost for c in found.compared if c.cost.name == "basis"}
    costs = table("One sample", "scheme", "arrays", "B", "cycles", "time", "energy", "EDP\nJ s", "basis\nEDP")
    for entry in found.compared:
        cost = entry.cost
        ratio = own[entry.arrays, entry.batch].edp_js / cost.edp_js
        costs.add_row(
            cost.name, str(entry.arrays), str(entry.batch), large(cost.cycles), format_quantity(cost.time_s, "s", 3),
            format_quantity(cost.energy_j, "J", 3), f"{cost.edp_js:.1e}", "" if cost.name == "basis" else share(ratio, 2),
        )  # fmt: skip
    tables.append(costs)
    title = f"Basis over reprogramming by write model, {design.arrays} arrays"
    rows = table(title, "written\nat once", "cycles\na cell", "batch", "cycles", "time", "energy", "EDP")
    for line in found.sensitivity:
        shares = (line.cycles_ratio, line.time_ratio, line.energy_ratio, line.edp_ratio)
        rows.add_row(line.parallelism, f"{line.write_cycles:g}", str(line.batch), *(share(one, 3) for one in shares))
    tables.append(rows)
    return tables
