"""Read noise: the engine's against the oracle's, its draws against the standard normal, and its numbering.

The oracle draws one number a cell and read; the engine draws one a column and read, and behind ideal
converters one an output. Means, variances and correlations between outputs must agree. Every statistical
bound is two-sided at a chance of ``ALPHA`` for a right implementation; seeds are fixed, so a test that passes
once passes always.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from crosstile.circuits.adc import AdcRange, make_range
from crosstile.crossbar import noise_torch, planes, tables
from crosstile.crossbar.encode import quantise_weights
from crosstile.crossbar.inputs import LinearInputs
from crosstile.crossbar.matrix import PackMatrix, build_pack
from crosstile.crossbar.mvm import Mode, PackEngine, choose_mode
from crosstile.crossbar.noise import population_table, quantile_table
from crosstile.crossbar.reader import PackReader, Stream
from crosstile.crossbar.reference import reference_mvm
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, Pack, make_packs
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip

ALPHA = 1e-6
Z = float(stats.norm.ppf(1 - ALPHA / 2))
CPU = torch.device("cpu")
FAN_IN, OUTPUTS = 10, 3
ENGINE_READS, ORACLE_READS = 40_000, 2_500

UNIFORM = {"window": 0.05}
BY_STATE = {"proportional": 0.1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Case:
    chip: ChipSpec
    pack: PackMatrix
    plan: Pack
    integers: np.ndarray
    adc: AdcRange | None
    signed: bool
    bits: int

    @property
    def mode(self) -> Mode:
        return choose_mode(self.pack, self.chip, self.adc, signed=self.signed, device=CPU)

    def engine(self, mode: Mode | None = None) -> PackEngine:
        return PackEngine.build(
            self.pack,
            np.arange(FAN_IN),
            self.chip,
            self.adc,
            signed=self.signed,
            magnitude_bits=self.bits,
            device=CPU,
            mode=mode,
        )

    def run(self, x: np.ndarray, stream: Stream, mode: Mode | None = None) -> np.ndarray:
        inputs = LinearInputs(torch.from_numpy(x.astype(np.float32)))
        return self.engine(mode).run(inputs, self.chip, self.bits, signed=self.signed, stream=stream).numpy()

    def inputs(self, n: int, seed: int = 0) -> np.ndarray:
        top = 2**self.bits - 1
        return np.random.default_rng(seed).integers(-top if self.signed else 0, top + 1, size=(n, FAN_IN))


def case(
    *,
    sigma: dict[str, float],
    bits: int = 4,
    dac_bits: int = 1,
    signed: bool | str = False,
    adc_bits: int | None = 7,
    weights: dict[str, Any] | None = None,
    array: dict[str, Any] | None = None,
    seed: int = 5,
) -> Case:
    design = {
        "name": "noisy",
        "cell": {
            "name": "c",
            "technology": "t",
            "g_on": 1e-4,
            "g_off": 2e-6,
            "effects": [
                {"kind": "variation", "sigma": {"window": 0.02}},
                {"kind": "read_noise", "sigma": sigma},
            ],
        },
        "weights": {"bits": 4, "cell_bits": 2, **(weights or {})},
        "inputs": {"bits": bits, "dac_bits": dac_bits, "signed": signed or "two_phase"},
        "array": {"rows": 16, "columns": 16, **(array or {})},
        "adc": {"bits": adc_bits, "range": "full_scale"},
    }
    chip = validate(ChipSpec, design, origin="test")
    integers, _ = quantise_weights(np.random.default_rng(seed).normal(size=(OUTPUTS, FAN_IN)), chip.weights)
    shape = LayerShape("l", "linear", FAN_IN, 1, OUTPUTS, 1, 1, FAN_IN, OUTPUTS, bool(signed))
    (plan,) = make_packs(shape, chip)
    args = {"seed": seed, "trial": 1, "layer": "l", "pack_number": 0, "first_array": 0}
    pack = build_pack(integers.T.copy(), plan, chip, **args)
    adc = make_range(chip, None)
    return Case(chip, pack, plan, integers, adc, bool(signed), max(bits - 1, 1) if signed else bits)


OFFSET_UNIT = {"encoding": "offset", "row_sum": "unit_column"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tables-uniform": ("tables", {"sigma": UNIFORM}),
    "tables-by-state": ("tables", {"sigma": BY_STATE}),
    "tables-two-phase": ("tables", {"sigma": BY_STATE, "signed": "two_phase"}),
    "tables-digital-pair": ("tables", {"sigma": UNIFORM, "weights": {"difference": "digital"}}),
    "tables-segments": ("tables", {"sigma": BY_STATE, "array": {"rows": 6, "active_rows": 4}}),
    "tables-offset-unit-column": ("tables", {"sigma": BY_STATE, "weights": OFFSET_UNIT, "adc_bits": 9}),
    "tables-twos-complement-flip": (
        "tables",
        {"sigma": BY_STATE, "weights": {"encoding": "twos_complement", "flip": True}},
    ),
    "tables-off-current": (
        "tables",
        {"sigma": BY_STATE, "weights": {"encoding": "offset"}, "array": {"off_current": "converted"}},
    ),
    "planes-uniform": ("planes", {"sigma": UNIFORM, "bits": 8, "dac_bits": 8, "adc_bits": 9}),
    "planes-by-state": ("planes", {"sigma": BY_STATE, "bits": 8, "dac_bits": 8, "adc_bits": 9}),
    "planes-bipolar": (
        "planes",
        {"sigma": BY_STATE, "bits": 8, "dac_bits": 8, "adc_bits": 9, "signed": "bipolar"},
    ),
    "planes-bipolar-serial": ("planes", {"sigma": UNIFORM, "signed": "bipolar"}),
    "planes-two-bit-digits": ("planes", {"sigma": BY_STATE, "dac_bits": 2, "signed": "two_phase"}),
    "planes-offset-unit-column": (
        "planes",
        {"sigma": BY_STATE, "bits": 8, "dac_bits": 8, "adc_bits": 11, "weights": OFFSET_UNIT},
    ),
    "collapsed-uniform": ("collapsed", {"sigma": UNIFORM, "adc_bits": None}),
    "collapsed-by-state": ("collapsed", {"sigma": BY_STATE, "adc_bits": None}),
    "collapsed-bipolar": (
        "collapsed",
        {"sigma": BY_STATE, "adc_bits": None, "bits": 8, "dac_bits": 8, "signed": "bipolar"},
    ),
    "collapsed-two-phase": (
        "collapsed",
        {"sigma": UNIFORM, "adc_bits": None, "dac_bits": 2, "signed": "two_phase"},
    ),
    "collapsed-offset-unit-column": (
        "collapsed",
        {"sigma": BY_STATE, "adc_bits": None, "weights": OFFSET_UNIT, "array": {"rows": 6}},
    ),
    "collapsed-flip-unit-column": (
        "collapsed",
        {"sigma": BY_STATE, "adc_bits": None, "weights": {**OFFSET_UNIT, "flip": True}},
    ),
    "collapsed-continuous": (
        "collapsed",
        {"sigma": BY_STATE, "adc_bits": None, "weights": {"bits": None, "cell_bits": None}},
    ),
}


# ------------------------------------------------------------ engine and oracle


def compare_moments(engine: np.ndarray, oracle: np.ndarray) -> None:
    """Mean, variance and correlations of (reads, outputs) by two-sample z-tests at ALPHA.

    The variance of a sample variance is (m4 - s^4) / n, with the fourth moment taken from the sample, so that
    codes, which are not normal, are tested fairly. The resolution on the variance is
    some 15 % (Z sqrt(2 / 2,500)).
    """
    n, m = len(engine), len(oracle)
    v1, v2 = engine.var(axis=0, ddof=1), oracle.var(axis=0, ddof=1)
    assert (v2 > 0).all()
    z_mean = (engine.mean(axis=0) - oracle.mean(axis=0)) / np.sqrt(v1 / n + v2 / m)
    assert np.abs(z_mean).max() < Z, f"means differ by {z_mean} standard errors"
    m4 = [((s - s.mean(axis=0)) ** 4).mean(axis=0) for s in (engine, oracle)]
    z_variance = (v1 - v2) / np.sqrt((m4[0] - v1**2) / n + (m4[1] - v2**2) / m)
    assert np.abs(z_variance).max() < Z, f"variances {v1} and {v2} differ by {z_variance} standard errors"
    upper = np.triu_indices(engine.shape[1], 1)
    r1, r2 = (np.corrcoef(s.T)[upper] for s in (engine, oracle))
    z_correlation = (np.arctanh(r1) - np.arctanh(r2)) / np.sqrt(1 / (n - 3) + 1 / (m - 3))
    assert np.abs(z_correlation).max() < Z, f"correlations {r1} and {r2}"


@pytest.mark.parametrize("name", CASES)
def test_engine_noise_has_the_moments_of_the_oracles(name: str) -> None:
    mode, options = CASES[name]
    it = case(**options)
    assert it.mode == mode
    x = it.inputs(1)
    engine = it.run(np.repeat(x, ENGINE_READS, axis=0), Stream(3, 1, "l", 0, 0)).astype(np.float64)
    oracle = reference_mvm(
        np.repeat(x, ORACLE_READS, axis=0),
        it.integers.T,
        it.plan,
        it.chip,
        it.adc,
        fraction_bits=it.pack.grid.fraction_bits,
        signed=it.signed,
        magnitude_bits=it.bits,
        seed=5,
        trial=1,
        layer="l",
        read_rng=np.random.default_rng(77),
    ).outputs
    compare_moments(engine, oracle)


@pytest.mark.parametrize(
    "options",
    [
        {"dac_bits": 1},
        {"dac_bits": 2, "signed": "two_phase"},
        {"bits": 8, "dac_bits": 8, "signed": "bipolar"},
        {"dac_bits": 3, "array": {"rows": 6, "active_rows": 4}},
    ],
)
def test_noise_behind_ideal_converters_has_the_formulas_variance(options: dict[str, Any]) -> None:
    """Sum over planes, slices, pairs of (place value x digit)^2 sigma^2; 40,000 reads resolve 3.5 %."""
    it = case(sigma=UNIFORM, adc_bits=None, **options)
    x = it.inputs(1)
    out = it.run(np.repeat(x, ENGINE_READS, axis=0), Stream(4, 1, "l", 0, 0)).astype(np.float64)
    step, sigma = it.chip.inputs.dac_bits, 0.05 * 3  # levels: window / unit is 3
    power = sum(
        4.0 ** (p * step) * ((np.abs(x[0]) >> (p * step)) % 2**step) ** 2.0 for p in range(-(-it.bits // step))
    ).sum()
    variance = 2 * sigma**2 * (1 + 4**2) * power  # two cells a pair; slices of place value 1 and 4
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], ENGINE_READS - 1) / (ENGINE_READS - 1)
    assert (low < out.var(axis=0, ddof=1) / variance).all()
    assert (out.var(axis=0, ddof=1) / variance < high).all()
    for column in out.T:  # the draws have 2^24 values, far below what 40,000 reads resolve
        assert stats.kstest((column - column.mean()) / column.std(), "norm").pvalue > ALPHA


def test_without_read_noise_each_read_is_the_same() -> None:
    it = case(sigma={"window": 0.0})
    out = it.run(np.repeat(it.inputs(1), 50, axis=0), Stream(4, 1, "l", 0, 0))
    np.testing.assert_array_equal(out, np.repeat(out[:1], 50, axis=0))


# ------------------------------------------------------------ ways of reading


@pytest.mark.parametrize("name", [n for n, (mode, _) in CASES.items() if mode == "tables"])
def test_tables_and_planes_give_the_same_noisy_codes(name: str) -> None:
    it = case(**CASES[name][1])
    assert it.adc is not None
    inputs = LinearInputs(torch.from_numpy(it.inputs(300, seed=8).astype(np.float32)))
    rows, stream = np.arange(FAN_IN), Stream(9, 2, "l", 1, 12345)
    readers = [PackReader(it.pack, it.chip, it.adc, it.bits, CPU) for _ in range(2)]
    looked_up, _ = tables.read(readers[0], inputs, rows, signed=it.signed, stream=stream)
    multiplied, _ = planes.read(readers[1], inputs, rows, signed=it.signed, stream=stream)
    width = it.pack.columns
    assert np.unique(looked_up[:, :width]).size > 10
    np.testing.assert_array_equal(looked_up[:, :width], multiplied.numpy()[:, :width])
    np.testing.assert_array_equal(readers[0].clipping.clipped, readers[1].clipping.clipped)
    np.testing.assert_array_equal(readers[0].clipping.conversions, readers[1].clipping.conversions)
    x = it.inputs(300, seed=8)
    np.testing.assert_array_equal(it.run(x, stream, "tables"), it.run(x, stream, "planes"))


@pytest.mark.parametrize("name", [n for n, (mode, _) in CASES.items() if mode != "collapsed"])
def test_the_compiled_kernels_and_torch_give_the_same_noisy_codes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's conversion serves other devices; here it must give each code of the kernels, bit for bit."""
    it = case(**CASES[name][1])
    x, stream = it.inputs(300, seed=8), Stream(2**70, 2, "l", 1, 2**33 - 100)
    compiled = it.run(x, stream, "planes")
    monkeypatch.setattr(planes, "_convert", planes._convert_torch)
    np.testing.assert_array_equal(it.run(x, stream, "planes"), compiled)
    assert np.unique(compiled).size > 10


