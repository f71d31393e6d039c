"""Products on a charge-domain macro: ideal codes, ReLU, compensation, noise, counts, and the oracle end to end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from crosstile.crossbar.program import generator
from crosstile.errors import SpecError, UsageError
from crosstile.macros.converter import build_converter, compress, expand
from crosstile.macros.engine import Conversions, Macro, multiply
from crosstile.macros.figures import calibration_constant, macro_figures
from crosstile.macros.linearity import linearity, signal_to_noise_db
from crosstile.macros.load import load_macro, macro_names, parse_macro
from crosstile.macros.network import drawn, levels
from crosstile.macros.reference import output_step
from crosstile.macros.spec import ChargeDomainSpec

WHOLE = load_macro("sram-charge-65nm")
IDEAL = WHOLE.idealised()
SERIAL = load_macro("sram-bit-serial-65nm")


def operands(seed: int, rows: int = 64, columns: int = 8, vectors: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Random operands over all their values; the first vectors and columns are the extremes."""
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-128, 128, (vectors, rows)), rng.integers(-128, 128, (rows, columns))
    x[0], x[1], x[2], x[3] = -128, 127, 0, rng.choice([-128, 127], rows)
    w[:, 0], w[:, 1], w[:, 2] = -128, 127, rng.choice([-128, 127], rows)
    return x, w


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
@pytest.mark.parametrize("seed", range(3))
def test_ideal_codes_are_relu_of_the_integer_product_within_one_step(bits: int, seed: int) -> None:
    x, w = operands(seed)
    found = multiply(x, w, macro=Macro(IDEAL.replaced(converter__bits=bits), seed=0, trial=0), relu=True)
    lsb = IDEAL.largest_sum / 2**bits
    error = np.abs(found - np.maximum(x @ w, 0))
    assert error.max() <= lsb  # the largest sum of all, 2^20, is one code above the last
    assert np.sort(error.reshape(-1))[-10] <= lsb / 2 or bits == 4
    assert (found >= 0).all()
    signed = multiply(x, w, macro=Macro(IDEAL.replaced(converter__bits=bits), seed=0, trial=0))
    assert np.abs(signed - x @ w).max() <= 2 * lsb


def test_a_code_for_each_sum_makes_it_exact() -> None:
    spec = IDEAL.replaced(inputs=4, converter__bits=16)
    x, w = operands(0, rows=4, columns=3)
    found = multiply(x, w, macro=Macro(spec, seed=0, trial=0), span=2.0**16, relu=True)
    assert np.array_equal(found, np.minimum(np.maximum(x @ w, 0), 2**16 - 1))


def test_the_engine_is_charge_conservation_and_a_linear_search() -> None:
    """Mismatch and compression, no noise. A code may differ only where the slow sum lies within the grid of a level."""
    spec = WHOLE.replaced(
        inputs=6, outputs=2, thermal_noise=False, converter__noise_v=0.0, capacitors__mismatch=0.03, converter__bits=10
    )
    macro, caps = Macro(spec, seed=2, trial=3), drawn(spec, seed=2, trial=3)
    x, w = operands(4, rows=6, columns=4, vectors=12)
    span, unit, checked = 60_000.0, levels(spec).unit_v, 0
    for relu in (True, False):
        found = multiply(x, w, macro=macro, span=span, relu=relu)
        codes = 2**10 if relu else 2**9
        table = macro.converter.positive if relu else macro.converter.signed
        for v, c in np.ndindex(found.shape):
            value = output_step(spec, caps, c % 2, x[v], w[:, c]) / unit / span
            value = float(compress(np.array([value]), macro.converter.a[c % 2])[0])
            code = sum(value >= level for level in table[c % 2]) - (0 if relu else codes)
            if np.abs(table[c % 2] - value).min() < 2.0**-4 / span:  # cells lie on a grid of 2^-5 or finer here
                continue
            checked += 1
            assert found[v, c] == code * span / codes
    assert checked > 90


