"""Max-plus recurrences: when each row of each feature map is there, for sample after sample.

See :mod:`crosstile.system.stages` for the equations. A new sample is let in every ``interval`` seconds; times of a sample count
from its own admission. Copies serve samples in order and carry over what they still have to do. Once a sample finds the same as
the one before, all later ones do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crosstile.system.stages import FloatArray, Stage, StageTable

_SAME = 1e-12  # of the latency: rounding of sums over rows


@dataclass(frozen=True, eq=False)
class SampleTimes:
    """One sample in one round, seconds from its admission."""

    rows_s: dict[int, FloatArray]
    """For each node that runs in this round, when each of its rows is complete."""
    starts_s: dict[int, float]
    """For each stage, the start of its first vector."""
    ends_s: dict[int, float]
    """For each stage, the end of its last vector, drain included."""
    end_s: float
    """When the last of all is done, results off the chip included."""


@dataclass(frozen=True, eq=False)
class BatchTimes:
    """A batch in one round: its first and its last sample, seconds from the admission of each."""

    first: SampleTimes
    last: SampleTimes
    interval_s: float
    duration_s: float
    """From the first admission to the last result."""


def serve(
    ready_s: FloatArray, copies: int, vector_s: float, free_s: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return when each vector is done, and when each copy is free.

    Args:
        ready_s: (vectors,) when the inputs are there, never falling. copies: that take the vectors in turn.
        vector_s: time of a vector. free_s: (copies,) when each copy is free; none: from the start.
    """
    count = len(ready_s)
    if copies >= count:
        done = (ready_s if free_s is None else np.maximum(ready_s, free_s[:count])) + vector_s
        free = np.full(copies, -np.inf) if free_s is None else free_s.copy()
        free[:count] = done
        return done, free
    waves = -(-count // copies)
    slots: FloatArray = np.full(waves * copies, -np.inf)
    slots[:count] = ready_s
    if copies > 1:
        slots = slots.reshape(waves, copies)
    if free_s is not None:
        slots[0] = np.maximum(slots[0], free_s if copies > 1 else free_s[0])
    steps: FloatArray = vector_s * np.arange(waves, dtype=np.float64)
    if copies > 1:
        steps = steps[:, None]
    slots -= steps
    np.maximum.accumulate(slots, axis=0, out=slots)
    slots += steps + vector_s
    if copies == 1:
        return slots, slots[-1:].copy()
    free, left = slots[-1].copy(), count % copies
    if left:
        free[left:] = slots[-2, left:]
    return slots.ravel()[:count], free


def run_sample(
    table: StageTable,
    copies: Mapping[int, int],
    before: frozenset[int],
    free: dict[int, FloatArray],
    unfinished: frozenset[int] = frozenset(),
) -> SampleTimes:
    """Walk one sample through the stages of a round.

    Args:
        table: the network. copies: copies of each stage that runs in this round.
        before: nodes whose maps are there from the start. free: for each stage when its copies are free; updated.
        unfinished: stages of which a later round holds the last piece, so that they hand nothing on.
    """
    rows: dict[int, FloatArray] = {}
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    end_s = 0.0
    for i, link in enumerate(table.links):
        if i in before or (link.stage >= 0 and link.stage not in copies):
            continue
        if any(source not in before and source not in rows for source, _, _ in link.inputs):
            continue  # runs in a later round
        ready = _ready(table, i, rows)
        if link.stage < 0:
            rows[i] = ready
            end_s = max(end_s, float(ready[-1]))
            continue
        stage = table.stages[link.stage]
        done = _through(stage, ready, copies[link.stage], free, starts)
        if link.stage not in unfinished:
            rows[i] = done
        ends[link.stage] = float(done[-1])
        end_s = max(end_s, ends[link.stage])
    result = len(table.links) - 1
    if table.output_s > 0 and result in rows:
        each = table.output_s / len(rows[result])
        sent, free[-2] = serve(rows[result], 1, each, free.get(-2))
        end_s = max(end_s, float(sent[-1]))
    return SampleTimes(rows, starts, ends, end_s)


def _ready(table: StageTable, node: int, rows: Mapping[int, FloatArray]) -> FloatArray:
    link = table.links[node]
    ready = np.zeros(link.height)
    if not link.inputs and table.input_s > 0:  # the input link is as fast as samples are let in, so it never lags
        return table.input_s * np.arange(1, link.height + 1) / link.height
    for source, needed, without in link.inputs:
        if source not in rows:
            continue
        there = rows[source]
        if (node, source) in table.delays:  # rows follow each other over the link
            row_s, way_s = table.delays[node, source]
            there = serve(there, 1, row_s, None)[0] + way_s
        there = there if needed is None else there[needed]
        if without:
            ready[without:] = np.maximum(ready[without:], there[without:])
        else:
            ready = np.maximum(ready, there)
    return ready


def _through(
    stage: Stage, ready: FloatArray, copies: int, free: dict[int, FloatArray], starts: dict[int, float]
) -> FloatArray:
    per_vector = ready[stage.row_of] if stage.positions != stage.height else ready
    done, free[stage.index] = serve(per_vector, stage.useful(copies), stage.vector_s, free.get(stage.index))
    starts[stage.index] = float(done[0]) - stage.vector_s
    done = np.maximum.accumulate(done)  # rows are handed on in order
    return np.asarray(done[stage.last_vector] + stage.drain_s)


def run_serially(
    table: StageTable, copies: Mapping[int, int], before: frozenset[int], unfinished: frozenset[int] = frozenset()
) -> SampleTimes:
    """Walk one sample through the stages of a round one after the other; rows are handed on when a layer is through."""
    rows: dict[int, FloatArray] = {}
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    now = 0.0
    for i, link in enumerate(table.links):
        if i in before or (link.stage >= 0 and link.stage not in copies):
            continue
        if any(source not in before and source not in rows for source, _, _ in link.inputs):
            continue
        if not link.inputs:
            now += table.input_s
        moved = [(source, table.delays[i, source]) for source, _, _ in link.inputs if (i, source) in table.delays]
        now += max((table.links[source].height * row_s + way_s for source, (row_s, way_s) in moved), default=0.0)
        if link.stage >= 0:
            stage = table.stages[link.stage]
            starts[link.stage] = now
            now += stage.interval_s(copies[link.stage]) + stage.drain_s
            ends[link.stage] = now
        if link.stage not in unfinished:
            rows[i] = np.full(link.height, now)
    if len(table.links) - 1 in rows:
        now += table.output_s
    return SampleTimes(rows, starts, ends, now)


def run_batch(
    table: StageTable,
    copies: Mapping[int, int],
    before: frozenset[int],
    interval_s: float,
    batch: int,
    unfinished: frozenset[int] = frozenset(),
) -> BatchTimes:
    """Walk a batch through the stages of a round, a sample let in every ``interval_s``."""
    free: dict[int, FloatArray] = {}
    first = last = run_sample(table, copies, before, free, unfinished)
    for _ in range(batch - 1):
        for key in free:
            free[key] = free[key] - interval_s
        old = dict(free)
        previous, last = last, run_sample(table, copies, before, free, unfinished)
        if _same(previous, last, old, free, interval_s):
            break
    return BatchTimes(first, last, interval_s, (batch - 1) * interval_s + last.end_s)


def _same(
    a: SampleTimes, b: SampleTimes, old: Mapping[int, FloatArray], new: Mapping[int, FloatArray], interval_s: float
) -> bool:
    """Return whether a sample found and left everything as the one before did."""
    limit = _SAME * max(a.end_s, b.end_s)
    if any(float(np.max(np.abs(a.rows_s[i] - b.rows_s[i]))) > limit for i in a.rows_s):
        return False
    return all(float(np.max(np.abs(old[key] + interval_s - new[key]))) <= limit for key in new)
