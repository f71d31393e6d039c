"""What ``crosstile lifetime`` can be told, and what of it cannot work."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crosstile.errors import UsageError
from crosstile.specs.base import near_match
from crosstile.specs.conditions import HIGHEST_K, LOWEST_K
from crosstile.study.options import RunOptions, shared_with_run
from crosstile.study.options import check as check_run
from crosstile.system.lifetime import LEAST_WINDOW
from crosstile.units import parse_quantity

REMAPS: Final = ("none", "columns", "rows", "both")
MOST_YEARS: Final = 3000.0
_MOST_TEMPERATURES: Final = 32


@dataclass(frozen=True)
class LifetimeOptions:
    """What to study; the fields are the options of ``crosstile lifetime``."""

    model: str
    chip: str = "reram-8b"
    years: float = 10.0
    temperatures_k: tuple[float, ...] = ()
    """Default: that of the chip's conditions."""
    rate_hz: float | None = None
    """Samples in a second; default: continuous."""
    batch_size: int | None = None
    """Samples between two rewrites; default: the chip's ``schedule.batch``."""
    arrays: int | None = None
    cycles: float | None = None
    """That a cell stands, where it has no endurance law."""
    least_window: float = LEAST_WINDOW
    loss: float | None = None
    """Share of the window after which weights are refreshed; default: half a level."""
    levelling: str = "none"
    updates_per_step: float = 0.0
    steps_hz: float = 0.0
    faults: tuple[float, float] | None = None
    """Rates of cells stuck on and off; default: those of the cell."""
    spares: int = 0
    """Spare rows, and as many spare columns."""
    remap: str = "none"
    data: str | None = None
    """None: budget and refreshing only."""
    weights: Path | None = None
    data_dir: Path | None = None
    samples: int | None = None
    trials: int = 2
    seed: int = 0
    batch: int = 128
    download: bool = True

    def as_run(self) -> RunOptions:
        """Return the options that it shares with a run."""
        return shared_with_run(self)

    def command(self) -> str:
        """Return the command line that repeats this study."""
        words = ["crosstile", "lifetime", self.model, "--chip", self.chip, "--years", f"{self.years:g}"]
        faults = None if self.faults is None else "/".join(f"{100 * rate:.6g}%" for rate in self.faults)
        given: tuple[tuple[str, object], ...] = (
            ("--temperature", ",".join(f"{k!r} K" for k in self.temperatures_k) or None),
            ("--rate", None if self.rate_hz is None else f"{self.rate_hz!r} Hz"), ("--batch-size", self.batch_size),
            ("--arrays", self.arrays), ("--cycles", self.cycles), ("--loss", self.loss),
            ("--least-window", None if self.least_window == LEAST_WINDOW else self.least_window),
            ("--levelling", None if self.levelling == "none" else self.levelling),
            ("--updates", self.updates_per_step or None), ("--steps", f"{self.steps_hz!r} Hz" if self.steps_hz else None),
            ("--faults", faults), ("--spares", self.spares or None),
            ("--remap", None if self.remap == "none" else self.remap), ("--data", self.data), ("--weights", self.weights),
            ("--data-dir", self.data_dir), ("--samples", self.samples),
        )  # fmt: skip
        for flag, value in given:
            words += [flag, str(value)] if value is not None else []
        if self.data is not None:
            words += ["--trials", str(self.trials), "--seed", str(self.seed), "--batch", str(self.batch)]
        words += [] if self.download else ["--offline"]
        return shlex.join(words)


def parse_temperatures(texts: tuple[str, ...]) -> tuple[float, ...]:
    """Return temperatures in kelvin.

    Raises:
        UsageError: no temperature, or outside what conditions allow.
    """
    found = []
    for text in texts:
        try:
            value = parse_quantity(text, "temperature")
        except ValueError as error:
            raise UsageError(f"--temperature: {error}.") from None
        if not LOWEST_K <= value <= HIGHEST_K:
            raise UsageError(f"--temperature: {text!r} lies outside {LOWEST_K:g} to {HIGHEST_K:g} K.")
        found.append(value)
    return tuple(dict.fromkeys(found))


def parse_faults(text: str) -> tuple[float, float]:
    """Return the rates of cells stuck on and stuck off of a text such as ``1.75%/9.04%``.

    Raises:
        UsageError: not two rates with a slash between, or more than all cells.
    """
    parts = text.split("/")
    try:
        rates = [parse_quantity(part.strip(), "ratio") for part in parts]
    except ValueError as error:
        raise UsageError(f"--faults: {error}.") from None
    if len(rates) != 2 or min(rates) < 0 or sum(rates) > 1:
        raise UsageError(
            f"--faults: the shares of cells stuck on and stuck off are wanted, together at most 1, such as 1%/9%; found {text!r}."
        )
    return rates[0], rates[1]


def check(options: LifetimeOptions) -> None:
    """Raise :class:`UsageError` for an option that has no meaning."""
    check_run(options.as_run())
    if not 0 < options.years <= MOST_YEARS:
        raise UsageError(f"--years must be above 0 and at most {MOST_YEARS:g}, found {options.years:g}.")
    if len(options.temperatures_k) > _MOST_TEMPERATURES:
        raise UsageError(
            f"--temperature: at most {_MOST_TEMPERATURES} temperatures, found {len(options.temperatures_k)}."
        )
    for flag, value, allowed in (
        ("--remap", options.remap, REMAPS),
        ("--levelling", options.levelling, ("none", "ideal")),
    ):
        if value not in allowed:
            raise UsageError(f"{flag}: {', '.join(allowed)} are possible; found {value!r}{near_match(value, allowed)}.")
    if not 0 <= options.spares <= 1024:
        raise UsageError(f"--spares must be from 0 to 1024, found {options.spares}.")
    if (options.updates_per_step > 0) != (options.steps_hz > 0):
        raise UsageError("--updates and --steps belong together: writes of a cell in a step, and steps in a second.")
    if options.data is None and (options.weights is not None or options.samples is not None):
        raise UsageError(
            "--weights and --samples ask for an accuracy, which takes data: name a data set with --data, such as cifar10."
        )
    if options.data is None and (options.faults is not None or options.spares or options.remap != "none"):
        raise UsageError(
            "--faults, --spares and --remap change accuracy, which takes data: name a data set with --data, such as cifar10."
        )
