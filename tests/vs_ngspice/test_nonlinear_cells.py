"""Cells whose current is an expression of their voltage."""

from __future__ import annotations

import numpy as np
import pytest

from crosstile.circuits.nodal import solve_nodal
from crosstile.circuits.spice import SpiceError, run_ngspice
from crosstile.circuits.wires import Wires

G = np.exp(np.random.default_rng(5).uniform(np.log(1e-6), np.log(1e-3), (6, 5)))
V = np.linspace(0.1, 0.4, 6)


def test_a_linear_expression_is_a_resistor() -> None:
    wires = Wires(2.0, 3.0, 10.0, 20.0)
    linear = run_ngspice(G, V, wires, cell_current="{g}*v")
    np.testing.assert_allclose(linear.currents_a, solve_nodal(G, V, wires).currents_a, rtol=1e-9)


def test_ideal_wires_give_the_expression_itself() -> None:
    solved = run_ngspice(G, V, Wires(0.0, 0.0), cell_current="{g}*0.25*sinh(v/0.25)")
    np.testing.assert_allclose(solved.currents_a, (0.25 * np.sinh(V / 0.25)) @ G, rtol=1e-9)


def test_sinh_cells_behind_wires_obey_kirchhoff() -> None:
    """At every node of the solution, what the cells carry is what the wires bring: to 1e-8 of the largest cell current."""
    word, bit, driver, sense = 2.0, 3.0, 10.0, 20.0
    solved = run_ngspice(G, V, Wires(word, bit, driver, sense), cell_current="{g}*0.25*sinh(v/0.25)")
    in_cells = G * 0.25 * np.sinh((solved.word_v - solved.bit_v) / 0.25)
    before = np.column_stack([V, solved.word_v])
    ohm = np.array([driver + word] + [word] * 4)
    along = -np.diff(before, axis=1) / ohm
    left = along - np.column_stack([along[:, 1:], np.zeros(6)]) - in_cells
    assert np.abs(left).max() <= 1e-8 * in_cells.max()
    np.testing.assert_allclose(solved.currents_a, in_cells.sum(axis=0), rtol=1e-8)
    np.testing.assert_allclose(solved.currents_a, solved.bit_v[-1] / (bit + sense), rtol=1e-8)


def test_an_expression_that_ngspice_does_not_know_is_told() -> None:
    with pytest.raises(SpiceError, match="ngspice"):
        run_ngspice(G, V, Wires(1.0, 1.0), cell_current="{g}*no_such_function(v)")


def test_a_run_that_takes_too_long_is_told() -> None:
    with pytest.raises(SpiceError, match="longer than"):
        run_ngspice(G, V, Wires(1.0, 1.0), timeout_s=1e-4)
