"""What ``crosstile thermal`` can be told, and what of it cannot work."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crosstile.errors import UsageError
from crosstile.specs.base import near_match
from crosstile.study.options import RunOptions, shared_with_run
from crosstile.study.options import check as check_run
from crosstile.units import parse_quantity

REMEDIES: Final = {
    "remap": "arrays of sensitive layers stand on cool tiles",
    "pair": "hot tiles share their work with idle ones in turn",
    "reference": "converters follow reference columns of their own array",
    "bits": "weights of fewer bits",
}
_MAX_POINTS: Final = 256


@dataclass(frozen=True)
class ThermalOptions:
    """What to run; the fields are the options of ``crosstile thermal``."""

    model: str
    chip: str = "reram-8b"
    package: Path | None = None
    """YAML of a :class:`crosstile.specs.thermal.ThermalSpec`; default: its defaults."""
    ambients: tuple[str, ...] = ()
    """Temperatures of the air, with units; default: that of the package."""
    remedies: tuple[str, ...] = ("none",)
    """Each ``none`` or names of :data:`REMEDIES` joined by ``+``."""
    rate_hz: float | None = None
    bits: int = 6
    """Bits of a weight for the remedy ``bits``."""
    time: str | None = None
    """Time since programming; default: that of the chip."""
    data: str | None = None
    """None: temperatures only."""
    weights: Path | None = None
    data_dir: Path | None = None
    input_shape: tuple[int, ...] | None = None
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
        words = ["crosstile", "thermal", self.model, "--chip", self.chip]
        shape = None if self.input_shape is None else ",".join(map(str, self.input_shape))
        given: tuple[tuple[str, object], ...] = (
            ("--package", self.package), ("--ambient", ",".join(self.ambients) or None), ("--remedies", ",".join(self.remedies)),
            ("--rate", None if self.rate_hz is None else f"{self.rate_hz!r} Hz"), ("--time", self.time),
            ("--bits", self.bits if any("bits" in r.split("+") for r in self.remedies) else None), ("--data", self.data),
            ("--weights", self.weights), ("--data-dir", self.data_dir), ("--input-shape", shape), ("--samples", self.samples),
        )  # fmt: skip
        for flag, value in given:
            words += [flag, str(value)] if value is not None else []
        if self.data is not None:
            words += ["--trials", str(self.trials), "--seed", str(self.seed), "--batch", str(self.batch)]
        words += [] if self.download else ["--offline"]
        return shlex.join(words)


def parse_remedies(words: Sequence[str]) -> tuple[str, ...]:
    """Return the remedies, each ``none`` or names joined by ``+`` in the order of :data:`REMEDIES`; none comes first.

    Raises:
        UsageError: a name that is not known.
    """
    found = ["none"]
    for word in words:
        parts = [part.strip() for part in word.split("+")]
        for part in parts:
            if part not in REMEDIES and parts != ["none"]:
                raise UsageError(
                    f"--remedies: no remedy is called {part!r}{near_match(part, REMEDIES)}; there are none, "
                    f"{', '.join(REMEDIES)}, and several at once as remap+reference."
                )
        found.append("none" if parts == ["none"] else "+".join(name for name in REMEDIES if name in parts))
    return tuple(dict.fromkeys(found))


def parse_ambients(texts: Sequence[str], default_k: float) -> tuple[float, ...]:
    """Return temperatures of the air in kelvin.

    Raises:
        UsageError: no temperature, or outside 200 to 550 K.
    """
    found = []
    for text in texts:
        try:
            value = parse_quantity(text, "temperature")
        except ValueError as error:
            raise UsageError(f"--ambient: {error}.") from None
        if not 200 <= value <= 550:
            raise UsageError(f"--ambient: {text!r} lies outside 200 to 550 K.")
        found.append(value)
    return tuple(dict.fromkeys(found)) or (default_k,)


def check(options: ThermalOptions) -> None:
    """Raise :class:`UsageError` for an option that has no meaning."""
    check_run(options.as_run())
    if len(options.remedies) * max(1, len(options.ambients)) > _MAX_POINTS:
        raise UsageError(f"--remedies and --ambient make more than {_MAX_POINTS} points; ask for fewer.")
    if not 1 <= options.bits <= 16:
        raise UsageError(f"--bits must be from 1 to 16, found {options.bits}.")
    if options.data is None and (options.weights is not None or options.samples is not None):
        raise UsageError(
            "--weights and --samples ask for an accuracy, which takes data: name a data set with --data, such as cifar10."
        )
