"""Reads plane by plane: one exact product for each plane and segment, then conversion and shift-add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstile.crossbar import noise_torch
from crosstile.crossbar.inputs import Index, Inputs
from crosstile.crossbar.matrix import Segment
from crosstile.crossbar.noise import quantile_table
from crosstile.crossbar.reader import SQUARE_LIMIT, PackReader, Stream
from crosstile.parallel import in_chunks


def run(reader: PackReader, inputs: Inputs, rows: Index, *, signed: bool, stream: Stream) -> Tensor:
    """Read all vectors; returns (n, outputs) in units of integer input times integer weight, float32."""
    decoded = _one_code_an_output(reader, inputs, signed=signed)
    totals, corrections = read(reader, inputs, rows, signed=signed, stream=stream, decoded=decoded)
    return totals if decoded else reader.decode(totals, corrections if reader.needs_corrections else None)


def _one_code_an_output(reader: PackReader, inputs: Inputs, *, signed: bool) -> bool:
    """True when an output is one code times one coefficient, which the conversion can then write at once."""
    phases = 2 if signed and reader.chip.inputs.signed == "two_phase" else 1
    reads = phases * len(reader.pack.segments) * -(-reader.magnitude_bits // reader.chip.inputs.dac_bits)
    plain = not reader.needs_corrections and reader.pack.unit_columns == 0 and len(reader.coefficient) == 1
    return reads == 1 and plain and inputs.values.device.type == "cpu"


def read(
    reader: PackReader, inputs: Inputs, rows: Index, *, signed: bool, stream: Stream, decoded: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the shift-added codes (n, columns) and the row-sum corrections (n, outputs).

    With ``decoded``, where an output is one code, the codes are multiplied with their coefficient in double precision and
    rounded once, as decoding does: they are the outputs.
    """
    pack, chip = reader.pack, reader.chip
    width = pack.columns + pack.unit_columns
    n = inputs.values.shape[0] * inputs.positions
    device = inputs.values.device
    dtype = torch.float32 if decoded or reader.totals_dtype is np.float32 else torch.float64
    totals = torch.zeros((n, width), dtype=dtype, device=device)
    corrections = torch.zeros((n if reader.needs_corrections else 0, pack.outputs), dtype=torch.float64, device=device)
    step = chip.inputs.dac_bits
    planes = -(-reader.magnitude_bits // step)
    unit_of_output = torch.from_numpy(pack.unit_of_output).to(device)
    for segment in pack.segments:
        driven = rows[segment.rows]
        correction = torch.from_numpy(segment.correction).to(device)
        for phase, (phase_sign, values) in enumerate(reader.phases(inputs.values, signed=signed)):
            key = stream.key(pack.number, segment.number, phase)
            for plane in range(planes):
                digits = _digits(values, plane, step, planes)
                sums = _product(reader, segment, inputs, digits, driven)
                variance = _variance(reader, segment, inputs, digits, driven)
                first = stream.first_vector * planes + plane
                weight = float(reader.coefficient[0]) if decoded else phase_sign * 2.0 ** (plane * step)
                _convert(reader, _Read(segment, sums, variance, key, first, planes, weight, decoded), totals)
            if segment.correction.any() and not pack.unit_columns:
                sums = inputs.row_sum(values, driven).to(torch.float64)
                corrections += phase_sign * sums[:, None] * correction
        if pack.unit_columns and reader.needs_corrections:
            corrections += correction * reader.take_unit_columns(totals)[:, unit_of_output]
    return totals, corrections


def _digits(values: Tensor, plane: int, step: int, planes: int) -> Tensor:
    """Return one digit of each (signed) integer, as float32."""
    if planes == 1:
        return values
    magnitude = values.abs().to(torch.int32)
    digit = ((magnitude >> (plane * step)) & (2**step - 1)).to(torch.float32)
    result: Tensor = digit * values.sign()
    return result


def _product(reader: PackReader, segment: Segment, inputs: Inputs, digits: Tensor, driven: Index) -> Tensor:
    sums: Tensor | None = None
    for number, part in enumerate(segment.parts):
        name = (f"part{number}", segment.number)
        if name not in reader.tensors:
            reader.tensors[name] = torch.from_numpy(part).to(digits.device)
        product = inputs.product(digits, driven, reader.tensors[name])
        if len(segment.parts) > 1:
            product = product.to(torch.float64)
        sums = product if sums is None else sums + product
    assert sums is not None
    return sums


def _variance(
    reader: PackReader, segment: Segment, inputs: Inputs, digits: Tensor, driven: Index
) -> tuple[Tensor, Tensor] | None:
    """Return (variance (n, columns) or (n, 1), root of its unit (columns,)), or None without read noise."""
    if segment.variance is None:
        return None
    matrix, root = reader.variance_of(segment)
    device, name = digits.device, ("root", segment.number)
    if name not in reader.tensors:
        reader.tensors[name] = torch.from_numpy(root).to(device)
        if matrix is not None:
            reader.tensors["variance", segment.number] = torch.from_numpy(matrix).to(device)
    if matrix is None:
        return inputs.square_sum(digits, driven, reader.chip.max_digit)[:, None], reader.tensors[name]
    variance = reader.tensors["variance", segment.number]
    squares = digits.to(variance.dtype).square()
    if reader.chip.max_digit**2 <= SQUARE_LIMIT or variance.dtype == torch.float64:
        return inputs.product(squares, driven, variance).to(torch.float32), reader.tensors[name]
    # Squares of more than eight bits go in two halves, so that each product is exact in single precision.
    high = torch.floor(squares / 256.0)
    parts = [inputs.product(part, driven, variance) for part in (high, squares - 256.0 * high)]
    return (256.0 * parts[0].to(torch.float64) + parts[1]).to(torch.float32), reader.tensors[name]


@dataclass(frozen=True)
class _Read:
    """One read of one plane, on its way to codes."""

    segment: Segment
    sums: Tensor
    """(n, columns)."""
    variance: tuple[Tensor, Tensor] | None
    """(n, columns) or (n, 1), and the root of its unit; ``None`` without read noise."""
    key: int
    first_counter: int
    counter_step: int
    weight: float
    """Signed factor of the plane."""
    decoded: bool
    """True when ``weight`` is a coefficient that codes are multiplied with in double precision."""


def _convert(reader: PackReader, read: _Read, totals: Tensor) -> None:
    """Add noise, convert, count clipped codes and shift-add into ``totals``."""
    if read.sums.device.type == "cpu":
        _convert_cpu(reader, read, totals)
    else:
        _convert_torch(reader, read, totals)


def _convert_torch(reader: PackReader, read: _Read, totals: Tensor) -> None:
    adc, device = reader.adc, read.sums.device
    sums = read.sums.to(torch.float32)
    if read.variance is not None:
        variance, root = read.variance
        counters = read.first_counter + read.counter_step * torch.arange(len(sums), device=device)
        sums = sums + (torch.sqrt(variance) * root) * noise_torch.normal(read.key, counters, sums.shape[1])
    codes = torch.round(sums * torch.from_numpy(reader.gain).to(device))
    if adc.references is None:
        kept = codes.clamp(adc.lowest, adc.highest)
    else:
        kept = codes.clamp(*reader.ends)
    reader.count((codes != kept).sum(dim=0).cpu().numpy(), len(sums))
    if adc.references is not None:
        table, place = torch.from_numpy(reader.codes).to(device), torch.from_numpy(reader.place).to(device)
        kept = table[place.to(torch.int64) + kept.to(torch.int64)]
    totals += (read.weight * torch.from_numpy(read.segment.sign)).to(device=device, dtype=totals.dtype) * kept


def _convert_cpu(reader: PackReader, read: _Read, totals: Tensor) -> None:
    from crosstile.crossbar import convert_kernels

    adc, total, columns = reader.adc, totals.numpy(), read.sums.shape[1]
    source = read.sums.contiguous().numpy()
    weights = (read.weight * read.segment.sign).astype(np.float64 if read.decoded else total.dtype)
    counts: list[np.ndarray] = []

    def work(part: slice) -> None:
        clipped = np.zeros(columns, dtype=np.int64)
        flat, into = source[part].reshape(-1), total[part].reshape(-1)
        if read.variance is None:
            convert_kernels.convert_sums(
                flat, columns, reader.gain, adc.lowest, adc.highest, reader.codes, reader.place, reader.ends,
                weights, into, clipped,
            )  # fmt: skip
        else:
            variance, root = (tensor.numpy() for tensor in read.variance)
            first = np.uint64(read.first_counter + read.counter_step * part.start)
            convert_kernels.convert_sums_noisy(
                flat, columns, variance[part], root, np.uint64(read.key), first, np.uint64(read.counter_step),
                quantile_table(), reader.gain, adc.lowest, adc.highest, reader.codes, reader.place, reader.ends,
                weights, into, clipped,
            )  # fmt: skip
        counts.append(clipped)

    in_chunks(len(source), work, size=8192)
    reader.count(np.sum(counts, axis=0), len(source))
