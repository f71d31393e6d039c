"""The oracle: what the hardware does, digit by digit, in double precision. Slow, and obviously right.

For each array, read, phase and plane: drive the rows of one segment with one digit of each input, add up the
currents of each column, take away what is taken away in analog, convert, and shift-add the code. Nothing is
folded, batched or skipped. Read noise is drawn for each cell at each read. The fast engine is tested against
this file.

Shared with the engine are only the programmed cells (:func:`crosstile.crossbar.program.program_array`), the search for
the lines that stuck cells call for (:func:`crosstile.crossbar.spares.lay_out`), the grid that conductances are kept on,
and the definition of a converter (:class:`crosstile.circuits.adc.AdcRange`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.circuits.adc import AdcRange
from crosstile.circuits.nodal import nodal_effective_conductance
from crosstile.crossbar.program import Window, program_array
from crosstile.crossbar.spares import lay_out
from crosstile.mapping.plan import Pack
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]


def _through_wires(levels: FloatArray, chip: ChipSpec) -> FloatArray:
    """Return levels as column currents show them: nodal analysis of the array, one sparse matrix for all of it."""
    if chip.wires is None:
        return levels
    window = Window.of(chip)
    cells = window.to_siemens(levels)
    if (
        chip.array.off_current == "replica_column"
    ):  # a column of g_off cells more, whose current is taken off the others
        g_off = chip.cell.g_off_s
        seen = nodal_effective_conductance(np.append(cells, np.full((len(cells), 1), g_off), axis=1), chip.wires)
        return window.to_levels(seen[:, :-1] - seen[:, -1:] + g_off)
    return window.to_levels(nodal_effective_conductance(cells, chip.wires))


@dataclass(frozen=True)
class Reference:
    """What the oracle returns."""

    outputs: FloatArray
    """(n, outputs) in units of integer input times integer weight."""
    totals: FloatArray
    """(n, slices, columns of a weight in one slice that are converted, outputs): shift-added signed codes."""


def _stored_digits(weight: float, chip: ChipSpec) -> list[list[float]]:
    """Return the digits of one weight: slices, each a list of one cell or of a (positive, negative) pair."""
    spec = chip.weights
    if spec.cell_bits is None or spec.bits is None:
        return [[max(weight, 0.0), max(-weight, 0.0)]]
    base, w = 2**spec.cell_bits, int(weight)
    if spec.encoding == "differential":
        return [[float(max(w, 0) // base**k % base), float(max(-w, 0) // base**k % base)] for k in range(spec.slices)]
    if spec.bits == 1:
        return [[float((w + 1) // 2)]]
    if spec.encoding == "offset":
        return [[float((w + 2 ** (spec.bits - 1)) // base**k % base)] for k in range(spec.slices)]
    unsigned = w % 2**spec.bits
    lower, sign = unsigned % 2 ** (spec.bits - 1), unsigned // 2 ** (spec.bits - 1)
    return [[float(lower // base**k % base)] for k in range(spec.slices - 1)] + [[float(sign)]]


def _total_of_digits(weights: FloatArray, chip: ChipSpec) -> float:
    """Return the sum of all digits of one row."""
    return sum(digit for weight in weights for cells in _stored_digits(weight, chip) for digit in cells)


def _slice_weight(k: int, chip: ChipSpec) -> float:
    """Return the place value of slice ``k``."""
    spec = chip.weights
    if spec.cell_bits is None or spec.bits is None:
        return 1.0
    if spec.bits == 1 and spec.encoding != "differential":
        return 2.0
    if spec.encoding == "twos_complement" and k == spec.slices - 1:
        return -(2.0 ** (spec.bits - 1))
    return float(2 ** (spec.cell_bits * k))


def _row_sum_weight(chip: ChipSpec) -> float:
    """Return how many times the sum of the inputs is added to each output."""
    spec = chip.weights
    if spec.encoding == "differential" or spec.bits is None:
        return 0.0
    if spec.bits == 1:
        return -1.0
    return -(2.0 ** (spec.bits - 1)) if spec.encoding == "offset" else 0.0


def reference_mvm(
    x: npt.NDArray[np.int64],
    weights: FloatArray,
    pack: Pack,
    chip: ChipSpec,
    adc: AdcRange | None,
    *,
    fraction_bits: npt.NDArray[np.int64],
    signed: bool,
    magnitude_bits: int,
    seed: int,
    trial: int,
    layer: str,
    pack_number: int = 0,
    first_array: int = 0,
    read_rng: np.random.Generator | None = None,
    importance: FloatArray | None = None,
    sensitivity: FloatArray | None = None,
) -> Reference:
    """Multiply integer vectors with one pack on its arrays.

    Args:
        x: (n, pack rows) integers, rows in canonical order.
        weights: (pack rows, outputs) integer or continuous weights.
        fraction_bits: (slices * converted polarities * outputs + unit columns,) grid of each column.
        read_rng: source of read noise; ``None`` reads without noise.
        importance: (pack rows,) mean inputs that sort the rows of a chip that wires them by current; no flips then.
        sensitivity: (pack rows,) mean squared inputs, by which stuck cells are weighed where lines may move.
    """
    spec, n = chip.weights, len(x)
    pairs = spec.encoding == "differential"
    analog = pairs and spec.difference == "analog"
    converted = 2 if pairs and not analog else 1
    off = 0.0
    if chip.array.off_current == "converted":
        off = chip.cell.g_off_s / Window.of(chip).unit_s
    outputs = np.zeros((n, pack.outputs))
    totals = np.zeros((n, spec.slices, converted, pack.outputs))
    bits = fraction_bits[: spec.slices * converted * pack.outputs].reshape(spec.slices, converted, pack.outputs)
    unit_bits = fraction_bits[spec.slices * converted * pack.outputs :]
    per_array = chip.outputs_per_array
    two_phase = signed and chip.inputs.signed == "two_phase"
    phases = [(1, np.maximum(x, 0)), (-1, np.maximum(-x, 0))] if two_phase else [(1, x)]
    array = 0
    for block in pack.blocks:
        rows = list(block.rows)
        for column_block in range(pack.column_blocks):
            mine = range(column_block * per_array, min((column_block + 1) * per_array, pack.outputs))
            digits = np.array([[_stored_digits(weights[r, j], chip) for j in mine] for r in rows])
            flipped = np.zeros((len(block.segments), *digits.shape[1:]), dtype=bool)
            for s, (start, stop) in enumerate(block.segments):
                for index in np.ndindex(*digits.shape[1:]):
                    column = digits[(slice(start, stop), *index)]
                    if spec.flip and column.sum() > 0.5 * spec.max_level * len(column):
                        flipped[(s, *index)] = True
                        digits[(slice(start, stop), *index)] = spec.max_level - column
            physical = digits.reshape(len(rows), -1)
            if chip.has_unit_column:
                physical = np.concatenate([physical, np.ones((len(rows), 1))], axis=1)
            order = list(range(len(rows)))
            if importance is not None:  # over all digits of the block, whichever array they stand on
                currents = [importance[r] * _total_of_digits(weights[r], chip) for r in rows]
                order.sort(key=currents.__getitem__)  # the strongest last: next to sense amplifiers behind the last row
                topology = chip.wires.topology if chip.wires is not None else "standard"
                if topology == "same_side":
                    order.reverse()
                elif topology == "sensed_both_sides":  # weakest in the middle, going out to both ends in turn
                    last = len(rows) - 1
                    inside_out = sorted(range(len(rows)), key=lambda p: (-min(p, last - p), p))
                    order = [r for _, r in sorted(zip(inside_out, order, strict=True))]
            heeded = None if sensitivity is None else np.array([sensitivity[rows[p]] for p in order])
            named = {"seed": seed, "trial": trial, "array": array, "array_number": first_array + array}
            wanted = physical[order]
            layout = lay_out(wanted, chip, heeded, layer=f"{layer}/{pack_number}", **named)
            lines = list(range(wanted.shape[0])), list(range(wanted.shape[1]))
            if layout is not None:  # the array is larger, and lines stand elsewhere on it
                lines = layout.rows.tolist(), layout.columns.tolist()
                wanted = np.zeros(layout.shape)
                for r, line in enumerate(lines[0]):
                    for c, across in enumerate(lines[1]):
                        wanted[line, across] = physical[order[r], c]
            cells = program_array(wanted, chip, layer=f"{layer}/{pack_number}", **named)
            array += 1
            used = np.zeros(wanted.shape, dtype=bool)
            used[np.ix_(*lines)] = True
            on_array = _through_wires(np.where(used, cells.levels, Window.of(chip).open_level), chip)
            seen_levels = on_array[np.ix_(*lines)][np.argsort(order)]
            sigma = np.zeros_like(physical)
            if cells.noise_variance is not None and read_rng is not None:
                if chip.wires is not None:
                    raise ValueError("read noise behind wires has its oracle in the tests of circuits.sensitivity")
                sigma = np.sqrt(cells.noise_variance[np.ix_(*lines)][np.argsort(order)])

            def read(column: int, fraction: int, driven: FloatArray, start: int) -> FloatArray:
                """Return the currents of one column, in levels times digits, for driven (n, rows of the segment)."""
                part = slice(start, start + driven.shape[1])
                grid = 2.0**fraction
                levels = np.rint((seen_levels[part, column] + off) * grid) / grid
                current = np.zeros(len(driven))
                for v in range(len(driven)):
                    seen = levels
                    if read_rng is not None:
                        seen = levels + sigma[part, column] * read_rng.standard_normal(len(levels))
                    current[v] = float(np.dot(driven[v], seen))
                return current

            for s, (start, stop) in enumerate(block.segments):
                for phase, inputs in phases:
                    magnitude, sign = np.abs(inputs[:, rows[start:stop]]), np.sign(inputs[:, rows[start:stop]])
                    for plane in range(-(-magnitude_bits // chip.inputs.dac_bits)):
                        shift = 2 ** (plane * chip.inputs.dac_bits)
                        driven = (magnitude // shift % 2**chip.inputs.dac_bits * sign).astype(np.float64)
                        row_sum = driven.sum(axis=1)
                        if chip.has_unit_column:
                            unit = read(physical.shape[1] - 1, int(unit_bits[column_block]), driven, start)
                            if adc is not None:
                                unit = adc.convert_unit(unit) / adc.unit_gain
                            row_sum = unit / (1.0 + off)
                        for local, j in enumerate(mine):
                            outputs[:, j] += phase * shift * _row_sum_weight(chip) * row_sum
                            for k in range(spec.slices):
                                at = (local * spec.slices + k) * (2 if pairs else 1)
                                if analog:
                                    fine = int(bits[k, 0, j])
                                    sums = [read(at, fine, driven, start) - read(at + 1, fine, driven, start)]
                                else:
                                    sums = [read(at + p, int(bits[k, p, j]), driven, start) for p in range(converted)]
                                for p, current in enumerate(sums):
                                    value = current
                                    stored_sign = -1.0 if flipped[s, local, k, p] else 1.0
                                    if adc is not None:
                                        code = adc.convert(current, k, k * converted + p)
                                        totals[:, k, p, j] += phase * shift * stored_sign * code
                                        value = code / adc.gain[k]
                                    value = value - off * row_sum
                                    if stored_sign < 0:
                                        value = spec.max_level * row_sum - value
                                    polarity = -1.0 if p == 1 else 1.0
                                    outputs[:, j] += phase * shift * polarity * _slice_weight(k, chip) * value
    return Reference(outputs, totals)
