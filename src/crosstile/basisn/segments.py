"""Kernels cut into segments of as many rows as an array has.

A layer's matrix (outputs, K) becomes (outputs, segments, r). ``cut`` takes the rows in order; ``block_segments`` takes them as
the plan lays them on arrays, block by block. What a segment leaves free is filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crosstile.errors import SpecError
from crosstile.mapping.plan import Block

Array = NDArray[np.float64]


def cut(matrix: Array, rows: int) -> Array:
    """Return the segments (outputs, segments, rows) of ``matrix`` (outputs, K).

    Raises:
        SpecError: the matrix is empty or not two-dimensional, or ``rows`` is below 1.
    """
    if matrix.ndim != 2 or not matrix.size:
        raise SpecError(f"basis: a matrix of outputs x rows is wanted, found shape {matrix.shape}.")
    if rows < 1:
        raise SpecError(f"basis: an array needs at least one row, found {rows}.")
    outputs, fan_in = matrix.shape
    count = -(-fan_in // rows)
    filled = np.zeros((outputs, count * rows))
    filled[:, :fan_in] = matrix
    return filled.reshape(outputs, count, rows)


def join(segments: Array, fan_in: int) -> Array:
    """Return the matrix (outputs, ``fan_in``) of ``segments`` (outputs, segments, rows)."""
    outputs = segments.shape[0]
    return segments.reshape(outputs, -1)[:, :fan_in]


def block_places(blocks: Sequence[Block], rows: int) -> NDArray[np.int64]:
    """Return (K,) where each row of a layer stands among its blocks' ``rows`` places, block after block.

    Raises:
        SpecError: a block has more rows than a basis vector.
    """
    places = np.zeros(sum(len(block.rows) for block in blocks), dtype=np.int64)
    for number, block in enumerate(blocks):
        if len(block.rows) > rows:
            raise SpecError(f"basis: vectors have {rows} rows, but a block of the layer has {len(block.rows)}.")
        places[list(block.rows)] = number * rows + np.arange(len(block.rows))
    return places


def block_segments(matrix: Array, blocks: Sequence[Block], rows: int) -> Array:
    """Return (outputs, blocks, rows) segments of ``matrix`` (outputs, K): what each kernel has on the rows of each block."""
    segments = np.zeros((len(matrix), len(blocks) * rows))
    segments[:, block_places(blocks, rows)] = matrix
    return segments.reshape(len(matrix), len(blocks), rows)


def combine(codes: NDArray[np.generic], basis: Array, blocks: Sequence[Block]) -> Array:
    """Return the matrix (outputs, K) that ``codes`` (outputs, blocks, n), integer or real, make of ``basis`` (n, rows)."""
    made = codes.astype(np.float64) @ basis
    return np.asarray(made.reshape(len(codes), -1)[:, block_places(blocks, basis.shape[1])])
