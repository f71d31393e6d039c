"""``crosstile macro``: what it prints and writes, and that bad input is one message and exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from crosstile import cli
from crosstile.cli_macro import register

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, in an empty folder: (exit code, output, errors)."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crosstile", "macro", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def test_the_figures_stand_beside_the_published_ones(call: Call) -> None:
    code, told, errors = call("sram-charge-65nm")
    assert code == 0, errors
    for text in (
        "51.2 GOPS", "10.3 TOPS/W", "calibrated, x 1.10563", "64 x as many", "assumed", "agreement is no prediction",
        "arXiv 2212.04320",
    ):  # fmt: skip
        assert text in told
    code, told, _ = call("sram-charge-65nm", "--json")
    document = json.loads(told)
    assert (code, document["conversions"], document["bit_serial"]["conversions"]) == (0, 8, 512)
    assert document["linearity"]["none"]["inl_lsb"] >= 5 * document["linearity"]["polynomial"]["inl_lsb"]
    assert document["sources"]["energy.calibration"]["tag"] == "calibrated"


def test_a_file_of_ones_own_and_the_baseline(call: Call) -> None:
    Path("mine.yaml").write_text("from: sram-charge-65nm\nname: mine\nclock: 100 MHz\npublished: null\n")
    code, told, errors = call("mine.yaml")
    assert code == 0, errors
    assert "102.4 GOPS" in told
    assert "published:" not in told
    code, told, _ = call("sram-bit-serial-65nm")
    assert code == 0
    assert "6.4 GOPS" in told
    assert "exact" in told


def test_the_library_is_listed(call: Call) -> None:
    code, told, _ = call()
    assert code == 0
    assert "sram-charge-65nm" in told
    code, told, _ = call("--json")
    assert [entry["name"] for entry in json.loads(told)] == ["sram-bit-serial-65nm", "sram-charge-65nm"]


def test_a_network_runs(call: Call, tmp_path: Path) -> None:
    code, told, errors = call(
        "sram-charge-65nm", "--model", "lenet5", "--samples", "60", "--trials", "2", "--uncompensated"
    )
    assert code == 0, errors
    for text in ("Accuracy, int8", "Accuracy, macro", "not compensated", "are skipped", "conv1", "64 x as many"):
        assert text in told
    kept = json.loads((tmp_path / "crosstile-out" / "macro-lenet5-sram-charge-65nm" / "macro.json").read_text())
    code, told, _ = call("sram-charge-65nm", "--model", "lenet5", "--samples", "60", "--trials", "2", "--batch", "7",
                         "--uncompensated", "--json", "--out", "here")  # fmt: skip
    assert code == 0
    assert json.loads(told) == kept  # whatever the batch
    assert json.loads((tmp_path / "here" / "macro.json").read_text()) == kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sram-charge-66nm",), "no macro is called"),
        (("nothing.yaml",), "cannot be read"),
        (("bad.yaml",), "inputs: Input should be a valid integer"),
        (("sram-charge-65nm", "--samples", "3"), "--samples needs a network; add --model"),
        (("sram-charge-65nm", "--model", "lenet6"), "unknown network 'lenet6'"),
        (("sram-charge-65nm", "--model", "lenet5", "--samples", "0"), "--samples must be at least 1"),
        (("sram-charge-65nm", "--model", "lenet5", "--digital", "conv9"), "no layer is called 'conv9'"),
        (("--model", "lenet5"), "name the macro to run it on"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(call: Call, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    Path("bad.yaml").write_text("from: sram-charge-65nm\ninputs: many\n")
    code, told, errors = call(*words)
    assert code == 2
    assert told == ""
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "crosstile-out").exists()
