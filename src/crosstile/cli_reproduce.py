"""``crosstile reproduce``: published results beside ours, one subcommand a study."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from crosstile.comparison.result import Comparison

studies = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Print what publications claim beside what Crosstile finds."
)
JsonOpt = Annotated[bool, typer.Option("--json", help="Print claims and findings as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    studies.callback(invoke_without_command=True)(listing)
    studies.command("memory-technologies")(memory_technologies)
    studies.command("isaac")(isaac)
    studies.command("multi-tenant")(multi_tenant)
    studies.command("basisn")(basisn)
    studies.command("codesign")(codesign)
    studies.command("nax")(nax)
    app.add_typer(studies, name="reproduce")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def listing(context: typer.Context) -> None:
    """Print what publications claim beside what Crosstile finds, with every difference of set-up."""
    if context.invoked_subcommand is not None:
        return
    from crosstile.reproduce.published import load_study, study_names

    for name in study_names():
        _console().print(f"{name}: {load_study(name).work}", markup=False, soft_wrap=True)


def memory_technologies(
    model: Annotated[str, typer.Option(help="The network; the published one by default.")] = "resnet20",
    data: Annotated[str | None, typer.Option(help="The data set; default: that of the network.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    cell_bits: Annotated[str, typer.Option(help="Bits of a cell, such as 1,2.")] = "1",
    samples: Annotated[int | None, typer.Option(help="Test samples to classify.")] = 100,
    trials: Annotated[int, typer.Option(help="Chips to programme of each design.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    earlier: Annotated[
        Path | None, typer.Option("--from", help="Use this compare.json of an earlier run, and run nothing.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the comparison.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """SRAM, FeFET, ReRAM and SOT-MRAM at 7 nm: ranking, fewer active rows, custom reference levels."""
    from crosstile.cli_compare import run_to_files
    from crosstile.cli_text import numbers
    from crosstile.comparison.result import Comparison
    from crosstile.comparison.tables import design_tables, gain_table
    from crosstile.reproduce.memory_technologies import findings, options
    from crosstile.reproduce.published import findings_document, load_study, show_findings

    published = load_study("memory-technologies")
    if earlier is not None:
        result = Comparison.from_json(earlier)
    else:
        if model == "resnet20" and weights is None:
            raise UsageError(
                "ResNet-20 needs trained weights: --weights FILE, such as resnet20-12fca82f.th of akamaster's "
                "pytorch_resnet_cifar10. --model lenet5 runs the same comparison on weights and data that come with the package."
            )
        result = run_to_files(
            options(
                model, data=data, weights=weights, data_dir=data_dir, samples=samples, trials=trials, seed=seed,
                cell_bits=numbers("--cell-bits", cell_bits), download=not offline,
            ),
            out or Path("crosstile-out") / f"memory-technologies-{model.replace(':', '-')}",
        )  # fmt: skip
    found = findings(result, published)
    if as_json:
        typer.echo(json.dumps(findings_document(published, result.command, found), indent=1, allow_nan=False))
        return
    console = _console()
    for table in (*design_tables(result), gain_table(result)):
        console.print(table)
    show_findings(console, published, found, [_run_of(result)])


def _run_of(result: Comparison) -> str:
    return (
        f"Run: {result.model.name}, {result.data.samples} samples of {result.data.name}, {result.trials} chips, "
        f"{result.weight_bits}-bit weights, {result.input_bits}-bit inputs."
    )


def isaac(as_json: JsonOpt = False) -> None:
    """ISAAC: the component table summed to tile and chip, and its efficiencies."""
    from crosstile.reproduce.isaac import bill_table, findings
    from crosstile.reproduce.published import findings_document, load_study, show_findings

    published = load_study("isaac")
    found = findings(published)
    if as_json:
        document = findings_document(published, "crosstile reproduce isaac", found)
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    console = _console()
    console.print(bill_table())
    show_findings(console, published, found)


def multi_tenant(as_json: JsonOpt = False) -> None:
    """Tenants on one chip: partition, pipelining and copies of weights against direct deployment."""
    from crosstile.reproduce.multi_tenant import LEGEND, case_table, cases, document, findings
    from crosstile.reproduce.published import load_study, show_findings

    published = load_study("multi-tenant")
    if as_json:
        typer.echo(json.dumps(document(published, cases()), indent=1, allow_nan=False))
        return
    console = _console()
    with console.status("a minute or so") as status:
        found = cases(tell=status.update)
    console.print(case_table(found))
    console.print(LEGEND, markup=False)
    show_findings(console, published, findings(published, found))


def basisn(
    arrays: Annotated[int, typer.Option(help="Arrays of the chip.")] = 16,
    chip: Annotated[str, typer.Option(help="A chip of the library or a path to YAML.")] = "reram-8b",
    as_json: JsonOpt = False,
) -> None:
    """BasisN: cycles and energy-delay product against reprogramming, over write models."""
    from crosstile.reproduce.basisn import findings, ratio_tables, ratios
    from crosstile.reproduce.published import findings_document, load_study, show_findings

    published = load_study("basisn")
    rows = ratios(chip, arrays)
    found = findings(published, rows)
    if as_json:
        document = findings_document(published, f"crosstile reproduce basisn --arrays {arrays} --chip {chip}", found)
        document["ratios"] = [vars(row) for row in rows]
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    console = _console()
    for table in ratio_tables(rows):
        console.print(table)
    show_findings(console, published, found)


def codesign(
    trials: Annotated[int, typer.Option(help="Evaluations of each run.", min=1)] = 100,
    seeds: Annotated[int, typer.Option(help="Runs of each method.", min=1)] = 5,
    as_json: JsonOpt = False,
) -> None:
    """Hardware and mapping searched together against the ISAAC preset; minutes."""
    from crosstile.reproduce.codesign import STUDY, document, findings, preset, run_table, runs
    from crosstile.reproduce.published import load_study, show_findings
    from crosstile.search.study import load_study as load_search

    published, tuned = load_study("codesign"), preset(load_search(STUDY))
    command = f"crosstile reproduce codesign --trials {trials} --seeds {seeds}"
    if as_json:
        typer.echo(json.dumps(document(published, runs(trials, seeds), tuned, command), indent=1, allow_nan=False))
        return
    console = _console()
    with console.status("some minutes") as status:
        found = runs(trials, seeds, tell=status.update)
    console.print(run_table(found, tuned))
    show_findings(console, published, findings(published, found, tuned))


def nax(
    data: Annotated[str, typer.Option(help="The data set: digits, mnist5k, cifar10.")] = "digits",
    seeds: Annotated[int, typer.Option(help="Searches, each from its seed.", min=1, max=100)] = 3,
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 8,
    blocks: Annotated[int, typer.Option(help="Blocks of a stage.")] = 1,
    lam: Annotated[float, typer.Option(help="Weight of ln(EDAP) beside the cross-entropy.")] = 0.03,
    epochs: Annotated[int, typer.Option(help="Epochs of each search.")] = 30,
    retrain: Annotated[int, typer.Option(help="Epochs of training each network that is measured.")] = 16,
    augment: Annotated[bool, typer.Option("--augment", help="Shift and mirror images at random.")] = False,
    hold_out: Annotated[int | None, typer.Option(help="Data without a training part: samples kept to measure.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Use this nax.json of an earlier run; may be repeated. No search is run."),
    ] = None,
    three_layers: Annotated[
        bool, typer.Option("--toy/--no-toy", help="Try all 729 networks of three layers, too.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for the searches, seed-0 and so on.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """NAX: kernel and array sizes by gradient against ResNet, one array size, random search; minutes to an hour."""
    from rich.console import Console

    from crosstile.cli_nax import run_to_files
    from crosstile.nax.options import NaxJob, SearchOptions
    from crosstile.reproduce.nax import document, findings, job_table, read_jobs, toy
    from crosstile.reproduce.published import load_study, show_findings

    published, paths = load_study("nax"), list(earlier or [])
    folder = out or Path("crosstile-out") / f"reproduce-nax-{Path(data).stem}"
    quiet = Console(stderr=True, highlight=False)
    if not paths:
        for seed in range(seeds):
            options = SearchOptions(
                lam=lam, epochs=epochs, warmup=min(8, epochs // 3), retrain=retrain, augment=augment, seed=seed,
                device="auto",
            )  # fmt: skip
            job = NaxJob(data=data, width=width, blocks=blocks, hold_out=hold_out, data_dir=data_dir, search=options)
            quiet.print(f"search {seed + 1} of {seeds}", markup=False)
            run_to_files(job, folder / f"seed-{seed}")
            paths.append(folder / f"seed-{seed}" / "nax.json")
    jobs = read_jobs(paths)
    with quiet.status("networks of three layers") as status:
        toys = [toy(seed, status.update) for seed in range(min(seeds, 3))] if three_layers else []
    if as_json:
        words = [
            "--data",
            data,
            "--seeds",
            seeds,
            "--width",
            width,
            "--blocks",
            blocks,
            "--lam",
            lam,
            "--epochs",
            epochs,
        ]
        words += ["--retrain", retrain, *(["--augment"] if augment else []), *([] if three_layers else ["--no-toy"])]
        words += [] if hold_out is None else ["--hold-out", hold_out]
        words += [part for path in earlier or [] for part in ("--from", path)]
        command = shlex.join(["crosstile", "reproduce", "nax", *map(str, words)])
        typer.echo(json.dumps(document(published, jobs, toys, command), indent=1, allow_nan=False))
        return
    console = _console()
    console.print(job_table(jobs))
    show_findings(console, published, findings(published, jobs, toys))
