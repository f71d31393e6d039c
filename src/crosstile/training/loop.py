"""``train``: fine-tune a network for the chip that it will run on.

Each epoch begins with mapping the network as it is, which calibrates ranges as the final mapping will, and ends with a
checkpoint. All that is random is named by seed, epoch and step: neither an interruption nor a validation changes a weight.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.program import derive_key
from crosstile.errors import DataError, ModelError, UsageError
from crosstile.mapping.replace import check_batch
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.resume import fingerprint
from crosstile.study.samples import CALIBRATION_SAMPLES
from crosstile.study.stages import Progress
from crosstile.training.augment import augment
from crosstile.training.checkpoint import load_checkpoint, save_checkpoint
from crosstile.training.network import TrainingNetwork, float_copy
from crosstile.training.options import TrainOptions, check
from crosstile.training.result import EpochRecord, Measured, TrainResult, map_with_ranges

TRAINING_CHIPS = 1_000_000
"""Number of the first chip to train on: accuracy is measured on others, 0, 1, 2 and so on."""
_BATCH = 128


def train(
    model: nn.Module,
    chip: ChipSpec,
    x: Tensor,
    y: Tensor,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
    calibration: Tensor | None = None,
    options: TrainOptions | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **given: Any,
) -> TrainResult:
    """Train a network with the errors of a chip in its forward pass.

    Args:
        model: a trained network, as :func:`crosstile.map` takes it. It is not touched.
        chip: the chip to train for.
        x, y: (samples, ...) inputs as the network takes them, and (samples,) labels, to train on.
        held_out: inputs and labels that nothing is trained on; the accuracy of programmed chips on them is measured before
            and after.
        calibration: (batch, ...) inputs that set ranges; default: the first 128 of ``x``.
        options: see :class:`crosstile.training.options.TrainOptions`; or its fields as arguments: ``epochs=4, lr=1e-4``.
        checkpoint: a file in which the state is kept after each epoch.
        resume: go on from that file; the outcome is that of a training without an interruption, bit for bit.
        progress: told about stages and steps.

    Returns:
        the trained network, the history, and both accuracies.

    Raises:
        UsageError: an option, or a checkpoint that does not belong to this training.
        DataError: the data do not fit the network.
        ModelError: the network cannot be mapped or trained, or training diverged.
    """
    if options is not None and given:
        raise UsageError(
            f"train() takes options or single fields of it, not both; found options and {', '.join(given)}."
        )
    options = options or TrainOptions.of(given)
    check(options)
    if resume and checkpoint is None:
        raise UsageError("resume needs checkpoint, the file that the earlier training wrote.")
    x, y = check_labels(x, y, "training data")
    if held_out is not None:
        held_out = check_labels(*held_out, "held-out data")
    calibration = x[:CALIBRATION_SAMPLES] if calibration is None else calibration.detach().cpu()
    check_batch(calibration, "calibration data")
    start = float_copy(model)
    check_scores(start, x, y)
    return _Training(start, chip, (x, y), held_out, calibration.float(), options, progress or Progress()).run(
        checkpoint, resume=resume
    )


def check_labels(x: Tensor, y: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Return inputs and labels on the CPU, in single precision and as whole numbers; :class:`DataError` where they do not fit."""
    check_batch(x, what)
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
        raise DataError(
            f"{what}: {len(x)} inputs need whole-numbered labels of shape ({len(x)},); found {tuple(y.shape)}, {y.dtype}."
        )
    return x.detach().cpu().float(), y.detach().cpu().long()


