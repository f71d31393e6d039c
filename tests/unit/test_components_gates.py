"""Components that are computed: each against its formula, worked out by hand at the node that its figures are for."""

from __future__ import annotations

import math

import pytest

from crosstile.cost.adders import tree_full_adders
from crosstile.cost.components import evaluate
from crosstile.cost.estimate import estimate
from crosstile.cost.figures import Figures, Request
from crosstile.cost.library import load_component
from crosstile.cost.peak import peak
from crosstile.cost.scaling import node_factors
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.specs.base import validate
from crosstile.specs.cell import CellSpec
from crosstile.specs.chip import ChipSpec
from crosstile.specs.hardware import HardwareSpec
from crosstile.specs.parts import AdcSpec, ArraySpec, InputSpec, WeightSpec

N28, FF, UM2 = 28e-9, 1e-15, 1e-12
V2 = 0.9**2
FULL_ADDER_F = (3 * 0.7 + 2 * 1.05) * FF  # three NANDs and two XORs
FULL_ADDER_M2 = (3 * 0.614 + 2 * 2.4 * 0.614) * UM2


def figures(name: str, **request: object) -> Figures:
    return evaluate(load_component(name), Request(**{"node_m": N28, **request}))  # type: ignore[arg-type]


def test_an_adder_tree_is_its_adders_added_one_by_one() -> None:
    """Level by level: N / 2 adders of w bits, N / 4 of w + 1 ..."""
    for operands, width in ((2, 1), (4, 3), (64, 8), (256, 1), (1024, 4)):
        count, bits, adders = operands // 2, width, 0
        while count:
            adders, count, bits = adders + count * bits, count // 2, bits + 1
        assert tree_full_adders(operands, width) == adders


def test_adder_tree_by_hand() -> None:
    """Four operands of two weight bits times two input bits: three bits wide; 2 x 3 + 1 x 4 = 10 full adders."""
    tree = figures("adder-tree-gates", rows=16, active_rows=4, width_bits=2, input_bits=2)
    assert tree.energy_j["add"] == pytest.approx(10 * 0.25 * FULL_ADDER_F * V2)
    assert tree.area_m2 == pytest.approx(10 * FULL_ADDER_M2)
    nand_s = 47.8e-12
    assert 1 / tree.rate_hz == pytest.approx(2 * 2 * 2.4 * nand_s + (3 + 2 - 1) * 2 * nand_s)  # type: ignore[operator]


def test_accumulator_by_hand() -> None:
    found = figures("accumulator-gates", width_bits=12)
    assert found.energy_j["add"] == pytest.approx((11 * FULL_ADDER_F + 12 * 2.1 * FF) * V2)
    assert found.area_m2 == pytest.approx(11 * FULL_ADDER_M2 + 12 * 6 * 0.614 * UM2)


def test_flash_by_hand() -> None:
    """Three bits: seven comparators; four full adders count their ones."""
    found, to_65 = figures("adc-flash", node_m=65e-9, bits=3), node_factors(N28, 65e-9)
    assert found.energy_j["convert"] == pytest.approx(7 * 41.7e-15 + 4 * FULL_ADDER_F * V2 * to_65.energy)
    assert found.area_m2 == pytest.approx(7 * 40 * UM2 + 4 * FULL_ADDER_M2 * to_65.area)


def test_ramp_by_hand() -> None:
    """A counter of two bits runs 00 01 10 11 00: six toggles in four steps, eight by 2 (2^b); 1 ns a step."""
    found = figures("adc-ramp", node_m=65e-9, bits=2)
    flip_flop_j = 2.1 * FF * V2 * node_factors(N28, 65e-9).energy
    assert found.energy_j["convert"] == pytest.approx(4 * (41.7e-15 / 8) + 8 * flip_flop_j)
    assert found.rate_hz == pytest.approx(1 / 4e-9)


def test_word_lines_take_what_their_load_takes() -> None:
    one = figures("wordline-driver", columns=100, vdd_v=0.9)
    assert one.energy_j["convert"] == pytest.approx(0.5 * 100 * 0.35 * FF * V2)
    assert figures("wordline-driver", columns=100, cells_per_column=4, vdd_v=0.9).energy_j["convert"] == pytest.approx(
        4 * one.energy_j["convert"]
    )
    own = figures("wordline-driver", columns=100, capacitance_f=2 * FF, vdd_v=0.6)
    assert own.energy_j["convert"] == pytest.approx(0.5 * 100 * 2 * FF * 0.36)
    pulses = figures("wordline-pulses", columns=100, bits=3, vdd_v=0.9)
    assert pulses.energy_j["convert"] == pytest.approx((3.5 * 100 * 0.35 + 7 * 2.1) * FF * V2)
    dac = figures("dac-zigzag", columns=100, bits=6, vdd_v=0.9)
    assert dac.energy_j["convert"] == pytest.approx((0.5 * 100 * 0.35 + 300) * FF * V2)
    assert figures("dac-zigzag", columns=100, bits=1, vdd_v=0.9).energy_j == one.energy_j


