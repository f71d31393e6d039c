"""Training on a basis on a GPU: tensors of two devices never meet, and CUDA gives what the CPU gives.

Where there is no GPU, torch's device ``meta``, whose tensors have no values, stands in for one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crosstile.basisn import study, training
from crosstile.basisn.fake_quant import CodedLayer
from crosstile.basisn.network import map_basis
from crosstile.basisn.training import BasisTrainResult, train_basis
from crosstile.basisn.training_options import BasisTrainOptions
from crosstile.errors import UsageError
from crosstile.specs.load import load_chip
from crosstile.study.montecarlo import AccuracyResult
from crosstile.study.options import check_device
from crosstile.study.stages import Progress
from crosstile.training.augment import augment
from crosstile.training.network import float_copy
from crosstile.training.options import TrainOptions

CHIP = load_chip("reram-8b").replaced(array__rows=32, array__columns=32)
META = torch.device("meta")
COPIES = ("aten._to_copy.default", "aten.copy_.default", "aten._foreach_copy_.default")


class Apart(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a GPU refuses, where there is none: one operation on tensors of two devices; single numbers may come along."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [v for v in tree_leaves((args, kwargs or {})) if isinstance(v, Tensor) and v.dim() > 0]
        if len({v.device.type for v in tensors}) > 1 and str(func) not in COPIES:
            raise AssertionError(f"{func}: {[(v.device.type, tuple(v.shape)) for v in tensors]}")
        return func(*args, **(kwargs or {}))


def small_net() -> nn.Module:
    """A batch-norm that is folded, one that is not, and a layer ("7") to keep digital."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 16, 5),
    ).eval()  # fmt: skip


