"""The elimination in tensor operations (what CUDA runs) against the compiled one, entry by entry.

Neither forms a difference, so that each coupling has a relative error of a few hundred roundings: 1e-12 between them.
Voltages are sums of both signs, and derivatives subtract: they are held to the largest entry.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from crosstile.circuits import factor_torch, kirchhoff
from crosstile.circuits.dissection import Structure
from crosstile.circuits.factor import Factor
from crosstile.circuits.factor_torch import TorchFactor
from crosstile.circuits.kirchhoff import solve_crossbar, with_wires
from crosstile.circuits.plan_torch import plan
from crosstile.circuits.wires import TOPOLOGIES, Topology, Wires

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")),
]
SHAPES = [(1, 1), (1, 9), (1, 40), (9, 1), (13, 29), (17, 5), (33, 20)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Thousands of small operations gain nothing by threads, and lose where other work keeps the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _cells(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return cells of 1 nS to 10 mS, one in twenty at 0."""
    g_s = 10 ** rng.uniform(-9, -2, shape)
    g_s[rng.random(shape) < 0.05] = 0.0
    return g_s


def _both(g_s: np.ndarray, wires: Wires, device: str) -> tuple[Factor, TorchFactor]:
    return Factor.of(g_s, wires, keep=True), TorchFactor.of(torch.from_numpy(g_s).to(device), wires, keep=True)


def _entries_agree(found: Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.cpu().numpy(), wanted, rtol=1e-12, atol=0.0)


def _agree(found: Tensor, wanted: np.ndarray, scale: float, tolerance: float) -> None:
    assert found.shape == wanted.shape
    assert np.isfinite(wanted).all()
    assert float(np.abs(found.cpu().numpy() - wanted).max()) <= tolerance * scale


def _check(g_s: np.ndarray, wires: Wires, device: str, rng: np.random.Generator) -> None:
    arrays, rows, columns = g_s.shape
    on = lambda values: torch.from_numpy(values).to(device)  # noqa: E731
    compiled, ours = _both(g_s, wires, device)
    assert ours.coupling.dtype == torch.float64
    assert ours.coupling.device.type == device
    _entries_agree(ours.coupling, compiled.coupling)
    upstream = rng.normal(size=g_s.shape)
    wanted = compiled.gradient(upstream)
    # Intermediate derivatives are of the order of `upstream`; where drivers are weak, the result is what their
    # differences leave, in both, so that roundings of `upstream` are allowed beside 1e-10 of the largest.
    scale = float(np.abs(wanted).max()) + 1e-4 * float(np.abs(upstream).max()) * _weak(wires)
    _agree(ours.gradient(on(upstream)), wanted, scale, 1e-10)
    sources, grounds = rng.normal(size=(arrays, rows, 3)), rng.normal(size=(arrays, columns, 3))
    injected = 1e-5 * rng.normal(size=(*g_s.shape, 3))
    for fed in (None, injected):
        volts = compiled.voltages(sources, grounds, fed)
        found = ours.voltages(on(sources), on(grounds), None if fed is None else on(fed))
        largest = max(float(np.abs(v).max()) for v in volts[:2])
        for mine, theirs in zip(found[:2], volts[:2], strict=True):
            _agree(mine, theirs, largest, 1e-10)
        _agree(found[2], volts[2], 1e-4, 1e-10)  # against what is fed in


def _weak(wires: Wires) -> float:
    return float(max(wires.driver_ohm, wires.sense_ohm, wires.word_line_ohm, wires.bit_line_ohm) >= 1e6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_random_wires(shape: tuple[int, int], topology: Topology, device: str) -> None:
    rng = np.random.default_rng([*shape, TOPOLOGIES.index(topology)])
    for _ in range(4):
        ohms = [float(rng.choice([0.0, 0.01, 1.0, 1e6, math.inf])) for _ in range(4)]
        _check(_cells(rng, 3, *shape), Wires(*ohms, topology), device, rng)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [64, 128])
def test_large_arrays_beside_good_wires(size: int, device: str) -> None:
    rng = np.random.default_rng(size)
    _check(_cells(rng, 2, size, size), Wires(0.01, 0.01, 500.0, 100.0), device, rng)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ohms", [(0.01, 0.01, 1e9, 1e9), (0.0, 0.01, 1e9, 1e9), (0.01, 0.01, 1e12, 1e9)])
def test_weak_drivers_cost_no_digits(ohms: tuple[float, float, float, float], device: str) -> None:
    """A diagonal here agrees with what elimination takes from it to ten digits and more."""
    compiled, ours = _both(_cells(np.random.default_rng(3), 1, 64, 64), Wires(*ohms), device)
    assert float(compiled.coupling.min()) > 0
    _entries_agree(ours.coupling, compiled.coupling)


@pytest.mark.parametrize("device", DEVICES)
def test_small_arrays_have_known_answers(device: str) -> None:
    """One cell: resistors in series. Two rows, one column, ideal word lines: a voltage divider by hand."""
    wires = Wires(2.0, 3.0, 5.0, 7.0)
    one = TorchFactor.of(torch.full((1, 1, 1), 0.1, dtype=torch.float64, device=device), wires, keep=False)
    assert float(one.coupling) == pytest.approx(1 / (2 + 5 + 10 + 3 + 7), rel=1e-15)
    g_s = torch.tensor([[[0.1], [0.2]]], dtype=torch.float64, device=device)
    two = TorchFactor.of(g_s, Wires(0.0, 0.0, 0.0, 4.0), keep=True)
    wanted = np.array([0.1, 0.2]) * 0.25 / (0.1 + 0.2 + 0.25)
    np.testing.assert_allclose(two.coupling.cpu().numpy().ravel(), wanted, rtol=1e-15)