def test_the_switches_of_a_multiplexer_by_hand() -> None:
    found = figures("mux-column", columns_per_adc=16)
    assert found.energy_j["select"] == pytest.approx((2 * 0.7 + 16 * 0.35) * FF * V2)
    assert found.area_m2 == pytest.approx(0.307 * UM2)


def test_sram_cells_by_hand() -> None:
    setting = {"rows": 32, "active_rows": 8, "columns": 10, "cell_area_f2": 160.0, "vdd_v": 0.8}
    charge = figures("cells-charge", **setting)
    assert charge.energy_j["read"] == pytest.approx(80 * 0.5 * 2 * FF * 0.64)
    assert charge.area_m2 == pytest.approx(320 * 160 * N28**2)
    assert figures("cells-charge", **setting | {"node_m": 65e-9}).energy_j == charge.energy_j
    current = figures("cells-current", **setting | {"node_m": 56e-9})
    assert current.energy_j["read"] == pytest.approx(80 * 0.25 * 0.7 * FF * 0.64)
    digital = figures("cells-digital", **setting | {"vdd_v": 0.9, "input_bits": 2})
    assert digital.energy_j["read"] == pytest.approx(160 * 0.25 * 0.7 * FF * V2)
    assert digital.area_m2 == pytest.approx(charge.area_m2 + 160 * 0.614 * UM2)


def test_links_by_hand() -> None:
    wire = figures("link-wire", length_m=2e-3, vdd_v=0.8)
    assert wire.energy_j["transfer"] == pytest.approx(0.25 * 0.4e-12 * 0.64)
    assert wire.area_m2 == pytest.approx(4 * N28 * 2e-3)
    assert wire.rate_hz == pytest.approx(1 / 200e-12)
    tree = figures("link-htree", length_m=2e-3, vdd_v=0.9)
    assert tree.energy_j["transfer"] == pytest.approx(0.25 * (0.4e-12 + 6 * 0.7 * FF) * V2)
    hop = figures("link-mesh-hop", node_m=32e-9, length_m=2e-3, vdd_v=0.9)
    assert hop.energy_j["transfer"] == pytest.approx(0.25 * 0.4e-12 * V2 + 20.74e-12 / 256)


def test_sram_buffer_by_hand() -> None:
    """16,384 bits fill one sub-array of 128 x 128."""
    found = figures("sram-buffer", capacity_bits=16384)
    area_m2 = 16384 * 160 * N28**2 * 1.5 + 64 * (6 + 4) * 0.614 * UM2
    lines_f = 128 * 0.35 * FF * (1 + 12.8) + 64 * (2 * 0.7 + 2.1) * FF
    wires_j = 64 * 0.25 * 0.2e-9 * math.sqrt(area_m2) / 2 * V2
    assert found.area_m2 == pytest.approx(area_m2)
    assert found.energy_j["read"] == pytest.approx(lines_f * V2 + wires_j)
    assert found.access_bits == 64
    larger = figures("sram-buffer", capacity_bits=8 * 16384)
    assert larger.leakage_w == pytest.approx(8 * found.leakage_w)
    assert (
        found.energy_j["read"] < larger.energy_j["read"] < 2 * found.energy_j["read"]
    )  # longer wires, the same sub-array


def test_a_pooling_unit_follows_its_width() -> None:
    assert figures("pool-comparator", node_m=40e-9, width_bits=8).energy_j["pool"] == pytest.approx(29.5e-15 / 4)


def macro(component: str = "cell-array", **hardware: object) -> ChipSpec:
    """Return a macro of 8 x 8 cells; 4 rows a read, weights of four bits, two input bits a read."""
    described = {
        "node_m": N28,
        "vdd_v": 0.9,
        "read_cycle_s": 2e-9,
        "arrays_per_macro": 1,
        "macros_per_tile": 1,
        "tiles": 1,
    }
    return ChipSpec(
        name="t",
        cell=CellSpec(name="t", technology="SRAM", g_on_s=100e-6, g_off_s=0.0, height_f=10, width_f=16),
        weights=WeightSpec(bits=4, cell_bits=1, encoding="twos_complement"),
        inputs=InputSpec(bits=4, dac_bits=2),
        array=ArraySpec(rows=8, columns=8, active_rows=4),
        adc=AdcSpec(bits=None),
        hardware=validate(
            HardwareSpec, described | {"components": {"cell_array": {"component": component}}} | hardware, origin="t"
        ),
    )


