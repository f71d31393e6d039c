"""One pack of a layer as it stands on programmed arrays: the matrices that each read multiplies with.

Columns of a segment matrix are ordered slice, polarity, output; unit columns, one an array, follow at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstile.circuits.adc import AdcRange
from crosstile.crossbar.encode import Decoding, decoding, encode, flips
from crosstile.crossbar.exact import Grid, Part, choose_grid
from crosstile.crossbar.program import ProgrammedArray, Window, program_array
from crosstile.crossbar.spares import gathered, lay_out, spread, switched
from crosstile.crossbar.wired import effective, wanted_cells
from crosstile.mapping.plan import Pack
from crosstile.nonidealities.write_verify import WriteStatistics
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """The rows of one read."""

    rows: npt.NDArray[np.int64]
    """Pack rows (canonical order) that this read drives."""
    parts: tuple[Part, ...]
    """(rows, columns) programmed levels on the grid, an analog pair already subtracted; their sum when split in two."""
    variance: npt.NDArray[np.float32] | None
    """(rows, columns) read-noise variance in levels squared."""
    sign: FloatArray
    """(columns,) -1 for columns stored as complements."""
    correction: FloatArray
    """(outputs,) factor of this segment's row sum in the decoded output."""
    number: int
    """Counts segments within the pack, for the noise streams."""

    @property
    def levels(self) -> FloatArray:
        """(rows, columns) programmed levels in double precision."""
        return np.asarray(sum(part.astype(np.float64) for part in self.parts))


@dataclass(frozen=True)
class PackMatrix:
    """All segments of one pack, programmed once."""

    segments: tuple[Segment, ...]
    number: int
    """Counts packs within the layer, for the noise streams."""
    outputs: int
    unit_columns: int
    """Unit columns at the end of each segment matrix (one an array side by side)."""
    unit_of_output: npt.NDArray[np.int64]
    """(outputs,) which unit column serves an output."""
    column_coefficient: FloatArray
    """(slices * polarities,) factor of each column group in the decoded output."""
    column_slice: npt.NDArray[np.int64]
    """(slices * polarities,) slice of each column group."""
    grid: Grid
    row_conductance_s: FloatArray
    """(pack rows,) current that a word line takes at 1 V, siemens, for ohmic energy. Seen through wires it is the current
    that reaches the sense amplifiers; what flows back into undriven rows is left out."""
    total_s: tuple[float, float, float]
    """Conductance of all cells in siemens: as the weights want it, as programmed, and as the wires let it act."""
    off_levels: float
    """g_off in levels where its current reaches the converter, else 0."""
    writes: WriteStatistics
    integer_levels: bool
    """True when each cell is exactly its digit."""
    histogram: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] = field(compare=False)
    """Counts of (target, programmed) levels over :func:`histogram_edges`."""

    @property
    def noisy(self) -> bool:
        """True when reads are noisy."""
        return any(segment.variance is not None for segment in self.segments)

    @property
    def columns(self) -> int:
        """Columns of a segment matrix without unit columns."""
        return self.outputs * len(self.column_coefficient)


def histogram_edges(chip: ChipSpec, bins: int = 96) -> FloatArray:
    """Return bin edges in levels for conductance histograms: from 0 S to a quarter of the window above g_on."""
    return np.linspace(-chip.cell.g_off_s / Window.of(chip).unit_s, 1.25 * chip.weights.max_level, bins + 1)


@dataclass(frozen=True)
class _Placed:
    """The physical arrays of one row block, side by side."""

    rows: npt.NDArray[np.int64]
    target: FloatArray
    """(rows, outputs, slices, polarities) levels, flipped where columns are stored as complements."""
    flipped: list[npt.NDArray[np.bool_]]
    """For each segment, the columns stored as complements."""
    physical: list[FloatArray]
    """(rows, columns) targets of each array, in the order of its wires."""
    order: npt.NDArray[np.int64]
    """(rows,) which row of the block stands at each place along the bit lines."""


