"""The library's chips do what their descriptions say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.datasets import load_dataset
from crosstile.study.montecarlo import count_correct
from crosstile.zoo import build_model


def _net() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(4, 12, 3), nn.ReLU(), nn.Conv2d(12, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 10)
    )
    return net.eval(), torch.randn(24, 4, 8, 8)


def test_isaacs_flipped_encoding_makes_eight_bits_lossless() -> None:
    """Without the flip 128 rows of 2-bit cells need 9 bits; with it no column sum exceeds 192."""
    chip = ct.load_chip("isaac")
    assert chip.lossless_adc_bits == 8
    with pytest.raises(ct.CrosstileError, match="needs 9 bits"):
        chip.replaced(weights__flip=False)
    net, x = _net()
    mapped = ct.map(net, chip, x)
    for layer in mapped.layers.values():
        for pack in layer.packs:
            for segment in pack.segments:
                assert segment.levels.sum(axis=0).max() <= 192
    assert {e.mode for layer in mapped.layers.values() for e in layer.engines(torch.device("cpu"))} == {"collapsed"}
    collapsed = mapped(x)
    for layer in mapped.layers.values():
        layer.mode = "tables"  # convert each sum, as the chip does
    mapped.program(0)
    converted = mapped(x)
    assert sum(layer.clipping().clipped.sum() for layer in mapped.layers.values()) == 0
    assert torch.equal(collapsed, converted)


def test_sixteen_bits_are_as_good_as_floating_point() -> None:
    net, x = _net()
    with torch.inference_mode():
        wanted, out = net(x), ct.map(net, ct.load_chip("isaac"), x)(x)
    assert float((out - wanted).abs().max()) < 2e-3 * float(wanted.abs().max())


@pytest.mark.parametrize(("bits", "clips"), [(4, True), (9, False)])
def test_saturation_is_counted(bits: int, clips: bool) -> None:
    net, x = _net()
    mapped = ct.map(net, ct.load_chip("reram-8b").replaced(adc__bits=bits, adc__percentile=97.0), x)
    mapped(x)
    counts = [layer.clipping() for layer in mapped.layers.values()]
    conversions = sum(int(c.conversions.sum()) for c in counts)
    per_sample = sum(layer.plan.activity.adc_conversions for layer in mapped.layers.values())
    assert conversions == per_sample * len(x)
    assert (sum(int(c.clipped.sum()) for c in counts) > 0) == clips


@pytest.mark.slow
@pytest.mark.realdata
def test_resnet20_on_the_chips(real_data_dir: Path) -> None:
    """500 test images; the published weights. Bounds are wide: they guard against a broken chip, not against noise."""
    weights = real_data_dir / "models" / "resnet_cifar10" / "resnet20-12fca82f.th"
    model = build_model("resnet20", weights=weights).model
    data = load_dataset("cifar10", data_dir=real_data_dir, download=False)
    x = torch.from_numpy(data.normalised(data.x[:500]))
    y = torch.from_numpy(np.asarray(data.y[:500]))
    calibration = torch.from_numpy(data.normalised(data.x_calibration[:128]))
    digital = count_correct(model, x, y, 100) / 500
    found = {
        name: count_correct(ct.map(model, ct.load_chip(name), calibration), x, y, 100) / 500
        for name in ("ideal", "isaac", "analog-8b", "reram-8b")
    }
    assert abs(found["isaac"] - digital) <= 0.004
    assert abs(found["ideal"] - digital) <= 0.02
    assert found["analog-8b"] >= digital - 0.05
    assert found["reram-8b"] >= digital - 0.10
