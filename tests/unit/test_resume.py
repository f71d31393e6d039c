"""A resumed run takes over only what belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crosstile.study.options import RunOptions
from crosstile.study.resume import Resume, fingerprint
from crosstile.study.run import run

FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed({seed})
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_the_last_value_of_the_last_tensor_counts() -> None:
    x = torch.zeros(5000)
    changed = x.clone()
    changed[-1] = 1e-6
    keys = {
        fingerprint(("a",), (x,)), fingerprint(("a",), (changed,)), fingerprint(("b",), (x,)),
        fingerprint(("a",), (x.double(),)), fingerprint(("a",), (x.reshape(50, 100),)), fingerprint(("a",), (x, x)),
    }  # fmt: skip
    assert len(keys) == 6
    assert fingerprint(("a",), (x.clone(),)) in keys


@pytest.mark.parametrize("change", ["nothing", "batch", "labels", "inputs", "weights"])
def test_other_labels_inputs_or_weights_are_another_run(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's own file loads its weights, and the data keep their name: only values tell the runs apart."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, size=300)
    calibration = x[:64].copy()
    keys: list[str] = []
    monkeypatch.setattr(Resume, "load", lambda self, trials: keys.append(self.key) or [])

    def once(name: str, batch: int = 64, seed: int = 0) -> None:
        np.savez(tmp_path / "data.npz", x=x, y=y, x_calibration=calibration)
        (tmp_path / f"{name}.py").write_text(FACTORY.format(seed=seed))
        run(RunOptions(f"{name}:net", data="data.npz", trials=1, batch=batch))

    once("resume_first_" + change)
    if change == "labels":
        y[-1] = (y[-1] + 1) % 10
    if change == "inputs":
        x[-1, 0, -1, -1] += 1.0
    once("resume_second_" + change, batch=7 if change == "batch" else 64, seed=1 if change == "weights" else 0)
    assert len(keys) == 2
    assert (keys[0] == keys[1]) == (change in ("nothing", "batch"))


def test_a_file_of_another_run_or_a_broken_one_starts_anew(tmp_path: Path) -> None:
    mine = Resume(tmp_path, "mine")
    mine.save([0.5, 0.75])
    assert mine.load(5) == [0.5, 0.75]
    assert mine.load(1) == [0.5]
    assert Resume(tmp_path, "other").load(5) == []
    (tmp_path / "partial.json").write_text(json.dumps({"key": "mine"}))
    assert mine.load(5) == []
    mine.clear()
    assert not (tmp_path / "partial.json").exists()