def _far_first(rows: int, chip: ChipSpec) -> npt.NDArray[np.int64]:
    """Return the places along the bit lines, those farthest from a sense amplifier first."""
    place = np.arange(rows)
    topology = "standard" if chip.wires is None else chip.wires.topology
    distance = {"same_side": place, "sensed_both_sides": np.minimum(place, rows - 1 - place)}
    return np.argsort(-distance.get(topology, rows - 1 - place), kind="stable")


def _place(levels: FloatArray, pack: Pack, chip: ChipSpec, importance: FloatArray | None) -> list[_Placed]:
    weights, per_array, placed = chip.weights, chip.outputs_per_array, []
    for block in pack.blocks:
        rows = np.asarray(block.rows, dtype=np.int64)
        target, order, flipped = levels[rows], np.arange(len(rows)), []
        for start, stop in block.segments:
            flip = flips(target[start:stop], weights)
            target[start:stop] = np.where(flip[None], weights.max_level - target[start:stop], target[start:stop])
            flipped.append(flip)
        if importance is not None:
            weakest_first = np.argsort(importance[rows] * target.reshape(len(rows), -1).sum(axis=1), kind="stable")
            order[_far_first(len(rows), chip)] = weakest_first
        physical = []
        for start in range(0, pack.outputs, per_array):
            array = target[:, start : start + per_array].reshape(len(rows), -1)
            if chip.has_unit_column:
                array = np.concatenate([array, np.ones((len(rows), 1))], axis=1)
            physical.append(array[order])
        placed.append(_Placed(rows, target, flipped, physical, order))
    return placed


def build_pack(
    integers: FloatArray,
    pack: Pack,
    chip: ChipSpec,
    *,
    seed: int,
    trial: int,
    layer: str,
    pack_number: int,
    first_array: int,
    importance: FloatArray | None = None,
    sensitivity: FloatArray | None = None,
) -> PackMatrix:
    """Encode, program and arrange one pack.

    Args:
        integers: (pack rows, outputs) integer (or continuous) weights; rows in canonical order.
        pack: where the rows and outputs go.
        first_array: number in the network of the pack's first array, for fault maps.
        importance: (pack rows,) mean input of each row, which sorts rows by current; None leaves them as mapped.
        sensitivity: (pack rows,) mean squared input of each row, by which stuck cells are weighed; None: all rows alike.

    Returns:
        the programmed pack, seen through its wires; for given (seed, trial, layer, pack) always the same.
    """
    weights = chip.weights
    outputs, per_array = pack.outputs, chip.outputs_per_array
    units = pack.column_blocks if chip.has_unit_column else 0
    edges = histogram_edges(chip)
    window, writes = Window.of(chip), WriteStatistics()
    blocks = _place(encode(integers, weights), pack, chip, importance)
    targets = [target for block in blocks for target in block.physical]
    targets = wanted_cells(targets, chip)
    heeded = [
        None if sensitivity is None else sensitivity[block.rows[block.order]]
        for block in blocks
        for _ in block.physical
    ]
    layouts, built = [], []
    for n, target in enumerate(targets):
        named = {"seed": seed, "trial": trial, "array": n, "array_number": first_array + n}
        layouts.append(lay_out(target, chip, heeded[n], layer=f"{layer}/{pack_number}", **named))
        built.append(program_array(spread(target, layouts[n]), chip, layer=f"{layer}/{pack_number}", **named))
    programmed = [gathered(array, layout) for array, layout in zip(built, layouts, strict=True)]
    before = sum(
        (np.histogram(np.clip(t, edges[0], edges[-1]), edges)[0] for t in targets), np.zeros(len(edges) - 1, np.int64)
    )
    after = sum((np.histogram(np.clip(p.levels, edges[0], edges[-1]), edges)[0] for p in programmed), before * 0)
    for array in programmed:
        writes += array.writes
    on_wires = [switched(array, layout, window) for array, layout in zip(built, layouts, strict=True)]
    acting = effective(on_wires, chip.wires, window, replica=chip.array.off_current == "replica_column")
    acting = [gathered(array, layout) for array, layout in zip(acting, layouts, strict=True)]
    total = (
        float(sum(window.to_siemens(target).sum() for block in blocks for target in block.physical)),
        _total_s(programmed, window),
        _total_s(acting, window),
    )
    seen = iter(acting)
    row_conductance = np.zeros(pack.rows)
    raw: list[tuple[npt.NDArray[np.int64], FloatArray, FloatArray | None, npt.NDArray[np.bool_]]] = []
    for placed, block in zip(blocks, pack.blocks, strict=True):
        rows, place = placed.rows, np.argsort(placed.order)
        cells, unit = np.empty_like(placed.target), np.ones((len(rows), units))
        variance: FloatArray | None = None
        unit_variance = np.zeros((len(rows), units))
        for column_block in range(pack.column_blocks):
            done = next(seen)
            part = slice(column_block * per_array, min((column_block + 1) * per_array, outputs))
            row_conductance[rows] += window.to_siemens(done.levels).sum(axis=1)[place]
            shape = placed.target[:, part].shape
            cells[:, part], unit_levels = _split(done.levels[place], shape, units)
            if units:
                unit[:, column_block] = unit_levels
            if done.noise_variance is not None:
                if variance is None:
                    variance = np.empty_like(placed.target)
                variance[:, part], unit_noise = _split(done.noise_variance[place], shape, units)
                if units:
                    unit_variance[:, column_block] = unit_noise
        for (start, stop), flip in zip(block.segments, placed.flipped, strict=True):
            piece = slice(start, stop)
            noise = None
            if variance is not None:
                noise = np.concatenate([_columns(variance[piece], chip, pair="add"), unit_variance[piece]], axis=1)
            matrix = np.concatenate([_columns(cells[piece], chip, pair="keep"), unit[piece]], axis=1)
            raw.append((rows[piece], matrix, noise, flip))
    return assemble(
        raw, chip, pack, pack_number, decoding(weights), units, row_conductance, total, writes, (before, after)
    )


