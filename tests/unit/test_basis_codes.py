"""Segments, basis vectors and coefficients: exactness where it is promised, oracles where it is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstile.basisn.coefficients import largest_code, pursue, quantise_codes
from crosstile.basisn.dictionary import METHODS, Method, initial_basis, quantise
from crosstile.basisn.segments import cut, join
from crosstile.errors import SpecError


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 16))
def test_cutting_and_joining_is_the_identity(outputs: int, fan_in: int, rows: int) -> None:
    matrix = np.arange(1.0, outputs * fan_in + 1).reshape(outputs, fan_in)
    segments = cut(matrix, rows)
    assert segments.shape == (outputs, -(-fan_in // rows), rows)
    assert np.array_equal(join(segments, fan_in), matrix)
    assert segments.sum() == matrix.sum()  # what fills the last segment is zero


@pytest.mark.parametrize("levels", ["binary", 1, 3])
def test_a_complete_basis_is_exact(levels: int | str) -> None:
    """With as many independent vectors as rows and free coefficients every kernel is met to rounding (condition number ~ 1e3)."""
    rng = np.random.default_rng(1)
    segments = rng.standard_normal((6, 3, 32))
    basis = quantise(initial_basis([segments], 32, "random"), levels)  # type: ignore[arg-type]
    assert np.linalg.matrix_rank(basis) == 32
    codes = pursue(segments.reshape(-1, 32), basis, 32)
    assert np.abs(codes @ basis - segments.reshape(-1, 32)).max() < 1e-10


def test_pursuit_is_orthogonal_matching_pursuit() -> None:
    """Against the textbook loop, one segment at a time."""
    rng = np.random.default_rng(2)
    basis, segments = rng.standard_normal((24, 16)), rng.standard_normal((40, 16))
    found = pursue(segments, basis, 5)
    for x, code in zip(segments, found, strict=True):
        chosen: list[int] = []
        left = x
        for _ in range(5):
            match = np.abs(basis @ left) / np.linalg.norm(basis, axis=1)
            match[chosen] = -1
            chosen.append(int(match.argmax()))
            values, *_ = np.linalg.lstsq(basis[chosen].T, x, rcond=None)
            left = x - values @ basis[chosen]
        assert sorted(np.flatnonzero(code)) == sorted(chosen)
        assert code[chosen] == pytest.approx(values, abs=1e-8)  # the ridge moves codes by less


def test_sparse_segments_are_recovered() -> None:
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    codes = np.zeros((50, 32))
    for row in codes:
        row[rng.choice(32, 4, replace=False)] = rng.uniform(0.5, 2, 4)
    assert pursue(codes @ basis, basis, 4) == pytest.approx(codes, abs=1e-9)


def test_integer_codes_against_all_integers() -> None:
    """One kernel, two vectors: every pair of integers, each with its best scale. The fit may miss it."""
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(40):
        basis, segment = rng.standard_normal((2, 6)), rng.standard_normal((1, 1, 6))
        top = largest_code(3)
        errors = []
        for pair in itertools.product(range(-top, top + 1), repeat=2):
            made = np.array(pair) @ basis
            strength = made @ made
            scale = max(0.0, made @ segment[0, 0] / strength) if strength else 0.0
            errors.append(np.square(segment[0, 0] - scale * made).sum())
        found = quantise_codes(segment, basis, 2, 3)
        assert np.abs(found.codes).max() <= top
        error = np.square(segment - found.values() @ basis).sum()
        assert error >= min(errors) - 1e-12
        ratios.append(error / min(errors))
    assert np.median(ratios) < 1.0001
    assert max(ratios) < 1.1


@pytest.mark.parametrize("per", ["kernel", "layer"])
def test_more_bits_and_more_vectors_leave_less_error(per: str) -> None:
    rng = np.random.default_rng(5)
    segments = rng.standard_normal((8, 4, 32))
    basis = quantise(initial_basis([segments], 32, "kmeans"), 1)
    by_bits = [_error(segments, basis, 32, bits, per) for bits in (2, 3, 4, 6, 8)]
    assert by_bits == sorted(by_bits, reverse=True)
    by_width = [_error(segments, basis, width, 6, per) for width in (2, 4, 8, 16, 32)]
    assert by_width == sorted(by_width, reverse=True)


def _error(segments: np.ndarray, basis: np.ndarray, sparsity: int, bits: int, per: str) -> float:
    found = quantise_codes(segments, basis, sparsity, bits, per=per)
    assert (found.codes != 0).sum(axis=2).max() <= sparsity
    assert len(found.scale) == (len(segments) if per == "kernel" else 1)
    return float(np.square(segments - found.values() @ basis).sum())


@pytest.mark.parametrize("method", METHODS)
def test_bases_have_full_rank_and_unit_length(method: Method) -> None:
    rng = np.random.default_rng(6)
    segments = [rng.standard_normal((20, 2, 16)), rng.standard_normal((30, 1, 16))]
    basis = initial_basis(segments, 12, method, sparsity=4)
    assert basis.shape == (12, 16)
    assert np.linalg.norm(basis, axis=1) == pytest.approx(np.ones(12))
    assert np.linalg.matrix_rank(basis) == 12
    assert np.array_equal(basis, initial_basis(segments, 12, method, sparsity=4))


def test_pca_is_the_best_subspace_and_ksvd_betters_its_start() -> None:
    rng = np.random.default_rng(7)
    data = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 16))
    segments = [data[:, None, :]]
    basis = initial_basis(segments, 6, "pca")
    assert pursue(data, basis, 6) @ basis == pytest.approx(data, abs=1e-9)  # six directions explain all of it

    noise = [rng.standard_normal((400, 1, 16))]
    unit = noise[0][:, 0] / np.linalg.norm(noise[0][:, 0], axis=1, keepdims=True)
    left = {}
    for method in ("kmeans", "ksvd"):
        found = initial_basis(noise, 24, method, sparsity=3)
        left[method] = np.square(unit - pursue(unit, found, 3) @ found).sum()
    assert left["ksvd"] < 0.95 * left["kmeans"]


@pytest.mark.parametrize(("levels", "allowed"), [("binary", {-1, 1}), (1, {-1, 0, 1}), (3, set(range(-3, 4)))])
def test_quantised_vectors_are_what_cells_hold(levels: int | str, allowed: set[int]) -> None:
    basis = np.random.default_rng(8).standard_normal((10, 32))
    found = quantise(basis, levels)  # type: ignore[arg-type]
    assert set(np.unique(found).astype(int)) <= allowed
    cosine = (found * basis).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(basis, axis=1)
    assert cosine.min() > {"binary": 0.7, "1": 0.85, "3": 0.95}[str(levels)]


def test_mistakes_are_told() -> None:
    segments = np.ones((2, 1, 8))
    with pytest.raises(SpecError, match="PCA gives at most 8 vectors"):
        initial_basis([segments], 9, "pca")
    with pytest.raises(SpecError, match="all weights are zero"):
        initial_basis([segments * 0], 4)
    with pytest.raises(SpecError, match="2 to 8 bits"):
        quantise_codes(segments, np.eye(8), 4, 1)
    with pytest.raises(SpecError, match="per 'kernel' or per 'layer'"):
        quantise_codes(segments, np.eye(8), 4, 3, per="net")
    with pytest.raises(SpecError, match="vector of zeros"):
        pursue(segments.reshape(2, 8), np.zeros((4, 8)), 2)
    with pytest.raises(SpecError, match="'binary' or a whole number"):
        quantise(np.eye(4), 0)
