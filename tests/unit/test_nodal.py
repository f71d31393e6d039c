"""The oracle of crossbar wires against closed forms, exact decimals, its own laws and its limits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from crosstile.circuits.nodal import exact_effective_conductance, nodal_effective_conductance, solve_nodal
from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import UsageError

INF = float("inf")
EPS = np.finfo(np.float64).eps


def cells(rows: int, columns: int, seed: int = 0, low: float = 1e-9, high: float = 1e-2) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), (rows, columns)))


@pytest.mark.parametrize(
    ("topology", "ohm"),
    [
        ("standard", 2 + 11 + 3 + 13),
        ("source_line", 2 + 11 + 3 + 13),
        ("same_side", 2 + 11 + 3 + 13),
        ("driven_both_sides", (2 + 11) / 2 + 3 + 13),
        ("sensed_both_sides", 2 + 11 + (3 + 13) / 2),
    ],
)
def test_one_cell_is_a_series_circuit(topology: str, ohm: float) -> None:
    wires = Wires(2.0, 3.0, 11.0, 13.0, topology)
    g = np.array([[0.01]])
    wanted = 1 / (100 + ohm)
    assert nodal_effective_conductance(g, wires)[0, 0] == pytest.approx(wanted, rel=8 * EPS)
    assert exact_effective_conductance(g, wires)[0, 0] == pytest.approx(wanted, rel=8 * EPS)
    solved = solve_nodal(g, np.array([0.5]), wires)
    assert solved.word_v[0, 0] - solved.bit_v[0, 0] == pytest.approx(0.5 * wanted * 100, rel=8 * EPS)


def ladder(g: list[Fraction], segment: Fraction, first: Fraction) -> list[Fraction]:
    """Currents of cells to ground along one line driven by 1 V, in rationals: fold the far end in, then walk back."""
    seen: list[Fraction] = []  # conductance seen into node k and beyond
    for siemens in reversed(g):
        beyond = 1 / (segment + 1 / seen[-1]) if seen else Fraction(0)
        seen.append(siemens + beyond)
    seen.reverse()
    volts = 1 / (1 + first * seen[0])
    currents = []
    for k, siemens in enumerate(g):
        currents.append(volts * siemens)
        if k + 1 < len(g):
            volts = volts / (1 + segment * seen[k + 1])
    return currents


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_one_word_line_is_a_ladder(length: int) -> None:
    """1xN, ideal bit lines: the ladder in rational arithmetic. Mx1, ideal word lines: the same, by reciprocity."""
    g = cells(1, length, seed=length)
    wanted = [float(i) for i in ladder([Fraction(x) for x in g[0].tolist()], Fraction(2.5), Fraction(2.5) + 40)]
    row = Wires(2.5, 0.0, 40.0, 0.0)
    column = Wires(0.0, 2.5, 0.0, 40.0)
    for solve in (nodal_effective_conductance, exact_effective_conductance):
        np.testing.assert_allclose(solve(g, row)[0], wanted, rtol=8 * EPS)
        np.testing.assert_allclose(solve(g[:, ::-1].T, column)[::-1, 0], wanted, rtol=8 * EPS)


def test_two_by_two_against_rational_elimination() -> None:
    """The 8 equations of a 2x2 array written out by hand and solved in fractions: checks the decimals and the network."""
    r, q, d, s = Fraction(3), Fraction(5), Fraction(7), Fraction(11)  # word, bit, driver, sense
    g = np.array([[1e-3, 3e-8], [2e-5, 7e-3]])
    c = [[Fraction(x) for x in row] for row in g.tolist()]
    wanted = []
    for drive in ((1, 0), (0, 1)):
        # unknowns: w00 w01 w10 w11 b00 b01 b10 b11
        system = [[Fraction(0)] * 8 + [Fraction(0)] for _ in range(8)]

        def branch(a: int, b: int | None, y: Fraction, system: list = system) -> None:
            system[a][a] += y
            if b is not None:
                system[b][b] += y
                system[a][b] -= y
                system[b][a] -= y

        for i in range(2):
            branch(2 * i, None, 1 / (d + r))
            system[2 * i][8] += drive[i] / (d + r)
            branch(2 * i, 2 * i + 1, 1 / r)
            branch(4 + i, 6 + i, 1 / q)  # bit line i
            branch(6 + i, None, 1 / (q + s))
            for j in range(2):
                branch(2 * i + j, 4 + 2 * i + j, c[i][j])
        for k in range(8):
            system[k] = [x / system[k][k] for x in system[k]]
            for other in range(8):
                if other != k:
                    factor = system[other][k]
                    system[other] = [x - factor * y for x, y in zip(system[other], system[k], strict=True)]
        wanted.append([float(system[6][8] / (q + s)), float(system[7][8] / (q + s))])
    wires = Wires(3.0, 5.0, 7.0, 11.0)
    np.testing.assert_array_equal(exact_effective_conductance(g, wires), wanted)
    np.testing.assert_allclose(nodal_effective_conductance(g, wires), wanted, rtol=4 * EPS)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_ideal_wires_change_nothing(topology: str) -> None:
    g = cells(5, 4)
    g[1, 2] = 0.0
    wires = Wires(0.0, 0.0, topology=topology)
    np.testing.assert_array_equal(nodal_effective_conductance(g, wires), g)
    np.testing.assert_array_equal(exact_effective_conductance(g, wires), g)
    v = np.arange(1.0, 6.0)
    solved = solve_nodal(g, v, wires)
    np.testing.assert_array_equal(solved.word_v, np.repeat(v[:, None], 4, axis=1))
    np.testing.assert_array_equal(solved.bit_v, 0.0)
    np.testing.assert_allclose(solved.currents_a, v @ g, rtol=8 * EPS)


@pytest.mark.parametrize("seed", range(30))
def test_every_entry_against_exact_decimals(seed: int) -> None:
    """Entry by entry: cells over seven decades, wires over four; refinement leaves a few units in the last place."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 9, size=2)
    ohms = [0.0 if rng.random() < 0.2 else float(10 ** rng.uniform(-2, 2)) for _ in range(4)]
    g = cells(rows, columns, seed)
    g[rng.random(g.shape) < 0.1] = 0.0
    wires = Wires(*ohms, topology=TOPOLOGIES[seed % 5])
    exact = exact_effective_conductance(g, wires)
    np.testing.assert_allclose(nodal_effective_conductance(g, wires), exact, rtol=1e-14, atol=0)
    assert ((exact > 0) == (g > 0)).all() or not wires.ideal


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("which", range(4))
def test_zero_and_infinity_are_the_limits(topology: str, which: int) -> None:
    """1e-9 ohm is 0 to 1e-9 relative, 1e15 ohm is infinity but for 0.5 V / 1e15 ohm through each broken wire."""
    g = cells(4, 3, seed=which, low=1e-5, high=1e-3)
    v = np.array([0.1, 0.3, -0.2, 0.4])

    def solve(ohm: float) -> np.ndarray:
        ohms = [2.0, 3.0, 5.0, 7.0]
        ohms[which] = ohm
        return solve_nodal(g, v, Wires(*ohms, topology=topology)).currents_a

    np.testing.assert_allclose(solve(1e-9), solve(0.0), rtol=1e-9)
    np.testing.assert_allclose(solve(1e15), solve(INF), rtol=1e-9, atol=24 * 0.5e-15)
    assert np.abs(solve(2.0) - solve(0.0)).max() > 1e-4 * np.abs(solve(0.0)).max()


