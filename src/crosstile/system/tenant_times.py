"""Time of a tenant's batch by the arrays that it gets: evaluated where it is asked for, remembered, and never rising.

The time t(a) of a schedule on a arrays is not monotone where the network does not fit: rounds fall otherwise with every array,
and with a few arrays more than one copy takes, rewriting with copies can still be faster than fitting without. A tenant need
not use all that it gets, so what counts is the running best over rungs r,

    T(a) = min { t(r) : r <= a }.

Below the arrays N of one copy the rungs are a ladder from N / 64 up (all numbers where there are at most 96); from N up, every
number is a rung, of which t(a) and the ladder are looked at: without spilling t falls there. Where the schedule spills, rungs
10 % apart from N up to a are looked at as well.

Tenants side by side still share the memory off the chip, where weights and spilled maps go, and the supply where it limits how
many arrays are written at once. Served alike, bit by bit in turn, another tenant gets no more of it while tenant t waits than t
itself, nor more than it needs:

    end_t <= T_t(a_t) + sum over u != t of min(O_t, O_u),    O = time at the memory (or of writing, where that is limited).

This bound is what counts as a tenant's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from crosstile.specs.chip import ChipSpec
from crosstile.system.schedule import schedule_from
from crosstile.system.schedule_result import Schedule
from crosstile.system.stages import StageTable

_DENSE: Final = 96
_DEEPEST: Final = 64
_RUNGS: Final = 48
_SPILL_RATIO: Final = 1.1


@dataclass(frozen=True)
class BatchTime:
    """One batch of one tenant on so many arrays, with nobody else on the chip."""

    time_s: float
    arrays: int
    """The fewest that reach this time."""
    outside_s: float
    """Of it, time that it has the memory off the chip to itself, or the supply for writing where that is limited."""
    spills: bool = False


def outside_s(plan: Schedule, chip: ChipSpec) -> float:
    """Return the time of a batch for which a schedule needs what tenants on different arrays still share."""
    read_s = plan.weight_bits_read / chip.schedule.spill.bandwidth_bit_per_s
    written_s = read_s if chip.write.arrays_in_parallel is None else plan.write_time_s
    return written_s + plan.batch * plan.spill_time_s


class Profile:
    """What schedules of one network take for a batch, by arrays; each is made once."""

    def __init__(self, table: StageTable, batch: int) -> None:
        self.table = table
        self.batch = batch
        self._found: dict[int, BatchTime] = {}

    @property
    def evaluations(self) -> int:
        """Schedules made so far."""
        return len(self._found)

    def at(self, arrays: int) -> BatchTime:
        """Return t(a), the time of the batch with all of the arrays."""
        if arrays not in self._found:
            plan = schedule_from(self.table, arrays=arrays, batch=self.batch, duplication="optimal")
            out_s = outside_s(plan, self.table.chip)
            self._found[arrays] = BatchTime(plan.batch_latency_s, arrays, out_s, plan.spilled_bits > 0)
        return self._found[arrays]


class TenantTimes:
    """The running best of a profile on one chip."""

    def __init__(self, profile: Profile, least: int, more: Iterable[int] = ()) -> None:
        """Take the fewest arrays that the tenant may get, and rungs beside those of the ladder."""
        self.profile = profile
        self.least = least
        one = profile.table.arrays
        self._ladder = tuple(sorted({r for r in (*_ladder(one), least, *more) if least <= r < one}))
        self._best: dict[int, BatchTime] = {}

    def best(self, arrays: int) -> BatchTime:
        """Return T(a), and the fewest arrays that reach it."""
        if arrays not in self._best:
            one = self.profile.table.arrays
            rungs = [r for r in self._ladder if r <= arrays]
            if arrays >= one:
                if self.profile.at(arrays).spills:
                    steps = int(math.log(arrays / one) / math.log(_SPILL_RATIO))
                    rungs += [math.floor(one * _SPILL_RATIO**k) for k in range(steps + 1)]
                rungs.append(arrays)
            self._best[arrays] = min(map(self.profile.at, rungs), key=lambda found: (found.time_s, found.arrays))
        return self._best[arrays]


def ends_s(tenants: Sequence[TenantTimes], split: Sequence[int]) -> list[float]:
    """Return when each tenant's batch is through at the latest: T, and what it waits for at what all share."""
    found = [tenant.best(arrays) for tenant, arrays in zip(tenants, split, strict=True)]
    return [
        one.time_s + sum(min(one.outside_s, other.outside_s) for j, other in enumerate(found) if j != i)
        for i, one in enumerate(found)
    ]


def _ladder(one: int) -> list[int]:
    """Return numbers of arrays below those of one copy."""
    if one - 1 <= _DENSE:
        return list(range(1, one))
    ratio = _DEEPEST ** (1.0 / _RUNGS)
    return [one - 1, *(math.ceil(one / ratio**k) for k in range(1, _RUNGS + 1))]


def least_arrays(one: int, arrays: int, tenants: int) -> int:
    """Return the fewest arrays that a tenant gets: N / 64, or less where the chip is small; always at least one."""
    return max(1, min(math.ceil(one / _DEEPEST), arrays // (2 * tenants)))
