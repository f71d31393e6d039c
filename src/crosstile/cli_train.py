"""``crosstile train``: fine-tune a network for a chip, with the chip's errors in the forward pass."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crosstile.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from crosstile.training.options import TrainOptions
    from crosstile.training.result import TrainResult

WEIGHTS_NAME: Final = "trained.pt"
JSON_NAME: Final = "training.json"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("train")(train)


def train(
    model: Annotated[str, typer.Argument(help="A built-in, such as resnet20, or package.module:factory.")],
    chip: Annotated[
        str, typer.Option(help="A chip of the library (see `crosstile chips`) or a path to YAML.")
    ] = "reram-8b",
    data: Annotated[
        str | None, typer.Option(help="mnist5k, digits, cifar10, fashion-mnist, or an .npz with x and y.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict to start from.")] = None,
    epochs: Annotated[int, typer.Option(help="Times that each sample is trained on.")] = 4,
    lr: Annotated[float, typer.Option(help="Learning rate at the start.")] = 3e-4,
    optimiser: Annotated[str, typer.Option(help="adam or sgd.")] = "adam",
    momentum: Annotated[float, typer.Option(help="Of sgd.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.0,
    schedule: Annotated[str, typer.Option(help="Learning rate over time: cosine (to 0) or constant.")] = "cosine",
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    chip_every: Annotated[int, typer.Option(help="Steps until the weights are programmed into a new chip.")] = 8,
    one_chip: Annotated[int | None, typer.Option(help="Train for the chip of this number and no other.")] = None,
    forward: Annotated[
        str, typer.Option(help="fast: all errors but those of converters; exact: the simulator itself, slower.")
    ] = "fast",
    noise_scale: Annotated[float, typer.Option(help="Train with errors so many times as large.")] = 1.0,
    temperatures: Annotated[
        str | None, typer.Option(help="Draw each chip's temperature between two, such as 300K,400K.")
    ] = None,
    clip_sigma: Annotated[
        float | None, typer.Option(help="Clip weights to so many standard deviations after each step.")
    ] = None,
    learn_ranges: Annotated[bool, typer.Option("--learn-ranges", help="Train the ranges of inputs, too.")] = False,
    augment: Annotated[bool, typer.Option("--augment", help="Shift and mirror images at random.")] = False,
    hold_out: Annotated[
        int | None,
        typer.Option(help="Data without a training part: the first samples are held out for the accuracy."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Held-out samples to measure with; default all.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Samples to train on; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Chips to programme for the accuracy before and after.")] = 3,
    validation_samples: Annotated[
        int, typer.Option(help="Held-out samples to classify after each epoch, on one chip; 0: none.")
    ] = 500,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[
        str, typer.Option(help="Where to compute: auto (cuda where torch finds a CUDA device, else cpu), cpu or cuda.")
    ] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look for data sets in first.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a data set.")] = False,
    digital: Annotated[
        list[str] | None,
        typer.Option("--digital", help="Keep layers of this name (or pattern) digital; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for trained.pt and training.json.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fine-tune a network with the errors of a chip in its forward pass, and measure accuracy before and after."""
    from crosstile.specs.load import load_chip
    from crosstile.training.options import TrainOptions, check
    from crosstile.zoo.table import model_info

    options = TrainOptions(
        epochs=epochs, lr=lr, optimiser=optimiser, momentum=momentum, weight_decay=weight_decay, schedule=schedule,
        batch=batch, chip_every=chip_every, one_chip=one_chip, forward=forward, noise_scale=noise_scale,
        temperatures_k=_between(temperatures), clip_sigma=clip_sigma, learn_ranges=learn_ranges, augment=augment, trials=trials,
        validation_samples=validation_samples, seed=seed, device=device, digital=tuple(digital or ()),
    )  # fmt: skip
    check(options)  # before anything heavy is loaded
    load_chip(chip)
    info = None if ":" in model else model_info(model)
    name = data or (info.default_dataset if info else None)
    if name is None:
        raise UsageError(f"network {model!r} has no default data set; name one with --data.")
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"train-{model}-{Path(chip).stem}").strip("-.") or "train"
    directory = out or Path("crosstile-out") / label
    words: dict[str, Any] = {
        "--chip": chip, "--data": name, "--weights": weights, "--hold-out": hold_out, "--samples": samples,
        "--train-samples": train_samples, "--data-dir": data_dir, "--offline": offline,
    }  # fmt: skip
    with _Folder(directory):
        document, result = _train(model, options, words, directory, resume=resume)
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))
    else:
        from rich.console import Console

        Console(highlight=False).print(_table(model, result, document["data"]))
    from rich.console import Console

    told = f"wrote {directory / WEIGHTS_NAME} and {directory / JSON_NAME}"
    Console(stderr=True, highlight=False).print(told, soft_wrap=True, markup=False)