def _total_s(arrays: Sequence[ProgrammedArray], window: Window) -> float:
    return float(sum(window.to_siemens(array.levels).sum() for array in arrays))


def _split(values: FloatArray, shape: tuple[int, ...], units: int) -> tuple[FloatArray, FloatArray]:
    """Undo the physical layout: weights' columns, and the unit column if there is one."""
    main = values[:, :-1] if units else values
    return main.reshape(shape), values[:, -1]


def _columns(values: FloatArray, chip: ChipSpec, *, pair: str) -> FloatArray:
    """(rows, outputs, slices, polarities) -> (rows, slices * polarities * outputs); "add" joins a pair's variances."""
    merged = values
    if pair == "add" and chip.weights.encoding == "differential" and chip.weights.difference == "analog":
        merged = values.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray(merged.transpose(0, 2, 3, 1)).reshape(len(values), -1)


def assemble(
    raw: list[tuple[npt.NDArray[np.int64], FloatArray, FloatArray | None, npt.NDArray[np.bool_]]],
    chip: ChipSpec,
    pack: Pack,
    number: int,
    decode: Decoding,
    units: int,
    row_conductance: FloatArray,
    total_s: tuple[float, float, float],
    writes: WriteStatistics,
    histogram: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> PackMatrix:
    """Return the matrices of all segments on their common grid.

    Args:
        raw: for each segment the pack rows that it drives, its levels (rows, slice x polarity x output, then unit columns), their
        read-noise variance with an analog pair already joined, and (outputs, slices, polarities) which columns are complements.
        chip: its weights section says how columns are decoded.
    """
    weights, outputs = chip.weights, pack.outputs
    analog_pair = weights.encoding == "differential" and weights.difference == "analog"
    off = chip.cell.g_off_s / Window.of(chip).unit_s if chip.array.off_current == "converted" else 0.0
    coefficient = decode.coefficients[:, :1] if analog_pair else decode.coefficients
    polarities = coefficient.shape[1]
    integer = all(bool((matrix == np.rint(matrix)).all()) for _, matrix, _, _ in raw)
    offset_matrices = [matrix + off for _, matrix, _, _ in raw]
    if analog_pair:  # bound the difference; each cell of the pair is snapped on its own
        offset_matrices = [_pair_difference(matrix, outputs) for matrix in offset_matrices]
    bound = np.max([np.abs(matrix).sum(axis=0) for matrix in offset_matrices], axis=0) * chip.max_digit
    terms = max(len(rows) for rows, _, _, _ in raw) * (2 if analog_pair else 1)
    grid = choose_grid(bound, terms, chip.max_digit, integers=integer and off == 0.0)
    cell_grid = grid
    if analog_pair:
        wide = grid.fraction_bits.reshape(-1, 1, outputs).repeat(2, axis=1).reshape(-1)
        cell_grid = Grid(wide, None)
    segments = []
    for segment_number, (rows, matrix, variance, flip) in enumerate(raw):
        snapped = cell_grid.snap(matrix + off)
        if analog_pair:
            snapped = _pair_difference(snapped, outputs)
        flip_columns = np.ascontiguousarray(flip.transpose(1, 2, 0)).reshape(-1)  # slice, polarity, output
        sign = np.where(flip_columns, -1.0, 1.0) if not analog_pair else np.ones(snapped.shape[1])
        correction = np.full(outputs, decode.row_sum_factor)
        if not analog_pair:
            shaped = flip_columns.reshape(-1, polarities, outputs)
            correction += (coefficient[:, :, None] * weights.max_level * shaped).sum(axis=(0, 1))
            correction -= (coefficient[:, :, None] * np.where(shaped, -1.0, 1.0) * off).sum(axis=(0, 1))
        sign = np.concatenate([sign, np.ones(units)]) if len(sign) < snapped.shape[1] else sign
        noise = None if variance is None else variance.astype(np.float32)
        segments.append(Segment(rows, tuple(grid.parts(snapped)), noise, sign, correction, segment_number))
    per_array = chip.outputs_per_array
    return PackMatrix(
        segments=tuple(segments),
        number=number,
        outputs=outputs,
        unit_columns=units,
        unit_of_output=np.arange(outputs) // per_array,
        column_coefficient=coefficient.reshape(-1),
        column_slice=np.repeat(np.arange(weights.slices), polarities),
        grid=grid,
        row_conductance_s=row_conductance,
        total_s=total_s,
        off_levels=off,
        writes=writes,
        integer_levels=integer and off == 0.0,
        histogram=histogram,
    )


def _pair_difference(matrix: FloatArray, outputs: int) -> FloatArray:
    pairs = matrix.reshape(len(matrix), -1, 2, outputs)
    return np.ascontiguousarray(pairs[:, :, 0] - pairs[:, :, 1]).reshape(len(matrix), -1)


def column_gains(pack: PackMatrix, adc: AdcRange) -> npt.NDArray[np.float32]:
    """Return the converter gain of each column of a segment matrix, unit columns included."""
    gains = np.asarray(adc.gain, dtype=np.float64)[pack.column_slice].repeat(pack.outputs)
    return np.concatenate([gains, np.full(pack.unit_columns, adc.unit_gain)]).astype(np.float32)


def column_codes(
    pack: PackMatrix, adc: AdcRange
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], tuple[int, int]]:  # fmt: skip
    """Return the codes of all positions, group behind group; where position 0 of each column's group is; first and last position.

    Unit columns have a group of their own, evenly spaced. There are no codes where all references are evenly spaced.
    """
    columns = pack.columns + pack.unit_columns
    if adc.references is None:
        return np.zeros(0, dtype=np.float32), np.zeros(columns, dtype=np.int32), (0, 0)
    references = adc.references
    table = np.concatenate([references.codes, references.even(adc.lowest, adc.highest)[None]])
    group = np.arange(len(pack.column_slice)).repeat(pack.outputs)
    units = np.full(pack.unit_columns, len(pack.column_slice))
    place = np.concatenate([group, units]) * table.shape[1] - references.lowest
    return np.ascontiguousarray(table).ravel(), place.astype(np.int32), (references.lowest, references.highest)
