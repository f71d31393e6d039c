"""What CUDA devices run (plain torch) against what the CPU runs (compiled kernels): the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.crossbar import planes
from crosstile.crossbar.reader import PackReader


def _noisy_chip(dac_bits: int) -> ct.ChipSpec:
    chip = ct.load_chip("reram-8b")
    effects = (*chip.cell.effects, {"kind": "read_noise", "sigma": {"proportional": 0.03}})
    return chip.replaced(cell__effects=effects, inputs__dac_bits=dac_bits, adc__bits=5, adc__percentile=95.0)


@pytest.mark.parametrize("dac_bits", [1, 4, 8])
def test_conversion_in_torch_equals_the_kernel(dac_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4))
    x = torch.randn(6, 3, 6, 6)
    mapped = ct.map(net, _noisy_chip(dac_bits), x)
    for layer in mapped.layers.values():
        layer.mode = "planes"
    mapped.program(0)
    by_kernel = mapped(x)
    clipped = [layer.clipping().clipped.copy() for layer in mapped.layers.values()]
    monkeypatch.setattr(planes, "_convert_cpu", planes._convert_torch)
    mapped.program(0)
    for layer in mapped.layers.values():
        layer.reset_counts()
    by_torch = mapped(x)
    assert torch.equal(by_kernel, by_torch)
    for layer, counts in zip(mapped.layers.values(), clipped, strict=True):
        np.testing.assert_array_equal(layer.clipping().clipped, counts)
    assert sum(counts.sum() for counts in clipped) > 0, "five bits must clip somewhere, or the test shows nothing"


def test_decoding_in_torch_equals_the_kernel() -> None:
    torch.manual_seed(1)
    mapped = ct.map(nn.Linear(20, 6), ct.load_chip("reram-8b"), torch.rand(30, 20))
    (layer,) = mapped.layers.values()
    (engine,) = layer.engines(torch.device("cpu"))
    reader = engine.reader
    assert isinstance(reader, PackReader)
    totals = torch.randint(-1000, 1000, (9, reader.pack.columns)).float()
    corrections = torch.randn(9, 6, dtype=torch.float64)
    groups = totals.double().reshape(9, -1, 6)
    wanted = corrections.clone()
    for group, coefficient in enumerate(reader.coefficient):
        wanted = wanted + float(coefficient) * groups[:, group]
    assert torch.equal(reader.decode(totals, corrections), wanted.float())


def test_codes_that_are_written_decoded_are_those_that_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read an output: conversion writes the output at once, to the bit what shift-add and decoding give."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4))
    x = torch.randn(6, 3, 6, 6)
    mapped = ct.map(net, ct.load_chip("analog-8b"), x)
    seen = []
    decide = planes._one_code_an_output
    monkeypatch.setattr(planes, "_one_code_an_output", lambda *a, **k: seen.append(decide(*a, **k)) or seen[-1])
    at_once = mapped(x)
    assert seen == [True, True]
    monkeypatch.setattr(planes, "_one_code_an_output", lambda *_, **__: False)
    mapped.program(0)
    assert torch.equal(mapped(x), at_once)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("name", ["ideal", "analog-8b", "reram-8b", "isaac"])
def test_cuda_equals_cpu(name: str) -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=2)
    net = nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(128, 5))
    x = torch.randn(7, 3, 6, 6)
    mapped = ct.map(net, ct.load_chip(name), x)
    on_cpu = mapped(x)
    mapped.program(0)
    assert torch.equal(mapped.to("cuda")(x.cuda()).cpu(), on_cpu)
