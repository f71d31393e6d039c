"""Tenants on one chip: sums by hand, a single tenant, waits, order, the command, and the study beside published figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import crosstile as ct
from crosstile.cli_tenants import register
from crosstile.errors import CrosstileError, ModelError, SpecError, UsageError
from crosstile.reproduce.multi_tenant import MIXES, SIZES, case_table, cases, document, findings
from crosstile.reproduce.published import load_study
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import evaluate_table
from crosstile.system.schedule import schedule_from
from crosstile.system.stages import stage_table
from crosstile.system.tenant_partition import apportion
from crosstile.system.tenant_result import jain_index
from crosstile.system.tenants import METHODS, Tenants
from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network
from crosstile.workloads.table import network

ALL = ("direct", "time_shared", "equal", "proportional", "exhaustive", "iterative")


def bare(**changes: Any) -> ChipSpec:
    """A chip whose vectors take 800 ns and whose arrays of 32 x 32 two-bit cells are written in 320 ns with 1 pJ a cell."""
    fixed: dict[str, Any] = {
        "array__rows": 32, "array__columns": 32, "array__read_time_s": 100e-9, "hardware__clock_hz": 1e9,
        "hardware__components": {"cell_array": {"component": "cell-array"}}, "hardware__pipeline": "pipelined",
        "write__cycles": 1.0, "write__pulse_time_s": 10e-9, "write__verify_time_s": 0.0, "write__pulse_energy_j": 1e-12,
        "write__verify_energy_j": 0.0,
    }  # fmt: skip
    return ct.load_chip("reram-8b").replaced(**(fixed | changes))


def convolutions(name: str, layers: int, rows: int = 6) -> Network:
    """A chain of convolutions on maps of ``rows`` x 5; each takes one array of the bare chip."""
    b = Builder(name, (2, rows, 5), signed=False)
    x = b.input
    for i in range(layers):
        x = b.conv(f"c{i}", x, 3, 3)
    return b.build()


def test_direct_deployment_by_hand() -> None:
    """Layers of 30 vectors one after the other, for each of three samples; before each turn its arrays are written."""
    batch, vector_s, drain_s = 3, 8 * 100e-9, 1e-9
    nets = [convolutions("two", 2), convolutions("one", 1)]
    run = Tenants(nets, bare()).run(8, batch=batch, method="direct")
    layer_s, write_s = 30 * vector_s + drain_s, 32 * 10e-9  # 20 ns to read an array's weights are less
    turns = {"one": write_s + batch * layer_s, "two": write_s + batch * 2 * layer_s}
    assert run.makespan_s == pytest.approx(sum(turns.values()), rel=1e-12)
    two, one = run.tenants
    assert (one.start_s, one.end_s) == (0.0, pytest.approx(turns["one"], rel=1e-12))  # the shorter first
    assert (two.start_s, two.end_s) == (one.end_s, pytest.approx(run.makespan_s, rel=1e-12))
    assert [t.latency_s for t in (two, one)] == pytest.approx([write_s + 2 * layer_s, write_s + layer_s], rel=1e-12)
    array_j = 1024 * 1e-12 + 1024 * 2 * 20e-12  # cells written, two bits of each read from the memory
    assert [two.write_energy_j, one.write_energy_j] == pytest.approx([2 * array_j, array_j], rel=1e-12)
    stages = [stage for net in nets for stage in stage_table(net, bare()).stages]
    dynamic_j = batch * sum(stage.energy_j for stage in stages)
    assert run.energy_by_component_j["leakage"] == 0.0  # cells do not leak
    assert run.energy_j == pytest.approx(dynamic_j + 3 * array_j, rel=1e-12)


def test_direct_deployment_without_room_by_hand() -> None:
    """Two layers on one array: rounds of one layer, each written once a batch; nothing is written twice for the turn."""
    batch, write_s, layer_s = 3, 32 * 10e-9, 30 * 8 * 100e-9 + 1e-9
    nets = [convolutions("two", 2), convolutions("one", 1)]
    shared = Tenants(nets, bare())
    with pytest.raises(SpecError, match="each needs at least one"):
        shared.run(1, method="direct")
    run = Tenants([convolutions("three", 3), nets[1]], bare()).run(2, batch=batch, method="direct")
    three, one = run.tenants
    assert (three.rounds, one.rounds) == (2, 1)
    assert three.end_s - three.start_s == pytest.approx(2 * write_s + batch * 3 * layer_s, rel=1e-12)
    assert run.makespan_s == pytest.approx(3 * write_s + batch * 4 * layer_s, rel=1e-12)


def test_taking_turns_by_hand() -> None:
    """Best schedules on the whole chip; copies are written as well, all at once, and their weights are read once."""
    chip, nets = bare(), [convolutions("a", 2, 12), convolutions("b", 1)]
    run = Tenants(nets, chip).run(8, batch=4, method="time_shared")
    plans = [schedule_from(stage_table(net, chip), arrays=8, batch=4, duplication="optimal") for net in nets]
    assert run.makespan_s == pytest.approx(sum(plan.batch_latency_s for plan in plans) + 2 * 320e-9, rel=1e-12)
    written = [plan.arrays_used * 1024 * 1e-12 for plan in plans]
    read = [stage_table(net, chip).arrays * 2048 * 20e-12 for net in nets]
    assert [t.write_energy_j for t in run.tenants] == pytest.approx([w + r for w, r in zip(written, read, strict=True)])
    assert plans[0].arrays_used > stage_table(nets[0], chip).arrays


@pytest.mark.parametrize(
    ("name", "arrays", "batch"),
    [("resnet8", 30, 1), ("resnet8", 30, 4), ("resnet8", 300, 1), ("resnet8", 300, 16), ("resnet20", 300, 4)],
)
def test_one_tenant_alone_is_the_schedule(name: str, arrays: int, batch: int) -> None:
    chip = ct.load_chip("reram-8b").replaced(hardware__pipeline="pipelined")
    table = stage_table(network(name), chip)
    for method in METHODS:
        run = Tenants([network(name)], chip).run(arrays, batch=batch, method=method)
        mine = run.tenants[0]
        if method == "direct":
            serial = stage_table(network(name), chip.replaced(hardware__pipeline="layer_serial"))
            cost = evaluate_table(serial, arrays=arrays, batch=batch, duplication="none")
        else:  # a network that does not fit may leave arrays unused
            cost = evaluate_table(table, arrays=arrays, batch=batch, duplication="optimal")
            assert run.makespan_s <= cost.schedule.batch_latency_s
            assert cost.schedule.fits is (arrays == 300)
            if cost.schedule.batch_latency_s > run.makespan_s:
                cost = evaluate_table(table, arrays=mine.arrays_used, batch=batch, duplication="optimal")
            assert (mine.slowdown, run.fairness, mine.wait_s) == (1.0, 1.0, 0.0)
        assert run.makespan_s == mine.end_s == cost.schedule.batch_latency_s
        assert mine.latency_s == cost.latency_s
        leakage_w = evaluate_table(table, arrays=arrays).leakage_power_w
        for part, joule in cost.energy_by_component_j.items():
            wanted = leakage_w * run.makespan_s if part == "leakage" else batch * joule
            assert run.energy_by_component_j[part] == pytest.approx(wanted, rel=1e-12), part


@pytest.mark.parametrize("method", ALL)
def test_order_does_not_matter(method: Any) -> None:
    nets = (network("resnet8"), network("lenet5"), convolutions("small", 5, 20))
    found = []
    for order in (nets, nets[::-1], nets[1:] + nets[:1]):
        run = Tenants(order, ct.load_chip("reram-8b")).run(120, batch=4, method=method)
        assert [tenant.name for tenant in run.tenants] == [net.name for net in order]
        parts = {tenant.name: (tenant.arrays, tenant.end_s, tenant.energy_j) for tenant in run.tenants}
        found.append((run.makespan_s, run.energy_j, run.fairness, parts))
    assert all(one == found[0] for one in found)


def test_tenants_wait_for_the_memory_only_where_both_use_it() -> None:
    chip = ct.load_chip("reram-8b").replaced(hardware__pipeline="pipelined")
    nets = [network("resnet20"), network("resnet32")]
    tenants = Tenants(nets, chip)
    run = tenants.run(200, batch=2, method="equal")
    bandwidth = chip.schedule.spill.bandwidth_bit_per_s
    plans = [
        schedule_from(stage_table(net, chip), arrays=tenant.arrays_used, batch=2, duplication="optimal")
        for net, tenant in zip(nets, run.tenants, strict=True)
    ]
    needs = [plan.weight_bits_read / bandwidth + 2 * plan.spill_time_s for plan in plans]
    assert min(needs) > 0
    assert needs[0] < needs[1]
    for tenant, plan in zip(run.tenants, plans, strict=True):
        assert not plan.fits
        assert tenant.wait_s == pytest.approx(min(needs), rel=1e-9)
        assert tenant.end_s == pytest.approx(plan.batch_latency_s + min(needs), rel=1e-12)
    roomy = tenants.run(2 * 272, batch=2, method="equal")
    assert [tenant.wait_s for tenant in roomy.tenants] == [0.0, 0.0]
    # Where the supply limits writing, that is what tenants wait for, and it is longer than reading.
    limited = Tenants(nets, chip.replaced(write__arrays_in_parallel=1)).run(200, batch=2, method="equal")
    assert limited.tenants[0].wait_s == pytest.approx(min(tenant.write_time_s for tenant in limited.tenants), rel=1e-9)
    assert limited.makespan_s > run.makespan_s


def test_chip_io_is_divided_by_inputs() -> None:
    """Where the link sets the pace, each further sample of a twin takes the inputs of both."""
    base = ct.load_chip("isaac")
    parts = base.model_dump()["hardware"]["components"]
    parts["chip_io"] |= {"rate_hz": 1e3}
    chip = base.replaced(hardware__components=parts, hardware__pipeline="pipelined")
    net = network("resnet8")
    alone = stage_table(net, chip)
    assert alone.input_s > max(float(stage.intervals_s[0]) for stage in alone.stages)
    tenants = Tenants([net, net], chip)
    few, more = (tenants.run(4 * alone.arrays, batch=batch, method="equal").tenants for batch in (4, 5))
    assert [tenant.name for tenant in few] == ["resnet8 #1", "resnet8 #2"]
    assert few[0].end_s == few[1].end_s
    assert more[0].end_s - few[0].end_s == pytest.approx(2 * alone.input_s, rel=1e-9)
    whole = [tenants.run(4 * alone.arrays, batch=batch, method="time_shared").tenants[0] for batch in (4, 5)]
    assert whole[1].alone_s - whole[0].alone_s == pytest.approx(alone.input_s, rel=1e-9)


def test_parts_and_fairness_by_hand() -> None:
    assert apportion([1, 1, 1], 10, [1, 1, 1]) == (4, 3, 3)
    assert apportion([8, 1, 1], 10, [1, 3, 1]) == (6, 3, 1)
    assert apportion([1e6, 1, 1], 9, [1, 2, 3]) == (4, 2, 3)
    assert jain_index([0.25, 0.25]) == 1.0
    assert jain_index([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert jain_index([1.0, 0.5]) == pytest.approx(2.25 / 2.5)


def test_weights_move_arrays_to_a_tenant() -> None:
    nets = [network("resnet8"), network("lenet5")]
    plain, heavy = (
        Tenants(nets, ct.load_chip("reram-8b"), weights).run(200, batch=8, objective="slowdown")
        for weights in (None, (20.0, 1.0))
    )
    assert heavy.tenants[0].slowdown < plain.tenants[0].slowdown
    assert plain.mean_slowdown == pytest.approx(sum(t.slowdown for t in plain.tenants) / 2)
    assert heavy.mean_slowdown == pytest.approx((20 * heavy.tenants[0].slowdown + heavy.tenants[1].slowdown) / 21)
    best = Tenants(nets, ct.load_chip("reram-8b")).run(200, batch=8)
    assert best.makespan_s <= plain.makespan_s
    assert best.mean_slowdown >= plain.mean_slowdown


def test_what_was_asked_before_does_not_matter() -> None:
    nets = [network("resnet8"), convolutions("small", 5, 20)]
    fresh, used = (Tenants(nets, ct.load_chip("reram-8b")) for _ in range(2))
    for arrays in (20, 200, 45):
        used.run(arrays, batch=4)
    again, first = used.run(50, batch=4).as_dict(), fresh.run(50, batch=4).as_dict()
    assert again.pop("evaluations") < first.pop("evaluations")
    assert again == first


def test_slips_are_told() -> None:
    nets = [network("lenet5"), network("resnet8")]
    with pytest.raises(UsageError, match="at least one network"):
        Tenants([], bare())
    with pytest.raises(UsageError, match="a weight above 0 is wanted for each of 2"):
        Tenants(nets, bare(), [1.0])
    with pytest.raises(SpecError, match=r"hardware\.tiles makes 64"):
        Tenants(nets, ct.load_chip("reram-8b").replaced(hardware__tiles=2)).run(65)
    with pytest.raises(UsageError, match="method is 'best'"):
        Tenants(nets, bare()).run(50, method="best")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="use iterative"):
        Tenants([*nets, *nets], ct.load_chip("reram-8b")).run(200, method="exhaustive")


app = typer.Typer()
app.callback()(lambda: None)
register(app)
WORDS = ("resnet8", "lenet5", "resnet8", "--arrays", "60,200", "--batch", "1,8")


def call(*words: str) -> str:
    result = CliRunner().invoke(app, ["tenants", *words], env={"COLUMNS": "80"})
    if isinstance(result.exception, CrosstileError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_tables_fit_80_columns() -> None:
    text = call(*WORDS)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for word in ("resnet8 #2", "through", "fair", "direct", "in turn", "iterative"):
        assert word in text


def test_json_and_page(tmp_path: Path) -> None:
    data = json.loads(call(*WORDS, "--out", str(tmp_path), "--json"))
    assert data == json.loads((tmp_path / "tenants.json").read_text())
    assert data["format"] == "crosstile-tenants-1"
    assert [(case["arrays"], case["batch"]) for case in data["cases"]] == [(60, 1), (60, 8), (200, 1), (200, 8)]
    for case in data["cases"]:
        run = case["runs"]["iterative"]
        assert sum(tenant["arrays"] for tenant in run["tenants"]) == case["arrays"]
        gains = case["gains"]["iterative"]
        product = gains["pipelining, copies, side by side"]["speed"] * gains["partition"]["speed"]
        assert gains["total"]["speed"] == pytest.approx(product)
        assert gains["total"]["speed"] == pytest.approx(case["runs"]["direct"]["makespan_s"] / run["makespan_s"])
    page = (tmp_path / "tenants.html").read_text()
    assert data["command"] in page.replace("&#39;", "'")
    assert not re.search(r'(?:src|href)\s*=\s*["\'](?:https?:)?//', page.split("<script>")[0])
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert set(figures) == {"share", "time", "speed"}
    shares = [bar["y"] for bar in figures["share"]["data"]]
    assert [sum(column) for column in zip(*shares, strict=True)] == pytest.approx([100.0] * 4)
    for name in figures:
        assert f'id="plot-{name}"' in page


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (("resnet8", "resnet9"), ModelError, "resnet9"),
        (("resnet8",), UsageError, "two networks or more"),
        (("resnet8", "lenet5", "--arrays", "0"), UsageError, "at least 1"),
        (("resnet8", "lenet5", "--arrays", "1"), SpecError, "each needs at least one"),
        (("resnet8", "lenet5", "--batch", "x"), UsageError, "--batch"),
        (("resnet8", "lenet5", "--method", "direct"), UsageError, "always printed"),
        (("resnet8", "lenet5", "--weights", "1,0"), UsageError, "above 0"),
        (("resnet8", "lenet5", "--weights", "1;2"), UsageError, "--weights"),
        (("resnet8", "lenet5", "--objective", "energy"), UsageError, "--objective"),
    ],
)
def test_slips_on_the_command_line(words: tuple[str, ...], error: type[CrosstileError], told: str) -> None:
    with pytest.raises(error, match=told):
        call(*words)


def test_the_study_names_what_is_published_and_what_is_ours() -> None:
    """A small run of the study; agreement with the published range is told, never demanded."""
    study = load_study("multi-tenant")
    points = {name: (claim.points, claim.basis) for name, claim in study.claims.items()}
    assert points == {
        "least_speed": (1.75, "published"), "most_speed": (60.43, "published"), "most_energy": (1.89, "published"),
        "scale": (None, "recollected"),
    }  # fmt: skip
    assert len(MIXES) >= 3
    assert len(SIZES) >= 4
    found = cases({"small": ("lenet5", "resnet8")}, (40, 200), (1, 16))
    assert [(case.found.arrays, case.found.batch) for case in found] == [(40, 1), (40, 16), (200, 1), (200, 16)]
    for case in found:
        gains = case.gains
        factors = gains["pipelining, copies, side by side"], gains["partition"]
        assert gains["total"].speed == pytest.approx(factors[0].speed * factors[1].speed)
        assert gains["total"].energy == pytest.approx(factors[0].energy * factors[1].energy)
        assert gains["partition"].speed >= 1
        assert 0 < case.writing < 1
    told = findings(study, found)
    speeds = [case.gains["total"].speed for case in found]
    assert len(told) == len(study.claims)
    assert f"{min(speeds):.3g} times at least" in told[0].ours
    assert f"{max(speeds):.4g} times at most" in told[1].ours
    inside = sum(1.75 <= speed <= 60.43 for speed in speeds)
    assert f"{inside} of 4 cases" in told[0].told
    assert "recollected" in told[3].published
    assert case_table(found).row_count == 4
    assert len(json.loads(json.dumps(document(study, found), allow_nan=False))["cases"]) == 4
