"""A found architecture made real: trained with the errors of its own arrays, mapped with each layer on its arrays, measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.cost.estimate import estimate
from crosstile.cost.report import CostReport
from crosstile.crossbar.program import derive_key
from crosstile.errors import ModelError
from crosstile.mapping.modules import replace_modules
from crosstile.mapping.plan import plan_layer
from crosstile.mapping.replace import map_network
from crosstile.nax.nonideal import Effects
from crosstile.nax.options import SearchOptions
from crosstile.nax.space import Architecture, NaxSpace, Slot
from crosstile.nax.supernet import ChoiceLayer
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.stages import Progress
from crosstile.training.augment import augment

_BATCH = 128


@dataclass(frozen=True)
class Figures:
    """Cost of one sample, as ``crosstile estimate`` gives it for the network and its chip."""

    energy_j: float
    delay_s: float
    area_m2: float
    edap_jsm2: float
    edap_in_parts_jsm2: float
    """With parts of macros and tiles instead of whole ones, as the search counts."""
    arrays: int
    utilisation: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """One network on its chip."""

    architecture: Architecture
    cost: Figures
    digital: float
    """Held-out accuracy without a chip."""
    chip: float
    """Held-out accuracy, mean over programmed chips."""
    per_chip: tuple[float, ...]
    ci95: tuple[float, float]
    loss: float
    """Cross-entropy of chip 0 on the held-out samples."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "architecture": self.architecture.as_dict(), "cost": self.cost.as_dict(), "digital": self.digital, "chip": self.chip,
            "per_chip": list(self.per_chip), "ci95": list(self.ci95), "loss": self.loss,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measured:
        """Return what :meth:`as_dict` wrote."""
        return cls(
            Architecture.from_dict(data["architecture"]), Figures(**data["cost"]), data["digital"], data["chip"],
            tuple(data["per_chip"]), (data["ci95"][0], data["ci95"][1]), data["loss"],
        )  # fmt: skip


def cost_report(space: NaxSpace, architecture: Architecture) -> CostReport:
    """Return the estimate of an architecture on its chip."""
    chip = space.chip_for(architecture)
    return estimate([plan_layer(shape, chip) for shape in space.shapes(architecture)], chip)


def figures(space: NaxSpace, architecture: Architecture, edap_in_parts: float) -> Figures:
    """Return the cost of an architecture."""
    report = cost_report(space, architecture)
    delay_s = report.latency_s if space.chip.hardware.pipeline == "layer_serial" else report.latency_pipelined_s
    return Figures(
        report.energy_j,
        delay_s,
        report.area_m2,
        report.edap_jsm2,
        edap_in_parts,
        report.arrays_used,
        report.cell_utilisation,
    )


class _Noisy(nn.Module):
    """One network of the space with the errors of its arrays; parameters and names are those of the plain one."""

    def __init__(self, space: NaxSpace, architecture: Architecture, effects: Effects | None, seed: int) -> None:
        super().__init__()
        network = space.build(architecture, seed=seed)
        modules = dict(network.named_modules())
        self.choices: list[ChoiceLayer] = []
        for number, slot in enumerate(space.slots):
            if slot.name not in modules:
                continue
            source = modules[slot.name]
            assert isinstance(source, (nn.Conv2d, nn.Linear))
            k, x = architecture.kernels.get(slot.name, 1), architecture.arrays[slot.name]
            found = (0.0, 0.0, 0.0)
            if effects is not None:
                effect = effects.slots[number][slot.kernels.index(k)][slot.arrays.index(x)]
                found = (effect.loss, effect.spread, effect.noise)
            alone = Slot(
                slot.name, slot.channels, slot.outputs, slot.in_side, slot.stride, (k,), (x,), None, slot.linear
            )
            layer = ChoiceLayer(source, alone, tuple(torch.tensor([[value]]) for value in found))  # type: ignore[arg-type]
            layer.choice = torch.ones(1, 1)
            self.choices.append(layer)
            network = replace_modules(network, {source: layer})
        self.network = network

    def forward(self, x: Tensor, draws: torch.Generator | None) -> Tensor:
        for layer in self.choices:
            layer.generator = draws
        scores: Tensor = self.network(x)
        return scores


def train_architecture(
    space: NaxSpace,
    architecture: Architecture,
    effects: Effects | None,
    data: tuple[Tensor, Tensor],
    options: SearchOptions,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a network from its first weights, with the errors of its own arrays in the forward pass.

    Args:
        effects: of arrays; None: none. data: images and labels.

    Returns:
        the plain network, in evaluation mode.

    Raises:
        ModelError: training diverged.
    """
    progress = progress or Progress()
    device, (x, y) = torch.device(options.device), data
    network = _Noisy(space, architecture, effects, derive_key(options.seed, "nax retrain") >> 33).to(device).train()
    steps = max(1, len(x) // options.batch)
    learner = torch.optim.SGD(
        network.parameters(), lr=options.lr, momentum=0.9, weight_decay=options.weight_decay, nesterov=True
    )
    progress.stage("train what was found", options.retrain * steps)
    for epoch in range(options.retrain):
        order = torch.randperm(len(x), generator=_draws(options.seed, "order", epoch))
        for number in range(steps):
            step = epoch * steps + number
            for group in learner.param_groups:
                group["lr"] = 0.5 * options.lr * (1.0 + math.cos(math.pi * step / (options.retrain * steps)))
            draws = _draws(options.seed, "step", step)
            picked = order[number * options.batch : (number + 1) * options.batch]
            images = augment(x[picked], draws) if options.augment else x[picked]
            loss = F.cross_entropy(network(images.to(device), None if effects is None else draws), y[picked].to(device))
            learner.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            learner.step()
            if not math.isfinite(float(loss.detach())):
                raise ModelError(f"training diverged in epoch {epoch + 1}; lower --lr.")
            progress.advance()
    plain = space.build(architecture, seed=0)
    plain.load_state_dict({name: value.detach().cpu() for name, value in network.network.state_dict().items()})
    return plain.eval()


def measure(
    space: NaxSpace,
    architecture: Architecture,
    network: nn.Module,
    held_out: tuple[Tensor, Tensor],
    calibration: Tensor,
    options: SearchOptions,
    edap_in_parts: float,
    progress: Progress | None = None,
) -> Measured:
    """Map a trained network with each layer on its arrays, and measure it on programmed chips."""
    progress = progress or Progress()
    x, y = held_out
    progress.stage("accuracy on chips", len(x) * (options.trials + 2))
    digital = count_correct(network, x, y, _BATCH, progress.advance) / len(x)
    mapped = map_network(network, space.chip_for(architecture), calibration, seed=options.seed)
    found = evaluate(mapped, x, y, trials=options.trials, batch=_BATCH, progress=progress.advance)
    mapped.program(0)
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(x), _BATCH):
            scores = mapped(x[start : start + _BATCH])
            total += float(F.cross_entropy(scores, y[start : start + _BATCH], reduction="sum"))
            progress.advance(len(scores))
    return Measured(
        architecture,
        figures(space, architecture, edap_in_parts),
        digital,
        found.mean,
        found.per_trial,
        found.ci95,
        total / len(x),
    )


def _draws(seed: int, *purpose: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_key(seed, "nax retrain", *purpose) >> 1)


def load_network(space: NaxSpace, architecture: Architecture, path: Path) -> nn.Module:
    """Return the network of a file that a job wrote."""
    from crosstile.zoo.checkpoint import apply_state_dict, load_state_dict

    network = space.build(architecture, seed=0)
    apply_state_dict(network, load_state_dict(path), path)
    return network.eval()
