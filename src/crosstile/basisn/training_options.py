"""What :func:`crosstile.basisn.training.train_basis` can be told, and what of it cannot work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosstile.basisn.dictionary import METHODS, Method
from crosstile.errors import UsageError
from crosstile.study.options import check_device, check_number, check_whole, chosen_device, from_names


@dataclass(frozen=True)
class BasisTrainOptions:
    """How to make a basis and train it."""

    sets: int = 2
    """Arrays that a segment drives side by side."""
    vectors: int | None = None
    """Of an array; None: half of its columns."""
    coefficient_bits: int = 3
    cell_bits: int = 1
    """1: a ternary basis."""
    sparsity: int | None = None
    """Vectors that a segment of a kernel may use; None: all."""
    reselect: bool = True
    """Choose the vectors of each segment anew at the start of an epoch, by their coefficients; else they are kept."""
    method: Method = "pca"
    """Where the basis starts."""
    epochs: int = 4
    lr_codes: float = 1e-2
    """Learning rate of coefficients at the start, in their integer steps; all rates fall to 0 as a cosine. The three were
    chosen on images that were held back from training (docs/basisn.md)."""
    lr_basis: float = 1e-2
    """Of the entries of the basis, in levels."""
    lr_digital: float = 2e-3
    """Of scales (their logarithms) and biases."""
    phase: int = 25
    """Steps in which the coefficients are learnt and the basis stays; then as many the other way round, and so on."""
    final: float = 0.25
    """Share of all steps, the last, in which the basis is frozen and only coefficients, scales and biases are learnt, without the
    regulariser and, where there was one, with the supports as they are."""
    contest: float = 0.0
    """Strength of the regulariser against contests; see :mod:`crosstile.basisn.regularise`."""
    contest_start: float = 0.0
    """Strength against contests while the codes to start from are found; their supports then stay. Needs no ``sparsity``."""
    distil: float = 0.5
    """Share of the loss that compares with the scores of the network that was given, instead of the labels."""
    temperature: float = 2.0
    """Of the compared scores."""
    chip_every: int = 8
    """Steps until the basis is programmed into a new chip, whose deviations all layers then see; 0: never."""
    batch: int = 64
    augment: bool = False
    """Images only: random shifts by up to 4 pixels, and mirrored left to right or not."""
    trials: int = 3
    """Chips to programme for the accuracy before and after."""
    seed: int = 0
    device: str = "cpu"
    """Where to train and to measure: cpu or cuda; ``auto`` becomes cuda where torch finds a CUDA device, else cpu."""
    digital: tuple[str, ...] = ()
    """Patterns of names of layers that stay digital, and as they are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", chosen_device(self.device))

    @classmethod
    def of(cls, given: dict[str, Any]) -> BasisTrainOptions:
        """Return options from names and values.

        Raises:
            UsageError: there is no option of a name.
        """
        return from_names(cls, "train_basis", given)

    def check(self) -> None:
        """Raise :class:`UsageError` for an option that has no meaning."""
        whole = {"sets": 1, "coefficient_bits": 2, "cell_bits": 1, "epochs": 1, "phase": 1, "batch": 1, "trials": 1}
        for name, least in {**whole, "chip_every": 0, "seed": 0}.items():
            check_whole(name, getattr(self, name), least)
        for name in ("vectors", "sparsity"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        for name in ("lr_codes", "lr_basis", "lr_digital", "contest", "contest_start"):
            check_number(name, getattr(self, name))
        for name in ("final", "distil"):
            check_number(name, getattr(self, name), high=1.0, closed=True)
        if self.contest_start > 0 and self.sparsity is not None:
            raise UsageError("contest_start chooses supports by contests, sparsity by their number; give one of them.")
        check_number("temperature", self.temperature, open_below=True)
        if self.method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(METHODS)}, found {self.method!r}.")
        check_device(self.device)
