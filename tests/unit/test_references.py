"""Reference levels fitted to the programmed arrays: closed forms, limits, and what they do to a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import crosstile as ct
from crosstile.circuits.adc import AdcRange, References
from crosstile.crossbar.references import ConversionErrors, Sums, code_levels, conversion_errors, place_references
from crosstile.datasets import load_dataset
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.specs.parts import AdcSpec
from crosstile.zoo import build_model

RANGE = AdcRange(0, 15, (1.0,), 1.0)
NOMINAL = np.arange(16.0)
CODES = 16


def sums(mean: np.ndarray, sigma: np.ndarray, count: int | np.ndarray = 400, seed: int = 0) -> list[Sums]:
    """Sums of each code with the given mean and normal spread, ``count`` of each."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(mean)), count)
    seen = mean[code] + sigma[code] * rng.standard_normal(code.size)
    return [Sums(code[:, None], seen[:, None], None, np.zeros(1, dtype=np.int64))]


def place(found: list[Sums], **options: object) -> References:
    return place_references(found, 1, RANGE, AdcSpec(bits=4, **options))


def borders(placed: References) -> np.ndarray:
    """Where the code changes, in nominal steps, from the table of positions."""
    at = np.flatnonzero(np.diff(placed.codes[0])) + 1
    return (at + placed.lowest) / placed.steps


