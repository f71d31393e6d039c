"""``crosstile lifetime``: budget, tables, JSON, page, accuracies with stuck cells and over years, and slips that are told."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crosstile.cli_lifetime import register
from crosstile.errors import CrosstileError
from crosstile.specs.load import load_chip
from crosstile.system.lifetime import YEAR_S
from crosstile.system.lifetime_accuracy import has_faults, remedies, with_faults
from crosstile.system.lifetime_options import LifetimeOptions, parse_faults, parse_temperatures
from crosstile.system.lifetime_refresh import keeping_time
from crosstile.system.lifetime_report import figures, render
from crosstile.system.lifetime_result import LifetimeResult
from crosstile.system.lifetime_study import run
from crosstile.system.reload import write_model
from crosstile.system.schedule import schedule
from crosstile.workloads.table import network

CHIP = """
name: short
cell:
  name: leaky
  technology: ReRAM
  g_on: 40 uS
  g_off: 1 uS
  max_bits: 3
  write: {time: 10 ns, energy: 0.6 pJ}
  effects:
    - {kind: variation, sigma: {window: 2 %}}
    - {kind: retention, tau: 3 y, energy: 1.0 eV, spread: 0.3, reference_temperature: 300 K}
array: {rows: 64, columns: 64, read_time: 10 ns}
hardware: {arrays_per_macro: 8, macros_per_tile: 1, tiles: 40, adcs_per_array: 8}
"""


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lifetime") / "short.yaml"
    path.write_text(CHIP)
    return str(path)


@pytest.fixture(scope="module")
def studied(chip: str) -> LifetimeResult:
    return run(
        LifetimeOptions(
            "lenet5", chip=chip, temperatures_k=(300.0, 350.0), faults=(0.01, 0.02), spares=4, remap="both",
            data="mnist5k", samples=60, trials=1,
        )
    )  # fmt: skip


def call(*words: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["lifetime", *words], env={"COLUMNS": "80"})
    if isinstance(result.exception, CrosstileError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_budget_agrees_with_its_parts(chip: str) -> None:
    """An endurance budget of the command is that of the pieces by hand."""
    text = call("lenet5", "--chip", chip, "--temperature", "350K", "--cycles", "2e6", "--rate", "100 Hz", "--levelling", "ideal",
                "--updates", "0.5", "--steps", "2 Hz", "--years", "5", "--loss", "3%", "--json")  # fmt: skip
    found = LifetimeResult.model_validate_json(text)
    described = load_chip(chip)
    plan, model = schedule(network("lenet5"), described), write_model(described)
    keeps = keeping_time(described, 350.0, 0.03).time_s
    share = plan.arrays_used / 320
    writes_hz = (0.5 * 2.0 + model.cycles / keeps) * share
    wear = found.refresh[0].wear
    assert wear is not None
    assert wear.training_hz == pytest.approx(share)
    assert wear.lifetime_years == pytest.approx(2e6 / writes_hz / YEAR_S, rel=1e-9)
    assert wear.writes == pytest.approx(writes_hz * 5 * YEAR_S, rel=1e-9)
    assert (found.rate_hz, found.continuous, found.arrays) == (100.0, False, 320)
    assert found.ageing == found.stuck == ()
    repeated = LifetimeResult.model_validate_json(call(*shlex.split(found.command)[2:], "--json"))
    assert (repeated.refresh, repeated.command) == (found.refresh, found.command)


def test_tables_fit_80_columns(chip: str) -> None:
    for words in (
        ("resnet20", "--chip", "reram-8b", "--temperature", "300K,85C"),
        ("lenet5", "--chip", chip, "--temperature", "300K,350K,400K,500K"),
        ("resnet18", "--chip", "isaac", "--arrays", "400", "--batch-size", "8"),
    ):
        text = call(*words)
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "cycles of a cell" in text
        assert "lifetime" in text
    assert "does not fit" in text
    assert "1e+06 (published)" in text  # of ReRAM, with its source


def test_accuracies_over_years_and_with_stuck_cells(studied: LifetimeResult) -> None:
    """LeNet-5 after ten years of a time constant of three: lost, and held by refreshing."""
    aged = {one.case: one.mean for one in studied.ageing}
    assert list(aged) == ["now", "not refreshed", "refreshed", "calibrated again"]
    assert aged["now"] > 0.9
    assert aged["not refreshed"] < aged["now"] - 0.2
    assert aged["refreshed"] > 0.8
    assert aged["calibrated again"] < aged["refreshed"]  # little is left to calibrate after three time constants
    stuck = {one.case: one.mean for one in studied.stuck}
    assert list(stuck) == ["no remedy", "4 spares", "remap both", "4 spares, remap both"]
    assert studied.faults == (0.01, 0.02)
    assert stuck["4 spares, remap both"] >= stuck["no remedy"]
    assert studied.digital is not None
    assert studied.digital > 0.9


def test_a_study_is_the_same_again(chip: str, studied: LifetimeResult) -> None:
    options = LifetimeOptions(
        "lenet5", chip=chip, temperatures_k=(300.0,), data="mnist5k", samples=60, trials=1, batch=7
    )
    assert run(options).ageing == studied.ageing


def test_page_and_files(studied: LifetimeResult) -> None:
    page = render(studied)
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    assert json.loads(found[1]).keys() == {"keeps", "ageing", "stuck"} == figures(studied).keys()
    assert "4 spares, remap both" in page
    head = page[: page.index('id="figures"')]
    assert "default-src 'none'" in head
    assert not re.search(r"""(?:src|href)=""", head)
    assert LifetimeResult.model_validate_json(studied.to_json()) == studied
    assert "--faults 1%/2% --spares 4 --remap both" in studied.command


def test_command_writes_files(chip: str, tmp_path: Path) -> None:
    text = call("lenet5", "--chip", chip, "--out", str(tmp_path / "new"), "--json")
    printed = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert printed == json.loads((tmp_path / "new" / "lifetime.json").read_text())
    assert printed["format"] == "crosstile-lifetime/1"
    assert "lifetime" in (tmp_path / "new" / "lifetime.html").read_text()


def test_chips_with_faults_and_remedies(chip: str) -> None:
    described = load_chip(chip)
    assert not has_faults(described)
    broken = with_faults(described, (0.01, 0.02))
    assert has_faults(broken)
    assert has_faults(with_faults(broken, None))
    assert not has_faults(with_faults(broken, (0.0, 0.0)))  # instead of what the cell has, not on top
    cases = remedies(broken, 2, "columns")
    built = [(c.array.spare_rows, c.array.spare_columns, c.array.remap) for c in cases.values()]
    assert built == [(0, 0, "none"), (2, 2, "none"), (0, 0, "columns"), (2, 2, "columns")]
    assert list(remedies(broken, 0, "none")) == ["no remedy"]


def test_parsing() -> None:
    assert parse_faults("1.75%/9.04%") == pytest.approx((0.0175, 0.0904))
    assert parse_faults("0.1 / 0") == (0.1, 0.0)
    assert parse_temperatures(("300K", "27 C", "300 K")) == (300.0, 300.15)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lenet", "--chip", "reram-8b"), "lenet5"),
        (("lenet5", "--chip", "reram"), "reram-8b"),
        (("lenet5", "--years", "0"), "--years"),
        (("lenet5", "--temperature", "20"), "--temperature"),
        (("lenet5", "--temperature", "2000K"), "outside 200 to 600"),
        (("lenet5", "--rate", "1e12 Hz"), "samples a second"),
        (("lenet5", "--rate", "-1 Hz"), "--rate"),
        (("lenet5", "--steps", "3 Hz"), "belong together"),
        (("lenet5", "--levelling", "idael"), "ideal"),
        (("lenet5", "--loss", "2"), "share of the window"),
        (("lenet5", "--loss", "2 K"), "--loss"),
        (("lenet5", "--least-window", "0"), "least window"),
        (("lenet5", "--cycles", "0"), "cycles are stated"),
        (("lenet5", "--spares", "4"), "--data"),
        (("lenet5", "--samples", "4"), "--data"),
        (("lenet5", "--data", "mnist5k", "--faults", "1%"), "1%/9%"),
        (("lenet5", "--data", "mnist5k", "--faults", "80%/30%"), "1%/9%"),
        (("lenet5", "--data", "mnist5k", "--faults", "x/1%"), "--faults"),
        (("lenet5", "--data", "mnist5k", "--spares", "3", "--faults", "1%/1%"), "even number"),
        (("lenet5", "--data", "mnist5k", "--remap", "all"), "--remap"),
        (("lenet5", "--data", "mnist5k", "--remap", "both"), "--faults 1%/9%"),
    ],
)
def test_slips_are_told(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CrosstileError, match=re.escape(told)):
        call(*words)


def test_the_budget_needs_no_torch(chip: str) -> None:
    code = (
        "import sys, typer; from crosstile.cli_lifetime import register; app = typer.Typer(); app.callback()(lambda: None); "
        f"register(app); app(['lifetime', 'lenet5', '--chip', {chip!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
