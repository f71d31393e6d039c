"""``crosstile nax``: kernel sizes and array sizes searched together, by gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstile.cli_text import numbers, words

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.nax.options import NaxJob
    from crosstile.nax.study import NaxStudy

FORMAT = "crosstile-nax-study-1"
MODULE = "nax_network"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("nax")(nax)


def nax(
    data: Annotated[
        str, typer.Option(help="digits, mnist5k, cifar10, fashion-mnist, or an .npz with x and y.")
    ] = "digits",
    chip: Annotated[
        str, typer.Option(help="The chip whose arrays are resized: a name or a path to YAML.")
    ] = "reram-8b-fitted",
    kernels: Annotated[str, typer.Option(help="Kernel sizes, odd.")] = "3,5,7",
    arrays: Annotated[str, typer.Option(help="Array sizes, rows and columns.")] = "32,64,128",
    width: Annotated[int, typer.Option(help="Channels of the first stage.")] = 8,
    blocks: Annotated[int, typer.Option(help="Blocks of a stage: 1 is ResNet-8, 2 ResNet-14, 3 ResNet-20.")] = 1,
    skips: Annotated[bool, typer.Option("--skips", help="Blocks that keep the shape may be left out.")] = False,
    lam: Annotated[float, typer.Option(help="Weight of ln(EDAP) beside the cross-entropy.")] = 0.03,
    epochs: Annotated[int, typer.Option(help="Epochs of the search, the warm-up included.")] = 30,
    warmup: Annotated[int, typer.Option(help="First epochs that learn weights alone.")] = 8,
    sampling: Annotated[str, typer.Option(help="How choices are learnt: score, two_path or gumbel.")] = "score",
    retrain: Annotated[int, typer.Option(help="Epochs of training each network that is measured.")] = 16,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate of weights at the start.")] = 0.05,
    lr_choices: Annotated[float, typer.Option(help="Of choices.")] = 0.05,
    augment: Annotated[bool, typer.Option("--augment", help="Shift and mirror images at random.")] = False,
    baselines: Annotated[
        str, typer.Option(help="Some of homogeneous, 3x3, random; none for no baseline.")
    ] = "homogeneous,3x3,random",
    trials: Annotated[int, typer.Option(help="Chips to programme of each network.")] = 3,
    hold_out: Annotated[
        int | None, typer.Option(help="Data without a training part: the first samples are kept to measure accuracy.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Held-out samples to measure with; default all.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Samples to train on; default all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Where to train: auto (CUDA where there is one), cpu or cuda.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the result, the chip and the network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search kernel sizes and array sizes of a network together, and measure it beside its baselines.

    Writes nax.json, nax.html, and what `crosstile run` takes: chip.yaml, nax_network.py, weights.pt.
    """
    from rich.console import Console

    from crosstile.nax.options import NaxJob, SearchOptions

    options = SearchOptions(
        lam=lam, epochs=epochs, warmup=warmup, sampling=sampling, retrain=retrain, batch=batch, lr=lr,  # type: ignore[arg-type]
        lr_choices=lr_choices, augment=augment, trials=trials, seed=seed, device=device,
    )  # fmt: skip
    job = NaxJob(
        data=data, chip=chip, kernels=numbers("--kernels", kernels), arrays=numbers("--arrays", arrays), width=width,
        blocks=blocks, skips=skips, baselines=() if baselines.strip() == "none" else words(baselines), hold_out=hold_out,
        samples=samples, train_samples=train_samples, data_dir=data_dir, download=not offline, search=options,
    )  # fmt: skip
    study, text = run_to_files(job, out or Path("crosstile-out") / f"nax-{Path(data).stem}")
    if as_json:
        typer.echo(text, nl=False)
        return
    shown = Console(highlight=False)
    for table in tables(study):
        shown.print(table)
    for line in remarks(study):
        shown.print(f"- {line}", markup=False, style="dim")