def test_bias_rows_hold_the_bias_to_the_last_unit() -> None:
    spec = IDEAL.replaced(converter__bits=16)
    x, w = operands(5, rows=32, columns=5)
    bias = np.array([0, 1, -60_000, 40_963, 127])
    macro = Macro(spec, seed=0, trial=0)
    found = multiply(x, w, macro=macro, bias=bias, relu=True)
    assert np.abs(found - np.maximum(x @ w + bias, 0)).max() <= spec.largest_sum / 2**16
    with pytest.raises(UsageError, match="takes 63 rows beside 32"):
        multiply(x, w, macro=macro, bias=np.full(5, 1_000_000), relu=True)


def test_sign_first_gives_what_relu_gives_and_skips_the_negative_sums() -> None:
    x, w = operands(6)
    results, skips = [], []
    for first in (True, False):
        spec, counts = WHOLE.replaced(converter__sign_first=first), Conversions()
        results.append(multiply(x, w, macro=Macro(spec, seed=0, trial=0), span=3e5, relu=True, counts=counts))
        assert counts.done == x.shape[0] * w.shape[1]
        skips.append(counts.skipped)
    assert np.array_equal(*results)
    assert skips[1] == 0
    counts = Conversions()
    multiply(x, w, macro=Macro(IDEAL, seed=0, trial=0), relu=True, counts=counts)
    assert counts.skipped == int((x @ w < 0).sum())
    counts = Conversions()
    multiply(x, w, macro=Macro(IDEAL, seed=0, trial=0), counts=counts)
    assert counts.skipped == 0  # a signed conversion needs both signs


def test_expand_undoes_compress() -> None:
    v = np.linspace(-1, 1, 101)
    for a in (0.0, 1e-6, 0.1, 0.3):
        np.testing.assert_allclose(expand(compress(v, a), a), v, atol=1e-9)
    assert compress(np.array([5.0]), 0.1) == compress(np.array([1.0 / np.sqrt(0.3)]), 0.1)
    assert np.isinf(expand(np.array([2.0]), 0.1)).all()


@pytest.mark.parametrize("kind", ["polynomial", "lut"])
def test_compensation_lowers_the_nonlinearity_fivefold(kind: str) -> None:
    """Worst of the outputs of each of 20 macros; the end-point INL of the bare cubic has a closed form."""
    bare = linearity(WHOLE.replaced(converter__compensation="none", converter__compression_spread=0.0))
    # Input-referred: expand() of straight levels, that is v - a v^3 = u, against its chord.
    u = (np.arange(1, 256) - 0.5) / 256
    v = expand(u, 0.1)
    v = v[v <= 1]
    chord = v[0] + (v[-1] - v[0]) * np.arange(v.size) / (v.size - 1)
    assert bare.inl == pytest.approx(np.abs(v - chord).max() / (v[-1] - v[0]) * (v.size - 1))
    for trial in range(20):
        none = linearity(WHOLE.replaced(converter__compensation="none"), trial=trial).inl.max()
        helped = linearity(WHOLE.replaced(converter__compensation=kind), trial=trial).inl.max()
        assert none >= 5 * helped


def test_a_table_is_as_good_as_its_resolution() -> None:
    coarse, fine = (
        linearity(WHOLE.replaced(converter__compensation="lut", converter__reference_bits=bits)).inl.max()
        for bits in (9, 16)
    )
    # Levels off by up to half a step, 1/4 of a code, where the slope is at least 1 - 3 x 0.12; so may be the line's ends.
    assert 0.05 < coarse <= 2 * 0.25 / 0.64
    assert fine <= 2 * 0.5 / 2**8 / 0.64


def test_measured_codes_show_the_nonlinearity_that_is_computed() -> None:
    """A ramp of inputs through the macro itself: where each code begins, to one step of the ramp."""
    spec = IDEAL.replaced(
        inputs=64, outputs=1, converter__compression=0.1, converter__bits=5, converter__compensation="none"
    )
    weights, steps = np.ones((64, 1), dtype=np.int64), np.arange(0, 8129)
    x = np.clip(steps[:, None] - 127 * np.arange(64), 0, 127)
    assert np.array_equal(x.sum(axis=1), steps)
    span = 8000.0
    codes = multiply(x, weights, macro=Macro(spec, seed=0, trial=0), span=span, relu=True)[:, 0] / span * 32
    begins = np.array([np.flatnonzero(codes >= k)[0] for k in range(1, int(codes[8000]) + 1)]) / span
    wanted = expand((np.arange(1, 32) - 0.5) / 32, 0.1)
    wanted = wanted[wanted <= 1]
    np.testing.assert_allclose(begins, wanted, atol=1 / span)
    inl = np.abs(begins - np.linspace(begins[0], begins[-1], begins.size)).max() / (np.ptp(begins) / (begins.size - 1))
    assert linearity(spec).inl[0] == pytest.approx(inl, abs=2 * 32 / span)


