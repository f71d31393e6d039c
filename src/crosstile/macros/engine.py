"""One physical macro, and the tiles of weights that it multiplies with one after the other.

With y_i the bit planes of the inputs and W_i the cells as input bit i meets them (signs, mismatch and the way through the adders
included), a cycle forms

    s = sum_i y_i W_i + bias

and converts it once. W_i is kept on a grid of a power of two of a unit product, as fine as sums stay exact in single precision
on: the result depends neither on the batch nor on the order of the additions. Without mismatch all W_i are 2^i w, and s is
one product of integers. A bit-serial macro converts each y_i W_ij on its own and adds the codes, shifted.

Where ReLU is fused, the bias goes on rows of its own, which meet constant inputs: 2^(I-1) - 1, and 1 for what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.crossbar.noise import quantile_table
from crosstile.crossbar.reader import Stream
from crosstile.errors import SpecError, UsageError
from crosstile.macros.converter import build_converter, convert, end_of_swing
from crosstile.macros.network import bit_signs, drawn, effective_weights, gains, levels
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.parallel import in_chunks

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_SINGLE = 24


class Macro:
    """The macro number ``trial`` of a description: its capacitors and converters, drawn once."""

    def __init__(self, spec: ChargeDomainSpec, *, seed: int, trial: int) -> None:
        self.spec = spec
        self.levels = levels(spec)
        self.converter = build_converter(spec, seed=seed, trial=trial)
        unit = self.levels.unit_v / spec.reference_v
        self.relative: FloatArray = gains(spec, drawn(spec, seed=seed, trial=trial)) / unit
        """(M, N, I, J) gains in units of that of bits 0 and 0 as drawn."""
        if spec.capacitors.mismatch == 0:
            self.relative = np.rint(self.relative)  # 2^(i + j), to the last bit
        self.gain = self.levels.attenuation if spec.converter.reference == "designed" else 1.0
        """What the references take a unit for."""


@dataclass(frozen=True)
class Tile:
    """A block of weights, at most ``inputs`` rows, as the macro multiplies with it."""

    matrix: Tensor
    """(planes * rows, columns) float32, planes innermost; without mismatch (rows, columns) integers. Bit-serial:
    (rows, columns * weight bits), weight bits outermost."""
    offset: FloatArray
    """(columns,) contribution of the rows that hold the bias; (0,) where there is none."""
    rows: int
    planes: int
    """Input bits that are applied one by one; 1 for integers."""


def bias_rows(spec: ChargeDomainSpec, bias: IntArray) -> IntArray:
    """Return (rows, columns) weights that give ``bias`` (columns,): the last row meets an input of 1, the others the largest."""
    largest, low, high = spec.largest_input, -(2 ** (spec.weight_bits - 1)), 2 ** (spec.weight_bits - 1) - 1
    whole = np.rint(bias / largest).astype(np.int64)
    fine = bias - whole * largest
    rows = []
    while np.any(whole != 0):
        rows.append(np.clip(whole, low, high))
        whole = whole - rows[-1]
    if np.any((fine < low) | (fine > high)):  # fewer weight bits than input bits
        raise SpecError(
            f"a bias of up to {int(np.abs(bias).max())} cannot be split over rows of {spec.weight_bits}-bit weights with "
            f"inputs of {spec.input_bits} bits; use at least as many weight_bits as input_bits."
        )
    return np.stack([*rows, fine])


def build_tile(macro: Macro, weights: IntArray, bias: IntArray | None) -> Tile:
    """Return (rows, columns) integer weights, with the bias' own rows below them, as the macro holds them."""
    spec, rows = macro.spec, weights.shape[0]
    if spec.mode == "bit_serial":
        cells = effective_weights(spec, macro.relative, weights)[0]  # (rows, columns, J)
        cells = _snap(cells, np.abs(cells).sum(axis=0).max(initial=1.0))
        matrix = cells.transpose(0, 2, 1).reshape(rows, -1)
        return Tile(torch.from_numpy(matrix.astype(np.float32)), np.zeros(0), rows, spec.input_bits)
    offset = np.zeros(0)
    if bias is not None:
        below = bias_rows(spec, bias)
        cells = effective_weights(spec, macro.relative, below, rows).sum(axis=3)  # (I, bias rows, columns)
        driven = np.full(len(below), spec.largest_input)
        driven[-1] = 1
        offset = np.einsum("ir,irc->c", (driven[None, :] >> np.arange(spec.input_bits)[:, None]) & 1, cells)
    if spec.capacitors.mismatch == 0:
        return Tile(torch.from_numpy(weights.astype(np.float32)), offset, rows, 1)
    cells = effective_weights(spec, macro.relative, weights).sum(axis=3)  # (I, rows, columns)
    cells = _snap(cells, float(np.abs(cells).sum(axis=(0, 1)).max(initial=1.0)))
    matrix = cells.transpose(1, 0, 2).reshape(rows * spec.input_bits, -1)
    return Tile(torch.from_numpy(matrix.astype(np.float32)), offset, rows, spec.input_bits)


