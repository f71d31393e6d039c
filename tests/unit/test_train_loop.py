"""Training: it regains accuracy, it goes on where it stopped to the same end, and slips are one message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crosstile.datasets import load_dataset
from crosstile.errors import CrosstileError, DataError, ModelError, UsageError
from crosstile.mapping.replace import map_network
from crosstile.specs.load import load_chip
from crosstile.study.montecarlo import evaluate
from crosstile.study.stages import Progress
from crosstile.training.augment import SHIFT, augment
from crosstile.training.checkpoint import load_checkpoint
from crosstile.training.loop import train
from crosstile.training.options import TrainOptions, check
from crosstile.training.result import TrainResult

NOISY = load_chip("analog-8b").replaced(
    cell__effects=(
        {"kind": "variation", "distribution": "normal", "sigma": {"window": "20 %"}},
        {"kind": "read_noise", "sigma": {"window": "2 %"}},
    )
)
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 10),
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks so small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Data:
    data = load_dataset("digits")
    assert data.x_train is not None
    assert data.y_train is not None
    x, x_held = (torch.from_numpy(data.normalised(part)) for part in (data.x_train, data.x))
    return x, torch.from_numpy(data.y_train), x_held, torch.from_numpy(data.y)


@pytest.fixture(scope="module")
def trained(digits: Data) -> nn.Module:
    """A network trained in the ordinary way."""
    torch.manual_seed(0)
    model = small_net()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(12):
        for part in torch.randperm(len(digits[0])).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(digits[0][part]), digits[1][part]).backward()
            optimiser.step()
    return model.eval()


def short(model: nn.Module, digits: Data, **changes: Any) -> TrainResult:
    """Three small epochs of few steps, with all that could carry a state."""
    given: dict[str, Any] = {
        "epochs": 3, "lr": 1e-3, "batch": 32, "chip_every": 2, "trials": 1, "validation_samples": 20, "augment": True,
        "clip_sigma": 3.0, "learn_ranges": True, "held_out": (digits[2][:40], digits[3][:40]),
    }  # fmt: skip
    return train(model, NOISY, digits[0][:150], digits[1][:150], **{**given, **changes})


def same(one: TrainResult, other: TrainResult) -> bool:
    mine, theirs = one.state_dict, other.state_dict
    assert list(mine) == list(theirs)
    equal = all(torch.equal(mine[name], theirs[name]) for name in mine) and one.ranges == other.ranges
    told = [
        [(r.loss, r.train_accuracy, r.validation_accuracy, r.lr) for r in result.history] for result in (one, other)
    ]
    return equal and told[0] == told[1] and one.before == other.before and one.after == other.after


def test_training_regains_accuracy(trained: nn.Module, digits: Data) -> None:
    """On chips that were not trained on, and samples that were not; evaluated by the simulator, from the outside, too."""
    x, y, x_held, y_held = digits
    calibration = x[:128]
    found = train(
        trained, NOISY, x, y, held_out=(x_held, y_held), epochs=12, lr=5e-3, chip_every=1, clip_sigma=2.0, trials=8,
        validation_samples=0,
    )  # fmt: skip
    assert found.before is not None
    assert found.after is not None
    before, after = found.before.chip, found.after.chip
    assert before.mean < 0.9  # 20 % of the window hurts
    # 0.82 and 0.94 where this was written; eight chips each, so that three standard errors are about 0.09.
    spread = (torch.tensor(before.per_trial).var() + torch.tensor(after.per_trial).var()).sqrt() / 8**0.5
    assert after.mean - before.mean > max(0.05, 3 * float(spread))
    network = small_net()
    network.load_state_dict(found.state_dict)
    outside = evaluate(map_network(network.eval(), NOISY, calibration), x_held, y_held, trials=8)
    assert outside.per_trial == after.per_trial
    assert found.history[-1].loss < found.history[0].loss


def test_the_network_that_was_given_stays_as_it_is(trained: nn.Module, digits: Data) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    found = short(trained, digits)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    changed = [name for name, value in found.state_dict.items() if not torch.equal(value, before[name])]
    # Weights and biases of both layers and of the batch-norm; its statistics stay. The convolution's own bias moves, too.
    assert changed == ["0.weight", "0.bias", "1.weight", "1.bias", "5.weight", "5.bias"]
    assert found.ranges is not None
    mapped = found.map(digits[0][:128])
    assert {name: layer.scale for name, layer in mapped.layers.items()} == found.ranges


class _Stop(Progress):
    """Ctrl-C in the middle of a given epoch."""

    def __init__(self, epoch: int) -> None:
        self.wanted, self.steps = f"epoch {epoch} of", -1

    def stage(self, name: str, total: int | None = None) -> None:
        self.steps = 0 if name.startswith(self.wanted) else -1

    def advance(self, steps: int = 1) -> None:
        if self.steps >= 0:
            self.steps += 1
            if self.steps == 3:
                raise KeyboardInterrupt


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_an_interrupted_training_goes_on_to_the_same_end(
    optimiser: str, trained: nn.Module, digits: Data, tmp_path: Path
) -> None:
    whole = short(trained, digits, optimiser=optimiser)
    file = tmp_path / "checkpoint.pt"
    for epoch in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            short(trained, digits, optimiser=optimiser, checkpoint=file, resume=epoch > 1, progress=_Stop(epoch))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.load(file, weights_only=True)["epoch"] == 2
    assert same(whole, short(trained, digits, optimiser=optimiser, checkpoint=file, resume=True))
    assert same(whole, short(trained, digits, optimiser=optimiser, checkpoint=file, resume=True))  # all epochs are done


def test_the_seed_decides(trained: nn.Module, digits: Data) -> None:
    one = short(trained, digits, epochs=1)
    torch.manual_seed(99)  # the program's own random state has no part in it
    assert same(one, short(trained, digits, epochs=1))
    assert not same(one, short(trained, digits, epochs=1, seed=1))
    assert same(one, short(trained, digits, epochs=1, validation_samples=0)) is False  # the history tells validation
    for name, value in short(trained, digits, epochs=1, validation_samples=0).state_dict.items():
        assert torch.equal(value, one.state_dict[name])  # but no weight depends on it


def test_a_checkpoint_belongs_to_one_training(trained: nn.Module, digits: Data, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    short(trained, digits, epochs=1, checkpoint=file)
    with pytest.raises(UsageError, match="belongs to another training"):
        short(trained, digits, epochs=2, checkpoint=file, resume=True)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        short(trained, digits, epochs=1, checkpoint=file, resume=True)
    torch.save({"weights": {}}, file)
    with pytest.raises(ModelError, match="not a checkpoint"):
        load_checkpoint(file, "key")
    file.unlink()
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        short(trained, digits, epochs=1, checkpoint=file, resume=True)


def test_training_for_one_chip(trained: nn.Module, digits: Data) -> None:
    """Faults of the chip at hand are learnt around: better there than on other chips of the same description."""
    chip = load_chip("analog-8b").replaced(
        cell__effects=({"kind": "stuck_at", "on_rate": 0.02, "off_rate": 0.1},), adc__bits=None
    )
    x, y, x_held, y_held = digits
    found = train(
        trained,
        chip,
        x,
        y,
        held_out=(x_held, y_held),
        epochs=4,
        lr=3e-3,
        one_chip=5,
        chip_every=4,
        validation_samples=0,
    )
    assert found.before is not None
    assert found.after is not None
    assert len(found.after.chip.per_trial) == 1
    assert found.after.chip.mean > found.before.chip.mean + 0.05
    mapped = found.map(x[:128])
    others = evaluate(mapped, x_held, y_held, trials=4)
    assert found.after.chip.mean > others.mean + 0.05


def test_augmented_images_are_shifted_and_mirrored() -> None:
    """Each one is a window of the padded image, or of its mirror image; all shifts are met."""
    generator = torch.Generator().manual_seed(0)
    image = torch.arange(1.0, 37.0).reshape(1, 1, 6, 6)
    seen = set()
    many = augment(image.expand(2000, 1, 6, 6), generator)
    padded = nn.functional.pad(image, (SHIFT,) * 4)
    windows = {
        tuple(view[0, 0, i : i + 6, j : j + 6].flatten().tolist()): (i, j, mirrored)
        for mirrored, view in ((False, padded), (True, padded.flip(3)))
        for i in range(2 * SHIFT + 1)
        for j in range(2 * SHIFT + 1)
    }
    for found in many:
        seen.add(windows[tuple(found.flatten().tolist())])
    assert len(seen) == len(windows) == 2 * (2 * SHIFT + 1) ** 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs must be a whole number of at least 1, found 0"),
        ({"batch": 2.5}, "--batch must be a whole number"),
        ({"chip_every": 0}, "--chip-every"),
        ({"trials": 0}, "--trials"),
        ({"one_chip": -1}, "--one-chip"),
        ({"validation_samples": -1}, "--validation-samples"),
        ({"seed": 2**63}, "--seed"),
        ({"lr": 0.0}, "--lr must be a number above 0, found 0.0"),
        ({"lr": float("nan")}, "--lr"),
        ({"momentum": 1.0}, "--momentum must be a number at least 0 and below 1"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"noise_scale": float("inf")}, "--noise-scale"),
        ({"clip_sigma": 0.0}, "--clip-sigma"),
        ({"temperatures_k": (400.0, 300.0)}, "--temperatures: two of 100 to 600 K"),
        ({"optimiser": "lion"}, "--optimiser must be adam or sgd, found 'lion'"),
        ({"schedule": "step"}, "--schedule must be cosine or constant"),
        ({"forward": "slow"}, "--forward must be fast or exact"),
        ({"forward": "exact", "noise_scale": 2.0}, "needs --forward fast"),
        ({"device": "tpu"}, "--device must be auto, cpu or cuda"),
    ],
)
def test_options_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as told:
        check(TrainOptions(**changes))
    assert message in str(told.value)


def test_arguments_that_cannot_work(trained: nn.Module, digits: Data, tmp_path: Path) -> None:
    x, y = digits[0][:20], digits[1][:20]
    frozen = small_net()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    cases: list[tuple[type[CrosstileError], str, Any]] = [
        (UsageError, "no option 'learning_rate'", lambda: train(trained, NOISY, x, y, learning_rate=1e-3)),
        (UsageError, "did you mean 'epochs'", lambda: train(trained, NOISY, x, y, epoch=1)),
        (UsageError, "not both", lambda: train(trained, NOISY, x, y, options=TrainOptions(), lr=1.0)),
        (UsageError, "resume needs checkpoint", lambda: train(trained, NOISY, x, y, resume=True)),
        (UsageError, "--augment shifts images", lambda: train(nn.Linear(4, 10), NOISY, torch.ones(20, 4), y, augment=True)),
        (DataError, "training data", lambda: train(trained, NOISY, x * torch.nan, y)),
        (DataError, "labels of shape (20,)", lambda: train(trained, NOISY, x, y[:5])),
        (DataError, "labels of shape (20,)", lambda: train(trained, NOISY, x, y.float())),
        (DataError, "labels run from", lambda: train(trained, NOISY, x, y + 5)),
        (DataError, "does not run on inputs", lambda: train(trained, NOISY, x[:, :, :5], y)),
        (DataError, "held-out data", lambda: train(trained, NOISY, x, y, held_out=(x, y[:3]))),
        (ModelError, "no parameter that requires a gradient", lambda: train(frozen, NOISY, x, y)),
        (ModelError, "training diverged", lambda: train(trained, NOISY, x, y, lr=1e30, batch=5, optimiser="sgd")),
    ]  # fmt: skip
    for kind, message, call in cases:
        with pytest.raises(kind) as told:
            call()
        assert message in str(told.value)
