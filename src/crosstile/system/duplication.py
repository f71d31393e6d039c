"""Copies of weights on free arrays: which layers get how many.

Stage l with c copies has the interval I_l(c) and takes a_l c arrays. Pipelined, the slowest stage sets the pace:

    minimise max_l I_l(c_l)   subject to   sum_l a_l c_l <= A.

Whatever reaches an interval T needs c_l(T) = min{c : I_l(c) <= T}, and the arrays for that grow as T falls: lowering T from one
value of some I_l to the next, as long as the arrays last, is exact (``optimal``). ``greedy`` gives the slowest stage its next
copies until they do not fit any more; for this objective it ends at the same interval, and spends arrays on ties that
``optimal`` leaves free.

Layer-serial, times add up: ``greedy`` buys the most time per array along the convex hull of each stage, ``optimal`` is the
dynamic programme of the multiple-choice knapsack problem. Copies never fall when arrays are added (dynamic programme: the
latency never rises).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from crosstile.errors import SpecError
from crosstile.system.recurrence import run_batch
from crosstile.system.stages import Stage, StageTable

Duplication = Literal["none", "greedy", "optimal"]
_PROGRAMME_LIMIT = 2e8  # array counts x options; a second or so
_BRUTE_LIMIT = 20_000


def choose_copies(
    stages: Sequence[Stage], arrays: Sequence[int], budget: int, how: Duplication, *, serial: bool
) -> list[int]:
    """Return the copies of each stage.

    Args:
        stages: that run together. arrays: of one copy of each. budget: arrays for all; at least one copy of each must fit.
        how: see above. serial: one stage at a time.

    Raises:
        SpecError: ``optimal`` of a layer-serial chip is too large for the dynamic programme.
    """
    free = budget - sum(arrays)
    if how == "none" or free <= 0:
        return [1] * len(stages)
    if not serial:
        return _slowest_first(stages, arrays, free, stop_at_ties=how == "optimal")
    return _most_per_array(stages, arrays, free) if how == "greedy" else _programme(stages, arrays, free)


def _slowest_first(stages: Sequence[Stage], arrays: Sequence[int], free: int, *, stop_at_ties: bool) -> list[int]:
    chosen = [0] * len(stages)
    settled = list(chosen)  # after the last fall of the interval
    heap = [(-float(stage.intervals_s[0]), i) for i, stage in enumerate(stages)]
    heapq.heapify(heap)
    pace = -heap[0][0]
    while True:
        slowest, i = heap[0]
        if -slowest < pace:
            pace, settled = -slowest, list(chosen)
        stage, now = stages[i], chosen[i]
        if now + 1 == len(stage.copies):
            break
        cost = arrays[i] * int(stage.copies[now + 1] - stage.copies[now])
        if cost > free:
            break
        free -= cost
        chosen[i] = now + 1
        heapq.heapreplace(heap, (-float(stage.intervals_s[now + 1]), i))
    final = settled if stop_at_ties else chosen
    return [int(stage.copies[k]) for stage, k in zip(stages, final, strict=True)]


def _hull(stage: Stage) -> list[int]:
    """Return the options on the lower convex hull of interval over copies."""
    kept: list[int] = []
    x, y = stage.copies, stage.intervals_s
    for k in range(len(x)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (y[a] - y[b]) * (x[k] - x[b]) <= (y[b] - y[k]) * (x[b] - x[a]):
                kept.pop()
            else:
                break
        kept.append(k)
    return kept


def _most_per_array(stages: Sequence[Stage], arrays: Sequence[int], free: int) -> list[int]:
    hulls = [_hull(stage) for stage in stages]
    heap: list[tuple[float, int, int]] = []

    def push(i: int, step: int) -> None:
        if step + 1 < len(hulls[i]):
            a, b, stage = hulls[i][step], hulls[i][step + 1], stages[i]
            cost = arrays[i] * int(stage.copies[b] - stage.copies[a])
            heapq.heappush(heap, (-float(stage.intervals_s[a] - stage.intervals_s[b]) / cost, i, step))

    chosen = [0] * len(stages)
    for i in range(len(stages)):
        push(i, 0)
    while heap:
        _, i, step = heapq.heappop(heap)
        stage, before, after = stages[i], hulls[i][step], hulls[i][step + 1]
        cost = arrays[i] * int(stage.copies[after] - stage.copies[before])
        if cost > free:  # stop here, so that more arrays never mean fewer copies of a layer
            break
        free -= cost
        chosen[i] = after
        push(i, step + 1)
    return [int(stage.copies[k]) for stage, k in zip(stages, chosen, strict=True)]


def _programme(stages: Sequence[Stage], arrays: Sequence[int], free: int) -> list[int]:
    free = min(free, sum(a * int(stage.copies[-1] - 1) for a, stage in zip(arrays, stages, strict=True)))
    work = (free + 1) * sum(len(stage.copies) for stage in stages)
    if work > _PROGRAMME_LIMIT:
        raise SpecError(
            f"duplication: optimal on a layer-serial chip would take {work:.2g} steps for {free} free arrays; at most "
            f"{_PROGRAMME_LIMIT:.0e} are done. Use greedy, fewer arrays, or hardware.pipeline: pipelined."
        )
    best = np.zeros(free + 1)
    choices = []
    for stage, a in zip(stages, arrays, strict=True):
        after, choice = np.full(free + 1, np.inf), np.zeros(free + 1, dtype=np.int64)
        for k, copies in enumerate(stage.copies):
            cost = a * (int(copies) - 1)
            if cost > free:
                break
            tried = best[: free + 1 - cost] + stage.intervals_s[k]
            better = tried < after[cost:]
            after[cost:][better] = tried[better]
            choice[cost:][better] = k
        best = after
        choices.append(choice)
    left, found = free, []
    for stage, a, choice in zip(reversed(stages), reversed(arrays), reversed(choices), strict=True):
        copies = int(stage.copies[choice[left]])
        found.append(copies)
        left -= a * (copies - 1)
    return found[::-1]


def least_latency(table: StageTable, budget: int) -> tuple[list[int], float]:
    """Return the copies that give one sample the least pipelined latency, and that latency, by trying all; for small cases.

    Raises:
        SpecError: more than 20,000 combinations.
    """
    options = [range(len(stage.copies)) for stage in table.stages]
    combinations = 1
    for one in options:
        combinations *= len(one)
    if combinations > _BRUTE_LIMIT:
        raise SpecError(
            f"duplication: {combinations} combinations of copies; at most {_BRUTE_LIMIT} are tried one by one."
        )
    best: tuple[list[int], float] | None = None
    for picked in itertools.product(*options):
        copies = [int(stage.copies[k]) for stage, k in zip(table.stages, picked, strict=True)]
        if sum(stage.arrays * c for stage, c in zip(table.stages, copies, strict=True)) > budget:
            continue
        taken_s = run_batch(table, dict(enumerate(copies)), frozenset(), 0.0, 1).first.end_s
        if best is None or taken_s < best[1]:
            best = copies, taken_s
    if best is None:
        raise SpecError(f"duplication: the network takes {table.arrays} arrays, of which there are {budget}.")
    return best
