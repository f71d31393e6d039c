"""Partition of one chip's arrays between tenants.

``iterative`` is our reconstruction of the published idea (arXiv:2408.04812 tells "iterative partitioning" and no equation): from
the best of three starts (equal, proportional to the arrays of one copy, to MACs), arrays move from the fastest tenant to
the slowest,

    step = eta a_fast (1 - T_fast / T_slow),   eta <- 0.97 eta, halved where the step is below one array, until eta < 0.001,

and the best partition on the way is kept. Ours is what follows, since the way leads past the points at which one more network
fits and need not be rewritten: partitions in which a chosen part of the tenants just fits are looked at as well. From the four
best of all these a local search moves arrays from one tenant to another by multiples of 1/64 of the chip, and from the best of
what that finds also by 2^k down to one, until no such move lowers the objective, or the sum of times where the objective stays.
Nothing is ever accepted that is worse, so the result is at least as good as each start. Objectives:

    makespan = max_t T_t        slowdown = sum_t w_t T_t / T0_t / sum_t w_t,

with T the time until a tenant's batch is through (:mod:`crosstile.system.tenant_times`) and T0 that with the whole chip alone.

``exhaustive`` tries every partition on a grid; each tenant is scheduled once a grid point.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from crosstile.errors import SpecError
from crosstile.system.tenant_times import TenantTimes, ends_s

Objective = Literal["makespan", "slowdown"]
Split = tuple[int, ...]

_ETA: Final = 0.5
_DECAY: Final = 0.97
_STOP: Final = 1e-3
_SEARCHED: Final = 4  # partitions that the coarse part of the local search starts from
_ALL_SUBSETS: Final = 6  # tenants; of more, the smallest are made to fit one after the other
GRID: Final = 64


@dataclass(frozen=True)
class Goal:
    """What a partition is chosen for; lower is better."""

    objective: Objective
    alone_s: tuple[float, ...]
    """Time of each tenant's batch with the whole chip."""
    weights: tuple[float, ...]

    def pressures(self, times_s: Sequence[float]) -> list[float]:
        """Return what the iteration evens out: times, or weighted slowdowns."""
        if self.objective == "makespan":
            return list(times_s)
        return [w * t / alone for w, t, alone in zip(self.weights, times_s, self.alone_s, strict=True)]

    def score(self, times_s: Sequence[float]) -> tuple[float, float]:
        """Return the objective, and what decides between equal ones: the sum of times, or the makespan."""
        if self.objective == "makespan":
            return max(times_s), sum(times_s)
        return sum(self.pressures(times_s)) / sum(self.weights), max(times_s)


def apportion(weights: Sequence[float], arrays: int, least: Sequence[int]) -> Split:
    """Return whole numbers of arrays in proportion to weights, none below its least; they sum up to ``arrays``.

    Tenants whose part would be below their least get it; the rest is shared by the others, by largest remainders.
    """
    held: dict[int, int] = {}
    while True:
        free = [i for i in range(len(weights)) if i not in held]
        rest, total = arrays - sum(held.values()), sum(weights[i] for i in free)
        short = [i for i in free if rest * weights[i] / total < least[i]]
        if not short or len(short) == len(free):
            break
        held |= {i: least[i] for i in short}
    parts = {i: max(least[i], int(rest * weights[i] / total)) for i in free}
    left = rest - sum(parts.values())
    order = sorted(free, key=lambda i: (-(rest * weights[i] / total - parts[i]), i))
    for k in range(left):
        parts[order[k % len(order)]] += 1
    while left < 0:  # only where the leasts took more than there is of a part
        richest = max(free, key=lambda i: parts[i] - least[i])
        parts[richest] -= 1
        left += 1
    found = held | parts
    return tuple(found[i] for i in range(len(weights)))


def _moved(split: Split, source: int, target: int, step: int) -> Split:
    after = list(split)
    after[source] -= step
    after[target] += step
    return tuple(after)


