"""Rewriting arrays against sums by hand, and rounds against all partitions."""

from __future__ import annotations

import itertools

import pytest

import crosstile as ct
from crosstile.cost.installed import accumulator_bits
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import parse_chip
from crosstile.specs.schedule import SpillSpec
from crosstile.system.reload import best_rounds, cut, fill, write_model
from crosstile.system.schedule import schedule, schedule_from, stage_table
from crosstile.workloads.table import network


def chip(**changes: object) -> ChipSpec:
    """100 rows x 60 columns, 5 cycles of 20 ns and 30 ns, 2 pJ and 0.5 pJ."""
    given = {
        "array__rows": 100, "array__columns": 60, "write__cycles": 5.0, "write__pulse_time_s": 20e-9,
        "write__verify_time_s": 30e-9, "write__pulse_energy_j": 2e-12, "write__verify_energy_j": 0.5e-12,
    }  # fmt: skip
    return ct.load_chip("reram-8b").replaced(**(given | changes))


@pytest.mark.parametrize(("how", "steps"), [("cell", 6000), ("row", 100), ("array", 1)])
def test_time_and_energy_by_hand(how: str, steps: int) -> None:
    model = write_model(chip(write__parallelism=how))
    assert model.array_s == pytest.approx(steps * 5 * 50e-9, rel=1e-12)  # 1.5 ms, 25 us, 250 ns
    assert model.array_j == pytest.approx(
        6000 * 5 * 2.5e-12, rel=1e-12
    )  # 75 nJ: each cell is written, however many at once
    assert model.cells == 6000
    assert len(model.notes) == 1
    assert "memory off the chip" in model.notes[0]
    assert model.array_bits == 12000
    assert model.energy_j(3, 2) == pytest.approx(3 * model.array_j + 2 * 12000 * 20e-12)


def test_arrays_that_power_lets_be_written_at_once() -> None:
    model = write_model(chip(write__arrays_in_parallel=4))
    each = 100 * 5 * 50e-9
    assert [model.time_s(n) for n in (0, 1, 4, 5, 8, 9)] == pytest.approx([0, each, each, 2 * each, 2 * each, 3 * each])
    free = write_model(chip())
    assert free.time_s(10) == pytest.approx(each)
    # 1,000 arrays of 12,000 bits through 102.4 Gbit/s take longer than writing them side by side; copies are read once.
    assert free.time_s(1000) == pytest.approx(12e6 / 102.4e9)
    assert free.time_s(1000) > each
    assert free.time_s(1000, 10) == pytest.approx(each)


def test_figures_come_from_the_cell_and_assumptions_are_named() -> None:
    base = ct.load_chip("isaac")  # its cell: 10 ns, 0.6 pJ, no figures of the read
    model = write_model(base)
    verify_j = 0.5 * (500e-6 + 0.5e-6) * 0.2**2 * 100e-9
    assert model.array_s == pytest.approx(128 * 10 * (10e-9 + 100e-9))
    assert model.array_j == pytest.approx(128 * 129 * 10 * (0.6e-12 + verify_j))
    assert len(model.notes) == 2
    assert "cycles: assumed" in model.notes[0]
    silent = write_model(base.replaced(cell__write=None, write__cycles=1.0))
    assert len(silent.notes) == 3
    assert all("assumed" in note and "NVSim" in note for note in silent.notes[:2])
    # What is written into a description and read again is the same model, with the same notes.
    assert write_model(base.replaced(write__parallelism="row")).notes == model.notes


