"""Hardware that differs by layer: reading, cost, mapping."""

from __future__ import annotations

import math

import pytest
import torch

from crosstile.cost.estimate import estimate
from crosstile.cost.installed import install
from crosstile.cost.latency import layer_time
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.mapping.replace import map_network
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml, load_chip, parse_chip
from crosstile.study.samples import ideal_twin
from crosstile.system.stages import stage_table
from crosstile.workloads.table import network
from crosstile.zoo.build import build_model

_SMALL = {"array": {"rows": 64, "columns": 64}, "adc": {"bits": 7}, "hardware": {"arrays_per_macro": 16}}


def _shape(name: str, channels: int, outputs: int) -> LayerShape:
    return LayerShape(name, "conv2d", channels, 9, outputs, 1, 64, channels * 64, outputs * 64, False)


SHAPES = [_shape("a.0", 16, 16), _shape("a.1", 16, 32), _shape("b.0", 32, 64)]


def _chip(**layers: dict[str, object]) -> ChipSpec:
    base = load_chip("reram-8b")
    return base.replaced(layers=layers) if layers else base


def test_layers_that_repeat_the_chip_change_nothing() -> None:
    """Oracle: the chip without ``layers``; equal to the bit, one kind of arrays."""
    base = _chip()
    same = _chip(**{"a.*": {"array": {"rows": 128}}, "*": {"adc": {"bits": 8}}})
    wanted, found = (estimate([plan_layer(s, c) for s in SHAPES], c) for c in (base, same))
    assert found == wanted


