"""Wires as a description: ohms by hand, the table of metals, the limits, what refusals say, and the page that shows them.

Tolerance of figures computed by hand: 1e-12 relative, some roundings of a double and no more.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import SpecError
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml, load_cell, load_chip, parse_chip
from crosstile.specs.metals import metal_at, metal_table, weakest
from crosstile.specs.wires import LineSpec, WireSpec
from crosstile.units import parse_quantity

ROOT = Path(__file__).resolve().parents[2]
EXACT = 1e-12
CELL = "{name: c, technology: t, g_on: 100 uS, g_off: 1 uS, height_f: 10, width_f: 20}"


def chip(wires: str, cell: str = CELL, hardware: str = "{node: 32 nm}") -> ChipSpec:
    return parse_chip(f"name: m\ncell: {cell}\narray: {{wires: {wires}}}\nhardware: {hardware}\n", "mine.yaml")


def ohms(wires: str, **more: str) -> tuple[float, float]:
    found = chip(wires, **more).wires
    assert found is not None
    return found.word_line_ohm, found.bit_line_ohm


def refusal(wires: str, **more: str) -> str:
    with pytest.raises(SpecError) as caught:
        chip(wires, **more)
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "array.wires" in message
    return message


# ------------------------------------------------------------ resistances


def test_no_wires_is_none_and_zero_ohm_is_not() -> None:
    assert chip("null").wires is None
    assert load_chip("reram-8b").wires is None
    zero = chip("{word_line: 0 ohm, bit_line: 0 ohm}").wires
    assert zero == Wires(0.0, 0.0)
    assert zero is not None
    assert zero.ideal


def test_resistances_as_given() -> None:
    wires = chip("{word_line: 2.5 ohm, bit_line: 0.1 kohm, driver: 500 ohm, sense: 10 mS, topology: same_side}").wires
    assert wires is not None
    assert (wires.word_line_ohm, wires.bit_line_ohm, wires.driver_ohm, wires.sense_ohm) == pytest.approx(
        (2.5, 100.0, 500.0, 100.0), rel=EXACT
    )
    assert wires.topology == "same_side"
    for topology in TOPOLOGIES:
        found = chip(f"{{word_line: 1 ohm, bit_line: 1 ohm, topology: {topology}}}").wires
        assert found is not None
        assert found.topology == topology


def test_the_limits_themselves_are_allowed() -> None:
    assert ohms("{word_line: 1 Mohm, bit_line: 0 ohm}") == (1e6, 0.0)


# ------------------------------------------------------------ metal


def test_a_metal_by_hand() -> None:
    """60 nm x 120 nm, no barrier, 2.5e-8 ohm m; segments of 20 F = 640 nm and 10 F = 320 nm."""
    metal = "{width: 60 nm, thickness: 120 nm, resistivity: 2.5e-8 ohm m}"
    word, bit = ohms(f"{{word_line: {metal}, bit_line: {metal}}}")
    assert word == pytest.approx(2.5e-8 * 640e-9 / 7.2e-15, rel=EXACT)
    assert bit == pytest.approx(2.5e-8 * 320e-9 / 7.2e-15, rel=EXACT)
    by_ratio = "{width: 60 nm, aspect_ratio: 2, resistivity: 2.5 uohm cm}"
    assert ohms(f"{{word_line: {by_ratio}, bit_line: {by_ratio}}}") == pytest.approx((word, bit), rel=EXACT)
    lined = "{width: 60 nm, thickness: 120 nm, resistivity: 2.5e-8 ohm m, barrier: 5 nm}"
    assert ohms(f"{{word_line: {lined}, bit_line: 0 ohm}}")[0] == pytest.approx(
        2.5e-8 * 640e-9 / (50e-9 * 115e-9), rel=EXACT
    )


def test_the_32_nm_row_by_hand() -> None:
    """56 nm wide, 1.8 x 56 = 100.8 nm thick, 4 nm barrier: 48 nm x 96.8 nm of copper of 2.63 uohm cm."""
    per_m = 2.63e-8 / (48e-9 * 96.8e-9)
    metal = metal_at(32e-9)
    assert (metal.width_m, metal.thickness_m, metal.barrier_m) == pytest.approx((56e-9, 100.8e-9, 4e-9), rel=EXACT)
    assert metal.ohm_per_m == pytest.approx(per_m, rel=EXACT)
    word, bit = ohms("{word_line: {node: 32 nm}, bit_line: {node: 32 nm}}")
    assert (word, bit) == pytest.approx((per_m * 640e-9, per_m * 320e-9), rel=EXACT)


def test_what_is_given_replaces_the_nodes_figure() -> None:
    given = {
        "width: 50 nm": 2.63e-8 / (42e-9 * 86e-9),
        "thickness: 200 nm": 2.63e-8 / (48e-9 * 196e-9),
        "aspect_ratio: 3": 2.63e-8 / (48e-9 * 164e-9),
        "resistivity: 4 uohm cm": 4e-8 / (48e-9 * 96.8e-9),
        "barrier: 0 nm": 2.63e-8 / (56e-9 * 100.8e-9),
    }
    for field, per_m in given.items():
        found = ohms(f"{{word_line: {{node: 32 nm, {field}}}, bit_line: 0 ohm}}")[0]
        assert found == pytest.approx(per_m * 640e-9, rel=EXACT), field


def test_the_segment_follows_cell_and_feature_size_but_the_metal_does_not_follow_the_node() -> None:
    wires = "{word_line: {node: 32 nm}, bit_line: {node: 32 nm}}"
    at_32 = ohms(wires)
    assert ohms(wires, hardware="{node: 64 nm}") == pytest.approx([2 * r for r in at_32], rel=EXACT)
    own = "{word_line: {node: 32 nm}, bit_line: {node: 32 nm}, feature_size: 64 nm}"
    assert ohms(own) == pytest.approx([2 * r for r in at_32], rel=EXACT)
    assert ohms(own, hardware="{node: 10 nm}") == ohms(own)
    turned = CELL.replace("height_f: 10, width_f: 20", "height_f: 20, width_f: 10")
    assert ohms(wires, cell=turned) == pytest.approx(at_32[::-1], rel=EXACT)


# ------------------------------------------------------------ temperature


def test_temperature_scales_wires_and_not_their_ends() -> None:
    wires = "{word_line: 2 ohm, bit_line: {node: 32 nm}, driver: 500 ohm, sense: 100 ohm, temperature: %s%s}"
    cold, warm = chip(wires % ("300 K", "")).wires, chip(wires % ("350 K", "")).wires
    assert cold is not None
    assert warm is not None
    factor = 1 + 0.0039 * 50
    assert (warm.word_line_ohm, warm.bit_line_ohm) == pytest.approx((2 * factor, cold.bit_line_ohm * factor), rel=EXACT)
    assert (warm.driver_ohm, warm.sense_ohm) == (500.0, 100.0)
    cooled = chip(wires % ("-70 C", ", temperature_coefficient: 0.2 %/K")).wires
    assert cooled is not None
    assert cooled.word_line_ohm == pytest.approx(2 * (1 - 0.002 * 96.85), rel=EXACT)


def test_the_default_coefficient_is_that_of_copper_at_300_k() -> None:
    """0.00393 /K at 293.15 K is 0.00383 /K at 300 K; the rounded default lies within 2.5 % of both."""
    default = WireSpec(word_line=1.0, bit_line=1.0).temperature_coefficient_per_k
    for standard in (0.00393, 0.00393 / (1 + 0.00393 * 6.85)):
        assert default == pytest.approx(standard, rel=0.025)


def test_resistance_stays_positive_at_all_temperatures_that_are_allowed() -> None:
    for kelvin in (200.0, 300.0, 600.0):
        for per_k in (-0.003, 0.0, 0.009):
            spec = WireSpec(word_line=1.0, bit_line=1.0, temperature=kelvin, temperature_coefficient=per_k)
            assert spec.temperature_factor >= 0.1 - EXACT


# ------------------------------------------------------------ the table


def test_every_row_has_a_source_and_every_column_is_monotone() -> None:
    rows = metal_table()
    assert [round(row.node_m * 1e9) for row in rows] == [130, 90, 65, 45, 32, 22, 14, 10, 7, 5, 3, 2, 1]
    for row in rows:
        assert len(row.source) > 10
        assert row.tag in ("published", "derived")
        assert 1.7e-8 < row.resistivity_ohm_m < 1e-7  # bulk copper has 1.7e-8
        assert metal_at(row.node_m).conducts
    for above, below in pairwise(rows):
        assert above.width_m > below.width_m
        assert above.resistivity_ohm_m < below.resistivity_ohm_m
        assert above.aspect_ratio <= below.aspect_ratio
        assert above.barrier_m >= below.barrier_m
        # Drawn section; with the barrier 65 nm is a little below 90 nm, whose barrier is thicker.
        drawn = [row.resistivity_ohm_m / (row.width_m**2 * row.aspect_ratio) for row in (above, below)]
        assert drawn[0] < drawn[1]


def test_between_nodes_every_column_is_linear() -> None:
    """28 nm lies 0.6 of the way from 22 nm to 32 nm."""
    metal = metal_at(28e-9)
    assert metal.width_m == pytest.approx(49.6e-9, rel=EXACT)
    assert metal.thickness_m == pytest.approx(49.6e-9 * 1.84, rel=EXACT)
    assert metal.resistivity_ohm_m == pytest.approx(2.766e-8, rel=EXACT)
    assert metal.barrier_m == pytest.approx(3.4e-9, rel=EXACT)
    assert metal.tag == "assumed"
    assert "between 32 nm and 22 nm" in metal.source
    below, at, above = (metal_at(n * 1e-9).ohm_per_m for n in (31.9999, 32, 32.0001))
    assert below > at > above
    assert below == pytest.approx(above, rel=1e-4)


@pytest.mark.parametrize("node_m", [131e-9, 0.99e-9, 180e-9])
def test_a_node_outside_the_table_is_refused(node_m: float) -> None:
    with pytest.raises(SpecError, match=r"no wire is known at node .*from 1 nm to 130 nm"):
        metal_at(node_m)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("wires", "message"),
    [
        ("{}", "array.wires.word_line: this field is required; array.wires.bit_line: this field is required"),
        ("{word_line: 2.5, bit_line: 1 ohm}", "word_line.resistance: the number 2.5 has no unit"),
        ("{word_line: -1 ohm, bit_line: 1 ohm}", "a segment of -1 ohm cannot be; allowed are 0 ohm (ideal) to 1 Mohm"),
        ("{word_line: 1.1 Mohm, bit_line: 1 ohm}", "a segment of 1.1 Mohm cannot be"),
        ("{word_line: 1 V, bit_line: 1 ohm}", "'1 V' is a voltage, but a resistance is wanted"),
        ("{word_line: 1 ohm m, bit_line: 1 ohm}", "'1 ohm m' is a resistivity, but a resistance is wanted"),
        ("{word_line: null, bit_line: 1 ohm}", "needs a resistance per segment, such as '2.5 ohm', or a metal"),
        ("{word_line: [1], bit_line: 1 ohm}", "found list"),
        ("{word_line: {}, bit_line: 1 ohm}", "or a metal: {node: 32 nm}"),
        ("{word_line: {nod: 32 nm}, bit_line: 1 ohm}", "did you mean 'node'"),
        ("{word_line: {node: 180 nm}, bit_line: 1 ohm}", "the table goes from 1 nm to 130 nm"),
        ("{word_line: {width: 50 nm}, bit_line: 1 ohm}", "needs resistivity, thickness (or aspect_ratio) too"),
        ("{word_line: {resistivity: 2 uohm cm}, bit_line: 1 ohm}", "needs width, thickness (or aspect_ratio) too"),
        ("{word_line: {node: 32 nm, thickness: 1 nm, aspect_ratio: 2}, bit_line: 1 ohm}", "say the same thing"),
        ("{word_line: {resistance: 1 ohm, width: 3 nm}, bit_line: 1 ohm}", "resistance and width say the same thing"),
        ("{word_line: {node: 32 nm, barrier: 28 nm}, bit_line: 1 ohm}", "leaves no metal in a wire 56 nm wide"),
        ("{word_line: {node: 32 nm, resistivity: 2 ohm}, bit_line: 1 ohm}", "a resistivity is wanted"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, driver: -3 ohm}", "a driver or sense amplifier of -3 ohm cannot be"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, sense: 2 Mohm}", "a driver or sense amplifier of 2 Mohm cannot be"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, topology: ring}", "'source_line' (found 'ring')"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, temperature: 77 K}", "greater than or equal to 200"),
        (
            "{word_line: 1 ohm, bit_line: 1 ohm, temperature_coefficient: 0.0039}",
            "has no unit; write a temperature coef",
        ),
        ("{word_line: 1 ohm, bit_line: 1 ohm, temperature_coefficient: 0.01 /K}", "less than or equal to 0.009"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, feature_size: 32 nm}", "feature_size has no use"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, sources: {wordline: {source: abc, tag: derived}}}", "mean 'word_line'"),
        ("{word_line: 1 ohm, bit_line: 1 ohm, sources: {driver: {source: abc, tag: guess}}}", "found 'guess'"),
        ("{word_line: {node: 130 nm}, bit_line: 1 ohm, feature_size: 10 nm}", "175 nm wide touches its neighbour"),
        (
            "{word_line: 1 ohm, bit_line: {width: 1 nm, thickness: 1 nm, resistivity: 1e-3 ohm m}}",
            "array.wires.bit_line: a segment comes to 320 Mohm (320 nm long, 1 nm wide, 1 nm thick, 0.001 ohm m)",
        ),
        ("7", "array.wires"),
    ],
)
def test_refusals_say_where_and_how_to_mend(wires: str, message: str) -> None:
    assert message in refusal(wires)


def test_a_word_line_fits_the_height_and_a_bit_line_the_width() -> None:
    """A 56 nm wire over cells of 20 F x 1 F: 32 nm is too little for it, 640 nm is enough."""
    flat = CELL.replace("height_f: 10", "height_f: 1")
    assert "32 nm high (1 F, F = 32 nm)" in refusal("{word_line: {node: 32 nm}, bit_line: 1 ohm}", cell=flat)
    assert ohms("{word_line: 1 ohm, bit_line: {node: 32 nm}}", cell=flat)[1] > 0


# ------------------------------------------------------------ as part of a chip


def test_replaced_reaches_the_wires_and_gives_back_what_was() -> None:
    base = load_chip("reram-8b-wires")
    assert base.replaced() == base
    assert base.replaced(array__wires=None).wires is None
    other = base.replaced(array__wires__word_line=3.0)
    assert other.wires is not None
    assert other.wires.word_line_ohm == 3.0
    assert other.replaced(array__wires__word_line__resistance_ohm=4.0).array.wires.word_line.resistance_ohm == 4.0
    with pytest.raises(SpecError, match=r"array\.wires\.word_line"):
        base.replaced(hardware__node_m=1e-9)  # 56 nm of metal over a cell of 10 nm
    again = validate(ChipSpec, json.loads(base.model_dump_json()), origin="json")
    assert again == base


@pytest.mark.parametrize("name", ["reram-8b", "analog-8b"])
def test_the_library_chips_differ_in_their_wires_only(name: str) -> None:
    plain, wired = load_chip(name), load_chip(f"{name}-wires")
    same = {"name": plain.name, "description": plain.description, "notes": plain.notes}
    assert wired.replaced(array__wires=None, **same) == plain


def test_library_chips_by_hand_and_as_their_notes_say() -> None:
    reram, analog = load_chip("reram-8b-wires"), load_chip("analog-8b-wires")
    assert reram.wires is not None
    assert analog.wires is not None
    copper_32, copper_14 = 2.63e-8 / (48e-9 * 96.8e-9), 3.25e-8 / (27e-9 * 61.5e-9)
    assert reram.wires.word_line_ohm == pytest.approx(copper_32 * 12.574 * 32e-9, rel=EXACT)
    assert reram.wires.bit_line_ohm == pytest.approx(copper_32 * 10 * 32e-9, rel=EXACT)
    assert analog.wires.word_line_ohm == pytest.approx(copper_14 * 5 * 14e-9, rel=EXACT)
    assert analog.wires.bit_line_ohm == analog.wires.word_line_ohm
    for spec in (reram, analog):
        assert spec.wires is not None
        for ohm in (spec.wires.word_line_ohm, spec.wires.bit_line_ohm):
            assert f"{ohm:.3f}" in chip_yaml(spec.name)


# ------------------------------------------------------------ figures with sources


def test_describe_gives_every_figure_its_source_and_its_weakest_tag() -> None:
    spec, cell = load_chip("reram-8b-wires").array.wires, load_cell("reram-hfox")
    assert spec is not None
    rows = {row.name: row for row in spec.describe(cell, 32e-9)}
    assert (rows["word_line"].unit, rows["word_line.resistivity"].unit) == ("ohm", "ohm m")
    product = rows["word_line.resistivity"].value * rows["word_line.length"].value
    width, thickness, barrier = (rows[f"word_line.{part}"].value for part in ("width", "thickness", "barrier"))
    assert rows["word_line"].value == pytest.approx(product / (width - 2 * barrier) / (thickness - barrier), rel=EXACT)
    assert rows["word_line.width"].tag == "derived"
    assert "NeuroSim" in rows["word_line.width"].source
    assert rows["word_line"].tag == "assumed"  # the cell's aspect ratio is assumed
    assert "IEC 60028" in rows["temperature_coefficient"].source
    assert all(len(row.source) > 5 and math.isfinite(row.value) for row in rows.values())


def test_a_source_of_ones_own_is_kept_and_its_absence_is_told() -> None:
    own = "sources: {word_line: {source: measured by us, tag: published}}"
    spec = chip(f"{{word_line: 2 ohm, bit_line: {{node: 32 nm, barrier: 1 nm}}, {own}}}").array.wires
    assert spec is not None
    rows = {row.name: row for row in spec.describe(load_cell("ideal"), 32e-9)}
    assert tuple(rows["word_line"]) == ("word_line", 2.0, "ohm", "measured by us", "published")
    assert rows["bit_line.barrier"].tag == "assumed"
    assert "NeuroSim" in rows["bit_line.barrier"].source
    assert rows["driver"].tag == "assumed"
    warm = spec.replaced(temperature_k=350.0).describe(load_cell("ideal"), 32e-9)[0]
    assert warm.tag == "derived"  # no better than the coefficient


def test_weakest() -> None:
    assert weakest("published", "derived") == "derived"
    assert weakest("assumed", "published") == "assumed"
    assert weakest("published") == "published"


def test_python_speaks_si() -> None:
    spec = WireSpec(word_line=2.5, bit_line=LineSpec(node=32e-9), driver=500)
    assert spec.resolve(load_cell("ideal"), 100e-9).word_line_ohm == 2.5
    assert spec.bit_line.metal() == metal_at(32e-9)


# ------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("text", "dimension", "si"),
    [
        ("2.63e-8 ohm m", "resistivity", 2.63e-8),
        ("2.63 uohm cm", "resistivity", 2.63e-8),
        ("2.63 µΩ cm", "resistivity", 2.63e-8),
        ("26.3nohm m", "resistivity", 2.63e-8),
        ("26.3 nΩ·m", "resistivity", 2.63e-8),
        ("1 kohm cm", "resistivity", 10.0),
        ("0.0039 /K", "temperature coefficient", 0.0039),
        ("0.39 %/K", "temperature coefficient", 0.0039),
        ("-3900 ppm/K", "temperature coefficient", -0.0039),
        ("3900 ppm / K", "temperature coefficient", 0.0039),
    ],
)
def test_units_of_metals(text: str, dimension: str, si: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(si, rel=EXACT)


@pytest.mark.parametrize("text", ["2 ohm", "2 m", "2 ohm V", "2 V m", "2 xohm m", "2 ohm mm", "2", "2 /K", "2 ohm m m"])
def test_what_is_no_resistivity(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a resistivity|a resistivity is wanted"):
        parse_quantity(text, "resistivity")


# ------------------------------------------------------------ the page


def test_the_page_on_wires_shows_what_its_code_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the examples write files
    page = (ROOT / "docs" / "wires.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    for code in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "wires.md", "exec", dont_inherit=True), names)
        assert printed.getvalue().strip() in page


def test_the_pages_yaml_is_read() -> None:
    page = (ROOT / "docs" / "wires.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    wires = "array: {wires: {word_line: 1 ohm, bit_line: 1 ohm}}\n"
    for text in blocks:
        more = "" if "wires:" in text else wires
        assert parse_chip(f"name: m\ncell: reram-hfox\n{more}{text}").wires is not None