def check_scores(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise :class:`DataError` unless the network gives a score for each label."""
    try:
        with torch.inference_mode():
            scores = model(x[:2])
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(
            f"the network does not run on inputs of shape {tuple(x.shape[1:])}: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != min(2, len(x)):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise DataError(f"the network must give (samples, classes) scores; on two samples it gives {found}.")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(
            f"training data: labels run from {low} to {high}, but the network gives {scores.shape[1]} scores."
        )


class _Training:
    def __init__(
        self,
        start: nn.Module,
        chip: ChipSpec,
        data: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor] | None,
        calibration: Tensor,
        options: TrainOptions,
        progress: Progress,
    ) -> None:
        self.model, self.chip, self.options, self.progress = start, chip, options, progress
        self.x, self.y = data
        self.held_out, self.calibration = held_out, calibration
        self.steps = -(-len(self.x) // options.batch)
        if options.augment and self.x.dim() != 4:
            raise UsageError(
                f"--augment shifts images (samples, channels, height, width); inputs have shape {tuple(self.x.shape)}."
            )
        held = () if held_out is None else held_out
        from crosstile import __version__

        self.key = fingerprint(
            (chip.model_dump_json(), dataclasses.astuple(options), __version__, torch.__version__),
            (self.x, self.y, *held, calibration, *start.state_dict().values()),
        )
        self.history: list[EpochRecord] = []
        self.before: Measured | None = None

    # ------------------------------------------------------------------ the whole

    def run(self, checkpoint: Path | None, *, resume: bool) -> TrainResult:
        options = self.options
        state = load_checkpoint(checkpoint, self.key) if resume and checkpoint is not None else None
        if state is None:
            self.before = self.measure("before training")
        self.progress.stage("map to arrays")
        network = TrainingNetwork(
            self.model, self.chip, self.calibration, options, progress=lambda _: self.progress.advance()
        )
        optimiser = self._optimiser(network)
        first = 0
        if state is not None:
            first = self._restore(state, network, optimiser)
        elif checkpoint is not None:
            self._save(checkpoint, 0, network, optimiser)
        mapped = first == 0  # these very weights have been mapped just now
        for epoch in range(first, options.epochs):
            self._epoch(epoch, network, optimiser, mapped=mapped)
            mapped = self.history[-1].validation_accuracy is not None
            if checkpoint is not None:
                self._save(checkpoint, epoch + 1, network, optimiser)
        ranges = network.ranges() if options.learn_ranges else None
        self.model.to("cpu")
        after = self.measure("after training", ranges)
        return TrainResult(self.model, tuple(self.history), self.before, after, ranges, options, self.chip)

    def measure(self, what: str, ranges: dict[str, InputScale] | None = None) -> Measured | None:
        """Return the accuracy of the network as it is, on held-out samples and chips that were not trained on."""
        if self.held_out is None:
            return None
        (x, y), options = self.held_out, self.options
        self.progress.stage(f"accuracy {what}", len(x) * (1 + options.trials))
        digital = count_correct(self.model, x, y, _BATCH, self.progress.advance) / len(x)
        mapped = map_with_ranges(self.model, self.chip, self.calibration, options, ranges).to(options.device)
        done: list[float] = []
        if options.one_chip is not None:  # the chip that it was trained for, and no other
            mapped.program(options.one_chip)
            done = [count_correct(mapped, x.to(options.device), y, _BATCH, self.progress.advance) / len(x)]
        found = evaluate(
            mapped, x.to(options.device), y, trials=1 if done else options.trials, batch=_BATCH, done=done,
            progress=self.progress.advance,
        )  # fmt: skip
        return Measured(digital, found)

    # ------------------------------------------------------------------ one epoch

    def _epoch(self, epoch: int, network: TrainingNetwork, optimiser: torch.optim.Optimizer, *, mapped: bool) -> None:
        options, began, device = self.options, time.perf_counter(), torch.device(self.options.device)
        if not mapped:
            self.progress.stage(f"calibrate for epoch {epoch + 1}")
            network.recalibrate(lambda _: self.progress.advance())
        generator = torch.Generator().manual_seed(derive_key(options.seed, "training data", epoch) >> 1)
        order = torch.randperm(len(self.x), generator=generator)
        loss_sum, correct, rate = 0.0, 0, options.lr
        self.progress.stage(f"epoch {epoch + 1} of {options.epochs}", self.steps)
        for number in range(self.steps):
            step = epoch * self.steps + number
            if number % options.chip_every == 0:
                network.program(TRAINING_CHIPS + step if options.one_chip is None else options.one_chip)
            rate = self._set_rate(optimiser, step)
            picked = order[number * options.batch : (number + 1) * options.batch]
            images, labels = self.x[picked].to(device), self.y[picked].to(device)
            if options.augment:
                images = augment(images, generator)
            scores = network.forward(images, step)
            loss = F.cross_entropy(scores, labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if network.diverged or not bool(torch.isfinite(loss.detach())):
                raise ModelError(
                    f"training diverged in epoch {epoch + 1}, step {number + 1}, at a loss of {float(loss.detach()):g}; "
                    "lower --lr."
                )
            network.clip()
            loss_sum += float(loss.detach()) * len(picked)
            correct += int((scores.detach().argmax(dim=1) == labels).sum())
            self.progress.advance()
        validation = self._validate(network)
        count = len(self.x)
        self.history.append(
            EpochRecord(epoch + 1, rate, loss_sum / count, correct / count, validation, time.perf_counter() - began)
        )

    def _validate(self, network: TrainingNetwork) -> float | None:
        count = self.options.validation_samples
        if self.held_out is None or count == 0:
            return None
        x, y = (part[:count] for part in self.held_out)
        self.progress.stage("validate", len(x))
        mapped = network.recalibrate()
        mapped.program(self.options.one_chip or 0)
        device = torch.device(self.options.device)
        return count_correct(mapped.to(device), x.to(device), y, _BATCH, self.progress.advance) / len(x)

    # ------------------------------------------------------------------ optimiser and state

    def _optimiser(self, network: TrainingNetwork) -> torch.optim.Optimizer:
        options = self.options
        groups: list[dict[str, Any]] = [{"params": network.parameters(), "weight_decay": options.weight_decay}]
        ranges = network.range_parameters()
        if ranges:
            groups.append({"params": list(ranges.values()), "weight_decay": 0.0})
        if options.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum)
        return torch.optim.AdamW(groups, lr=options.lr)

    def _set_rate(self, optimiser: torch.optim.Optimizer, step: int) -> float:
        options = self.options
        share = step / (options.epochs * self.steps) if options.schedule == "cosine" else 0.0
        rate = 0.5 * options.lr * (1.0 + math.cos(math.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _save(self, path: Path, epoch: int, network: TrainingNetwork, optimiser: torch.optim.Optimizer) -> None:
        save_checkpoint(
            path,
            {
                "key": self.key,
                "epoch": epoch,
                "weights": {name: value.detach().cpu() for name, value in self.model.state_dict().items()},
                "ranges": {name: gain.detach().cpu() for name, gain in network.range_parameters().items()},
                "optimiser": optimiser.state_dict(),
                "history": [dataclasses.asdict(record) for record in self.history],
                "before": None if self.before is None else self.before.as_dict(),
            },
        )

    def _restore(self, state: dict[str, Any], network: TrainingNetwork, optimiser: torch.optim.Optimizer) -> int:
        self.model.load_state_dict(state["weights"])
        for name, gain in network.range_parameters().items():
            gain.data.copy_(state["ranges"][name])
        optimiser.load_state_dict(state["optimiser"])
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.before = None if state["before"] is None else Measured.from_dict(state["before"])
        return int(state["epoch"])
