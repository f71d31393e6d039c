"""All digits in one product: exact behind ideal converters, and for integer sums that no converter can change.

A sum over slices, planes and segments of products that nothing rounds is the product with the folded matrix.
White read noise folds as well: the variance of the decoded output is a second product, of the squared digits
with the variances.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.crossbar import noise_torch
from crosstile.crossbar.exact import Part, choose_grid
from crosstile.crossbar.inputs import Index, Inputs
from crosstile.crossbar.matrix import PackMatrix
from crosstile.crossbar.reader import Stream
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Collapsed:
    """One product for a whole pack."""

    matrices: tuple[Part, ...]
    """(pack rows, outputs) parts with exact products; their sum is the matrix."""
    variance: FloatArray | None
    """(pack rows, outputs + segments * unit columns): read variance at the decoded output for a squared digit of 1."""
    unit_factor: FloatArray | None
    """(segments * unit columns, outputs): how the noise of shared unit columns enters the outputs."""
    integer: bool
    """True when the matrix holds integers."""
    tensors: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)
    """The same on the devices that they were used on."""

    def on(self, device: torch.device, name: str, values: npt.NDArray[np.floating]) -> Tensor:
        """Return ``values`` as a tensor on ``device``, moved there once."""
        key = f"{name} {device}"
        if key not in self.tensors:
            self.tensors[key] = torch.from_numpy(values).to(device)
        return self.tensors[key]

    def reordered(self, order: npt.NDArray[np.int64]) -> Collapsed:
        """Return the same pack with its rows in another order."""
        variance = None if self.variance is None else self.variance[order]
        matrices: tuple[Part, ...] = tuple(matrix[order] for matrix in self.matrices)
        return Collapsed(matrices, variance, self.unit_factor, self.integer)


def collapse(pack: PackMatrix, rows: int, largest_input: int, dac_bits: int, planes: int) -> Collapsed:
    """Fold slices, polarities, flips and row-sum corrections of a pack into one matrix.

    Args:
        rows: rows of the pack.
        largest_input: largest magnitude of an integer input.
        dac_bits, planes: how an input is cut into digits, which weights its read noise.
    """
    units = pack.unit_columns
    matrix = np.zeros((rows, pack.outputs))
    variance = np.zeros((rows, pack.outputs + len(pack.segments) * units)) if pack.noisy else None
    factor = np.zeros((len(pack.segments) * units, pack.outputs)) if pack.noisy and units else None
    coefficient = pack.column_coefficient[None, :, None]
    for number, segment in enumerate(pack.segments):
        levels = segment.levels
        main = levels[:, : pack.columns] * segment.sign[: pack.columns]
        folded = (main.reshape(len(main), -1, pack.outputs) * coefficient).sum(axis=1)
        if units:
            unit = levels[:, pack.columns :] / (1.0 + pack.off_levels)
            folded += segment.correction * unit[:, pack.unit_of_output]
        else:
            folded += segment.correction
        matrix[segment.rows] += folded  # the same rows may drive several arrays
        if variance is None or segment.variance is None:
            continue
        spread = segment.variance[:, : pack.columns].astype(np.float64).reshape(len(main), -1, pack.outputs)
        variance[segment.rows, : pack.outputs] += (spread * coefficient**2).sum(axis=1)
        if factor is not None:
            at = pack.outputs + number * units
            variance[segment.rows, at : at + units] += segment.variance[:, pack.columns :]
            for unit_number in range(units):
                mine = pack.unit_of_output == unit_number
                factor[number * units + unit_number, mine] = segment.correction[mine] / (1.0 + pack.off_levels)
    if variance is not None:
        variance = _snap_for_double(variance, float(plane_power(largest_input, dac_bits, planes).max()))
    integer = bool((matrix == np.rint(matrix)).all())
    bound = np.abs(matrix).sum(axis=0) * largest_input
    grid = choose_grid(bound, rows, largest_input, integers=integer)
    return Collapsed(tuple(grid.parts(grid.snap(matrix))), variance, factor, integer)


def _snap_for_double(variance: FloatArray, largest_factor: float) -> FloatArray:
    """Round variances so that their sums are exact in double precision: at worst to 2^-8 of a column's largest."""
    bits = max(8.0, np.floor(52.0 - np.log2(max(largest_factor * len(variance), 1.0))))
    top = variance.max(axis=0)
    _, exponent = np.frexp(np.where(top > 0, top, 1.0))
    step = np.exp2(exponent - bits)
    return np.asarray(np.rint(variance / step) * step)


def plane_power(largest_input: int, dac_bits: int, planes: int) -> FloatArray:
    """Return, for each input magnitude, sum_p 4^(p dac_bits) d_p^2: what its read noise is weighted with."""
    values = np.arange(largest_input + 1, dtype=np.int64)
    power = np.zeros(len(values))
    for plane in range(planes):
        digit = (values >> (plane * dac_bits)) & (2**dac_bits - 1)
        power += 4.0 ** (plane * dac_bits) * digit.astype(np.float64) ** 2
    return power


def run(
    folded: Collapsed,
    pack: PackMatrix,
    inputs: Inputs,
    rows: Index,
    chip: ChipSpec,
    magnitude_bits: int,
    stream: Stream,
) -> Tensor:
    """Return (n, outputs) in units of integer input times integer weight, float32."""
    device = inputs.values.device
    matrices = [folded.on(device, f"part {number}", part) for number, part in enumerate(folded.matrices)]
    parts = [inputs.product(inputs.values, rows, matrix) for matrix in matrices]
    if folded.variance is None:
        return (parts[0] if len(parts) == 1 else parts[0].to(torch.float64) + parts[1]).to(torch.float32)
    out = sum((part.to(torch.float64) for part in parts), torch.zeros((), dtype=torch.float64, device=device))
    step = chip.inputs.dac_bits
    power = folded.on(device, "power", plane_power(2**magnitude_bits - 1, step, -(-magnitude_bits // step)))
    weighted = power[inputs.values.abs().to(torch.int64)]
    spread = inputs.product(weighted, rows, folded.on(device, "variance", folded.variance))
    counters = stream.first_vector + torch.arange(len(spread), device=device)
    noise = torch.sqrt(spread) * noise_torch.normal(stream.key(pack.number, "folded"), counters, spread.shape[1])
    out = out + noise[:, : pack.outputs]
    if folded.unit_factor is not None:
        # Joined one by one: a matrix product would add up in an order that depends on the batch.
        for number, factor in enumerate(folded.on(device, "unit factor", folded.unit_factor)):
            out = out + noise[:, pack.outputs + number, None] * factor
    return out.to(torch.float32)