def data(count: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % 5


GIVEN: dict[str, Any] = {
    "epochs": 2, "batch": 12, "sets": 1, "coefficient_bits": 3, "phase": 1, "trials": 1, "digital": ("7",), "augment": True,
}  # fmt: skip


def on_meta(held_out: tuple[Tensor, Tensor] | None = None, **given: Any) -> training._Training:
    x, y = data()
    options = dataclasses.replace(BasisTrainOptions(**{**GIVEN, **given}), device="meta")
    return training._Training(float_copy(small_net()), CHIP, (x, y), held_out, x[:8], options, Progress())


def student_of(run: training._Training) -> training._Student:
    o = run.options
    start = map_basis(
        run.source, CHIP, run.calibration, sets=1, coefficient_bits=3, sparsity=o.sparsity, digital=o.digital
    )
    return training._Student(run.source, run.seen, run.calibration, start.model(), o)


def devices(module: nn.Module) -> set[str]:
    return {value.device.type for value in (*module.parameters(), *module.buffers())}


@pytest.mark.parametrize("given", [{"sparsity": 5, "contest": 0.3}, {"distil": 0.0}])
def test_a_step_stays_on_one_device(given: dict[str, Any]) -> None:
    """Coefficients learnt, basis learnt, supports chosen and frozen, with what regularises and clips."""
    run = on_meta(**given)
    student = student_of(run).on(META)
    optimiser = run._optimiser(student)
    x, y = (part[:12].to(META) for part in data())
    with Apart():  # type: ignore[no-untyped-call]
        for step in range(2):
            for layer in student.coded():
                layer.select()
            run._set_rates(optimiser, step)
            images = augment(x, torch.Generator().manual_seed(step))
            scores, loss = run._step(student, optimiser, images, y, step)
            assert scores.device == loss.device == META
            assert scores.shape == (12, 5)
            learnt = student.basis.latent if step else student.coded()[0].latent  # phases of one step
            assert learnt.grad is not None
            assert learnt.grad.device == META
        for layer in student.coded():
            layer.freeze_support()
        run._step(student, optimiser, x, y, run.options.epochs * run.steps - 1)  # the last part
    assert devices(student) == devices(student._network[0]) == {"meta"}


def test_the_check_of_devices_sees_what_is_left_behind() -> None:
    """A layer that stays digital is no part of the student's own parameters."""
    run = on_meta()
    student = student_of(run).to(META)
    x, y = (part[:12].to(META) for part in data())
    with Apart(), pytest.raises(AssertionError, match=r"aten\..*'cpu'"):  # type: ignore[no-untyped-call]
        run._step(student, run._optimiser(student), x, y, 0)


class _Stop(Exception):
    pass


def test_the_device_of_the_options_reaches_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Student, teacher, batches, optimiser, and both networks that are measured; the network that was given stays."""
    measured: list[tuple[set[str], str]] = []

    def count(network: nn.Module, x: Tensor, *_: Any) -> int:
        measured.append((devices(network), x.device.type))
        return 1

    def evaluate(network: nn.Module, x: Tensor, *_: Any, **__: Any) -> AccuracyResult:
        count(network, x)
        return AccuracyResult(0.5, (0.0, 1.0), (0.5,), len(x), "")

    def step(
        self: training._Training, student: training._Student, optimiser: torch.optim.Optimizer, *batch: Any
    ) -> None:
        images, labels, _ = batch
        held = {p.device.type for group in optimiser.param_groups for p in group["params"]}
        assert devices(student) | devices(student._network[0]) | devices(self.teacher) | held == {"meta"}
        assert images.device == labels.device == META
        raise _Stop

    monkeypatch.setattr(training, "count_correct", count)
    monkeypatch.setattr(training, "evaluate", evaluate)
    monkeypatch.setattr(training._Training, "_step", step)
    run = on_meta(held_out=data(10), chip_every=0)
    with pytest.raises(_Stop):
        run.run(None, resume=False)
    assert measured == [({"meta"}, "meta")] * 2
    assert devices(run.source) == {"cpu"}


def test_a_study_is_measured_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network, its own weights on the chip, and the basis."""
    seen: list[tuple[set[str], str]] = []

    def count(network: nn.Module, x: Tensor, *_: Any, **__: Any) -> Any:
        seen.append((devices(network), x.device.type))
        return 1

    def evaluate(network: nn.Module, x: Tensor, *_: Any, **__: Any) -> AccuracyResult:
        return AccuracyResult(count(network, x), (0.0, 1.0), (0.5,), len(x), "")

    monkeypatch.setattr("crosstile.study.montecarlo.count_correct", count)
    monkeypatch.setattr("crosstile.study.montecarlo.evaluate", evaluate)
    (x, y), model = data(8), small_net()
    net = map_basis(model, CHIP, x, sets=1, coefficient_bits=3)
    codes = net.codes["4"].codes
    options = study.BasisOptions("own", device="meta", trials=1)
    study._accuracy(model, net, CHIP, x, y, x, options, Progress(), "")
    assert seen == [({"meta"}, "meta")] * 3
    assert devices(model) == {"cpu"}
    assert (net.layers["4"].codes == codes).all()


def test_a_checkpoint_is_not_bound_to_a_device() -> None:
    x, y = data()
    elsewhere = on_meta()
    options = dataclasses.replace(elsewhere.options, device="cpu")
    here = training._Training(float_copy(small_net()), CHIP, (x, y), None, x[:8], options, Progress())
    assert here.key == elsewhere.key
    other = dataclasses.replace(options, seed=1)
    assert training._Training(float_copy(small_net()), CHIP, (x, y), None, x[:8], other, Progress()).key != here.key


def test_a_frozen_support_is_part_of_the_state() -> None:
    run = on_meta(sparsity=5)
    student, fresh = student_of(run), student_of(run)
    for layer in student.coded():
        layer.freeze_support()
    fresh.load_state_dict({name: value.detach().cpu() for name, value in student.state_dict().items()})
    for layer, mine in zip(fresh.coded(), student.coded(), strict=True):
        assert layer.frozen
        with torch.no_grad():
            layer.latent.zero_()
        layer.freeze_support()  # decided before: nothing is lost
        assert torch.equal(layer.mask, mine.mask)
        assert bool(layer.mask.any())
    assert not CodedLayer.frozen


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("kind", [BasisTrainOptions, TrainOptions])
def test_auto_is_cuda_where_there_is_one(kind: Any, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert kind(device="auto").device == ("cuda" if found else "cpu")
    assert kind().device == kind(device="cpu").device == "cpu"
    assert kind(device="cuda").device == "cuda"  # what was asked for is never changed


def test_devices_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    x, y = data()
    with pytest.raises(UsageError, match="torch finds no CUDA device here; use --device cpu"):
        train_basis(small_net(), CHIP, x, y, device="cuda")
    with pytest.raises(UsageError, match="must be auto, cpu or cuda, found 'cuda:1'"):
        train_basis(small_net(), CHIP, x, y, device="cuda:1")
    with pytest.raises(UsageError, match="no CUDA device"):
        study.basis("resnet8", kernels_per_cycle=16, device="cuda")
    check_device("auto")
    check_device("cpu")


class _Interrupt(Progress):
    """Ctrl-C in the second epoch."""

    def stage(self, name: str, total: int | None = None) -> None:
        if name.startswith("epoch 2"):
            raise KeyboardInterrupt


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_cuda_trains_as_the_cpu_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws and chips are the same; sums differ in their order, by 1e-7 a term, and few roundings turn with them."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # 10 bits of mantissa would be the whole tolerance
    x, y = data(240)

    def go(device: str, **more: Any) -> BasisTrainResult:
        return train_basis(small_net(), CHIP, x, y, held_out=data(40), device=device, **{**GIVEN, **more})

    cpu, cuda = go("cpu"), go("cuda")
    assert cuda.history[0].loss == pytest.approx(cpu.history[0].loss, rel=1e-3)
    assert cuda.options.device == cuda.as_dict()["options"]["device"] == "cuda"
    assert cuda.before is not None
    assert cpu.before is not None
    for found, wanted in ((cuda.before.digital, cpu.before.digital), (cuda.before.chip.mean, cpu.before.chip.mean)):
        assert found == pytest.approx(wanted, abs=0.026)  # one of 40 may lie on the edge between two classes
    assert devices(cuda.source) == {"cpu"}
    for first, second in (("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")):
        file = tmp_path / f"{first}-{second}.pt"
        with pytest.raises(KeyboardInterrupt):
            go(first, checkpoint=file, progress=_Interrupt())
        went_on = go(second, checkpoint=file, resume=True)
        assert went_on.history[0].loss == pytest.approx(cpu.history[0].loss, rel=1e-3)
        assert went_on.history[1].loss == pytest.approx(cpu.history[1].loss, rel=1e-2)
