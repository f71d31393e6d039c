"""Chip and cell descriptions: what is read, what is refused, and that refusals name field, value and mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from crosstile.errors import SpecError
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml, library_names, load_cell, load_chip, parse_chip
from crosstile.specs.yaml import MAX_BYTES, parse_yaml, read_yaml

CELL = "{name: c, technology: t, g_on: 100 uS, g_off: 1 uS}"
CHIPS, CELLS = library_names("chips"), library_names("cells")


def text(cell: str = CELL, **sections: str) -> str:
    lines = ["name: mine", f"cell: {cell}", *(f"{key}: {value}" for key, value in sections.items())]
    return "\n".join(lines) + "\n"


def refusal(described: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_chip(described, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    return message


# ------------------------------------------------------------ what is read


def test_a_small_chip_with_defaults() -> None:
    chip = parse_chip(text())
    assert (chip.name, chip.cell.g_on_s, chip.cell.g_off_s) == (
        "mine",
        pytest.approx(1e-4),
        pytest.approx(1e-6),
    )
    assert (chip.weights.bits, chip.weights.cell_bits, chip.array.rows, chip.adc.bits) == (8, 2, 128, 8)


def test_units_are_si_inside() -> None:
    chip = parse_chip(
        text(
            cell="{name: c, technology: t, g_on: 10 kohm, g_off: 1 Mohm}",
            array="{read_voltage: 300 mV, read_time: 50 ns}",
            hardware="{node: 22 nm, clock: 500 MHz}",
        )
    )
    assert chip.cell.g_on_s == pytest.approx(1e-4, rel=1e-14)
    assert chip.cell.g_off_s == pytest.approx(1e-6, rel=1e-14)
    assert (chip.array.read_voltage_v, chip.array.read_time_s) == (pytest.approx(0.3), pytest.approx(5e-8))
    assert (chip.hardware.node_m, chip.hardware.clock_hz) == (pytest.approx(22e-9), pytest.approx(5e8))


def test_python_speaks_si_by_either_name() -> None:
    by_alias = {"name": "n", "cell": {"name": "c", "technology": "t", "g_on": 1e-4, "g_off": 0}}
    by_field = {"name": "n", "cell": {"name": "c", "technology": "t", "g_on_s": 1e-4, "g_off_s": "0 S"}}
    assert validate(ChipSpec, by_alias, origin="t") == validate(ChipSpec, by_field, origin="t")
    assert validate(ChipSpec, {**by_alias, "array": {"read_voltage": 1}}, origin="t").array.read_voltage_v == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, True, None, "1e-4", 10**400])
def test_python_numbers_are_checked_too(value: Any) -> None:
    with pytest.raises(SpecError, match=r"cell\.g_on"):
        validate(
            ChipSpec,
            {"name": "n", "cell": {"name": "c", "technology": "t", "g_on": value, "g_off": 0.0}},
            origin="t",
        )


@pytest.mark.parametrize("name", CHIPS)
def test_library_chips(name: str) -> None:
    chip = load_chip(name)
    assert chip.name == name
    assert len(chip.description) > 20
    assert chip.notes
    assert parse_chip(chip_yaml(name)) == chip
    # Built again from its own fields, in SI and without units, it is the same chip.
    assert chip.replaced() == chip


@pytest.mark.parametrize("name", CELLS)
def test_library_cells_say_where_their_figures_come_from(name: str) -> None:
    cell = load_cell(name)
    assert cell.name == name
    wanted = {"g_on", "g_off"} | ({"effects"} if cell.effects else set())
    assert wanted <= set(cell.sources)
    for field, source in cell.sources.items():
        assert field in {f.alias or n for n, f in type(cell).model_fields.items()}
        assert len(source.source) > 10
        assert source.tag in ("published", "derived", "assumed")
    assert cell.limits


def test_the_library_holds_the_promised_names() -> None:
    assert {"ideal", "isaac", "reram-8b", "analog-8b"} <= set(CHIPS)
    assert {"ideal", "reram-isaac", "reram-hfox", "analog-pair"} <= set(CELLS)


def test_a_cell_from_the_library_with_changes() -> None:
    chip = parse_chip(text(cell="{from: reram-hfox, g_on: 30 uS, effects: []}"))
    base = load_cell("reram-hfox")
    assert (chip.cell.g_on_s, chip.cell.g_off_s) == (pytest.approx(30e-6), base.g_off_s)
    assert (chip.cell.effects, chip.cell.name) == ((), "reram-hfox")
    assert parse_chip(text(cell="reram-hfox")).cell == base


def test_a_cell_and_a_chip_from_files(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: own\ntechnology: t\ng_on: 1 mS\ng_off: 1 nS\n", encoding="utf-8")
    path = tmp_path / "chip.yaml"
    path.write_text(f"name: from-file\ncell: '{(tmp_path / 'c.yaml').as_posix()}'\n", encoding="utf-8")
    assert load_chip(path).cell.name == "own"
    assert load_chip(str(path)) == load_chip(path)


# ------------------------------------------------------------ replaced


def test_replaced_changes_one_field_and_nothing_else() -> None:
    chip = load_chip("reram-8b")
    other = chip.replaced(adc__bits=6)
    assert (chip.adc.bits, other.adc.bits) == (8, 6)
    assert other.replaced(adc__bits=8) == chip
    assert other.cell == chip.cell
    assert other.replaced(array__read_voltage_v=0.1, inputs__scale__method="max").inputs.scale.method == "max"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adc__bits": 99}, "adc.bits: Input should be less than or equal to 20 (found 99)"),
        ({"adc__bitz": 6}, "adc.bitz: this field is not known"),
        ({"adc__bitz": 6}, "did you mean 'bits'"),
        ({"converter__bits": 6}, "ChipSpec has no section 'converter' in 'converter__bits'"),
        ({"name__bits": 6}, "no section 'name'"),
        ({"weights__cell_bits": 4}, "holds at most 3 bits"),
        ({"array__columns": 7}, "one weight takes 8 columns but an array has 7"),
    ],
)
def test_replaced_validates_again(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_chip("reram-8b").replaced(**changes)
    assert message in str(caught.value)


def test_descriptions_are_frozen() -> None:
    chip = load_chip("ideal")
    with pytest.raises(ValidationError, match="frozen"):
        chip.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        chip.cell.g_on_s = 1.0


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        ({"adcs": "{bits: 8}"}, ["adcs: this field is not known", "did you mean 'adc'"]),
        ({"adc": "{bitts: 8}"}, ["adc.bitts: this field is not known", "percentile", "did you mean 'bits'"]),
        ({"inputs": "{scale: {methd: max}}"}, ["inputs.scale.methd", "did you mean 'method'"]),
        ({"array": "{rows: 0}"}, ["array.rows", "greater than or equal to 1", "found 0"]),
        ({"array": "{columns: -3}"}, ["array.columns", "found -3"]),
        ({"array": "{rows: 1e309}"}, ["array.rows"]),
        ({"array": "{rows: .nan}"}, ["array.rows"]),
        ({"array": "{rows: many}"}, ["array.rows", "found 'many'"]),
        ({"array": "{rows: 64, active_rows: 65}"}, ["active_rows (65) must not exceed rows (64)"]),
        ({"array": "{read_voltage: 0.2}"}, ["array.read_voltage", "0.2 has no unit", "'0.2 V'"]),
        ({"array": "{read_voltage: 0.2 s}"}, ["array.read_voltage", "is a time, but a voltage is wanted"]),
        ({"array": "{read_voltage: 0 V}"}, ["array.read_voltage", "greater than 0"]),
        ({"array": "{read_time: 1e309 s}"}, ["array.read_time", "not a finite number"]),
        ({"array": "[128, 128]"}, ["array"]),
        ({"weights": "{cell_bits: 6}"}, ["weights.cell_bits", "less than or equal to 5"]),
        ({"weights": "{bits: null}"}, ["bits and cell_bits are both null", "cell_bits=2"]),
        (
            {"weights": "{bits: null, cell_bits: null, encoding: offset}"},
            ["continuous conductances need", "'offset'"],
        ),
        ({"weights": "{encoding: ternary}"}, ["weights.encoding", "differential", "found 'ternary'"]),
        ({"weights": "{flip: true}"}, ["flip complements a column"]),
        ({"weights": "{row_sum: unit_column}"}, ["row_sum: unit_column has no use"]),
        ({"inputs": "{bits: 4, dac_bits: 5}"}, ["dac_bits (5) must not exceed bits (4)"]),
        ({"inputs": "{scale: {percentile: 50}}"}, ["inputs.scale.percentile", "found 50"]),
        (
            {"adc": "{bits: 9, range: lossless}"},
            ["needs 10 bits for 128 active rows", "found 9", "raise adc.bits"],
        ),
        ({"array": "{off_current: converted}"}, ["no off current to convert"]),
        ({"hardware": "{components: {adcc: {component: x}}}"}, ["'adcc' is not a role"]),
        ({"hardware": "{adcs_per_array: 1, columns_per_adc: 8}"}, ["say the same thing"]),
        ({"hardware": "{components: {}}"}, ["hardware.components"]),
    ],
)
def test_messages(sections: dict[str, str], parts: list[str]) -> None:
    message = refusal(text(**sections))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        (
            "{name: c, technology: t, g_on: 1 uS, g_off: 100 uS}",
            ["g_on (1e-06 S) must be larger", "swap them"],
        ),
        ("{name: c, technology: t, g_on: 1 uS, g_off: 1 uS}", ["must be larger than g_off"]),
        ("{name: c, technology: t, g_on: -10 kohm, g_off: 1 uS}", ["cell.g_on", "greater than 0"]),
        (
            "{name: c, technology: t, g_on: 100 uS, g_off: -1 Mohm}",
            ["cell.g_off", "greater than or equal to 0"],
        ),
        ("{name: c, technology: t, g_on: 0 ohm, g_off: 0 S}", ["cell.g_on", "no inverse"]),
        ("{name: c, technology: t, g_on: 1.0e-4, g_off: 1 uS}", ["cell.g_on", "has no unit", "'25 uS'"]),
        ("{name: c, technology: t, g_on: .nan, g_off: 1 uS}", ["cell.g_on"]),
        ("{name: c, technology: t, g_on: .inf, g_off: 1 uS}", ["cell.g_on"]),
        ("{name: c, technology: t, g_off: 1 uS}", ["cell.g_on: this field is required"]),
        ("{technology: t, g_on: 2 uS, g_off: 1 uS}", ["cell.name: this field is required"]),
        ("{name: c, technology: t, g_on: 2 uS, g_off: 1 uS, gon: 3 uS}", ["cell.gon", "did you mean 'g_on'"]),
        ("{name: c, technology: t, g_on: 2 uS, g_off: 1 uS, max_bits: 1}", ["holds at most 1 bits"]),
        (
            "{name: c, technology: t, g_on: 2 uS, g_off: 1 uS, effects: {}}",
            ["cell.effects", "a list of effects"],
        ),
        ("{from: reram-hfx}", ["no cell is called 'reram-hfx'", "did you mean 'reram-hfox'"]),
        ("{from: 7}", ["cell.from", "found 7"]),
        ("17", ["cell"]),
        ("[1, 2]", ["cell"]),
    ],
)
def test_cell_messages(cell: str, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_chip(text(cell=cell), "mine.yaml")
    for part in parts:
        assert part in str(caught.value)


def test_effects_need_units_from_yaml_and_name_the_field() -> None:
    cell = "{from: ideal, effects: [{kind: drift, nu_mean: 0.1, time: 100}]}"
    message = refusal(text(cell=cell))
    assert "cell.effects: effect 0: time: the number 100 has no unit" in message
    chip = load_chip("ideal").replaced(cell__effects=[{"kind": "drift", "nu_mean": 0.1, "time": 100.0}])
    assert chip.cell.effects[0].time_s == 100.0


def test_many_mistakes_are_listed_up_to_six() -> None:
    message = refusal(text(**{f"wrong{i}": "1" for i in range(9)}))
    assert message.count("is not known") == 6
    assert "and 3 more" in message


def test_long_values_are_cut() -> None:
    assert len(refusal(text(array="{rows: " + "x" * 5000 + "}"))) < 400


@pytest.mark.parametrize(("name", "near"), [("isac", "isaac"), ("reram8b", "reram-8b"), ("Ideal", "ideal")])
def test_unknown_chip(name: str, near: str) -> None:
    with pytest.raises(SpecError, match=f"no chip is called '{name}'.*did you mean '{near}'.*ending in .yaml"):
        load_chip(name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read"):
        load_chip(tmp_path / "nowhere.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_chip(tmp_path)  # a folder


# ------------------------------------------------------------ YAML


@pytest.mark.parametrize(
    ("described", "parts"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "the key 'a' appears twice"]),
        ("a: {b: 1, b: 2}\n", ["'b' appears twice"]),
        ("a: &x [1]\nb: *x\n", ["line 2", "aliases (*name) are not allowed"]),
        ("1: a\n", ["keys must be text, found 1"]),
        ("null: a\n", ["keys must be text"]),
        ("? [a]\n: b\n", ["keys must be text"]),
        ("- a\n- b\n", ["a mapping of fields is wanted, found list"]),
        ("just words\n", ["found str"]),
        ("", ["found NoneType"]),
        ("a: [1\n", ["not valid YAML"]),
        ("a: !!python/object/apply:os.getcwd []\n", ["not valid YAML", "could not determine a constructor"]),
        ("a: 1\n---\nb: 2\n", ["not valid YAML"]),
        ("a: \x00\n", ["not valid YAML"]),
        ("a: !!timestamp soon\n", ["not valid YAML"]),
        ("a: !!int ''\n", ["not valid YAML"]),
        ("a: !!bool perhaps\n", ["not valid YAML"]),
        ("a: !!set [b]\n", ["not valid YAML"]),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", ["nested too deeply"]),
        ("a: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n", ["nested too deeply"]),
    ],
    ids=[str(i) for i in range(19)],
)
def test_yaml_refusals(described: str, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(described, "f.yaml")
    assert str(caught.value).startswith("f.yaml: ")
    for part in parts:
        assert part in str(caught.value)


def test_aliases_cannot_blow_up() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    with pytest.raises(SpecError, match="aliases"):
        parse_yaml(bomb, "bomb")


def test_size_and_encoding_limits(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text("name: " + "x" * MAX_BYTES, encoding="utf-8")
    with pytest.raises(SpecError, match=r"big\.yaml.*at most 1000000"):
        read_yaml(big)
    with pytest.raises(SpecError, match="at most 1000000"):
        parse_yaml("name: " + "x" * MAX_BYTES, "big")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Größe\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin\.yaml: is not UTF-8 text"):
        read_yaml(latin)
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbfname: mine\n")
    assert read_yaml(marked) == {"name": "mine"}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device on this system")
def test_an_endless_file_is_read_up_to_the_limit_only() -> None:
    with pytest.raises(SpecError, match="at most 1000000"):
        parse_chip("name: n\ncell: /dev/zero\n")


def test_a_path_with_a_null_byte_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        parse_chip('name: n\ncell: "a/\\0.yaml"\n')


@pytest.mark.parametrize("number", ["1" + "0" * 400, "0x" + "f" * 400, "0x" + "f" * 9000, "-1" + "0" * 400])
def test_numbers_too_large_for_a_float_are_refused(number: str) -> None:
    for described in (
        text(array=f"{{rows: {number}}}"),
        text(hardware=f"{{network_hops: {number}}}"),
        text(cell=f"{{from: ideal, effects: [{{kind: stuck_at, on_rate: {number}}}]}}"),
        text(cell=f"{{name: c, technology: t, g_on: {number}, g_off: 1 uS}}"),
        f"name: {number}\ncell: ideal\n",
    ):
        with pytest.raises(SpecError):
            parse_chip(described)


def test_library_files_are_plain_yaml() -> None:
    for name in CHIPS:
        assert yaml.safe_load(chip_yaml(name)) == parse_yaml(chip_yaml(name), name)


def test_a_chip_names_files_beside_it(tmp_path: Path) -> None:
    """A cell and a component in files of one's own, found from the chip's folder and not from the current one."""
    from crosstile.cost.estimate import estimate
    from crosstile.cost.library import LIBRARY
    from crosstile.mapping.plan import LayerShape, plan_layer
    from crosstile.specs.load import cell_yaml

    (tmp_path / "cell.yaml").write_text(cell_yaml("reram-hfox").replace("g_on: 40 uS", "g_on: 20 uS"))
    adc = (LIBRARY / "components" / "adc-isaac-sar-8b.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(adc.replace("adc-isaac-sar-8b", "mine"))
    text = chip_yaml("reram-8b").replace("cell: reram-hfox", "cell: cell.yaml")
    path = tmp_path / "chip.yaml"
    path.write_text(text.replace("{component: adc-isaac-sar-8b}", "{component: mine.yaml}"))
    chip = load_chip(path)
    assert chip.cell.g_on_s == pytest.approx(20e-6)
    plan = plan_layer(LayerShape("l", "linear", 20, 1, 4, 1, 1, 20, 4, False), chip)
    names = {part.role: part.component for part in estimate([plan], chip).components}
    assert "mine" in names["adc"]
    (tmp_path / "mine.yaml").unlink()
    with pytest.raises(SpecError, match=r"mine\.yaml"):
        load_chip(path)
