"""Time of one layer and of the network, for one sample.

A read cycle is the longer of the array's read and the conversions that one converter makes for it (their sum
without a sample-and-hold). One vector takes ``reads_in_series`` cycles, a layer ``positions`` vectors:

    layer = positions * reads * cycle + drain + max(buffer, bus) + network + chip I/O
    drain = conversions of the last read + one shift-add + the adder tree over row blocks, at the clock

Transfers are not overlapped with reads. Layer-serial latency is the sum over layers. Pipelined: layer l+1
starts when layer l has produced its first window; with W = sqrt(positions of l) and a k x k kernel that is
(k-1) W + k of them for a convolution, k for a one-dimensional one, one if both have equally many positions,
else all. It ends when its work is done, or one vector after layer l's end if that is later. The network is
taken as a chain. A new sample starts every time that the slowest layer takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from crosstile.cost.charges import io_bits
from crosstile.cost.installed import Installed, by_role
from crosstile.mapping.plan import LayerPlan, LayerShape
from crosstile.specs.chip import ChipSpec


@dataclass(frozen=True)
class LayerTime:
    """Where the time of a layer goes, in seconds."""

    read_cycle_s: float
    limited_by: str
    """``"array"``, ``"converter"`` or ``"given"`` (by the description): what sets the read cycle."""
    compute_s: float
    drain_s: float
    buffer_s: float
    """Buffer and bus together: they carry the same stream, the slower one counts."""
    network_s: float
    chip_io_s: float

    @property
    def total_s(self) -> float:
        """Time of the layer for one sample."""
        return self.compute_s + self.drain_s + self.buffer_s + self.network_s + self.chip_io_s


def conversions_per_read(plan: LayerPlan, chip: ChipSpec) -> int:
    """Return the conversions that the fullest array of the layer needs for one read."""
    weights = chip.weights
    digital_pair = weights.encoding == "differential" and weights.difference == "digital"
    per_output = weights.slices * (2 if digital_pair else 1)
    outputs = max(min(pack.outputs, chip.outputs_per_array) for pack in plan.packs)
    return outputs * per_output + (1 if chip.has_unit_column else 0)


def read_cycle(plan: LayerPlan, chip: ChipSpec, parts: tuple[Installed, ...]) -> tuple[float, float, str]:
    """Return (cycle, conversion time within it, what limits it), times in seconds."""
    if chip.hardware.read_cycle_s is not None:
        return chip.hardware.read_cycle_s, 0.0, "given"  # conversions are within the cycle
    read_s = chip.array.read_time_s
    for dac in by_role(parts, "dac"):
        if dac.figures.rate_hz is not None:  # a converter slower than the read stretches it
            read_s = max(read_s, 1.0 / dac.figures.rate_hz)
    adc = by_role(parts, "adc")
    if not adc:
        return read_s, 0.0, "array"
    each = math.ceil(conversions_per_read(plan, chip) / adc[0].count - 1e-9)
    convert_s = each / (adc[0].figures.rate_hz or chip.hardware.clock_hz)
    limit = "converter" if convert_s > read_s else "array"
    if by_role(parts, "sample_hold"):
        return max(read_s, convert_s), convert_s, limit
    return read_s + convert_s, convert_s, limit


def _move_s(bits: float, role: str, units: dict[str, int], chip: ChipSpec, parts: tuple[Installed, ...]) -> float:
    slowest = 0.0
    for part in by_role(parts, role):
        rate_hz = part.figures.rate_hz or chip.hardware.clock_hz
        slowest = max(slowest, bits / (part.figures.access_bits * rate_hz * part.instances(units)))
    return slowest


def layer_time(
    plan: LayerPlan, chip: ChipSpec, parts: tuple[Installed, ...], *, first: bool = False, last: bool = False
) -> LayerTime:
    """Return the time of one layer, which has the buffers, buses and routers of the tiles it fills."""
    hardware, work = chip.hardware, plan.activity
    units = {
        "array": plan.arrays,
        "macro": math.ceil(plan.arrays / hardware.arrays_per_macro),
        "tile": math.ceil(plan.arrays / hardware.arrays_per_tile),
        "chip": 1,
    }
    cycle_s, convert_s, limit = read_cycle(plan, chip, parts)
    blocks = max(len(pack.blocks) for pack in plan.packs)
    drain_s = (1 + math.ceil(math.log2(blocks))) / hardware.clock_hz
    if by_role(parts, "sample_hold"):  # without it the conversion is within the cycle already
        drain_s += convert_s
    buffer_s = _move_s(work.buffer_read_bits + work.buffer_write_bits, "buffer", units, chip, parts)
    bus_s = _move_s(work.buffer_read_bits + work.output_register_bits, "bus", units, chip, parts)
    return LayerTime(
        read_cycle_s=cycle_s,
        limited_by=limit,
        compute_s=plan.shape.positions * work.reads_in_series * cycle_s,
        drain_s=drain_s,
        buffer_s=max(buffer_s, bus_s),
        network_s=_move_s(work.network_bits * hardware.network_hops, "network", units, chip, parts),
        chip_io_s=_move_s(io_bits(plan, chip, first, last), "chip_io", units, chip, parts),
    )


def window(producer: LayerShape, consumer: LayerShape) -> float:
    """Return the share of the producer's outputs that the consumer's first vector waits for."""
    made = producer.positions
    if consumer.kind == "conv2d":
        side = math.isqrt(consumer.kernel_area)
        wanted = (side - 1) * math.sqrt(made) + side
    elif consumer.kind == "conv1d":
        wanted = consumer.kernel_area
    else:
        wanted = 1 if consumer.positions == made else made
    return min(1.0, wanted / made)


def pipelined_latency(shapes: Sequence[LayerShape], times_s: Sequence[float]) -> float:
    """Return the time from first input to last result when layers overlap, as defined above."""
    start_s, end_s = 0.0, times_s[0]
    for (previous, before_s), (shape, time_s) in pairwise(zip(shapes, times_s, strict=True)):
        start_s += window(previous, shape) * before_s
        end_s = max(start_s + time_s, end_s + time_s / shape.positions)
    return end_s
