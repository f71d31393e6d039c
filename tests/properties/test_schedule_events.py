"""The recurrences against the event simulation, on random graphs with joins, pooling, copies, batches and rewriting.

Both count the same model, so they must agree to rounding: times are sums of some hundred terms, 1e-9 is far above their error.
What the simulation knows of the recurrences is the time of a vector, the drain and the copies.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import crosstile as ct
from crosstile.specs.chip import ChipSpec
from crosstile.system.event_simulation import simulate
from crosstile.system.recurrence import run_batch
from crosstile.system.schedule import Schedule, StageTable, schedule_from, stage_table
from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network, Node

REL = 1e-9


def chip_for(*, serial: bool, io: bool) -> ChipSpec:
    chip = ct.load_chip("isaac").replaced(
        weights__bits=4, inputs__bits=2, array__rows=16, array__columns=9, hardware__arrays_per_macro=2,
        hardware__macros_per_tile=2, hardware__pipeline="layer_serial" if serial else "pipelined",
        adc__bits=8, write__cycles=2.0,
    )  # fmt: skip
    if not io:
        parts = {k: v for k, v in chip.model_dump()["hardware"]["components"].items() if k != "chip_io"}
        chip = chip.replaced(hardware__components=parts)
    return chip


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Small graphs: chains of convolutions, pooling, residual joins, concatenations, then a linear layer or a recurrent one."""
    height = draw(st.integers(3, 7))
    b = Builder("random", (draw(st.integers(1, 3)), height, draw(st.integers(3, 5))), signed=False)
    x: Node = b.input
    number = 0

    def conv(source: Node, channels: int, kernel: int, stride: int = 1) -> Node:
        nonlocal number
        number += 1
        return b.conv(f"conv{number}", source, channels, kernel, stride=stride)

    for block in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "pool", "residual", "projected", "concat"]))
        kernel = draw(st.sampled_from([1, 3]))
        if kind == "conv":
            x = conv(x, draw(st.integers(1, 6)), kernel, draw(st.integers(1, 2)))
        elif kind == "pool" and min(x.height, x.width) >= 2:
            x = b.pool(f"pool{block}", conv(x, 3, kernel), 2)
        elif kind == "residual":
            y = conv(conv(x, 4, kernel), x.channels, 3)
            x = b.add(f"add{block}", (y, x))
        elif kind == "projected":
            y = conv(conv(x, 4, 3, 2), 5, kernel)
            x = b.add(f"add{block}", (y, conv(x, 5, 1, 2)))
        else:
            x = b.concat(f"concat{block}", (x, conv(x, 2, kernel)))
    if draw(st.booleans()):
        x = b.recurrent("rnn", x, 3, 2)
    if draw(st.booleans()):
        x = b.global_pool("mean", x)
    b.linear("fc", x, draw(st.integers(1, 4)))
    return b.build()


def same(table: StageTable, plan: Schedule) -> None:
    seen = simulate(table, plan)
    spilled = plan.spill_time_s
    if plan.fits:
        assert seen.results_s[0] == pytest.approx(plan.latency_s - spilled, rel=REL)
        if not spilled:
            assert seen.end_s == pytest.approx(plan.batch_latency_s, rel=REL)
    else:
        assert seen.end_s == pytest.approx(plan.batch_latency_s - plan.batch * spilled, rel=REL)
        alone = simulate(table, plan, batch=1)
        assert alone.end_s == pytest.approx(plan.latency_s - spilled, rel=REL)
    assert len(seen.starts_s) == len(plan.stages)
    for run in plan.stages:
        assert seen.starts_s[run.round, run.layer] == pytest.approx(run.start_s, rel=REL, abs=1e-15)
        assert seen.ends_s[run.round, run.layer] == pytest.approx(run.batch_end_s, rel=REL)


SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@SETTINGS
@given(
    networks(), st.booleans(), st.booleans(), st.integers(1, 4), st.sampled_from(["none", "greedy", "optimal"]),
    st.integers(0, 40), st.sampled_from([0.0, 0.4, 0.7]),
)  # fmt: skip
def test_times_are_those_of_the_event_simulation(
    net: Network, serial: bool, io: bool, batch: int, how: str, extra: int, share: float
) -> None:
    table = stage_table(net, chip_for(serial=serial, io=io))
    arrays = max(1, int(share * table.arrays)) if share else table.arrays + extra
    same(table, schedule_from(table, arrays=arrays, batch=batch, duplication=how))  # type: ignore[arg-type]


@settings(SETTINGS, max_examples=40)
@given(networks(), st.integers(0, 30), st.integers(2, 6), st.sampled_from([0.0, 0.3, 0.8, 0.97]))
def test_samples_that_come_too_fast_queue(net: Network, extra: int, batch: int, share: float) -> None:
    """Below the interval, copies carry over what they have to do from sample to sample."""
    table = stage_table(net, chip_for(serial=False, io=False))
    plan = schedule_from(table, arrays=table.arrays + extra, batch=batch, duplication="greedy")
    pace_s = share * plan.rounds[0].interval_s
    copies = {number: run.copies for number, run in enumerate(plan.stages)}
    times = run_batch(table, copies, frozenset(), pace_s, batch)
    hurried = replace(plan, rounds=(replace(plan.rounds[0], interval_s=pace_s),))
    assert simulate(table, hurried).results_s[-1] == pytest.approx(times.duration_s, rel=REL)


@settings(SETTINGS, max_examples=25)
@given(networks(), st.integers(0, 30))
def test_no_admission_is_faster_than_the_interval(net: Network, extra: int) -> None:
    """With all samples let in at once, the mean distance of results is the interval, to what filling the pipeline takes."""
    table = stage_table(net, chip_for(serial=False, io=True))
    plan = schedule_from(table, arrays=table.arrays + extra, batch=24, duplication="greedy")
    seen = simulate(table, plan, saturated=True).results_s
    # Every copy works off its queue without a gap once the slowest stage is fed: the last 12 results are regular.
    assert (seen[-1] - seen[11]) / 12 == pytest.approx(plan.rounds[0].interval_s, rel=0.01)
