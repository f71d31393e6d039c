"""A layer as it stands on the arrays that hold the basis: columns switched onto summing lines, bit by bit of the coefficients.

Each array holds the pairs (b+_j, b-_j) of its vectors, written once. In cycle (input plane p, coefficient bit t) the switches of
kernel k connect to its line the columns whose coefficients have bit t: the positive column of vector j if the coefficient is
positive, crossed with the negative one if it is negative. The line's current is converted and shift-added:

    y_k = sum over segments, sets, p, t of 2^(p+t) ADC( sum_j bit_t(|c_kj|) sign(c_kj) (G+_j - G-_j) V_p ) .

So kernel k acts, for bit t, like a column of cells with the summed conductances of those columns, as they were programmed and as
the wires let them act; from there on it goes the way that all columns go, with the same exact engine and the same converters.

Columns that no line takes are held at the potential of the lines, so that currents through the wires do not depend on the codes,
and one effective matrix serves all kernels, bits and layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstile.basisn.coefficients import largest_code
from crosstile.crossbar.encode import decoding
from crosstile.crossbar.matrix import PackMatrix, assemble, histogram_edges
from crosstile.crossbar.program import ProgrammedArray, Window, program_array
from crosstile.crossbar.wired import effective
from crosstile.errors import SpecError
from crosstile.mapping.plan import Pack
from crosstile.nonidealities.write_verify import WriteStatistics
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
_COLUMN_BITS = 30
"""Columns are kept to 2^-30 of a level: sums of thousands of them are then exact in double precision, in any order."""
_KEPT = 4
"""Programmed chips that are remembered: a layer is built on the chip and, to fit its converters, on ideal cells."""


def coefficient_chip(chip: ChipSpec, coefficient_bits: int) -> ChipSpec:
    """Return ``chip`` as the engine sees it: digits of weights are bits of coefficients, in signed pairs.

    Args:
        coefficient_bits: of a coefficient, sign included; 2 to 8.

    Raises:
        SpecError: the chip does something to its columns that switched columns cannot do.
    """
    largest_code(coefficient_bits)
    chip.require_uniform("a basis, which all layers share,")
    told = f"chip {chip.name!r}: "
    if chip.weights.encoding != "differential" or chip.weights.difference != "analog":
        raise SpecError(
            f"{told}weights have encoding {chip.weights.encoding!r} with difference {chip.weights.difference!r}; switched "
            "columns need differential pairs that are subtracted in analog (encoding: differential, difference: analog)."
        )
    if chip.weights.continuous:
        raise SpecError(
            f"{told}weights.cell_bits is null; basis vectors need a number of levels, such as cell_bits: 1."
        )
    for part in ("rows", "weights"):
        if getattr(chip.compensation, part) != "as_mapped":
            raise SpecError(
                f"{told}compensation.{part} is {getattr(chip.compensation, part)!r}, which changes cells for one layer, but all "
                "layers share the basis; leave it as_mapped."
            )
    if chip.array.mends:
        raise SpecError(
            f"{told}array.spare_rows, spare_columns and remap place lines by the weights of one layer, but all layers share the "
            "basis; set them to 0 and none."
        )
    if chip.adc.bits is not None and chip.adc.range != "calibrated":
        raise SpecError(
            f"{told}adc.range is {chip.adc.range!r}, which counts the levels of one column; a summing line carries many. "
            "Set adc.range: calibrated, or adc.bits: null."
        )
    _check_conditions(chip)
    seen: ChipSpec = chip.replaced(weights__bits=coefficient_bits, weights__cell_bits=1)
    return seen


def _check_conditions(chip: ChipSpec) -> None:
    if chip.conditions.arrays is not None:
        raise SpecError(
            f"chip {chip.name!r}: conditions.arrays gives arrays of layers their own temperatures, but all layers share the "
            "arrays of the basis; give one temperature."
        )


def device_chip(seen: ChipSpec, cell_bits: int) -> ChipSpec:
    """Return the chip whose cells hold the basis, from the one that the engine sees."""
    chip: ChipSpec = seen.replaced(weights__bits=cell_bits + 1, weights__cell_bits=cell_bits)
    return chip


@dataclass(frozen=True)
class Basis:
    """The global basis: integers that cells hold, on one or several arrays that the same segment drives."""

    digits: FloatArray
    """(sets, vectors, rows) integers of at most ``levels`` in magnitude."""
    cell_bits: int

    def __post_init__(self) -> None:
        if self.digits.ndim != 3 or not np.array_equal(self.digits, np.rint(self.digits)):
            raise SpecError(f"basis: integers (sets, vectors, rows) are wanted, found shape {self.digits.shape}.")
        if np.abs(self.digits).max() > self.levels:
            raise SpecError(f"basis: cells of {self.cell_bits} bits hold magnitudes to {self.levels}, found more.")

    @property
    def levels(self) -> int:
        """Largest magnitude."""
        return int(2**self.cell_bits - 1)

    @property
    def sets(self) -> int:
        """Arrays that a segment drives side by side."""
        return int(self.digits.shape[0])

    @property
    def vectors(self) -> int:
        """Vectors of one array."""
        return int(self.digits.shape[1])

    @property
    def flat(self) -> FloatArray:
        """(sets * vectors, rows) all vectors."""
        return self.digits.reshape(-1, self.digits.shape[2])


@dataclass
class BasisArrays:
    """The basis as it was programmed: shared by all layers, written once a chip."""

    basis: Basis
    _kept: dict[tuple[str, int, int], list[ProgrammedArray]] = field(default_factory=dict, repr=False)

    def targets(self, number: int) -> FloatArray:
        """Return (rows, 2 vectors) target levels of one array: positive and negative columns side by side."""
        digits = self.basis.digits[number].T
        pairs = np.stack([np.maximum(digits, 0.0), np.maximum(-digits, 0.0)], axis=2)
        return np.ascontiguousarray(pairs.reshape(len(digits), -1))

    def programmed(self, chip: ChipSpec, seed: int, trial: int) -> list[ProgrammedArray]:
        """Return the arrays of all sets as they act through their wires; (seed, trial) name the chip.

        Args:
            chip: as :func:`device_chip` gives it.
        """
        _check_conditions(chip)
        key = (chip.model_dump_json(), seed, trial)
        if key not in self._kept:
            made = [
                program_array(
                    self.targets(number), chip, seed=seed, trial=trial, layer="basis", array=number, array_number=number
                )
                for number in range(self.basis.sets)
            ]
            replica = chip.array.off_current == "replica_column"
            acting = effective(made, chip.wires, Window.of(chip), replica=replica)
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = [  # the wires change cells, not what writing them took
                ProgrammedArray(_rounded(a.levels), a.noise_variance, m.writes)
                for a, m in zip(acting, made, strict=True)
            ]
        return self._kept[key]

    def writes(self, chip: ChipSpec, seed: int, trial: int) -> WriteStatistics:
        """Return what writing the basis took, for the whole network."""
        total = WriteStatistics()
        for array in self.programmed(chip, seed, trial):
            total += array.writes
        return total


def _rounded(levels: FloatArray) -> FloatArray:
    return np.asarray(np.rint(levels * 2.0**_COLUMN_BITS) / 2.0**_COLUMN_BITS)


def switched_columns(codes: Int8, columns: FloatArray, bits: int) -> FloatArray:
    """Return (rows, bits * 2 * kernels): for each bit the positive and the negative line of each kernel.

    Args:
        codes: (kernels, vectors) signed coefficients of at most ``bits`` bits of magnitude.
        columns: (rows, 2 vectors) values of the columns, pairs side by side.
    """
    positive, negative = columns[:, 0::2], columns[:, 1::2]
    magnitude = np.abs(codes.astype(np.int64))
    on = np.concatenate([(magnitude >> bit) & 1 for bit in range(bits)])
    sign = np.tile(np.sign(codes), (bits, 1))
    straight, crossed = ((on * (sign == s)).T.astype(np.float64) for s in (1, -1))
    lines = [positive @ straight + negative @ crossed, negative @ straight + positive @ crossed]
    pairs = np.stack([line.reshape(len(columns), bits, len(codes)) for line in lines], axis=2)
    return pairs.reshape(len(columns), -1)


def build_switched_pack(
    codes: Int8, pack: Pack, arrays: BasisArrays, seen: ChipSpec, *, seed: int, trial: int, pack_number: int
) -> PackMatrix:
    """Return one pack of a layer on the basis.

    Its ``writes`` are zero: nothing is written for a layer, and :meth:`BasisArrays.writes` tells what the basis took.

    Args:
        codes: (outputs, blocks, sets * vectors) coefficients of the pack, blocks as in ``pack``.
        seen: the chip as :func:`coefficient_chip` gives it; its cells hold the basis.
    """
    chip = device_chip(seen, arrays.basis.cell_bits)
    window, bits = Window.of(chip), seen.weights.slices
    programmed = arrays.programmed(chip, seed, trial)
    vectors, outputs = arrays.basis.vectors, pack.outputs
    conductance, raw = np.zeros(pack.rows), []
    for number, block in enumerate(pack.blocks):
        rows = np.asarray(block.rows, dtype=np.int64)
        for index, array in enumerate(programmed):
            mine = codes[:, number, index * vectors : (index + 1) * vectors]
            levels = array.levels[: len(rows)]
            conductance[rows] += window.to_siemens(levels).sum(axis=1)
            matrix, variance = switched_columns(mine, levels, bits), None
            if array.noise_variance is not None:
                lines = switched_columns(mine, array.noise_variance[: len(rows)], bits)
                variance = lines.reshape(len(rows), bits, 2, outputs).sum(axis=2).reshape(len(rows), -1)
            for start, stop in block.segments:
                piece = slice(start, stop)
                flip = np.zeros((outputs, bits, 2), dtype=bool)
                raw.append((rows[piece], matrix[piece], None if variance is None else variance[piece], flip))
    edges = histogram_edges(chip)
    targets = [arrays.targets(number) for number in range(len(programmed))]
    counts = [
        np.histogram(np.clip(np.concatenate(values, axis=None), edges[0], edges[-1]), edges)[0]
        for values in (targets, [array.levels for array in programmed])
    ]
    wanted = float(sum(window.to_siemens(target).sum() for target in targets))
    acting = float(sum(window.to_siemens(array.levels).sum() for array in programmed))
    return assemble(
        raw, seen, pack, pack_number, decoding(seen.weights), 0, conductance, (wanted, acting, acting), WriteStatistics(),
        (counts[0], counts[1]),
    )  # fmt: skip
