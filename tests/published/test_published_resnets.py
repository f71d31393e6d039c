"""The published CIFAR-10 weights reach exactly the published accuracy in this package's own networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crosstile.datasets import load_dataset
from crosstile.zoo import build_model

FILES = {
    "resnet20": "resnet20-12fca82f.th",
    "resnet32": "resnet32-d509ac18.th",
    "resnet44": "resnet44-014dd654.th",
    "resnet56": "resnet56-4bfd9763.th",
}


def _weights(folder: Path, name: str) -> Path:
    path = folder / "models" / "resnet_cifar10" / FILES[name]
    if not path.is_file():
        pytest.skip(f"{path.name} is not in models/resnet_cifar10 of the data folder")
    return path


def _hits(name: str, folder: Path, images: int) -> int:
    data = load_dataset("cifar10", data_dir=folder, download=False)
    model = build_model(name, weights=_weights(folder, name)).model
    hits = 0
    with torch.no_grad():
        for start in range(0, images, 500):
            stop = min(start + 500, images)
            logits = model(torch.from_numpy(data.normalised(data.x[start:stop])))
            hits += int((logits.argmax(1) == torch.from_numpy(data.y[start:stop])).sum())
    return hits


@pytest.mark.realdata
@pytest.mark.slow
def test_resnet20_reaches_its_published_accuracy(real_data_dir: Path) -> None:
    assert _hits("resnet20", real_data_dir, 10_000) == 9173


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["resnet32", "resnet44", "resnet56"])
def test_deeper_published_weights_load_and_classify(real_data_dir: Path, name: str) -> None:
    assert _hits(name, real_data_dir, 500) >= 455  # 91 %; they reach 92.6 to 93.4 % on all images