@pytest.mark.parametrize(
    "name",
    [
        "tables-by-state",
        "planes-by-state",
        "planes-bipolar-serial",
        "collapsed-by-state",
        "tables-offset-unit-column",
        "collapsed-offset-unit-column",
    ],
)
def test_noise_belongs_to_the_vector_and_not_to_its_batch(name: str) -> None:
    it = case(**CASES[name][1])
    x = it.inputs(2500, seed=3)
    stream = Stream(1, 1, "l", 0, 7)
    whole = it.run(x, stream)
    edges = [0, 1, 2, 66, 1090, 2113, 2500]
    parts = [it.run(x[a:b], stream.shifted(a)) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(it.run(x, stream), whole)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("change", [(2, 1, "l", 0, 0), (1, 2, "l", 0, 0), (1, 1, "m", 0, 0), (1, 1, "l", 1, 0)])
@pytest.mark.parametrize("name", ["tables-by-state", "planes-by-state", "collapsed-by-state"])
def test_seed_trial_layer_and_call_each_give_other_draws(name: str, change: tuple[Any, ...]) -> None:
    it = case(**CASES[name][1])
    x = np.repeat(it.inputs(1), 4000, axis=0)
    one, other = it.run(x, Stream(1, 1, "l", 0, 0)), it.run(x, Stream(*change))
    assert (one != other).any()
    for j in range(OUTPUTS):
        assert abs(np.corrcoef(one[:, j], other[:, j])[0, 1]) < Z / np.sqrt(4000)


# ------------------------------------------------------------ draws


def test_the_table_of_quantiles_has_unit_variance() -> None:
    q = quantile_table().astype(np.float64)
    assert q.shape == (4096,)
    # Float32 rounding of 4096 values: relative 6e-8 each.
    assert abs(2 * np.mean(q**2) - 1) < 1e-6
    assert abs(np.mean(q)) < 1e-8
    np.testing.assert_array_equal(q, -q[::-1])
    assert (np.diff(q) > 0).all()
    assert 5.0 < 2 * q[-1] < 5.5


def test_the_table_of_populations() -> None:
    np.testing.assert_array_equal(population_table(), [sum(map(int, f"{i:b}")) for i in range(256)])


def normal(key: int, first: int, n: int, columns: int) -> np.ndarray:
    return noise_torch.normal(key, first + torch.arange(n), columns).numpy().astype(np.float64)


def mix64(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def draw(key: int, counter: int, column: int) -> float:
    """One draw in exact integer arithmetic, from the definition in :mod:`crosstile.crossbar.noise`."""
    state = mix64(key ^ mix64(counter))
    h = (state + column * 0x9E3779B9) % 2**32
    h = (h ^ (h >> 16)) * 0x21F0AAAD % 2**32
    h = ((h ^ (h >> 15)) + (state >> 32)) % 2**32
    h = h * 0xD35A2D97 % 2**32
    h ^= h >> 15
    table = quantile_table()
    return float(table[h % 4096] + table[(h >> 16) % 4096])


@pytest.mark.parametrize("key", [0, 1, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
@pytest.mark.parametrize("first", [0, 2**32 - 2, 2**40])
def test_draws_follow_their_definition(key: int, first: int) -> None:
    want = [[draw(key, first + v, c) for c in range(200)] for v in range(4)]
    np.testing.assert_array_equal(normal(key, first, 4, 200), want)


def draws() -> np.ndarray:
    return normal(0xFEEDFACECAFEBEEF, 0, 4000, 128)


def test_draws_are_standard_normal() -> None:
    z = draws()
    flat = z.ravel()
    n = flat.size
    assert abs(flat.mean()) < Z / np.sqrt(n)
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n - 1) / (n - 1)
    assert low < flat.var(ddof=1) < high
    # 512,000 draws resolve a distance of 0.0038 between distributions.
    assert stats.kstest(flat, "norm").pvalue > ALPHA
    for s in (2.0, 3.0, 4.0):  # tails, as counts
        assert stats.binomtest(int((np.abs(flat) > s).sum()), n, 2 * stats.norm.sf(s)).pvalue > ALPHA
    worst = ALPHA / 128  # one test a column
    assert all(stats.kstest(column, "norm").pvalue > worst for column in z.T)


def test_draws_of_neighbours_are_not_correlated() -> None:
    """Columns, vectors and keys side by side, as they are and squared; |r| < Z / sqrt(n), 0.007 here."""
    z = draws()
    others = [normal(0xFEEDFACECAFEBEEF + k, 0, 4000, 128) for k in (1, 2**32)]
    pairs = {f"column {lag}": (z[:, lag:], z[:, :-lag]) for lag in (1, 2, 3, 8, 64)}
    pairs |= {f"vector {lag}": (z[lag:], z[:-lag]) for lag in (1, 2, 3, 8, 64, 1000)}
    pairs |= {"diagonal": (z[1:, 1:], z[:-1, :-1]), "antidiagonal": (z[1:, :-1], z[:-1, 1:])}
    pairs |= {f"key {k}": (z, other) for k, other in enumerate(others)}
    for name, (one, other) in pairs.items():
        a, b = one.ravel(), other.ravel()
        for power in (1, 2):
            r = np.corrcoef(a**power, b**power)[0, 1]
            assert abs(r) < Z / np.sqrt(a.size), f"{name}, power {power}: r = {r:.5f}"


def test_draws_of_a_layer_do_not_repeat() -> None:
    """Distinct (vector, column) give distinct draws but for chance: 24-bit values meet the birthday bound."""
    z = normal(1, 0, 256, 64)
    n, values = z.size, 2.0**23  # unordered pairs of table entries
    expected = n * (n - 1) / 2 / values
    repeated = n - np.unique(z).size
    assert repeated < expected + Z * np.sqrt(expected) + 20


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("digit", [1, 7, 12, 120, 255])
def test_multi_bit_digits_of_any_size_carry_their_noise(digit: int, uniform: bool) -> None:
    """The variance is sum_i d^2 sigma_i^2 for each digit d, small ones too; cells are rounded by less than 0.5 %."""
    sigma = {"window": 0.02} if uniform else {"proportional": 0.05}
    effects = [{"kind": "read_noise", "sigma": sigma}]
    chip = load_chip("analog-8b").replaced(cell__effects=effects, adc__bits=16)
    rng = np.random.default_rng(1)
    integers = rng.uniform(-1, 1, size=(40, 3))
    shape = LayerShape("l", "linear", 40, 1, 3, 1, 1, 40, 3, False)
    (plan,) = make_packs(shape, chip)
    pack = build_pack(integers, plan, chip, seed=0, trial=0, layer="l", pack_number=0, first_array=0)
    adc = make_range(chip, np.array([40.0 * 255]))
    reader = PackReader(pack, chip, adc, 8, torch.device("cpu"))
    x = torch.full((1, 40), float(digit))
    (segment,) = pack.segments
    variance, root = planes._variance(reader, segment, LinearInputs(x), x, np.arange(40))
    found = (variance.double() * root.double() ** 2).numpy()[0] * np.ones(3)
    wanted = (digit**2 * segment.variance.astype(np.float64)).sum(axis=0)
    np.testing.assert_allclose(found, wanted, rtol=5e-3)


counted: list[float] = []


@st.composite
def noisy_designs(draw: st.DrawFn) -> dict[str, Any]:
    """Small designs with read noise over the whole range of encodings, inputs, segments and converters."""
    encoding = draw(st.sampled_from(["differential", "offset", "twos_complement"]))
    input_bits = draw(st.integers(1, 4))
    sigma = draw(st.sampled_from([{"window": 0.1}, {"proportional": 0.15}]))
    sums = encoding != "differential"
    return {
        "name": "noisy",
        "cell": {
            "name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": draw(st.sampled_from([0.0, 5e-6])),
            "effects": [{"kind": "read_noise", "sigma": sigma}],
        },
        "weights": {
            "bits": draw(st.integers(1, 6)), "cell_bits": draw(st.integers(1, 3)), "encoding": encoding,
            "difference": draw(st.sampled_from(["analog", "digital"])), "flip": sums and draw(st.booleans()),
            "row_sum": draw(st.sampled_from(["digital", "unit_column"])) if sums else "digital",
        },
        "inputs": {
            "bits": input_bits, "dac_bits": draw(st.integers(1, input_bits)),
            "signed": draw(st.sampled_from(["two_phase", "bipolar"])),
        },
        "array": {
            "rows": 8, "columns": 16, "active_rows": draw(st.one_of(st.none(), st.integers(2, 8))),
            "off_current": draw(st.sampled_from(["cancelled", "converted"])),
        },
        "adc": {"bits": draw(st.one_of(st.none(), st.integers(3, 8))), "range": "full_scale"},
    }  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(noisy_designs(), st.booleans(), st.integers(0, 2**31))
def test_noise_of_random_designs_has_the_oracles_mean_and_variance(
    design: dict[str, Any], signed: bool, seed: int
) -> None:
    """1,500 oracle reads against 20,000 of the engine, for each output, in mean and variance.

    Both within 6 standard errors (2e-9 for each of some 240 comparisons); that of a variance is
    sqrt((k - 1) / n) with kurtosis k. Outputs whose codes hardly ever change (k of 8 and more) have no variance
    that 1,500 reads could tell; their means are compared.
    """
    try:
        chip = validate(ChipSpec, design, origin="test")
    except SpecError:
        assume(False)
    rng = np.random.default_rng(seed)
    rows, outputs, oracle_reads, engine_reads = int(rng.integers(2, 13)), 3, 1500, 20000
    integers, _ = quantise_weights(rng.normal(size=(outputs, rows)), chip.weights)
    bits = max(chip.inputs.bits - 1, 1) if signed else chip.inputs.bits
    top = 2**bits - 1
    x = rng.integers(-top if signed else 0, top + 1, size=rows)
    shape = LayerShape("l", "linear", rows, 1, outputs, 1, 1, rows, outputs, signed)
    (plan,) = make_packs(shape, chip)
    adc = make_range(chip, None)
    args = {"seed": 0, "trial": 0, "layer": "l", "pack_number": 0, "first_array": 0}
    pack = build_pack(integers.T.copy(), plan, chip, **args)
    engine = PackEngine.build(
        pack, np.arange(rows), chip, adc, signed=signed, magnitude_bits=bits, device=torch.device("cpu")
    )
    inputs = LinearInputs(torch.from_numpy(np.tile(x, (engine_reads, 1)).astype(np.float32)))
    ours = engine.run(inputs, chip, bits, signed=signed, stream=Stream(seed, 0, "l", 0, 0)).numpy().astype(float)
    theirs = reference_mvm(
        np.tile(x, (oracle_reads, 1)), integers.T, plan, chip, adc, fraction_bits=pack.grid.fraction_bits,
        signed=signed, magnitude_bits=bits, read_rng=np.random.default_rng(seed + 1), **args,
    ).outputs  # fmt: skip
    floor = 1e-5 * (1 + np.abs(theirs).max())  # single-precision outputs
    variance = np.maximum(ours.var(axis=0), theirs.var(axis=0))
    share = 1 / engine_reads + 1 / oracle_reads
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 6 * np.sqrt(variance * share) + floor).all()
    for own, other in zip(ours.T, theirs.T, strict=True):
        kurtosis = stats.kurtosis(own, fisher=False)
        if own.var() > floor**2 and kurtosis < 8:
            assert abs(other.var() / own.var() - 1) <= 6 * np.sqrt((kurtosis - 1) * share)
            counted.append(kurtosis)


def test_the_random_designs_really_compared_variances() -> None:
    """Runs after the property: a fair share of its outputs must have had a variance to compare."""
    if not counted:
        pytest.skip("the property did not run in this process")
    assert len(counted) >= 30