def test_a_network_on_few_arrays_pays_by_hand() -> None:
    """Two rounds: every array of both is written once per batch."""
    described = chip(hardware__pipeline="layer_serial", write__arrays_in_parallel=3)
    net = network("lenet5")
    table = stage_table(net, described)
    budget = max(max(s.arrays for s in table.stages), -(-table.arrays // 2) + 1)
    plan = schedule_from(table, arrays=budget, batch=5)
    assert len(plan.rounds) >= 2
    each = 100 * 5 * 50e-9
    assert plan.write_time_s == pytest.approx(sum(-(-one.arrays // 3) * each for one in plan.rounds))
    assert sum(one.arrays for one in plan.rounds) == table.arrays
    assert plan.cells_written == table.arrays * 6000
    assert plan.weight_bits_read == table.arrays * 12000
    assert plan.write_energy_j == pytest.approx(table.arrays * (75e-9 + 12000 * 20e-12))
    assert plan.cells_written_per_sample == pytest.approx(plan.cells_written / 5)
    assert plan.writes_per_cell == len(plan.rounds) * 5
    assert not any("side by side" in note for note in plan.notes)
    together = schedule_from(stage_table(net, chip()), arrays=budget)
    watt = max(one.arrays for one in together.rounds) * 75e-9 / each
    assert any(f"side by side, which takes up to {1e3 * watt:.3g} mW" in note for note in together.notes)
    assert plan.batch_latency_s == pytest.approx(
        plan.write_time_s + 5 * schedule(net, described).latency_s + 5 * plan.spill_time_s
    )


def test_layers_larger_than_the_chip_are_cut() -> None:
    table = stage_table(network("lenet5"), chip())
    pieces = cut(table, 2)
    assert sum(piece.arrays for piece in pieces) == table.arrays
    assert max(piece.arrays for piece in pieces) == 2
    for stage in table.stages:
        mine = [piece for piece in pieces if piece.stage == stage.index]
        assert [piece.last for piece in mine] == [False] * (len(mine) - 1) + [True]
    assert [piece for one in fill(pieces, 2) for piece in one] == pieces
    assert all(sum(piece.arrays for piece in one) <= 2 for one in fill(pieces, 2))
    plan = schedule_from(table, arrays=2)
    assert len(plan.rounds) == len(fill(pieces, 2))
    again = {  # outputs that join several row blocks are kept once more for each further piece, written and read
        stage.name: 2 * stage.plan.shape.output_elements * accumulator_bits(chip())
        for stage in table.stages
        if max(len(pack.blocks) for pack in stage.plan.packs) > 1
    }
    names = [table.stages[piece.stage].name for piece in pieces if piece.number > 0]
    assert again
    assert plan.partial_sum_bits == pytest.approx(sum(again.get(name, 0) for name in names))
    kept = [one for one in plan.buffers if one.name.endswith("(partial sums)")]
    assert {one.name.split(" ")[0] for one in kept} == set(again) & set(names)


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize("side_by_side", [None, 2, 5])
def test_rounds_are_the_best_of_all_partitions(batch: int, side_by_side: int | None) -> None:
    described = chip(hardware__pipeline="pipelined", write__arrays_in_parallel=side_by_side)
    table = stage_table(network("resnet8"), described)
    budget = max(stage.arrays for stage in table.stages) + 3
    model, pieces = write_model(described), cut(table, budget)
    assert len(pieces) == len(table.stages)

    def cost(ends: tuple[int, ...]) -> float:
        total, start = 0.0, 0
        for end in (*ends, len(pieces)):
            arrays = sum(piece.arrays for piece in pieces[start:end])
            if arrays > budget:
                return float("inf")
            slowest = max(float(table.stages[piece.stage].intervals_s[0]) for piece in pieces[start:end])
            total += model.time_s(arrays) + batch * slowest
            start = end
        return total

    places = range(1, len(pieces))
    best = min(cost(ends) for n in range(len(pieces)) for ends in itertools.combinations(places, n))
    found, ends = best_rounds(table, pieces, budget, batch, model), []
    for one in found[:-1]:
        ends.append((ends[-1] if ends else 0) + len(one))
    assert cost(tuple(ends)) == pytest.approx(best, rel=1e-12)


def test_slips_are_told() -> None:
    with pytest.raises(ValueError, match="add source"):
        SpillSpec(energy_per_bit_j=1e-12)
    text = "{name: x, cell: ideal, write: {parallelism: column}}"
    with pytest.raises(SpecError, match="'cell', 'row' or 'array'"):
        parse_chip(text)
    spill = "schedule: {spill: {bandwidth: 25.6 GB/s, source: mine}}"
    text = "{name: x, cell: ideal, write: {pulse_time: 30 ns, cycles: 4}, " + spill + "}"
    read = parse_chip(text)
    assert read.write.pulse_time_s == pytest.approx(30e-9)
    assert read.schedule.spill.bandwidth_bit_per_s == pytest.approx(25.6e9 * 8)
