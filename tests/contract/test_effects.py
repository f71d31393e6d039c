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
from crosstile.nonidealities import EFFECTS, Effect, Levels, ProgramEffect, ReadEffect, build_effects
from crosstile.nonidealities.sigma import SigmaSpec
from crosstile.nonidealities.stuck import StuckAt
from crosstile.nonidealities.variation import Variation
from crosstile.nonidealities.write_verify import WriteVerify
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec

ALPHA = 1e-6
Z = float(stats.norm.ppf(1 - ALPHA / 2))
N = 40_000
WINDOW = Levels(g_off_s=1e-6, g_on_s=40e-6)
SPAN = WINDOW.g_on_s - WINDOW.g_off_s
POLYNOMIAL = (0.348, 16.030, -43.853, 45.393, -16.815)

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
    ],
    "read_noise": [{"sigma": {"proportional": 0.0}}, {"sigma": {"window": 0.0}}],
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
    "stuck_at": [{"on_rate": 0.3, "off_rate": 0.7}, {"on_rate": 0.1}, {"off_rate": 1.0}],
    "drift": [
        {"nu_mean": 0.05, "nu_std": 0.5, "t0": 1.0, "time": 1e9},
        {"nu_mean": 1.0, "nu_std": 1.0, "t0": 1e-9, "time": 1e12},
    ],
    "read_noise": [
        {"sigma": {"proportional": 10.0}},
        {"sigma": {"window": 1.0}},
        {"sigma": {"polynomial": list(POLYNOMIAL)}},
        {"sigma": {"polynomial": [5.0, -3.0], "argument": "microsiemens"}},
    ],
}
KINDS = EFFECTS.names()
ZERO_CASES = [(kind, options) for kind in KINDS for options in ZERO.get(kind, [])]
STRONG_CASES = [(kind, options) for kind in KINDS for options in STRONG.get(kind, [])]


def make(kind: str, options: dict[str, Any]) -> Effect:
    (effect,) = build_effects([{"kind": kind, **options}], units_required=False)
    return effect


def act(effect: Effect, target_s: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return what the effect makes of cells at their targets: conductances, or the sigma of one read."""
    rng = np.random.default_rng(seed)
    if isinstance(effect, ProgramEffect):
        return effect.apply(target_s.copy(), target_s, WINDOW, rng)
    if isinstance(effect, WriteVerify):
        one = Variation(sigma=SigmaSpec(window=0.05))
        return effect.apply(target_s, WINDOW, lambda wanted: one.apply(wanted.copy(), wanted, WINDOW, rng))[0]
    if isinstance(effect, StuckAt):
        return effect.apply_to_array(target_s, WINDOW, rng, 0)
    assert isinstance(effect, ReadEffect), f"this contract does not know how to drive a {type(effect).__name__}"
    return effect.sigma_s(target_s, WINDOW)


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
    random = not isinstance(effect, ReadEffect) and options != {"off_rate": 1.0}
    if random:
        assert (first != act(effect, target, seed=4)).any()


@pytest.mark.parametrize(("kind", "options"), STRONG_CASES)
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
        ([{"kind": "variation", "sigma": {}}], "exactly one of proportional, window, polynomial; found none"),
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
        ([{"kind": "write_verify", "tolerance": 0.0}], "tolerance"),
        ([{"kind": "write_verify", "tolerance": 0.1, "max_iterations": 0}], "max_iterations"),
    ],
)
def test_settings_without_meaning_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_effects(value, units_required=False)


# ------------------------------------------------------------ helpers

PLACE = {"seed": 11, "trial": 2, "layer": "l", "array": 0, "array_number": 0}


def chip(effects: list[dict[str, Any]]) -> ChipSpec:
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
