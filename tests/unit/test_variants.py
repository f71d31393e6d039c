"""Variants of a chip estimated together against the estimate, one by one."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from crosstile.cost.estimate import estimate
from crosstile.cost.variants import VariantCosts, estimate_variants
from crosstile.errors import SpecError
from crosstile.mapping.plan import plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.workloads.table import network

NAMES = ("isaac", "puma-like", "prime-like", "neurosim-22nm", "reram-8b", "edge-40nm", "analog-8b")


def variants(name: str, count: int, seed: int) -> list[ChipSpec]:
    rng, base, found = random.Random(seed), load_chip(name), []
    sizes = [64, 128] if base.adc.range == "lossless" else [64, 128, 256]
    for _ in range(count):
        changes = {
            "array__rows": rng.choice(sizes), "hardware__tiles": None, "array__active_rows": None,
            "array__read_time_s": rng.uniform(5e-9, 1e-7), "array__read_voltage_v": rng.uniform(0.1, 0.5),
            "hardware__node_m": rng.choice([22e-9, 32e-9, 45e-9]), "hardware__clock_hz": rng.uniform(2e8, 1.5e9),
            "hardware__arrays_per_macro": rng.choice([4, 8]), "hardware__pipeline": rng.choice(["pipelined", "layer_serial"]),
            "hardware__columns_per_adc": None, "hardware__adcs_per_array": rng.choice([0.5, 1, 4]),
            "inputs__signed": "two_phase" if base.adc.range == "lossless" else rng.choice(["two_phase", "bipolar"]),
        }  # fmt: skip
        if base.adc.range == "calibrated" and base.adc.bits is not None:
            changes["adc__bits"] = rng.choice([5, 6, 8])
        found.append(base.replaced(**changes))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_variants_equal_the_estimate(name: str) -> None:
    """To 1e-12: the same formulas, sums in another order."""
    chips = variants(name, 12, 1)
    for net in ("lenet5", "resnet20", "transformer"):
        shapes = network(net).shapes
        found = estimate_variants(shapes, chips)
        for number, chip in enumerate(chips):
            wanted = estimate([plan_layer(shape, chip) for shape in shapes], chip)
            for field in dataclasses.fields(VariantCosts):
                if field.type == "FloatArray" and field.name != "interval_s":
                    value = getattr(found, field.name)[number]
                    assert value == pytest.approx(getattr(wanted, field.name), rel=1e-12), (field.name, number)
            assert found.interval_s[number] == pytest.approx(1 / wanted.throughput_hz, rel=1e-12)
            assert found.arrays[number] == wanted.arrays_used


def test_work_is_shared_between_variants_that_differ_in_figures_only() -> None:
    base = load_chip("reram-8b")
    chips = [base.replaced(hardware__clock_hz=1e9 + i, array__read_time_s=1e-8 + i * 1e-10) for i in range(50)]
    found = estimate_variants(network("resnet20").shapes, chips)
    assert (found.groups, found.layers_planned) == (1, 20)
    assert len(np.unique(found.latency_s)) == 50


def test_order_does_not_matter() -> None:
    chips = variants("reram-8b", 20, 2)
    shapes = network("lenet5").shapes
    there, back = estimate_variants(shapes, chips), estimate_variants(shapes, chips[::-1])
    assert there.edp_js == pytest.approx(back.edp_js[::-1], rel=1e-12)  # another variant leads its group


def test_mistakes_are_told() -> None:
    with pytest.raises(SpecError, match="at least one layer and one chip"):
        estimate_variants([], [load_chip("isaac")])
    with pytest.raises(SpecError, match="set tiles to"):
        estimate_variants(network("vgg8").shapes, [load_chip("edge-40nm").replaced(hardware__tiles=1)])