def test_noise_has_the_variance_of_its_parts() -> None:
    """16,384 reads with 16 bits; quantisation adds 1/12. 99.9 % interval of the variance."""
    spec = WHOLE.replaced(
        converter__bits=16, converter__compression=0.0, capacitors__mismatch=0.0, converter__compensation="none"
    )
    level = levels(spec)
    x, w = np.full((16_384, 64), 3), np.full((64, 1), 2)
    found = multiply(x, w, macro=Macro(spec, seed=0, trial=0))[:, 0]
    lsb = spec.largest_sum / 2**15
    wanted = level.thermal**2 + level.converter**2 + lsb**2 / 12
    low, high = chi2.ppf([0.0005, 0.9995], found.size - 1) / (found.size - 1)
    assert low < float(found.var(ddof=1)) / wanted < high
    assert abs(found.mean() - 384) < 4 * np.sqrt(wanted / found.size)
    assert level.converter == pytest.approx(0.1e-3 / level.unit_v)


def test_noise_depends_on_the_number_of_the_vector_alone() -> None:
    x, w = operands(7)
    macro = Macro(WHOLE, seed=1, trial=2)
    whole = multiply(x, w, macro=macro, span=2e5)
    parts = [multiply(x[k : k + 50], w, macro=macro, span=2e5, first_vector=k) for k in range(0, len(x), 50)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole, multiply(x, w, macro=Macro(WHOLE, seed=1, trial=2), span=2e5))
    assert not np.array_equal(whole, multiply(x, w, macro=macro, span=2e5, seed=1))


def test_the_bit_serial_macro_is_exact_and_takes_64_times_the_conversions() -> None:
    x, w = operands(8)
    counts, parallel = Conversions(), Conversions()
    found = multiply(x, w, macro=Macro(SERIAL.idealised(), seed=0, trial=0), counts=counts)
    assert np.array_equal(found, x @ w)
    multiply(x, w, macro=Macro(IDEAL, seed=0, trial=0), counts=parallel)
    assert counts.done == 64 * parallel.done
    assert counts.skipped == 0
    own = WHOLE.bit_serial()
    assert own.converter == SERIAL.converter
    assert macro_figures(own) == macro_figures(SERIAL)
    assert SERIAL.converter.bits == 7


def test_the_published_throughput_follows_and_the_efficiency_is_calibrated() -> None:
    figures = macro_figures(WHOLE)
    assert figures.gops == pytest.approx(2 * 64 * 8 * 50e6 / 1e9, rel=1e-15)
    assert WHOLE.published is not None
    assert figures.gops == pytest.approx(WHOLE.published.gops)
    assert figures.tops_per_w == pytest.approx(WHOLE.published.tops_per_w, rel=1e-5)
    assert figures.mac_j == pytest.approx(194e-15, rel=2e-3)
    assert figures.power_w == pytest.approx(51.2e9 / 10.3e12, rel=1e-5)
    assert WHOLE.energy.calibration == pytest.approx(calibration_constant(WHOLE, 10.3), rel=1e-5)
    assert WHOLE.sources["energy.calibration"].tag == "calibrated"
    cells = 1.10563 * 0.25 * 512 * 64 * 2e-15 * 1.2**2
    assert figures.energy_j["cells"] == pytest.approx(cells, rel=1e-12)
    doubled = WHOLE.replaced(energy__calibration=2 * WHOLE.energy.calibration)
    assert macro_figures(doubled).tops_per_w == pytest.approx(figures.tops_per_w / 2)


def test_skipped_conversions_save_their_energy() -> None:
    spec = WHOLE.replaced(energy__conversion_j=5e-12, energy__calibration=1.0)
    saved = macro_figures(spec).energy_j["converters"] - macro_figures(spec, skipped=0.5).energy_j["converters"]
    assert saved == pytest.approx(4 * 5e-12)