def _snap(values: FloatArray, largest_sum: float) -> FloatArray:
    """Round to the finest grid on which sums of that size are exact in single precision."""
    step = 2.0 ** (math.ceil(math.log2(max(largest_sum, 1.0))) + 1 - _SINGLE)
    return np.asarray(np.rint(values / step) * step)


@numba.njit(cache=True, nogil=True, fastmath=False, boundscheck=False)
def _expand(values: Any, bits: int, out: Any) -> None:
    """Write the two's complement bits of integers (n, C) side by side: (n, C * bits)."""
    for v in range(values.shape[0]):
        for c in range(values.shape[1]):
            integer = np.int32(values[v, c])
            for i in range(bits):
                out[v, c * bits + i] = np.float32((integer >> i) & 1)


def bit_planes(q: Tensor, bits: int) -> Tensor:
    """Return the lowest ``bits`` bits of an integer-valued tensor as channels, float32.

    (n, K) becomes (n, K bits), (B, C, H, W) becomes (B, C bits, H, W); a channel's bits follow each other.
    """
    last = q if q.dim() == 2 else q.permute(0, 2, 3, 1)
    values = last.reshape(-1, last.shape[-1]).contiguous().numpy()
    out = torch.empty((len(values), values.shape[1] * bits), dtype=torch.float32)
    target = out.numpy()
    in_chunks(len(values), lambda part: _expand(values[part], bits, target[part]), size=8192)
    joined = out.reshape(*last.shape[:-1], -1)
    return joined if q.dim() == 2 else joined.permute(0, 3, 1, 2)


@dataclass
class Conversions:
    """What the converters of a layer did, over all its reads."""

    done: int = 0
    skipped: int = 0
    """Of these: only compared, since the sign was negative."""
    at_ends: int = 0
    """Codes at either end of the range (the upper one only where ReLU is fused)."""

    def add(self, done: int, skipped: int, at_ends: int) -> None:
        """Add the counts of one read."""
        self.done += done
        self.skipped += skipped
        self.at_ends += at_ends


def read(
    macro: Macro, tile: Tile, sums: Tensor, span: float, stream: Stream, name: int, *, fused: bool, totals: FloatArray,
    counts: Conversions,
) -> None:  # fmt: skip
    """Convert the sums of one tile and add the codes to the totals.

    Args:
        macro: the macro.
        tile: its weights.
        sums: (n, columns) float32 sums; bit-serial (n, planes, weight bits * columns).
        span: R, the sum that the end of the converter's range stands for.
        stream: names the draws. name: number of the tile in its layer.
        fused: ReLU in the conversion. totals: (n, columns) float64, added to in units of a code.
        counts: added to.
    """
    spec = macro.spec
    if spec.mode == "parallel":
        key = (stream.key("thermal", name), stream.key("converter", name))
        _convert(macro, sums, tile.offset, span, key, stream.first_vector, fused, 1.0, totals, counts)
        return
    columns = totals.shape[1]
    # A cycle in which no input has the bit set counts nothing; it is a cycle all the same.
    for i, sign_i in enumerate(bit_signs(spec.input_bits)[: sums.shape[1]]):
        for j, sign_j in enumerate(bit_signs(spec.weight_bits)):
            part = sums[:, i, j * columns : (j + 1) * columns]
            key = (stream.key("thermal", name, i, j), stream.key("converter", name, i, j))
            # The signs of the weights' bits are in the cells' effective weights; counts are positive.
            factor = float(sign_i * sign_j * 2.0 ** (i + j))
            _convert(
                macro, part * float(sign_j), tile.offset, span, key, stream.first_vector, True, factor, totals, counts
            )


