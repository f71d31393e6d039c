"""``train_basis``: basis and coefficients learnt in turn, for a network that all stands on one basis.

    coefficients learnt, basis fixed  ->  basis learnt, coefficients fixed  ->  ...  ->  basis frozen, coefficients fine-tuned

With the regulariser against contests the last part goes without it, and coefficients that are zero then stay zero.

    loss = (1 - d) CE(z, y) + d T^2 KL( softmax(z_0 / T) || softmax(z / T) )        z_0 the scores of the network that was given

Scales and biases, which are digital and hold the batch-norms, are learnt throughout; statistics of batch-norms stay, as in
:mod:`crosstile.training`. Distillation: G. Hinton, O. Vinyals, J. Dean, arXiv:1503.02531 (2015). All draws are named by seed and
step, so that an interrupted training goes on to the same end. They are drawn on the CPU, where the basis is found and chips are
programmed, too; steps and accuracy are computed on ``device``.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.basisn.arrays import coefficient_chip, device_chip
from crosstile.basisn.fake_quant import CodedLayer, LearntBasis
from crosstile.basisn.network import BasisNetwork, folded_layers, map_basis, map_saved, rebuilt
from crosstile.basisn.regularise import shrink
from crosstile.basisn.save import BasisModel
from crosstile.basisn.training_options import BasisTrainOptions
from crosstile.crossbar.program import derive_key
from crosstile.errors import ModelError, UsageError
from crosstile.mapping.modules import replace_modules
from crosstile.mapping.replace import check_batch
from crosstile.specs.chip import ChipSpec
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.resume import fingerprint
from crosstile.study.samples import CALIBRATION_SAMPLES
from crosstile.study.stages import Progress
from crosstile.training.augment import augment
from crosstile.training.checkpoint import load_checkpoint, save_checkpoint
from crosstile.training.loop import TRAINING_CHIPS, check_labels, check_scores
from crosstile.training.network import float_copy
from crosstile.training.result import EpochRecord, Measured

_BATCH = 128


@dataclass(frozen=True, eq=False)
class BasisTrainResult:
    """The outcome of :func:`train_basis`."""

    model: BasisModel
    """Basis, coefficients, scales and biases; the last step's."""
    start: BasisModel
    """The same before training."""
    history: tuple[EpochRecord, ...]
    before: Measured | None
    """Held-out accuracy of ``start``, digital and on chips; None without held-out samples."""
    after: Measured | None
    options: BasisTrainOptions
    chip: ChipSpec
    source: nn.Module
    """The network that was given, in single precision."""

    def map(self, calibration: Tensor, chip: ChipSpec | None = None) -> BasisNetwork:
        """Map the trained network. Args: calibration: (batch, ...) inputs. chip: another than it was trained for."""
        options = self.options
        return map_saved(
            self.source, self.model, chip or self.chip, calibration, seed=options.seed, digital=options.digital
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without basis and coefficients."""
        return {
            "chip": self.chip.name,
            "options": dataclasses.asdict(self.options) | {"digital": list(self.options.digital)},
            "before": None if self.before is None else self.before.as_dict(),
            "after": None if self.after is None else self.after.as_dict(),
            "history": [dataclasses.asdict(record) for record in self.history],
            "torch": torch.__version__,
        }


def train_basis(
    model: nn.Module,
    chip: ChipSpec,
    x: Tensor,
    y: Tensor,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
    calibration: Tensor | None = None,
    options: BasisTrainOptions | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **given: Any,
) -> BasisTrainResult:
    """Put a trained network on a basis, and train basis and coefficients.

    Args:
        model: a trained network, as :func:`crosstile.basisn.network.map_basis` takes it. It is not touched.
        chip: its arrays hold the basis.
        x, y: (samples, ...) inputs as the network takes them, and (samples,) labels, to train on.
        held_out: inputs and labels that nothing is trained on; accuracy on them is measured before and after.
        calibration: (batch, ...) inputs that set ranges; default: the first 128 of ``x``.
        options: see :class:`BasisTrainOptions`; or its fields as arguments: ``sets=4, coefficient_bits=2``.
        checkpoint: a file in which the state is kept after each epoch. resume: go on from it, to the same end:
            bit for bit on the same device, and on another one as far as its sums agree.
        progress: told about stages and steps.

    Raises:
        UsageError: an option, or a checkpoint that does not belong to this training.
        SpecError: chip and basis do not fit. DataError: the data do not fit the network.
        ModelError: the network cannot be mapped, or training diverged.
    """
    if options is not None and given:
        raise UsageError(f"train_basis() takes options or single fields of it, not both; found {', '.join(given)}.")
    options = options or BasisTrainOptions.of(given)
    options.check()
    if resume and checkpoint is None:
        raise UsageError("resume needs checkpoint, the file that the earlier training wrote.")
    if options.chip_every and chip.compensation.outputs != "none":
        raise UsageError(
            f"chip_every trains with the chip's losses, which compensation.outputs: {chip.compensation.outputs} corrects once "
            "more; set chip_every to 0, or compensation.outputs to none."
        )
    x, y = check_labels(x, y, "training data")
    if held_out is not None:
        held_out = check_labels(*held_out, "held-out data")
    calibration = x[:CALIBRATION_SAMPLES] if calibration is None else calibration.detach().cpu()
    check_batch(calibration, "calibration data")
    source = float_copy(model)
    check_scores(source, x, y)
    if options.augment and x.dim() != 4:
        raise UsageError(
            f"augment shifts images (samples, channels, height, width); inputs have shape {tuple(x.shape)}."
        )
    return _Training(source, chip, (x, y), held_out, calibration.float(), options, progress or Progress()).run(
        checkpoint, resume=resume
    )


class _Student(nn.Module):
    """The network in training: ``learnt`` layers on one basis, the rest as it was."""

    def __init__(
        self, source: nn.Module, seen: ChipSpec, calibration: Tensor, start: BasisModel, options: BasisTrainOptions
    ) -> None:
        super().__init__()
        network, layers = folded_layers(source, seen, calibration, options.digital)
        self.basis = LearntBasis(start.basis)
        self.learnt = nn.ModuleList(
            CodedLayer(
                layer,
                start.layers[name],
                self.basis,
                options.coefficient_bits,
                options.sparsity,
                reselect=options.reselect,
            )
            for name, layer in layers.items()
        )
        self.names = list(layers)
        stand_in = dict(zip([layer.call.module for layer in layers.values()], self.learnt, strict=True))
        self._network = (replace_modules(network, stand_in),)  # a tuple: its layers are parameters once, in ``learnt``

    def coded(self) -> list[CodedLayer]:
        return [layer for layer in self.learnt if isinstance(layer, CodedLayer)]

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self._network[0](x)
        return scores

    def on(self, device: torch.device) -> _Student:
        """Move all of the network, those layers, too, that are not learnt; return it."""
        self._network[0].to(device)
        return self.to(device)

    def model(self, bits: int) -> BasisModel:
        layers = {name: layer.layer() for name, layer in zip(self.names, self.coded(), strict=True)}
        return BasisModel(self.basis.basis(), bits, layers)


class _Training:
    def __init__(
        self,
        source: nn.Module,
        chip: ChipSpec,
        data: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor] | None,
        calibration: Tensor,
        options: BasisTrainOptions,
        progress: Progress,
    ) -> None:
        self.source, self.chip, self.options, self.progress = source, chip, options, progress
        self.device = torch.device(options.device)
        self.teacher = source if options.device == "cpu" else copy.deepcopy(source).to(self.device)
        self.x, self.y = data
        self.held_out, self.calibration = held_out, calibration
        self.steps = -(-len(self.x) // options.batch)
        self.seen = coefficient_chip(chip, options.coefficient_bits)
        from crosstile import __version__

        # A checkpoint goes on on another device, too.
        anywhere = dataclasses.astuple(dataclasses.replace(options, device="cpu"))
        self.key = fingerprint(
            ("basis", chip.model_dump_json(), anywhere, __version__, torch.__version__),
            (self.x, self.y, *(held_out or ()), calibration, *source.state_dict().values()),
        )
        self.history: list[EpochRecord] = []
        self.before: Measured | None = None

    def run(self, checkpoint: Path | None, *, resume: bool) -> BasisTrainResult:
        options = self.options
        state = load_checkpoint(checkpoint, self.key) if resume and checkpoint is not None else None
        self.progress.stage("find the basis")
        start = map_basis(
            self.source, self.chip, self.calibration, sets=options.sets, vectors=options.vectors,
            coefficient_bits=options.coefficient_bits, sparsity=options.sparsity, method=options.method,
            cell_bits=options.cell_bits, contest=options.contest_start, seed=options.seed, digital=options.digital,
            progress=lambda _: self.progress.advance(),
        ).model()  # fmt: skip
        if state is None:
            self.before = self.measure(start, "before training")
        student = _Student(self.source, self.seen, self.calibration, start, options).on(self.device)
        optimiser = self._optimiser(student)
        first = 0
        if state is not None:
            student.load_state_dict(state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            self.history = [EpochRecord(**record) for record in state["history"]]
            self.before = None if state["before"] is None else Measured.from_dict(state["before"])
            first = int(state["epoch"])
        for epoch in range(first, options.epochs):
            self._epoch(epoch, student, optimiser)
            if checkpoint is not None:
                self._save(checkpoint, epoch + 1, student, optimiser)
        trained = student.model(options.coefficient_bits)
        after = self.measure(trained, "after training")
        return BasisTrainResult(
            trained, start, tuple(self.history), self.before, after, options, self.chip, self.source
        )

    def measure(self, model: BasisModel, what: str) -> Measured | None:
        """Return the accuracy on held-out samples: of the digital network, and of chips that were not trained on."""
        if self.held_out is None:
            return None
        (x, y), options = self.held_out, self.options
        x = x.to(self.device)
        self.progress.stage(f"accuracy {what}", len(x) * (1 + options.trials))
        digital = rebuilt(self.source, model, self.chip, self.calibration, options.digital)
        share = count_correct(digital.to(self.device), x, y, _BATCH, self.progress.advance) / len(x)
        mapped = map_saved(
            self.source, model, self.chip, self.calibration, seed=options.seed, digital=options.digital
        ).mapped.to(self.device)
        found = evaluate(mapped, x, y, trials=options.trials, batch=_BATCH, progress=self.progress.advance)
        return Measured(share, found)

    def _optimiser(self, student: _Student) -> torch.optim.Optimizer:
        coded = student.coded()
        digital = [p for layer in coded for p in (layer.log_scale, layer.bias) if p is not None]
        return torch.optim.Adam([
            {"params": [layer.latent for layer in coded], "lr": 0.0},
            {"params": [student.basis.latent], "lr": 0.0},
            {"params": digital, "lr": 0.0},
        ])  # fmt: skip

    def _set_rates(self, optimiser: torch.optim.Optimizer, step: int) -> float:
        options = self.options
        factor = 0.5 * (1.0 + math.cos(math.pi * step / (options.epochs * self.steps)))
        rates = [rate * factor for rate in (options.lr_codes, options.lr_basis, options.lr_digital)]
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        return rates[0]

    def _is_final(self, step: int) -> bool:
        return step >= (1.0 - self.options.final) * self.options.epochs * self.steps

    def _learns_codes(self, step: int) -> bool:
        return self._is_final(step) or step // self.options.phase % 2 == 0

    def _epoch(self, epoch: int, student: _Student, optimiser: torch.optim.Optimizer) -> None:
        options, began = self.options, time.perf_counter()
        device = device_chip(self.seen, options.cell_bits)
        generator = torch.Generator().manual_seed(derive_key(options.seed, "basis training data", epoch) >> 1)
        order = torch.randperm(len(self.x), generator=generator)
        loss_sum, correct, rate = 0.0, 0, 0.0
        self.progress.stage(f"epoch {epoch + 1} of {options.epochs}", self.steps)
        for number in range(self.steps):
            step = epoch * self.steps + number
            for layer in student.coded():
                if options.contest_start > 0 or (options.contest > 0 and self._is_final(step)):
                    layer.freeze_support()
                elif number == 0:
                    layer.select()
            if options.chip_every and number % options.chip_every == 0:
                student.basis.program(device, options.seed, TRAINING_CHIPS + step)
            rate = self._set_rates(optimiser, step)
            picked = order[number * options.batch : (number + 1) * options.batch]
            images, labels = self.x[picked].to(self.device), self.y[picked].to(self.device)
            if options.augment:
                images = augment(images, generator)
            scores, loss = self._step(student, optimiser, images, labels, step)
            if not bool(torch.isfinite(loss)):
                raise ModelError(
                    f"training diverged in epoch {epoch + 1}, step {number + 1}, at a loss of {float(loss):g}; lower the rates."
                )
            loss_sum += float(loss) * len(picked)
            correct += int((scores.argmax(dim=1) == labels).sum())
            self.progress.advance()
        count = len(self.x)
        self.history.append(
            EpochRecord(epoch + 1, rate, loss_sum / count, correct / count, None, time.perf_counter() - began)
        )

    def _step(
        self, student: _Student, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        options, learns_codes = self.options, self._learns_codes(step)
        student.basis.refresh(learn=not learns_codes)
        for layer in student.coded():
            layer.learn_codes = learns_codes
        scores = student(images)
        loss = (1.0 - options.distil) * F.cross_entropy(scores, labels)
        if options.distil > 0:
            with torch.no_grad():
                wanted = F.log_softmax(self.teacher(images) / options.temperature, dim=1)
            found = F.log_softmax(scores / options.temperature, dim=1)
            distance = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
            loss = loss + options.distil * options.temperature**2 * distance
        optimiser.zero_grad()  # what is not learnt in this step has no gradient and stays
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        for layer in student.coded():
            if learns_codes and options.contest > 0 and not self._is_final(step):
                lost = shrink(layer.latent, layer.top, optimiser.param_groups[0]["lr"] * options.contest)
                layer.log_scale.data -= lost.log()
            layer.clip()
        student.basis.clip()
        return scores.detach(), loss.detach()

    def _save(self, path: Path, epoch: int, student: _Student, optimiser: torch.optim.Optimizer) -> None:
        save_checkpoint(
            path,
            {
                "key": self.key,
                "epoch": epoch,
                "weights": {name: value.detach().cpu() for name, value in student.state_dict().items()},
                "ranges": {},
                "optimiser": optimiser.state_dict(),
                "history": [dataclasses.asdict(record) for record in self.history],
                "before": None if self.before is None else self.before.as_dict(),
            },
        )
