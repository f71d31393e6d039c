"""How a layer's matrix is laid on arrays, and the work that one inference then takes.

A layer is a matrix of ``K`` rows (fan-in) and ``N`` outputs for each of its groups. Groups that are small
(depthwise convolutions) are packed along the diagonal of one matrix, so that one array serves several of
them; cells off the diagonal hold zero weights, and utilisation tells how many cells really hold weights.
Rows are cut into blocks of at most ``array.rows``; a block is read in segments of ``array.active_rows``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from crosstile.specs.chip import ChipSpec

Kind = Literal["linear", "conv1d", "conv2d"]


@dataclass(frozen=True)
class LayerShape:
    """The shape of one mapped layer, independent of any chip."""

    name: str
    kind: Kind
    channels: int
    """Input channels (features) of one group."""
    kernel_area: int
    """Kernel positions; 1 for a linear layer."""
    outputs: int
    """Outputs of one group."""
    groups: int
    positions: int
    """Matrix-vector products per sample (output pixels)."""
    input_elements: int
    output_elements: int
    signed_inputs: bool

    @property
    def rows(self) -> int:
        """Fan-in of one output."""
        return self.channels * self.kernel_area

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample, zero padding counted as work on both sides."""
        return self.positions * self.groups * self.rows * self.outputs


@dataclass(frozen=True)
class Block:
    """One row block of a pack: the channels that it holds and the segments that it is read in.

    ``rows`` index the pack's rows in canonical order (group, channel, kernel position).
    """

    rows: tuple[int, ...]
    segments: tuple[tuple[int, int], ...]
    """(start, stop) within ``rows``; one read drives one segment."""


@dataclass(frozen=True)
class Pack:
    """Consecutive groups that share arrays."""

    first_group: int
    groups: int
    rows: int
    outputs: int
    blocks: tuple[Block, ...]
    column_blocks: int


@dataclass(frozen=True)
class Activity:
    """Work of one layer for one inference (one sample). Counts are exact; ``cell_energy_j`` is not."""

    array_reads: int
    """Read pulses, summed over arrays."""
    rows_driven: int
    """Word-line activations, summed over arrays and reads."""
    dac_conversions: int
    adc_conversions: int
    shift_adds: int
    digital_adds: int
    """Additions that join row blocks, segments kept in the shift-adder."""
    input_register_bits: int
    """Bits read from the input registers to drive word lines."""
    output_register_bits: int
    """Bits of layer outputs collected in output registers."""
    buffer_read_bits: int
    buffer_write_bits: int
    network_bits: int
    """Bits of layer outputs sent to the next layer's tile."""
    reads_in_series: int
    """Reads that follow each other for one vector: planes x phases x segments of the longest block."""
    cell_energy_j: float
    """Ohmic energy of the cells."""
    energy_basis: str
    """``"measured"`` when the cell energy comes from real inputs and conductances, else the assumption made."""
    input_density: float
    """Mean of (input digit / largest digit) squared over driven rows; sets the ohmic energy."""


@dataclass(frozen=True)
class LayerPlan:
    """A layer on the arrays of a chip."""

    shape: LayerShape
    packs: tuple[Pack, ...]
    arrays: int
    cells_total: int
    """Cells of all arrays taken."""
    cells_used: int
    """Cells that hold a digit of a weight (not the zeros that fill a diagonal pack)."""
    activity: Activity

    @property
    def utilisation(self) -> float:
        """Share of the cells of the arrays taken that hold a digit of a weight."""
        return self.cells_used / self.cells_total


def input_planes(chip: ChipSpec, signed: bool) -> tuple[int, int]:
    """Return (bit planes, phases) that one vector takes; the sign is one of the input bits."""
    magnitude = max(chip.inputs.bits - 1, 1) if signed else chip.inputs.bits
    phases = 2 if signed and chip.inputs.signed == "two_phase" else 1
    return math.ceil(magnitude / chip.inputs.dac_bits), phases


