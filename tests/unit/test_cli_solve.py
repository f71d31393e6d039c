"""``crosstile solve``: what it prints and writes, and that bad input is one message and exit code 2."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crosstile import cli
from crosstile.circuits.nodal import nodal_effective_conductance, solve_nodal
from crosstile.circuits.wires import Wires

G = np.exp(np.random.default_rng(0).uniform(np.log(1e-6), np.log(1e-3), (5, 20)))
V = np.array([[0.1, 0.2, 0.0, 0.3, 0.05], [0.3, 0.3, 0.3, 0.3, 0.3]])
OHMS = {"word_line_ohm": 2.0, "bit_line_ohm": 3.0, "driver_ohm": 50.0, "sense_ohm": 20.0}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crosstile", "solve", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def test_a_file_is_solved_and_written(call: Call, tmp_path: Path) -> None:
    np.savez("tile.npz", G=G, V=V, **OHMS, topology="sensed_both_sides")
    code, told, errors = call("tile.npz")
    assert code == 0, errors
    wires = Wires(*OHMS.values(), "sensed_both_sides")
    wanted = solve_nodal(G, V, wires)
    folder = tmp_path / "crosstile-out" / "solve-tile"
    with np.load(folder / "solution.npz", allow_pickle=False) as solution:
        np.testing.assert_allclose(solution["currents_a"], wanted.currents_a, rtol=1e-12)
        np.testing.assert_allclose(solution["ideal_currents_a"], V @ G, rtol=1e-14)
        np.testing.assert_allclose(solution["word_v"], wanted.word_v, atol=1e-14)
        np.testing.assert_allclose(solution["bit_v"], wanted.bit_v, atol=1e-14)
        np.testing.assert_allclose(solution["cell_v"], wanted.word_v - wanted.bit_v, atol=1e-14)
        np.testing.assert_allclose(solution["cell_power_w"], G * (wanted.word_v - wanted.bit_v) ** 2, atol=1e-16)
        np.testing.assert_allclose(
            solution["effective_conductance_s"], nodal_effective_conductance(G, wires), rtol=1e-12
        )
    assert (folder / "heatmap.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in folder.iterdir()) == ["heatmap.png", "solution.npz"]
    assert "bit line of 20" in told
    assert "input 0 of 2" in told
    assert "sensed_both_sides" in told


def test_json_options_and_resistances(call: Call, tmp_path: Path) -> None:
    """R instead of G, one input without an axis, and options that stand instead of the file's wires."""
    np.savez("r.npz", R=1 / G, V=V[0], **OHMS)
    code, told, errors = call(
        "r.npz", "--word-line", "0.5 ohm", "--bit-line", "1 kohm", "--driver", "0 ohm", "--sense", "inf", "--topology",
        "same_side", "--json", "--out", "here",
    )  # fmt: skip
    assert code == 0, errors
    document = json.loads(told)
    assert document["wires"] == {
        "word_line_ohm": 0.5, "bit_line_ohm": 1000.0, "driver_ohm": 0.0, "sense_ohm": "inf", "topology": "same_side",
    }  # fmt: skip
    assert document["currents_a"] == [[0.0] * 20]
    assert document["loss"] == [[1.0] * 20]
    assert document["summary"]["loss_total"] == 1.0
    with np.load(tmp_path / "here" / "solution.npz", allow_pickle=False) as solution:
        assert solution["currents_a"].shape == (20,)
        assert solution["word_v"].shape == solution["cell_power_w"].shape == (5, 20)
    code, told, _ = call("r.npz", "--json", "--out", "here")
    np.testing.assert_allclose(
        json.loads(told)["currents_a"][0], solve_nodal(1 / (1 / G), V[0], Wires(*OHMS.values())).currents_a, rtol=1e-12
    )


def test_loss_is_missing_current_and_undefined_without_any(call: Call) -> None:
    g = G.copy()
    g[:, 3] = 0.0
    np.savez("z.npz", G=g, V=V[1], **OHMS)
    code, told, _ = call("z.npz", "--json", "--out", "o")
    document = json.loads(told)
    assert code == 0
    assert document["loss"][0][3] is None
    wanted = 1 - np.array(document["currents_a"][0]) / np.maximum(V[1] @ g, 1e-300)
    np.testing.assert_allclose(np.delete(np.array(document["loss"][0], float), 3), np.delete(wanted, 3), rtol=1e-12)
    assert document["summary"]["loss_largest"] == pytest.approx(np.delete(wanted, 3).max())
    code, told, _ = call("z.npz", "--out", "o")
    assert code == 0
    assert "-" in told


def test_the_netlist_is_that_of_the_chosen_input(call: Call) -> None:
    np.savez("tile.npz", G=G, V=V, **OHMS)
    code, _, errors = call("tile.npz", "--netlist", "tile.sp", "--input", "1", "--out", "o")
    assert code == 0, errors
    text = Path("tile.sp").read_text()
    assert text.startswith("* tile.npz\n")
    assert "Vin_0 in_0 0 DC 0.3\n" in text
    assert text.count("Rcell_") == G.size


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="no ngspice on PATH")
def test_comparison_with_ngspice(call: Call) -> None:
    np.savez("tile.npz", G=G, V=V, **OHMS)
    code, told, errors = call("tile.npz", "--compare", "ngspice", "--out", "o", "--json")
    assert code == 0, errors
    compared = json.loads(told)["compare"]
    assert compared["inputs"] == 2
    assert 0 < compared["largest_difference"] < 1e-9
    assert 0 < compared["largest_voltage_difference"] < 1e-9
    code, told, _ = call("tile.npz", "--compare", "ngspice", "--out", "o")
    assert code == 0
    assert "Against ngspice" in told


