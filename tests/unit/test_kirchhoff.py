"""The exact solution of crossbars with wires: against closed forms, nodal analysis, and high-precision arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosstile.circuits.dissection import TILE, Structure, dissect
from crosstile.circuits.factor import Factor
from crosstile.circuits.kirchhoff import effective_conductance, solve_crossbar, with_wires
from crosstile.circuits.nodal import exact_effective_conductance, nodal_effective_conductance, solve_nodal
from crosstile.circuits.wires import TOPOLOGIES, Wires
from crosstile.errors import UsageError

INF = float("inf")
OHMS = [
    (2.0, 3.0, 0.0, 0.0), (2.0, 3.0, 50.0, 7.0), (0.0, 3.0, 0.0, 0.0), (0.0, 3.0, 50.0, 0.0), (2.0, 0.0, 0.0, 0.0),
    (2.0, 0.0, 0.0, 9.0), (0.0, 0.0, 50.0, 0.0), (0.0, 0.0, 0.0, 9.0), (0.0, 0.0, 50.0, 9.0),
]  # fmt: skip


def cells(*shape: int, seed: int = 0, low: float = -9, high: float = -2) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(10 ** rng.uniform(low, high, shape))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("ohms", OHMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (9, 5), (17, 23)])
def test_equals_nodal_analysis(topology: str, ohms: tuple[float, ...], shape: tuple[int, int]) -> None:
    wires, g = Wires(*ohms, topology=topology), cells(*shape)
    # Each entry is a sum of positive terms in both; what is left is the rounding of some 100 operations.
    np.testing.assert_allclose(with_wires(g, wires), nodal_effective_conductance(g.numpy(), wires), rtol=1e-12)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_large_arrays_equal_nodal_analysis(size: int) -> None:
    wires, g = Wires(1.0, 2.0, 30.0, 10.0), cells(size, size, low=-6, high=-4)
    v = torch.from_numpy(np.random.default_rng(1).uniform(-0.3, 0.3, (2, size)))
    nodal = solve_nodal(g.numpy(), v.numpy(), wires)
    mine = solve_crossbar(g, v, wires)
    largest = np.abs(nodal.currents_a).max()
    np.testing.assert_allclose(mine.currents_a, nodal.currents_a, rtol=0, atol=1e-10 * largest)
    np.testing.assert_allclose(mine.word_v, nodal.word_v, rtol=0, atol=1e-10 * 0.3)
    np.testing.assert_allclose(mine.bit_v, nodal.bit_v, rtol=0, atol=1e-10 * 0.3)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_entry_keeps_its_digits_beside_wires_of_a_hundred_siemens(topology: str) -> None:
    g = cells(7, 6, low=-9, high=-8.5)
    wires = Wires(0.01, 0.01, 0.01, 0.01, topology)
    exact = exact_effective_conductance(g.numpy(), wires)
    np.testing.assert_allclose(with_wires(g, wires), exact, rtol=3e-15)


def test_closed_forms() -> None:
    cell = torch.tensor([[1e-3]], dtype=torch.float64)
    one = effective_conductance(cell, word_line_ohm=10, bit_line_ohm=20, driver_ohm=30, sense_ohm=40)
    assert float(one) == pytest.approx(1 / (1000 + 100), rel=1e-15)
    # Two cells of one row: a ladder.
    g = torch.tensor([[1e-3, 2e-3]], dtype=torch.float64)
    second = 1 / (500 + 10.0 + 20)  # word segment, cell, bit segment
    first = 1 / (1000 + 20.0)
    source = 1 / (10 + 1 / (first + second))
    out = effective_conductance(g, word_line_ohm=10, bit_line_ohm=20)
    assert out.tolist()[0] == pytest.approx(
        [source * first / (first + second), source * second / (first + second)], rel=1e-15
    )


def test_without_resistance_it_is_the_cells_bit_for_bit() -> None:
    g = cells(5, 40, 31)
    assert torch.equal(effective_conductance(g, word_line_ohm=0, bit_line_ohm=0), g)


@pytest.mark.parametrize("which", ["word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"])
def test_an_infinite_resistance_lets_nothing_through(which: str) -> None:
    ohms = {"word_line_ohm": 1.0, "bit_line_ohm": 1.0, "driver_ohm": 1.0, "sense_ohm": 1.0} | {which: INF}
    g = cells(12, 10)
    out = effective_conductance(g, **ohms)
    assert torch.equal(out, torch.zeros_like(g))
    solved = solve_crossbar(g, torch.ones(1, 12), Wires(**ohms))
    assert bool(torch.isfinite(solved.word_v).all())
    assert bool(torch.isfinite(solved.bit_v).all())


def test_missing_cells() -> None:
    g = cells(20, 14)
    g[3] = 0
    g[:, 5] = 0
    g[7:, 9] = 0
    wires = Wires(2.0, 3.0)
    out = with_wires(g, wires)
    assert bool((out[3] == 0).all())
    assert bool((out[:, 5] == 0).all())
    np.testing.assert_allclose(out, nodal_effective_conductance(g.numpy(), wires), rtol=1e-12)
    assert torch.equal(with_wires(torch.zeros(9, 9), wires), torch.zeros(9, 9, dtype=torch.float64))


def test_reciprocity_and_mirror_images() -> None:
    g = cells(13, 21)
    out = effective_conductance(g, word_line_ohm=3, bit_line_ohm=5, driver_ohm=7, sense_ohm=11)
    # Turned over its anti-diagonal, drivers and sense amplifiers change places.
    turned = g.flip(-1).flip(-2).T
    other = effective_conductance(turned, word_line_ohm=5, bit_line_ohm=3, driver_ohm=11, sense_ohm=7)
    np.testing.assert_allclose(other.T.flip(-1).flip(-2), out, rtol=1e-12)
    same = effective_conductance(g.flip(-2), word_line_ohm=3, bit_line_ohm=5, topology="same_side")
    np.testing.assert_allclose(same.flip(-2), effective_conductance(g, word_line_ohm=3, bit_line_ohm=5), rtol=0)


def test_an_array_does_not_depend_on_its_batch_or_the_threads() -> None:
    g = cells(11, 19, 26)
    wires = Wires(2.0, 3.0, 4.0)
    whole = with_wires(g, wires)
    alone = torch.stack([with_wires(g[n], wires) for n in range(len(g))])
    assert torch.equal(whole, alone)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(with_wires(g, wires), whole)
        torch.set_num_threads(3)
        assert torch.equal(with_wires(g.reshape(1, 11, 19, 26), wires)[0], whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("ohms", OHMS)
def test_gradient(topology: str, ohms: tuple[float, ...]) -> None:
    g = cells(2, 4, 5, low=-4, high=-2.5).requires_grad_()
    wires = Wires(*(20 * r for r in ohms), topology=topology)
    scale = 1e4  # in units of 0.1 mS, so that gradcheck's absolute steps fit
    assert torch.autograd.gradcheck(
        lambda x: with_wires(x / scale, wires) * scale, (g.detach() * scale).requires_grad_()
    )


def test_gradient_of_a_large_array_against_differences() -> None:
    g = cells(40, 37, low=-5, high=-4)
    wires = Wires(2.0, 3.0, 10.0)
    weight = torch.from_numpy(np.random.default_rng(2).normal(size=(40, 37)))
    leaf = g.clone().requires_grad_()
    (with_wires(leaf, wires) * weight).sum().backward()
    direction = torch.from_numpy(np.random.default_rng(3).uniform(-1, 1, (40, 37))) * 1e-9
    step = ((with_wires(g + direction, wires) - with_wires(g - direction, wires)) * weight).sum() / 2
    # Central differences: the cubic term is (1e-9 / 1e-5)^2 of the first; rounding 1e-16 / 1e-4.
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(step), rel=1e-6)


def test_power_balances() -> None:
    g, v = cells(3, 12, 9, low=-5, high=-3), torch.rand(3, 4, 12, dtype=torch.float64)
    wires = Wires(20.0, 30.0, 40.0, 10.0)
    solved = solve_crossbar(g, v, wires)
    # Wire by wire, independently of the balance.
    word, bit = solved.word_v, solved.bit_v
    current = (solved.cell_v * g.unsqueeze(1)).flip(-1).cumsum(-1).flip(-1)
    down = (solved.cell_v * g.unsqueeze(1)).cumsum(-2)
    wire = (current[..., 1:].square() * 20).sum((-1, -2)) + (current[..., 0].square() * 60).sum(-1)
    wire = wire + (down[..., :-1, :].square() * 30).sum((-1, -2)) + (down[..., -1, :].square() * 40).sum(-1)
    np.testing.assert_allclose(solved.wire_power_w, wire, rtol=1e-9)
    assert word.shape == bit.shape == (3, 4, 12, 9)
    np.testing.assert_allclose(down[..., -1, :], solved.currents_a, rtol=1e-10)


def test_injected_currents_and_raised_grounds_by_superposition() -> None:
    g = cells(14, 11, low=-5, high=-3)
    wires = Wires(20.0, 30.0, 40.0, 10.0)
    factor = Factor.of(g[None].numpy(), wires, keep=True)
    rng = np.random.default_rng(0)
    sources, grounds = rng.normal(size=(1, 14, 2)), rng.normal(size=(1, 11, 2))
    injected = rng.normal(size=(1, 14, 11, 2)) * 1e-6
    word, bit, reached = factor.voltages(sources, grounds, injected)
    through = g.numpy()[None, :, :, None] * (word - bit) + injected  # from each word node to its bit node
    along = np.flip(np.cumsum(np.flip(through, 2), 2), 2)
    drop = np.concatenate([sources[:, :, None] - word[:, :, :1], word[:, :, :-1] - word[:, :, 1:]], axis=2)
    ohm = np.array([60.0] + [20.0] * 10)[None, None, :, None]
    np.testing.assert_allclose(drop, ohm * along, rtol=0, atol=1e-12)
    down = np.cumsum(through, axis=1)
    fall = np.concatenate([bit[:, :-1] - bit[:, 1:], bit[:, -1:] - grounds[:, None]], axis=1)
    np.testing.assert_allclose(fall, np.array([30.0] * 13 + [40.0])[None, :, None, None] * down, rtol=0, atol=1e-12)
    linear = np.einsum("arc,ark->ack", factor.coupling, sources)
    alone = factor.voltages(np.zeros_like(sources), np.zeros_like(grounds), injected)[2]
    np.testing.assert_allclose(reached, alone, rtol=1e-12)
    grounded = factor.voltages(sources, np.zeros_like(grounds), injected)
    at_end = (g.numpy()[None, :, :, None] * (grounded[0] - grounded[1]) + injected).sum(axis=1)
    np.testing.assert_allclose(linear + reached, at_end, rtol=1e-9)


def test_every_node_is_eliminated_once() -> None:
    for rows, columns in ((1, 1), (8, 9), (40, 23), (129, 128)):
        order = dissect(rows, columns, Structure.of(Wires(1.0, 1.0)))
        inside = sum(block.pivots * len(block.origin) for block in order.blocks)
        assert inside == 2 * rows * columns
        tiles = [block for block in order.blocks if block.program is not None]
        assert sum(block.height * block.width * len(block.origin) for block in tiles) == rows * columns
        assert max(max(block.height, block.width) for block in tiles) <= TILE
        assert order.blocks[-1].ports.free == 0


@pytest.mark.parametrize(
    ("g", "told"),
    [
        (torch.ones(3), "rows, columns"),
        (torch.ones(3, 3, dtype=torch.int64), "floating"),
        (torch.full((2, 2), -1e-6), "(0, 0)"),
        (torch.tensor([[1.0, float("nan")]]), "(0, 1)"),
        (torch.tensor([[1.0, INF]]), "inf"),
        (torch.ones(5000, 2), "4096"),
        (np.ones((2, 2)), "ndarray"),
    ],
)
def test_what_cannot_be_solved_is_told(g: object, told: str) -> None:
    with pytest.raises(UsageError) as error:
        effective_conductance(g, word_line_ohm=1, bit_line_ohm=1)  # type: ignore[arg-type]
    assert told in str(error.value)


@pytest.mark.parametrize("ohm", [-1.0, float("nan"), "2 ohm", True])
def test_what_is_no_resistance_is_told(ohm: object) -> None:
    with pytest.raises(UsageError, match="word_line_ohm"):
        Wires(ohm, 1.0)  # type: ignore[arg-type]


def test_no_inputs_and_no_arrays() -> None:
    g, wires = cells(2, 6, 4), Wires(1.0, 1.0)
    solved = solve_crossbar(g, torch.ones(0, 6), wires)
    assert solved.currents_a.shape == (2, 0, 4)
    assert solved.word_v.shape == (2, 0, 6, 4)
    assert with_wires(g[:0], wires).shape == (0, 6, 4)


def test_inputs_that_do_not_fit_are_told() -> None:
    g, wires = cells(2, 6, 4), Wires(1.0, 1.0)
    for v in (torch.ones(6), torch.ones(3, 5), torch.ones(4, 3, 6), torch.full((1, 6), INF)):
        with pytest.raises(UsageError, match="v:"):
            solve_crossbar(g, v, wires)
    with pytest.raises(UsageError, match="topology"):
        Wires(1.0, 1.0, topology="ring")  # type: ignore[arg-type]
