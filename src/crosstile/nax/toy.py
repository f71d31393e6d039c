"""Does the gradient find the optimum? A network so small that every combination can be tried.

Shared weights are learnt with choices drawn evenly, and then stay. The objective of every architecture, CE + lam ln EDAP, is
found by trying all of them; the choices' gradient search on the same weights and samples, which sees one drawn network a step, is
ranked among them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstile.crossbar.program import derive_key
from crosstile.nax.nonideal import Effects
from crosstile.nax.options import SearchOptions
from crosstile.nax.search import Candidate, Search
from crosstile.nax.space import Architecture, NaxSpace
from crosstile.nax.tables import CostTables
from crosstile.study.stages import Progress

_DRAWS, _FINALISTS, _MORE_DRAWS = 3, 40, 40
"""Drawn chips that the loss of every combination is averaged over; how many of the best are tried again, and with how many chips:
the least of hundreds of noisy losses would else be one that was lucky."""


@dataclass(frozen=True)
class Recovered:
    """What the gradient came to, among all combinations."""

    combinations: int
    rank: int
    """1: the optimum itself. Among the best combinations, tried with more drawn chips."""
    chosen: Candidate
    best: Candidate
    regret: float
    """Objective of the chosen over that of the best."""
    spread: float
    """Standard deviation of the objective over all combinations."""


def every_architecture(space: NaxSpace) -> list[Architecture]:
    """Return all architectures of a space, blocks that may be skipped there."""
    choices = [list(itertools.product(slot.kernels, slot.arrays)) for slot in space.slots]
    found = []
    for combination in itertools.product(*choices):
        pairs = list(zip(space.slots, combination, strict=True))
        kernels = {slot.name: k for slot, (k, _) in pairs if not slot.linear}
        found.append(Architecture(kernels, {slot.name: x for slot, (_, x) in pairs}))
    return found


def recover(
    space: NaxSpace,
    effects: Effects,
    data: tuple[Tensor, Tensor],
    options: SearchOptions,
    *,
    steps: int = 400,
    progress: Progress | None = None,
) -> Recovered:
    """Search the choices of a small space by gradient and by trying everything.

    Args:
        options: ``epochs`` learn the shared weights. steps: of the choices.
    """
    progress = progress or Progress()
    search = Search(space, CostTables(space), effects, data, options, "random", progress)
    learners = search.learners()
    for epoch in range(options.epochs):
        search.epoch(epoch, *learners)
    progress.stage("choices alone", steps)
    x, y = search.choices_part
    optimiser = learners[1]
    order = torch.randperm(len(x), generator=_draws(options.seed, "order"))
    for step in range(steps):
        picked = order.roll(-step * options.batch)[: options.batch]
        search.choices_step(x[picked], y[picked], optimiser, _draws(options.seed, step), 1.0 - step / steps)
        progress.advance()
    chosen = search.choices.likeliest()
    everything = every_architecture(space)
    progress.stage("every combination", len(everything))
    coarse = [search.candidate(architecture, _DRAWS) for architecture in everything]
    coarse.sort(key=lambda one: one.objective(options.lam))
    spread = float(torch.tensor([one.objective(options.lam) for one in coarse], dtype=torch.float64).std())
    finalists = [one.architecture for one in coarse[:_FINALISTS]]
    if chosen not in finalists:
        finalists.append(chosen)
    progress.stage("the best again, with more drawn chips", len(finalists))
    found = [search.candidate(architecture, _MORE_DRAWS) for architecture in finalists]
    own = found[finalists.index(chosen)]
    best = min(found, key=lambda one: one.objective(options.lam))
    regret = own.objective(options.lam) - best.objective(options.lam)
    rank = 1 + sum(one.objective(options.lam) < own.objective(options.lam) for one in found)
    return Recovered(len(everything), rank, own, best, regret, spread)


def _draws(seed: int, *purpose: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_key(seed, "nax toy", *purpose) >> 1)
