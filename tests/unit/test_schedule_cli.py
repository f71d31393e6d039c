"""``crosstile schedule``: tables that fit, JSON, the page with its figures, and slips that are told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import crosstile as ct
from crosstile.cli_schedule import register
from crosstile.errors import CrosstileError
from crosstile.system.gantt import arrays_over_time, gantt
from crosstile.system.schedule import schedule
from crosstile.workloads.table import network

app = typer.Typer()
app.callback()(lambda: None)
register(app)


def call(*words: str) -> str:
    result = CliRunner().invoke(app, ["schedule", *words], env={"COLUMNS": "80"})
    if isinstance(result.exception, CrosstileError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    "words", [("resnet18", "--arrays", "2000", "--batch", "16"), ("densenet121",), ("lenet5", "--serial")]
)
def test_tables_fit_80_columns(words: tuple[str, ...]) -> None:
    text = call(*words, "--chip", "isaac", "--duplication", "greedy")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "latency of one sample" in text
    plan = schedule(network(words[0]), ct.load_chip("isaac"))
    for run in plan.stages[:2]:
        assert run.layer in text
    assert "copies" in text


def test_json_and_page(tmp_path: Path) -> None:
    words = (
        "resnet8",
        "--chip",
        "isaac",
        "--arrays",
        "40",
        "--batch",
        "3",
        "--pipelined",
        "--out",
        str(tmp_path),
        "--json",
    )
    text = call(*words)
    printed = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert printed == json.loads((tmp_path / "schedule.json").read_text())
    plan = schedule(
        network("resnet8"), ct.load_chip("isaac").replaced(hardware__pipeline="pipelined"), arrays=40, batch=3
    )
    assert printed["schedule"]["latency_s"] == plan.latency_s
    assert len(printed["schedule"]["stages"]) == len(plan.stages)
    assert printed["format"] == "crosstile-schedule-1"
    page = (tmp_path / "schedule.html").read_text()
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    assert json.loads(found[1]).keys() == {"gantt", "arrays"}
    assert "crosstile schedule resnet8 --chip isaac --arrays 40 --batch 3 --pipelined" in page
    assert all(f"<td>{run.layer}</td>" in page for run in plan.stages)
    head = page[: page.index('id="figures"')]
    assert "default-src 'none'" in head  # nothing is loaded, whatever the library behind would like
    assert not re.search(r"""(?:src|href)=""", head)


def test_the_gantt_shows_every_layer_and_rewrite() -> None:
    plan = schedule(
        network("resnet8"), ct.load_chip("isaac").replaced(hardware__pipeline="pipelined"), arrays=40, batch=3
    )
    assert len(plan.rounds) > 1
    by_name = {bars["name"]: bars for bars in gantt(plan)["data"]}
    first = [bars for name, bars in by_name.items() if name.startswith("first sample")]
    assert sorted(place for bars in first for place in bars["y"]) == list(range(len(plan.stages)))
    factor = by_name["whole batch"]["base"][-1] / plan.stages[-1].start_s
    for bars in first:
        for place, base, long in zip(bars["y"], bars["base"], bars["x"], strict=True):
            assert base == pytest.approx(factor * plan.stages[place].start_s)
            assert base + long == pytest.approx(factor * plan.stages[place].end_s)
    assert len(by_name["arrays written"]["x"]) == len(plan.rounds)
    assert sum(by_name["arrays written"]["x"]) == pytest.approx(factor * plan.write_time_s)
    line = arrays_over_time(plan)["data"][0]
    assert max(line["y"]) <= plan.arrays_used


def test_slips_are_told(tmp_path: Path) -> None:
    for words, text in (
        (("resnet19",), "did you mean"),
        (("lenet5", "--batch", "0"), "batch is 0"),
        (("lenet5", "--duplication", "some"), "none, greedy or optimal"),
        (("lenet5", "--arrays", "-3"), "arrays is -3"),
        (("lenet5", "--chip", "no-such-chip"), "no-such-chip"),
    ):
        with pytest.raises(CrosstileError, match=text):
            call(*words)
    (tmp_path / "file").write_text("")
    with pytest.raises(CrosstileError, match="in the way"):
        call("lenet5", "--out", str(tmp_path / "file"))


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys, crosstile as ct\n"
        "from crosstile.system.chip import evaluate_chip\nfrom crosstile.workloads.table import network\n"
        "evaluate_chip(network('lenet5'), ct.load_chip('isaac'))\nimport crosstile.cli_schedule\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
