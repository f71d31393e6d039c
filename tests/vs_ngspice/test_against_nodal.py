"""The oracle and ngspice agree, and where they differ by rounding, exact decimals tell whose it is.

Tolerances are relative to the largest current of the array, or to the largest input voltage. Measured with ngspice 39: at
most 7e-13 (currents) and 9e-13 (voltages) over the arrays up to 32x32. On arrays up to 8x8 ngspice differs from the exact
solution by up to 1e-13 and the oracle by 3e-16: what is left is ngspice's rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
from random_arrays import CASES, SMALL_CASES, Case, random_case

from crosstile.circuits.nodal import exact_effective_conductance, solve_nodal
from crosstile.circuits.spice import run_ngspice
from crosstile.circuits.wires import TOPOLOGIES, Wires

AGREEMENT = 1e-9
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
def test_currents_and_voltages(case: Case) -> None:
    ours, theirs = solve_nodal(case.g_s, case.v, case.wires), run_ngspice(case.g_s, case.v, case.wires)
    largest = np.abs(theirs.currents_a).max()
    assert largest > 0
    assert np.abs(ours.currents_a - theirs.currents_a).max() <= AGREEMENT * largest
    volts = np.abs(case.v).max()
    assert np.abs(ours.word_v - theirs.word_v).max() <= AGREEMENT * volts
    assert np.abs(ours.bit_v - theirs.bit_v).max() <= AGREEMENT * volts


def test_the_cases_cover_what_is_claimed() -> None:
    """Every topology, shapes up to 32, and losses from next to nothing to nine tenths of the ideal current."""
    losses = []
    for case in CASES:
        ideal = np.abs(case.v) @ case.g_s
        losses.append(1 - solve_nodal(case.g_s, np.abs(case.v), case.wires).currents_a.sum() / ideal.sum())
    assert {case.wires.topology for case in CASES} == set(TOPOLOGIES)
    assert max(case.g_s.shape[0] for case in CASES) >= 31
    assert max(case.g_s.shape[1] for case in CASES) >= 31
    assert min(losses) < 0.02
    assert max(losses) >= 0.9
    assert sum(loss > 0.5 for loss in losses) >= 10


@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)
def test_against_the_exact_solution(case: Case) -> None:
    exact = case.v @ exact_effective_conductance(case.g_s, case.wires)
    largest = np.abs(exact).max()
    # The product above rounds once a word line: at most 8 eps.
    assert np.abs(solve_nodal(case.g_s, case.v, case.wires).currents_a - exact).max() <= 4e-15 * largest
    assert np.abs(run_ngspice(case.g_s, case.v, case.wires).currents_a - exact).max() <= 1e-11 * largest


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("broken", ["word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"])
def test_broken_wires(topology: str, broken: str) -> None:
    """A part that hangs on one terminal only has its voltage; a part that hangs on none rests at 0 V."""
    case = random_case(3, largest=8, zeros=0.0)
    ohms = {"word_line_ohm": 2.0, "bit_line_ohm": 3.0, "driver_ohm": 5.0, "sense_ohm": 7.0}
    wires = Wires(**{**ohms, broken: float("inf")}, topology=topology)
    ours, theirs = solve_nodal(case.g_s, case.v, wires), run_ngspice(case.g_s, case.v, wires)
    assert np.abs(ours.word_v - theirs.word_v).max() <= AGREEMENT
    assert np.abs(ours.bit_v - theirs.bit_v).max() <= AGREEMENT
    assert np.abs(ours.currents_a - theirs.currents_a).max() <= AGREEMENT * np.abs(case.v @ case.g_s).max()
    assert np.abs(ours.currents_a).max() <= 1e-25, "no current passes a broken wire"


def test_several_inputs_keep_their_axes() -> None:
    case = random_case(7, largest=6)
    v = np.random.default_rng(1).uniform(0, 0.2, size=(2, 3, case.g_s.shape[0]))
    ours, theirs = solve_nodal(case.g_s, v, case.wires), run_ngspice(case.g_s, v, case.wires)
    for name in ("word_v", "bit_v", "currents_a"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), rtol=1e-9, atol=1e-15)
