"""The main job of ``crosstile lifetime``: endurance budget, refreshing over temperatures, and accuracy over the years."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime

from crosstile.crossbar.program import Window
from crosstile.errors import SpecError, UsageError
from crosstile.nonidealities.stuck import StuckAt
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.study.result_parts import DataInfo, Versions
from crosstile.study.stages import Progress
from crosstile.system.lifetime import YEAR_S, CycleLimit, Wear, cycle_limit, inference_rate, wear
from crosstile.system.lifetime_options import LifetimeOptions, check
from crosstile.system.lifetime_refresh import Refresh, half_a_level, refresh_table
from crosstile.system.lifetime_result import CycleFigure, LifetimeAccuracy, LifetimeResult, RefreshPoint, WearFigure
from crosstile.system.reload import WriteModel, write_model
from crosstile.system.schedule import schedule
from crosstile.system.schedule_result import Schedule
from crosstile.workloads.table import network

NOTES = (
    "All cells stand the same number of cycles; single cells that fail earlier are stuck cells. A write is one pulse: each "
    "write-verify cycle counts.",
    "Keeping times are those of the typical cell, all deviates at zero: half of the cells of a spread are worse. Reversible "
    "temperature dependence is no loss.",
    "A refresh restores weights as well as the first programming did; nothing is computed meanwhile. Wear does not change the "
    "cells' behaviour in the accuracies.",
)
STUCK_NOTE = (
    "Which cells are stuck is taken to be known without error (a march test). Lines that are not used are switched off; what "
    "routing to other lines takes is not counted. Spares are as many rows and as many columns, with faults of their own."
)


@dataclass(frozen=True)
class Budget:
    """What is known without data."""

    chip: ChipSpec
    plan: Schedule
    model: WriteModel
    limit: CycleLimit
    rate_hz: float
    loss: float
    refresh: tuple[Refresh, ...]

    def wear_with(self, row: Refresh, options: LifetimeOptions) -> Wear | None:
        """Return all writes of a cell together; None where refreshing cannot keep up."""
        if not row.possible:
            return None
        interval_s = math.inf if row.interval.bound == "longer" else row.interval.time_s
        return wear(
            self.plan,
            self.model,
            rate_hz=self.rate_hz,
            refresh_interval_s=interval_s,
            updates_per_step=options.updates_per_step,
            steps_hz=options.steps_hz,
            levelling="ideal" if options.levelling == "ideal" else "none",
        )


def budget(options: LifetimeOptions, chip: ChipSpec | None = None) -> Budget:
    """Return the schedule, the cycles, and refreshing at each temperature; nothing heavy is loaded.

    Raises:
        CrosstileError: anything that the options got wrong.
    """
    check(options)
    chip = chip or load_chip(options.chip)
    plan = schedule(network(options.model), chip, batch=options.batch_size, arrays=options.arrays)
    model = write_model(chip)
    limit = cycle_limit(chip.cell, stated=options.cycles, least_window=options.least_window)
    temperatures = options.temperatures_k or (chip.conditions.temperature_k,)
    loss = half_a_level(chip) if options.loss is None else options.loss
    distinct = sum(run.arrays // run.copies for run in plan.stages) if plan.fits else None
    rows = refresh_table(chip, model, plan.arrays_used, limit, temperatures, loss, distinct)
    return Budget(chip, plan, model, limit, inference_rate(plan, options.rate_hz), loss, rows)


def run(
    options: LifetimeOptions, *, chip: ChipSpec | None = None, progress: Progress | None = None
) -> LifetimeResult:  # fmt: skip
    """Study a network on a chip; the result is written by the caller.

    Args:
        options: what to study. chip: instead of the one that the options name. progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    found = budget(options, chip)
    data: DataInfo | None = None
    digital: float | None = None
    aged: tuple[LifetimeAccuracy, ...] = ()
    stuck: tuple[LifetimeAccuracy, ...] = ()
    faults: tuple[float, float] | None = None
    if options.data is not None:
        data, digital, aged, stuck, faults = _accuracies(options, found, progress or Progress())
    return LifetimeResult(
        created=datetime.now(UTC).replace(microsecond=0),
        command=options.command(),
        model=options.model,
        chip=found.chip.name,
        chip_notes=found.chip.notes,
        cell=found.chip.cell.name,
        technology=found.chip.cell.technology,
        years=options.years,
        rate_hz=found.rate_hz,
        continuous=options.rate_hz is None,
        batch_size=found.plan.batch,
        arrays=found.plan.arrays,
        arrays_used=found.plan.arrays_used,
        fits=found.plan.fits,
        cycles=CycleFigure(
            cycles=_finite(found.limit.cycles), used=found.limit.used, source=found.limit.source, tag=found.limit.tag
        ),
        loss=found.loss,
        refresh=tuple(_point(found, row, options) for row in found.refresh),
        data=data,
        trials=options.trials if data else 0,
        seed=options.seed,
        digital=digital,
        ageing=aged,
        faults=faults,
        stuck=stuck,
        notes=_notes(found, stuck),
        versions=_versions(),
    )


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


