"""Coefficients of segments on a basis: sparse by matching pursuit, then integers of q bits.

    x_t ~ s_t sum_j c_tj b_j,   c_tj integer, |c_tj| <= 2^(q-1) - 1,   at most s of them not zero

``pursue`` is orthogonal matching pursuit, batched over segments by their correlations and the Gram matrix of the basis (Y. C.
Pati, R. Rezaiifar, P. S. Krishnaprasad, Asilomar 1993). ``quantise_codes`` rounds to integers for a scale a group, and
then changes one coefficient after the other to the integer that leaves least error, since vectors are not orthogonal; scale and
integers are fitted in turn, from several starts. The error never grows from one step to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosstile.errors import SpecError

Array = NDArray[np.float64]
_BLOCK = 16_384  # segments at once: bounds the memory
_STARTS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.3)  # shares of the largest coefficient where the range starts; the fit moves it


def pursue(segments: Array, basis: Array, sparsity: int) -> Array:
    """Return codes (T, n) with at most ``sparsity`` entries a row for ``segments`` (T, r) on ``basis`` (n, r).

    With ``sparsity`` of n or more the codes are those of least squares.
    """
    count = len(basis)
    if sparsity < 1:
        raise SpecError(f"basis: a segment needs at least one vector, found {sparsity}.")
    if sparsity >= count:
        return np.asarray(np.linalg.lstsq(basis.T, segments.T, rcond=None)[0].T)
    gram = basis @ basis.T
    length = np.sqrt(np.diag(gram))
    if not (length > 0).all():
        raise SpecError("basis: a vector of zeros can represent nothing; draw the basis again.")
    return np.concatenate(
        [
            _pursue_block(segments[i : i + _BLOCK], basis, gram, length, sparsity)
            for i in range(0, len(segments), _BLOCK)
        ]
        or [np.zeros((0, count))]
    )


def _pursue_block(segments: Array, basis: Array, gram: Array, length: Array, sparsity: int) -> Array:
    total, count = len(segments), len(basis)
    start = segments @ basis.T
    left = start.copy()
    chosen = np.zeros((total, 0), dtype=np.int64)
    each = np.arange(total)
    values: Array = np.zeros((total, 0))
    # A vector that is nearly a mixture of chosen ones would make the system singular; the ridge is far below rounding of weights.
    ridge = 1e-12 * float(length.max()) ** 2
    for size in range(1, sparsity + 1):
        strength = np.abs(left) / length
        np.put_along_axis(strength, chosen, -1.0, axis=1)
        chosen = np.concatenate([chosen, strength.argmax(axis=1)[:, None]], axis=1)
        system = gram[chosen[:, :, None], chosen[:, None, :]] + ridge * np.eye(size)
        wanted = np.take_along_axis(start, chosen, axis=1)
        values = np.asarray(np.linalg.solve(system, wanted[:, :, None])[:, :, 0], dtype=np.float64)
        left = start.copy()
        for place in range(size):
            left -= values[:, place, None] * gram[chosen[:, place]]
    codes = np.zeros((total, count))
    codes[each[:, None], chosen] = values
    return codes


@dataclass(frozen=True)
class QuantisedCodes:
    """Integer coefficients and their scales."""

    codes: NDArray[np.int8]
    """(outputs, segments, n) integers."""
    scale: Array
    """(outputs,) or (1,): what one step of a coefficient stands for."""

    def values(self) -> Array:
        """Return the coefficients (outputs, segments, n)."""
        return np.asarray(self.codes * self.scale[:, None, None])


def largest_code(bits: int) -> int:
    """Return the largest magnitude of a signed coefficient of ``bits`` bits."""
    if not 2 <= bits <= 8:
        raise SpecError(f"basis: coefficients have 2 to 8 bits, sign included; found {bits}.")
    return int(2 ** (bits - 1) - 1)


def quantise_codes(
    segments: Array, basis: Array, sparsity: int, bits: int, *, per: str = "kernel", rounds: int = 6
) -> QuantisedCodes:
    """Return integer codes for the ``segments`` (outputs, segments, r) of one layer.

    Args:
        segments: of the layer.
        basis: (n, r).
        sparsity: vectors that a segment may use.
        bits: of a coefficient, sign included.
        per: ``"kernel"`` (one scale an output) or ``"layer"``.
        rounds: of fitting integers and scale in turn.
    """
    if per not in ("kernel", "layer"):
        raise SpecError(f"basis: the scale is per 'kernel' or per 'layer', found {per!r}.")
    top = largest_code(bits)
    outputs, count, rows = segments.shape
    flat = segments.reshape(-1, rows)
    exact = pursue(flat, basis, sparsity).reshape(outputs, count, -1)
    groups = outputs if per == "kernel" else 1
    peak = np.abs(exact).reshape(groups, -1).max(axis=1)
    codes = np.zeros(exact.shape, dtype=np.int8)
    scales, least = np.ones(groups), np.full(groups, np.inf)
    for share in _STARTS:
        found = _fit(segments, basis, exact, np.where(peak > 0, share * peak / top, 1.0), top, rounds)
        error = np.square(segments - found.values() @ basis).reshape(groups, -1).sum(axis=1)
        better = error < least
        codes.reshape(groups, -1)[better] = found.codes.reshape(groups, -1)[better]
        scales[better], least[better] = found.scale[better], error[better]
    return QuantisedCodes(codes, scales)


def _fit(segments: Array, basis: Array, exact: Array, scale: Array, top: int, rounds: int) -> QuantisedCodes:
    outputs, count, _ = segments.shape
    groups = len(scale)
    each = np.broadcast_to(np.repeat(scale, outputs // groups)[:, None], (outputs, count)).reshape(-1)
    codes = np.clip(np.rint(exact.reshape(outputs * count, -1) / each[:, None]), -top, top)
    flat = segments.reshape(outputs * count, -1)
    gram, energy = basis @ basis.T, np.square(basis).sum(axis=1)
    start = flat @ basis.T
    for _ in range(rounds):
        left = start - (codes * each[:, None]) @ gram  # correlation of what is missing with each vector
        used = exact.reshape(codes.shape) != 0
        for index in range(len(basis)):
            members = np.flatnonzero(used[:, index])
            if not len(members):
                continue
            step = each[members]
            wanted = np.clip(np.rint(codes[members, index] + left[members, index] / (step * energy[index])), -top, top)
            change = wanted - codes[members, index]
            moved = change != 0
            if moved.any():
                rows = members[moved]
                left[rows] -= (change[moved] * step[moved])[:, None] * gram[index]
                codes[rows, index] = wanted[moved]
        made = (codes @ basis).reshape(groups, -1)
        strength = np.square(made).sum(axis=1)
        fitted = (made * flat.reshape(groups, -1)).sum(axis=1) / np.where(strength > 0, strength, 1)
        scale = np.where((strength > 0) & (fitted > 0), fitted, scale)
        each = np.broadcast_to(np.repeat(scale, outputs // groups)[:, None], (outputs, count)).reshape(-1)
    return QuantisedCodes(codes.reshape(outputs, count, -1).astype(np.int8), scale)
