"""Accuracy over a chip's life: aged, refreshed, calibrated again; and with stuck cells, with and without remedies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.nonidealities.stuck import StuckAt
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.study.montecarlo import count_correct, interval
from crosstile.system.lifetime_result import LifetimeAccuracy
from crosstile.zoo import LoadedModel

Advance = Callable[[int], None]


def with_faults(chip: ChipSpec, faults: tuple[float, float] | None) -> ChipSpec:
    """Return the chip with cells stuck on and off at these rates, instead of those of its cell; None: as it is."""
    if faults is None:
        return chip
    others = tuple(effect for effect in chip.cell.effects if not isinstance(effect, StuckAt))
    made: ChipSpec = chip.replaced(cell__effects=(*others, StuckAt(on_rate=faults[0], off_rate=faults[1])))
    return made


def has_faults(chip: ChipSpec) -> bool:
    """Return whether cells are stuck."""
    return any(isinstance(effect, StuckAt) and not effect.is_identity for effect in chip.cell.effects)


def remedies(chip: ChipSpec, spares: int, remap: str) -> dict[str, ChipSpec]:
    """Return the chip without remedies against stuck cells, with spares, with remapping, and with both, as far as asked for."""

    def made(count: int, how: str) -> ChipSpec:
        found: ChipSpec = chip.replaced(array__spare_rows=count, array__spare_columns=count, array__remap=how)
        return found

    found = {"no remedy": made(0, "none")}
    if spares:
        found[f"{spares} spares"] = made(spares, "none")
    if remap != "none":
        found[f"remap {remap}"] = made(0, remap)
    if spares and remap != "none":
        found[f"{spares} spares, remap {remap}"] = made(spares, remap)
    return found


def ageing(
    mapped: MappedNetwork,
    x: Tensor,
    y: Tensor,
    *,
    temperature_k: float,
    time_s: float,
    refresh_s: float | None,
    trials: int,
    batch: int,
    advance: Advance,
) -> tuple[LifetimeAccuracy, ...]:
    """Return accuracies now and after ``time_s``: left alone, calibrated again, and just before a refresh.

    Args:
        refresh_s: age of the oldest weights where they are refreshed; None: refreshing does not come into it.
    """
    now = Conditions(time=mapped.chip.conditions.time_s, temperature=temperature_k)
    old = Conditions(time=time_s, temperature=temperature_k)
    cases: dict[str, tuple[Conditions, bool]] = {"now": (now, False), "not refreshed": (old, False)}
    if refresh_s is not None:
        cases["refreshed"] = (Conditions(time=refresh_s, temperature=temperature_k), False)
    cases["calibrated again"] = (old, True)
    found: dict[str, list[float]] = {case: [] for case in cases}
    for trial in range(trials):
        mapped.program(trial, conditions=now)
        for case, (conditions, again) in cases.items():
            mapped.age(conditions, recalibrate=again)
            found[case].append(count_correct(mapped, x, y, batch, advance) / len(x))
    return tuple(_over_chips(case, values, len(x)) for case, values in found.items())


def stuck_cells(
    loaded: LoadedModel,
    chips: dict[str, ChipSpec],
    x: Tensor,
    y: Tensor,
    calibration: Tensor,
    *,
    seed: int,
    trials: int,
    batch: int,
    advance: Advance,
) -> tuple[LifetimeAccuracy, ...]:
    """Return the accuracy on each of the chips; without spares they have the same stuck cells in a trial."""
    result = []
    for case, chip in chips.items():
        mapped = map_network(loaded.model, chip, calibration, seed=seed)
        values = []
        for trial in range(trials):
            mapped.program(trial)
            values.append(count_correct(mapped, x, y, batch, advance) / len(x))
        result.append(_over_chips(case, values, len(x)))
    return tuple(result)


def _over_chips(case: str, values: Sequence[float], samples: int) -> LifetimeAccuracy:
    ci95, _ = interval(values, samples)
    return LifetimeAccuracy(
        case=case, mean=round(sum(values) / len(values), 12), ci95=ci95, per_trial=tuple(values)
    )  # fmt: skip
