"""Basis vectors for a set of segments, and what the cells can hold of them.

Vectors are rows of B (n, r). Starting points, from the segments x_t of all layers together, each scaled to unit length:

    pca      the n leading right singular vectors of the segments
    kmeans   spherical k-means: vectors are the normalised means of the segments next to them in angle
    ksvd     k-means, then K-SVD: sparse codes by matching pursuit, each vector the leading singular vector of its share

A cell holds few levels: ``quantise`` writes each vector as integers of at most ``levels`` in magnitude (1: ternary), or as signs
(binary). The common factor of a vector belongs to its coefficients. K-SVD: M. Aharon, M. Elad, A. Bruckstein, IEEE Trans. Signal
Process. 54 (2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crosstile.basisn.coefficients import pursue
from crosstile.errors import SpecError

Array = NDArray[np.float64]
Method = Literal["pca", "kmeans", "ksvd", "random"]
METHODS: tuple[Method, ...] = ("pca", "kmeans", "ksvd", "random")
_MOST_SEGMENTS = 20_000  # enough to place a few hundred vectors; more only take longer


def unit_segments(segments: Sequence[Array], seed: int = 0) -> Array:
    """Return the segments of all layers, scaled to unit length, zeros left out, at most 20,000 drawn at random."""
    flat = np.concatenate([s.reshape(-1, s.shape[-1]) for s in segments])
    length = np.linalg.norm(flat, axis=1)
    flat = flat[length > 0] / length[length > 0, None]
    if not len(flat):
        raise SpecError("basis: all weights are zero; there is nothing to represent.")
    if len(flat) > _MOST_SEGMENTS:
        flat = flat[np.random.default_rng(seed).choice(len(flat), _MOST_SEGMENTS, replace=False)]
    return np.asarray(flat)


def initial_basis(
    segments: Sequence[Array], count: int, method: Method = "ksvd", *, sparsity: int = 8, seed: int = 0
) -> Array:
    """Return ``count`` vectors (count, r) of unit length for the segments (outputs, segments, r) of all layers.

    Args:
        segments: one array a layer.
        count: number of vectors; above r only ``kmeans``, ``ksvd`` and ``random`` can make them.
        method: see the module.
        sparsity: vectors that a segment may use in K-SVD.
        seed: of everything random.
    """
    data = unit_segments(segments, seed)
    rng = np.random.default_rng(seed)
    rows = data.shape[1]
    if method == "random":
        found = rng.standard_normal((count, rows))
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))
    if method == "pca":
        if count > rows:
            raise SpecError(
                f"basis: PCA gives at most {rows} vectors of {rows} rows, {count} are wanted; use kmeans or ksvd."
            )
        values, vectors = np.linalg.eigh(data.T @ data)
        return np.asarray(vectors[:, np.argsort(values)[::-1][:count]].T)
    if method not in METHODS:
        raise SpecError(f"basis: no starting point is called {method!r}; known are {', '.join(METHODS)}.")
    found = _kmeans(data, count, rng)
    return found if method == "kmeans" else _ksvd(data, found, min(sparsity, count), rng)


def _fill(found: Array, empty: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Replace empty vectors by random directions, so that the basis never loses rank by accident."""
    if empty.any():
        found[empty] = rng.standard_normal((int(empty.sum()), found.shape[1]))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _kmeans(data: Array, count: int, rng: np.random.Generator, rounds: int = 15) -> Array:
    picked = rng.choice(len(data), count, replace=len(data) < count)
    found = data[picked].copy()
    if len(data) < count:
        found[len(data) :] = 0
    found = _fill(found, np.linalg.norm(found, axis=1) == 0, rng)
    for _ in range(rounds):
        match = data @ found.T
        nearest = np.abs(match).argmax(axis=1)
        sign = np.sign(match[np.arange(len(data)), nearest])
        sums = np.zeros_like(found)
        np.add.at(sums, nearest, data * sign[:, None])
        found = _fill(sums, np.linalg.norm(sums, axis=1) < 1e-12, rng)
    return found


def _ksvd(data: Array, found: Array, sparsity: int, rng: np.random.Generator, rounds: int = 5) -> Array:
    for _ in range(rounds):
        codes = pursue(data, found, sparsity)
        residual = data - codes @ found
        for index in range(len(found)):
            users = np.flatnonzero(codes[:, index])
            if not len(users):
                continue
            wanted = residual[users] + np.outer(codes[users, index], found[index])
            _, strength, vectors = np.linalg.svd(wanted, full_matrices=False)
            if strength[0] <= 0:
                continue
            found[index] = vectors[0]
            codes[users, index] = wanted @ vectors[0]
            residual[users] = wanted - np.outer(codes[users, index], vectors[0])
        found = _fill(found, np.linalg.norm(found, axis=1) < 1e-12, rng)
    return found


def quantise(basis: Array, levels: int | Literal["binary"]) -> Array:
    """Return ``basis`` (n, r) as integers that cells can hold.

    ``levels`` is the largest magnitude (1: ternary, 3: a pair of two-bit cells); ``"binary"`` stores signs. Each vector is
    divided by the step for which what is lost of its direction is least, found on a grid of steps.
    """
    if levels == "binary":
        return np.where(basis < 0, -1.0, 1.0)
    if not (isinstance(levels, int) and levels >= 1):
        raise SpecError(f"basis: levels must be 'binary' or a whole number of at least 1, found {levels!r}.")
    largest = np.abs(basis).max(axis=1, keepdims=True)
    if not (largest > 0).all():
        raise SpecError("basis: a vector of zeros cannot be written; draw the basis again.")
    best = np.zeros_like(basis)
    agreement = np.full(len(basis), -1.0)
    for share in np.linspace(0.3, 1.0, 29):  # share of the largest entry that the top level stands for
        tried = np.clip(np.rint(basis / (share * largest) * levels), -levels, levels)
        length = np.linalg.norm(tried, axis=1)
        cosine = np.einsum("nr,nr->n", tried, basis) / np.where(length > 0, length, 1) / np.linalg.norm(basis, axis=1)
        better = cosine > agreement
        best[better], agreement[better] = tried[better], cosine[better]
    return best + 0.0  # no negative zeros