def _versions() -> Versions:
    """Return the software that computes here; without data nothing imports torch."""
    found = {name: importlib.metadata.version(name) for name in ("crosstile", "torch", "numpy", "numba")}
    machine = f"{platform.system()} {platform.machine()}"
    return Versions.model_validate({**found, "python": platform.python_version(), "platform": machine})


def _point(found: Budget, row: Refresh, options: LifetimeOptions) -> RefreshPoint:
    worn = found.wear_with(row, options)
    figure = None
    if worn is not None:
        lifetime = _finite(worn.lifetime_s(found.limit))
        figure = WearFigure(
            reload_hz=worn.reload_hz, refresh_hz=worn.refresh_hz, training_hz=worn.training_hz, levelling=worn.levelling,
            writes=worn.total_hz * options.years * YEAR_S, lifetime_years=None if lifetime is None else lifetime / YEAR_S,
        )  # fmt: skip
    return RefreshPoint(
        temperature_k=row.temperature_k, interval_s=row.interval.time_s, bound=row.interval.bound, energy_j=row.energy_j,
        duration_s=row.duration_s, power_w=row.power_w, time_share=row.time_share, writes_hz=row.writes_hz, wear=figure,
    )  # fmt: skip


def _notes(found: Budget, stuck: tuple[LifetimeAccuracy, ...]) -> tuple[str, ...]:
    plan, chip = found.plan, found.chip
    notes = [*NOTES, *found.model.notes, *([STUCK_NOTE] if stuck else [])]
    if not plan.fits:
        notes.append(
            f"The network does not fit and is written anew with every batch, which takes {plan.batch_latency_s:.4g} s: the "
            "weights are never older, and refreshing adds no wear."
        )
        if any(row.interval.time_s < plan.batch_latency_s and row.interval.bound != "longer" for row in found.refresh):
            notes.append("At some temperature weights are lost within a batch; a smaller batch is needed.")
    if chip.weights.cell_bits is None:
        notes.append(
            f"Cells are continuous: half a level is that of the {chip.cell.max_bits} bits that the cell is said to hold."
        )
    if chip.weights.cell_bits is not None and Window.of(chip).levels.g_off_s == 0:
        notes.append("g_off is 0: states near it lose nothing by drift.")
    return tuple(dict.fromkeys(notes))


def _accuracies(
    options: LifetimeOptions, found: Budget, progress: Progress
) -> tuple[
    DataInfo, float, tuple[LifetimeAccuracy, ...], tuple[LifetimeAccuracy, ...], tuple[float, float] | None
]:  # fmt: skip
    from crosstile.mapping.replace import map_network
    from crosstile.study.assemble import data_info
    from crosstile.study.montecarlo import count_correct
    from crosstile.study.samples import check_outputs, load_samples
    from crosstile.system import lifetime_accuracy as accuracy
    from crosstile.zoo import build_model

    chip = found.chip
    broken = accuracy.with_faults(chip, options.faults)
    chips = accuracy.remedies(broken, options.spares, options.remap) if accuracy.has_faults(broken) else {}
    if not chips and (options.spares or options.remap != "none"):
        raise UsageError(
            "--spares and --remap make up for stuck cells; say how many there are, such as --faults 1%/9%."
        )
    loaded = build_model(options.model, weights=options.weights)
    samples, x, y, calibration = load_samples(options.as_run(), loaded, progress)
    check_outputs(loaded, x, samples)
    progress.stage("digital network", len(x))
    digital = count_correct(loaded.model, x, y, options.batch, progress.advance) / len(x)
    # The first row's temperature; refreshing counts where it can be done and comes before the years are over.
    row, time_s = found.refresh[0], options.years * YEAR_S
    refresh_s = (
        row.interval.time_s if row.interval.bound == "found" and row.possible and row.interval.time_s < time_s else None
    )
    progress.stage("map to arrays")
    mapped = map_network(loaded.model, chip, calibration, seed=options.seed)
    progress.stage("chips over the years", options.trials * len(x) * (4 if refresh_s is not None else 3))
    try:
        aged = accuracy.ageing(
            mapped, x, y, temperature_k=row.temperature_k, time_s=time_s, refresh_s=refresh_s, trials=options.trials,
            batch=options.batch, advance=progress.advance,
        )  # fmt: skip
    except SpecError as error:
        raise SpecError(f"lifetime after {options.years:g} years at {row.temperature_k:g} K: {error}") from None
    progress.stage("chips with stuck cells", options.trials * len(x) * len(chips))
    stuck = accuracy.stuck_cells(
        loaded, chips, x, y, calibration, seed=options.seed, trials=options.trials, batch=options.batch,
        advance=progress.advance,
    )  # fmt: skip
    rates = None
    if stuck:
        law = next(effect for effect in broken.cell.effects if isinstance(effect, StuckAt))
        rates = (law.on_rate, law.off_rate) if law.map is None else None
    return data_info(samples, len(x), len(calibration)), digital, aged, stuck, rates