@pytest.mark.parametrize("device", DEVICES)
def test_nodes_that_float_take_no_voltage(device: str) -> None:
    rng = np.random.default_rng(5)
    for wires in (Wires(1.0, 1.0, math.inf, math.inf), Wires(math.inf, math.inf), Wires(math.inf, 0.01, 1.0, 1.0)):
        g_s = _cells(rng, 2, 21, 18)
        g_s[0] = 0.0
        compiled, ours = _both(g_s, wires, device)
        assert not ours.coupling.any()
        volts = [np.ones((2, 21, 1)), np.zeros((2, 18, 1))]
        found = ours.voltages(*(torch.from_numpy(v).to(device) for v in volts))
        for mine, theirs in zip(found, compiled.voltages(*volts), strict=True):
            _agree(mine, theirs, 1.0, 1e-12)
            assert not mine[0].any()


@pytest.mark.parametrize("device", DEVICES)
def test_an_array_does_not_see_the_others_in_its_batch(device: str) -> None:
    """To rounding: which kernel a matrix product takes may depend on how many there are."""
    g_s = torch.from_numpy(_cells(np.random.default_rng(6), 5, 30, 19)).to(device)
    wires = Wires(1.0, 2.0, 50.0, 10.0)
    together = TorchFactor.of(g_s, wires, keep=False).coupling
    alone = torch.cat([TorchFactor.of(part[None], wires, keep=False).coupling for part in g_s])
    _entries_agree(together, alone.cpu().numpy())


@pytest.mark.parametrize("device", DEVICES)
def test_same_bits_each_time_and_no_atomic_sums(device: str) -> None:
    g_s = torch.from_numpy(_cells(np.random.default_rng(7), 4, 40, 40)).to(device)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            first, second = (TorchFactor.of(g_s, Wires(1.0, 1.0, 9.0, 9.0), keep=True) for _ in range(2))
            assert torch.equal(first.coupling, second.coupling)
            assert torch.equal(first.gradient(g_s), second.gradient(g_s))
    finally:
        torch.use_deterministic_algorithms(before)
    # cuBLAS is told of wherever its workspace is not fixed by the environment; no other operation may be.
    assert [str(w.message) for w in told if "cublas" not in str(w.message).lower()] == []


@pytest.mark.parametrize("structure", [Wires(1, 1), Wires(0, 1, 1, 1), Wires(1, 1, topology="sensed_both_sides")])
def test_rounds_of_a_plan_meet_each_target_once(structure: Wires) -> None:
    """Or contributions would be lost: a copy keeps one of two. And a step does many pivots."""
    for form in plan(40, 40, Structure.of(structure), torch.device("cpu")).forms:
        for step in form.tile.steps if form.tile else ():
            for target, _, _ in (*step.additions, *step.currents):
                assert len(target.unique()) == len(target)
            assert len(step.real_slots.unique()) == len(step.real_slots)
            assert len(step.pivots) >= 8
    assert plan(40, 40, Structure.of(structure), torch.device("cpu")) is plan(
        40, 40, Structure.of(structure), torch.device("cpu")
    ), "index tensors are made once"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_public_functions_through_tensors(topology: Topology, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks, mirror image, derivatives by autograd and voltages: as CPU tensors get them."""
    rng = np.random.default_rng(8)
    g_s = torch.from_numpy(_cells(rng, 2, 3, 13, 21))
    v, upstream = torch.from_numpy(rng.normal(size=(4, 13))), torch.from_numpy(rng.normal(size=g_s.shape))
    wires = Wires(1.0, 2.0, 50.0, 10.0, topology)

    def run(where: str) -> list[np.ndarray]:
        cells = g_s.to(where, copy=True).requires_grad_()
        effective = with_wires(cells, wires)
        effective.backward(upstream.to(where))
        solution = solve_crossbar(cells.detach(), v.to(where), wires)
        assert cells.grad is not None
        found = [effective.detach(), cells.grad, solution.word_v, solution.bit_v, solution.currents_a]
        assert all(part.device.type == where for part in found)
        return [part.cpu().numpy() for part in found]

    wanted = run("cpu")
    seen: list[int] = []
    of = TorchFactor.of
    monkeypatch.setattr(TorchFactor, "of", lambda g, w, *, keep: seen.append(len(g)) or of(g, w, keep=keep))
    monkeypatch.setattr(kirchhoff, "_in_torch", lambda _: True)
    monkeypatch.setattr(kirchhoff, "CHUNK_CELLS", 4 * 13 * 21)
    found = run(device)
    assert seen == [4, 2, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12, atol=0.0)
    for mine, theirs in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=1e-11 * float(np.abs(theirs).max()))


def test_cpu_tensors_take_the_compiled_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a CPU tensor went through tensor operations")

    monkeypatch.setattr(factor_torch, "_invert", refuse)
    with_wires(torch.rand(10, 12, dtype=torch.float64), Wires(1.0, 1.0))
    assert kirchhoff._in_torch(torch.device("cuda", 0))
    assert not kirchhoff._in_torch(torch.device("cpu"))
