"""Accuracy over time and temperature: one chip under every condition, calibrated once or again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import crosstile as ct
from crosstile.errors import SpecError, UsageError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.study.ageing import evaluate_ageing, parse_conditions, steps
from crosstile.study.options import RunOptions

DRIFT = {"kind": "drift", "nu_mean": 0.05, "nu_std": 0.02, "t0": 20.0}
SPREAD = {"kind": "variation", "sigma": {"window": 0.03}}
FRESH, YEAR = Conditions(time=20.0), Conditions(time=3.15576e7)


def chip(**changes: object) -> ChipSpec:
    changed: ChipSpec = ct.load_chip("analog-8b").replaced(cell__effects=[SPREAD, DRIFT], adc__bits=None, **changes)
    return changed


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 4))


def inputs(count: int = 64) -> torch.Tensor:
    return torch.rand(count, 40, generator=torch.Generator().manual_seed(1))


def cells(mapped: ct.MappedNetwork) -> np.ndarray:
    return np.concatenate([s.levels.ravel() for la in mapped.layers.values() for p in la.packs for s in p.segments])


def test_a_cell_keeps_its_exponent_over_time() -> None:
    spec = chip()
    mapped = ct.map(network(), spec, calibration=inputs())
    mapped.program(1, conditions=FRESH)
    seen = {}
    for time_s in (20.0, 2e3, 2e5, 2e7):
        mapped.age(Conditions(time=time_s))
        total = [layer.packs[0].total_s[1] for layer in mapped.layers.values()]
        seen[time_s] = cells(mapped), total
    # With t / t0 = 100, 10^4 and 10^6 the logarithms of one cell lie on a line.
    from crosstile.crossbar.program import Window, program_array

    target = np.full((30, 20), 0.7)
    place = {"seed": 0, "trial": 1, "layer": "x", "array": 0, "array_number": 0}
    window = Window.of(spec)
    logs = []
    for time_s in (20.0, 2e3, 2e5, 2e7):
        aged = program_array(target, spec.replaced(conditions__time_s=time_s), **place)
        logs.append(np.log(window.to_siemens(aged.levels)))
    np.testing.assert_allclose(logs[2] - logs[0], 2 * (logs[1] - logs[0]), atol=1e-9)
    np.testing.assert_allclose(logs[3] - logs[0], 3 * (logs[1] - logs[0]), atol=1e-9)
    assert (logs[1] - logs[0]).std() > 0.05
    assert [sum(total) for _, total in seen.values()] == sorted((sum(t) for _, t in seen.values()), reverse=True)


def test_going_back_in_time_gives_the_same_chip() -> None:
    mapped = ct.map(network(), chip(), calibration=inputs())
    mapped.program(2, conditions=FRESH)
    x = inputs(8)
    with torch.inference_mode():
        first = mapped(x)
        mapped.age(YEAR, recalibrate=True)
        later = mapped(x)
        mapped.age(FRESH)
        again = mapped(x)
    assert torch.equal(first, again)
    assert not torch.allclose(first, later, rtol=1e-3)


def test_calibrating_again_takes_back_what_all_cells_do() -> None:
    model, x = network(), inputs(200)
    mapped = ct.map(model, chip(), calibration=x)
    with torch.inference_mode():
        wanted = model(x)

    def error() -> float:
        with torch.inference_mode():
            return float((mapped(x) - wanted).norm() / wanted.norm())

    mapped.program(0, conditions=FRESH)
    fresh = error()
    mapped.age(YEAR)
    aged = error()
    mapped.age(YEAR, recalibrate=True)
    assert fresh < error() < 0.4 * aged


def test_a_gain_fitted_at_first_stays_until_it_is_fitted_again() -> None:
    mapped = ct.map(network(), chip(compensation__outputs="gain"), calibration=inputs())
    mapped.program(0, conditions=FRESH)
    (layer, *_) = mapped.layers.values()

    def gain() -> np.ndarray:
        assert layer._programmed is not None
        assert layer._programmed.fitted.correction is not None
        return layer._programmed.fitted.correction[0]

    first = gain()
    mapped.age(YEAR)
    np.testing.assert_array_equal(gain(), first)
    mapped.age(YEAR, recalibrate=True)
    assert gain().mean() > 1.5 * first.mean()
    mapped.age(FRESH)
    np.testing.assert_array_equal(gain(), first)


def test_evaluation_resumes_where_it_stopped() -> None:
    model, x = network(), inputs(96)
    with torch.inference_mode():
        y = model(x).argmax(dim=1)
    mapped = ct.map(model, chip(), calibration=x)
    conditions = [FRESH, Conditions(time=1e5), YEAR]
    kept: list[float] = []
    counted: list[int] = []

    def keep(found: list[float]) -> None:
        kept[:] = found

    whole = evaluate_ageing(mapped, x, y, conditions, trials=2, batch=40, progress=counted.append, after_each=keep)
    assert len(kept) == 12
    assert sum(counted) == steps(3, 2, 96)
    for stop in (1, 6, 7, 12):
        again = evaluate_ageing(mapped, x, y, conditions, trials=2, batch=96, done=kept[:stop])
        assert again == whole
    fresh, _, year = whole
    assert fresh.once.mean > 0.9
    assert year.again.mean > year.once.mean
    assert [point.conditions for point in whole] == conditions


def test_conditions_from_the_command_line() -> None:
    default = Conditions()
    assert parse_conditions([], [], default) == (default,)
    found = parse_conditions(["1 h, 1d", "1h"], ["27C", "358.15 K"], default)
    assert [(c.time_s, c.temperature_k) for c in found] == [
        (3600.0, 300.15), (86400.0, 300.15), (3600.0, 358.15), (86400.0, 358.15),
    ]  # fmt: skip
    for times, temperatures, told in (
        (["soon"], [], "time"), (["5"], [], "no unit"), (["-1 s"], [], "outside"), ([], ["85"], "no unit"),
        ([], ["1000 K"], "outside"), ([], ["1 s"], "temperature"), ([f"{n} s" for n in range(65)], [], "at most 64"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            parse_conditions(times, temperatures, default)
    with pytest.raises(SpecError, match="conditions"):
        chip(conditions__temperature_k=20.0)


def test_the_command_is_repeated_with_its_conditions() -> None:
    options = RunOptions("lenet5", times=("1d,1y",), temperatures=("85 C",))
    assert "--time 1d,1y --temperature '85 C'" in options.command()


def test_wires_take_the_temperature_of_the_chip() -> None:
    cold = ct.load_chip("reram-8b-wires")
    warm = cold.replaced(conditions__temperature_k=360.0)
    assert cold.wires is not None
    assert warm.wires is not None
    assert warm.wires.word_line_ohm == pytest.approx(cold.wires.word_line_ohm * (1 + 0.0039 * 60), rel=1e-12)
    own = warm.replaced(array__wires={"word_line": 2.0, "bit_line": 2.0, "temperature": 310.0})
    assert own.wires is not None
    assert own.wires.word_line_ohm == pytest.approx(2.0 * (1 + 0.0039 * 10), rel=1e-12)
