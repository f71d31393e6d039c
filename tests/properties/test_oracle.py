"""The fast engine against the oracle: equality of codes for deterministic chips, over a randomised grid of designs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crosstile.circuits.adc import AdcRange, References, make_range
from crosstile.circuits.wires import TOPOLOGIES
from crosstile.crossbar import planes, tables
from crosstile.crossbar.encode import quantise_weights
from crosstile.crossbar.inputs import LinearInputs
from crosstile.crossbar.matrix import build_pack
from crosstile.crossbar.mvm import PackEngine, choose_mode
from crosstile.crossbar.reader import PackReader, Stream
from crosstile.crossbar.reference import reference_mvm
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, make_packs
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec

VARIATION = {"kind": "variation", "sigma": {"proportional": 0.07}}
STUCK = {"kind": "stuck_at", "on_rate": 0.05, "off_rate": 0.1}


@st.composite
def wire_sections(draw: st.DrawFn) -> dict:
    ohm = st.one_of(st.just(0.0), st.floats(0.01, 100.0))
    return {
        "word_line": draw(ohm), "bit_line": draw(ohm), "driver": draw(ohm), "sense": draw(ohm),
        "topology": draw(st.sampled_from(TOPOLOGIES)),
    }  # fmt: skip


@st.composite
def designs(draw: st.DrawFn) -> dict:
    continuous = draw(st.booleans()) and draw(st.booleans())
    encoding = "differential" if continuous else draw(st.sampled_from(["differential", "offset", "twos_complement"]))
    input_bits = draw(st.integers(1, 16))
    effects = draw(st.sampled_from([[], [], [VARIATION], [VARIATION, STUCK]]))
    rows = draw(st.integers(1, 40))
    needs_sum = encoding != "differential"
    flip = needs_sum and draw(st.booleans())
    wires = draw(st.one_of(st.none(), wire_sections()))
    return {
        "name": "random",
        "cell": {"name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": draw(st.sampled_from([0.0, 3e-6])),
                 "effects": effects},
        "weights": {
            "bits": None if continuous else draw(st.integers(1, 16)),
            "cell_bits": None if continuous else draw(st.integers(1, 5)),
            "encoding": encoding,
            "difference": draw(st.sampled_from(["analog", "digital"])),
            "flip": flip,
            "row_sum": draw(st.sampled_from(["digital", "unit_column"])) if needs_sum else "digital",
        },
        "inputs": {"bits": input_bits, "dac_bits": draw(st.integers(1, input_bits)),
                   "signed": draw(st.sampled_from(["two_phase", "bipolar"]))},
        "array": {
            "rows": rows, "columns": draw(st.integers(2, 40)),
            "active_rows": draw(st.one_of(st.none(), st.integers(1, rows))),
            "off_current": draw(st.sampled_from(["cancelled", "replica_column", "converted"])),
            "wires": wires,
        },
        "compensation": {"rows": "by_current" if wires and not flip and draw(st.booleans()) else "as_mapped"},
        "adc": {"bits": draw(st.one_of(st.none(), st.integers(1, 12))),
                "range": draw(st.sampled_from(["lossless", "calibrated", "full_scale"])),
                "references": draw(st.sampled_from(["uniform", "uniform", "custom"]))},
    }  # fmt: skip


def random_references(adc: AdcRange, groups: int, rng: np.random.Generator) -> References:
    """Rising codes at random positions, with ends that lie beyond or short of the nominal ones."""
    steps = int(2 ** rng.integers(0, 5))
    first, last = adc.lowest - int(rng.integers(-1, 3)), adc.highest + int(rng.integers(0, 3))
    positions = max(last - first, 1) * steps + 1
    codes = np.sort(rng.integers(adc.lowest, adc.highest + 1, size=(groups, positions)), axis=1)
    return References(steps, first * steps, codes.astype(np.float32))


def build(design: dict) -> ChipSpec | None:
    try:
        return validate(ChipSpec, design, origin="test")
    except SpecError:
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(designs(), st.integers(1, 50), st.integers(1, 9), st.booleans(), st.integers(0, 2**31))
def test_engine_equals_oracle(design: dict, fan_in: int, outputs: int, signed: bool, seed: int) -> None:
    chip = build(design)
    assume(chip is not None)
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, fan_in))
    integers, _ = quantise_weights(weight, chip.weights)
    shape = LayerShape("l", "linear", fan_in, 1, outputs, 1, 1, fan_in, outputs, signed)
    (pack_plan,) = make_packs(shape, chip)
    bits = max(chip.inputs.bits - 1, 1) if signed else chip.inputs.bits
    top = 2**bits - 1
    x = rng.integers(-top if signed else 0, top + 1, size=(3, fan_in))
    spans = rng.uniform(0.05, 1.0, size=chip.weights.slices) * chip.max_sum
    adc = make_range(chip, spans)
    args = {"seed": seed, "trial": 1, "layer": "l", "pack_number": 0, "first_array": 0}
    if chip.compensation.rows == "by_current":
        args["importance"] = np.abs(x).mean(axis=0)
    pack = build_pack(integers.T.copy(), pack_plan, chip, **args)
    if adc is not None and chip.adc.references == "custom":
        adc = dataclasses.replace(adc, references=random_references(adc, len(pack.column_slice), rng))
    expected = reference_mvm(
        x, integers.T, pack_plan, chip, adc, fraction_bits=pack.grid.fraction_bits, signed=signed,
        magnitude_bits=bits, **args,
    )  # fmt: skip
    inputs = LinearInputs(torch.from_numpy(x.astype(np.float32)))
    rows = np.arange(fan_in)
    stream = Stream(seed, 1, "l", 0, 0)
    cpu = torch.device("cpu")
    mode = choose_mode(pack, chip, adc, signed=signed, device=cpu)
    engine = PackEngine.build(pack, rows, chip, adc, signed=signed, magnitude_bits=bits, device=cpu)
    out = engine.run(inputs, chip, bits, signed=signed, stream=stream).numpy()
    scale = np.abs(expected.outputs).max() + 1.0
    if mode == "collapsed" and pack.integer_levels and adc is not None:
        # Two products of integers add up in double precision; the result is rounded once to single.
        np.testing.assert_array_equal(out, expected.outputs.astype(np.float32))
    else:
        np.testing.assert_allclose(
            out, expected.outputs, rtol=0, atol=2e-6 * scale + 2.0**-8 * (adc is None) * fan_in * top
        )
    if adc is None:
        return
    # Both ways of reading must give the very codes of the oracle, whichever was chosen above.
    width = pack.columns
    want = expected.totals.reshape(len(x), width)
    reader = PackReader(pack, chip, adc, bits, cpu)
    totals, _ = planes.read(reader, inputs, rows, signed=signed, stream=stream)
    np.testing.assert_array_equal(totals.numpy()[:, :width], want)
    if (
        chip.inputs.dac_bits == 1
        and not (signed and chip.inputs.signed == "bipolar")
        and pack.grid.products == 1
        and not pack.grid.double
    ):
        totals, _ = tables.read(PackReader(pack, chip, adc, bits, cpu), inputs, rows, signed=signed, stream=stream)
        np.testing.assert_array_equal(totals[:, :width], want)
        assert reader.clipping.conversions.sum() > 0


def test_the_grid_of_designs_reaches_every_mode() -> None:
    """Guards the property above against quietly testing one path only."""
    seen = set()

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(designs())
    def collect(design: dict) -> None:
        chip = build(design)
        if chip is None:
            return
        shape = LayerShape("l", "linear", 7, 1, 3, 1, 1, 7, 3, False)
        (plan,) = make_packs(shape, chip)
        integers, _ = quantise_weights(np.random.default_rng(0).normal(size=(3, 7)), chip.weights)
        pack = build_pack(integers.T.copy(), plan, chip, seed=0, trial=0, layer="l", pack_number=0, first_array=0)
        adc = make_range(chip, np.full(chip.weights.slices, chip.max_sum / 2))
        seen.add(choose_mode(pack, chip, adc, signed=False, device=torch.device("cpu")))

    collect()
    assert seen == {"collapsed", "tables", "planes"}


@pytest.mark.parametrize("columns", [3])
def test_a_chip_too_narrow_for_one_weight_is_refused(columns: int) -> None:
    design = {"name": "n", "cell": {"name": "c", "technology": "t", "g_on": 1e-4, "g_off": 1e-6},
              "array": {"columns": columns}}  # fmt: skip
    with pytest.raises(SpecError, match="one weight takes 8 columns"):
        validate(ChipSpec, design, origin="test")
