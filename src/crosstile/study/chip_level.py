"""What a run says of the chip as a whole: the schedule of the network's own graph, and the temperature of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from crosstile.cost.report import CostReport
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerPlan
from crosstile.specs.chip import ChipSpec
from crosstile.specs.thermal import ThermalSpec
from crosstile.study.result_chip import Heat, RoundTime, StageTime, Timeline
from crosstile.system.floorplan import Placement
from crosstile.system.schedule import schedule
from crosstile.system.thermal import ChipHeat
from crosstile.workloads.trace import trace


def timeline(
    model: nn.Module, input_shape: Sequence[int], chip: ChipSpec, digital: Sequence[str] = ()
) -> Timeline | None:
    """Return the schedule of ``model`` on ``chip``, its connections found by tracing; None where hardware differs by layer.

    Signs of inputs are those that the trace sees; where they differ from those of the data, reads in a second phase do.
    """
    if chip.layers:
        return None
    graph = trace(model, input_shape, digital)
    plan = schedule(graph, chip)
    stages = [
        StageTime(
            layer=run.layer, piece=run.piece, round=run.round, copies=run.copies, arrays=run.arrays, start_s=run.start_s,
            end_s=run.end_s, busy_s=run.busy_s, batch_end_s=run.batch_end_s, limited_by=run.limited_by,
        )
        for run in plan.stages
    ]  # fmt: skip
    rounds = [RoundTime(start_s=r.start_s, reload_s=r.reload_s, arrays_written=r.arrays_written) for r in plan.rounds]
    return Timeline(
        mode=plan.mode, duplication=plan.duplication, batch=plan.batch, latency_s=plan.latency_s,
        batch_latency_s=plan.batch_latency_s, interval_s=plan.interval_s, bottleneck=plan.bottleneck,
        array_utilisation=min(1.0, plan.array_utilisation), buffer_bits=plan.buffer_bits, spilled_bits=plan.spilled_bits,
        stages=tuple(stages), rounds=tuple(rounds), notes=(*([graph.description] if graph.description else []), *plan.notes),
    )  # fmt: skip


def heat(plans: Sequence[LayerPlan], cost: CostReport, chip: ChipSpec) -> tuple[Heat | None, str]:
    """Return the temperatures of the tiles in the default package at the rate of the schedule, or none and why."""
    try:
        found = ChipHeat.of(plans, cost, chip, ThermalSpec())
        state = found.settle(Placement.in_order(found.arrays, found.plan))
    except SpecError as error:
        return None, f"No temperatures: {error}"
    found_heat = Heat(
        rate_hz=found.rate_hz, power_w=state.power_w, ambient_k=state.ambient_k, peak_k=state.peak_k, mean_k=state.mean_k,
        leakage_w=state.leakage_w, tiles_k=_grid(found, state.tiles_k), tiles_w=_grid(found, state.tiles_w),
    )  # fmt: skip
    return found_heat, ""


def _grid(found: ChipHeat, values: npt.NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    rows, columns, tiles = found.plan.rows, found.plan.columns, found.plan.tiles
    flat: list[Any] = [float(v) for v in values[:tiles]]
    flat += [None] * (rows * columns - tiles)
    return tuple(tuple(flat[r * columns : (r + 1) * columns]) for r in range(rows))
