"""Fewer contests: while coefficients are found, and while they are trained.

Found (``avoid_contests``): a coefficient takes the integer v of least error and contest together, one column after the other,

    min_v  (v - t)^2 + mu sum_bits bit_t(|v|) (share of the other kernels of the segment that want the column for this bit)

with t the value of least error, given all others; the others then make up for what is lost.

Trained (``shrink``): coefficients of columns that many kernels of a segment want are drawn towards zero. With a_kj = |c_kj|, in
units of the largest coefficient, the penalty of a segment counts what its kernels take from each other,

    P = 1/K sum_{i<k} <a_i, a_k> = 1/(2K) sum_j ( load_j^2 - sum_k a_kj^2 ),      load_j = sum_k a_kj

and its gradient is the share of the other kernels that want the column, dP/da_kj = (load_j - a_kj) / K. It acts beside the
optimiser as decoupled weight decay does (I. Loshchilov, F. Hutter, ICLR 2019), and never beyond zero:

    |c_kj|  <-  max( |c_kj| - lr lambda dP/da_kj, 0 ) .

Adam moves a coefficient by about lr a step, so that lambda weighs contests of a column that all kernels want against the loss; it
should stay well below K / load_j, or the loss cannot hold any coefficient. What all coefficients of a kernel lose alike its scale
takes back, so that the kernel keeps its length.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosstile.basisn.coefficients import Array, QuantisedCodes, largest_code
from crosstile.basisn.contest import bit_supports, schedule_greedy

_SWEEPS, _TURNS = 4, 4


def avoid_contests(
    segments: Array, basis: Array, found: QuantisedCodes, bits: int, strength: float, *, seed: int = 0
) -> QuantisedCodes:
    """Return ``found``, codes of one layer, changed towards fewer contests.

    Args:
        segments: (outputs, segments, r). basis: (n, r). bits: of a coefficient, sign included.
        strength: mu above; 0 looks for least error alone. seed: of the order in which columns and kernels are looked at.
    """
    top, rng, outputs = largest_code(bits), np.random.default_rng(seed), len(segments)
    gram = basis @ basis.T
    scale = np.array(np.broadcast_to(found.scale, (outputs,)), dtype=np.float64)
    codes = found.codes.astype(np.float64)
    left = (segments - (codes * scale[:, None, None]) @ basis) @ basis.T
    values = np.arange(-top, top + 1.0)
    price = _bits_of(values, bits).astype(np.float64)
    for _ in range(_SWEEPS):
        for column in rng.permutation(len(basis)):
            wanted = _bits_of(codes[:, :, column], bits).astype(np.float64)
            for part in np.array_split(
                rng.permutation(outputs), min(_TURNS, outputs)
            ):  # not all leave a column at once
                step = scale[part, None]
                share = (wanted.sum(axis=1)[:, None] - wanted[:, part]) / outputs
                best = codes[part, :, column] + left[part, :, column] / (step * gram[column, column])
                cost = np.square(values - best[:, :, None]) + strength * np.einsum("tks,tv->ksv", share, price)
                new = values[cost.argmin(axis=2)]
                change = (new - codes[part, :, column]) * step
                left[part] -= change[:, :, None] * gram[column]
                codes[part, :, column] = new
                wanted[:, part] = _bits_of(new, bits)
        made = codes @ basis
        power, match = (np.einsum("ksr,ksr->k", made, other) for other in (made, segments))
        fitted = np.where((power > 0) & (match > 0), match / np.where(power > 0, power, 1.0), scale)
        left += ((scale - fitted)[:, None, None] * made) @ basis.T
        scale = fitted
    return QuantisedCodes(codes.astype(np.int8), scale)


def _bits_of(values: Array, bits: int) -> NDArray[np.int64]:
    """Return (bits - 1, ...) the bits of magnitudes, the lowest first."""
    magnitude = np.abs(values).astype(np.int64)
    return np.stack([magnitude >> bit & 1 for bit in range(bits - 1)])


def contest_penalty(codes: Tensor, top: int) -> Tensor:
    """Return P of a layer's ``codes`` (outputs, segments, vectors), summed over its segments."""
    wanted = codes.abs() / top
    load = wanted.sum(dim=0)
    return 0.5 * (load.square() - wanted.square().sum(dim=0)).sum() / len(codes)


@torch.no_grad()
def shrink(codes: Tensor, top: int, strength: float) -> Tensor:
    """Draw real ``codes`` (outputs, segments, vectors) towards zero in place, by ``strength`` times dP/da.

    Returns:
        (outputs,) the factor by which each kernel became shorter; 1 for one of zeros.
    """
    wanted = codes.abs() / top
    slope = (wanted.sum(dim=0) - wanted) / len(codes)
    before = codes.flatten(1).norm(dim=1)
    codes.copy_(codes.sign() * (codes.abs() - strength * slope).clamp_min(0.0))
    after = codes.flatten(1).norm(dim=1)
    return torch.where(after > 0, after / before.clamp_min(torch.finfo(codes.dtype).tiny), 1.0)


def cycles_per_read(codes: NDArray[np.int8], bits: int, sets: int, lines: int) -> int:
    """Return the cycles that all kernels of a layer take for one input plane at one position, without contests.

    Segments and bits follow one another on each array; the arrays of the sets work side by side, with ``lines`` summing lines
    each, and the one whose greedy schedules are longest counts.

    Args:
        codes: (outputs, segments, sets * vectors). bits: of a coefficient, sign included.
    """
    largest_code(bits)
    outputs, segments, total = codes.shape
    arrays = codes.reshape(outputs, segments, sets, total // sets)
    return max(
        sum(
            schedule_greedy(bit_supports(arrays[:, segment, number], bit), lines).count
            for segment in range(segments)
            for bit in range(bits - 1)
        )
        for number in range(sets)
    )
