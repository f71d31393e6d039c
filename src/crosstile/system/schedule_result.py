"""What a schedule says: frozen figures in SI units, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from crosstile.system.buffers import MapBuffer


@dataclass(frozen=True)
class StageRun:
    """One layer, or a piece of one, for the first sample of the batch; times from the start of the batch."""

    layer: str
    piece: int
    copies: int
    arrays: int
    """Of all copies."""
    tiles: int
    """That so many arrays fill."""
    round: int
    start_s: float
    end_s: float
    batch_end_s: float
    """When the last sample is through."""
    busy_s: float
    """Time that its copies are occupied by one sample; the interval that it can keep up with."""
    limited_by: str
    """``array``, ``converter`` or ``given``: what sets the read cycle; ``transfers``; ``recurrence``."""


@dataclass(frozen=True)
class RoundRun:
    """What is on the arrays at one time."""

    start_s: float
    reload_s: float
    """Before its first sample."""
    end_s: float
    arrays: int
    arrays_written: int
    interval_s: float
    """Between samples of the batch within the round."""


@dataclass(frozen=True)
class Schedule:
    """A network on a chip in time."""

    network: str
    chip: str
    mode: str
    """``layer_serial`` or ``pipelined``."""
    duplication: str
    batch: int
    arrays: int
    """That may be used."""
    arrays_used: int
    """In the fullest round, copies included."""
    tiles_used: int
    stages: tuple[StageRun, ...]
    rounds: tuple[RoundRun, ...]
    latency_s: float
    """One sample, first input to last result."""
    batch_latency_s: float
    interval_s: float
    """Between samples, in the long run."""
    throughput_hz: float
    bottleneck: str
    """The slowest stage, ``chip_io``, ``spill``, or ``reload`` where it takes more than half of the batch."""
    array_utilisation: float
    """Array time that reads, over arrays and the interval."""
    arrays_over_time: tuple[tuple[float, int], ...]
    """(time, arrays at work from then on) over the batch, from the spans of the stages."""
    write_time_s: float
    """Per batch."""
    write_energy_j: float
    weight_bits_read: float
    """Per batch, from the memory off the chip."""
    cells_written: int
    """Per batch; every cell of an array that is written again."""
    writes_per_cell: float
    """Pulses that a cell takes at most per batch."""
    write_time_per_sample_s: float
    write_energy_per_sample_j: float
    cells_written_per_sample: float
    buffers: tuple[MapBuffer, ...]
    buffer_bits: float
    buffer_capacity_bits: float | None
    spilled_bits: float
    """Per sample, off the chip and back."""
    spill_time_s: float
    """Per sample."""
    spill_energy_j: float
    """Per sample."""
    partial_sum_bits: float
    """Per sample: partial sums of cut layers, written and read."""
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """True when nothing is rewritten."""
        return len(self.rounds) == 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        data = asdict(self)
        for key in ("stages", "rounds", "buffers", "notes"):
            data[key] = list(data[key])
        data["arrays_over_time"] = [list(point) for point in self.arrays_over_time]
        return data
