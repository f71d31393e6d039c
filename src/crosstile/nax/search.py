"""The search: weights and choices learnt in turn, on different samples.

    weights:  minimise  CE(network of drawn choices)                                   on 1 - ``share`` of the samples
    choices:  minimise  CE(network of drawn choices) + lam ln( EDAP(P) / EDAP_ref )    on ``share`` of them;  P = softmax(a)

EDAP is that of the expected energy, delay and area (:mod:`crosstile.nax.tables`); the reference is the 3 x 3 network on arrays of
the size that the chip is described with. Random search, the baseline: the same steps for weights with choices drawn evenly, then
the best of as many random networks, on ``share``, as the steps for choices would have classified (a training pass counts as three
passes); L. Li, A. Talwalkar, arXiv:1902.07638 (2019). All draws are named by seed, epoch and step, so that an interrupted search
goes on to the same end.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.program import derive_key, generator
from crosstile.errors import DataError, ModelError
from crosstile.nax.choices import Choices, random_architecture
from crosstile.nax.nonideal import Effects
from crosstile.nax.options import SearchOptions
from crosstile.nax.space import Architecture, NaxSpace
from crosstile.nax.supernet import SuperNet
from crosstile.nax.tables import CostTables
from crosstile.study.resume import fingerprint
from crosstile.study.stages import Progress
from crosstile.training.augment import augment
from crosstile.training.checkpoint import load_checkpoint, save_checkpoint

Kind = Literal["gradient", "random"]
PASSES = 3
"""Passes of the network that one training pass counts as: forward, and backward about twice that."""


@dataclass(frozen=True)
class SearchEpoch:
    """One epoch."""

    epoch: int
    loss: float
    """Cross-entropy of weights' steps."""
    choice_loss: float | None
    """Cross-entropy of choices' steps; None where there were none."""
    ln_edap: float
    """Of the mixture, over the reference."""
    chosen_ln_edap: float
    """Of the likeliest architecture, over the reference."""
    entropy: float
    """Of the choices, mean over layers, over its largest value."""
    chosen: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """A network of the space that was classified with the shared weights."""

    architecture: Architecture
    loss: float
    ln_edap: float

    def objective(self, lam: float) -> float:
        """Return what the search minimises."""
        return self.loss + lam * self.ln_edap


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found."""

    kind: Kind
    chosen: Architecture
    candidates: tuple[Candidate, ...]
    """gradient: the likeliest network alone; random: all that were tried."""
    history: tuple[SearchEpoch, ...]
    passes: int
    """Samples that the supernet took, forward passes; a training pass counts as three."""
    reference_edap: float
    logits: list[Tensor]
    """Of the choices of each layer."""


class Search:
    """One search; :meth:`run` carries it through."""

    def __init__(
        self,
        space: NaxSpace,
        tables: CostTables,
        effects: Effects,
        data: tuple[Tensor, Tensor],
        options: SearchOptions,
        kind: Kind = "gradient",
        progress: Progress | None = None,
    ) -> None:
        """Args: data: (samples, channels, side, side) images and (samples,) labels, cut into two parts here.

        Raises:
            DataError: too few samples for both parts.
        """
        self.space, self.tables, self.effects, self.options, self.kind = space, tables, effects, options, kind
        self.progress = progress or Progress()
        x, y = data
        order = torch.randperm(len(x), generator=self._generator("parts"))
        cut = len(x) - max(options.batch, round(options.share * len(x)))
        if cut < options.batch:
            raise DataError(f"{len(x)} training samples are too few for two parts of batches of {options.batch}.")
        self.weights_part, self.choices_part = (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])
        self.steps = cut // options.batch
        self.reference_edap = tables.edap(space.reference)
        self.device = torch.device(options.device)
        self.supernet = SuperNet(space, effects, seed=derive_key(options.seed, "nax weights") >> 33).to(self.device)
        self.choices = Choices(space)
        self.history: list[SearchEpoch] = []
        from crosstile import __version__

        self.key = fingerprint(
            (kind, space.chip.model_dump_json(), repr(dataclasses.replace(space, chip=None)), repr(options), __version__,  # type: ignore[arg-type]
             torch.__version__),
            (x, y, *(t for name in ("loss", "spread", "noise") for t in effects.tables(name))),
        )  # fmt: skip

    def _generator(self, *purpose: object) -> torch.Generator:
        return torch.Generator().manual_seed(derive_key(self.options.seed, "nax", *purpose) >> 1)

    # ------------------------------------------------------------------ the whole

    def run(self, checkpoint: Path | None = None, *, resume: bool = False) -> SearchResult:
        """Search; ``checkpoint`` keeps the state after each epoch, ``resume`` goes on from it.

        Raises:
            UsageError: the checkpoint is of another search. ModelError: the search diverged.
        """
        options = self.options
        learners = self.learners()
        first = 0
        if resume and checkpoint is not None:
            state = load_checkpoint(checkpoint, self.key)
            self.supernet.load_state_dict(state["weights"])
            self.choices.load_state_dict(state["ranges"])
            for learner, kept in zip(learners, state["optimiser"], strict=True):
                learner.load_state_dict(kept)
            self.history = [SearchEpoch(**record) for record in state["history"]]
            first = int(state["epoch"])
        for epoch in range(first, options.epochs):
            self.epoch(epoch, *learners)
            if checkpoint is not None:
                save_checkpoint(checkpoint, {
                    "key": self.key, "epoch": epoch + 1,
                    "weights": {n: v.detach().cpu() for n, v in self.supernet.state_dict().items()},
                    "ranges": dict(self.choices.state_dict()), "optimiser": [one.state_dict() for one in learners],
                    "history": [dataclasses.asdict(record) for record in self.history], "before": None,
                })  # fmt: skip
        found = self._candidates()
        best = min(found, key=lambda one: one.objective(options.lam))
        return SearchResult(
            self.kind, best.architecture, tuple(found), tuple(self.history), self.passes(len(found)), self.reference_edap,
            [logits.detach() for logits in self.choices.layers],
        )  # fmt: skip

    @property
    def choice_steps(self) -> int:
        """Steps of the choices, of the gradient search of these options."""
        return sum(
            1
            for epoch in range(self.options.warmup, self.options.epochs)
            for number in range(self.steps)
            if (epoch * self.steps + number) % self.options.every == 0
        )

    @property
    def tries(self) -> int:
        """Random networks for the passes that the choices' steps take."""
        return max(1, PASSES * self.choice_steps * self.options.batch // len(self.choices_part[0]))

    def passes(self, candidates: int) -> int:
        """Return the samples that the supernet takes, in forward passes."""
        weights = self.options.epochs * self.steps * self.options.batch * PASSES
        if self.kind == "random":
            return weights + candidates * len(self.choices_part[0])
        return weights + self.choice_steps * self.options.batch * PASSES

    def _candidates(self) -> list[Candidate]:
        if self.kind == "gradient":
            chosen = self.choices.likeliest()
            return [self.candidate(chosen)]
        count, rng = self.tries, generator(self.options.seed, "nax random")
        self.progress.stage("random networks", count)
        return [self.candidate(random_architecture(self.space, rng)) for _ in range(count)]

    def candidate(self, architecture: Architecture, draws: int = 1) -> Candidate:
        """Classify the choices' part with the shared weights, and the errors of so many drawn chips."""
        loss = self.shared_loss(*self.space.one_hot(architecture), draws=draws)
        self.progress.advance()
        return Candidate(architecture, loss, math.log(self.tables.edap(architecture) / self.reference_edap))

    def shared_loss(self, layers: list[Tensor], keep: Mapping[str, Tensor], draws: int = 1) -> float:
        """Return the mean cross-entropy on the choices' part, each batch with the errors of ``draws`` drawn chips."""
        total, (x, y), many = 0.0, self.choices_part, self.options.batch
        self.supernet.train()
        kept = {n: v.clone() for n, v in self.supernet.state_dict().items() if "running" in n or "tracked" in n}
        with torch.no_grad():
            for start, number in itertools.product(range(0, len(x), many), range(draws)):
                images, labels = (part[start : start + many].to(self.device) for part in (x, y))
                scores = self.supernet(images, layers, keep, self._generator("shared loss", start, number))
                total += float(F.cross_entropy(scores, labels, reduction="sum"))
        self.supernet.load_state_dict(kept, strict=False)
        return total / (len(x) * draws)

    # ------------------------------------------------------------------ steps

    def learners(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Return the optimisers of weights and of choices."""
        options = self.options
        weights = torch.optim.SGD(
            self.supernet.parameters(), lr=options.lr, momentum=0.9, weight_decay=options.weight_decay, nesterov=True
        )
        return weights, torch.optim.Adam(self.choices.parameters(), lr=options.lr_choices, betas=(0.5, 0.999))

    def _left(self, epoch: int, number: int) -> float:
        """Return the share of the search after the warm-up that is still ahead."""
        options = self.options
        return 1.0 - (epoch - options.warmup + number / self.steps) / (options.epochs - options.warmup)

    def epoch(self, epoch: int, weights: torch.optim.Optimizer, choices: torch.optim.Optimizer) -> None:
        """Go once through the samples that weights are learnt on, with steps of choices between after the warm-up."""
        options, began = self.options, time.perf_counter()
        searching = epoch >= options.warmup and self.kind == "gradient"
        self.supernet.train()
        order = torch.randperm(len(self.weights_part[0]), generator=self._generator("order", epoch))
        other = torch.randperm(len(self.choices_part[0]), generator=self._generator("other order", epoch))
        losses, choice_losses = [], []
        self.progress.stage(f"{self.kind} search, epoch {epoch + 1} of {options.epochs}", self.steps)
        for number in range(self.steps):
            step = epoch * self.steps + number
            draws = self._generator("step", step)
            rate = 0.5 * options.lr * (1.0 + math.cos(math.pi * step / (options.epochs * self.steps)))
            for group in weights.param_groups:
                group["lr"] = rate
            x, y = (part[order[number * options.batch : (number + 1) * options.batch]] for part in self.weights_part)
            if options.augment:
                x = augment(x, draws)
            losses.append(self._weights_step(x, y, weights, draws, even=not searching))
            if searching and step % options.every == 0:
                place = (number // options.every * options.batch) % len(other)
                picked = other.roll(-place)[: options.batch]
                x, y = (part[picked] for part in self.choices_part)
                choice_losses.append(self.choices_step(x, y, choices, draws, self._left(epoch, number)))
            self.progress.advance()
        chosen = self.choices.likeliest()
        with torch.no_grad():
            mixed = float(self.tables.totals(*self.choices.probabilities()).edap)
        self.history.append(
            SearchEpoch(
                epoch + 1, float(np.mean(losses)), float(np.mean(choice_losses)) if choice_losses else None,
                math.log(mixed / self.reference_edap), math.log(self.tables.edap(chosen) / self.reference_edap),
                self.choices.entropy(), chosen.as_dict(), time.perf_counter() - began,
            )
        )  # fmt: skip

    def _weights_step(
        self, x: Tensor, y: Tensor, optimiser: torch.optim.Optimizer, draws: torch.Generator, *, even: bool
    ) -> float:
        with torch.no_grad():
            layers, keep = (
                self.choices.even(draws, skip=self.kind == "random") if even else self.choices.taken(draws)[:2]
            )
        scores = self.supernet(
            x.to(self.device), [p.detach() for p in layers], {n: g.detach() for n, g in keep.items()}, draws
        )
        loss = F.cross_entropy(scores, y.to(self.device))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.supernet.parameters(), 5.0)
        optimiser.step()
        found = float(loss.detach())
        if not math.isfinite(found):
            raise ModelError(f"the search diverged at a loss of {found:g}; lower --lr.")
        return found

    def choices_step(
        self, x: Tensor, y: Tensor, optimiser: torch.optim.Optimizer, draws: torch.Generator, left: float
    ) -> float:
        """Take one step of the choices; ``left`` is the share of them still ahead. Returns the cross-entropy."""
        options = self.options
        temperature = options.temperature * (options.final_temperature / options.temperature) ** (1.0 - left)
        wanted = list(self.choices.parameters())
        if options.sampling == "score":
            task, found = self.scored(x, y, draws)
        else:
            layers, keep = self.choices.drawn(options.sampling, temperature, draws)
            task = F.cross_entropy(self.supernet(x.to(self.device), layers, keep, draws), y.to(self.device))
            found = float(task.detach())
        cost = torch.log(self.tables.totals(*self.choices.probabilities()).edap / self.reference_edap)
        # Of the logits alone: weights are learnt on other samples.
        whole = task + options.lam * cost.to(task.dtype).to(task.device)
        if options.entropy > 0:
            whole = whole - options.entropy * left * torch.stack(self.choices.entropies()).sum().to(task.device)
        gradients = torch.autograd.grad(whole, wanted, allow_unused=True)
        for parameter, gradient in zip(wanted, gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
        optimiser.step()
        return found

    def scored(self, x: Tensor, y: Tensor, draws: torch.Generator) -> tuple[Tensor, float]:
        """Return a term whose gradient is that of the expected cross-entropy, without bias, and the mean cross-entropy.

        Networks are drawn and classify the same samples with the same errors; each is weighed by how much worse it did than the
        mean of the others.
        """
        losses, chances = [], []
        seed = int(torch.randint(2**62, (), generator=draws))
        for _ in range(PASSES):
            layers, keep, chance = self.choices.taken(draws)
            with torch.no_grad():
                scores = self.supernet(x.to(self.device), layers, keep, torch.Generator().manual_seed(seed))
                losses.append(float(F.cross_entropy(scores, y.to(self.device))))
            chances.append(chance)
        mean = float(np.mean(losses))
        share = 1.0 / (PASSES - 1)  # of the loss minus the mean of the others, over the number of networks
        terms = [share * (loss - mean) * chance for loss, chance in zip(losses, chances, strict=True)]
        return torch.stack(terms).sum(), mean