def _blocks(channels: int, kernel_area: int, chip: ChipSpec) -> tuple[Block, ...]:
    """Cut ``channels x kernel_area`` rows into the fewest blocks, on channel boundaries when that costs none.

    Rows inside a block are ordered kernel position first, channel last.
    """
    total, limit = channels * kernel_area, chip.array.rows
    fewest = math.ceil(total / limit)
    per_block = math.ceil(channels / fewest)
    if per_block * kernel_area <= limit:
        groups = [range(c, min(c + per_block, channels)) for c in range(0, channels, per_block)]
        row_lists = [[c * kernel_area + k for k in range(kernel_area) for c in group] for group in groups]
    else:
        order = [c * kernel_area + k for k in range(kernel_area) for c in range(channels)]
        size = math.ceil(total / fewest)
        row_lists = [order[i : i + size] for i in range(0, total, size)]
    step = chip.array.rows_per_read
    return tuple(
        Block(tuple(rows), tuple((i, min(i + step, len(rows))) for i in range(0, len(rows), step)))
        for rows in row_lists
    )


def make_packs(shape: LayerShape, chip: ChipSpec) -> tuple[Pack, ...]:
    """Return the packs of a layer: as many groups side by side as rows and columns of one array allow."""
    per_array = chip.outputs_per_array
    together = max(1, min(chip.array.rows // shape.rows, per_array // shape.outputs, shape.groups))
    packs, cache = [], {}
    for first in range(0, shape.groups, together):
        count = min(together, shape.groups - first)
        if count not in cache:
            cache[count] = _blocks(shape.channels * count, shape.kernel_area, chip)
        outputs = shape.outputs * count
        packs.append(Pack(first, count, shape.rows * count, outputs, cache[count], math.ceil(outputs / per_array)))
    return tuple(packs)


def plan_layer(shape: LayerShape, chip: ChipSpec) -> LayerPlan:
    """Lay one layer on the arrays of ``chip`` and count the work of one inference.

    The cell energy here rests on stated averages (half of the input digits on, mid-window conductance);
    a run on data replaces it by a measured one. A chip whose ``layers`` differ is that of this layer.
    """
    chip = chip.for_layer(shape.name)
    weights, array = chip.weights, chip.array
    packs = make_packs(shape, chip)
    planes, phases = input_planes(chip, shape.signed_inputs)
    converted = weights.slices * (2 if weights.encoding == "differential" and weights.difference == "digital" else 1)
    unit = 1 if chip.has_unit_column else 0
    arrays = reads = driven = conversions = joins = longest = 0
    for pack in packs:
        longest = max([longest, *(len(block.segments) for block in pack.blocks)])
        for block in pack.blocks:
            arrays += pack.column_blocks
            reads += len(block.segments) * pack.column_blocks
            driven += len(block.rows) * pack.column_blocks
            conversions += len(block.segments) * (pack.outputs * converted + unit * pack.column_blocks)
        joins += (len(pack.blocks) - 1) * pack.outputs
    repeats = shape.positions * planes * phases
    bits = chip.inputs.bits
    density = 0.5 if chip.inputs.dac_bits == 1 else 1.0 / 3.0
    columns = weights.columns_per_weight
    mean_g_s = 0.5 * (chip.cell.g_on_s + chip.cell.g_off_s)
    cell_reads = repeats * sum(pack.rows * pack.outputs * columns for pack in packs)
    activity = Activity(
        array_reads=repeats * reads,
        rows_driven=repeats * driven,
        dac_conversions=repeats * driven,
        adc_conversions=repeats * conversions,
        shift_adds=repeats * conversions,
        digital_adds=shape.positions * joins,
        input_register_bits=repeats * driven * chip.inputs.dac_bits,
        output_register_bits=shape.output_elements * bits,
        buffer_read_bits=shape.positions * shape.rows * shape.groups * bits,
        buffer_write_bits=shape.output_elements * bits,
        network_bits=shape.output_elements * bits,
        reads_in_series=planes * phases * longest,
        cell_energy_j=cell_reads * density * array.read_voltage_v**2 * array.read_time_s * mean_g_s,
        energy_basis=f"assumed: mean squared input {density:.3g}, conductances at mid window",
        input_density=density,
    )
    return LayerPlan(
        shape=shape,
        packs=packs,
        arrays=arrays,
        cells_total=arrays * array.rows_built * array.columns_built,
        cells_used=shape.groups * shape.rows * shape.outputs * columns,
        activity=activity,
    )
