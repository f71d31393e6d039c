"""All macros predicted and set beside what was published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crosstile.cost.peak import Peak, peak
from crosstile.validation.calibrate import Calibrated, Pair, calibrate, constants, geometric_mean, median
from crosstile.validation.silicon import Silicon, load_silicon, silicon_names


@dataclass(frozen=True)
class Row:
    """One macro: published and predicted, efficiency and density."""

    name: str
    technology_class: str
    kind: str
    node_m: float
    vdd_v: float | None
    tops_per_w_published: float
    tops_per_w: float
    tops_per_w_provenance: str
    error: float
    """Of the efficiency, ours / published - 1."""
    tops_published: float | None
    tops: float
    clock_given: bool
    """The read cycle is part of the description, so that TOPS is no prediction."""
    tops_per_mm2_published: float | None
    tops_per_mm2: float
    tops_per_mm2_provenance: str | None
    density_error: float | None
    energy_share: dict[str, float]
    """Share of each component in the dynamic energy of one vector."""
    conditions: str


@dataclass(frozen=True)
class Validation:
    """Every macro, the constants of the classes, and the medians of the errors."""

    rows: tuple[Row, ...]
    calibrated: tuple[Calibrated, ...]
    """Of the efficiency, in the order of the rows."""
    constants: dict[str, float]
    """By class: what our efficiency is multiplied by."""
    median_error: float
    median_error_calibrated: float
    median_error_left_out: float | None
    median_energy_error: float
    """Of the energy of an operation, the reciprocal of the efficiency."""
    median_energy_error_calibrated: float
    median_energy_error_left_out: float | None
    median_density_error: float | None
    bias: float
    """Geometric mean of ours / published efficiency, uncalibrated."""
    spread: float
    """Geometric standard deviation of ours / published efficiency, uncalibrated."""
    within_twice: int
    """Macros whose efficiency is within a factor of two of the published one, uncalibrated."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        data = asdict(self)
        data["rows"], data["calibrated"] = list(data["rows"]), list(data["calibrated"])
        return data


def predict(macro: Silicon) -> Peak:
    """Return the peak figures of a macro from its description and the library."""
    return peak(macro.chip)


def row_of(macro: Silicon) -> Row:
    """Return a macro beside its prediction."""
    found, published, hardware = predict(macro), macro.published, macro.chip.hardware
    density = published.density(found.tops)
    spent = sum(found.energy_j.values())
    return Row(
        name=macro.name,
        technology_class=macro.technology_class,
        kind=macro.kind,
        node_m=hardware.node_m,
        vdd_v=hardware.vdd_v,
        tops_per_w_published=published.tops_per_w.value,
        tops_per_w=found.tops_per_w,
        tops_per_w_provenance=published.tops_per_w.provenance,
        error=found.tops_per_w / published.tops_per_w.value - 1.0,
        tops_published=None if published.tops is None else published.tops.value,
        tops=found.tops,
        clock_given=hardware.read_cycle_s is not None,
        tops_per_mm2_published=None if density is None else density[0],
        tops_per_mm2=found.tops_per_mm2,
        tops_per_mm2_provenance=None if density is None else density[1].provenance,
        density_error=None if density is None else found.tops_per_mm2 / density[0] - 1.0,
        energy_share={name: energy_j / spent for name, energy_j in found.energy_j.items()},
        conditions=published.tops_per_w.conditions,
    )


def _median_of(errors: Sequence[float | None]) -> float | None:
    known = [abs(error) for error in errors if error is not None]
    return median(known) if known else None


def _energy(error: float | None) -> float | None:
    """Return the error of the energy that belongs to one of the efficiency."""
    return None if error is None else 1.0 / (1.0 + error) - 1.0


def validate_macros(macros: Sequence[Silicon] | None = None) -> Validation:
    """Predict the macros (default: those of the library) and calibrate one constant a class.

    Raises:
        SpecError: a macro's description asks for what its components do not cover.
    """
    macros = [load_silicon(name) for name in silicon_names()] if macros is None else macros
    rows = tuple(row_of(macro) for macro in macros)
    pairs = [Pair(r.name, r.technology_class, r.tops_per_w_published, r.tops_per_w) for r in rows]
    calibrated = calibrate(pairs)
    before = [c.error for c in calibrated]
    after = [c.error_calibrated for c in calibrated]
    left_out = [c.error_left_out for c in calibrated]
    logs = [math.log(pair.ours / pair.published) for pair in pairs]
    bias = geometric_mean(pair.ours / pair.published for pair in pairs)
    return Validation(
        rows=rows,
        calibrated=calibrated,
        constants=constants(pairs),
        median_error=_median_of(before) or 0.0,
        median_error_calibrated=_median_of(after) or 0.0,
        median_error_left_out=_median_of(left_out),
        median_energy_error=_median_of([_energy(e) for e in before]) or 0.0,
        median_energy_error_calibrated=_median_of([_energy(e) for e in after]) or 0.0,
        median_energy_error_left_out=_median_of([_energy(e) for e in left_out]),
        median_density_error=_median_of([r.density_error for r in rows]),
        bias=bias,
        spread=math.exp(math.sqrt(math.fsum((x - math.log(bias)) ** 2 for x in logs) / len(logs))),
        within_twice=sum(abs(x) <= math.log(2.0) for x in logs),
    )
