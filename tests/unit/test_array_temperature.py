"""Each array at its own temperature, and reference columns that follow it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.crossbar.program import program_array
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.specs.load import load_cell

DAY = 86400.0


def chip(name: str = "reram-8b", **changes: object) -> ChipSpec:
    cell = load_cell("reram-thermal").model_dump()
    own = {"cell": cell, "array__rows": 32, "conditions__time_s": DAY} | changes
    changed: ChipSpec = ct.load_chip(name).replaced(**own)
    return changed


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(70, 40), nn.ReLU(), nn.Linear(40, 5)
    )  # 3 x 3 and 2 x 1 arrays of 32 rows, 16 outputs


def inputs(count: int = 24) -> torch.Tensor:
    return torch.rand(count, 70, generator=torch.Generator().manual_seed(1))


def run(mapped: ct.MappedNetwork, conditions: Conditions, **how: bool) -> torch.Tensor:
    mapped.age(conditions, **how)
    with torch.inference_mode():
        return mapped(inputs())


@pytest.mark.parametrize("name", ["reram-8b", "reram-8b-wires"])
def test_equal_temperatures_are_the_chip_wide_case_to_the_bit(name: str) -> None:
    mapped = ct.map(network(), chip(name), calibration=inputs())
    counts = {n: layer.plan.arrays for n, layer in mapped.layers.items()}
    assert list(counts.values()) == [9, 2]
    warm = Conditions(time=DAY, temperature=351.7)
    everywhere = run(mapped, warm)
    each = Conditions(time=DAY, temperature=300.0, arrays={n: (351.7,) * k for n, k in counts.items()})
    assert torch.equal(run(mapped, each), everywhere)
    assert not torch.equal(everywhere, run(mapped, Conditions(time=DAY)))
    mapped.program(0, conditions=each)
    found = mapped(inputs())
    mapped.program(0, conditions=warm)
    assert torch.equal(found, mapped(inputs()))


def test_each_array_has_its_own_temperature() -> None:
    spec = chip()
    mapped = ct.map(network(), spec, calibration=inputs())
    name, layer = next(iter(mapped.layers.items()))
    own = tuple(300.0 + 10.0 * n for n in range(9))
    mapped.age(Conditions(time=DAY, temperature=333.0, arrays={name: own}))
    pack = layer.packs[0]
    columns = pack.columns // pack.outputs
    for number, warm in enumerate(own):
        block, column_block = divmod(number, 3)
        layer.age(0, 0, Conditions(time=DAY, temperature=warm), recalibrate=False)
        outputs = np.arange(16 * column_block, min(16 * column_block + 16, 40))
        where = (np.arange(columns)[:, None] * 40 + outputs).ravel()
        alone = layer.packs[0].segments[block].levels[:, where]
        # Each pack is rounded to a grid of its own, which is far finer than this.
        np.testing.assert_allclose(pack.segments[block].levels[:, where], alone, atol=2e-5)
    (_, other) = list(mapped.layers.values())
    levels = other.packs[0].segments[0].levels
    other.age(0, 0, Conditions(time=DAY, temperature=333.0), recalibrate=False)
    np.testing.assert_array_equal(levels, other.packs[0].segments[0].levels)  # not named: as warm as the chip


def test_packs_take_their_own_part_of_the_list() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8), nn.Flatten(), nn.Linear(32, 3))
    x = torch.rand(16, 8, 6, 6)
    mapped = ct.map(model, chip(array__columns=8), calibration=x)
    layer = next(iter(mapped.layers.values()))
    assert len(layer.plan.packs) == layer.plan.arrays == 8
    own = tuple(310.0 + 10 * n for n in range(8))
    layer.age(0, 0, Conditions(time=DAY, arrays={layer.name: own}), recalibrate=False)
    found = [pack.segments[0].levels for pack in layer.packs]
    for n, warm in enumerate(own):
        layer.age(0, 0, Conditions(time=DAY, temperature=warm), recalibrate=False)
        np.testing.assert_array_equal(found[n], layer.packs[n].segments[0].levels)


def test_wrong_maps_are_refused() -> None:
    mapped = ct.map(network(), chip(), calibration=inputs())
    name = next(iter(mapped.layers))
    with pytest.raises(SpecError, match="no layer is called 'fc'"):
        mapped.age(Conditions(arrays={"fc": (300.0,)}))
    with pytest.raises(SpecError, match="stands on 9 arrays, found 2"):
        mapped.program(0, conditions=Conditions(arrays={name: (300.0, 310.0)}))
    with pytest.raises(ValueError, match="700 K lies outside"):
        Conditions(arrays={name: (700.0,)})


def test_conditions_are_written_as_before_and_read_back() -> None:
    assert Conditions(time=5.0).model_dump() == {"time_s": 5.0, "temperature_k": 300.0}
    full = Conditions(time=DAY, temperature=320.0, arrays={"a": (310.0, 330.0)}, reference_columns=True)
    assert Conditions.model_validate(full.model_dump()) == full
    assert Conditions.model_validate_json(full.model_dump_json()) == full
    assert str(full) == "1 d, 320 K, arrays 310 to 330 K"


PLACE = {"seed": 0, "trial": 0, "layer": "x/0", "array": 0, "array_number": 0}
TARGETS = np.tile(np.arange(4.0), (32, 4))


def test_reference_columns_undo_what_all_cells_do_alike() -> None:
    # Without anything random, warming is linear in the level: two columns take it back entirely.
    spec = chip(cell__effects=[{"kind": "temperature", "on_coefficient_per_k": 2e-3, "off_energy_j": 2e-20}])
    warm = spec.replaced(conditions__temperature_k=370.0)
    assert np.abs(program_array(TARGETS, warm, **PLACE).levels - TARGETS).max() > 0.3
    follows = warm.replaced(conditions__reference_columns=True)
    np.testing.assert_allclose(program_array(TARGETS, follows, **PLACE).levels, TARGETS, atol=1e-12)


def test_reference_columns_are_cells_with_errors_of_their_own() -> None:
    spec = chip(cell__effects=[{"kind": "variation", "sigma": {"window": 0.05}}, {"kind": "drift", "nu_mean": 0.05}])

    def mean_error(array: int, *, follows: bool) -> float:
        aged = spec.replaced(conditions__time_s=1e7, conditions__reference_columns=follows)
        found = program_array(TARGETS, aged, **{**PLACE, "array": array})
        return float((found.levels - TARGETS).mean())

    plain = np.array([mean_error(n, follows=False) for n in range(20)])
    followed = np.array([mean_error(n, follows=True) for n in range(20)])
    assert np.abs(followed).max() < 0.2 * np.abs(plain).min()
    assert np.unique(followed).size == 20
    # The mean of 32 reference cells: a standard deviation of 5 % of three levels / sqrt(32) at each end.
    assert 0.2 < followed.std() / (0.05 * 3 / np.sqrt(32)) < 2


def test_read_noise_is_scaled_with_the_gain() -> None:
    effects = [{"kind": "drift", "nu_mean": 0.1, "nu_std": 0.0}, {"kind": "read_noise", "sigma": {"window": 0.01}}]
    spec = chip(cell__effects=effects, conditions__time_s=1e6)
    plain = program_array(TARGETS, spec, **PLACE)
    followed = program_array(TARGETS, spec.replaced(conditions__reference_columns=True), **PLACE)
    assert plain.noise_variance is not None
    assert followed.noise_variance is not None
    gain = (followed.levels[0, 3] - followed.levels[0, 0]) / (plain.levels[0, 3] - plain.levels[0, 0])
    assert gain > 1.2
    np.testing.assert_allclose(followed.noise_variance, gain**2 * plain.noise_variance, rtol=1e-9)


def test_lost_references_are_told() -> None:
    lost = {"kind": "retention", "tau_s": 1.0, "beta": 1.0}
    spec = chip(cell__effects=[lost], conditions__time_s=1e6, conditions__reference_columns=True)
    with pytest.raises(SpecError, match="lost their window"):
        program_array(TARGETS, spec, **PLACE)