def test_cost_of_two_kinds_is_that_of_their_parts() -> None:
    """Energy and time are those of each layer on a chip of its own, but for leakage; macros count by kind, tiles together."""
    mixed = _chip(**{"a.*": _SMALL})
    report = estimate([plan_layer(s, mixed) for s in SHAPES], mixed)
    small, large = mixed.for_layer("a.0"), mixed.for_layer("b.0")
    assert (small.array.rows, small.adc.bits, large.array.rows, large.layers) == (64, 7, 128, {})
    plans = [plan_layer(s, c) for s, c in zip(SHAPES, (small, small, large), strict=True)]
    for number, (plan, chip, layer) in enumerate(zip(plans, (small, small, large), report.layers, strict=True)):
        alone = estimate([plan], chip)
        assert layer.arrays == plan.arrays
        assert layer.latency_s == layer_time(plan, chip, install(chip), first=number == 0, last=number == 2).total_s
        dynamic = {k: v for k, v in layer.energy_by_component_j.items() if k != "leakage"}
        assert dynamic == {k: v for k, v in alone.layers[0].energy_by_component_j.items() if k != "leakage"}
    macros = [math.ceil((plans[0].arrays + plans[1].arrays) / 16), math.ceil(plans[2].arrays / 8)]
    assert report.tiles_built == math.ceil(sum(macros) / 4)
    macros[macros.index(max(macros))] += 4 * report.tiles_built - sum(macros)
    built = {part.name: (part, other) for part, other in zip(install(small), install(large), strict=True)}
    for line in report.components:
        if line.name == "leakage":
            continue
        one, two = built[line.name]
        if one.per in ("array", "macro"):
            units = [{"array": macros[0] * 16, "macro": macros[0]}, {"array": macros[1] * 8, "macro": macros[1]}]
            count = one.instances(units[0]) + two.instances(units[1])
            area = one.instances(units[0]) * one.figures.area_m2 + two.instances(units[1]) * two.figures.area_m2
        else:
            count = one.instances({"tile": report.tiles_built, "chip": 1})
            area = count * one.figures.area_m2
        assert line.count == count
        assert line.area_m2 == pytest.approx(area, rel=1e-12)
    assert any("2 kinds" in note for note in report.notes)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({"a": {"arrays": {"rows": 3}}}, "did you mean 'array'"),
        ({"a": {"array": {"rows": 0}}}, "array.rows"),
        ({"a": {"array": {"rwos": 8}}}, "did you mean 'rows'"),
        ({"a": {"hardware": {"tiles": 3}}}, "the same for all layers"),
        ({"a": {"weights": {"cell_bits": 5}}}, "holds at most"),
        ({"a": 3}, "fields that change"),
        ({"a": {"adc": 7}}, "a mapping of fields"),
    ],
)
def test_slips_are_told_when_the_chip_is_read(layers: dict[str, object], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        _chip(**layers)  # type: ignore[arg-type]


def test_quantities_of_yaml_need_units_in_layers_too() -> None:
    text = chip_yaml("reram-8b") + "\nlayers:\n  conv1: {array: {read_voltage: %s}}\n"
    assert parse_chip(text % "0.1 V").for_layer("conv1").array.read_voltage_v == 0.1
    with pytest.raises(SpecError, match="unit"):
        parse_chip(text % "0.1")


def test_a_cell_of_the_library_replaces_the_whole_cell() -> None:
    text = chip_yaml("reram-8b") + "\nlayers:\n  conv1: {cell: ideal}\n"
    chip = parse_chip(text)
    assert chip.for_layer("conv1").cell == load_chip("ideal").cell
    assert chip.for_layer("conv2").cell == chip.cell


def test_a_change_holds_for_all_layers() -> None:
    """``replaced`` reaches the layers' own fields, so that the ideal twin is ideal everywhere."""
    mixed = _chip(**{"a.*": _SMALL, "b.*": {"array": {"read_voltage": 0.1}}})
    assert ideal_twin(mixed).for_layer("a.0").adc.bits is None
    assert mixed.replaced(array__read_voltage_v=0.3).for_layer("b.0").array.read_voltage_v == 0.3
    assert ideal_twin(mixed).for_layer("a.0").array.rows == 64
    assert mixed.replaced(layers={"b.*": _SMALL}).layers == {"b.*": _SMALL}
    assert mixed.replaced(layers={}).layers == {}


def test_a_pattern_without_a_layer_is_told() -> None:
    chip = _chip(**{"lyer.*": _SMALL})
    with pytest.raises(SpecError, match=r"no layer of the network"):
        estimate([plan_layer(s, chip) for s in SHAPES], chip)


def test_what_takes_one_kind_of_arrays_says_so() -> None:
    chip = _chip(**{"conv1": _SMALL})
    with pytest.raises(SpecError, match="same hardware"):
        stage_table(network("resnet18"), chip)


def test_parts_of_tiles_cannot_differ() -> None:
    chip = _chip(
        **{"a.0": {"hardware": {"components": {"buffer": {"component": "edram-isaac-64kb", "capacity": 8192.0}}}}}
    )
    with pytest.raises(SpecError, match="buffer of tiles or the chip would differ"):
        estimate([plan_layer(s, chip) for s in SHAPES], chip)


def test_a_mapped_network_has_each_layer_on_its_arrays() -> None:
    """Oracle: networks mapped whole to either chip, layer by layer; equal to the bit, programming noise included."""
    mixed = _chip(**{"conv*": _SMALL})
    model = build_model("lenet5").model
    x = torch.rand((4, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    found = map_network(model, mixed, x)
    names = list(found.layers)
    uniform = {
        True: map_network(model, mixed.for_layer("conv1"), x),
        False: map_network(model, mixed.for_layer("fc1"), x),
    }
    sizes = set()
    for name in names:
        layer, other = found.layers[name], uniform[name.startswith("conv")].layers[name]
        sizes.add(layer.chip.array.rows)
        assert layer.plan == other.plan
        shape = layer.shape
        given = torch.rand((2, shape.channels, 14, 14) if shape.kind == "conv2d" else (2, shape.rows))
        layer.program(0, 0, None)
        other.program(0, 0, None)
        for one in (layer, other):
            one.state.digital = False
            one.state.batch, one.state.first_sample, one.calls = 2, 0, 0
        layer.input_scale = other.input_scale
        layer.adc = other.adc
        assert torch.equal(layer(given), other(given))
    assert sizes == {64, 128}
