"""The text of a netlist and the reading of raw files, without ngspice."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from crosstile.circuits.spice import SpiceError, netlist, parse_raw, run_ngspice
from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import UsageError

G = np.array([[1e-3, 2e-4, 5e-5], [4e-4, 0.0, 1e-6]])
V = np.array([0.1, -0.25])
INF = float("inf")


def elements(text: str) -> dict[str, list[str]]:
    """Elements by name; the first line is the title whatever it holds."""
    lines = text.splitlines()[1:]
    return {w[0]: w[1:] for w in (line.split() for line in lines) if w and w[0][0] not in "*."}


def test_a_standard_array_element_by_element() -> None:
    found = elements(netlist(G, V, Wires(2.0, 3.0, 10.0, 20.0)))
    assert found["Vin_0"] == ["in_0", "0", "DC", "0.1"]
    assert found["Vin_1"] == ["in_1", "0", "DC", "-0.25"]
    assert found["Vout_2"] == ["out_2", "0", "DC", "0"]
    assert found["Rdrive_1"] == ["in_1", "w_1_0", "12.0"]
    assert found["Rword_1_0"] == ["w_1_0", "w_1_1", "2.0"]
    assert found["Rbit_2_0"] == ["b_0_2", "b_1_2", "3.0"]
    assert found["Rsense_0"] == ["b_1_0", "out_0", "23.0"]
    assert found["Rcell_0_1"] == ["w_0_1", "b_0_1", repr(1 / 2e-4)]
    assert "Rcell_1_1" not in found, "a cell of 0 S is no element"
    assert len(found) == 2 + 3 + 2 + 4 + 3 + 3 + 5


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_ends_of_the_lines(topology: str) -> None:
    found = elements(netlist(G, V, Wires(2.0, 3.0, 10.0, 20.0, topology)))
    ends = {name: nodes[:2] for name, nodes in found.items() if re.match("Rdrive|Rsense", name) and name.endswith("_1")}
    wanted = {"Rdrive_1": ["in_1", "w_1_0"], "Rsense_1": ["b_1_1", "out_1"]}
    if topology == "same_side":
        wanted = {"Rdrive_1": ["in_1", "w_1_0"], "Rsense_top_1": ["b_0_1", "out_1"]}
    elif topology == "driven_both_sides":
        wanted["Rdrive_far_1"] = ["in_1", "w_1_2"]
    elif topology == "sensed_both_sides":
        wanted["Rsense_top_1"] = ["b_0_1", "out_1"]
    assert ends == wanted


def test_wires_of_zero_ohm_are_one_node() -> None:
    ideal = elements(netlist(G, V, Wires(0.0, 0.0)))
    assert ideal["Rcell_1_2"][:2] == ["in_1", "out_2"]
    assert not [name for name in ideal if name.startswith(("Rword", "Rbit", "Rdrive", "Rsense"))]
    driven = elements(netlist(G, V, Wires(0.0, 0.0, 5.0, 6.0, "sensed_both_sides")))
    assert driven["Rdrive_0"] == ["in_0", "w_0", "5.0"]
    assert driven["Rcell_0_2"][:2] == ["w_0", "b_2"]
    assert driven["Rsense_2"] == driven["Rsense_top_2"] == ["b_2", "out_2", "6.0"]


def test_infinite_wires_and_what_floats_are_left_out() -> None:
    broken = elements(netlist(G, V, Wires(INF, 3.0)))
    assert not [name for name in broken if name.startswith(("Rdrive", "Rword"))]
    assert broken["Rcell_0_0"][:2] == ["w_0_0", "b_0_0"], "hangs on its bit line"
    loose = elements(netlist(G, V, Wires(INF, INF)))
    assert sorted(loose) == ["Vin_0", "Vin_1", "Vout_0", "Vout_1", "Vout_2"]


def test_nonlinear_cells_are_sources_of_current() -> None:
    text = netlist(G, V, Wires(2.0, 0.0), cell_current="{g}*0.25*sinh(v/0.25)")
    assert "Bcell_0_1 w_0_1 out_1 I=(0.0002)*0.25*sinh(v(w_0_1,out_1)/0.25)\n" in text
    assert "Rcell" not in text


def test_title_comments_and_analysis() -> None:
    text = netlist(G, V, Wires(2.0, 3.0), title="A tile of layer 3")
    lines = text.splitlines()
    assert lines[0] == "* A tile of layer 3"
    assert lines[-2:] == [".op", ".end"]
    assert "topology standard" in lines[1]
    assert any(line.startswith(".options") and "gmin=1e-20" in line for line in lines)
    assert text.endswith(".end\n")


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"title": "a\n.control\nquit\n.endc"}, "one line"),
        ({"cell_current": "{g}*v\n.control"}, "no expression"),
        ({"cell_current": "{h}*v"}, "no expression"),
        ({"cell_current": "{g}*0.1"}, "voltage v"),
        ({"cell_current": ""}, "no expression"),
    ],
)
def test_text_that_could_be_commands_is_refused(more: dict[str, str], wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        netlist(G, V, Wires(2.0, 3.0), **more)


def test_shapes_and_tiny_cells_are_told() -> None:
    with pytest.raises(UsageError, match="one input"):
        netlist(G, V[None], Wires(2.0, 3.0))
    with pytest.raises(UsageError, match="0 S"):
        netlist(np.array([[1e-320]]), np.array([1.0]), Wires(2.0, 3.0))


def test_a_missing_ngspice_is_told_with_the_way_to_get_it() -> None:
    with pytest.raises(SpiceError, match="apt-get install ngspice"):
        run_ngspice(G, V, Wires(2.0, 3.0), executable="no-such-simulator-anywhere")


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo 'Error: singular matrix:  check node b_0_0' >&2; exit 1", "give nearly perfect wires 0 ohm"),
        ("echo 'No convergence in operating point' >&2; exit 1", "less steep"),
        ("exit 3", "exit status 3"),
        ("exit 0", "no message"),
        ("echo nonsense > crossbar.raw", "raw file"),
    ],
)
def test_what_the_simulator_complains_of_is_passed_on(script: str, wanted: str, tmp_path: Path) -> None:
    fake = tmp_path / "simulator"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    with pytest.raises(SpiceError, match=wanted):
        run_ngspice(G, V, Wires(2.0, 3.0), executable=str(fake))


HEAD = (
    "Title: x\nFlags: {flags}\nNo. Variables: 2\nNo. Points: {points}\n"
    "Variables:\n\t0\tv(N1)\tvoltage\n\t1\ti(vout_0)\tcurrent\n"
)


def test_raw_files_keep_every_bit() -> None:
    values = (0.1 + 0.2, -1 / 3 * 1e-9)
    raw = HEAD.format(flags="real", points=1).encode() + b"Binary:\n" + struct.pack("2d", *values)
    assert parse_raw(raw) == {"v(n1)": values[0], "i(vout_0)": values[1]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff" * 40,
        HEAD.format(flags="real", points=1).encode() + b"Values:\n0 1.0\n",
        HEAD.format(flags="complex", points=1).encode() + b"Binary:\n" + bytes(16),
        HEAD.format(flags="real", points=2).encode() + b"Binary:\n" + bytes(32),
        HEAD.format(flags="real", points=1).encode() + b"Binary:\n" + bytes(15),
        HEAD.format(flags="real", points="one").encode() + b"Binary:\n" + bytes(16),
    ],
)
def test_raw_files_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(SpiceError, match="raw file"):
        parse_raw(raw)
