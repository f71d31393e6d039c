"""Technologies side by side: which designs there are, what is told of each, and how it is kept, shown and read again."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console

import crosstile as ct
from crosstile import cli
from crosstile.comparison.designs import CompareOptions, make_designs, resolve_device
from crosstile.comparison.report import figures, render
from crosstile.comparison.result import Comparison, DesignResult, gains
from crosstile.comparison.run import compare
from crosstile.comparison.tables import design_tables, gain_table, share_text
from crosstile.errors import CrosstileError, SpecError, UsageError
from crosstile.reproduce.memory_technologies import findings
from crosstile.reproduce.published import load_study, study_names

Call = Callable[..., tuple[int, str, str]]
SMALL = CompareOptions(
    model="lenet5", devices=("fefet", "sot-mram"), rows=(32,), active_rows=("1", "1/4"), samples=30, trials=1, batch=30
)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crosstile", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@pytest.fixture(scope="module")
def small() -> Comparison:
    return compare(SMALL)


# ------------------------------------------------------------------ designs


def test_designs_are_all_combinations_and_follow_the_description() -> None:
    options = CompareOptions(
        model="lenet5", devices=("fefet", "sram-8t"), rows=(32, 64), cell_bits=(1, 2), active_rows=("1", "1/4")
    )
    designs, left_out = make_designs(options, ct.load_chip("compare-7nm"))
    assert len(designs) == (2 + 1) * 2 * 2 * 3  # FeFET with one and two bits, SRAM with one
    assert left_out == ["sram-8t-7nm with 2 bits a cell: the cell is described with at most 1"]
    assert len({str(design) for design in designs}) == len(designs)
    for design in designs:
        chip = design.chip
        assert (chip.array.rows, chip.array.columns) == (design.rows, design.rows)
        assert chip.array.rows_per_read == design.rows * design.active
        assert chip.weights.cell_bits == design.cell_bits
        assert chip.adc.references == design.references
        assert chip.adc.bits == max(chip.lossless_adc_bits, 4)
        assert chip.cell.name == design.device


def test_the_size_of_a_cell_sets_its_wires() -> None:
    """One segment is as long as the cell: 8 F of a FeFET's word line against 24 F of an SRAM's."""
    designs, _ = make_designs(CompareOptions(model="lenet5", devices=("fefet", "sram-8t")), ct.load_chip("compare-7nm"))
    wires = {design.device: design.chip.wires for design in designs}
    fefet, sram = wires["fefet-7nm"], wires["sram-8t-7nm"]
    assert fefet is not None
    assert sram is not None
    assert sram.word_line_ohm / fefet.word_line_ohm == pytest.approx(24 / 8)
    assert sram.bit_line_ohm / fefet.bit_line_ohm == pytest.approx(6 / 4)


def test_names_may_leave_the_node_out() -> None:
    assert resolve_device("fefet") == "fefet-7nm"
    assert resolve_device("reram-hfox") == "reram-hfox"
    assert resolve_device("own.yaml") == "own.yaml"
    with pytest.raises(SpecError, match="no cell is called 'memristor'"):
        make_designs(CompareOptions(model="lenet5", devices=("memristor",)), ct.load_chip("compare-7nm"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"active_rows": ("1/3",)}, "1/3 of 64 rows is no whole number"),
        ({"active_rows": ("2",)}, "shares of the rows are wanted"),
        ({"active_rows": ("1/0",)}, "shares of the rows are wanted"),
        ({"references": ("best",)}, "known are uniform, calibrated, custom"),
        ({"rows": ()}, "--rows: at least one"),
        ({"rows": (64, 64)}, "each may be given once"),
        ({"rows": (1,)}, "--rows: 1; 2 to 16384"),
        ({"cell_bits": (9,)}, "--cell-bits: 9; 1 to 5"),
        ({"devices": ("sram-8t",), "cell_bits": (2,)}, "nothing is left to compare"),
        ({"rows": tuple(range(2, 800))}, "at most 2000"),
        ({"trials": 0}, "--trials"),
    ],
)
def test_options_without_meaning_are_refused(changes: dict[str, object], said: str) -> None:
    options = CompareOptions(**{"model": "lenet5", "devices": ("fefet", "sram-8t"), **changes})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=said):
        make_designs(options, ct.load_chip("compare-7nm"))


# ------------------------------------------------------------------ results


def test_a_comparison_tells_of_every_design(small: Comparison) -> None:
    assert len(small.designs) == 2 * 2 * 3
    by = {(d.device, d.active_rows, d.references): d for d in small.designs}
    for device in ("fefet-7nm", "sot-mram-7nm"):
        whole, part = by[device, 32, "uniform"], by[device, 8, "uniform"]
        assert part.conversions > 2 * whole.conversions
        assert part.latency_s > whole.latency_s  # more reads
        assert part.adc_bits < whole.adc_bits
        assert part.wrong_codes < whole.wrong_codes
        assert part.margin_steps > whole.margin_steps
        for rows in (32, 8):
            uniform, calibrated, custom = (by[device, rows, k] for k in ("uniform", "calibrated", "custom"))
            assert custom.wrong_codes <= calibrated.wrong_codes < uniform.wrong_codes
            assert uniform.energy_j == calibrated.energy_j == custom.energy_j
            assert uniform.margin_steps == custom.margin_steps  # that of the sums
    assert by["fefet-7nm", 32, "custom"].wrong_codes < by["sot-mram-7nm", 32, "custom"].wrong_codes


def test_the_same_designs_give_the_same_results_whatever_else_is_compared(small: Comparison) -> None:
    alone = compare(
        CompareOptions(
            model="lenet5", devices=("sot-mram-7nm",), rows=(32,), active_rows=("1/4",), references=("custom",),
            samples=30, trials=1, batch=7,
        )
    )  # fmt: skip
    (one,) = alone.designs
    (same,) = (d for d in small.designs if (d.device, d.active_share, d.references) == ("sot-mram-7nm", 0.25, "custom"))
    assert one == same


def test_an_interrupted_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Comparison) -> None:
    from crosstile.comparison import run as module

    evaluated: list[str] = []
    real = module._evaluate

    def counted(design: object, *args: object) -> DesignResult:
        if len(evaluated) == 5:
            raise KeyboardInterrupt
        evaluated.append(str(design))
        return real(design, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_evaluate", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(SMALL, out=tmp_path)
    monkeypatch.setattr(
        module, "_evaluate", lambda design, *args: (evaluated.append(str(design)), real(design, *args))[1]
    )
    again = compare(SMALL, out=tmp_path)
    assert len(evaluated) == len(set(evaluated)) == len(small.designs)  # none was evaluated twice
    assert again.designs == small.designs


def test_gains_are_between_designs_that_differ_in_one_thing(small: Comparison) -> None:
    for gain in gains(small):
        before, after = gain.before, gain.after
        assert gain.gain == pytest.approx(after.accuracy - before.accuracy)
        assert (before.device, before.rows, before.cell_bits) == (after.device, after.rows, after.cell_bits)
        assert (before.references == after.references) != (before.active_share == after.active_share)
    knobs = {gain.knob for gain in gains(small) if gain.device == "fefet-7nm"}
    assert knobs == {
        "fewer active rows", "custom against uniform", "calibrated against uniform", "custom against calibrated",
    }  # fmt: skip


def test_a_result_is_read_back_and_shown(small: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    path.write_text(small.to_json())
    assert Comparison.from_json(path) == small
    rows = list(csv.DictReader(io.StringIO(small.to_csv())))
    assert [float(row["accuracy"]) for row in rows] == [one.accuracy for one in small.designs]
    out = io.StringIO()
    for table in (*design_tables(small), gain_table(small)):
        Console(file=out, width=110).print(table)
    for text in ("fefet-7nm", "1/4", "calibrated", "custom against uniform"):
        assert text in out.getvalue()
    html = render(small)
    assert "http://" not in html.split("<script>")[0]
    for figure in figures(small).values():
        assert figure["data"]
    assert json.loads(html.split('id="figures">')[1].split("</script>")[0]).keys() == figures(small).keys()
    path.write_text("{}")
    with pytest.raises(CrosstileError, match="no result of crosstile compare"):
        Comparison.from_json(path)


@pytest.mark.parametrize(("share", "text"), [(1.0, "1"), (0.25, "1/4"), (0.75, "0.75"), (float(Fraction(1, 3)), "1/3")])
def test_shares_read_as_fractions(share: float, text: str) -> None:
    assert share_text(share) == text


# ------------------------------------------------------------------ command line


def test_the_command_writes_three_files(call: Call, tmp_path: Path) -> None:
    words = ("compare", "lenet5", "--devices", "fefet", "--rows", "32", "--references", "uniform,custom", "--samples", "20",
             "--trials", "1", "--out", "x")  # fmt: skip
    code, told, errors = call(*words)
    assert code == 0, errors
    assert "fefet-7nm" in told
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["compare.csv", "compare.html", "compare.json"]
    code, told, errors = call(*words, "--json")
    assert Comparison.model_validate_json(told).command.startswith("crosstile compare lenet5 --devices fefet")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "many"), "whole numbers with commas"),
        (("--devices", "nix"), "no cell is called 'nix'"),
        (("--references", "none"), "--references"),
        (("--chip", "nix"), "no chip is called 'nix'"),
        (("--chip", "analog-8b"), "stores continuous weights"),
        (("--active-rows", "1/7"), "no whole number"),
    ],
)
def test_bad_words_write_nothing(call: Call, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    code, _, errors = call("compare", "lenet5", *words, "--out", "x")
    assert (code, said in errors, "Traceback" in errors) == (2, True, False), errors
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ beside what is published


def test_every_published_claim_stands_beside_ours(small: Comparison) -> None:
    study = load_study("memory-technologies")
    assert "memory-technologies" in study_names()
    found = findings(small, study)
    for claim in study.claims.values():
        assert any(claim.text in one.published for one in found), claim.text
    assert [c.points for c in study.claims.values() if c.points] == [32.56, 31.62]
    order = next(one for one in found if "wrong codes, fewest first" in one.published)
    assert order.ours.index("fefet") < order.ours.index("sot-mram")


def test_reproduce_from_an_earlier_run(call: Call, tmp_path: Path, small: Comparison) -> None:
    (tmp_path / "compare.json").write_text(small.to_json())
    code, told, errors = call("reproduce", "memory-technologies", "--from", "compare.json")
    assert code == 0, errors
    for text in ("32.56", "31.62", "What differs", "plausibility check"):
        assert text in told
    code, told, _ = call("reproduce", "memory-technologies", "--from", "compare.json", "--json")
    assert len(json.loads(told)["differences"]) == 5
    code, told, _ = call("reproduce")
    assert "2408.05857" in told
    code, _, errors = call("reproduce", "memory-technologies")
    assert (code, "--weights" in errors) == (2, True)
    code, _, errors = call("reproduce", "nix")
    assert (code, "No such command 'nix'" in errors) == (2, True)
