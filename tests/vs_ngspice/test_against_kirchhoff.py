"""The fast solver and ngspice agree to 1e-9 of the largest current.

Over 50 random arrays up to 32x32 of all topologies, wires, drivers and sense inputs from 0.01 to 100 ohm or 0, cells from 1 nS
to 10 mS, some of them choked to a tenth of their ideal current (see random_arrays.py and test_against_nodal.py, which also
measures ngspice's own rounding: below 1e-12).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_arrays import CASES, SMALL_CASES, Case

from crosstile.circuits.kirchhoff import effective_conductance, solve_crossbar
from crosstile.circuits.nodal import exact_effective_conductance
from crosstile.circuits.spice import run_ngspice

AGREEMENT = 1e-9


def fast_conductance(case: Case) -> np.ndarray:
    return effective_conductance(
        torch.from_numpy(case.g_s),
        word_line_ohm=case.wires.word_line_ohm,
        bit_line_ohm=case.wires.bit_line_ohm,
        driver_ohm=case.wires.driver_ohm,
        sense_ohm=case.wires.sense_ohm,
        topology=case.wires.topology,
    ).numpy()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_effective_conductance(case: Case) -> None:
    theirs = run_ngspice(case.g_s, case.v, case.wires).currents_a
    ours = case.v @ fast_conductance(case)
    assert np.abs(ours - theirs).max() <= AGREEMENT * np.abs(theirs).max()


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_full_solution(case: Case) -> None:
    theirs = run_ngspice(case.g_s, case.v, case.wires)
    ours = solve_crossbar(torch.from_numpy(case.g_s), torch.from_numpy(case.v)[None], case.wires)
    volts, largest = np.abs(case.v).max(), np.abs(theirs.currents_a).max()
    assert np.abs(ours.currents_a[0].numpy() - theirs.currents_a).max() <= AGREEMENT * largest
    assert np.abs(ours.word_v[0].numpy() - theirs.word_v).max() <= AGREEMENT * volts
    assert np.abs(ours.bit_v[0].numpy() - theirs.bit_v).max() <= AGREEMENT * volts


@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)
def test_effective_conductance_against_exact_decimals(case: Case) -> None:
    """Every entry to 1e-13 of itself: no rounding of ngspice's is in the way here (measured: 9e-16)."""
    exact = exact_effective_conductance(case.g_s, case.wires)
    np.testing.assert_allclose(fast_conductance(case), exact, rtol=1e-13, atol=0)
