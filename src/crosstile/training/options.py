"""What ``train`` and ``crosstile train`` can be told, and what of it cannot work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosstile.errors import UsageError
from crosstile.study.options import check_device, check_number, check_whole, chosen_device, flag, from_names

FORWARDS = ("fast", "exact")
OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class TrainOptions:
    """How to train; the fields are the options of ``crosstile train``."""

    epochs: int = 4
    lr: float = 3e-4
    """Learning rate at the start."""
    optimiser: str = "adam"
    momentum: float = 0.9
    """Of ``sgd``; ``adam`` keeps its own averages, 0.9 and 0.999."""
    weight_decay: float = 0.0
    """Decoupled from the gradient with ``adam`` (AdamW), part of it with ``sgd``."""
    schedule: str = "cosine"
    """cosine: from ``lr`` to 0 over all steps; constant."""
    batch: int = 64
    chip_every: int = 8
    """Steps until the weights are programmed into a new chip."""
    one_chip: int | None = None
    """Train for the chip of this number, as it would be programmed now, instead of a new one each time."""
    forward: str = "fast"
    """fast: everything but the converters, in single precision; exact: the simulator itself, converters and all."""
    noise_scale: float = 1.0
    """Factor of what the chip does to a weight and of its read noise; above 1 trains for a worse chip."""
    temperatures_k: tuple[float, float] | None = None
    """Each chip stands at a temperature drawn evenly between these; None: that of the chip's conditions."""
    clip_sigma: float | None = None
    """After each step weights are clipped to so many standard deviations; None leaves them."""
    learn_ranges: bool = False
    """Train the scales of the layers' inputs, too; else they are calibrated anew each epoch, as mapping does."""
    augment: bool = False
    """Images only: random shifts by up to 4 pixels, and mirrored left to right or not."""
    trials: int = 3
    """Chips to programme for the accuracy before and after."""
    validation_samples: int = 500
    """Of the held-out samples, classified on one chip after each epoch; 0: none."""
    seed: int = 0
    device: str = "cpu"
    """cpu or cuda; ``auto`` becomes one of them at once, see :func:`chosen_device`."""
    digital: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", chosen_device(self.device))

    @classmethod
    def of(cls, given: dict[str, Any]) -> TrainOptions:
        """Return options from names and values.

        Raises:
            UsageError: there is no option of a name.
        """
        return from_names(cls, "train", given)


def check(options: TrainOptions) -> None:
    """Raise :class:`UsageError` for an option that has no meaning."""
    whole = {"epochs": 1, "batch": 1, "chip_every": 1, "trials": 1, "validation_samples": 0, "seed": 0}
    for name, least in whole.items():
        check_whole(flag(name), getattr(options, name), least)
    if options.one_chip is not None:
        check_whole("--one-chip", options.one_chip, 0)
    if options.seed >= 2**63:
        raise UsageError(f"--seed must be between 0 and 2^63 - 1, found {options.seed}.")
    check_number("--lr", options.lr, open_below=True)
    check_number("--momentum", options.momentum, high=1.0)
    check_number("--weight-decay", options.weight_decay)
    check_number("--noise-scale", options.noise_scale)
    if options.clip_sigma is not None:
        check_number("--clip-sigma", options.clip_sigma, open_below=True)
    if options.temperatures_k is not None:
        low, high = options.temperatures_k
        if not (100.0 <= low <= high <= 600.0):
            raise UsageError(
                f"--temperatures: two of 100 to 600 K are wanted, the lower first; found {low:g} and {high:g} K."
            )
    for name, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("forward", FORWARDS)):
        if getattr(options, name) not in allowed:
            raise UsageError(f"{flag(name)} must be {' or '.join(allowed)}, found {getattr(options, name)!r}.")
    if options.forward == "exact" and options.noise_scale != 1.0:
        raise UsageError(
            f"--noise-scale {options.noise_scale:g} needs --forward fast: the exact forward pass is the simulated chip as it is."
        )
    check_device(options.device)
