"""How a network runs on a chip in time: copies of weights, batches, buffers, and what rewriting the arrays takes.

One array takes, with ``groups`` cells, rows or whole arrays written at once,

    t_array = steps * cycles * (pulse + verify),   steps = rows * columns | rows | 1
    E_array = rows * columns * cycles * (E_pulse + E_verify)

and ``arrays_in_parallel`` arrays are written side by side: n arrays take ceil(n / arrays_in_parallel) * t_array. Every cell of an
array is written, since cells without weights must be switched off.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from crosstile.specs.base import DataRate, Energy, Spec, Time

_BY_NAME = ConfigDict(populate_by_name=True, validate_default=False)

# M. Horowitz, Computing's energy problem, ISSCC 2014: 1.3 to 2.6 nJ for 64 bits of DRAM; quoted from memory, not checked.
_DRAM_ENERGY_J = 20e-12
_DRAM_BIT_PER_S = 64 * 1.6e9


class WriteSpec(Spec):
    """How arrays are written again when a network does not fit; figures left out come from the cell's ``write:``."""

    parallelism: Literal["cell", "row", "array"] = "row"
    """Cells of one array that are written at once."""
    cycles: float | None = Field(default=None, ge=1, le=1e6)
    """Mean write-verify cycles (a pulse and a read) of what is written at once; 1: open-loop writes. Default: 10, assumed."""
    pulse_time_s: Time | None = Field(default=None, alias="pulse_time", gt=0, le=1.0)
    """Of one pulse; default: the cell's, else 10 ns, assumed."""
    verify_time_s: Time | None = Field(default=None, alias="verify_time", ge=0, le=1.0)
    """Of the read after it; default: the cell's where it is above 0, else ``array.read_time``."""
    pulse_energy_j: Energy | None = Field(default=None, alias="pulse_energy", ge=0, le=1e-3)
    """Of one pulse on one cell; default: the cell's, else 0.6 pJ, assumed."""
    verify_energy_j: Energy | None = Field(default=None, alias="verify_energy", ge=0, le=1e-3)
    """Of the read of one cell; default: the cell's where it is above 0, else G V² t at mid window."""
    arrays_in_parallel: int | None = Field(default=None, ge=1, le=10**7)
    """Arrays that the power supply lets be written side by side; ``null``: all."""

    model_config = Spec.model_config | _BY_NAME


class SpillSpec(Spec):
    """The memory off the chip that takes what the buffers cannot hold."""

    energy_per_bit_j: Energy = Field(default=_DRAM_ENERGY_J, alias="energy_per_bit", ge=0, le=1e-6)
    """To move one bit there or back."""
    bandwidth_bit_per_s: DataRate = Field(default=_DRAM_BIT_PER_S, alias="bandwidth", ge=1.0, le=1e18)
    """There and back together."""
    source: str = Field(
        default="assumed: DRAM at 20 pJ a bit (order of M. Horowitz, ISSCC 2014), one 64-bit channel at 1.6 GT/s",
        min_length=3,
    )
    """Where the figures come from."""

    model_config = Spec.model_config | _BY_NAME

    @model_validator(mode="after")
    def _figures_have_a_source(self) -> SpillSpec:
        changed = self.energy_per_bit_j != _DRAM_ENERGY_J or self.bandwidth_bit_per_s != _DRAM_BIT_PER_S
        if changed and self.source == type(self).model_fields["source"].default:
            raise ValueError(
                "energy_per_bit and bandwidth replace figures of the package; add source: where they come from"
            )
        return self


class ScheduleSpec(Spec):
    """How layers share a chip in time; the order of layers itself is ``hardware.pipeline``."""

    duplication: Literal["none", "greedy", "optimal"] = "none"
    """Copies of weights on arrays that are free: the slowest layer first, or the least interval (latency when layer-serial)."""
    batch: int = Field(default=1, ge=1, le=1_000_000)
    """Samples that pass the arrays between two rewrites."""
    buffers: Literal["dynamic", "static"] = "dynamic"
    """dynamic: feature maps share the buffers over time; static: each map has a place of its own, as large as it ever needs."""
    spill: SpillSpec = SpillSpec()
    """Where goes what the buffers of the tiles cannot hold."""