def test_signal_to_noise_of_an_ideal_converter_is_that_of_rounding() -> None:
    """Errors of LSB^2 / 12; 0.1 dB is ten standard errors of the mean square over 16,384 results."""
    spec: ChargeDomainSpec = IDEAL.replaced(converter__bits=12)
    found = signal_to_noise_db(spec, percentile=100.0)
    rng = generator(0, "linearity", "operands")
    w, x = rng.integers(-128, 128, (64, 8)), rng.integers(-128, 128, (2048, 64))
    wanted = (x @ w).astype(float)
    lsb = np.abs(wanted).max() / 2**11
    assert found == pytest.approx(10 * np.log10((wanted**2).mean() / (lsb**2 / 12)), abs=0.1)
    worse = signal_to_noise_db(WHOLE.replaced(converter__compensation="none"))
    assert worse < signal_to_noise_db(WHOLE) < found


def test_the_library_reads_and_its_sources_name_fields() -> None:
    assert macro_names() == ["sram-bit-serial-65nm", "sram-charge-65nm"]
    for name in macro_names():
        spec = load_macro(name)
        assert spec.name == name
        assert spec.sources["inputs"].tag == "assumed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from: sram-charge-65nm\nclock: 50", "clock: the number 50 has no unit"),
        ("from: sram-charge-65nm\ncapacitors: {cell: 2 V}", "is a voltage, but a capacitance is wanted"),
        ("from: sram-charge-65nm\nconverter: {bit: 8}", r"converter.bit: this field is not known.*did you mean 'bits'"),
        ("from: sram-charge-65nm\nconverter: {compression: 0.4}", "converter.compression: Input should be less than 0.3"),
        ("from: sram-charge-65nm\nmode: bit_serial", "write range: full_scale"),
        ("from: sram-charge-65nm\nsources: {speed: {source: here, tag: assumed}}", "sources.speed: no field"),
        ("from: sram-charge-65nm\ninputs: 1000", "sums are exact up to 2\\^23"),
        ("from: sram-charge-66nm", "no macro is called 'sram-charge-66nm'.*did you mean 'sram-charge-65nm'"),
        ("from: 3", "from: the name of a macro is wanted, found 3"),
        ("name: x", "capacitors: this field is required"),
        ("a: &b 1\nc: *b", "aliases"),
    ],
)  # fmt: skip
def test_a_bad_description_is_one_message(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        parse_macro(text)
    assert "\n" not in str(caught.value)


def test_operands_that_do_not_fit_are_refused() -> None:
    macro = Macro(IDEAL, seed=0, trial=0)
    ones = np.ones((1, 65), dtype=np.int64)
    for x, w, kind, message in (
        (ones, ones.T, {}, "takes 64 inputs at a time, found 65"),
        (ones[:, :3], ones[:, :4].T, {}, "are wanted"),
        (200 * ones[:, :3], ones[:, :3].T, {}, "8 bits hold -128 to 127"),
        (ones[:, :3] / 2, ones[:, :3].T, {}, "integers are wanted"),
        (ones[:, :3], ones[:, :3].T, {"bias": np.array([1])}, "with relu"),
    ):
        with pytest.raises(UsageError, match=message):
            multiply(x, w, macro=macro, **kind)
    with pytest.raises(UsageError, match="bit-serial"):
        multiply(ones[:, :3], ones[:, :3].T, macro=Macro(SERIAL, seed=0, trial=0), relu=True)
    with pytest.raises(SpecError, match="covers 4 bits and more"):
        macro_figures(WHOLE.replaced(converter__bits=3))


def test_converters_differ_by_their_spread() -> None:
    """10,000 outputs: mean and deviation of the compression within 4 standard errors."""
    spec = WHOLE.replaced(inputs=1, outputs=4096)
    a = np.concatenate([build_converter(spec, seed=0, trial=t).a for t in range(3)])
    assert a.size > 10_000
    assert abs(a.mean() - 0.1) < 4 * 0.005 / np.sqrt(a.size)
    assert abs(a.std(ddof=1) - 0.005) < 4 * 0.005 / np.sqrt(2 * a.size)