DIGITAL = {
    "cell_array": {"component": "cells-digital"},
    "adder_tree": {"component": "adder-tree-gates"},
    "shift_add": {"component": "accumulator-gates", "width": 10},
}


def test_a_digital_macro_by_hand() -> None:
    """Two outputs; a vector takes two planes of two segments: four reads, each with two trees of four 5-bit operands."""
    found = peak(macro(components=DIGITAL))
    adders = 4 * (5 + 1) - (5 + 2 + 1)
    tree_j = 4 * 2 * adders * 0.25 * FULL_ADDER_F * V2
    cells_j = 4 * (4 * 8) * 2 * 0.25 * 0.7 * FF * V2
    sums_j = 4 * 2 * (9 * FULL_ADDER_F + 10 * 2.1 * FF) * V2
    assert found.energy_j == pytest.approx({"cell_array": cells_j, "adder_tree": tree_j, "shift_add": sums_j})
    assert found.vector_s == pytest.approx(8e-9)
    assert found.tops == pytest.approx(2 * 8 * 2 / 8e-9 * 1e-12)
    assert found.tops_per_w == pytest.approx(2 * 8 * 2 / (tree_j + cells_j + sums_j) * 1e-12)
    assert found.areas_m2["adder_tree"] == pytest.approx(2 * adders * FULL_ADDER_M2)


def test_narrow_trees_are_as_many_as_the_weight_has_groups() -> None:
    one, four = (
        peak(macro(components=DIGITAL)),
        peak(macro(components=DIGITAL | {"adder_tree": {"component": "adder-tree-gates", "width": 1}})),
    )
    narrow, wide = tree_full_adders(4, 2), tree_full_adders(4, 5)
    assert four.energy_j["adder_tree"] / one.energy_j["adder_tree"] == pytest.approx(4 * narrow / wide)
    assert four.areas_m2["adder_tree"] / one.areas_m2["adder_tree"] == pytest.approx(4 * narrow / wide)
    assert four.energy_j["shift_add"] == pytest.approx(4 * one.energy_j["shift_add"])


def test_switches_and_amplifiers_are_charged_for_conversions() -> None:
    parts = {
        "cell_array": {"component": "cell-array"},
        "mux": {"component": "mux-column"},
        "amplifier": {"component": "amplifier-integrator-wan"},
        "adc": {"component": "adc-zigzag"},
    }
    chip = macro(components=parts, columns_per_adc=4)
    found = peak(chip)
    conversions = 4 * 8  # four reads of eight columns
    assert found.energy_j["mux"] == pytest.approx(conversions * (2 * 0.7 + 4 * 0.35) * FF * V2)
    settle_j = figures("amplifier-integrator-wan", vdd_v=0.9).energy_j["settle"]
    assert found.energy_j["amplifier"] == pytest.approx(conversions * settle_j)
    assert found.areas_m2["mux"] == pytest.approx(8 * 0.307 * UM2)
    assert found.areas_m2["amplifier"] == pytest.approx(2 * figures("amplifier-integrator-wan").area_m2)


def test_clamped_columns_draw_from_the_supply() -> None:
    ohmic, clamped = peak(macro()), peak(macro("cell-array-clamped"))
    assert clamped.energy_j["cell_array"] == pytest.approx(ohmic.energy_j["cell_array"] * 0.9 / 0.2)
    assert clamped.area_m2 == ohmic.area_m2


def test_the_peak_is_that_of_an_estimate() -> None:
    chip = macro(components=DIGITAL)
    report = estimate([plan_layer(LayerShape("fc", "linear", 8, 1, 2, 1, 1, 8, 2, False), chip)], chip)
    found = peak(chip)
    assert (report.tops_peak, report.tops_per_w_peak, report.tops_per_mm2_peak) == pytest.approx(
        (found.tops, found.tops_per_w, found.tops_per_mm2), rel=1e-12
    )
    assert report.layers[0].read_cycle_s == 2e-9
    assert report.layers[0].limited_by == "given"


def test_a_digital_array_misses_no_converter() -> None:
    chip = macro(components=DIGITAL)
    report = estimate([plan_layer(LayerShape("fc", "linear", 8, 1, 2, 1, 1, 8, 2, False), chip)], chip)
    assert not [note for note in report.notes if "adc" in note or "converter" in note or "sample_hold" in note]
    assert [note for note in report.notes if "no dac" in note]


def test_settings_that_a_component_does_not_take_are_refused() -> None:
    for use, what in (
        ({"component": "cells-digital", "capacitance": 1e-15}, "capacitance"),
        ({"component": "cell-array", "length": 1e-3}, "length"),
    ):
        with pytest.raises(SpecError, match=f"has no {what}"):
            peak(macro(components={"cell_array": use}))