def test_currents_are_summed_where_bit_lines_are_ground() -> None:
    """No resistance below the cells: the output is the cells' currents, behind word lines that do drop."""
    g = cells(6, 4, seed=3, low=1e-4)
    v = np.linspace(0.1, 0.6, 6)
    solved = solve_nodal(g, v, Wires(4.0, 0.0, 9.0, 0.0))
    np.testing.assert_array_equal(solved.bit_v, 0.0)
    np.testing.assert_allclose(solved.currents_a, (solved.word_v * g).sum(axis=0), rtol=8 * EPS)
    assert (solved.currents_a < v @ g * 0.999).all()


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_kirchhoffs_current_law_at_every_node(topology: str) -> None:
    """Written out anew with differences of voltages: each node's currents cancel to rounding of the wires' conductance."""
    g, v = cells(7, 5, seed=11), np.linspace(-0.3, 0.5, 7)
    word, bit, driver, sense = 0.7, 1.3, 20.0, 4.0
    solved = solve_nodal(g, v, Wires(word, bit, driver, sense, topology))
    in_cells = g * (solved.word_v - solved.bit_v)
    node = in_cells.copy()
    segment = np.diff(solved.word_v, axis=1) / word
    node[:, :-1] -= segment
    node[:, 1:] += segment
    node[:, 0] -= (v - solved.word_v[:, 0]) / (word + driver)
    if topology == "driven_both_sides":
        node[:, -1] -= (v - solved.word_v[:, -1]) / (word + driver)
    assert np.abs(node).max() <= 8 * EPS * 0.5 / word
    node = -in_cells
    segment = np.diff(solved.bit_v, axis=0) / bit
    node[:-1] -= segment
    node[1:] += segment
    out = np.zeros(5)
    for row in {"same_side": (0,), "sensed_both_sides": (0, -1)}.get(topology, (-1,)):
        node[row] += solved.bit_v[row] / (bit + sense)
        out += solved.bit_v[row] / (bit + sense)
    assert np.abs(node).max() <= 8 * EPS * 0.5 / bit
    np.testing.assert_allclose(solved.currents_a, out, rtol=1e-13)


