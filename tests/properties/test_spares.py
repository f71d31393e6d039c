"""Lines that move compute the same: the engine against the oracle on arrays with spares, and equality of ideal outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import crosstile.crossbar.matrix as matrix_module
from crosstile.circuits.adc import make_range
from crosstile.circuits.wires import TOPOLOGIES
from crosstile.crossbar.encode import quantise_weights
from crosstile.crossbar.inputs import LinearInputs
from crosstile.crossbar.matrix import PackMatrix, build_pack
from crosstile.crossbar.mvm import PackEngine
from crosstile.crossbar.reader import Stream
from crosstile.crossbar.reference import reference_mvm
from crosstile.crossbar.spares import Layout
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, make_packs
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec

VARIATION = {"kind": "variation", "sigma": {"proportional": 0.07}}
STUCK = {"kind": "stuck_at", "on_rate": 0.08, "off_rate": 0.15}


@st.composite
def designs(draw: st.DrawFn, effects: list[dict] | None = None, wires: bool = True) -> dict:
    encoding = draw(st.sampled_from(["differential", "offset", "twos_complement"]))
    needs_sum = encoding != "differential"
    bits = draw(st.integers(1, 8))
    rows = draw(st.integers(1, 20))
    order = draw(st.sampled_from(["as_mapped", "by_current"])) if wires else "as_mapped"
    flips = needs_sum and order == "as_mapped"  # the oracle sorts rows by the digits before they are flipped
    ohm = st.floats(0.01, 50.0)
    section = {"word_line": draw(ohm), "bit_line": draw(ohm), "topology": draw(st.sampled_from(TOPOLOGIES))}
    return {
        "name": "random",
        "cell": {"name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": draw(st.sampled_from([0.0, 3e-6])),
                 "effects": draw(st.sampled_from([[STUCK], [VARIATION, STUCK]])) if effects is None else effects},
        "weights": {"bits": draw(st.integers(1, 8)), "cell_bits": draw(st.integers(1, 3)), "encoding": encoding,
                    "difference": draw(st.sampled_from(["analog", "digital"])), "flip": flips and draw(st.booleans()),
                    "row_sum": draw(st.sampled_from(["digital", "unit_column"])) if needs_sum else "digital"},
        "inputs": {"bits": bits, "dac_bits": draw(st.integers(1, bits))},
        "array": {"rows": rows, "columns": draw(st.integers(2, 24)),
                  "active_rows": draw(st.one_of(st.none(), st.integers(1, rows))),
                  "off_current": draw(st.sampled_from(["cancelled", "replica_column", "converted"])),
                  "wires": section if wires and draw(st.booleans()) else None,
                  "spare_rows": draw(st.integers(0, 3)), "spare_columns": 2 * draw(st.integers(0, 2)),
                  "remap": draw(st.sampled_from(["none", "columns", "rows", "both"]))},
        "compensation": {"rows": order},
        "adc": {"bits": draw(st.one_of(st.none(), st.integers(2, 10))),
                "range": draw(st.sampled_from(["calibrated", "full_scale"]))},
    }  # fmt: skip


def build(design: dict) -> ChipSpec:
    try:
        return validate(ChipSpec, design, origin="test")
    except SpecError:
        assume(False)
        raise


def setting(chip: ChipSpec, fan_in: int, outputs: int, seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    integers, _ = quantise_weights(rng.normal(size=(outputs, fan_in)), chip.weights)
    shape = LayerShape("l", "linear", fan_in, 1, outputs, 1, 1, fan_in, outputs, False)
    (plan,) = make_packs(shape, chip)
    x = rng.integers(0, 2**chip.inputs.bits, size=(3, fan_in))
    args = {"seed": seed, "trial": 1, "layer": "l", "pack_number": 0, "first_array": 0}
    return rng, integers, plan, x, args


def run(pack: PackMatrix, chip: ChipSpec, adc: object, x: np.ndarray, seed: int) -> np.ndarray:
    bits = chip.inputs.bits
    rows = np.arange(x.shape[1])
    engine = PackEngine.build(
        pack, rows, chip, adc, signed=False, magnitude_bits=bits, device=torch.device("cpu")
    )  # fmt: skip
    inputs = LinearInputs(torch.from_numpy(x.astype(np.float32)))
    return engine.run(inputs, chip, bits, signed=False, stream=Stream(seed, 1, "l", 0, 0)).numpy()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(designs(), st.integers(1, 30), st.integers(1, 7), st.integers(0, 2**31), st.booleans())
def test_engine_equals_oracle(design: dict, fan_in: int, outputs: int, seed: int, heeded: bool) -> None:
    """Same tolerance as for arrays without spares: the oracle sums in double precision, the engine rounds once to single."""
    chip = build(design)
    rng, integers, plan, x, args = setting(chip, fan_in, outputs, seed)
    adc = make_range(chip, rng.uniform(0.1, 1.0, size=chip.weights.slices) * chip.max_sum)
    if chip.compensation.rows == "by_current":
        args["importance"] = x.astype(float).mean(axis=0)
    if heeded:
        args["sensitivity"] = (x.astype(float) ** 2).mean(axis=0)
    pack = build_pack(integers.T.copy(), plan, chip, **args)
    expected = reference_mvm(
        x, integers.T, plan, chip, adc, fraction_bits=pack.grid.fraction_bits, signed=False,
        magnitude_bits=chip.inputs.bits, **args,
    )  # fmt: skip
    out = run(pack, chip, adc, x, seed)
    scale = np.abs(expected.outputs).max() + 1.0
    top = 2**chip.inputs.bits - 1
    atol = 2e-6 * scale + 2.0**-8 * (adc is None) * fan_in * top
    np.testing.assert_allclose(out, expected.outputs, rtol=0, atol=atol)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(designs(effects=[], wires=False), st.integers(1, 30), st.integers(1, 7), st.integers(0, 2**31))
def test_ideal_outputs_are_equal_under_any_permutation(design: dict, fan_in: int, outputs: int, seed: int) -> None:
    """Ideal cells and wires: whatever lines a layout chooses, the outputs are those of the plain array, bit by bit."""
    chip = build(design)
    plain = chip.replaced(array__spare_rows=0, array__spare_columns=0, array__remap="none")
    rng, integers, plan, x, args = setting(chip, fan_in, outputs, seed)
    adc = make_range(chip, rng.uniform(0.1, 1.0, size=chip.weights.slices) * chip.max_sum)

    def shuffled(target: np.ndarray, *_: object, **__: object) -> Layout:
        built = (target.shape[0] + 3, target.shape[1] + 4)
        return Layout(
            built, rng.permutation(built[0])[: target.shape[0]], rng.permutation(built[1])[: target.shape[1]], 0.0, 0.0
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_module, "lay_out", shuffled)
        moved = build_pack(integers.T.copy(), plan, chip, **args)
    expected = build_pack(integers.T.copy(), plan, plain, **args)
    np.testing.assert_array_equal(run(moved, chip, adc, x, seed), run(expected, plain, adc, x, seed))
    assert moved.total_s[0] == pytest.approx(expected.total_s[0], rel=1e-12)
    np.testing.assert_allclose(moved.row_conductance_s, expected.row_conductance_s, rtol=1e-12)
    for mine, theirs in zip(moved.histogram, expected.histogram, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("wires", [None, {"word_line": 0.0, "bit_line": 0.0}])
def test_read_noise_moves_with_its_cells(wires: dict | None) -> None:
    """Noise that follows a cell's conductance stands beside the same weight, wherever the cell is."""
    design = {
        "name": "noisy",
        "cell": {"name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": 3e-6,
                 "effects": [{"kind": "read_noise", "sigma": {"proportional": 0.05}}]},
        "weights": {"bits": 4, "cell_bits": 2},
        "array": {"rows": 12, "columns": 16, "wires": wires, "spare_rows": 3, "spare_columns": 4},
    }  # fmt: skip
    chip = build(design)
    rng, integers, plan, _, args = setting(chip, 20, 5, 3)

    def shuffled(target: np.ndarray, *_: object, **__: object) -> Layout:
        built = (target.shape[0] + 3, target.shape[1] + 4)
        return Layout(
            built, rng.permutation(built[0])[: target.shape[0]], rng.permutation(built[1])[: target.shape[1]], 0.0, 0.0
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_module, "lay_out", shuffled)
        moved = build_pack(integers.T.copy(), plan, chip, **args)
    plain = build_pack(integers.T.copy(), plan, chip.replaced(array__spare_rows=0, array__spare_columns=0), **args)
    for mine, theirs in zip(moved.segments, plain.segments, strict=True):
        assert mine.variance is not None
        np.testing.assert_array_equal(mine.variance, theirs.variance)
        assert np.unique(mine.variance).size > 3
