"""The schedule of a network on one chip: who runs when, on how many arrays, and what rewriting and spilling add.

A network that fits stays on its arrays and is never written:

    latency  = first input to last result of one sample, alone on the chip
    interval = max(slowest stage, chip I/O, spilled bits / bandwidth)             pipelined
             = latency                                                            layer-serial
    batch    = (B - 1) interval + latency of the last sample.

Otherwise the batch passes rounds of layers (:mod:`crosstile.system.reload`), and

    batch    = sum over rounds (reload + batch time of the round) + B spill time,   interval = batch / B;

latency is then that of a batch of one. Each piece of a layer that is cut takes as long as the layer; pieces are cut in the order
of its row blocks, and each further piece adds one partial sum an output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crosstile.cost.installed import accumulator_bits
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.system.buffers import Spill, plan_buffers
from crosstile.system.duplication import Duplication, choose_copies
from crosstile.system.recurrence import BatchTimes, run_batch, run_serially
from crosstile.system.reload import Piece, WriteModel, best_rounds, cut, fill, write_model
from crosstile.system.schedule_result import RoundRun, Schedule, StageRun
from crosstile.system.stages import StageTable, stage_table
from crosstile.units import format_quantity
from crosstile.workloads.graph import Network

__all__ = [
    "RoundRun", "Schedule", "StageRun", "StageTable", "array_budget", "interval_of", "schedule", "schedule_from", "stage_table",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Round:
    pieces: list[Piece]
    copies: list[int]
    times: BatchTimes
    arrays: int
    reload_s: float

    @property
    def total_s(self) -> float:
        return self.reload_s + self.times.duration_s


def schedule(
    network: Network,
    chip: ChipSpec,
    *,
    batch: int | None = None,
    arrays: int | None = None,
    duplication: Duplication | None = None,
) -> Schedule:
    """Return the schedule of a network on a chip.

    Args:
        network: from :mod:`crosstile.workloads`.
        chip: its ``hardware.pipeline``, ``write`` and ``schedule`` sections say how.
        batch: samples; default ``schedule.batch``.
        arrays: that may be used; default all of ``hardware.tiles``, or as many as one copy takes where that is null.
        duplication: default ``schedule.duplication``.

    Raises:
        SpecError: numbers out of range, more arrays than the chip has, or a component that does not cover what is asked.
    """
    return schedule_from(stage_table(network, chip), arrays=arrays, batch=batch, duplication=duplication)


def array_budget(table: StageTable, arrays: int | None) -> int:
    """Return the arrays that may be used."""
    hardware = table.chip.hardware
    built = None if hardware.tiles is None else hardware.tiles * hardware.arrays_per_tile
    if arrays is None:
        return table.arrays if built is None else built
    if arrays < 1 or (built is not None and arrays > built):
        allowed = "1 or more" if built is None else f"1 to {built}, which is what hardware.tiles makes"
        raise SpecError(
            f"schedule of {table.network.name} on {table.chip.name!r}: arrays is {arrays}; allowed is {allowed}."
        )
    return arrays


def interval_of(table: StageTable, arrays: int, duplication: Duplication = "optimal") -> float:
    """Return the interval of a pipelined network that fits, spilling left out; microseconds once the table is used.

    Raises:
        SpecError: the network does not fit, or the chip is layer-serial; then :func:`schedule_from` tells.
    """
    if table.serial or arrays < table.arrays:
        raise SpecError(
            f"{table.network.name} on {table.chip.name!r}: the interval alone is known for pipelined chips that hold the "
            f"network ({table.arrays} arrays, found {arrays}); use schedule_from."
        )
    slowest = table.best_interval_s(table.arrays if duplication == "none" else arrays)
    return max(slowest, table.link_s)


def schedule_from(
    table: StageTable, *, arrays: int | None = None, batch: int | None = None, duplication: Duplication | None = None
) -> Schedule:
    """Return the schedule for a stage table; arguments and errors as :func:`schedule`."""
    chip = table.chip
    budget = array_budget(table, arrays)
    samples = chip.schedule.batch if batch is None else batch
    if not 1 <= samples <= 1_000_000:
        raise SpecError(f"schedule of {table.network.name}: batch is {samples}; allowed is 1 to 1,000,000.")
    how = duplication or chip.schedule.duplication
    if how not in ("none", "greedy", "optimal"):
        raise SpecError(f"schedule of {table.network.name}: duplication is {how!r}; allowed are none, greedy, optimal.")
    model = write_model(chip)
    pieces = cut(table, budget)
    if table.arrays <= budget:
        rounds = _run(table, [pieces], budget, samples, how, None)
    else:
        filled, chosen = fill(pieces, budget), best_rounds(table, pieces, budget, samples, model)
        rounds = _run(table, filled, budget, samples, how, model)
        if chosen != filled:
            other = _run(table, chosen, budget, samples, how, model)
            rounds = min(rounds, other, key=lambda found: sum(one.total_s for one in found))
    return _assemble(table, rounds, budget, samples, how, model)


def _run(
    table: StageTable,
    rounds: Sequence[list[Piece]],
    budget: int,
    batch: int,
    how: Duplication,
    model: WriteModel | None,
) -> list[_Round]:
    """Return the rounds in time; ``model`` is none where nothing is written."""
    done: frozenset[int] = frozenset()
    found = []
    for pieces in rounds:
        one = _run_round(table, pieces, [1] * len(pieces), done, batch, model)
        stages, arrays = [table.stages[p.stage] for p in pieces], [p.arrays for p in pieces]
        copies = choose_copies(stages, arrays, budget, how, serial=table.serial)
        if any(c > 1 for c in copies):
            more = _run_round(table, pieces, copies, done, batch, model)
            if model is None or more.total_s < one.total_s:  # copies are written too, which must pay
                one = more
        found.append(one)
        done |= one.times.first.rows_s.keys()
    return found


def _run_round(
    table: StageTable,
    pieces: list[Piece],
    copies: list[int],
    done: frozenset[int],
    batch: int,
    model: WriteModel | None,
) -> _Round:
    by_stage = {piece.stage: c for piece, c in zip(pieces, copies, strict=True)}
    unfinished = frozenset(piece.stage for piece in pieces if not piece.last)
    arrays = sum(piece.arrays * c for piece, c in zip(pieces, copies, strict=True))
    distinct = sum(piece.arrays for piece in pieces)
    reload_s = 0.0 if model is None else model.time_s(arrays, distinct)
    if table.serial:
        sample = run_serially(table, by_stage, done, unfinished)
        times = BatchTimes(sample, sample, sample.end_s, batch * sample.end_s)
    else:
        interval_s = max(table.stages[stage].interval_s(c) for stage, c in by_stage.items())
        if model is None:  # over rounds, links are busy at other times each
            interval_s = max(interval_s, table.package_s)
        if not done:
            interval_s = max(interval_s, table.input_s)
        if len(table.stages) - 1 in by_stage:
            interval_s = max(interval_s, table.output_s)
        times = run_batch(table, by_stage, done, interval_s, batch, unfinished)
    return _Round(pieces, copies, times, arrays, reload_s)


def _partial_bits(table: StageTable, rounds: Sequence[_Round]) -> list[dict[str, float]]:
    """Return for each round the partial sums that are kept, of one sample, by a name of their own."""
    found: list[dict[str, float]] = [{} for _ in rounds]
    for r, one in enumerate(rounds):
        for piece in one.pieces:
            bits = _sum_bits(table, piece.stage)
            if bits and (not piece.last or piece.number > 0):
                found[r][f"{table.stages[piece.stage].name} (partial sums)"] = bits
    return found


def _sum_bits(table: StageTable, stage: int) -> float:
    """Return the bits of one set of partial sums of a layer; none where no output needs more than one array."""
    plan = table.stages[stage].plan
    if max(len(pack.blocks) for pack in plan.packs) == 1:
        return 0.0
    return float(plan.shape.output_elements * accumulator_bits(table.chip))


def _assemble(
    table: StageTable, rounds: Sequence[_Round], budget: int, batch: int, how: Duplication, model: WriteModel
) -> Schedule:
    chip, hardware, fits = table.chip, table.chip.hardware, len(rounds) == 1
    tiles = hardware.tiles or math.ceil(budget / hardware.arrays_per_tile)
    capacity = table.buffer_capacity_bits(tiles)
    partial = _partial_bits(table, rounds)
    alone = table.serial or batch == 1
    spill = plan_buffers(
        table, [(one.times.first, math.inf if alone else one.times.interval_s) for one in rounds], partial, batch,
        math.inf if capacity is None else capacity,
    )  # fmt: skip
    spill_s = spill.spilled_bits / chip.schedule.spill.bandwidth_bit_per_s
    if fits:
        times = rounds[0].times
        latency_s = times.first.end_s + spill_s
        interval_s = latency_s if table.serial else max(times.interval_s, spill_s)
        batch_s = (batch - 1) * interval_s + times.last.end_s + spill_s
    else:
        latency_s = sum(one.reload_s + one.times.first.end_s for one in rounds) + spill_s
        batch_s = max(sum(one.total_s for one in rounds) + batch * spill_s, batch * table.package_s)
        interval_s = batch_s / batch
    written = 0 if fits else sum(one.arrays for one in rounds)
    fetched = 0 if fits else sum(piece.arrays for one in rounds for piece in one.pieces)
    write_s, write_j = sum(one.reload_s for one in rounds), model.energy_j(written, fetched)
    stages, round_runs = _stage_runs(table, rounds, batch)
    work = sum(
        p.arrays * table.stages[p.stage].positions * table.stages[p.stage].vector_s
        for one in rounds
        for p in one.pieces
    )
    found = Schedule(
        network=table.network.name,
        chip=chip.name,
        mode=hardware.pipeline,
        duplication=how,
        batch=batch,
        arrays=budget,
        arrays_used=max(one.arrays for one in rounds),
        tiles_used=math.ceil(max(one.arrays for one in rounds) / hardware.arrays_per_tile),
        stages=stages,
        rounds=round_runs,
        latency_s=latency_s,
        batch_latency_s=batch_s,
        interval_s=interval_s,
        throughput_hz=1.0 / interval_s,
        bottleneck=_bottleneck(table, stages, write_s, batch_s, spill_s, interval_s),
        array_utilisation=work / (budget * interval_s),
        arrays_over_time=_over_time(stages),
        write_time_s=write_s,
        write_energy_j=write_j,
        weight_bits_read=fetched * model.array_bits,
        cells_written=written * model.cells,
        writes_per_cell=0.0 if fits else len(rounds) * model.cycles,
        write_time_per_sample_s=write_s / batch,
        write_energy_per_sample_j=write_j / batch,
        cells_written_per_sample=written * model.cells / batch,
        buffers=spill.maps,
        buffer_bits=spill.buffer_bits,
        buffer_capacity_bits=capacity,
        spilled_bits=spill.spilled_bits,
        spill_time_s=spill_s,
        spill_energy_j=spill.spilled_bits * chip.schedule.spill.energy_per_bit_j,
        partial_sum_bits=2.0 * sum(_sum_bits(table, p.stage) for one in rounds for p in one.pieces if p.number > 0),
        notes=_notes(table, rounds, spill, capacity, model, fits),
    )
    return found


def _stage_runs(
    table: StageTable, rounds: Sequence[_Round], batch: int
) -> tuple[tuple[StageRun, ...], tuple[RoundRun, ...]]:
    stages, runs, now = [], [], 0.0
    for r, one in enumerate(rounds):
        begin, times = now + one.reload_s, one.times
        for piece, copies in zip(one.pieces, one.copies, strict=True):
            stage = table.stages[piece.stage]
            arrays = piece.arrays * copies
            stages.append(
                StageRun(
                    layer=stage.name,
                    piece=piece.number,
                    copies=copies,
                    arrays=arrays,
                    tiles=math.ceil(arrays / table.chip.hardware.arrays_per_tile),
                    round=r,
                    start_s=begin + times.first.starts_s[piece.stage],
                    end_s=begin + times.first.ends_s[piece.stage],
                    batch_end_s=begin + (batch - 1) * times.interval_s + times.last.ends_s[piece.stage],
                    busy_s=stage.interval_s(copies),
                    limited_by="recurrence" if stage.recurrent else stage.limited_by,
                )
            )
        end = begin + times.duration_s
        runs.append(
            RoundRun(now, one.reload_s, end, one.arrays, one.arrays if len(rounds) > 1 else 0, times.interval_s)
        )
        now = end
    return tuple(stages), tuple(runs)


def _bottleneck(
    table: StageTable, stages: Sequence[StageRun], write_s: float, batch_s: float, spill_s: float, interval_s: float
) -> str:
    if write_s > 0.5 * batch_s:
        return "reload"
    slowest = max(stages, key=lambda one: one.busy_s)
    if spill_s > slowest.busy_s and spill_s >= table.link_s:
        return "spill"
    return "chip_io" if table.link_s > slowest.busy_s else slowest.layer


def _over_time(stages: Sequence[StageRun]) -> tuple[tuple[float, int], ...]:
    changes: dict[float, int] = {}
    for one in stages:
        changes[one.start_s] = changes.get(one.start_s, 0) + one.arrays
        changes[one.batch_end_s] = changes.get(one.batch_end_s, 0) - one.arrays
    now, found = 0, []
    for time_s in sorted(changes):
        now += changes[time_s]
        found.append((time_s, now))
    return tuple(found)


def _notes(
    table: StageTable, rounds: Sequence[_Round], spill: Spill, capacity: float | None, model: WriteModel, fits: bool
) -> tuple[str, ...]:
    notes = []
    if not fits:
        notes.append(f"the network does not fit: {len(rounds)} rounds, each written before the batch passes it")
        notes += model.notes
        if model.arrays_in_parallel is None:
            power_w = max(one.arrays for one in rounds) * model.array_j / model.array_s
            notes.append(
                f"all arrays of a round are written side by side, which takes up to {format_quantity(power_w, 'W', 3)}; "
                "set write.arrays_in_parallel where the supply gives less"
            )
        if any(not piece.last for one in rounds for piece in one.pieces):
            notes.append(
                "layers larger than the chip are cut by row blocks; inputs that pieces share are read once in the energy"
            )
    if any(node.kind == "product" for node in table.network.nodes):
        notes.append("products of feature maps (attention) take no time here: no component does them")
    if capacity is None:
        notes.append("no buffer says its size: feature maps are taken to fit")
    if spill.spilled_bits > 0:
        names = sorted({one.name for one in spill.maps if one.spilled})
        notes.append(f"{len(names)} feature maps are spilled ({table.chip.schedule.spill.source})")
    if table.input_s == 0.0:
        notes.append("no chip_io is described: inputs are there at once")
    return tuple(notes)
