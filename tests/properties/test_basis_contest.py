"""Schedules of kernels that want the same columns, against enumeration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstile.basisn.contest import (
    Cycles,
    bit_supports,
    check_cycles,
    contest_graph,
    lower_bound,
    schedule_exact,
    schedule_greedy,
)
from crosstile.errors import SpecError


@st.composite
def supports(draw: st.DrawFn, kernels: int = 6) -> np.ndarray:
    shape = draw(st.integers(1, kernels)), draw(st.integers(1, 9))
    cells = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(cells, dtype=bool).reshape(shape)


def _partitions(items: list[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for partition in _partitions(rest):
        yield [[first], *partition]
        for index in range(len(partition)):
            yield [*partition[:index], [first, *partition[index]], *partition[index + 1 :]]


@settings(deadline=None, max_examples=60)
@given(supports(), st.integers(1, 4))
def test_exact_schedules_are_the_shortest(wanted: np.ndarray, lines: int) -> None:
    kernels = [int(k) for k in np.flatnonzero(wanted.any(axis=1))]
    fewest = min(
        len(partition)
        for partition in _partitions(kernels)
        if all(len(g) <= lines and wanted[g].sum(axis=0).max() <= 1 for g in partition)
    )
    exact, greedy = schedule_exact(wanted, lines), schedule_greedy(wanted, lines)
    check_cycles(wanted, lines, exact)
    check_cycles(wanted, lines, greedy)
    assert exact.count == fewest
    assert lower_bound(wanted, lines) <= fewest <= greedy.count


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.integers(1, 130), st.floats(0, 0.3), st.integers(1, 32), st.integers(0, 99))
def test_greedy_schedules_have_no_contest(kernels: int, columns: int, density: float, lines: int, seed: int) -> None:
    wanted = np.random.default_rng(seed).random((kernels, columns)) < density
    found = schedule_greedy(wanted, lines)
    check_cycles(wanted, lines, found)
    assert found.bound <= found.count <= kernels


def test_the_contest_graph_by_hand() -> None:
    wanted = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    graph = contest_graph(wanted)
    assert [tuple(pair) for pair in np.argwhere(graph)] == [(0, 1), (1, 0)]
    assert schedule_greedy(wanted, 8).count == 2
    assert schedule_greedy(wanted, 1).count == 3  # the kernel that wants nothing needs no cycle


def test_random_supports_reach_what_was_measured_before() -> None:
    """512 kernels, 4 of 64 columns each: about 10 kernels a cycle by greedy grouping, 16 at most."""
    rng = np.random.default_rng(0)
    wanted = np.zeros((512, 64), dtype=bool)
    for row in wanted:
        row[rng.choice(64, 4, replace=False)] = True
    found = schedule_greedy(wanted, 512)
    assert 9 < 512 / found.count < 11.5


def test_bits_of_coefficients() -> None:
    codes = np.array([[3, -2, 0, 1]], dtype=np.int8)
    assert bit_supports(codes, 0).tolist() == [[True, False, False, True]]
    assert bit_supports(codes, 1).tolist() == [[True, True, False, False]]


def test_mistakes_are_told() -> None:
    wanted = np.ones((2, 3), dtype=bool)
    with pytest.raises(SpecError, match="has a contest"):
        check_cycles(wanted, 4, Cycles(((0, 1),), 1))
    with pytest.raises(SpecError, match="exactly once"):
        check_cycles(wanted, 4, Cycles(((0,),), 1))
    with pytest.raises(SpecError, match="at least one summing line"):
        schedule_greedy(wanted, 0)
    with pytest.raises(SpecError, match="boolean matrix"):
        schedule_greedy(wanted.astype(float), 1)
    with pytest.raises(SpecError, match="use the greedy one"):
        schedule_exact(np.ones((21, 1), dtype=bool), 1)