def _convert(
    macro: Macro, sums: Tensor, offset: FloatArray, span: float, keys: tuple[int, int], first_vector: int, positive: bool,
    factor: float, totals: FloatArray, counts: Conversions,
) -> None:  # fmt: skip
    values = np.ascontiguousarray(sums.numpy(), dtype=np.float32)
    converter, level = macro.converter, macro.levels
    table = converter.positive if positive else converter.signed
    lowest = 0 if positive else -converter.codes // 2
    cells, origin, per_unit = converter.tables[0 if positive else 1]
    a = np.resize(converter.a, values.shape[1])
    end = np.asarray(end_of_swing(a))
    added = offset if offset.size else np.zeros(values.shape[1])
    key = np.array(keys, dtype=np.uint64)
    gain = macro.gain / span
    found: list[npt.NDArray[np.int64]] = []

    def work(part: slice) -> None:
        seen = np.zeros(2, dtype=np.int64)
        convert(
            values[part], added, gain, level.thermal * gain, level.converter * gain, key,
            np.uint64(first_vector + part.start), quantile_table(), a, end, table, cells, origin,
            per_unit, lowest, factor, totals[part], seen,
        )  # fmt: skip
        found.append(seen)

    in_chunks(len(values), work, size=8192)
    seen: Any = np.sum(found, axis=0) if found else np.zeros(2, dtype=np.int64)
    skips = int(seen[0]) if positive and macro.spec.mode == "parallel" and macro.spec.converter.sign_first else 0
    counts.add(values.size, skips, int(seen[1]))


def multiply(
    inputs: IntArray, weights: IntArray, *, macro: Macro, span: float | None = None, relu: bool = False,
    bias: IntArray | None = None, seed: int = 0, first_vector: int = 0, counts: Conversions | None = None,
) -> FloatArray:  # fmt: skip
    """Return (n, columns) products of (n, rows) inputs with (rows, columns) weights, as the macro's codes give them.

    Args:
        inputs, weights: two's complement integers; at most ``inputs`` rows.
        macro: the macro.
        span: sum that the end of the range stands for; default: the largest of all.
        relu: fused in the conversion.
        bias: (columns,) integers on rows of their own; only with ``relu``.
        seed, first_vector: name the noise of the reads.
        counts: added to.

    Raises:
        UsageError: operands that the macro does not take.
    """
    spec = macro.spec
    _check_operands(spec, inputs, weights, relu=relu, bias=bias)
    tile = build_tile(macro, weights, bias)
    q = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
    totals, reach = np.zeros((len(inputs), weights.shape[1])), spec.full_span if span is None else span
    if spec.mode == "bit_serial":
        planes = bit_planes(q, tile.planes).reshape(len(q), -1, tile.planes)
        sums = torch.stack([planes[:, :, i] @ tile.matrix for i in range(tile.planes)], dim=1)
    else:
        sums = (bit_planes(q, tile.planes) if tile.planes > 1 else q) @ tile.matrix
    stream = Stream(seed, 0, "multiply", 0, first_vector)
    read(macro, tile, sums, reach, stream, 0, fused=relu, totals=totals, counts=counts or Conversions())
    codes = macro.converter.codes
    return np.asarray(totals * (reach / (codes if relu or spec.mode == "bit_serial" else codes // 2)))


def _check_operands(
    spec: ChargeDomainSpec, inputs: IntArray, weights: IntArray, *, relu: bool, bias: IntArray | None
) -> None:
    if inputs.ndim != 2 or weights.ndim != 2 or inputs.shape[1] != weights.shape[0]:
        raise UsageError(
            f"inputs {inputs.shape} and weights {weights.shape}: (n, rows) and (rows, columns) are wanted."
        )
    if weights.shape[0] > spec.inputs:
        raise UsageError(
            f"{spec.name} takes {spec.inputs} inputs at a time, found {weights.shape[0]}; cut the rows in pieces."
        )
    for name, values, bits in (("inputs", inputs, spec.input_bits), ("weights", weights, spec.weight_bits)):
        if not np.issubdtype(values.dtype, np.integer):
            raise UsageError(f"{name}: integers are wanted, found {values.dtype}.")
        if values.size and not -(2 ** (bits - 1)) <= values.min() <= values.max() < 2 ** (bits - 1):
            raise UsageError(
                f"{name}: {values.min()} to {values.max()}; {bits} bits hold {-(2 ** (bits - 1))} to {2 ** (bits - 1) - 1}."
            )
    if (relu or bias is not None) and spec.mode == "bit_serial":
        raise UsageError(f"{spec.name} is bit-serial: it joins codes digitally, and takes neither relu nor bias.")
    if bias is not None:
        if not relu or bias.shape != weights.shape[1:]:
            raise UsageError(
                f"bias: shape {bias.shape}; one for each of {weights.shape[1]} columns, with relu, is wanted."
            )
        if weights.shape[0] + len(bias_rows(spec, bias)) > spec.inputs:
            raise UsageError(
                f"bias: up to {int(np.abs(bias).max())} takes {len(bias_rows(spec, bias))} rows beside {weights.shape[0]}, "
                f"but {spec.name} has {spec.inputs}."
            )
