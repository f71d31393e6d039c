"""Mapped layers behind resistive wires: what they compute, what is solved, what is kept, and the remedies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.circuits.kirchhoff import with_wires
from crosstile.crossbar.program import Window
from crosstile.crossbar.wired import solver_work
from crosstile.errors import SpecError
from crosstile.mapping.replace import MappedNetwork
from crosstile.nn.fit import fit_layer, fit_outputs
from crosstile.specs.chip import ChipSpec
from crosstile.study.wires import SAMPLES, steps, wire_loss, without_wires

WIRES = {"word_line": 3.0, "bit_line": 2.0, "driver": 100.0, "sense": 20.0}


def chip(name: str = "ideal", **changes: object) -> ChipSpec:
    return ct.load_chip(name).replaced(**{"array__wires": WIRES} | changes)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(60, 24), nn.ReLU(), nn.Linear(24, 5))


def inputs(count: int = 40, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 60, generator=torch.Generator().manual_seed(seed))


def error(mapped: MappedNetwork, model: nn.Module, x: torch.Tensor) -> float:
    with torch.inference_mode():
        wanted, found = model(x), mapped(x)
    return float((found - wanted).norm() / wanted.norm())


def test_a_layer_multiplies_with_the_effective_conductance() -> None:
    spec = chip("analog-8b", cell__effects=(), adc__bits=None)
    model = nn.Linear(60, 24, bias=False)
    mapped = ct.map(model, spec, calibration=inputs())
    (layer,) = mapped.layers.values()
    pair = np.stack([np.maximum(layer.integers.T, 0), np.maximum(-layer.integers.T, 0)], axis=-1).astype(np.float64)
    window = Window.of(spec)
    rows = np.asarray(layer.plan.packs[0].blocks[0].rows)
    cells = torch.from_numpy(window.to_siemens(pair[rows].reshape(60, -1)))
    acting = window.to_levels(with_wires(cells, spec.wires).numpy()).reshape(60, 24, 2)  # type: ignore[arg-type]
    matrix = np.empty((60, 24))
    matrix[rows] = acting[..., 0] - acting[..., 1]
    x = inputs(8, 2)
    q = layer.scale.quantise(x.clone()).double().numpy()[:, layer.pack_rows(layer.plan.packs[0])]
    wanted = q @ matrix * layer.weight_scale.double().numpy() * layer.scale.scale
    with torch.inference_mode():
        found = mapped(x)
    # Each cell of a pair is kept on its column's grid, at most half a step from where it is; those errors do not all
    # have one sign, so that their sum stays far below the bound.
    step = 2.0 ** -float(layer.packs[0].grid.fraction_bits.min())
    bound = np.abs(q).sum(axis=1).max() * step * float(layer.weight_scale.max()) * layer.scale.scale
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.5 * bound)
    unwired = (pair[rows][..., 0] - pair[rows][..., 1])[np.argsort(rows)]
    assert np.abs(q @ unwired * layer.weight_scale.numpy() * layer.scale.scale - wanted).max() > 5 * bound


def test_each_content_is_solved_once() -> None:
    spec = chip(array__wires=WIRES | {"sense": 21.0})
    start = solver_work()
    mapped = ct.map(network(), spec, calibration=inputs())
    arrays = sum(layer.plan.arrays for layer in mapped.layers.values())
    assert solver_work().since(start).arrays == arrays
    mapped.program(1)
    mapped.program(2)
    assert solver_work().since(start).arrays == arrays  # no effect draws anything: the same cells
    drawn = spec.replaced(cell__effects=[{"kind": "variation", "sigma": {"proportional": 0.05}}])
    mapped = ct.map(network(), drawn, calibration=inputs())
    first = solver_work().since(start).arrays
    mapped.program(1)
    assert solver_work().since(start).arrays == first + arrays
    mapped.program(0)
    assert solver_work().since(start).arrays == first + arrays  # chip 0 is remembered
    assert solver_work().seconds > 0


def test_zero_ohm_is_no_wires_at_all() -> None:
    none = {"word_line": 0.0, "bit_line": 0.0}
    x, model = inputs(), network()
    spec = ct.load_chip("reram-8b")
    plain = ct.map(model, spec, calibration=x)
    wired = ct.map(model, spec.replaced(array__wires=none), calibration=x)
    with torch.inference_mode():
        assert torch.equal(plain(x), wired(x))


def test_more_resistance_costs_more() -> None:
    x, model = inputs(), network()
    errors = []
    for ohm in (0.1, 1.0, 10.0, 100.0):
        spec = ct.load_chip("ideal").replaced(array__wires={"word_line": ohm, "bit_line": ohm})
        mapped = ct.map(model, spec, calibration=x)
        errors.append(error(mapped, model, x))
    assert errors == sorted(errors)
    assert errors[-1] > 5 * errors[0]


def test_read_noise_behind_wires_has_the_variance_of_the_circuit() -> None:
    """One output read many times: the spread is that of circuits.sensitivity within the error of 4,000 reads."""
    from crosstile.circuits.sensitivity import row_variance
    from crosstile.crossbar.wired import TYPICAL_ACTIVITY

    noise = [{"kind": "read_noise", "sigma": {"proportional": 0.1}}]
    spec = chip("analog-8b", cell__effects=noise, adc__bits=None, array__wires={"word_line": 20.0, "bit_line": 20.0})
    mapped = ct.map(nn.Linear(60, 4, bias=False), spec, calibration=inputs())
    (layer,) = mapped.layers.values()
    window, pack = Window.of(spec), layer.plan.packs[0]
    pair = np.stack([np.maximum(layer.integers.T, 0), np.maximum(-layer.integers.T, 0)], axis=-1).astype(np.float64)
    rows = np.asarray(pack.blocks[0].rows)
    cells = window.to_siemens(pair[rows].reshape(1, 60, -1))
    spread = row_variance(cells, (0.1 * cells / window.unit_s) ** 2, spec.wires, TYPICAL_ACTIVITY)[0]  # type: ignore[arg-type]
    by_output = np.empty((60, 4))
    by_output[rows] = spread.reshape(60, 4, 2).sum(axis=2)
    x = inputs(1, 3).expand(4000, 60)
    q = layer.scale.quantise(x[:1].clone()).numpy()[0, layer.pack_rows(pack)].astype(np.int64)
    assert spec.inputs.dac_bits == spec.inputs.bits  # one read takes the whole input
    power = q.astype(np.float64) ** 2
    wanted = (power @ by_output) * (layer.weight_scale.numpy() * layer.scale.scale) ** 2
    with torch.inference_mode():
        found = mapped(x).double().var(dim=0).numpy()
    np.testing.assert_allclose(found, wanted, rtol=5 * (2 / 4000) ** 0.5)


def test_one_gain_of_a_layer_is_least_squares_over_all_outputs() -> None:
    rng = np.random.default_rng(8)
    found, wanted, scale = rng.normal(size=(40, 6)), rng.normal(size=(40, 6)), rng.uniform(0.1, 3, 6)
    wanted += 1.7 * found
    weighted = [(values * scale).ravel() for values in (found, wanted)]
    assert fit_layer(found, wanted, scale) == pytest.approx(
        np.linalg.lstsq(weighted[0][:, None], weighted[1], rcond=None)[0][0]
    )
    assert fit_layer(np.zeros((3, 2)), np.ones((3, 2)), np.ones(2)) == 1.0


@pytest.mark.parametrize("kind", ["layer_gain", "gain", "gain_offset"])
def test_output_gain_takes_back_a_loss(kind: str) -> None:
    x, model = inputs(200), network()
    plain = error(ct.map(model, chip(), calibration=x), model, x)
    spec = chip(compensation__outputs=kind)
    mapped = ct.map(model, spec, calibration=x)
    assert error(mapped, model, x) < 0.5 * plain
    # The arrays themselves do more work than before: none. The correction is part of scale and bias.
    assert [layer.plan.activity for layer in mapped.layers.values()] == [
        layer.plan.activity for layer in ct.map(model, chip(), calibration=x).layers.values()
    ]


def test_fit_of_outputs() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(size=(50, 4))
    wanted = found * [2.0, 0.5, 1.0, 3.0] + [1.0, -2.0, 0.0, 0.0]
    gain, offset = fit_outputs(found, wanted, offset=True)
    np.testing.assert_allclose(gain, [2.0, 0.5, 1.0, 3.0], rtol=1e-12)
    np.testing.assert_allclose(offset, [1.0, -2.0, 0.0, 0.0], atol=1e-12)
    through_zero, none = fit_outputs(found, 2 * found, offset=False)
    np.testing.assert_allclose(through_zero, 2.0)
    assert not none.any()
    dead, _ = fit_outputs(np.zeros((5, 1)), np.ones((5, 1)), offset=False)
    assert dead.tolist() == [1.0]


@pytest.mark.parametrize("topology", ["standard", "same_side", "sensed_both_sides", "driven_both_sides"])
def test_rows_by_current_lose_less(topology: str) -> None:
    """Half of the inputs never fire: their rows go to the far end (or the middle)."""
    x = inputs(100)
    x[:, ::2] = 0
    model = nn.Linear(60, 24, bias=False)
    wires = {"word_line": 0.0, "bit_line": 20.0, "topology": topology}
    as_mapped = ct.load_chip("ideal").replaced(array__wires=wires)
    sorted_rows = as_mapped.replaced(compensation__rows="by_current")
    before = error(ct.map(model, as_mapped, calibration=x), model, x)
    after = error(ct.map(model, sorted_rows, calibration=x), model, x)
    assert after < 0.85 * before


def test_precompensated_weights_beat_a_gain() -> None:
    x, model = inputs(200), network()
    wires = {"word_line": 10.0, "bit_line": 10.0}
    base = ct.load_chip("analog-8b").replaced(cell__effects=(), adc__bits=None, array__wires=wires)
    gain = error(ct.map(model, base.replaced(compensation__outputs="gain"), calibration=x), model, x)
    both = base.replaced(compensation__outputs="gain", compensation__weights="precompensated")
    assert error(ct.map(model, both, calibration=x), model, x) < 0.5 * gain


def test_remedies_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SpecError, match=r"array\.wires"):
        ct.load_chip("ideal").replaced(compensation__rows="by_current")
    with pytest.raises(SpecError, match=r"compensation\.outputs"):
        chip(compensation__weights="precompensated")


def test_what_the_wires_of_each_layer_cost() -> None:
    model, x = network(), inputs(300)
    with torch.inference_mode():
        y = model(x).argmax(dim=1)
    spec = chip(array__wires={"word_line": 200.0, "bit_line": 200.0})
    mapped, bare = (ct.map(model, c, calibration=x) for c in (spec, without_wires(spec)))
    seen: list[int] = []
    before = [layer.integers.copy() for layer in bare.layers.values()]
    loss = wire_loss(mapped, bare, x, y, batch=64, progress=seen.append)
    assert sum(seen) == steps(2, 300) == 4 * SAMPLES
    assert loss.samples == SAMPLES
    assert loss.accuracy_without > 0.97
    assert loss.accuracy_with < loss.accuracy_without
    for name, layer in mapped.layers.items():
        found = loss.layers[name]
        total = layer.packs[0].total_s
        assert found.current_kept == pytest.approx(total[2] / total[1])
        assert 0 < found.current_kept < 1
    assert min(found.accuracy for found in loss.layers.values()) < loss.accuracy_without
    # Everything stands where it stood.
    assert all(np.array_equal(a, b.integers) for a, b in zip(before, bare.layers.values(), strict=True))
    assert {layer.chip.wires for layer in bare.layers.values()} == {None}
    assert wire_loss(mapped, bare, x, y, batch=100) == loss
