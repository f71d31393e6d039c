"""Nonlinear cells behind wires, against a dense Newton iteration, the linear solver and the laws themselves."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from crosstile.circuits.cell_models import Cell, Polynomial, Selector, Sinh
from crosstile.circuits.kirchhoff import solve_crossbar
from crosstile.circuits.nonlinear import NonlinearSolution, solve_nonlinear
from crosstile.circuits.wires import TOPOLOGIES, Topology, Wires
from crosstile.errors import UsageError

Floats = npt.NDArray[np.float64]
CELLS = [Sinh(0.25), Sinh(0.05), Polynomial((0.4, 3.0)), Selector(1e-6, 0.05), Selector(1e-6, 0.05, 0.2)]


def _case(seed: int, *shape: int, inputs: int = 3, low: float = 1e-6, high: float = 1e-3) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    g = np.exp(rng.uniform(np.log(low), np.log(high), shape))
    g[rng.random(shape) < 0.1] = 0.0
    v = rng.uniform(-0.2, 0.4, (*shape[:-2], inputs, shape[-2]))
    return torch.from_numpy(g), torch.from_numpy(v)


def _dense_newton(g: Floats, v: Floats, wires: Wires, cell: Cell) -> tuple[Floats, Floats]:
    """Node voltages and currents of one input, all wires above 0 ohm: plain Newton on all 2MN nodes, with halving."""
    rows, columns = g.shape
    size = 2 * rows * columns
    laplacian, known = np.zeros((size, size)), np.zeros(size)
    word = np.arange(rows * columns).reshape(rows, columns)
    bit = word + rows * columns
    end = 1 / (wires.bit_line_ohm + wires.sense_ohm)
    sensed = {"same_side": [0], "sensed_both_sides": [0, rows - 1]}.get(wires.topology, [rows - 1])

    def join(a: int, b: int, ohm: float) -> None:
        laplacian[[a, b], [a, b]] += 1 / ohm
        laplacian[[a, b], [b, a]] -= 1 / ohm

    for i in range(rows):
        for j in range(columns):
            if j:
                join(word[i, j - 1], word[i, j], wires.word_line_ohm)
            if i:
                join(bit[i - 1, j], bit[i, j], wires.bit_line_ohm)
        for j in [0] + ([columns - 1] if wires.topology == "driven_both_sides" else []):
            laplacian[word[i, j], word[i, j]] += 1 / (wires.word_line_ohm + wires.driver_ohm)
            known[word[i, j]] += v[i] / (wires.word_line_ohm + wires.driver_ohm)
    for j in range(columns):
        for i in sensed:
            laplacian[bit[i, j], bit[i, j]] += end
    a, b, cells = word.ravel(), bit.ravel(), g.ravel()

    def lacking(u: Floats) -> Floats:
        current = cell.current(u[a] - u[b], cells)
        left = laplacian @ u - known
        left[a] += current
        left[b] -= current
        return left

    u = np.zeros(size)
    for _ in range(300):
        slope, system = cell.conductance(u[a] - u[b], cells), laplacian.copy()
        np.add.at(system, (a, a), slope)
        np.add.at(system, (b, b), slope)
        np.add.at(system, (a, b), -slope)
        np.add.at(system, (b, a), -slope)
        step, share = np.linalg.solve(system, -lacking(u)), 1.0
        while np.linalg.norm(lacking(u + share * step)) > np.linalg.norm(lacking(u)) and share > 1e-3:
            share /= 2
        u = u + share * step
        if np.abs(step).max() < 1e-15:
            break
    return (u[a] - u[b]).reshape(g.shape), sum(u[bit[i]] * end for i in sensed)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_equals_dense_newton(topology: Topology, cell: Cell) -> None:
    """To 1e-11 of the largest: the dense matrix has condition numbers of some 1e5."""
    g, v = _case(1, 5, 4)
    wires = Wires(7.0, 5.0, 30.0, 20.0, topology)
    found = solve_nonlinear(g, v, wires, cell)
    for k in range(3):
        cell_v, currents = _dense_newton(g.numpy(), v[k].numpy(), wires, cell)
        assert np.abs(found.currents_a[k].numpy() - currents).max() < 1e-11 * np.abs(currents).max()
        assert np.abs(found.cell_v[k].numpy() - cell_v).max() < 1e-11
    assert float(found.residual.max()) <= 1e-12


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_linear_limit(topology: Topology) -> None:
    """sinh(x) / x differs from 1 by x^2 / 6: at v0 = 1e8 V by less than rounding."""
    g, v = _case(2, 2, 17, 12)
    wires = Wires(3.0, 2.0, 10.0, 0.0, topology)
    linear = solve_crossbar(g, v, wires)
    for cell in (Sinh(1e8), Polynomial(())):
        found = solve_nonlinear(g, v, wires, cell)
        torch.testing.assert_close(found.currents_a, linear.currents_a, rtol=1e-13, atol=1e-17)
        torch.testing.assert_close(found.word_v, linear.word_v, rtol=1e-13, atol=1e-16)
        torch.testing.assert_close(found.bit_v, linear.bit_v, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_wires_without_resistance_leave_the_law_itself(cell: Cell) -> None:
    g, v = _case(3, 6, 5)
    law = torch.from_numpy(cell.current(v.numpy()[:, :, None], g.numpy()))
    found = solve_nonlinear(g, v, Wires(0.0, 0.0), cell)
    torch.testing.assert_close(found.currents_a, law.sum(1), rtol=1e-15, atol=0.0)
    assert found.factorisations == 0
    nearly = solve_nonlinear(g, v, Wires(1e-15, 1e-15), cell)
    torch.testing.assert_close(nearly.currents_a, law.sum(1), rtol=0.0, atol=1e-12 * float(law.abs().max()))


def _kirchhoff(found: NonlinearSolution, g: Tensor, v: Tensor, wires: Wires, cell: Cell) -> float:
    """Largest mismatch at a word or bit node over the largest cell current, from voltages alone; all wires above 0 ohm."""
    current = cell.current(found.cell_v.numpy(), g.numpy())
    word, bit = found.word_v.numpy(), found.bit_v.numpy()
    before = np.concatenate([v.numpy()[..., None], word], axis=-1)
    ohm = np.array([wires.word_line_ohm + wires.driver_ohm] + [wires.word_line_ohm] * (word.shape[-1] - 1))
    along = -np.diff(before, axis=-1) / ohm
    left = along.copy()
    left[..., :-1] -= along[..., 1:]
    down = -np.diff(np.concatenate([bit, np.zeros_like(bit[..., :1, :])], axis=-2), axis=-2)
    ohm = np.array([wires.bit_line_ohm] * (bit.shape[-2] - 1) + [wires.bit_line_ohm + wires.sense_ohm])
    down /= ohm[:, None]
    out = down.copy()
    out[..., 1:, :] -= down[..., :-1, :]
    wrong = max(np.abs(left - current).max(), np.abs(out - current).max())
    np.testing.assert_allclose(found.currents_a, down[..., -1, :], rtol=1e-9, atol=1e-12 * float(np.abs(current).max()))
    return float(wrong / np.abs(current).max())


@pytest.mark.parametrize("v0", [0.2, 0.02, 0.01])
def test_steep_cells_meet_kirchhoffs_laws(v0: float) -> None:
    """Up to exp(40) without wires: damped, and to the end alone. Mismatch from voltages: rounded differences over 1 ohm."""
    g, v = _case(4, 24, 24, inputs=6, low=1e-6, high=1e-4)
    wires = Wires(5.0, 5.0, 100.0, 100.0)
    found = solve_nonlinear(g, v, wires, Sinh(v0))
    assert _kirchhoff(found, g, v, wires, Sinh(v0)) < 1e-11
    assert float(found.residual.max()) <= 1e-12
    if v0 < 0.1:
        assert found.factorisations > 12  # the shared linearisation was given up


@pytest.mark.parametrize("ohm", [1e-6, 1e4, 1e8])
def test_wires_far_from_the_cells(ohm: float) -> None:
    """Nearly perfect and nearly choking wires, against dense Newton on a small array."""
    g, v = _case(5, 3, 3, low=1e-4, high=1e-2)
    wires = Wires(ohm, ohm)
    found = solve_nonlinear(g, v, wires, Sinh(0.2))
    for k in range(3):
        _, currents = _dense_newton(g.numpy(), v[k].numpy(), wires, Sinh(0.2))
        tolerance = 1e-8 if ohm < 1 else 1e-10  # 1e6 S beside 1e-4 S: the dense matrix loses the digits
        assert np.abs(found.currents_a[k].numpy() - currents).max() < tolerance * np.abs(currents).max()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_an_input_does_not_depend_on_its_batch(cell: Cell) -> None:
    g, v = _case(6, 2, 20, 16, inputs=7)
    wires = Wires(5.0, 5.0, 50.0, 20.0)
    together = solve_nonlinear(g, v, wires, cell)
    scale = float(together.currents_a.abs().max())
    for a in range(2):
        for k in (0, 3):
            alone = solve_nonlinear(g[a], v[a, k : k + 1], wires, cell)
            torch.testing.assert_close(alone.currents_a[0], together.currents_a[a, k], rtol=0.0, atol=1e-12 * scale)
            torch.testing.assert_close(alone.word_v[0], together.word_v[a, k], rtol=0.0, atol=1e-12)


def test_broken_wires_and_open_cells() -> None:
    g, v = _case(7, 5, 4)
    for wires in (
        Wires(np.inf, 1.0),
        Wires(1.0, np.inf),
        Wires(2.0, 2.0, np.inf),
        Wires(0.0, 3.0),
        Wires(3.0, 0.0, 1.0),
    ):
        found = solve_nonlinear(g, v, wires, Sinh(0.1))
        if np.isinf([wires.word_line_ohm, wires.bit_line_ohm, wires.driver_ohm]).any():
            assert not found.currents_a.any()
        else:
            assert float(found.residual.max()) <= 1e-12
    none = solve_nonlinear(torch.zeros(5, 4), v, Wires(1.0, 1.0), Sinh(0.1))
    assert not none.currents_a.any()
    rest = solve_nonlinear(g, torch.zeros(2, 5), Wires(1.0, 1.0), Sinh(0.1))
    assert not rest.currents_a.any()
    assert not rest.word_v.any()
    assert solve_nonlinear(g, v[:0], Wires(1.0, 1.0), Sinh(0.1)).currents_a.shape == (0, 4)


def test_no_solution_is_an_error_that_says_where() -> None:
    g, v = _case(8, 2, 12, 12)
    with pytest.raises(UsageError, match=r"array \(0,\), input 0: no solution within 2 steps.*max_iterations"):
        solve_nonlinear(g, v, Wires(5.0, 5.0), Sinh(0.05), max_iterations=2)


def test_negative_differential_conductance_is_refused() -> None:
    """v - 4 v^3 falls from 1 / sqrt(12) = 0.289 V on."""
    g, v = torch.full((2, 2), 1e-4, dtype=torch.float64), torch.tensor([[0.14, -0.14], [0.0, 0.1]])
    wires = Wires(1.0, 1.0)
    assert float(solve_nonlinear(g, v, wires, Polynomial((0.0, -4.0))).residual.max()) <= 1e-12  # up to 0.28 V
    with pytest.raises(UsageError, match=r"0.3 V the differential conductance is -0.08"):
        solve_nonlinear(g, v * 0.3 / 0.28, wires, Polynomial((0.0, -4.0)))
    with pytest.raises(UsageError, match="differential conductance"):  # touches 0 inside of the range: (1 - 10 v)^2
        Polynomial((-10.0, 100 / 3)).check(0.2)


def test_impossible_parameters() -> None:
    for make in (
        lambda: Sinh(0.0), lambda: Sinh(float("nan")), lambda: Selector(-1e-6, 0.1), lambda: Selector(1e-6, 0.1, 0.0),
        lambda: Polynomial((float("inf"),)), lambda: Polynomial(("x",)),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(UsageError):
            make()
    g, v = _case(9, 3, 3)
    with pytest.raises(UsageError, match="times v0_v"):
        solve_nonlinear(g, v, Wires(1.0, 1.0), Sinh(1e-3))
    with pytest.raises(UsageError, match="tolerance"):
        solve_nonlinear(g, v, Wires(1.0, 1.0), Sinh(1.0), tolerance=0.0)
    with pytest.raises(UsageError, match="max_iterations"):
        solve_nonlinear(g, v, Wires(1.0, 1.0), Sinh(1.0), max_iterations=0)
    with pytest.raises(UsageError, match="v: a tensor"):
        solve_nonlinear(g, v[:, :2], Wires(1.0, 1.0), Sinh(1.0))


def _selector_current(v: float, g: float, cell: Selector) -> Decimal:
    """The current by bisection with 50 digits; v > 0."""
    with localcontext() as context:
        context.prec = 50
        volts, siemens, i_s, v_s = Decimal(v), Decimal(g), Decimal(cell.i_s_a), Decimal(cell.v_s_v)

        def asinh(x: Decimal) -> Decimal:
            return (x + (x * x + 1).sqrt()).ln()

        def across(i: Decimal) -> Decimal:
            v0 = None if cell.memory_v0_v is None else Decimal(cell.memory_v0_v)
            return (i / siemens if v0 is None else v0 * asinh(i / (siemens * v0))) + v_s * asinh(i / i_s)

        low = high = Decimal("1e-30")
        while across(high) < volts:
            low, high = high, high * 4
        while high - low > high * Decimal("1e-20"):
            middle = (low + high) / 2
            low, high = (middle, high) if across(middle) < volts else (low, middle)
        return low


def test_selector_divides_the_voltage_exactly() -> None:
    rng = np.random.default_rng(10)
    for memory in (None, 0.03, 0.3):
        for _ in range(25):
            i_s, v_s, g = 10 ** rng.uniform(-12, -3), 10 ** rng.uniform(-1.7, 0), 10 ** rng.uniform(-9, -3)
            cell, v = Selector(i_s, v_s, memory), 10 ** rng.uniform(-6, 0.4)
            true = _selector_current(v, g, cell)
            found = float(cell.current(np.array(v), np.array(g)))
            assert abs(Decimal(found) / true - 1) < Decimal("2e-14")
            assert float(cell.current(np.array(-v), np.array(g))) == -found


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_conductance_is_the_derivative(cell: Cell) -> None:
    """Central differences of 1e-5 V: relative error (1e-5 / 0.05)^2 / 6 = 7e-9 at most, and rounding 1e-16 v / 1e-5."""
    v, g = np.linspace(-0.5, 0.5, 41), np.array([[1e-6], [1e-4], [1e-3]])
    slope = (cell.current(v + 1e-5, g) - cell.current(v - 1e-5, g)) / 2e-5
    np.testing.assert_allclose(cell.conductance(v, g), slope, rtol=2e-8)
    assert not cell.current(v, np.zeros(1)).any()
    assert not cell.conductance(v, np.zeros(1)).any()
