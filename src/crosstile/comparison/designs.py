"""The designs of a comparison: every cell with every array size, bits a cell, share of driven rows and kind of references."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from crosstile.errors import SpecError, UsageError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import library_names, load_cell
from crosstile.study.options import RunOptions, check, shared_with_run

REFERENCES: Final = ("uniform", "calibrated", "custom")
MAX_DESIGNS: Final = 2000
_FEWEST_ADC_BITS: Final = 4  # fewer are not covered by fits to published converters


@dataclass(frozen=True)
class CompareOptions:
    """What to compare; the fields are the options of ``crosstile compare``."""

    model: str
    devices: tuple[str, ...]
    """Cells: names of the library (also without the ending -7nm) or YAML files."""
    rows: tuple[int, ...] = (64,)
    """Rows of an array, which has as many columns."""
    cell_bits: tuple[int, ...] = (1,)
    active_rows: tuple[str, ...] = ("1",)
    """Shares of the rows that one read drives, such as "1/4"; partial sums are added digitally."""
    references: tuple[str, ...] = REFERENCES
    chip: str = "compare-7nm"
    data: str | None = None
    weights: Path | None = None
    data_dir: Path | None = None
    samples: int | None = None
    trials: int = 2
    seed: int = 0
    batch: int = 128
    download: bool = True

    def as_run(self) -> RunOptions:
        """Return what loading network and data needs."""
        return shared_with_run(self)

    def command(self) -> str:
        """Return the command line that repeats the comparison."""
        words = ["crosstile", "compare", self.model, "--devices", ",".join(self.devices)]
        words += ["--rows", ",".join(map(str, self.rows)), "--cell-bits", ",".join(map(str, self.cell_bits))]
        words += ["--active-rows", ",".join(self.active_rows), "--references", ",".join(self.references)]
        for flag, value in (("--chip", self.chip), ("--data", self.data), ("--data-dir", self.data_dir),
                            ("--weights", self.weights), ("--samples", self.samples)):  # fmt: skip
            words += [flag, str(value)] if value is not None else []
        words += ["--trials", str(self.trials), "--seed", str(self.seed), "--batch", str(self.batch)]
        return shlex.join(words if self.download else [*words, "--offline"])


@dataclass(frozen=True)
class Design:
    """One chip of the comparison."""

    device: str
    rows: int
    cell_bits: int
    active: Fraction
    references: str
    chip: ChipSpec

    @property
    def arrays(self) -> tuple[str, int, int, Fraction]:
        """What its arrays have in common with those of other references."""
        return self.device, self.rows, self.cell_bits, self.active

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"{self.device}, {self.rows} rows, {self.cell_bits} b a cell, {self.active} of the rows, {self.references}"
        )


def resolve_device(name: str, node: str = "-7nm") -> str:
    """Return the name in the library, which may be given without the node that it ends in; paths stay as they are."""
    names = library_names("cells")
    return name + node if name not in names and name + node in names else name


def parse_share(text: str) -> Fraction:
    """Return a share of rows.

    Raises:
        UsageError: it is no fraction above 0 and up to 1.
    """
    try:
        share = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise UsageError(f"--active-rows: {text!r}; shares of the rows are wanted, such as 1,1/2,1/4.")
    return share


def make_designs(options: CompareOptions, template: ChipSpec) -> tuple[list[Design], list[str]]:
    """Return all designs, those of the same arrays together, and in words those that cannot be.

    Raises:
        UsageError: an option that has no meaning.
        SpecError: a cell that does not exist, or a chip that cannot work.
    """
    _check(options)
    template.require_uniform("a comparison")
    if template.weights.continuous:
        raise UsageError(
            f"--chip: {template.name} stores continuous weights, but a comparison exchanges the bits of a cell; name a chip "
            "that stores digits, such as compare-7nm."
        )
    shares = [parse_share(text) for text in options.active_rows]
    designs: list[Design] = []
    left_out: list[str] = []
    for name in options.devices:
        device = resolve_device(name)
        cell = load_cell(device)
        for bits in options.cell_bits:
            if bits > cell.max_bits:
                left_out.append(
                    f"{cell.name} with {bits} bits a cell: the cell is described with at most {cell.max_bits}"
                )
                continue
            for rows in options.rows:
                for share in shares:
                    if (rows * share).denominator != 1:
                        raise UsageError(f"--active-rows: {share} of {rows} rows is no whole number of rows.")
                    for references in options.references:
                        chip = _chip(template, cell, rows, bits, int(rows * share), references)
                        designs.append(Design(cell.name, rows, bits, share, references, chip))
    if not designs:
        raise UsageError("nothing is left to compare: " + "; ".join(left_out) + ".")
    return designs, left_out


def _check(options: CompareOptions) -> None:
    check(options.as_run())
    lists: dict[str, Sequence[object]] = {
        "--devices": options.devices, "--rows": options.rows, "--cell-bits": options.cell_bits,
        "--active-rows": options.active_rows, "--references": options.references,
    }  # fmt: skip
    total = 1
    for flag, values in lists.items():
        if not values:
            raise UsageError(f"{flag}: at least one is wanted.")
        if len(set(values)) != len(values):
            raise UsageError(f"{flag}: {', '.join(map(str, values))}; each may be given once.")
        total *= len(values)
    if total > MAX_DESIGNS:
        raise UsageError(f"{total} designs; at most {MAX_DESIGNS} in one comparison.")
    for flag, numbers, low, high in (
        ("--rows", options.rows, 2, 16384),
        ("--cell-bits", options.cell_bits, 1, 5),
    ):
        for number in numbers:
            if not low <= number <= high:
                raise UsageError(f"{flag}: {number}; {low} to {high} are allowed.")
    for kind in options.references:
        if kind not in REFERENCES:
            raise UsageError(f"--references: {kind!r}; known are {', '.join(REFERENCES)}.")


def _chip(template: ChipSpec, cell: object, rows: int, bits: int, active: int, references: str) -> ChipSpec:
    changes = {
        "cell": cell, "weights__cell_bits": bits, "array__rows": rows, "array__columns": rows,
        "array__active_rows": None if active == rows else active, "adc__references": references,
    }  # fmt: skip
    lossless = template.adc.range == "lossless"
    try:
        if not lossless:
            same: ChipSpec = template.replaced(**changes)
            return same
        wide: ChipSpec = template.replaced(**changes | {"adc__bits": 12})
        fitted: ChipSpec = wide.replaced(adc__bits=max(wide.lossless_adc_bits, _FEWEST_ADC_BITS))
        return fitted
    except SpecError as error:
        raise SpecError(f"{rows} rows, {bits} bits a cell, {active} active rows: {error}") from None
