"""Library components: every one against its contract, the formulas against listed points, scaling."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from crosstile.cost.adc_survey import survey_area_m2, survey_energy_j
from crosstile.cost.components import evaluate
from crosstile.cost.figures import Request
from crosstile.cost.library import ACTIONS, LIBRARY, component_names, load_component, read_component
from crosstile.cost.scaling import node_factors
from crosstile.errors import SpecError
from crosstile.specs.base import validate
from crosstile.specs.hardware import ROLES, ComponentUse, HardwareSpec

NODES_M = [n * 1e-9 for n in (130, 90, 65, 45, 40, 32, 28, 22, 20, 16, 14, 10, 7)]


@pytest.mark.parametrize("name", component_names())
def test_contract(name: str) -> None:
    spec = load_component(name)
    assert spec.tag in ("published", "derived", "assumed")
    assert len(spec.source) > 10
    if "recollection" in spec.source:
        assert spec.tag == "assumed"
        assert "to be verified" in spec.source
    if spec.tag == "derived" and spec.formula not in ("cell-array", "cell-array-clamped"):
        assert "as coded by" in spec.source
    assert set(spec.roles) <= set(ROLES)
    for node_m in NODES_M:
        figures = evaluate(spec, Request(node_m=node_m, bits=8, rows=128, columns=128, read_time_s=100e-9))
        for role in spec.roles:
            assert set(figures.energy_j) in (set(ACTIONS[role]), set())
        assert bool(figures.energy_j) == (not name.startswith("cell-array") and spec.role != "static")
        numbers = [*figures.energy_j.values(), figures.area_m2]
        numbers += [v for v in (figures.rate_hz, figures.busy_power_w) if v is not None]
        assert all(math.isfinite(v) and v > 0 for v in numbers), numbers
        assert math.isfinite(figures.leakage_w)
        assert figures.leakage_w >= 0


@pytest.mark.parametrize("name", [n for n in component_names() if load_component(n).actions is not None])
def test_figures_at_their_own_node_are_the_files(name: str) -> None:
    spec = load_component(name)
    figures = evaluate(spec, Request(node_m=spec.node_m))
    assert figures.energy_j == spec.actions
    assert figures.area_m2 == spec.area_m2
    assert figures.rate_hz == spec.rate_hz
    assert figures.leakage_w == spec.leakage_w


@pytest.mark.parametrize(
    ("bits", "rate_hz", "node_nm", "energy_pj", "area_um2"),
    [
        (5, 1e9, 22, 0.463, 2782),
        (6, 1e9, 22, 0.527, 2892),
        (8, 1e9, 22, 0.847, 3334),
        (8, 1.2e9, 32, 1.849, 6313),
        (8, 1e8, 65, 6.49, 11860),
        (6, 1e7, 130, 14.9, 19950),
    ],
)
def test_survey_fit_at_points_of_the_plug_in(
    bits: int, rate_hz: float, node_nm: float, energy_pj: float, area_um2: float
) -> None:
    energy_j = survey_energy_j(bits, rate_hz, node_nm * 1e-9)
    assert energy_j * 1e12 == pytest.approx(energy_pj, rel=3e-3)
    assert survey_area_m2(energy_j, rate_hz, node_nm * 1e-9) * 1e12 == pytest.approx(area_um2, rel=5e-4)


def test_survey_refuses_what_the_fit_does_not_cover() -> None:
    survey = load_component("adc-survey")
    with pytest.raises(SpecError, match=r"4 to 20 bits, found adc\.bits 3"):
        evaluate(survey, Request(node_m=32e-9, bits=3))
    with pytest.raises(SpecError, match="10 GS/s"):
        evaluate(survey, Request(node_m=32e-9, bits=8, rate_hz=2e10))


def test_zigzag_by_hand() -> None:
    figures = evaluate(load_component("adc-zigzag"), Request(node_m=28e-9, bits=5, rows=64))
    assert figures.energy_j["convert"] == pytest.approx((500 + 1.024) * 0.81e-15)
    assert 1 / figures.rate_hz == pytest.approx(5 * (0.00653 * 64 + 0.640) * 1e-9)  # type: ignore[operator]
    assert figures.area_m2 == pytest.approx(10**1.0215 * 32e-12)


def test_neurosim_by_hand() -> None:
    figures = evaluate(load_component("adc-neurosim-sar"), Request(node_m=32e-9, bits=5))
    assert figures.energy_j["convert"] == pytest.approx((1.129 * 5 + 8.9) * 1e-6 * 6e-9)
    assert figures.area_m2 == pytest.approx((269 + 436 + 209 + 292) * 112 * (32e-9) ** 2)
    with pytest.raises(SpecError, match="130 to 1 nm"):
        evaluate(load_component("adc-neurosim-sar"), Request(node_m=180e-9, bits=5))


@pytest.mark.parametrize("name", [n for n in component_names() if load_component(n).role == "adc" and n != "adc-mnsim"])
def test_more_bits_cost_more(name: str) -> None:
    found = [evaluate(load_component(name), Request(node_m=32e-9, bits=b, rows=128)) for b in range(4, 13)]
    for less, more in pairwise(found):
        assert more.energy_j["convert"] > less.energy_j["convert"]
        assert more.area_m2 > less.area_m2


def test_a_table_takes_the_next_larger_converter_and_says_so() -> None:
    mnsim = load_component("adc-mnsim")
    seven = evaluate(mnsim, Request(node_m=32e-9, bits=7))
    assert seven.energy_j == evaluate(mnsim, Request(node_m=32e-9, bits=8)).energy_j
    assert seven.notes == ("adc-mnsim: 8 bits taken for 7",)
    with pytest.raises(SpecError, match="10 bits, found 11"):
        evaluate(mnsim, Request(node_m=32e-9, bits=11))


def test_isaac_converter_doubles_per_bit_and_slows() -> None:
    adc = load_component("adc-isaac-sar-8b")
    nine = evaluate(adc, Request(node_m=32e-9, bits=9))
    assert nine.energy_j["convert"] == pytest.approx(2 * 1.5625e-12)
    assert nine.area_m2 == pytest.approx(2.4e-9)
    assert nine.rate_hz == pytest.approx(1.28e9 * 8 / 9)
    fast = evaluate(adc, Request(node_m=32e-9, bits=8, rate_hz=2e9))
    assert fast.rate_hz == 2e9
    assert "asked for" in fast.notes[0]


def test_crossbar_grows_four_times_per_doubling() -> None:
    xbar = load_component("crossbar-isaac")
    big = evaluate(xbar, Request(node_m=32e-9, rows=256, columns=256, read_time_s=50e-9))
    assert big.energy_j["read"] == pytest.approx(30e-12 * 4 / 2)
    assert big.area_m2 == pytest.approx(1e-10)


def test_cell_array_is_geometry() -> None:
    figures = evaluate(load_component("cell-array"), Request(node_m=40e-9, rows=10, columns=20, cell_area_f2=12.0))
    assert figures.area_m2 == pytest.approx(200 * 12 * 1.6e-15)


def test_scaling() -> None:
    for node_m in NODES_M:
        same = node_factors(node_m, node_m)
        assert (same.energy, same.area, same.delay, same.leakage) == (1, 1, 1, 1)
    there, back = node_factors(65e-9, 22e-9), node_factors(22e-9, 65e-9)
    assert there.energy * back.energy == pytest.approx(1)
    assert there.area * back.area == pytest.approx(1)
    assert node_factors(32e-9, 130e-9).area == pytest.approx(14)
    v = 0.8
    assert node_factors(130e-9, 7e-9).energy == pytest.approx(
        (0.1776 * v * v - 0.09097 * v + 0.02447) / (7.171 * v * v - 6.709 * v + 2.904)
    )
    # Beyond the table: area with the node, energy with its root.
    assert node_factors(130e-9, 260e-9).area == pytest.approx(2)
    assert node_factors(130e-9, 260e-9).energy == pytest.approx(2**0.5)
    with pytest.raises(SpecError, match="positive"):
        node_factors(0.0, 32e-9)


def test_energy_and_area_fall_with_the_node() -> None:
    factors = [node_factors(130e-9, n) for n in NODES_M]
    for larger, smaller in pairwise(factors):
        assert smaller.area < larger.area
        assert smaller.energy < larger.energy


def test_unknown_names_are_answered_with_a_near_one() -> None:
    with pytest.raises(SpecError, match="did you mean 'adc-survey'"):
        load_component("adc-survy")
    with pytest.raises(SpecError, match=r"no component is called '\.\./chips/isaac'"):
        load_component("../chips/isaac")
    with pytest.raises(SpecError, match=r"components.*did you mean 'adc-zigzag'"):
        validate(
            HardwareSpec,
            {"components": {"cell_array": {"component": "cell-array"}, "adc": {"component": "adc-zigzak"}}},
            origin="test",
        )


def test_broken_component_files_are_refused(tmp_path: Path) -> None:
    good = (LIBRARY / "components" / "adc-forms-4b.yaml").read_text()
    for change, message in [
        (("tag: derived", "tag: certain"), "tag"),
        (("area: 284.375 um2", "area: 284.375"), "no unit"),
        (("name: adc-forms-4b", "name: other"), "must agree"),
        (("{convert: 0.22619 pJ}", "{read: 0.22619 pJ}"), "needs the actions"),
        (("role: adc", "role: adk"), "role"),
        (("{convert: 0.22619 pJ}", "{convert: -1 pJ}"), "greater than or equal"),
        (("power: -1", "power: -1, per_unit: 2"), "either per_unit or power"),
        (("node: 32 nm", "nod: 32 nm"), "did you mean 'node'"),
    ]:
        path = tmp_path / "adc-forms-4b.yaml"
        assert change[0] in good
        path.write_text(good.replace(*change))
        with pytest.raises(SpecError, match=message):
            read_component(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"components": {"adk": {"component": "adc-survey"}}}, "did you mean 'adc'"),
        ({"components": {"adc": {"component": "adc-survey"}}}, "no entry has the role cell_array"),
        ({"components": {"cell_array": {"component": "cell-array", "count": 2}}}, "remove count"),
        ({"components": {"cell_array": {"component": "cell-array", "count": 0}}}, "greater than 0"),
        ({"adcs_per_array": 1, "columns_per_adc": 8}, "give one of them"),
        ({"tiles": 0}, "greater than or equal to 1"),
        ({"pipeline": "both"}, "pipelin"),
    ],
)
def test_hardware_errors(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        validate(HardwareSpec, fields, origin="test")


def test_the_number_of_converters_has_one_place() -> None:
    cells = {"component": "cell-array"}
    with pytest.raises(SpecError, match="adcs_per_array"):
        validate(
            HardwareSpec,
            {"components": {"cell_array": cells, "adc": {"component": "adc-survey", "count": 4}}},
            origin="test",
        )
    with pytest.raises(SpecError, match="both have the role adc"):
        validate(
            HardwareSpec,
            {"components": {"cell_array": cells, "adc": {"component": "adc-survey"},
                            "adc2": {"role": "adc", "component": "adc-zigzag"}}},
            origin="test",
        )  # fmt: skip
    assert HardwareSpec(columns_per_adc=8).adcs_for(100) == 13
    assert HardwareSpec().adcs_for(100) == 1


def test_replacing_a_figure_needs_a_source() -> None:
    with pytest.raises(ValueError, match="add source"):
        ComponentUse(component="adc-survey", energy=1e-12)
    assert ComponentUse(component="adc-survey", energy=1e-12, source="our tape-out").replaces == ("energy",)


def test_units_are_wanted_in_files_and_defaults_need_none() -> None:
    spec = validate(HardwareSpec, {"node": "22 nm"}, origin="test", units_required=True)
    assert spec.node_m == pytest.approx(22e-9)
    assert spec.components == HardwareSpec().components
    with pytest.raises(SpecError, match="no unit"):
        validate(HardwareSpec, {"clock": 1e9}, origin="test", units_required=True)


def test_cost_does_not_import_torch() -> None:
    code = "import sys, crosstile.cost.estimate, crosstile.cost.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
