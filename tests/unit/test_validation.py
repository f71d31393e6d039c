"""The maths of calibration on figures whose answer is known, and descriptions of macros that are refused."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crosstile.cli_validate import register
from crosstile.errors import SpecError
from crosstile.validation.calibrate import Pair, calibrate, constants, geometric_mean, median
from crosstile.validation.silicon import load_silicon, silicon_names
from crosstile.validation.study import validate_macros
from crosstile.validation.tables import density_table, efficiency_table

FACTOR = {"a": 0.4, "b": 2.5}


def exact() -> list[Pair]:
    """Return macros that are off by exactly the factor of their class."""
    ours = [("a", 10.0), ("b", 3.0), ("a", 70.0), ("b", 0.2), ("a", 5.0)]
    return [Pair(f"m{i}", group, value * FACTOR[group], value) for i, (group, value) in enumerate(ours)]


def test_a_known_factor_is_recovered() -> None:
    assert constants(exact()) == pytest.approx(FACTOR)
    for found in calibrate(exact()):
        assert found.constant == pytest.approx(FACTOR[found.group])
        assert found.error == pytest.approx(1 / FACTOR[found.group] - 1)
        assert found.error_calibrated == pytest.approx(0, abs=1e-12)
        assert found.error_left_out == pytest.approx(0, abs=1e-12)
        assert found.left_out_from == "class"


def test_the_constant_leaves_the_least_squares_of_logarithms() -> None:
    rng = random.Random(3)
    pairs = [Pair(str(i), "a", math.exp(rng.gauss(0, 1)), math.exp(rng.gauss(0, 1))) for i in range(9)]

    def left(constant: float) -> float:
        return sum(math.log(constant * p.ours / p.published) ** 2 for p in pairs)

    best = constants(pairs)["a"]
    assert left(best) < min(left(best * 1.01), left(best / 1.01))


def test_leaving_one_out_does_not_see_it() -> None:
    pairs = exact()
    before = calibrate(pairs)
    for index, pair in enumerate(pairs):
        changed = [*pairs[:index], Pair(pair.name, pair.group, 1000 * pair.published, pair.ours), *pairs[index + 1 :]]
        after = calibrate(changed)[index]
        assert after.constant_left_out == before[index].constant_left_out
        assert after.constant > 2 * before[index].constant  # the fit with it does


def test_a_class_of_one_is_fitted_on_all_others() -> None:
    pairs = [*exact(), Pair("alone", "c", 7.0, 1.0)]
    alone = calibrate(pairs)[-1]
    assert alone.left_out_from == "all"
    assert alone.constant_left_out == pytest.approx(geometric_mean(FACTOR[p.group] for p in exact()))
    assert alone.error_calibrated == pytest.approx(0, abs=1e-12)
    single = calibrate([Pair("alone", "c", 7.0, 1.0)])[0]
    assert (single.left_out_from, single.constant_left_out, single.error_left_out) == ("none", None, None)


def test_medians() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    with pytest.raises(SpecError, match="no median"):
        median([])
    with pytest.raises(SpecError, match="positive"):
        calibrate([Pair("zero", "a", 1.0, 0.0)])


def copy_of(name: str, folder: Path, *changes: tuple[str, str], called: str | None = None) -> Path:
    text = Path(str(load_path(name))).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{called or name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load_path(name: str) -> Path:
    from crosstile.validation import silicon

    return silicon._folder() / f"{name}.yaml"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("adc: {component: adc-zigzag}", "adc: {component: adc-zigzag, energy: 1 pJ, source: our tape-out}"),
            "replaces energy",
        ),
        (("adc: {component: adc-zigzag}", "adc: {component: adc-zigzak}"), "did you mean 'adc-zigzag'"),
        (("class: sram-charge", "class: sram"), "class"),
        (("    provenance: second-hand\n", ""), "provenance"),
        (("vdd: 0.85 V", "vdd: 0.85"), "no unit"),
        (("kind: charge", "kind: charge\ntuned: 2"), "tuned"),
        (("name: jia-2020-65nm", "name: jia-2021"), "must agree"),
    ],
)
def test_descriptions_that_are_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_silicon(copy_of("jia-2020-65nm", tmp_path, change))


def test_a_supply_beyond_the_laws_is_refused(tmp_path: Path) -> None:
    macro = load_silicon(copy_of("jia-2020-65nm", tmp_path, ("vdd: 0.85 V", "vdd: 0.4 V")))
    with pytest.raises(SpecError, match="scaling laws hold"):
        validate_macros([macro])


def test_names() -> None:
    with pytest.raises(SpecError, match="did you mean 'jia-2020-65nm'"):
        load_silicon("jia-2020-65")
    with pytest.raises(SpecError, match="cannot be read"):
        load_silicon("nowhere.yaml")


def app() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    register(made)
    return made


def test_the_command_prints_tables_of_80_columns() -> None:
    out = CliRunner().invoke(app(), ["validate"], env={"COLUMNS": "80"})
    assert out.exit_code == 0
    lines = out.stdout.splitlines()
    table = [line for line in lines if any(line.startswith(name) for name in silicon_names())]
    result = validate_macros()
    assert len(table) == efficiency_table(result).row_count + density_table(result).row_count
    assert max(map(len, table)) <= 80
    assert not any("\u2026" in line for line in table)  # nothing was cut
    assert "This is no prediction." in out.stdout


def test_the_command_on_one_macro_and_a_file_of_ones_own(tmp_path: Path) -> None:
    out = CliRunner().invoke(app(), ["validate", "yin-2020-90nm"], env={"COLUMNS": "80"})
    assert out.exit_code == 0
    assert "left out:" in out.stdout
    assert "assumed: " in out.stdout
    everything = json.loads(CliRunner().invoke(app(), ["validate", "--json"]).stdout)
    own = copy_of("yin-2020-90nm", tmp_path, ("name: yin-2020-90nm", "name: mine"), called="mine")
    found = json.loads(CliRunner().invoke(app(), ["validate", str(own), "--json"]).stdout)
    row = next(row for row in everything["rows"] if row["name"] == "yin-2020-90nm")
    assert found["row"] == row | {"name": "mine"}
    assert found["macro"]["class"] == "reram"
    # Its twin is among the others of its class, so that leaving it out leaves the library's constant.
    assert found["calibrated"]["constant_left_out"] == pytest.approx(everything["constants"]["reram"])
