"""What a NAX job can be told, and what of it cannot work."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from crosstile.errors import UsageError
from crosstile.study.options import check_device, check_number, check_whole, chosen_device, flag, from_names

SAMPLINGS = ("gumbel", "two_path", "score")


@dataclass(frozen=True)
class SearchOptions:
    """How to search, and how to train what was found."""

    lam: float = 0.03
    """Weight of ln(EDAP) beside the cross-entropy."""
    epochs: int = 30
    """Of the search, the warm-up included."""
    warmup: int = 8
    """First epochs, in which weights alone are learnt, with choices drawn evenly."""
    sampling: Literal["gumbel", "two_path", "score"] = "score"
    temperature: float = 5.0
    """Of ``gumbel`` at the start of the search; falls by a constant factor an epoch."""
    final_temperature: float = 0.1
    entropy: float = 0.01
    """Weight of the choices' entropy at the start of the search; falls to 0 evenly. Keeps choices open."""
    share: float = 0.2
    """Of the training samples, on which choices are learnt; weights are learnt on the others."""
    every: int = 1
    """Steps of weights for one of choices."""
    batch: int = 64
    lr: float = 0.05
    """Of weights (SGD with momentum 0.9); falls to 0 as a cosine."""
    lr_choices: float = 0.05
    """Of the choices' logits (Adam)."""
    weight_decay: float = 1e-4
    retrain: int = 16
    """Epochs of training what was found, from its first weights."""
    augment: bool = False
    trials: int = 3
    """Chips to programme for the accuracy."""
    seed: int = 0
    device: str = "cpu"
    """Where to train: cpu or cuda; ``auto`` becomes cuda where torch finds a CUDA device, else cpu."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", chosen_device(self.device))

    @classmethod
    def of(cls, given: dict[str, Any]) -> SearchOptions:
        """Return options from names and values; :class:`UsageError` for a name that there is not."""
        return from_names(cls, "nax", given)

    def check(self) -> None:
        """Raise :class:`UsageError` for an option that has no meaning."""
        whole = {"epochs": 1, "warmup": 0, "every": 1, "batch": 2, "retrain": 1, "trials": 1, "seed": 0}
        for name, least in whole.items():
            check_whole(flag(name), getattr(self, name), least)
        for name in ("lam", "lr", "lr_choices", "weight_decay", "temperature", "final_temperature", "entropy"):
            check_number(flag(name), getattr(self, name))
        check_number("--share", self.share, high=1.0, open_below=True)
        check_device(self.device)
        if self.warmup >= self.epochs:
            raise UsageError(f"--warmup {self.warmup} leaves none of {self.epochs} epochs to search in; lower it.")
        if not 0 < self.final_temperature <= self.temperature:
            raise UsageError(
                f"--temperature must fall to a number above 0, found {self.temperature:g} to {self.final_temperature:g}."
            )
        if self.sampling not in SAMPLINGS:
            raise UsageError(f"--sampling must be one of {', '.join(SAMPLINGS)}, found {self.sampling!r}.")


@dataclass(frozen=True)
class NaxJob:
    """A whole job, as ``crosstile nax`` is told."""

    data: str = "digits"
    chip: str = "reram-8b-fitted"
    kernels: tuple[int, ...] = (3, 5, 7)
    arrays: tuple[int, ...] = (32, 64, 128)
    width: int = 8
    blocks: int = 1
    skips: bool = False
    baselines: tuple[str, ...] = ("homogeneous", "3x3", "random")
    hold_out: int | None = None
    samples: int | None = None
    train_samples: int | None = None
    data_dir: Path | None = None
    download: bool = True
    search: SearchOptions = field(default_factory=SearchOptions)

    def command(self) -> str:
        """Return the command line that repeats this job."""
        given: list[Any] = ["crosstile", "nax", "--data", self.data, "--chip", self.chip]
        given += ["--kernels", ",".join(map(str, self.kernels)), "--arrays", ",".join(map(str, self.arrays))]
        given += ["--width", self.width, "--blocks", self.blocks, *(["--skips"] if self.skips else [])]
        names = (
            "lam",
            "epochs",
            "warmup",
            "sampling",
            "retrain",
            "batch",
            "lr",
            "lr_choices",
            "trials",
            "seed",
            "device",
        )
        for name in names:
            given += [flag(name), getattr(self.search, name)]
        given += ["--baselines", ",".join(self.baselines) or "none", *(["--augment"] if self.search.augment else [])]
        for name in ("hold_out", "samples", "train_samples", "data_dir"):
            value = getattr(self, name)
            given += [] if value is None else [flag(name), value]
        given += [] if self.download else ["--offline"]
        return shlex.join(str(word) for word in given)
