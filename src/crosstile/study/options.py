"""What ``crosstile run`` can be told, and what of it cannot work."""

from __future__ import annotations

import inspect
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from crosstile.errors import UsageError
from crosstile.specs.base import near_match

Options = TypeVar("Options")

DEVICES: Final = ("auto", "cpu", "cuda")

_SHARED: Final = (
    "model", "chip", "data", "weights", "data_dir", "samples", "trials", "seed", "batch", "download",
)  # fmt: skip


@dataclass(frozen=True)
class RunOptions:
    """What to run; the fields are the options of ``crosstile run``."""

    model: str
    chip: str = "reram-8b"
    data: str | None = None
    weights: Path | None = None
    data_dir: Path | None = None
    samples: int | None = None
    trials: int = 3
    seed: int = 0
    batch: int = 128
    device: str = "cpu"
    digital: tuple[str, ...] = ()
    download: bool = True
    times: tuple[str, ...] = ()
    """Times since programming, with units; with several (or several temperatures), accuracy is found over all pairs."""
    temperatures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", chosen_device(self.device))

    def command(self) -> str:
        """Return the command line that repeats this run."""
        words = ["crosstile", "run", self.model, "--chip", self.chip]
        given = (
            ("--data", self.data),
            ("--data-dir", self.data_dir),
            ("--weights", self.weights),
            ("--samples", self.samples),
        )
        for flag, value in given:
            words += [flag, str(value)] if value is not None else []
        words += ["--trials", str(self.trials), "--seed", str(self.seed), "--batch", str(self.batch)]
        words += ["--device", self.device] if self.device != "cpu" else []
        words += [] if self.download else ["--offline"]
        for flag, texts in (("--time", self.times), ("--temperature", self.temperatures)):
            for text in texts:
                words += [flag, text]
        for name in self.digital:
            words += ["--digital", name]
        return shlex.join(words)


def shared_with_run(options: Any) -> RunOptions:
    """Return what another study's options have in common with a run: network, chip, data, chips to programme."""
    return RunOptions(**{name: getattr(options, name) for name in _SHARED})


def check(options: RunOptions) -> None:
    """Raise :class:`UsageError` for an option that has no meaning."""
    for name in ("trials", "batch"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, found {getattr(options, name)}.")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples must be at least 1, found {options.samples}.")
    if options.seed < 0 or options.seed >= 2**63:
        raise UsageError(f"--seed must be between 0 and 2^63 - 1, found {options.seed}.")
    check_device(options.device)


def check_whole(name: str, value: object, least: int) -> None:
    """Raise :class:`UsageError` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, found {value!r}.")


def check_number(
    name: str,
    value: object,
    low: float = 0.0,
    high: float = math.inf,
    *,
    open_below: bool = False,
    closed: bool = False,
) -> None:
    """Raise :class:`UsageError` unless ``value`` is a number from ``low``, which may not count, to below ``high``, which may."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        above = value > low if open_below else value >= low
        if above and (value <= high if closed else value < high):
            return
    bounds = f"{'above' if open_below else 'at least'} {low:g}" + ("" if math.isinf(high) else f" and below {high:g}")
    if closed:
        bounds = f"from {low:g} to {high:g}"
    raise UsageError(f"{name} must be a number {bounds}, found {value!r}.")


def flag(name: str) -> str:
    """Return the name of a field as the command line has it."""
    return "--" + name.replace("_", "-")


def chosen_device(device: str) -> str:
    """Return ``device``; for ``auto`` cuda where torch finds a CUDA device, else cpu."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Raise :class:`UsageError` unless ``device`` is one of ``DEVICES`` and there is one here."""
    if device not in DEVICES:
        raise UsageError(f"--device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, found {device!r}.")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(
                "--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch."
            )


def from_names(cls: type[Options], function: str, given: dict[str, Any]) -> Options:
    """Return the options (a dataclass) of ``function`` from names and values.

    Raises:
        UsageError: there is no option of a name.
    """
    names = list(inspect.signature(cls).parameters)
    for name in given:
        if name not in names:
            raise UsageError(
                f"{function}() has no option {name!r}{near_match(name, names)}; there are {', '.join(names)}."
            )
    return cls(**given)