def run_to_files(job: NaxJob, directory: Path) -> tuple[NaxStudy, str]:
    """Carry a job through with progress, and write its files; returns its outcome and the text of nax.json.

    Raises:
        CrosstileError: anything that the input got wrong; then nothing is written.
    """
    from rich.console import Console

    from crosstile.nax.space import NaxSpace
    from crosstile.specs.load import load_chip
    from crosstile.study.write import output_folder

    job.search.check()
    described = load_chip(job.chip)
    given = {"kernels": job.kernels, "arrays": job.arrays, "width": job.width, "blocks": job.blocks, "skips": job.skips}
    NaxSpace(described, **given).check()  # type: ignore[arg-type]  # what cannot work is told before anything heavy is loaded
    console = Console(stderr=True, highlight=False)
    try:
        with output_folder(directory):
            with console.status("loading torch"):
                from crosstile.nax.study import nax_data, run_nax
                from crosstile.study.progress import bar
            data, image, classes = nax_data(
                job.data, data_dir=job.data_dir, download=job.download, hold_out=job.hold_out, samples=job.samples,
                train_samples=job.train_samples,
            )  # fmt: skip
            space = NaxSpace(described, **given, image=image, classes=classes)  # type: ignore[arg-type]
            with bar(console) as progress:
                study = run_nax(space, data, job.search, baselines=job.baselines, folder=directory, progress=progress)
    except KeyboardInterrupt:
        parts = directory / "parts"
        kept = f"finished epochs and networks are kept in {parts}; run the same command again to go on"
        told = kept if parts.is_dir() else "nothing had been finished yet"
        console.print(f"interrupted; {told}.", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    document = {"format": FORMAT, "command": job.command(), **study.as_dict()}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    _write(study, directory, job, text)
    told = f"wrote nax.json, nax.html, chip.yaml and {MODULE}.py with weights.pt in {directory}"
    console.print(told, soft_wrap=True, markup=False)
    return study, text


def _write(study: NaxStudy, directory: Path, job: NaxJob, text: str) -> None:
    from crosstile.files import write_all
    from crosstile.nax.report import render
    from crosstile.nax.space import save_architecture
    from crosstile.training.checkpoint import saved_bytes

    found = study.found.architecture
    run = f"crosstile run {MODULE}:network --weights weights.pt --chip chip.yaml --data {job.data}"
    write_all({
        directory / "nax.json": text.encode(),
        directory / "nax.html": render(study, job.command()).encode(),
        directory / "chip.yaml": chip_text(study, job.chip, run).encode(),
        directory / "weights.pt": saved_bytes(study.network.state_dict()),
        directory / "architecture.json": save_architecture(study.space, found).encode(),
        directory / f"{MODULE}.py": _module(run).encode(),
    })  # fmt: skip


def _module(run: str) -> str:
    return f'''"""The network that crosstile nax found. In this folder: {run}"""

from pathlib import Path

from crosstile.nax.space import saved_network


def network():
    """Return the network; its weights are in weights.pt."""
    return saved_network(Path(__file__).with_name("architecture.json"))
'''


def chip_text(study: NaxStudy, chip: str, run: str) -> str:
    """Return the chip with each layer on its arrays, as YAML that ``crosstile run`` and ``estimate`` take."""
    import yaml

    from crosstile.search.describe import base_mapping
    from crosstile.specs.load import chip_from_mapping

    space, found = study.space, study.found.architecture
    layers = space.chip_for(found).layers
    data = base_mapping(chip) | {"name": f"{space.chip.name}-nax"[:80], "layers": layers}
    chip_from_mapping(data, "the found chip")
    return f"# {run}\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def tables(study: NaxStudy) -> list[Table]:
    """Return what a user sees; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from crosstile.units import format_quantity

    def table(title: str, *headings: str) -> Table:
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for number, heading in enumerate(headings):
            made.add_column(heading, justify="right" if number else "left", no_wrap=True)
        return made

    chosen = {name: d.architecture for name, d in study.designs.items() if not name.startswith("all ")}
    strip = table("Chosen: kernel @ array", "layer", *chosen)
    for slot in study.space.slots:
        cells = []
        for arch in chosen.values():
            gone = slot.block is not None and slot.block in arch.skipped
            cells.append("skipped" if gone else f"{arch.kernels.get(slot.name, 1)} @ {arch.arrays[slot.name]}")
        strip.add_row(slot.name, *cells)
    own = study.found.cost.edap_jsm2
    measured = table("Measured", "network", "on chip", "energy", "delay", "area", "EDAP\nJ s m2", "found's\nEDAP")
    for name, d in study.designs.items():
        c = d.cost
        measured.add_row(
            name, f"{100 * d.chip:.2f} %", format_quantity(c.energy_j, "J", 3), format_quantity(c.delay_s, "s", 3),
            format_quantity(c.area_m2, "m2", 3), f"{c.edap_jsm2:.2e}",
            "" if name == "found" else f"{100 * (own / c.edap_jsm2 - 1):+.1f} %",
        )  # fmt: skip
    return [strip, measured]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def remarks(study: NaxStudy) -> list[str]:
    """Return what a reader of the tables has to know."""
    import statistics

    misses = study.effects.misses_db
    low, high = (100 * share for share in study.found.ci95)
    said = [
        f"{study.data}; on chip: mean of {_count(len(study.found.per_chip), 'chip')}, that of the found network from "
        f"{low:.2f} % to {high:.2f} % (95 %); without a chip {100 * study.found.digital:.2f} %.",
        f"What arrays do to layers, fitted against found on other weights: median {statistics.median(misses):+.1f} dB, "
        f"{min(misses):+.1f} to {max(misses):+.1f} dB.",
        f"{_count(study.space.size, 'network')}; search {study.search.passes:,} samples in passes"
        + (
            "."
            if study.random is None
            else f", random search {study.random.passes:,} with {len(study.random.candidates)} networks tried."
        ),
        "EDAP in whole tiles, as `crosstile estimate` gives it; the search counts parts of macros and tiles.",
    ]
    if not study.found.architecture.kernels or len(set(study.found.architecture.arrays.values())) == 1:
        said.append("All layers came to arrays of one size.")
    return said
