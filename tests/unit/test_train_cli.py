"""``crosstile train``: what it writes, that it goes on after Ctrl-C, and that bad input is one message and exit code 2."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from crosstile import cli, cli_train
from crosstile.errors import UsageError
from crosstile.training import loop
from crosstile.training.data import split
from crosstile.zoo import build_model

Call = Callable[..., tuple[int, str, str]]
NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the command line in this process, in an empty folder: (exit code, output, errors)."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(cli.root)
    cli_train.register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "my_small_net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 1, 4, 4)) + 2.0 * (np.arange(4) == y[:, None])[:, None, :, None]
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), y=y)
    half = np.arange(90) < 60
    np.savez(tmp_path / "both.npz", x=x[~half].astype(np.float32), y=y[~half], x_train=x[half].astype(np.float32),
             y_train=y[half])  # fmt: skip

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crosstile", "train", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)
    sys.modules.pop("my_small_net", None)


ARGS = (
    "my_small_net:net",
    "--data",
    "data.npz",
    "--hold-out",
    "30",
    "--epochs",
    "2",
    "--trials",
    "2",
    "--lr",
    "0.02",
    "--batch",
    "5",
)


def test_a_network_is_trained_and_written(call: Call, tmp_path: Path) -> None:
    torch.manual_seed(0)
    code, told, errors = call(*ARGS)
    assert code == 0, errors
    assert "On chip, before" in told
    assert "On chip, after" in told
    folder = tmp_path / "crosstile-out" / "train-my_small_net-net-reram-8b"
    assert sorted(path.name for path in folder.iterdir()) == ["trained.pt", "training.json"]
    loaded = build_model("my_small_net:net", weights=folder / "trained.pt")
    document = json.loads((folder / "training.json").read_text())
    assert document["after"]["digital"] > 0.8
    assert document["after"]["mean"] > document["before"]["mean"] + 0.2  # from random weights
    assert (
        document["data"]
        == "trained on 60 test samples of data (it has no training samples here), measured on 30 others"
    )
    assert [record["epoch"] for record in document["history"]] == [1, 2]
    assert document["options"]["lr"] == 0.02
    x = torch.randn(5, 1, 4, 4)
    assert loaded.model(x).shape == (5, 3)


def test_run_gives_the_accuracy_that_training_told(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same held-out samples, calibration and chips: --samples of ``crosstile run`` takes the first, too."""
    from crosstile.study.run import RunOptions, run

    code, told, errors = call(*ARGS, "--out", "here", "--json")
    assert code == 0, errors
    after = json.loads(told)["after"]
    result = run(RunOptions("my_small_net:net", data="data.npz", weights=Path("here/trained.pt"), samples=30, trials=2))
    assert list(result.accuracy.per_trial) == after["per_trial"]
    assert result.accuracy.digital == after["digital"]


def test_training_goes_on_after_an_interruption(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ).state_dict(), "start.pt")  # fmt: skip
    words = (*ARGS, "--weights", "start.pt")
    assert call(*words, "--out", "whole")[0] == 0

    original = loop.save_checkpoint

    def interrupted(path: Path, state: dict[str, object]) -> None:
        original(path, state)
        if state["epoch"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", interrupted)
    code, _, errors = call(*words, "--out", "parts")
    assert code == 130
    assert "add --resume to the same command" in errors
    monkeypatch.setattr(loop, "save_checkpoint", original)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["checkpoint.pt"]
    code, _, errors = call(*words, "--out", "parts")
    assert code == 2
    assert "an earlier training was interrupted here; add --resume" in errors
    code, _, errors = call(*words, "--out", "parts", "--resume")
    assert code == 0, errors
    found, wanted = (torch.load(f"{name}/trained.pt", weights_only=True) for name in ("parts", "whole"))
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_an_interruption_before_the_first_checkpoint(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "evaluate", stop)
    code, _, errors = call(*ARGS, "--out", "new/folder")
    assert code == 130
    assert "nothing had been trained yet" in errors
    assert not (tmp_path / "new").exists()


def test_the_command_that_is_kept_repeats_the_training(call: Call) -> None:
    code, told, errors = call(
        "my_small_net:net", "--data", "both.npz", "--epochs", "1", "--trials", "1", "--digital", "1", "--learn-ranges",
        "--chip", "analog-8b", "--noise-scale", "1.5", "--clip-sigma", "2.5", "--train-samples", "40", "--json",
    )  # fmt: skip
    assert code == 0, errors
    document = json.loads(told)
    assert document["data"] == "trained on 40 training samples of both, measured on 30 test samples"
    assert list(document["ranges"]) == ["3"]
    assert shlex.split(document["command"]) == [
        "crosstile", "train", "my_small_net:net", "--chip", "analog-8b", "--data", "both.npz", "--train-samples", "40",
        "--epochs", "1", "--noise-scale", "1.5", "--clip-sigma", "2.5", "--learn-ranges", "--trials", "1", "--digital", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("resnet21",), "resnet21"),
        (("my_small_net:net",), "no default data set; name one with --data"),
        (("my_small_net:net", "--data", "data.npz"), "--hold-out 2000"),
        (("my_small_net:net", "--data", "data.npz", "--hold-out", "90"), "leaves none of the 90 samples"),
        (("my_small_net:net", "--data", "both.npz", "--hold-out", "10"), "leave the option out"),
        ((*ARGS, "--samples", "0"), "--samples must be at least 1"),
        ((*ARGS, "--chip", "nochip"), "nochip"),
        ((*ARGS, "--lr", "-1"), "--lr must be a number above 0"),
        ((*ARGS, "--forward", "slow"), "--forward must be fast or exact"),
        ((*ARGS, "--weights", "none.pt"), "none.pt: no such file"),
        ((*ARGS, "--resume"), "no checkpoint to resume from"),
        ((*ARGS, "--digital", "nolayer"), "no layer is called 'nolayer'"),
        ((*ARGS, "--out", "data.npz"), "a file is in the way"),
    ],
)
def test_bad_input_is_one_message(words: tuple[str, ...], message: str, call: Call, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    code, told, errors = call(*words)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not told
    after = sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__")
    assert after == before  # and nothing is left behind


def test_the_split_keeps_the_parts_apart() -> None:
    from crosstile.datasets import load_dataset

    data = load_dataset("digits")
    parts = split(data, hold_out=None, samples=100, train_samples=200)
    assert (len(parts.x), len(parts.held_out[0])) == (200, 100)
    assert torch.equal(parts.held_out[1], torch.from_numpy(data.y[:100]))
    with pytest.raises(UsageError, match="at least 1"):
        split(data, hold_out=None, samples=None, train_samples=0)
