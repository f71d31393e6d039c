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
from crosstile.circuits.adc import AdcRange
from crosstile.crossbar.references import (
    CodeLevels,
    CodeMoments,
    ConversionErrors,
    Sums,
    code_levels,
    conversion_errors,
    place_references,
    thresholds,
)
from crosstile.datasets import load_dataset
from crosstile.errors import SpecError
from crosstile.specs.chip import AdcSpec, ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.zoo import build_model

RANGE = AdcRange(0, 15, (1.0,), 1.0)
NOMINAL = np.arange(16.0)
CODES = 16


def moments(mean: np.ndarray, sigma: np.ndarray, count: float = 1e6) -> CodeMoments:
    return CodeMoments(np.full((1, CODES), count), mean[None], sigma[None] ** 2)


def levels(mean: np.ndarray, sigma: np.ndarray, share: np.ndarray | None = None) -> CodeLevels:
    return CodeLevels(mean, sigma, 0.0, 1.0, np.ones(len(mean)) if share is None else share)


def borders(placed: object) -> np.ndarray:
    """Where the code changes, in nominal steps, from the table of positions."""
    codes = placed.codes[0]  # type: ignore[attr-defined]
    at = np.flatnonzero(np.diff(codes)) + 1
    return (at + placed.lowest) / placed.steps  # type: ignore[attr-defined]


def test_likelihood_points_are_where_densities_cross() -> None:
    rng = np.random.default_rng(0)
    mean = np.cumsum(rng.uniform(0.5, 1.5, 40))
    sigma = rng.uniform(0.05, 0.25, 40)
    found = thresholds(levels(mean, sigma), "likelihood")
    assert ((mean[:-1] < found) & (found < mean[1:])).all()
    left, right = stats.norm.logpdf(found, mean[:-1], sigma[:-1]), stats.norm.logpdf(found, mean[1:], sigma[1:])
    np.testing.assert_allclose(left, right, rtol=1e-9)
    same = thresholds(levels(mean, np.full(40, 0.1)), "likelihood")
    np.testing.assert_allclose(same, thresholds(levels(mean, sigma), "midpoint"), rtol=1e-12)


def test_frequencies_move_the_point_towards_the_rare_code() -> None:
    """Equal sigma: t = (m0 + m1)/2 + s^2 ln(p0/p1) / (m1 - m0), the point of least error."""
    found = thresholds(levels(np.array([0.0, 1.0]), np.array([0.2, 0.2]), np.array([9.0, 1.0])), "frequency")
    assert found[0] == pytest.approx(0.5 + 0.04 * np.log(9.0), rel=1e-12)


def test_without_spread_the_middle_is_taken() -> None:
    found = thresholds(levels(NOMINAL, np.zeros(CODES)), "likelihood")
    np.testing.assert_array_equal(found, NOMINAL[:-1] + 0.5)


@pytest.mark.parametrize("references", ["calibrated", "custom"])
def test_ideal_arrays_get_evenly_spaced_references(references: str) -> None:
    placed = place_references(moments(NOMINAL, np.zeros(CODES)), RANGE, AdcSpec(bits=4, references=references))
    np.testing.assert_array_equal(borders(placed), NOMINAL[:-1] + 0.5)


def test_calibrated_references_undo_gain_and_offset() -> None:
    """Sums 0.3 + 0.8 k: references at 0.3 + 0.8 (k + 1/2), to half a position of 1/64."""
    spec = AdcSpec(bits=4, references="calibrated", reference_steps=64)
    placed = place_references(moments(0.3 + 0.8 * NOMINAL, np.full(CODES, 0.1)), RANGE, spec)
    np.testing.assert_allclose(borders(placed), 0.3 + 0.8 * (NOMINAL[:-1] + 0.5), atol=0.5 / 64 + 1e-9)


def test_custom_references_follow_a_curve_that_gain_and_offset_cannot() -> None:
    bent = NOMINAL - 0.02 * NOMINAL**2
    spec = AdcSpec(bits=4, references="custom", placement="midpoint", reference_steps=64)
    placed = place_references(moments(bent, np.full(CODES, 0.01)), RANGE, spec)
    np.testing.assert_allclose(borders(placed), 0.5 * (bent[1:] + bent[:-1]), atol=0.5 / 64 + 1e-4)
    np.testing.assert_array_equal(placed.convert(bent, 1.0, 0), NOMINAL)


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float64, CODES, elements=st.floats(-50, 50)),
    arrays(np.float64, CODES, elements=st.floats(0, 10)),
    arrays(np.int64, CODES, elements=st.integers(0, 1000)),
    st.sampled_from(["midpoint", "likelihood", "frequency"]),
)
def test_any_data_give_rising_codes(mean: np.ndarray, sigma: np.ndarray, count: np.ndarray, placement: str) -> None:
    seen = CodeMoments(count[None].astype(float), mean[None], sigma[None] ** 2)
    for references in ("calibrated", "custom"):
        spec = AdcSpec(bits=4, references=references, placement=placement)
        placed = place_references(seen, RANGE, spec)
        codes = placed.codes[0]
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
    wanted = np.tile(np.arange(CODES), (50, 1))
    sums = [Sums(wanted, wanted + 0.6, None, np.zeros(CODES, dtype=np.int64))]
    errors = conversion_errors(sums, 1, RANGE)
    assert errors.wrong == pytest.approx(15 / 16)
    assert errors.mean == errors.bias == pytest.approx(15 / 16)
    assert errors.margin == pytest.approx(1.0)  # no scatter: a full step
    spec = AdcSpec(bits=4, references="calibrated")
    placed = place_references(CodeMoments.of(iter(sums), 1, RANGE), RANGE, spec)
    mended = conversion_errors(sums, 1, AdcRange(0, 15, (1.0,), 1.0, placed))
    assert (mended.wrong, mended.mean, mended.bias) == (0.0, 0.0, 0.0)


def test_the_margin_is_that_of_normal_tails() -> None:
    rng = np.random.default_rng(1)
    wanted = np.tile(np.arange(CODES), (20_000, 1))
    sums = [Sums(wanted, wanted + 0.1 * rng.standard_normal(wanted.shape), None, np.zeros(CODES, dtype=np.int64))]
    expected = 1 - 2 * 0.1 * stats.norm.ppf(0.99)
    assert conversion_errors(sums, 1, RANGE).margin == pytest.approx(expected, abs=0.01)  # sd of a sigma: 0.5 %


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