def loss(at: np.ndarray, mean: np.ndarray, sigma: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Expected weight of normal sums on the wrong side of each reference."""
    above = share[:-1] * stats.norm.sf(at, mean[:-1], sigma[:-1])
    return np.asarray(above + share[1:] * stats.norm.cdf(at, mean[1:], sigma[1:]))


@pytest.mark.parametrize("placement", ["likelihood", "frequency"])
def test_references_make_the_fewest_errors_that_normal_sums_allow(placement: str) -> None:
    """Against the least error of any threshold, found on a fine grid. 40,000 sums a code and a position of 1/64: within 5 %."""
    rng = np.random.default_rng(0)
    mean = np.cumsum(rng.uniform(0.8, 1.2, CODES))
    sigma = rng.uniform(0.15, 0.5, CODES)
    count = rng.integers(4_000, 40_000, CODES) if placement == "frequency" else np.full(CODES, 40_000)
    placed = place(sums(mean, sigma, count), references="custom", placement=placement, reference_steps=64)
    share = count / count.sum()
    found = loss(borders(placed) - 0.5 / 64, mean, sigma, share)
    grid = np.linspace(mean[:-1], mean[1:], 2001)
    best = np.min([loss(at, mean, sigma, share) for at in grid], axis=0)
    assert (found < 1.05 * best).all(), found / best
    middle = loss(0.5 * (mean[1:] + mean[:-1]), mean, sigma, share)
    assert found.sum() < middle.sum()


def test_read_noise_counts_as_spread() -> None:
    """Code 7 is read with noise: the references around it move away from its mean."""
    found = sums(NOMINAL, np.full(CODES, 0.1), 20_000)[0]
    variance = np.where(found.wanted == 7, 0.3**2, 0.0)
    noisy = [Sums(found.wanted, found.seen, variance, found.group)]
    quiet, moved = (borders(place(each, references="custom", reference_steps=64)) for each in ([found], noisy))
    assert moved[6] < quiet[6] - 0.1
    assert moved[7] > quiet[7] + 0.1
    assert np.abs(np.delete(moved - quiet, [6, 7])).max() < 0.05


@pytest.mark.parametrize(
    "options",
    [{"references": "calibrated"}, *({"references": "custom", "placement": p} for p in ("midpoint", "likelihood", "frequency"))],
)  # fmt: skip
def test_ideal_arrays_get_evenly_spaced_references(options: dict[str, str]) -> None:
    placed = place(sums(NOMINAL, np.zeros(CODES)), **options)
    np.testing.assert_array_equal(borders(placed), NOMINAL[:-1] + 0.5)


def test_calibrated_references_undo_gain_and_offset() -> None:
    """Sums 0.3 + 0.8 k: references at 0.3 + 0.8 (k + 1/2), to half a position of 1/64 and the error of the fit."""
    found = sums(0.3 + 0.8 * NOMINAL, np.full(CODES, 0.1), 20_000)
    placed = place(found, references="calibrated", reference_steps=64)
    np.testing.assert_allclose(borders(placed), 0.3 + 0.8 * (NOMINAL[:-1] + 0.5), atol=0.5 / 64 + 2e-3)


@pytest.mark.parametrize("placement", ["midpoint", "likelihood", "frequency"])
def test_custom_references_follow_a_curve_that_gain_and_offset_cannot(placement: str) -> None:
    bent = NOMINAL - 0.025 * NOMINAL**2
    found = sums(bent, np.full(CODES, 0.01), 4000)
    for references, right in (("custom", True), ("calibrated", False)):
        placed = place(found, references=references, placement=placement, reference_steps=64)
        assert np.array_equal(placed.convert(bent, 1.0, 0), NOMINAL) == right


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float64, CODES, elements=st.floats(-50, 50)),
    arrays(np.float64, CODES, elements=st.floats(0, 10)),
    arrays(np.int64, CODES, elements=st.integers(0, 50)),
    st.sampled_from(["midpoint", "likelihood", "frequency"]),
)
def test_any_data_give_rising_codes(mean: np.ndarray, sigma: np.ndarray, count: np.ndarray, placement: str) -> None:
    for references in ("calibrated", "custom"):
        codes = place(sums(mean, sigma, count), references=references, placement=placement).codes[0]
        assert codes[0] == 0
        assert codes[-1] == 15
        assert (np.diff(codes) >= 0).all()


def test_seldom_seen_codes_lean_on_the_line() -> None:
    count = np.full(CODES, 1e6)
    count[[0, 7, 15]] = 0
    mean = 0.2 + 0.9 * NOMINAL
    wild = np.where(count > 0, mean, 99.0)
    found = code_levels(count, wild, np.full(CODES, 0.01), NOMINAL)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)


def test_errors_of_conversion_are_counted() -> None:
    """Sums off by 0.6 of a step: each code is one too high, but for the top one, and calibrated references mend it."""
    off = sums(NOMINAL + 0.6, np.zeros(CODES), 50)
    errors = conversion_errors(off, 1, RANGE)
    assert errors.wrong == pytest.approx(15 / 16)
    assert errors.mean == errors.bias == pytest.approx(15 / 16)
    assert errors.margin == pytest.approx(1.0)  # no scatter: a full step
    mended = conversion_errors(off, 1, AdcRange(0, 15, (1.0,), 1.0, place(off, references="calibrated")))
    assert (mended.wrong, mended.mean, mended.bias) == (0.0, 0.0, 0.0)


def test_the_margin_is_that_of_normal_tails() -> None:
    found = sums(NOMINAL, np.full(CODES, 0.1), 20_000, seed=1)
    expected = 1 - 2 * 0.1 * stats.norm.ppf(0.99)
    assert conversion_errors(found, 1, RANGE).margin == pytest.approx(expected, abs=0.01)  # sd of a sigma: 0.5 %


# ------------------------------------------------------------------ in a network

_DATA = load_dataset("mnist5k")
X, Y = torch.from_numpy(_DATA.normalised(_DATA.x[:60])), torch.from_numpy(_DATA.y[:60])
CALIBRATION = torch.from_numpy(_DATA.normalised(_DATA.x_calibration[:32]))


def lossy(**changes: object) -> ChipSpec:
    wire = {"resistance_ohm": 4.0}
    return ct.load_chip("reram-8b").replaced(
        cell=ct.load_cell("sot-mram-7nm"), weights={"bits": 4, "cell_bits": 1, "encoding": "twos_complement"},
        inputs={"bits": 4}, array={"rows": 64, "columns": 64, "wires": {"word_line": wire, "bit_line": wire}},
        adc={"bits": 7, "range": "lossless", **changes},
    )  # fmt: skip


def errors_of(mapped: ct.MappedNetwork, name: str) -> ConversionErrors:
    layer = mapped.layers[name]
    assert layer.converter is not None
    return conversion_errors(list(layer.sums()), len(layer.packs[0].column_slice), layer.converter)


def test_fitted_references_make_fewer_errors_in_every_layer() -> None:
    model = build_model("lenet5").model
    found = {}
    for references in ("uniform", "calibrated", "custom"):
        mapped = ct.map(model, lossy(references=references), calibration=CALIBRATION)
        found[references] = {name: errors_of(mapped, name) for name in mapped.layers}
        assert all(
            (layer.converter.references is None) == (references == "uniform") for layer in mapped.layers.values()
        )
    for name, uniform in found["uniform"].items():
        assert uniform.wrong > 0.01, name
        for references in ("calibrated", "custom"):
            assert found[references][name].wrong <= uniform.wrong, (name, references)
            assert abs(found[references][name].bias) < abs(uniform.bias), (name, references)


def test_ideal_arrays_compute_the_same_with_fitted_references() -> None:
    model = build_model("lenet5").model
    ideal = lossy().replaced(cell=ct.load_cell("ideal"), array__wires=None)
    plain = ct.map(model, ideal, calibration=CALIBRATION)
    with torch.inference_mode():
        wanted = plain(X)
        for references in ("calibrated", "custom"):
            mapped = ct.map(model, ideal.replaced(adc__references=references), calibration=CALIBRATION)
            torch.testing.assert_close(mapped(X), wanted, rtol=0, atol=0)


def test_references_stay_with_the_chip_until_it_is_calibrated_again() -> None:
    drift = {"kind": "drift", "nu_mean": 0.1, "nu_std": 0.0, "t0": 1.0}
    cell = ct.load_cell("fefet-7nm")  # almost no off current, so that drift is a gain
    chip = lossy(references="calibrated").replaced(cell=cell.replaced(effects=[*cell.effects, drift]))
    mapped = ct.map(build_model("lenet5").model, chip, calibration=CALIBRATION)
    fresh = mapped.layers["fc1"].converter
    mapped.age(Conditions(time=1e4))
    assert np.array_equal(mapped.layers["fc1"].converter.references.codes, fresh.references.codes)
    once = errors_of(mapped, "fc1")
    mapped.age(Conditions(time=1e4), recalibrate=True)
    again = errors_of(mapped, "fc1")
    assert abs(again.bias) < 0.2 * abs(once.bias)
    assert mapped.layers["fc1"]._programmed.fitted.correction is None  # converters already take the loss back
    mapped.age(Conditions(time=1.0))
    assert np.array_equal(mapped.layers["fc1"].converter.references.codes, fresh.references.codes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adc__references": "custom", "adc__bits": None, "adc__range": "calibrated"}, "1 to 12 bits"),
        ({"adc__references": "custom", "adc__bits": 14}, "1 to 12 bits"),
        ({"adc__references": "calibrated", "adc__reference_steps": 12}, "power of two"),
        ({"adc__references": "custom", "compensation__outputs": "gain"}, "correct once more"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        lossy().replaced(**changes)
