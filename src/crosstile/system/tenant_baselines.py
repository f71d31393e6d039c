"""Tenants one after the other on the whole chip: what sharing its arrays is measured against.

``direct``: layer by layer, one copy of every layer; what does not fit runs in rounds of rewriting. This is our reading of direct
deployment. ``time_shared``: each tenant's best pipelined schedule on the whole chip, copies of weights included.

Either way batches follow one another, so that a tenant finds the weights of the tenant before it on the arrays: its own are
written at the start of its turn, even where all would fit side by side. A schedule in rounds writes them anyway; for one that
fits, n arrays (copies included, whose weights are read once) take the chip's write model (:mod:`crosstile.system.reload`):

    makespan = sum over tenants (t_write + t_batch).

With one tenant nothing is between turns. Turns are taken shortest first, which gives the least mean time to finish; the
makespan does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crosstile.system.reload import write_model
from crosstile.system.schedule_result import Schedule
from crosstile.system.stages import StageTable


@dataclass(frozen=True)
class Turn:
    """When a tenant has the chip."""

    start_s: float
    end_s: float
    write_s: float
    """Writing of a network that fits, at the start of the turn."""
    write_j: float


def writing(plan: Schedule, table: StageTable) -> tuple[float, float]:
    """Return time in s and energy in J of writing all arrays of a schedule that fits; none where rounds write them."""
    if not plan.fits:
        return 0.0, 0.0
    model = write_model(table.chip)
    return model.time_s(plan.arrays_used, table.arrays), model.energy_j(plan.arrays_used, table.arrays)


def turns(plans: Sequence[Schedule], tables: Sequence[StageTable]) -> list[Turn]:
    """Return the turn of each tenant, from their schedules on the whole chip; shortest first, equal ones in order."""
    alone = len(plans) == 1
    written = [(0.0, 0.0) if alone else writing(plan, table) for plan, table in zip(plans, tables, strict=True)]
    taken_s = [plan.batch_latency_s + write_s for plan, (write_s, _) in zip(plans, written, strict=True)]
    found: dict[int, Turn] = {}
    now = 0.0
    for i in sorted(range(len(plans)), key=lambda i: (taken_s[i], i)):
        found[i] = Turn(now, now + taken_s[i], *written[i])
        now += taken_s[i]
    return [found[i] for i in range(len(plans))]
