"""The documentation is true: its Python examples run, and no file names a place of somebody's machine."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN_PLACES = ("/wo" + "rk/", "/tm" + "p/v/", "/ro" + "ot/")


@pytest.fixture
def registries():
    """Forget the parts that an example registers."""
    import crosstile.cost.components  # noqa: F401  (registers the built-in formulas)
    from crosstile.cost.figures import FORMULAS
    from crosstile.nonidealities import EFFECTS

    saved = [(registry, dict(registry._parts)) for registry in (FORMULAS, EFFECTS)]
    yield
    for registry, parts in saved:
        registry._parts = parts


@pytest.mark.parametrize("page", ["README.md", "docs/extending.md"])
def test_python_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries: None) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert FENCE.search(text)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "example"}
    for found in FENCE.finditer(text):
        line = text[: found.start(1)].count("\n")
        code = compile("\n" * line + found[1], str(ROOT / page), "exec", dont_inherit=True)
        exec(code, names)


def test_the_readme_shows_the_example_file_as_it_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = (ROOT / "examples" / "my_network.py").read_text(encoding="utf-8")
    assert code in text


def test_the_network_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from crosstile.study.run import RunOptions, run

    example = runpy.run_path(str(ROOT / "examples" / "my_network.py"))
    (tmp_path / "my_network.py").write_text((ROOT / "examples" / "my_network.py").read_text())
    torch.save(example["train"](epochs=3).state_dict(), tmp_path / "my_network.pt")
    monkeypatch.chdir(tmp_path)
    result = run(
        RunOptions("my_network:small_net", data="digits", weights=Path("my_network.pt"), samples=100, trials=2)
    )
    assert result.accuracy.digital > 0.8
    assert result.accuracy.mean > 0.7


def test_the_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"))["main"](samples=20)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_no_file_names_a_place_of_this_machine() -> None:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            found += [f"{name}: {place}" for place in OWN_PLACES if place.encode() in data]
    assert not found
