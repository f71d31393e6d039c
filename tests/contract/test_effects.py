"""What every registered non-ideality promises, and the distribution of each against its formula.

A new effect inherits the contract: it needs one entry in ``ZERO`` and one or more in ``STRONG``, and a test
says so while they are missing. Statistical bounds are two-sided at a chance of ``ALPHA`` for a right
implementation; all draws come from fixed seeds, so a test that passes once passes always.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from crosstile.crossbar.program import program_array
from crosstile.errors import SpecError
from crosstile.nonidealities import (
    EFFECTS,
    AgeEffect,
    DeviceEffect,
    Effect,
    Levels,
    ProgramEffect,
    ReadEffect,
    build_effects,
)
from crosstile.nonidealities.sigma import SigmaSpec
from crosstile.nonidealities.state import StateFunction
from crosstile.nonidealities.stuck import StuckAt
from crosstile.nonidealities.variation import Variation
from crosstile.nonidealities.write_verify import WriteVerify
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions

ALPHA = 1e-6
Z = float(stats.norm.ppf(1 - ALPHA / 2))
N = 40_000
WINDOW = Levels(g_off_s=1e-6, g_on_s=40e-6)
SPAN = WINDOW.g_on_s - WINDOW.g_off_s
OLD = Conditions(time_s=3e7, temperature_k=360.0)
"""A year, warm: what effects without a time of their own are tested at."""
POLYNOMIAL = (0.348, 16.030, -43.853, 45.393, -16.815)

DAY = 86400.0
EV = 1.602176634e-19
KT = 1.380649e-23
SPATIAL: list[dict[str, Any]] = [
    {"on_rate": 0.02, "off_rate": 0.05, "cluster_size": 6.0},
    {"line_rate": 0.03, "line_state": "on"},
    {"on_rate": 0.01, "line_rate": 0.02, "cluster_size": 3.0},
]
"""Faults that belong to places: their draws follow the shape of the array."""
TOTAL = {
    "spread": "total",
    "programmed": {"window": 0.01},
    "points": [
        {"time": 1.0, "sigma": {"window": 0.01}},
        {"time": 1e4, "sigma": {"window": 0.02}, "mean": {"polynomial": [0.5, -1.0]}},
        {"time": 1e8, "sigma": {"window": 0.05}, "mean": {"polynomial": [0.1, -3.0]}},
    ],
}
LOG = {
    "log": {
        "first": 1.0,
        "last": 1e9,
        "mean": {"polynomial": [-0.2]},
        "mean_slope": {"polynomial": [-0.05]},
        "sigma": {"polynomial": [0.4]},
        "sigma_slope": {"polynomial": [0.04]},
    }
}

ZERO: dict[str, list[dict[str, Any]]] = {
    "variation": [
        {"sigma": {"proportional": 0.0}},
        {"sigma": {"window": 0.0}, "distribution": "lognormal"},
        {"sigma": {"polynomial": [0.0, 0.0]}},
    ],
    "write_verify": [{"tolerance": 0.05, "max_iterations": 1}],
    "stuck_at": [{}, {"on_rate": 0.0, "off_rate": 0.0}],
    "drift": [
        {"nu_mean": 0.05, "nu_std": 0.01, "t0": 20.0, "time": 20.0},
        {"nu_mean": 0.0, "nu_std": 0.0, "t0": 1.0, "time": 1e6},
        {"nu_mean": {"polynomial": [0.0, 0.0]}, "time_law": "(t+t0)/t0"},
    ],
    "read_noise": [
        {"sigma": {"proportional": 0.0}},
        {"sigma": {"window": 0.0}},
        {"sigma": {"saturating": [0.0, 1.0]}},
        {"sigma": {"phase": 0.0}},
    ],
    "device_variation": [{"sigma": 0.0}, {"sigma": 0.0, "distribution": "lognormal"}],
    "endurance": [{"cycles": 0.0, "on_exponent": 0.1}, {"cycles": 1e9}],
    "one_over_f": [{"amplitude": 0.0}, {"amplitude": {"power": [0.0, -0.65]}}],
    "relaxation": [
        {"log": {"last": 1e9, "sigma": {"window": 0.0}, "sigma_slope": {"window": 0.0}}},
        {"points": [{"time": 1.0, "sigma": {"window": 0.0}}, {"time": 1e9, "sigma": {"proportional": 0.0}}]},
    ],
    "retention": [{"tau": 1e3, "loss": 0.0}],
    "telegraph": [
        {"share": 0.0, "amplitude": 0.5},
        {"share": 0.5, "amplitude": 0.0},
        {"share": 0.5, "amplitude": 0.5, "occupancy": 1.0},
    ],
    "temperature": [{}, {"on_coefficient": 0.0, "off_energy": 0.0}],
}
STRONG: dict[str, list[dict[str, Any]]] = {
    "variation": [
        {"sigma": {"proportional": 10.0}},
        {"sigma": {"proportional": 10.0}, "distribution": "lognormal"},
        {"sigma": {"window": 1.5}},
        {"sigma": {"window": 1.5}, "distribution": "lognormal"},
        {"sigma": {"polynomial": list(POLYNOMIAL), "unit": 1e-6, "g_max": 40e-6}},
        {"sigma": {"polynomial": [5.0, -3.0], "argument": "microsiemens"}, "distribution": "lognormal"},
    ],
    "write_verify": [{"tolerance": 0.01, "max_iterations": 30}, {"tolerance": 1.0, "max_iterations": 2}],
    "stuck_at": [{"on_rate": 0.3, "off_rate": 0.7}, {"on_rate": 0.1}, {"off_rate": 1.0}, *SPATIAL],
    "drift": [
        {"nu_mean": 0.05, "nu_std": 0.5, "t0": 1.0, "time": 1e9},
        {"nu_mean": 1.0, "nu_std": 1.0, "t0": 1e-9, "time": 1e12},
        {"nu_mean": 0.05, "nu_std": 0.1, "negative": "fold", "time_law": "(t+t0)/t0"},
        {
            "nu_mean": [{"until": 0.3, "log": [-0.04, 0.01], "maximum": 0.1}, {"table": [[0.3, 0.05], [1, 0.01]]}],
            "nu_std": 0.01,
        },
    ],
    "read_noise": [
        {"sigma": {"proportional": 10.0}},
        {"sigma": {"window": 1.0}},
        {"sigma": {"polynomial": list(POLYNOMIAL)}},
        {"sigma": {"polynomial": [5.0, -3.0], "argument": "microsiemens"}},
        {"sigma": {"saturating": [3.0, 0.2]}},
        {"sigma": {"phase": 3.0}},
    ],
    "device_variation": [{"sigma": 2.0}, {"sigma": 10.0, "distribution": "lognormal"}],
    "endurance": [
        {"cycles": 1e12, "onset_cycles": 1e4, "on_exponent": 0.05, "off_exponent": 0.05},
        {"cycles": 1e7, "on_exponent": 0.2, "reach": "scale"},
    ],
    "one_over_f": [
        {"amplitude": {"power": [0.0088, -0.65], "maximum": 0.2}},
        {"amplitude": 10.0, "unit": 1e-6, "t_read": 1e-9},
    ],
    "relaxation": [TOTAL, LOG],
    "retention": [
        {"tau": 1e6, "beta": 0.3, "spread": 5.0},
        {"tau": 1e11, "beta": 2.0, "loss": 0.5, "energy": 1.5 * EV, "energy_std": 0.5 * EV, "rest": 0.0},
    ],
    "telegraph": [
        {"share": 0.5, "amplitude": 0.5, "spread": 3.0, "occupancy": 0.1},
        {"share": 0.2, "amplitude": {"power": [0.05, -0.5], "maximum": 1.0}},
    ],
    "temperature": [
        {"on_coefficient": 0.05, "off_energy": 2 * EV},
        {"off_energy": 0.1 * EV, "reference_temperature": 250.0},
    ],
}
DETERMINISTIC = ("read_noise", "one_over_f", "temperature", "endurance")
"""Effects that draw nothing."""
KINDS = EFFECTS.names()
ZERO_CASES = [(kind, options) for kind in KINDS for options in ZERO.get(kind, [])]
STRONG_CASES = [(kind, options) for kind in KINDS for options in STRONG.get(kind, [])]


def make(kind: str, options: dict[str, Any]) -> Effect:
    (effect,) = build_effects([{"kind": kind, **options}], units_required=False)
    return effect


def act(effect: Effect, target_s: np.ndarray, seed: int = 0, conditions: Conditions = OLD) -> np.ndarray:
    """Return what the effect makes of cells at their targets: conductances, or the sigma of one read."""
    rng = np.random.default_rng(seed)
    if isinstance(effect, ProgramEffect):
        return effect.apply(target_s.copy(), target_s, WINDOW, rng)
    if isinstance(effect, AgeEffect):
        return effect.age(target_s.copy(), target_s, WINDOW, rng, conditions)
    if isinstance(effect, DeviceEffect):
        return target_s * effect.factor(target_s, WINDOW, rng)
    if isinstance(effect, WriteVerify):
        one = Variation(sigma=SigmaSpec(window=0.05))
        return effect.apply(target_s, WINDOW, lambda wanted: one.apply(wanted.copy(), wanted, WINDOW, rng))[0]
    if isinstance(effect, StuckAt):
        return effect.apply_to_array(target_s, WINDOW, rng, 0)
    assert isinstance(effect, ReadEffect), f"this contract does not know how to drive a {type(effect).__name__}"
    return effect.sigma_s(target_s, target_s, WINDOW, rng, conditions)


def targets(shape: tuple[int, ...] = (60, 50)) -> np.ndarray:
    """Conductances over the whole window, its ends, zero, and one above the window among them."""
    g = np.random.default_rng(7).uniform(WINDOW.g_off_s, WINDOW.g_on_s, size=shape)
    g.flat[:4] = [WINDOW.g_off_s, WINDOW.g_on_s, 0.0, 1.2 * WINDOW.g_on_s]
    return g


# ------------------------------------------------------------ contract


def test_each_registered_effect_is_in_this_suite() -> None:
    assert set(ZERO) == set(STRONG) == set(KINDS)
    assert len(KINDS) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_kind_stage_and_text(kind: str) -> None:
    effect = EFFECTS.get(kind)
    assert issubclass(effect, Effect)
    assert effect.model_fields["kind"].default == kind
    assert effect.stage in ("program", "fault", "age", "read")
    assert effect.__doc__


@pytest.mark.parametrize(("kind", "options"), ZERO_CASES)
def test_identity_at_zero_strength(kind: str, options: dict[str, Any]) -> None:
    effect, target = make(kind, options), targets()
    assert effect.is_identity
    if isinstance(effect, ReadEffect):
        np.testing.assert_array_equal(act(effect, target), 0.0)
    elif isinstance(effect, WriteVerify):  # the identity of a loop: one write, kept whatever it reads
        once = act(make("variation", {"sigma": {"window": 0.05}}), target.ravel()).reshape(target.shape)
        np.testing.assert_array_equal(act(effect, target), once)
    else:
        np.testing.assert_array_equal(act(effect, target), target)


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES)
def test_strong_settings_are_not_the_identity(kind: str, options: dict[str, Any]) -> None:
    effect, target = make(kind, options), targets()
    assert not effect.is_identity
    changed = act(effect, target)
    assert (changed != (0.0 if isinstance(effect, ReadEffect) else target)).any()


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES)
def test_results_are_finite_and_not_negative(kind: str, options: dict[str, Any]) -> None:
    result = act(make(kind, options), targets((200, 100)))
    assert result.shape == (200, 100)
    assert np.isfinite(result).all()
    assert result.min() >= 0.0


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES)
def test_same_generator_same_result(kind: str, options: dict[str, Any]) -> None:
    effect, target = make(kind, options), targets()
    before = target.copy()
    first = act(effect, target, seed=3)
    np.testing.assert_array_equal(first, act(make(kind, options), target, seed=3))
    np.testing.assert_array_equal(target, before)  # the caller's array is left alone
    if kind not in DETERMINISTIC and options != {"off_rate": 1.0}:
        assert (first != act(effect, target, seed=4)).any()


@pytest.mark.parametrize(("kind", "options"), [case for case in STRONG_CASES if case[1] not in SPATIAL])
def test_cells_are_drawn_in_their_order_whatever_the_shape(kind: str, options: dict[str, Any]) -> None:
    effect, flat = make(kind, options), targets((600,))
    shapes = [(20, 30), (600, 1)] if isinstance(effect, StuckAt) else [(600,), (20, 30), (4, 5, 30)]
    results = [act(effect, flat.reshape(shape), seed=5) for shape in shapes]
    for shape, result in zip(shapes, results, strict=True):
        assert result.shape == shape
        np.testing.assert_array_equal(result.ravel(), results[0].ravel())


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES)
def test_frozen_and_strict(kind: str, options: dict[str, Any]) -> None:
    effect = make(kind, options)
    for name in type(effect).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(effect, name, getattr(effect, name))
    with pytest.raises(SpecError, match=r"strenght: this field is not known; allowed are .*kind"):
        validate(EFFECTS.get(kind), {"kind": kind, **options, "strenght": 1}, origin="test")
    with pytest.raises(SpecError, match="kind"):
        validate(EFFECTS.get(kind), {**options, "kind": "another"}, origin="test")


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES + ZERO_CASES)
def test_survives_a_round_trip_through_its_fields(kind: str, options: dict[str, Any]) -> None:
    effect = make(kind, options)
    (again,) = build_effects([effect.model_dump()], units_required=False)
    assert again == effect
    assert build_effects((effect,), units_required=True) == (effect,)


@pytest.mark.parametrize(("kind", "options"), ZERO_CASES)
def test_a_chip_with_an_idle_effect_holds_what_was_written(kind: str, options: dict[str, Any]) -> None:
    levels = np.random.default_rng(1).integers(0, 4, size=(16, 24)).astype(np.float64)
    done = program_array(levels, chip([{"kind": kind, **options}]), **PLACE)
    np.testing.assert_array_equal(done.levels, levels)
    assert done.noise_variance is None
    assert (done.writes.cells, done.writes.writes, done.writes.unconverged) == (384, 384, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("variation", "a list of effects"),
        ([{"sigma": {"window": 0.1}}], "effect 0: a mapping with a text field 'kind'"),
        ([{"kind": "variaton", "sigma": {"window": 0.1}}], "did you mean 'variation'"),
        ([{"kind": "stuck_at"}, {"kind": "stuck_at"}], "effects given twice: stuck_at"),
        (
            [{"kind": "variation", "sigma": {}}],
            "exactly one of proportional, window, polynomial, saturating, phase; found none",
        ),
        (
            [{"kind": "variation", "sigma": {"window": 0.1, "proportional": 0.1}}],
            "found proportional, window",
        ),
        ([{"kind": "variation", "sigma": {"window": -0.1}}], "sigma.window"),
        ([{"kind": "variation", "sigma": {"polynomial": [float("nan")]}}], "sigma.polynomial"),
        ([{"kind": "variation", "sigma": {"window": 0.1}, "distribution": "cauchy"}], "distribution"),
        ([{"kind": "stuck_at", "on_rate": 0.7, "off_rate": 0.4}], "at most 1 is possible"),
        ([{"kind": "stuck_at", "on_rate": 0.7, "map": "m.npz"}], "a map or rates, not both"),
        ([{"kind": "drift", "nu_mean": 0.1, "t0": 20.0, "time": 10.0}], "must not be before t0"),
        ([{"kind": "drift", "nu_mean": 1.5}], "nu_mean reaches 1.5 to 1.5"),
        ([{"kind": "drift", "nu_mean": {"log": [-0.1, 0.0]}}], "nu_mean reaches .* clamp it"),
        ([{"kind": "drift", "nu_mean": {"log": [0, 0], "power": [1, 1]}}], "found log, power"),
        ([{"kind": "drift", "nu_mean": [{"polynomial": [0.1]}, {"polynomial": [0.2]}]}], "needs 'until'"),
        ([{"kind": "drift", "nu_mean": {"table": [[0.5, 0.1], [0.5, 0.2]]}}], "must rise"),
        ([{"kind": "drift", "nu_mean": {"polynomial": [0.1], "minimum": 1, "maximum": 0}}], "above maximum"),
        ([{"kind": "drift", "nu_mean": {"power": [0.1, -2]}}], "from -1 to 8"),
        ([{"kind": "drift", "nu_mean": True}], "nu_mean"),
        ([{"kind": "read_noise", "sigma": {"saturating": [1.0, 0.0]}}], "b > 0"),
        ([{"kind": "relaxation"}], "exactly one of log and points"),
        ([{"kind": "relaxation", **LOG, "spread": "total"}], "programmed belongs to spread"),
        ([{"kind": "relaxation", "points": [{"time": t, "sigma": {"window": 0}} for t in (2, 1)]}], "must rise"),
        ([{"kind": "relaxation", "points": [{"time": t, "sigma": {"window": 0}} for t in (0, 1)]}], "no logarithm"),
        ([{"kind": "retention", "tau": 0.0}], "tau"),
        ([{"kind": "stuck_at", "on_rate": 0.95, "cluster_size": 3}], "clusters cover at most 90%"),
        ([{"kind": "stuck_at", "line_rate": 0.1, "map": "m.npz"}], "a map or rates, not both"),
        ([{"kind": "telegraph", "share": 0.1, "amplitude": 2.0}], "amplitude reaches"),
        ([{"kind": "write_verify", "tolerance": 0.0}], "tolerance"),
        ([{"kind": "write_verify", "tolerance": 0.1, "max_iterations": 0}], "max_iterations"),
    ],
)
def test_settings_without_meaning_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_effects(value, units_required=False)


# ------------------------------------------------------------ helpers

PLACE = {"seed": 11, "trial": 2, "layer": "l", "array": 0, "array_number": 0}


def chip(effects: list[dict[str, Any]], **conditions: float) -> ChipSpec:
    design = {
        "name": "t",
        "cell": {
            "name": "c",
            "technology": "t",
            "g_on": WINDOW.g_on_s,
            "g_off": WINDOW.g_off_s,
            "effects": effects,
        },
        "weights": {"bits": 8, "cell_bits": 2},
        "conditions": conditions,
    }
    return validate(ChipSpec, design, origin="test")


def check_normal(sample: np.ndarray, mean: float, sigma: float) -> None:
    """Mean by z-test, variance by chi-square, shape by Kolmogorov-Smirnov; each at ALPHA."""
    n = sample.size
    assert n >= 20_000
    assert abs(sample.mean() - mean) < Z * sigma / np.sqrt(n)
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n - 1)
    assert low < sample.var(ddof=1) * (n - 1) / sigma**2 < high
    assert stats.kstest((sample - mean) / sigma, "norm").pvalue > ALPHA


def check_share(hits: int, n: int, share: float) -> None:
    assert n >= 20_000
    assert stats.binomtest(hits, n, share).pvalue > ALPHA


SIGMAS = [
    ({"proportional": 0.08}, lambda g: 0.08 * g),
    ({"window": 0.03}, lambda g: 0.03 * 39e-6),
    ({"polynomial": [0.2, 1.0, -0.5]}, lambda g: 1e-6 * (0.2 + g / 40e-6 - 0.5 * (g / 40e-6) ** 2)),
    (
        {"polynomial": [0.2, 1.0, -0.5], "g_max": 50e-6, "unit": 2e-6},
        lambda g: 2e-6 * (0.2 + g / 50e-6 - 0.5 * (g / 50e-6) ** 2),
    ),
    ({"polynomial": [0.5, 0.03], "argument": "microsiemens"}, lambda g: 1e-6 * (0.5 + 0.03 * g * 1e6)),
    ({"saturating": [2.0, 0.3], "unit": 1e-6}, lambda g: 2e-6 * (1 - np.exp(-g / 40e-6 / 0.3))),
    ({"phase": 0.1, "g_max": 50e-6}, lambda g: 0.1 * 50e-6 * np.sqrt(g / 50e-6 * (1 - g / 50e-6))),
]


# ------------------------------------------------------------ variation


@pytest.mark.parametrize("target", [20e-6, 36e-6])
@pytest.mark.parametrize("number", range(len(SIGMAS)))
@pytest.mark.parametrize("distribution", ["normal", "lognormal"])
def test_variation_has_the_stated_mean_and_sigma(distribution: str, number: int, target: float) -> None:
    options, formula = SIGMAS[number]
    effect, sigma = make("variation", {"sigma": options, "distribution": distribution}), formula(target)
    g = act(effect, np.full(N, target), seed=100 + number)
    if distribution == "normal":  # the floor at zero is more than ten sigma away
        check_normal(g, target, sigma)
    else:
        # Normal in the logarithm with these parameters is the lognormal of mean target and deviation sigma.
        s2 = np.log(1 + (sigma / target) ** 2)
        check_normal(np.log(g / target), -s2 / 2, np.sqrt(s2))
        reference = stats.lognorm(np.sqrt(s2), scale=target * np.exp(-s2 / 2))
        np.testing.assert_allclose([reference.mean(), reference.std()], [target, sigma], rtol=1e-9)


def test_normal_variation_is_cut_at_zero() -> None:
    target = 10e-6
    g = act(make("variation", {"sigma": {"proportional": 1.0}}), np.full(N, target), seed=9)
    check_share(int((g == 0).sum()), N, float(stats.norm.cdf(-1)))


def test_lognormal_variation_leaves_zero_at_zero() -> None:
    g = act(make("variation", {"sigma": {"window": 0.1}, "distribution": "lognormal"}), np.zeros(100))
    np.testing.assert_array_equal(g, 0.0)


def test_a_polynomial_below_zero_counts_as_zero() -> None:
    spec = SigmaSpec(polynomial=(0.5, -1.0))
    g = np.array([0.0, 10e-6, 20e-6, 30e-6])
    np.testing.assert_allclose(spec.sigma_s(g, WINDOW), [0.5e-6, 0.25e-6, 0, 0], rtol=1e-12, atol=1e-20)


# ------------------------------------------------------------ write-verify


def verified(sigma: float, tolerance: float, iterations: int, n: int = N) -> tuple[np.ndarray, Any]:
    rng = np.random.default_rng(21)
    one = Variation(sigma=SigmaSpec(window=sigma))
    effect = WriteVerify(tolerance=tolerance, max_iterations=iterations)
    target = np.full(n, 20e-6)
    g, statistics = effect.apply(target, WINDOW, lambda wanted: one.apply(wanted.copy(), wanted, WINDOW, rng))
    return (g - target) / SPAN, statistics


def test_write_verify_accepts_the_conditioned_distribution() -> None:
    error, statistics = verified(0.05, 0.03, 1000)
    assert np.abs(error).max() <= 0.03 * (1 + 1e-9)  # one rounding of g - target
    assert (statistics.cells, statistics.unconverged) == (N, 0)
    assert stats.kstest(error / 0.05, stats.truncnorm(-0.6, 0.6).cdf).pvalue > ALPHA
    p = 2 * stats.norm.cdf(0.6) - 1
    # Writes of a cell are geometric: mean 1/p, variance (1-p)/p^2.
    assert abs(statistics.writes / N - 1 / p) < Z * np.sqrt((1 - p) / p**2 / N)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_write_verify_gives_up(iterations: int) -> None:
    error, statistics = verified(0.05, 0.03, iterations)
    p = 2 * stats.norm.cdf(0.6) - 1
    check_share(statistics.unconverged, N, (1 - p) ** iterations)
    assert statistics.unconverged == int((np.abs(error) > 0.03).sum())
    k = np.arange(1, iterations + 1)
    chance = np.where(k < iterations, p * (1 - p) ** (k - 1), (1 - p) ** (iterations - 1))
    mean = (k * chance).sum()
    sd = np.sqrt((k**2 * chance).sum() - mean**2)
    assert abs(statistics.writes / N - mean) <= Z * sd / np.sqrt(N)


def test_write_verify_leaves_good_cells_alone() -> None:
    error, statistics = verified(0.001, 0.1, 50, n=1000)
    assert (statistics.writes, statistics.unconverged) == (1000, 0)
    assert error.std() > 0


def test_a_chip_counts_its_writes() -> None:
    effects = [{"kind": "variation", "sigma": {"window": 0.05}}, {"kind": "write_verify", "tolerance": 0.03}]
    done = program_array(np.full((100, 100), 2.0), chip(effects), **PLACE)
    assert done.writes.cells == 10_000
    assert done.writes.writes > 20_000
    outside = np.abs(done.levels - 2.0) > 3 * 0.03 * (1 + 1e-9)
    assert int(outside.sum()) == done.writes.unconverged


# ------------------------------------------------------------ stuck-at


@pytest.mark.parametrize(("on", "off"), [(0.02, 0.05), (0.0, 0.1), (0.3, 0.0), (0.4, 0.6)])
def test_stuck_rates(on: float, off: float) -> None:
    target = np.full((200, 200), 20e-6)
    g = act(make("stuck_at", {"on_rate": on, "off_rate": off}), target, seed=31)
    assert set(np.unique(g)) <= {WINDOW.g_off_s, WINDOW.g_on_s, 20e-6}
    check_share(int((g == WINDOW.g_on_s).sum()), g.size, on)
    check_share(int((g == WINDOW.g_off_s).sum()), g.size, off)


def test_stuck_cells_do_not_depend_on_what_is_written() -> None:
    effect = make("stuck_at", {"on_rate": 0.1, "off_rate": 0.2})
    one, other = (act(effect, np.full((40, 40), g), seed=1) for g in (10e-6, 30e-6))
    np.testing.assert_array_equal(one == 10e-6, other == 30e-6)


def test_a_map_of_faults_is_followed_and_wraps(tmp_path: Path) -> None:
    faults = np.random.default_rng(2).integers(-1, 2, size=(3, 8, 10)).astype(np.int8)
    path = tmp_path / "map.npz"
    np.savez(path, stuck=faults)
    effect = make("stuck_at", {"map": str(path)})
    assert isinstance(effect, StuckAt)
    assert not effect.is_identity
    g = np.full((6, 7), 20e-6)
    for number in range(7):
        state = faults[number % 3, :6, :7]
        want = np.where(state > 0, WINDOW.g_on_s, np.where(state < 0, WINDOW.g_off_s, 20e-6))
        seen = effect.apply_to_array(g, WINDOW, np.random.default_rng(0), number)
        np.testing.assert_array_equal(seen, want)
    for rows, columns in [(9, 7), (6, 11)]:
        with pytest.raises(SpecError, match=rf"of 8 x 10, smaller than the {rows} x {columns} cells"):
            effect.apply_to_array(np.zeros((rows, columns)), WINDOW, np.random.default_rng(0), 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("flat", {"stuck": np.zeros((4, 4), dtype=np.int8)}),
        ("real", {"stuck": np.zeros((1, 4, 4))}),
        ("two", {"stuck": np.full((1, 4, 4), 2, dtype=np.int8)}),
        ("empty", {"stuck": np.zeros((0, 4, 4), dtype=np.int8)}),
        ("key", {"faults": np.zeros((1, 4, 4), dtype=np.int8)}),
        ("pickle", {"stuck": np.array([[[object()]]], dtype=object)}),
        ("bytes", b"this is no archive"),
        ("nothing", b""),
        ("missing", None),
    ],
)
def test_bad_maps_are_refused_by_name(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / f"{name}.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    effect = make("stuck_at", {"map": str(path)})
    with pytest.raises(SpecError, match=rf"{name}\.npz.*shape \(arrays, rows, columns\)"):
        act(effect, np.full((2, 2), 20e-6))


# ------------------------------------------------------------ drift


def test_drift_follows_its_exponents() -> None:
    g0 = np.full(N, 30e-6)
    effect = make("drift", {"nu_mean": 0.06, "nu_std": 0.01, "t0": 20.0, "time": 2e5})
    nu = -np.log(act(effect, g0, seed=41) / g0) / np.log(1e4)
    check_normal(nu, 0.06, 0.01)  # the floor at zero is six sigma away: 4e-5 cells expected of 40,000


def test_drift_never_rises_and_is_floored() -> None:
    g0 = np.full(N, 30e-6)
    g = act(make("drift", {"nu_mean": 0.01, "nu_std": 0.02, "t0": 20.0, "time": 2e5}), g0, seed=42)
    assert (g <= g0).all()
    check_share(int((g == g0).sum()), N, float(stats.norm.cdf(-0.5)))


def test_drift_is_a_power_law_in_time() -> None:
    g0 = np.linspace(1e-6, 40e-6, 50)
    for ratio in (1.0, 10.0, 1e5):
        g = act(make("drift", {"nu_mean": 0.05, "t0": 20.0, "time": 20.0 * ratio}), g0)
        np.testing.assert_allclose(g, g0 * ratio**-0.05, rtol=1e-12)


def test_drift_does_not_change_which_faults_there_are() -> None:
    """Stages act in their order and from generators of their own: adding one leaves the draws of another."""
    drift = {"kind": "drift", "nu_mean": 0.1, "t0": 1.0, "time": 1e4}
    stuck = {"kind": "stuck_at", "on_rate": 0.1}
    levels = np.full((50, 50), 1.0)
    alone = program_array(levels, chip([stuck]), **PLACE).levels
    both = program_array(levels, chip([drift, stuck]), **PLACE).levels
    np.testing.assert_array_equal(alone == 3.0, both == 3.0)
    assert (both[both != 3.0] < 1.0).all()


# ------------------------------------------------------------ read noise


@pytest.mark.parametrize("number", range(len(SIGMAS)))
def test_read_noise_sigma(number: int) -> None:
    options, formula = SIGMAS[number]
    g = np.linspace(1e-6, 40e-6, 100)
    effect = make("read_noise", {"sigma": options})
    want = np.array([formula(value) for value in g])
    np.testing.assert_allclose(act(effect, g), want, rtol=1e-12)
    # On the chip: variance in levels squared, of the conductance as programmed.
    levels = np.arange(4.0)[:, None]
    done = program_array(levels, chip([{"kind": "read_noise", "sigma": options}]), **PLACE)
    unit = SPAN / 3
    want = np.array([[formula(WINDOW.g_off_s + level * unit) / unit] for level in range(4)]) ** 2
    np.testing.assert_allclose(done.noise_variance, want, rtol=1e-9)
    np.testing.assert_allclose(done.levels, levels, rtol=0, atol=1e-12)


# ------------------------------------------------------------ functions of the state


def test_a_function_of_the_state_is_what_it_says() -> None:
    r = np.array([1e-9, 1e-7, 0.01, 0.2, 0.3, 0.5, 1.0, 1.4])
    inside = np.clip(r, 1e-7, 1.0)  # the ends hold beyond the range
    cases: list[tuple[Any, np.ndarray]] = [
        (0.25, np.full(8, 0.25)),
        ({"polynomial": [0.1, 0.2, -0.3]}, 0.1 + 0.2 * inside - 0.3 * inside**2),
        ({"log": [-0.02, 0.03], "maximum": 0.1}, np.minimum(-0.02 * np.log(inside) + 0.03, 0.1)),
        ({"power": [0.01, -0.65], "maximum": 0.2}, np.minimum(0.01 * inside**-0.65, 0.2)),
        ({"table": [[0.1, 1.0], [0.5, 3.0]]}, np.array([1, 1, 1, 1.5, 2, 3, 3, 3])),
        ([{"until": 0.3, "polynomial": [1.0]}, {"polynomial": [0.0, 2.0]}], np.where(inside < 0.3, 1.0, 2 * inside)),
    ]
    for description, want in cases:
        function = StateFunction.model_validate(description)
        np.testing.assert_allclose(function.at(r), want, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(function.of(r * WINDOW.g_on_s, WINDOW), want, rtol=1e-9, atol=1e-15)
        assert StateFunction.model_validate(function.model_dump()) == function
    scaled = StateFunction.model_validate({"polynomial": [0.0, 1.0], "g_max": 80e-6})
    np.testing.assert_allclose(scaled.of(np.array([20e-6]), WINDOW), [0.25])


# ------------------------------------------------------------ drift by state


@pytest.mark.parametrize("law", ["t/t0", "(t+t0)/t0"])
def test_drift_by_state_and_time_law(law: str) -> None:
    options = {"nu_mean": {"log": [-0.0155, 0.0244], "minimum": 0.049}, "nu_std": {"log": [-0.0125, 0.002]}}
    effect = make("drift", {**options, "t0": 20.0, "time_law": law})
    ratio = 1e4 + (law != "t/t0")
    for target in (8e-6, 30e-6):
        r = target / 40e-6
        g = act(effect, np.full(N, target), seed=51, conditions=Conditions(time_s=2e5))
        nu = -np.log(g / target) / np.log(ratio)
        # The floor is at least five sigma away: fewer than one cell in a million.
        check_normal(nu, max(-0.0155 * np.log(r) + 0.0244, 0.049), -0.0125 * np.log(r) + 0.002)


def test_a_folded_exponent_is_the_magnitude_of_a_normal() -> None:
    effect = make("drift", {"nu_mean": 0.01, "nu_std": 0.02, "negative": "fold", "t0": 20.0, "time": 2e5})
    nu = -np.log(act(effect, np.full(N, 30e-6), seed=52) / 30e-6) / np.log(1e4)
    assert stats.kstest(nu, stats.foldnorm(0.5, scale=0.02).cdf).pvalue > ALPHA


AGEING: list[tuple[str, dict[str, Any]]] = [
    (kind, options) for kind, options in STRONG_CASES if issubclass(EFFECTS.get(kind), AgeEffect)
]


@pytest.mark.parametrize(("kind", "options"), [c for c in AGEING if c[0] != "temperature" and "time" not in c[1]])
def test_conditions_do_not_change_which_cell_is_which(kind: str, options: dict[str, Any]) -> None:
    """Weak cells at one time are the weak cells at another: what is drawn belongs to the cell."""
    effect, target = make(kind, options), np.full(3000, 20e-6)
    one, other = (act(effect, target, 61, Conditions(time_s=t, temperature_k=350.0)) for t in (1e5, 1e6))
    assert stats.spearmanr(one, other).statistic > 0.9
    np.testing.assert_array_equal(one, act(effect, target, 61, Conditions(time_s=1e5, temperature_k=350.0)))


@pytest.mark.parametrize(("kind", "options"), AGEING)
def test_nothing_ages_as_programmed(kind: str, options: dict[str, Any]) -> None:
    effect = make(kind, options)
    now = Conditions(time_s=None, temperature_k=options.get("reference_temperature", 300.0))
    if "time" not in options:
        assert effect.is_idle(now)
        np.testing.assert_allclose(act(effect, targets(), conditions=now), targets(), rtol=1e-12)
    assert not effect.is_idle(OLD)


# ------------------------------------------------------------ retention


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_retention_has_a_lognormal_lifetime_after_arrhenius(beta: float) -> None:
    options = {
        "tau": 1e8,
        "beta": beta,
        "energy": 1.1 * EV,
        "spread": 0.6,
        "rest": 5e-6,
        "reference_temperature": 300.0,
    }
    g = act(make("retention", options), np.full(N, 30e-6), 71, Conditions(time_s=1e5, temperature_k=358.0))
    share = (g - 5e-6) / 25e-6
    ln_tau = np.log(1e5) - np.log(-np.log(share)) / beta
    check_normal(ln_tau, np.log(1e8) + 1.1 * EV / KT * (1 / 358.0 - 1 / 300.0), 0.6)


def test_a_spread_of_the_activation_energy_is_one_of_the_lifetime_away_from_the_reference() -> None:
    options = {"tau": 1e4, "energy": 1.0 * EV, "energy_std": 0.08 * EV, "loss": 0.5}
    effect = make("retention", options)
    for kelvin in (320.0, 300.0):
        g = act(effect, np.full(N, 30e-6), 72, Conditions(time_s=3e3, temperature_k=kelvin))
        remaining = 1 - (30e-6 - g) / (30e-6 - WINDOW.g_off_s) / 0.5
        slope = (1 / kelvin - 1 / 300.0) * EV / KT
        ln_tau = np.log(3e3) - np.log(-np.log(remaining))
        if slope:
            check_normal(ln_tau, np.log(1e4) + slope, 0.08 * abs(slope))
        else:
            np.testing.assert_allclose(ln_tau, np.log(1e4), rtol=1e-9)


def test_retention_ends_at_rest_and_never_passes_it() -> None:
    g0 = np.linspace(0, 40e-6, 41)
    effect = make("retention", {"tau": 1.0, "rest": 10e-6, "loss": 1.0})
    np.testing.assert_allclose(act(effect, g0, conditions=Conditions(time_s=1e9)), 10e-6, rtol=1e-12)
    early = act(effect, g0, conditions=Conditions(time_s=0.1))
    np.testing.assert_allclose(early - 10e-6, (g0 - 10e-6) * np.exp(-0.1), rtol=1e-12, atol=1e-18)


# ------------------------------------------------------------ relaxation


def test_relaxation_in_the_logarithm_of_time() -> None:
    effect = make("relaxation", LOG)
    for time_s in (1.0, 1e3, 1e9):
        g = act(effect, np.full(N, 20e-6), 81, Conditions(time_s=time_s))
        check_normal(g, 20e-6 + 1e-6 * (-0.2 - 0.05 * np.log(time_s)), 1e-6 * (0.4 + 0.04 * np.log(time_s)))


@pytest.mark.parametrize(
    ("time_s", "target", "shift", "sigma"),
    [
        (1.0, 20e-6, 0.0, 0.01),
        (1e4, 30e-6, 0.5 - 0.75, 0.02),
        (1e6, 20e-6, 0.5 * 0.0 + 0.5 * (0.1 - 1.5), 0.035),  # half way in ln t from 1e4 s to 1e8 s
        (1e8, 20e-6, 0.1 - 1.5, 0.05),
    ],
)
def test_measured_sets_give_the_spread_around_the_target(
    time_s: float, target: float, shift: float, sigma: float
) -> None:
    """Programmed with one percent, then relaxed: together what was measured at that time."""
    rng, wanted = np.random.default_rng(82), np.full(N, target)
    written = Variation(sigma=SigmaSpec(window=0.01)).apply(wanted.copy(), wanted, WINDOW, rng)
    effect = make("relaxation", TOTAL)
    assert isinstance(effect, AgeEffect)
    g = effect.age(written, wanted, WINDOW, rng, Conditions(time_s=time_s))
    check_normal(g, target + shift * 1e-6, sigma * SPAN)


def test_interpolation_in_time_may_start_at_zero() -> None:
    points = [{"time": 0.0, "sigma": {"window": 0.0}}, {"time": 4.0, "sigma": {"window": 0.08}}]
    effect = make("relaxation", {"points": points, "interpolation": "time"})
    check_normal(act(effect, np.full(N, 20e-6), 83, Conditions(time_s=1.0)), 20e-6, 0.02 * SPAN)


@pytest.mark.parametrize("time_s", [0.5, 2e9])
def test_times_that_were_not_measured_are_refused_when_the_chip_is_programmed(time_s: float) -> None:
    levels = np.ones((4, 4))
    with pytest.raises(SpecError, match=r"known from 1 s to .* after programming.*set conditions\.time"):
        program_array(levels, chip([{"kind": "relaxation", **LOG}], time=time_s), **PLACE)
    program_array(levels, chip([{"kind": "relaxation", **LOG}], time=1e9), **PLACE)


# ------------------------------------------------------------ temperature


def test_temperature_changes_both_ends_and_what_lies_between_in_proportion() -> None:
    effect = make("temperature", {"on_coefficient": 0.001, "off_energy": 0.1 * EV})
    g = np.linspace(WINDOW.g_off_s, WINDOW.g_on_s, 7)
    warm = act(effect, g, conditions=Conditions(temperature_k=360.0))
    off = np.exp(-0.1 * EV / KT * (1 / 360 - 1 / 300))
    assert off == pytest.approx(1.905, abs=0.001)  # an energy of 0.1 eV: 1.9 times from 300 K to 360 K
    want = np.linspace(off * WINDOW.g_off_s, WINDOW.g_on_s / 1.06, 7)
    np.testing.assert_allclose(warm, want, rtol=1e-9)
    np.testing.assert_allclose(act(effect, g, conditions=Conditions(temperature_k=300.0)), g, rtol=1e-12)
    beyond = act(effect, np.array([50e-6, 0.5e-6]), conditions=Conditions(temperature_k=360.0))
    np.testing.assert_allclose(beyond, [50e-6 / 1.06, 0.5e-6 * off], rtol=1e-9)


def test_a_metal_without_resistance_is_refused() -> None:
    effect = make("temperature", {"on_coefficient": 0.05})
    with pytest.raises(SpecError, match=r"the linear law does not reach that far"):
        act(effect, targets(), conditions=Conditions(temperature_k=250.0))


# ------------------------------------------------------------ 1/f and telegraph noise


def test_accumulated_one_over_f_noise() -> None:
    effect = make("one_over_f", {"amplitude": {"power": [0.0088, -0.65], "maximum": 0.2}, "t_read": 250e-9, "t0": 20.0})
    g = np.linspace(1e-6, 40e-6, 50)
    for time_s, since in ((None, 20.0), (3600.0, 3620.0)):
        want = g * np.minimum(0.0088 * (g / 40e-6) ** -0.65, 0.2) * np.sqrt(np.log((since + 250e-9) / 500e-9))
        np.testing.assert_allclose(act(effect, g, conditions=Conditions(time_s=time_s)), want, rtol=1e-9)
    absolute = make("one_over_f", {"amplitude": 0.1, "unit": 1e-6, "t_read": 1e-6, "t0": 1.0})
    want = np.full(50, 1e-7 * np.sqrt(np.log(1.000001 / 2e-6)))
    np.testing.assert_allclose(act(absolute, g, conditions=Conditions()), want, rtol=1e-9)
    early = make("one_over_f", {"amplitude": 0.1, "t_read": 1.0, "t0": 0.5})  # shorter than a read: nothing gathered
    np.testing.assert_array_equal(act(early, g, conditions=Conditions()), 0.0)


@pytest.mark.parametrize("occupancy", [0.5, 0.1])
def test_telegraph_noise_has_the_variance_of_two_states(occupancy: float) -> None:
    effect = make("telegraph", {"share": 0.3, "amplitude": 0.2, "occupancy": occupancy})
    sigma = act(effect, np.full(N, 20e-6), seed=91)
    check_share(int((sigma > 0).sum()), N, 0.3)
    # Oracle: the signal itself, low with chance p and high otherwise, 0.2 g apart, N reads of one cell.
    low = np.random.default_rng(92).random(N) < occupancy
    reads = 20e-6 + 0.2 * 20e-6 * (occupancy - low)
    assert abs(reads.mean() - 20e-6) < Z * sigma.max() / np.sqrt(N)
    kurtosis = 1 / (occupancy * (1 - occupancy)) - 3  # the fourth moment of two states over sigma^4
    assert abs(reads.var() / sigma.max() ** 2 - 1) < Z * np.sqrt(max(kurtosis - 1, 1e-4) / N) + Z**2 / N


def test_telegraph_amplitudes_are_lognormal() -> None:
    effect = make("telegraph", {"share": 1.0, "amplitude": {"polynomial": [0.02, 0.02]}, "spread": 0.5})
    a = act(effect, np.full(N, 20e-6), seed=93) / 20e-6 / 0.5
    check_normal(np.log(a), np.log(0.03), 0.5)  # the cut at 1 is seven sigma away


def test_the_sum_of_many_telegraph_cells_is_normal() -> None:
    """What the engine relies on: the excess kurtosis of n cells is (1 / (p (1 - p)) - 6) / n."""
    rng = np.random.default_rng(94)
    for cells, p in ((1, 0.5), (20, 0.5), (20, 0.1)):
        total = rng.binomial(cells, p, size=N)
        want = (1 / (p * (1 - p)) - 6) / cells
        # The deviation of a sample kurtosis is sqrt(24 / N) for a normal variable and within twice that here.
        assert abs(stats.kurtosis(total) - want) < 2 * Z * np.sqrt(24 / N)


def test_telegraph_noise_belongs_to_the_same_cells_at_each_time_on_a_chip() -> None:
    effects = [{"kind": "telegraph", "share": 0.3, "amplitude": 0.2, "spread": 0.5}]
    one, other = (program_array(np.full((60, 60), 2.0), chip(effects, time=t), **PLACE) for t in (1.0, 1e6))
    assert one.noise_variance is not None
    np.testing.assert_array_equal(one.noise_variance, other.noise_variance)
    next_array = program_array(np.full((60, 60), 2.0), chip(effects), **{**PLACE, "array": 1})
    assert (one.noise_variance != next_array.noise_variance).any()


# ------------------------------------------------------------ variation from device to device


def test_device_factors_have_mean_one_and_the_stated_sigma() -> None:
    target = np.full(N, 20e-6)
    check_normal(act(make("device_variation", {"sigma": 0.1}), target, seed=95) / target, 1.0, 0.1)
    f = act(make("device_variation", {"sigma": 0.5, "distribution": "lognormal"}), target, seed=96) / target
    s2 = np.log(1.25)
    check_normal(np.log(f), -s2 / 2, np.sqrt(s2))


def test_write_verify_corrects_a_factor_for_life_as_a_geometric_series() -> None:
    """Without other errors the error after k writes is (1 - f)^(k-1) (f - 1) target: each write is known exactly."""
    target = np.full(N, 20e-6)
    factor = np.random.default_rng(97).uniform(0.3, 1.7, N)
    effect = WriteVerify(tolerance=0.02, max_iterations=6)
    g, statistics = effect.apply(target, WINDOW, lambda wanted: wanted.copy(), factor)
    k = np.arange(1, 7)[:, None]
    error = np.abs((1 - factor) ** (k - 1) * (factor - 1)) * 20e-6
    done = error <= 0.02 * SPAN
    number = np.where(done.any(axis=0), done.argmax(axis=0), 5)
    np.testing.assert_allclose(np.abs(g - target), error[number, np.arange(N)], rtol=0, atol=1e-18)
    assert statistics.writes == int((number + 1).sum())
    assert statistics.unconverged == int((~done.any(axis=0)).sum())
    stubborn = WriteVerify(tolerance=0.02, max_iterations=6, correction=0.0)
    _, same = stubborn.apply(target, WINDOW, lambda wanted: wanted.copy(), factor)
    assert same.unconverged == int((~done[0]).sum())  # the same aim misses in the same way each time


def test_rewrites_redraw_the_write_and_not_the_device() -> None:
    """Over many writes of the same cells, the error of cycles averages out and that of devices stays."""
    factor = act(make("device_variation", {"sigma": 0.2}), np.ones(N), seed=98)
    one, rng = Variation(sigma=SigmaSpec(proportional=0.05)), np.random.default_rng(99)
    seen: list[np.ndarray] = []

    def write(wanted: np.ndarray) -> np.ndarray:
        seen.append(wanted)
        return one.apply(wanted.copy(), wanted, WINDOW, rng)

    loop = WriteVerify(tolerance=1e-9, max_iterations=8, correction=0.0)  # nobody is ever inside: all are rewritten
    loop.apply(np.full(N, 20e-6), WINDOW, write, factor)
    assert len(seen) == 8
    for wanted in seen:
        np.testing.assert_allclose(wanted, 20e-6 * factor[: wanted.size], rtol=1e-12)


def test_a_chip_has_devices_that_differ_and_a_loop_that_corrects_them() -> None:
    levels, spread = np.full((150, 150), 2.0), {"kind": "device_variation", "sigma": 0.05}
    aim_s = WINDOW.g_off_s + 2 * SPAN / 3
    open_loop = program_array(levels, chip([spread]), **PLACE).levels
    check_normal(open_loop.ravel(), 2.0, 0.05 * aim_s / (SPAN / 3))
    loop = [spread, {"kind": "write_verify", "tolerance": 0.005}]
    done = program_array(levels, chip(loop), **PLACE)
    assert np.abs(done.levels - 2.0).max() <= 3 * 0.005 * (1 + 1e-9)
    assert (done.writes.unconverged, done.writes.writes > levels.size) == (0, True)


# ------------------------------------------------------------ endurance


def test_endurance_closes_the_window_by_its_power_laws() -> None:
    options = {"cycles": 9e7, "onset_cycles": 1e7, "on_exponent": 0.1, "off_exponent": 0.3}
    g = np.linspace(0, 50e-6, 101)
    high, low = 40e-6 * 10**-0.1, 1e-6 * 10**0.3
    np.testing.assert_allclose(act(make("endurance", options), g), np.clip(g, low, high), rtol=1e-12)
    scaled = act(make("endurance", {**options, "reach": "scale"}), np.array([1e-6, 20.5e-6, 40e-6]))
    np.testing.assert_allclose(scaled, [low, (low + high) / 2, high], rtol=1e-12)
    gone = {"kind": "endurance", "cycles": 1e18, "onset_cycles": 1.0, "on_exponent": 1.0}
    with pytest.raises(SpecError, match=r"the window is closed.*lower cycles"):
        program_array(np.ones((2, 2)), chip([gone]), **PLACE)


def test_write_verify_gives_up_on_what_a_worn_cell_cannot_reach() -> None:
    worn = {"kind": "endurance", "cycles": 9e6, "onset_cycles": 1e6, "on_exponent": 0.1}
    levels = np.tile(np.arange(4.0), (10, 10))
    done = program_array(levels, chip([worn, {"kind": "write_verify", "tolerance": 0.01}]), **PLACE)
    assert done.writes.unconverged == int((levels == 3).sum())


# ------------------------------------------------------------ faults in clusters and lines


def fault_shares(options: dict[str, Any], shape: tuple[int, int], arrays: int) -> np.ndarray:
    """Return the shares of stuck-on and stuck-off cells, (arrays, 2)."""
    effect = make("stuck_at", options)
    maps = [act(effect, np.full(shape, 20e-6), seed=1000 + number) for number in range(arrays)]
    return np.array([[(g == WINDOW.g_on_s).mean(), (g == WINDOW.g_off_s).mean()] for g in maps])


def check_mean(sample: np.ndarray, mean: float) -> None:
    """Arrays are independent, so that the mean over them is tested with their own deviation."""
    assert abs(sample.mean() - mean) < Z * sample.std(ddof=1) / np.sqrt(len(sample))
    assert sample.std() < 40 * mean  # the test has power


@pytest.mark.parametrize(
    ("on", "off", "size"), [(0.02, 0.05, 5.0), (0.0, 0.3, 12.0), (0.1, 0.0, 2.0), (0.4, 0.4, 30.0)]
)
@pytest.mark.parametrize("shape", [(40, 30), (7, 9)])
def test_clusters_keep_the_rates_in_the_mean(on: float, off: float, size: float, shape: tuple[int, int]) -> None:
    shares = fault_shares({"on_rate": on, "off_rate": off, "cluster_size": size}, shape, 1000)
    for rate, share in zip((on, off), shares.T, strict=True):
        if rate:
            check_mean(share, rate)
        else:
            assert not share.any()


def test_clustered_faults_have_faulty_neighbours() -> None:
    def neighbours(options: dict[str, Any]) -> float:
        g = act(make("stuck_at", {"off_rate": 0.05, **options}), np.full((400, 400), 20e-6), seed=101)
        stuck = g == WINDOW.g_off_s
        return float((stuck[1:] & stuck[:-1]).sum() / stuck[1:].sum())

    # Independent cells: a share of 0.05, four standard deviations of some 8,000 faults wide.
    assert neighbours({}) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 8000))
    assert neighbours({"cluster_size": 9.0}) > 0.4


def test_clusters_have_the_stated_mean_size() -> None:
    """At a low rate clusters stay apart, and connected groups of faults are the clusters."""
    from scipy.ndimage import label

    sizes: list[int] = []
    effect = make("stuck_at", {"off_rate": 1e-3, "cluster_size": 8.0})
    for number in range(60):
        stuck = act(effect, np.full((400, 400), 20e-6), seed=2000 + number) == WINDOW.g_off_s
        groups, _ = label(stuck, structure=np.ones((3, 3)))
        sizes += np.bincount(groups.ravel())[1:].tolist()
    # Some 1,200 clusters of deviation 7.5; one in a hundred meets another or the edge, which the one percent allows for.
    assert np.mean(sizes) == pytest.approx(8.0, abs=Z * 7.5 / np.sqrt(len(sizes)) + 0.08)


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_broken_lines_come_on_top_of_the_rates(size: float) -> None:
    line, on = 0.04, 0.03
    shares = fault_shares({"on_rate": on, "line_rate": line, "cluster_size": size}, (30, 40), 1500)
    lost = 1 - (1 - line) ** 2
    check_mean(shares[:, 1], lost)
    check_mean(shares[:, 0], on * (1 - lost))
    g = act(make("stuck_at", {"line_rate": 0.1, "line_state": "on"}), np.full((60, 50), 20e-6), seed=5)
    stuck = g == WINDOW.g_on_s
    rows, columns = stuck.all(axis=1), stuck.all(axis=0)
    assert rows.any()
    assert columns.any()
    np.testing.assert_array_equal(stuck, rows[:, None] | columns[None, :])
