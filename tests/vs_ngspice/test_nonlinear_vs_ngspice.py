"""Nonlinear cells and gate-driven 1T1R, against ngspice.

The runner's options ask ngspice for 1e-9 of each voltage and current (reltol). Its Newton iteration stops by the last step,
which for an exponential cell is v / v0 times as large in the current: agreement to 1e-8 of the largest current is asked for.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from crosstile.circuits.cell_models import Cell, Polynomial, Selector, Sinh
from crosstile.circuits.gated import Transistor, gate_driven
from crosstile.circuits.nonlinear import solve_nonlinear
from crosstile.circuits.spice import netlist, parse_raw, run_ngspice
from crosstile.circuits.wires import TOPOLOGIES, Topology, Wires

Floats = npt.NDArray[np.float64]
WIRES = [Wires(0.5, 0.5), Wires(5.0, 2.0, 100.0, 50.0), Wires(50.0, 80.0, 500.0, 0.0)]


def _case(seed: int, rows: int, columns: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    g = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, columns)))
    g[rng.random(g.shape) < 0.1] = 0.0
    return g, rng.uniform(-0.1, 0.4, (2, rows))


def _compare(g: Floats, v: Floats, wires: Wires, cell: Cell, law: str) -> None:
    found = solve_nonlinear(torch.from_numpy(g), torch.from_numpy(v), wires, cell)
    spice = run_ngspice(g, v, wires, cell_current=law)
    largest = np.abs(spice.currents_a).max()
    assert np.abs(found.currents_a.numpy() - spice.currents_a).max() < 1e-8 * largest
    assert np.abs(found.word_v.numpy() - spice.word_v).max() < 1e-9
    assert np.abs(found.bit_v.numpy() - spice.bit_v).max() < 1e-9


@pytest.mark.parametrize("v0", [1.0, 0.25, 0.08])
@pytest.mark.parametrize("wires", WIRES, ids=str)
def test_sinh(wires: Wires, v0: float) -> None:
    _compare(*_case(1, 16, 16), wires, Sinh(v0), f"{{g}}*{v0}*sinh(v/{v0})")


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_topologies(topology: Topology) -> None:
    _compare(*_case(2, 7, 10), Wires(5.0, 8.0, 50.0, 20.0, topology), Sinh(0.1), "{g}*0.1*sinh(v/0.1)")


@pytest.mark.parametrize("wires", WIRES, ids=str)
def test_polynomial(wires: Wires) -> None:
    _compare(*_case(3, 12, 9), wires, Polynomial((0.5, 2.0)), "{g}*(v+0.5*v*v+2.0*v*v*v)")


@pytest.mark.parametrize("memory", [None, 0.25])
@pytest.mark.parametrize("wires", WIRES, ids=str)
def test_selector(wires: Wires, memory: float | None, ngspice: str, tmp_path: Path) -> None:
    """Every cell is two elements in series with a node of their own between them."""
    g, v = _case(4, 8, 8)
    found = solve_nonlinear(torch.from_numpy(g), torch.from_numpy(v), wires, Selector(1e-6, 0.06, memory))

    def two(cell: re.Match[str]) -> str:
        name, a, b, siemens = cell.groups()
        across = f"v({a},m_{name})"
        law = f"({siemens})*{across}" if memory is None else f"({siemens})*{memory}*sinh({across}/{memory})"
        return f"Bmem_{name} {a} m_{name} I={law}\nBsel_{name} m_{name} {b} I=1e-6*sinh(v(m_{name},{b})/0.06)"

    for k in range(2):
        text = netlist(g, v[k], wires, cell_current="{g}*v")
        text, count = re.subn(r"^Bcell_(\w+) (\S+) (\S+) I=\((\S+)\)\*v\(\S+\)$", two, text, flags=re.MULTILINE)
        assert count == np.count_nonzero(g)
        (tmp_path / "selector.sp").write_text(text)
        subprocess.run(
            [ngspice, "-n", "-b", "-r", "selector.raw", "selector.sp"], cwd=tmp_path, check=True, capture_output=True,
            timeout=60,
        )  # fmt: skip
        values = parse_raw((tmp_path / "selector.raw").read_bytes())
        true = np.array([values[f"i(vout_{j})"] for j in range(8)])
        assert np.abs(found.currents_a[k].numpy() - true).max() < 1e-8 * np.abs(true).max()


@pytest.mark.parametrize("sensed", ["same_side", "opposite_side"])
def test_source_lines_along_bit_lines(sensed: str, ngspice: str, tmp_path: Path) -> None:
    """Linear resistors: ngspice is right to 1e-10 of the largest current, written with all digits."""
    g, _ = _case(5, 12, 5)
    gates = np.random.default_rng(6).integers(0, 2, (2, 12)).astype(float)
    on, off, wires, source_ohm = 2e3, 1e-8, Wires(0.0, 4.0, 30.0, 20.0), 6.0
    found = gate_driven(
        torch.from_numpy(g), torch.from_numpy(gates), wires, read_v=0.2, transistor=Transistor(on, off),
        source_line="parallel_to_bit_line", source_line_ohm=source_ohm, sensed=sensed,  # type: ignore[arg-type]
    )  # fmt: skip
    for k in range(2):
        lines = ["* columns of 1T1R cells", "Vread in 0 DC 0.2"]
        for j in range(5):
            at = 0 if sensed == "same_side" else 11
            lines += [f"Rd_{j} in b_0_{j} 34", f"Rs_{j} s_{at}_{j} out_{j} 26", f"Vout_{j} out_{j} 0 DC 0"]
            for i in range(12):
                if g[i, j] > 0:
                    lines.append(f"Rm_{i}_{j} b_{i}_{j} m_{i}_{j} {1 / float(g[i, j])!r}")
                    lines.append(f"Rt_{i}_{j} m_{i}_{j} s_{i}_{j} {on if gates[k, i] else 1 / off!r}")
                if i:
                    lines.append(f"Rb_{i}_{j} b_{i - 1}_{j} b_{i}_{j} 4")
                    lines.append(f"Rl_{i}_{j} s_{i - 1}_{j} s_{i}_{j} {source_ohm}")
        lines += [".options gmin=1e-20 reltol=1e-9 numdgt=15", ".op", ".end", ""]
        (tmp_path / "ladder.sp").write_text("\n".join(lines))
        subprocess.run(
            [ngspice, "-n", "-b", "-r", "ladder.raw", "ladder.sp"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=60,
        )
        values = parse_raw((tmp_path / "ladder.raw").read_bytes())
        true = np.array([values[f"i(vout_{j})"] for j in range(5)])
        np.testing.assert_allclose(found.currents_a[k], true, rtol=0, atol=1e-10 * true.max())
