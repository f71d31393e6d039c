"""Kernels cut into segments of as many rows as an array has.

A layer's matrix (outputs, K) becomes (outputs, ceil(K / r), r); the last segment is filled with zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosstile.errors import SpecError

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
