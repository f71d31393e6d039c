"""The sections of ``result.json`` about the chip as a whole: who runs when, and how warm it gets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crosstile.study.result_parts import Amount, Count, Section


class StageTime(Section):
    """One layer for one sample; seconds from its first input."""

    layer: str
    piece: Count
    """Among the pieces of a layer that is larger than the chip."""
    round: Count
    copies: Annotated[int, Field(ge=1)]
    arrays: Count
    """Of all copies."""
    start_s: Amount
    end_s: Amount
    busy_s: Amount
    """Time that its arrays are occupied by the sample."""
    batch_end_s: Amount
    limited_by: str


class RoundTime(Section):
    """What is on the arrays at one time, where a network is rewritten in rounds."""

    start_s: Amount
    reload_s: Amount
    arrays_written: Count


class Timeline(Section):
    """The schedule of one sample, with the network's own connections."""

    mode: str
    """``layer_serial`` or ``pipelined``."""
    duplication: str
    batch: Annotated[int, Field(ge=1)]
    latency_s: Amount
    batch_latency_s: Amount
    interval_s: Amount
    """Between samples, in the long run."""
    bottleneck: str
    array_utilisation: Annotated[float, Field(ge=0, le=1)]
    """Array time that reads, over arrays and the interval."""
    buffer_bits: Amount
    """Wanted at once for feature maps."""
    spilled_bits: Amount
    """Per sample, off the chip and back."""
    stages: tuple[StageTime, ...]
    rounds: tuple[RoundTime, ...]
    notes: tuple[str, ...] = ()


class Heat(Section):
    """The chip in the steady state, at the rate of its schedule, in the default package."""

    rate_hz: Amount
    power_w: Amount
    ambient_k: Amount
    peak_k: Amount
    mean_k: Amount
    leakage_w: Amount
    tiles_k: tuple[tuple[float | None, ...], ...]
    """Mean temperature of each tile, row by row; null where the grid has no tile."""
    tiles_w: tuple[tuple[float | None, ...], ...]
    """Power of each tile."""