@pytest.mark.parametrize("topology", ["standard", "same_side"])
def test_reciprocity(topology: str) -> None:
    """Driving bit lines and sensing word lines gives the transposed conductance: the network is passive."""
    g = cells(6, 4, seed=8)
    forward = nodal_effective_conductance(g, Wires(1.0, 2.0, 5.0, 3.0, topology))
    if topology == "standard":  # the sense end of a bit line becomes the driven end: turn both axes round
        backward = nodal_effective_conductance(g[::-1, ::-1].T, Wires(2.0, 1.0, 3.0, 5.0)).T[::-1, ::-1]
    else:
        backward = nodal_effective_conductance(g.T, Wires(2.0, 1.0, 3.0, 5.0, topology)).T
    np.testing.assert_allclose(forward, backward, rtol=1e-14)


def test_superposition_and_batches() -> None:
    g, wires = cells(5, 6, seed=2), Wires(1.0, 2.0, 5.0, 3.0)
    v = np.random.default_rng(0).normal(size=(2, 3, 5))
    solved = solve_nodal(g, v, wires)
    assert solved.word_v.shape == solved.bit_v.shape == (2, 3, 5, 6)
    np.testing.assert_allclose(
        solved.currents_a, v @ nodal_effective_conductance(g, wires), atol=1e-14 * np.abs(solved.currents_a).max()
    )
    one = solve_nodal(g, v[1, 2], wires)
    np.testing.assert_allclose(one.word_v, solved.word_v[1, 2], rtol=1e-14)
    assert solve_nodal(g, np.zeros((0, 5)), wires).currents_a.shape == (0, 6)


def test_floating_parts_rest_at_zero_and_hanging_ones_take_the_voltage_they_hang_on() -> None:
    g = np.array([[1e-3, 1e-3], [1e-3, 0.0]])
    v = np.array([0.5, 0.25])
    loose = solve_nodal(g, v, Wires(INF, INF))
    for values in (loose.word_v, loose.bit_v, loose.currents_a):
        np.testing.assert_array_equal(values, 0.0)
    hanging = solve_nodal(g, v, Wires(0.0, INF))
    np.testing.assert_array_equal(hanging.word_v, [[0.5, 0.5], [0.25, 0.25]])
    np.testing.assert_allclose(hanging.bit_v, [[0.5, 0.5], [0.25, 0.0]], rtol=1e-15)
    np.testing.assert_array_equal(hanging.currents_a, 0.0)
    shared = solve_nodal(g, v, Wires(0.0, 0.0, 0.0, INF))  # bit lines float at the mean of what drives them
    np.testing.assert_allclose(shared.bit_v, [[0.375, 0.5], [0.375, 0.5]], rtol=1e-15)
    np.testing.assert_array_equal(nodal_effective_conductance(np.zeros((3, 2)), Wires(1.0, 1.0)), 0.0)
    np.testing.assert_array_equal(exact_effective_conductance(g, Wires(1.0, 1.0, INF)), 0.0)


@pytest.mark.parametrize(
    ("g", "v", "wanted"),
    [
        (np.ones(3), np.ones(3), "rows, columns"),
        (np.ones((0, 3)), np.ones(0), "at least one cell"),
        ([[1e-3, "x"]], np.ones(1), "siemens"),
        ([[1e-3, -1e-9]], np.ones(1), r"cell \(0, 1\)"),
        ([[1e-3, float("nan")]], np.ones(1), r"cell \(0, 1\)"),
        ([[INF]], np.ones(1), r"cell \(0, 0\)"),
        (np.ones((2, 3)), np.ones(3), "2 word lines"),
        (np.ones((2, 3)), np.float64(1.0), "2 word lines"),
        (np.ones((2, 3)), [1.0, float("nan")], "finite"),
        (np.ones((2, 3)), [1.0, None], "finite|voltages"),
        (np.ones((2, 3)), [1.0, "x"], "voltages"),
    ],
)
def test_bad_input_is_told(g: object, v: object, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        solve_nodal(g, v, Wires(1.0, 1.0))


def test_exact_decimals_refuse_large_arrays() -> None:
    with pytest.raises(UsageError, match="1024"):
        exact_effective_conductance(np.ones((33, 32)), Wires(1.0, 1.0))