def iterative(tenants: Sequence[TenantTimes], goal: Goal, starts: Sequence[Split]) -> Split:
    """Return the partition of the iteration and the search behind it; ``starts`` share the same sum of arrays."""

    def score(split: Split) -> tuple[float, float]:
        return goal.score(ends_s(tenants, split))

    now = min(starts, key=score)
    if len(now) == 1:
        return now
    tried, eta = [now], _ETA
    while eta >= _STOP:
        pressure = goal.pressures(ends_s(tenants, now))
        slow, fast = pressure.index(max(pressure)), pressure.index(min(pressure))
        step = int(eta * now[fast] * (1.0 - pressure[fast] / pressure[slow]))
        step = min(step, now[fast] - tenants[fast].least)
        if step < 1:
            eta *= 0.5
            continue
        now, eta = _moved(now, fast, slow, step), eta * _DECAY
        tried.append(now)
    begun = [*starts, min(tried, key=score), *_fitting(tenants, sum(now))]
    likely = sorted(dict.fromkeys(begun), key=lambda split: (score(split), split))[:_SEARCHED]
    coarse = [_local_search(tenants, goal, split, fine=False) for split in likely]
    return _local_search(tenants, goal, min(coarse, key=lambda split: (score(split), split)), fine=True)


def _fitting(tenants: Sequence[TenantTimes], arrays: int) -> list[Split]:
    """Return partitions in which a chosen part of the tenants fits, what is left being shared by all in proportion."""
    one = [tenant.profile.table.arrays for tenant in tenants]
    order = sorted(range(len(one)), key=lambda i: (one[i], i))
    if len(one) <= _ALL_SUBSETS:
        chosen = [set(part) for size in range(1, len(one) + 1) for part in itertools.combinations(order, size)]
    else:
        chosen = [set(order[:size]) for size in range(1, len(one) + 1)]
    found = []
    for fits in chosen:
        least = [max(one[i], tenants[i].least) if i in fits else tenants[i].least for i in range(len(one))]
        if sum(least) <= arrays:
            found.append(apportion([float(n) for n in one], arrays, least))
    return found


def _local_search(tenants: Sequence[TenantTimes], goal: Goal, split: Split, *, fine: bool) -> Split:
    now, score = split, goal.score(ends_s(tenants, split))
    arrays = sum(split)
    unit = max(1, arrays // GRID)
    moves = [list(range(unit, arrays, unit))]
    if fine:
        moves += [[1 << k] for k in range(unit.bit_length() - 1, -1, -1)]
    improved = True
    while improved:
        improved = False
        for steps in moves:
            while (found := _best_move(tenants, goal, now, steps, score)) is not None:
                (score, now), improved = found, True
    return now


def _best_move(
    tenants: Sequence[TenantTimes], goal: Goal, split: Split, steps: Sequence[int], score: tuple[float, float]
) -> tuple[tuple[float, float], Split] | None:
    """Return the best move of so many arrays that lowers the score."""
    found = None
    for target, source in itertools.permutations(range(len(split)), 2):
        for step in steps:
            if split[source] - step < tenants[source].least:
                break
            after = _moved(split, source, target, step)
            tried = goal.score(ends_s(tenants, after)), after
            if tried[0] < score and (found is None or tried < found):
                found = tried
    return found


def exhaustive(tenants: Sequence[TenantTimes], goal: Goal, arrays: int, grid: int = GRID) -> Split:
    """Return the best of all partitions whose parts, but for the last, are multiples of arrays / grid.

    Raises:
        SpecError: more than three tenants.
    """
    if len(tenants) > 3:
        raise SpecError(
            f"tenants: exhaustive tries all partitions of 1 to 3 tenants, found {len(tenants)}; use iterative."
        )
    unit = max(1, -(-arrays // grid))
    points = [range(-(-tenant.least // unit) * unit, arrays + 1, unit) for tenant in tenants]
    tried: list[Split] = []
    if len(tenants) == 1:
        tried = [(arrays,)]
    elif len(tenants) == 2:
        tried = [(a, arrays - a) for a in points[0]]
    else:
        tried = [(a, b, arrays - a - b) for a in points[0] for b in points[1]]
    allowed = [split for split in tried if split[-1] >= tenants[-1].least]
    if not allowed:
        raise SpecError(f"tenants: no point of a grid of {grid} leaves every tenant its least arrays of {arrays}.")
    return min(allowed, key=lambda split: (goal.score(ends_s(tenants, split)), split))
