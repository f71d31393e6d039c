"""Schedules against sums by hand, brute force, the chain estimate, and the figures of whole networks."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import crosstile as ct
from crosstile.cost.estimate import estimate
from crosstile.cost.latency import layer_time
from crosstile.errors import SpecError
from crosstile.mapping.plan import plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.system.buffers import rows_held
from crosstile.system.chip import evaluate_chip
from crosstile.system.duplication import choose_copies, least_latency
from crosstile.system.recurrence import serve
from crosstile.system.schedule import StageTable, interval_of, schedule, schedule_from, stage_table
from crosstile.system.stages import transfer_s
from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network
from crosstile.workloads.table import network, network_names


def chip(name: str = "reram-8b", *, serial: bool = False, **changes: Any) -> ChipSpec:
    return ct.load_chip(name).replaced(hardware__pipeline="layer_serial" if serial else "pipelined", **changes)


def bare(**changes: Any) -> ChipSpec:
    """A chip whose layers take nothing but read cycles of 100 ns (8 a vector of 8-bit inputs) and a drain."""
    parts = {"cell_array": {"component": "cell-array"}}
    fixed = {"array__rows": 32, "array__columns": 32, "array__read_time_s": 100e-9, "hardware__clock_hz": 1e9}
    return chip(**fixed, hardware__components=parts, **changes)


def two_layers() -> Network:
    b = Builder("two", (2, 6, 5), signed=False)
    b.conv("b", b.conv("a", b.input, 3, 3), 2, 3)
    return b.build()


def test_two_convolutions_by_hand() -> None:
    """The second starts when two rows of the first are there, and is as fast: it ends one row and one drain behind."""
    table = stage_table(two_layers(), bare())
    vector, drain = table.stages[0].vector_s, table.stages[0].drain_s
    assert vector == pytest.approx(8 * 100e-9)
    assert drain == pytest.approx(1e-9)
    plan = schedule_from(table)
    a, b = plan.stages
    assert (a.start_s, a.end_s) == pytest.approx((0.0, 30 * vector + drain))
    assert b.start_s == pytest.approx(10 * vector + drain)
    # Row r of b needs row r + 1 of a, which is there at (r + 2) rows: b never waits, and its last row follows a's last.
    assert b.end_s == pytest.approx(40 * vector + 2 * drain)
    assert plan.latency_s == pytest.approx(b.end_s)
    assert plan.interval_s == pytest.approx(30 * vector)
    assert schedule_from(table, batch=4).batch_latency_s == pytest.approx(3 * 30 * vector + b.end_s)
    # Rows of a are kept for three rows of b; the row that is made while the third is used makes a fourth, at that moment.
    held = next(one for one in plan.buffers if one.name == "a")
    assert 3 <= held.rows <= 4
    copied = schedule_from(table, arrays=table.arrays + table.stages[0].arrays * 2, duplication="greedy")
    assert [run.copies for run in copied.stages] == [2, 2]
    assert copied.interval_s == pytest.approx(15 * vector)


def test_layer_serial_by_hand() -> None:
    table = stage_table(two_layers(), bare(serial=True))
    plan = schedule_from(table, batch=3)
    one = 30 * table.stages[0].vector_s + table.stages[0].drain_s
    assert plan.latency_s == pytest.approx(2 * one)
    assert plan.interval_s == pytest.approx(2 * one)
    assert plan.batch_latency_s == pytest.approx(6 * one)


def test_a_recurrent_layer_gains_nothing_from_copies() -> None:
    table = stage_table(network("lstm"), chip("isaac"))
    plan = schedule_from(table, arrays=3 * table.arrays, duplication="greedy")
    assert [run.copies for run in plan.stages[:2]] == [1, 1]
    assert plan.stages[0].limited_by == "recurrence"


@pytest.mark.parametrize("copies", [1, 2, 3, 5, 7, 11, 12, 20])
def test_serving_is_first_come_first_served(copies: int) -> None:
    rng = np.random.default_rng(copies)
    ready, free = np.sort(rng.random(12) * 9), rng.random(copies) * 4
    queue, expected = list(free), []
    for v, there in enumerate(ready):
        queue[v % copies] = max(queue[v % copies], there) + 0.7
        expected.append(queue[v % copies])
    done, left = serve(ready, copies, 0.7, free)
    assert done == pytest.approx(expected, rel=1e-13)
    assert left == pytest.approx(queue, rel=1e-13)


@pytest.mark.parametrize("name", ["isaac", "reram-8b", "analog-8b"])
def test_layer_serial_without_copies_is_the_chain_estimate(name: str) -> None:
    """Equal to rounding: the same sums in another order."""
    described = chip(name, serial=True)
    for net in ("lenet5", "resnet20", "lstm", "vgg8"):
        shapes = network(net)
        old = estimate([plan_layer(shape, described) for shape in shapes.shapes], described)
        new = evaluate_chip(shapes, described)
        assert new.schedule.spilled_bits == 0
        assert new.schedule.write_energy_j == 0.0
        pooling = new.energy_by_component_j["pooling work"]
        energy = old.energy_j + pooling
        assert (new.energy_j, new.latency_s, new.area_m2) == pytest.approx(
            (energy, old.latency_s, old.area_m2), rel=1e-12
        )
        assert new.edap_jsm2 == pytest.approx(energy * old.latency_s * old.area_m2, rel=1e-12)
        assert (new.power_w, new.tops_per_mm2) == pytest.approx((energy / old.latency_s, old.tops_per_mm2), rel=1e-12)
        assert new.tops_per_w == pytest.approx(old.tops_per_w * old.energy_j / energy, rel=1e-12)
        spent = {part.name: part.energy_j for part in old.components}
        for part, joule in spent.items():
            assert new.energy_by_component_j[part] == pytest.approx(joule, rel=1e-12, abs=1e-30)
        assert [layer.energy_j for layer in new.layers] == pytest.approx(
            [layer.energy_j - layer.energy_by_component_j["leakage"] for layer in old.layers], rel=1e-12
        )
        if not pooling:
            assert new.edp_js == pytest.approx(old.edp_js, rel=1e-12)


def test_pooling_is_counted_where_a_unit_says_its_energy() -> None:
    net = network("lenet5")
    cost = evaluate_chip(net, chip("isaac"))
    operations = 6 * 14 * 14 * 3 + 16 * 5 * 5 * 3
    assert cost.energy_by_component_j["pooling work"] == pytest.approx(operations * 0.333e-12)


def test_transfers_of_copies_are_those_of_the_latency_model() -> None:
    described = chip("isaac")
    table = stage_table(network("resnet20"), described)
    counts = np.array([1, 2, 3, 12, 13, 100, 1000])
    for stage in table.stages[::4]:
        for copies, found in zip(counts, transfer_s(stage.plan, described, table.parts, counts), strict=True):
            more = replace(stage.plan, arrays=stage.plan.arrays * int(copies))
            moved = layer_time(more, described, table.parts)
            assert found == pytest.approx(moved.buffer_s + moved.network_s, rel=1e-12)


def small_table(serial: bool = False) -> StageTable:
    b = Builder("small", (2, 6, 6), signed=False)
    x = b.conv("a", b.input, 9, 3)
    x = b.add("sum", (b.conv("c", x, 9, 1), x))
    b.linear("d", b.pool("p", x, 2), 4)
    return stage_table(b.build(), bare(serial=serial))


def all_choices(table: StageTable, budget: int) -> list[tuple[int, ...]]:
    options = [[int(c) for c in stage.copies] for stage in table.stages]
    arrays = [stage.arrays for stage in table.stages]
    return [
        one for one in itertools.product(*options) if sum(a * c for a, c in zip(arrays, one, strict=True)) <= budget
    ]


@pytest.mark.parametrize("extra", [0, 1, 2, 3, 5, 8, 13, 21, 34, 500])
def test_copies_against_brute_force(extra: int) -> None:
    table = small_table()
    budget, arrays = table.arrays + extra, [stage.arrays for stage in table.stages]

    def slowest(copies: tuple[int, ...]) -> float:
        return max(stage.interval_s(c) for stage, c in zip(table.stages, copies, strict=True))

    best = min(slowest(one) for one in all_choices(table, budget))
    for how in ("greedy", "optimal"):
        found = choose_copies(table.stages, arrays, budget, how, serial=False)  # type: ignore[arg-type]
        assert slowest(tuple(found)) == best
        assert sum(a * c for a, c in zip(arrays, found, strict=True)) <= budget
    assert table.best_interval_s(budget) == best
    assert interval_of(table, budget) == schedule_from(table, arrays=budget, duplication="optimal").rounds[0].interval_s
    _, least_s = least_latency(table, budget)
    greedy_s = schedule_from(table, arrays=budget, duplication="greedy").latency_s
    assert least_s <= greedy_s * (1 + 1e-12)
    if extra in (0, 500):
        assert least_s == pytest.approx(greedy_s, rel=1e-12)

    serial = small_table(serial=True)
    total = min(
        sum(s.interval_s(c) for s, c in zip(serial.stages, one, strict=True)) for one in all_choices(serial, budget)
    )
    found = choose_copies(serial.stages, arrays, budget, "optimal", serial=True)
    assert sum(s.interval_s(c) for s, c in zip(serial.stages, found, strict=True)) == pytest.approx(total, rel=1e-12)


def test_rows_held_at_once() -> None:
    """Against counting at many moments; intervals that repeat overlap with themselves."""
    rng = np.random.default_rng(3)
    for interval in (math.inf, 10.0, 1.7, 0.31):
        made = np.sort(rng.random(20) * 4)
        released = made + rng.random(20) * 3
        moments = (
            np.linspace(0, 8, 40_001) if math.isinf(interval) else np.linspace(20 * interval, 21 * interval, 40_001)
        )
        shifts = [0.0] if math.isinf(interval) else [n * interval for n in range(60)]
        there = sum(((made[:, None] + s <= moments) & (moments < released[:, None] + s)).sum(axis=0) for s in shifts)
        assert rows_held(made, released, interval) == np.max(there)


def test_a_residual_edge_holds_longer() -> None:
    b = Builder("residual", (2, 12, 12), signed=False)
    x = b.conv("a", b.input, 4, 3)
    y = b.conv("c", b.conv("b", x, 4, 3), 4, 3)
    b.conv("e", b.add("sum", (y, x)), 4, 3)
    plan = schedule(b.build(), bare())
    rows = {one.name: one.rows for one in plan.buffers}
    assert rows["a"] > rows["b"]  # kept until two convolutions are through
    assert rows["a"] >= 5


def test_what_does_not_fit_is_spilled() -> None:
    net = network("vgg8")
    base = chip("isaac")
    parts = base.model_dump()["hardware"]["components"]
    tight = base.replaced(
        hardware__components=parts | {"buffer": {"component": "edram-isaac-64kb", "capacity_bits": 4096.0}}
    )
    roomy, plan = evaluate_chip(net, base), evaluate_chip(net, tight)
    assert roomy.schedule.spilled_bits == 0
    found = plan.schedule
    kept = sum(one.bits for one in found.buffers if not one.spilled)
    assert found.buffer_capacity_bits is not None
    assert found.buffer_bits > found.buffer_capacity_bits
    assert kept < found.buffer_bits
    bits = {node.name: node.elements * 16 for node in net.nodes}
    readers = {name: max(1, len(by)) for name, by in net.consumers.items()}
    spilled = sum(bits[one.name] * (1 + readers[one.name]) for one in found.buffers if one.spilled)
    assert found.spilled_bits == pytest.approx(spilled)
    assert found.spill_energy_j == pytest.approx(spilled * 20e-12)
    assert found.spill_time_s == pytest.approx(spilled / 102.4e9)
    assert found.latency_s == pytest.approx(roomy.schedule.latency_s + found.spill_time_s, rel=1e-3)


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize("share", [1.5, 0.3])
def test_every_network_has_finite_times(name: str, share: float) -> None:
    table = stage_table(network(name), chip("isaac"))
    plan = schedule_from(table, arrays=max(1, int(share * table.arrays)), batch=3, duplication="greedy")
    numbers = [plan.latency_s, plan.batch_latency_s, plan.interval_s, plan.throughput_hz, plan.array_utilisation]
    numbers += [run.busy_s for run in plan.stages] + [run.end_s - run.start_s for run in plan.stages]
    assert all(0 < value < math.inf for value in numbers)
    assert plan.array_utilisation <= 1
    assert plan.arrays_used <= plan.arrays
    assert all(run.start_s >= plan.rounds[run.round].start_s + plan.rounds[run.round].reload_s for run in plan.stages)
    assert all(run.end_s <= run.batch_end_s * (1 + 1e-12) for run in plan.stages)
    assert plan.batch_latency_s >= max(run.batch_end_s for run in plan.stages) * (1 - 1e-12)
    assert plan.arrays_over_time[-1][1] == 0
    assert json.loads(json.dumps(plan.as_dict(), allow_nan=False))["network"] == name


def test_what_is_wrong_is_told() -> None:
    net, described = network("lenet5"), chip("isaac", hardware__tiles=2)
    for wrong in ({"batch": 0}, {"arrays": 0}, {"arrays": 193}, {"duplication": "most"}):
        with pytest.raises(SpecError, match=r"allowed"):
            schedule(net, described, **wrong)  # type: ignore[arg-type]
    assert schedule(net, described).arrays == 192
    table = stage_table(network("vgg16"), chip("isaac", serial=True))
    with pytest.raises(SpecError, match="Use greedy"):
        schedule_from(table, arrays=10**6, duplication="optimal")
    with pytest.raises(SpecError, match="use schedule_from"):
        interval_of(table, table.arrays)


def test_many_budgets_are_quick(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not gated."""
    for name in ("resnet18", "resnet50"):
        start = time.perf_counter()
        table = stage_table(network(name), chip("isaac"))
        made = time.perf_counter()
        interval_of(table, table.arrays)
        first = time.perf_counter()
        for extra in range(100):
            interval_of(table, table.arrays + extra)
        asked = time.perf_counter()
        plan = schedule_from(table, arrays=2 * table.arrays, duplication="greedy", batch=16)
        done = time.perf_counter()
        with capsys.disabled():
            print(
                f"\n{name}: table {1e3 * (made - start):.1f} ms, interval {1e4 * (asked - first):.1f} us, "
                f"schedule {1e3 * (done - asked):.1f} ms, latency {1e3 * plan.latency_s:.3g} ms"
            )
        assert plan.fits
