"""The result of a comparison, as it is written to ``compare.json``, and what follows from it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from crosstile.errors import CrosstileError
from crosstile.study.result_parts import Amount, Count, DataInfo, ModelInfo, Section, Share, Versions

FORMAT: Final = "crosstile-compare/1"
_MAX_BYTES: Final = 200_000_000


class DesignResult(Section):
    """One design, evaluated."""

    device: str
    technology: str
    rows: Count
    cell_bits: Count
    active_share: Annotated[float, Field(gt=0, le=1)]
    """Share of an array's rows that one read drives."""
    active_rows: Count
    references: Literal["uniform", "calibrated", "custom"]
    adc_bits: Count
    accuracy: Share
    """Mean over programmed chips."""
    ci95: tuple[float, float]
    per_trial: tuple[float, ...]
    wrong_codes: Share
    """Share of conversions whose code is not that of ideal cells and wires, without read noise."""
    code_error: Amount
    """Mean absolute error of a code."""
    margin_steps: float | None
    """Sense margin: gap between the 1 % tails of the sums of neighbouring codes, in steps; below 0 they overlap."""
    margin_a: float | None
    """The same as a current in ampere."""
    energy_j: Amount
    """Of one sample, with the cell currents of the digital network's activations."""
    latency_s: Amount
    area_m2: Amount
    edp_js: Amount
    arrays: Count
    conversions: Count
    """Of one sample."""
    word_line_ohm: Amount
    bit_line_ohm: Amount
    """One segment, of the length of a cell."""


class Comparison(Section):
    """Memory technologies on one chip, with one network and its data."""

    format: Literal["crosstile-compare/1"] = FORMAT
    created: AwareDatetime
    command: str
    model: ModelInfo
    data: DataInfo
    chip: str
    """Name of the chip that all designs start from."""
    chip_notes: str
    weight_bits: int | None
    input_bits: int
    trials: Count
    seed: int
    digital: Share
    """Accuracy in floating point."""
    quantised: Share
    """Accuracy with quantised weights and inputs on ideal arrays."""
    designs: tuple[DesignResult, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    versions: Versions

    def to_json(self) -> str:
        """Return the text of ``compare.json``."""
        return self.model_dump_json(indent=1) + "\n"

    @staticmethod
    def from_json(path: Path) -> Comparison:
        """Read a ``compare.json``.

        Raises:
            CrosstileError: it cannot be read or is no comparison.
        """
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise CrosstileError(f"{path}: larger than {_MAX_BYTES // 1_000_000} MB; this is no comparison.")
            return Comparison.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise CrosstileError(f"{path}: no result of crosstile compare: {place}: {first['msg']}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise CrosstileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None

    def to_csv(self) -> str:
        """Return one line a design."""
        out = io.StringIO()
        names = [name for name in DesignResult.model_fields if name not in ("per_trial", "ci95")]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*names, "ci95_low", "ci95_high"])
        for one in self.designs:
            writer.writerow([*(getattr(one, name) for name in names), *one.ci95])
        return out.getvalue()


@dataclass(frozen=True)
class Gain:
    """The most that a knob brings to one device, in shares of accuracy."""

    device: str
    knob: str
    """What is compared with what."""
    gain: float
    before: DesignResult
    after: DesignResult


def gains(result: Comparison) -> list[Gain]:
    """Return the largest gain of each knob for each device: between designs that differ in it alone."""
    knobs: dict[str, tuple[Callable[[DesignResult], bool], Callable[[DesignResult], bool], tuple[str, ...]]] = {
        "fewer active rows": (
            lambda d: d.active_share == 1, lambda d: d.active_share < 1, ("rows", "cell_bits", "references"),
        ),
        "custom against uniform": (
            lambda d: d.references == "uniform", lambda d: d.references == "custom", ("rows", "cell_bits", "active_share"),
        ),
        "calibrated against uniform": (
            lambda d: d.references == "uniform", lambda d: d.references == "calibrated", ("rows", "cell_bits", "active_share"),
        ),
        "custom against calibrated": (
            lambda d: d.references == "calibrated", lambda d: d.references == "custom", ("rows", "cell_bits", "active_share"),
        ),
    }  # fmt: skip
    found = []
    for device in dict.fromkeys(one.device for one in result.designs):
        mine = [one for one in result.designs if one.device == device]
        for knob, (before, after, same) in knobs.items():
            pairs = [
                (a.accuracy - b.accuracy, b, a)
                for b in mine if before(b) for a in mine if after(a)
                if all(getattr(a, name) == getattr(b, name) for name in same)
            ]  # fmt: skip
            if pairs:
                best = max(pairs, key=lambda pair: pair[0])
                found.append(Gain(device, knob, *best))
    return found


def finite(value: float) -> float | None:
    """Return the value, or ``None`` for what JSON cannot say."""
    return value if math.isfinite(value) else None
