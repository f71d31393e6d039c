"""What must hold of every schedule: more arrays never cost time, what fits pays no rewriting, energies add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import crosstile as ct
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import evaluate_chip
from crosstile.system.duplication import Duplication
from crosstile.system.schedule import schedule_from, stage_table
from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network

# Sums in another order: a step up by rounding is none.
SLACK = 1 + 1e-12
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


def chip(*, serial: bool = False, **changes: object) -> ChipSpec:
    """A small chip with room for every map, so that spilling does not come in between."""
    base = ct.load_chip("isaac")
    parts = base.model_dump()["hardware"]["components"]
    parts["buffer"] = {"component": "edram-isaac-64kb", "capacity_bits": 1e9}
    given = {
        "weights__bits": 4, "inputs__bits": 4, "array__rows": 16, "array__columns": 9, "hardware__components": parts,
        "hardware__pipeline": "layer_serial" if serial else "pipelined",
    }  # fmt: skip
    return base.replaced(**(given | changes))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    b = Builder("random", (2, draw(st.integers(4, 12)), draw(st.integers(4, 8))), signed=False)
    x = b.input
    for block in range(draw(st.integers(1, 3))):
        y = b.conv(f"a{block}", x, draw(st.integers(2, 8)), draw(st.sampled_from([1, 3, 5])))
        y = b.conv(f"b{block}", y, x.channels, 3)
        x = b.add(f"sum{block}", (y, x)) if draw(st.booleans()) else b.pool(f"pool{block}", y, 3, 1, 1)
    b.linear("fc", x, draw(st.integers(1, 8)))
    return b.build()


@SETTINGS
@given(
    networks(),
    st.lists(st.integers(0, 300), min_size=3, max_size=6),
    st.booleans(),
    st.sampled_from(["greedy", "optimal"]),
)
def test_more_arrays_never_cost_time(net: Network, extras: list[int], serial: bool, how: Duplication) -> None:
    table = stage_table(net, chip(serial=serial))
    alone = schedule_from(table, batch=5)
    before = alone
    for extra in sorted(extras):
        plan = schedule_from(table, arrays=table.arrays + extra, batch=5, duplication=how)
        assert plan.latency_s <= before.latency_s * SLACK
        assert plan.interval_s <= before.interval_s * SLACK
        assert plan.batch_latency_s <= before.batch_latency_s * SLACK
        assert plan.arrays_used <= plan.arrays
        before = plan
    fewer = schedule_from(table, arrays=max(1, table.arrays - 1 - extras[0]), batch=5)
    assert fewer.latency_s >= alone.latency_s / SLACK
    assert fewer.batch_latency_s >= alone.batch_latency_s / SLACK


@SETTINGS
@given(networks(), st.floats(0.05, 2.0), st.booleans(), st.integers(1, 50))
def test_rewriting_vanishes_exactly_where_all_fits(net: Network, share: float, serial: bool, batch: int) -> None:
    table = stage_table(net, chip(serial=serial))
    budget = max(1, round(share * table.arrays))
    plan = schedule_from(table, arrays=budget, batch=batch, duplication="greedy")
    written = (plan.write_time_s, plan.write_energy_j, plan.cells_written, plan.writes_per_cell)
    if budget >= table.arrays:
        assert written == (0.0, 0.0, 0, 0.0)
        assert plan.fits
    else:
        assert min(written) > 0
        assert plan.cells_written >= table.arrays * 16 * 9
        one = schedule_from(table, arrays=budget, batch=4 * batch, duplication="greedy")
        # The longer the batch, the less of a write falls on a sample.
        assert one.write_time_per_sample_s <= plan.write_time_per_sample_s * SLACK


@SETTINGS
@given(networks(), st.integers(2, 14), st.integers(2, 14), st.booleans())
def test_more_bits_never_cost_less(net: Network, inputs: int, weights: int, serial: bool) -> None:
    few, more_inputs, more_weights = (
        evaluate_chip(net, chip(serial=serial, inputs__bits=inputs + a, weights__bits=weights + b, array__columns=40))
        for a, b in ((0, 0), (1, 0), (0, 2))
    )
    assert more_inputs.latency_s >= few.latency_s / SLACK
    assert more_inputs.energy_j >= few.energy_j / SLACK
    assert more_inputs.schedule.arrays_used == few.schedule.arrays_used
    # Wider weights may leave columns of an array empty, which then converts faster: time is not monotone in them.
    assert more_weights.dynamic_energy_j >= few.dynamic_energy_j / SLACK
    assert more_weights.schedule.arrays_used >= few.schedule.arrays_used


@SETTINGS
@given(networks(), st.floats(0.1, 3.0), st.integers(1, 9), st.booleans())
def test_energy_adds_up(net: Network, share: float, batch: int, serial: bool) -> None:
    described = chip(serial=serial)
    table = stage_table(net, described)
    cost = evaluate_chip(net, described, arrays=max(1, round(share * table.arrays)), batch=batch, duplication="greedy")
    assert sum(layer.energy_j for layer in cost.layers) == pytest.approx(cost.dynamic_energy_j, rel=1e-12)
    assert sum(cost.energy_by_component_j.values()) == pytest.approx(cost.energy_j, rel=1e-12)
    rest = {"leakage", "writes", "spills", "partial sums", "pooling work"}
    dynamic = sum(joule for name, joule in cost.energy_by_component_j.items() if name not in rest)
    assert dynamic == pytest.approx(cost.dynamic_energy_j, rel=1e-12)
    assert cost.energy_by_component_j["writes"] == pytest.approx(cost.schedule.write_energy_j / batch)
    # Copies share the work: they do not change it.
    assert cost.dynamic_energy_j == evaluate_chip(net, described).dynamic_energy_j
    assert all(0 <= joule < math.inf for joule in cost.energy_by_component_j.values())


@SETTINGS
@given(networks(), networks(), st.integers(1, 20))
def test_area_of_a_given_chip_is_its_own(a: Network, b: Network, tiles: int) -> None:
    described = chip(hardware__tiles=tiles)
    one, other = evaluate_chip(a, described), evaluate_chip(b, described, batch=3, duplication="greedy")
    assert one.area_m2 == other.area_m2
    assert one.leakage_power_w == other.leakage_power_w
    assert one.area_m2 == evaluate_chip(a, described, arrays=tiles).area_m2


@SETTINGS
@given(networks(), st.floats(0.2, 2.0), st.integers(1, 9), st.booleans(), st.floats(0.05, 1.2))
def test_what_is_not_spilled_fits(net: Network, share: float, batch: int, serial: bool, room: float) -> None:
    roomy = chip(serial=serial)
    table = stage_table(net, roomy)
    budget = max(1, round(share * table.arrays))
    dynamic = schedule_from(table, arrays=budget, batch=batch)
    static = schedule_from(stage_table(net, roomy.replaced(schedule__buffers="static")), arrays=budget, batch=batch)
    assert dynamic.buffer_bits <= static.buffer_bits * SLACK
    assert max(one.bits for one in dynamic.buffers) <= dynamic.buffer_bits * SLACK
    tiles = -(-budget // roomy.hardware.arrays_per_tile)
    for policy, wanted in (("static", static.buffer_bits), ("dynamic", dynamic.buffer_bits)):
        parts = roomy.model_dump()["hardware"]["components"]
        parts["buffer"]["capacity_bits"] = max(1.0, room * wanted / tiles)
        tight = roomy.replaced(hardware__components=parts, schedule__buffers=policy)
        plan = schedule_from(stage_table(net, tight), arrays=budget, batch=batch)
        capacity = plan.buffer_capacity_bits
        assert capacity is not None
        assert (plan.spilled_bits > 0) == (plan.buffer_bits > capacity)
        assert plan.buffer_bits == pytest.approx(wanted)
        assert plan.spill_time_s == pytest.approx(plan.spilled_bits / 102.4e9)
        if policy == "static":
            for number in range(len(plan.rounds)):
                left = sum(one.bits for one in plan.buffers if one.round == number and not one.spilled)
                assert left <= capacity * SLACK