class _Folder(contextlib.AbstractContextManager[None]):
    """Make a folder before the work; take it away again when the work fails and left nothing in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._missing = [d for d in (directory, *directory.parents) if not d.exists()]

    def __enter__(self) -> None:
        from crosstile.study.write import check_writable

        check_writable(self._directory)
        for name in (WEIGHTS_NAME, JSON_NAME):
            if (self._directory / name).is_dir():
                raise OutputError(f"{self._directory / name}: is a directory; name another folder with --out.")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for made in self._missing:
                with contextlib.suppress(OSError):  # it holds something
                    made.rmdir()


def _between(text: str | None) -> tuple[float, float] | None:
    from crosstile.units import parse_quantity

    if text is None:
        return None
    try:
        low, high = (parse_quantity(part, "temperature") for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--temperatures: two with a comma between are wanted, such as 300K,400K ({error}).") from None
    return low, high


def _train(
    model: str, options: TrainOptions, words: dict[str, Any], directory: Path, *, resume: bool
) -> tuple[dict[str, Any], TrainResult]:
    """Train, write both files, and return what the JSON file holds."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("loading torch"):
        from crosstile.datasets import load_dataset
        from crosstile.specs.load import load_chip
        from crosstile.study.progress import bar
        from crosstile.training.checkpoint import CHECKPOINT_NAME, saved_bytes, write_file
        from crosstile.training.data import split
        from crosstile.training.loop import train as train_network
        from crosstile.zoo import build_model
    checkpoint = directory / CHECKPOINT_NAME
    if checkpoint.exists() and not resume:
        raise UsageError(
            f"{checkpoint}: an earlier training was interrupted here; add --resume to go on, delete the file to start "
            "anew, or name another folder with --out."
        )
    loaded = build_model(model, weights=words["--weights"])
    data = load_dataset(words["--data"], data_dir=words["--data-dir"], download=not words["--offline"])
    parts = split(
        data, hold_out=words["--hold-out"], samples=words["--samples"], train_samples=words["--train-samples"]
    )
    try:
        with bar(console) as progress:
            result = train_network(
                loaded.model, load_chip(words["--chip"]), parts.x, parts.y, held_out=parts.held_out,
                calibration=parts.calibration, options=options, checkpoint=checkpoint, resume=resume, progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        kept = (
            f"the state after the last whole epoch is kept in {checkpoint}; add --resume to the same command to go on."
        )
        told = kept if checkpoint.exists() else "nothing had been trained yet."
        console.print(f"interrupted; {told}", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    document: dict[str, Any] = {
        "network": model,
        "weights": loaded.weights,
        "data": parts.text,
        "calibration": f"{len(parts.calibration)} of {data.calibration_origin}",
        "command": _command(model, options, words),
        **result.as_dict(),
    }
    write_file(directory / WEIGHTS_NAME, saved_bytes(result.state_dict))
    write_file(directory / JSON_NAME, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    with contextlib.suppress(OSError):
        checkpoint.unlink(missing_ok=True)
    return document, result


def _command(model: str, options: TrainOptions, words: dict[str, Any]) -> str:
    """Return the command line that repeats this training."""
    given = ["crosstile", "train", model]
    default = type(options)()
    named = {f"--{f.name.replace('_', '-')}": f.name for f in dataclasses.fields(options)}
    different = {flag: getattr(options, f) for flag, f in named.items() if getattr(options, f) != getattr(default, f)}
    for flag, value in {**words, **different}.items():
        if value is True:
            given.append(flag)
        elif isinstance(value, tuple):
            given += [word for entry in value for word in (flag, entry)]
        elif value is not None and value is not False:
            given += [flag, str(value)]
    return shlex.join(given)


def _table(model: str, result: TrainResult, data: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{model} trained for {result.chip.name}"), show_header=False)
    table.add_column("figure", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_row(Text("Data"), Text(data))
    for name, found in (("before", result.before), ("after", result.after)):
        if found is not None:
            low, high = found.chip.ci95
            chips = f"{len(found.chip.per_trial)} chip{'s' if len(found.chip.per_trial) != 1 else ''}"
            interval = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %, {chips}"
            table.add_row(Text(f"On chip, {name}"), Text(f"{100 * found.chip.mean:.2f} %   ({interval})"))
            table.add_row(Text(f"Digital, {name}"), Text(f"{100 * found.digital:.2f} %"))
    last = result.history[-1]
    table.add_row(
        Text("Last epoch"), Text(f"loss {last.loss:.4f}, {100 * last.train_accuracy:.2f} % of the trained samples")
    )
    return table