def test_comparison_without_ngspice_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    np.savez("tile.npz", G=G, V=V, **OHMS)
    code, _, errors = call("tile.npz", "--compare", "ngspice")
    assert code == 2
    assert "apt-get install ngspice" in errors
    assert not Path("crosstile-out").exists(), "a folder made for nothing is taken away again"


def bad_zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "not a readable .npz"),
        (b"PK\x03\x04 not really a zip", "not a readable .npz"),
        (np.random.default_rng(1).bytes(500), "not a readable .npz"),
        (bad_zip(G__npy=b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000)), "not a readable .npz"),
        (bad_zip(G__txt=b"1 2 3"), "is no array"),
    ],
)
def test_malformed_files(content: bytes, wanted: str, call: Call) -> None:
    Path("bad.npz").write_bytes(content)
    code, _, errors = call("bad.npz")
    assert code == 2
    assert "Traceback" not in errors
    assert wanted in errors
    assert sorted(p.name for p in Path().iterdir()) == ["bad.npz"]


NEGATIVE, HOLE = G.copy(), G.copy()
NEGATIVE[2, 7] = -1e-6
HOLE[4, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        ({}, "either G (siemens) or R (ohm)"),
        ({"G": G, "R": G, "V": V}, "found both"),
        ({"G": G}, "no V"),
        ({"G": G, "V": V, "word_line": 2.0}, "did you mean 'word_line_ohm'"),
        ({"G": G[0], "V": V}, "(rows, columns)"),
        ({"G": np.zeros((0, 4)), "V": np.zeros(0)}, "at least one cell"),
        ({"G": NEGATIVE, "V": V}, "G[2, 7] is -1e-06"),
        ({"G": HOLE, "V": V}, "G[4, 1] is nan"),
        ({"R": np.zeros((5, 2)), "V": V}, "R[0, 0] is 0.0"),
        ({"R": -np.ones((5, 2)) * np.inf, "V": V}, "R[0, 0] is -inf"),
        ({"G": G.astype(complex), "V": V}, "complex128"),
        ({"G": np.full((5, 2), "a"), "V": V}, "real numbers"),
        ({"G": np.array([[1, None]], dtype=object), "V": V}, "Python objects"),
        ({"G": G, "V": V.T}, "wanted is (5,) or (inputs, 5)"),
        ({"G": G, "V": V[None]}, "wanted is (5,) or (inputs, 5)"),
        ({"G": G, "V": np.full((2, 5), np.inf)}, "infinite voltages or NaN"),
        ({"G": G, "V": V, "sense_ohm": -1.0}, "sense_ohm"),
        ({"G": G, "V": V, "sense_ohm": np.nan}, "sense_ohm"),
        ({"G": G, "V": V, "driver_ohm": np.ones(5)}, "one number of ohms"),
        ({"G": G, "V": V, "driver_ohm": "5 ohm"}, "one number of ohms"),
        ({"G": G, "V": V, "topology": "ring"}, "'ring' is not known"),
        ({"G": G, "V": V, "topology": 3}, "one word"),
        ({"G": np.ones((1025, 1024), dtype=np.float32), "V": np.ones(1025)}, "cut the array into tiles"),
        ({"G": np.ones((1024, 1024), dtype=np.float32), "V": np.ones((17, 1024))}, "split the file"),
    ],
)
def test_unusable_arrays(arrays: dict[str, object], wanted: str, call: Call) -> None:
    np.savez("bad.npz", **arrays)
    code, _, errors = call("bad.npz")
    assert code == 2, errors
    assert "Traceback" not in errors
    assert "bad.npz" in errors or "ohm" in errors or "topology" in errors
    assert wanted in errors
    assert not Path("crosstile-out").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--word-line", "2.5"], "--word-line: '2.5' has no unit"),
        (["--sense", "2 V"], "--sense: '2 V' is a voltage"),
        (["--driver", "-3 ohm"], "driver_ohm"),
        (["--topology", "ring"], "'ring' is not known"),
        (["--timeout", "0 s"], "above 0"),
        (["--timeout", "3"], "--timeout: '3' has no unit"),
        (["--input", "2"], "inputs 0 to 1"),
        (["--input", "-1"], "inputs 0 to 1"),
        (["--compare", "spectre"], "spectre"),
        (["--out", "tile.npz"], "a file is in the way"),
        (["--netlist", "nowhere/tile.sp"], "nowhere/tile.sp"),
    ],
)
def test_unusable_options(words: list[str], wanted: str, call: Call) -> None:
    np.savez("tile.npz", G=G, V=V, **OHMS)
    code, _, errors = call("tile.npz", *words)
    assert code == 2
    assert "Traceback" not in errors
    assert wanted in errors
    assert sorted(p.name for p in Path().iterdir()) == ["tile.npz"], "nothing is half-written"


def test_a_missing_file_is_told(call: Call) -> None:
    code, _, errors = call("nowhere.npz")
    assert code == 2
    assert "nowhere.npz: no such file" in errors


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys\nfrom crosstile.cli import app\napp(['solve', '--help'], standalone_mode=False)\n"
        "print('heavy:', sorted({'torch', 'numba', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
