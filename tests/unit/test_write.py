"""Writing: both files or neither, and a clear message before the long work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from result_fixture import example_result

from crosstile.errors import OutputError
from crosstile.study import write
from crosstile.study.result import Result
from crosstile.study.write import check_writable, write_result


@pytest.fixture(autouse=True)
def _short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "render_report", lambda result: f"<html>{result.seed}</html>")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    result_path, report_path = write_result(example_result(), folder)
    assert names(folder) == ["report.html", "result.json"]
    assert Result.from_json(result_path) == example_result()
    assert report_path.read_text(encoding="utf-8") == "<html>7</html>"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_files_have_the_usual_rights(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for path in write_result(example_result(), tmp_path):
        assert path.stat().st_mode == plain.stat().st_mode


def test_a_second_result_replaces_the_first(tmp_path: Path) -> None:
    write_result(example_result(), tmp_path)
    write_result(example_result(seed=8), tmp_path)
    assert names(tmp_path) == ["report.html", "result.json"]
    assert Result.from_json(tmp_path / "result.json").seed == 8


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    blocker = tmp_path / "results"
    blocker.write_text("mine")
    for folder in (blocker, blocker / "below"):
        with pytest.raises(OutputError, match="file is in the way"):
            check_writable(folder)
        with pytest.raises(OutputError, match="file is in the way"):
            write_result(example_result(), folder)
    assert blocker.read_text() == "mine"


def test_a_directory_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: is a directory"):
        write_result(example_result(), tmp_path)
    assert names(tmp_path) == ["report.html"]


def test_an_unwritable_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(write.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        check_writable(tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_result(example_result(), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("earlier", [False, True])
def test_when_the_second_name_fails_the_first_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    if earlier:
        write_result(example_result(seed=1), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace, seen = os.replace, []

    def fail_second(source: Path, target: Path) -> None:
        seen.append(target)
        if len(seen) == 2:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(write.os, "replace", fail_second)
    with pytest.raises(OutputError, match="Input/output error"):
        write_result(example_result(seed=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_that_cannot_be_drawn_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Result) -> str:
        raise RuntimeError("template")

    monkeypatch.setattr(write, "render_report", broken)
    with pytest.raises(RuntimeError):
        write_result(example_result(), tmp_path)
    assert names(tmp_path) == []
