"""Bit-serial reads on the CPU by the fused look-up kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.crossbar import kernels
from crosstile.crossbar.exact import Part
from crosstile.crossbar.inputs import Index, Inputs
from crosstile.crossbar.noise import population_table, quantile_table
from crosstile.crossbar.reader import PackReader, Stream
from crosstile.parallel import in_chunks


def run(reader: PackReader, inputs: Inputs, rows: Index, *, signed: bool, stream: Stream) -> Tensor:
    """Read all vectors; returns (n, outputs) in units of integer input times integer weight, float32."""
    totals, corrections = read(reader, inputs, rows, signed=signed, stream=stream)
    fixed = torch.from_numpy(corrections) if reader.needs_corrections else None
    return reader.decode(torch.from_numpy(totals), fixed)


def read(
    reader: PackReader, inputs: Inputs, rows: Index, *, signed: bool, stream: Stream
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]:
    """Return the shift-added codes (n, columns, padded) and the row-sum corrections (n, outputs)."""
    pack, adc, bits = reader.pack, reader.adc, reader.magnitude_bits
    width = pack.columns + pack.unit_columns
    padded = -(-width // kernels.BLOCK) * kernels.BLOCK
    integer = torch.uint8 if bits <= 8 else torch.int32
    phases = [
        (sign, inputs.vectors(values.to(integer)).numpy())
        for sign, values in reader.phases(inputs.values, signed=signed)
    ]
    n = len(phases[0][1])
    totals = np.zeros((n, padded), dtype=reader.totals_dtype)
    powers = np.exp2(np.arange(bits))
    gain, place = _pad(reader.gain, padded), np.zeros(padded, dtype=np.int32)
    place[: len(reader.place)] = reader.place
    if len(reader.codes):  # padding is looked up, too
        place[len(reader.place) :] = -reader.ends[0]
    corrections = np.zeros((n, pack.outputs))
    for segment in pack.segments:
        depth = -(-len(segment.rows) // 8) * 8
        driven = np.full(depth, -1, dtype=np.int64)
        driven[: len(segment.rows)] = rows[segment.rows]
        tables = _tables(segment.parts[0], depth, padded)
        variance_tables, scale = tables[:0], np.zeros(padded, dtype=np.float32)
        if segment.variance is not None:
            integers, column_scale = reader.variance_of(segment)
            scale = _pad(column_scale, padded)
            if integers is not None:
                variance_tables = _tables(integers, depth, padded)
        row_sum = np.zeros(n)
        for phase, (phase_sign, vectors) in enumerate(phases):
            sign = _pad(segment.sign.astype(np.float32), padded)
            weights = (phase_sign * powers[:, None] * sign).astype(totals.dtype)
            key = np.uint64(stream.key(pack.number, segment.number, phase))
            clipped: list[npt.NDArray[np.int64]] = []

            def work(part: slice) -> None:
                planes = np.empty((part.stop - part.start, bits, depth // 8), dtype=np.uint8)
                for first in range(0, bits, 8):
                    kernels.pack_planes(vectors[part], driven, first, planes, first)
                counts = np.zeros(padded, dtype=np.int64)
                if segment.variance is None:
                    kernels.read_tables(
                        planes,
                        tables,
                        gain,
                        adc.lowest,
                        adc.highest,
                        reader.codes,
                        place,
                        reader.ends,
                        weights,
                        totals[part],
                        counts,
                    )
                else:
                    kernels.read_tables_noisy(
                        planes, tables, variance_tables, scale, population_table(), key,
                        np.uint64(stream.first_vector + part.start), quantile_table(),
                        gain, adc.lowest, adc.highest, reader.codes, place, reader.ends,
                        weights, totals[part], counts,
                    )  # fmt: skip
                clipped.append(counts)

            in_chunks(n, work, size=1024)
            reader.count(np.sum(clipped, axis=0), n * bits)
            if segment.correction.any() and not pack.unit_columns:
                kernels.sum_rows(vectors, rows[segment.rows], phase_sign, row_sum)
        if pack.unit_columns:
            corrections += segment.correction * reader.take_unit_columns(totals)[:, pack.unit_of_output]
        elif segment.correction.any():
            corrections += segment.correction * row_sum[:, None]
    return totals, corrections


def _tables(matrix: Part, depth: int, padded: int) -> npt.NDArray[np.float32]:
    filled = np.zeros((depth, padded), dtype=np.float32)
    filled[: matrix.shape[0], : matrix.shape[1]] = matrix
    tables = np.empty((padded // kernels.BLOCK, depth // 8, 256, kernels.BLOCK), dtype=np.float32)
    kernels.build_tables(filled, tables)
    return tables


def _pad(values: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    out = np.zeros(width, dtype=np.float32)
    out[: len(values)] = values
    return out
