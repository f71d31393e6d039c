"""The capacitor network of a charge-domain macro: against charge conservation node by node, ngspice, and closed forms."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from crosstile.errors import SpecError
from crosstile.macros.engine import Macro, multiply
from crosstile.macros.load import load_macro
from crosstile.macros.network import (
    bit_signs,
    drawn,
    effective_weights,
    gains,
    levels,
    mismatch_sigma,
    nominal,
    output_capacitance,
)
from crosstile.macros.reference import build_circuit, count_step, output_step
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.units import BOLTZMANN_J_PER_K

WHOLE = load_macro("sram-charge-65nm")
SMALL: ChargeDomainSpec = WHOLE.replaced(inputs=5, outputs=2)
I8 = np.arange(8)


def operands(seed: int, inputs: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if seed == 0:
        return np.full(inputs, -128), np.full(inputs, -128)
    if seed == 1:
        return np.full(inputs, 127), np.full(inputs, -128)
    return rng.integers(-128, 128, inputs), rng.integers(-128, 128, inputs)


def bits(values: np.ndarray) -> np.ndarray:
    return (values[:, None] >> I8) & 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("output", [0, 1])
def test_elimination_is_charge_conservation_node_by_node(seed: int, output: int) -> None:
    """To 1e-12 of the largest sum: both lose a few roundings, the slow way in a system of 49 + 8 + 1 unknowns."""
    spec, (x, w) = SMALL.replaced(capacitors__mismatch=0.05), operands(seed)
    caps = drawn(spec, seed=3, trial=seed)
    signs = np.outer(bit_signs(8), bit_signs(8))
    fast = spec.reference_v * np.einsum("nij,ni,nj,ij->", gains(spec, caps)[output], bits(x), bits(w), signs)
    slow = output_step(spec, caps, output, x, w)
    full_scale = levels(spec).unit_v * spec.largest_sum
    assert abs(fast - slow) <= 1e-12 * full_scale
    assert abs(slow) > 1e-6 * full_scale


def test_effective_weights_are_the_networks_sums() -> None:
    spec = SMALL.replaced(capacitors__mismatch=0.05)
    caps = drawn(spec, seed=0, trial=0)
    unit = levels(spec).unit_v
    rng = np.random.default_rng(1)
    x, weights = rng.integers(-128, 128, 5), rng.integers(-128, 128, (5, 4))
    effective = effective_weights(spec, gains(spec, caps) * spec.reference_v / unit, weights).sum(axis=3)
    found = np.einsum("ni,inm->m", bits(x), effective)
    for column in range(4):  # columns 2 and 3 come back to outputs 0 and 1
        slow = output_step(spec, caps, column % 2, x, weights[:, column]) / unit
        assert abs(found[column] - slow) <= 1e-12 * spec.largest_sum


def test_without_mismatch_the_weights_are_binary_whatever_the_parasitics() -> None:
    for stray in (0.0, 0.3, 2.0):
        spec = SMALL.replaced(
            capacitors__parasitics={"cells": stray, "first_adder": stray / 2, "second_adder": stray / 3}
        )
        g = gains(spec, nominal(spec))
        np.testing.assert_allclose(g / g[0, 0, 0, 0], np.broadcast_to(2.0 ** (I8[:, None] + I8), g.shape), rtol=1e-14)


def test_attenuation_has_the_closed_form() -> None:
    """Binary adders of 8 bits: sums 255 and of squares 21845; row node, adder node and output by hand, in femtofarads."""

    def unit(cells: float, first: float, second: float) -> float:
        row = 64 * 2.0 * (1 + cells) + 128 * 1.0
        node = 255.0 * (1 + first) + 128.0 - 21845.0 / row
        out = 255.0 * (1 + second) + 20.0 - 21845.0 / node
        return 2.0 / row * 1.0 / node * 1.0 / out

    found = levels(WHOLE)
    assert found.attenuation == pytest.approx(unit(0.05, 0.1, 0.1) / unit(0, 0, 0), rel=1e-13)
    assert found.unit_v == pytest.approx(1.2 * unit(0.05, 0.1, 0.1), rel=1e-13)
    clean = WHOLE.replaced(capacitors__parasitics={"cells": 0.0, "first_adder": 0.0, "second_adder": 0.0})
    assert levels(clean).attenuation == 1.0


def test_references_that_were_laid_out_without_parasitics_read_too_little() -> None:
    spec = WHOLE.idealised().replaced(converter__bits=16)
    x, w = np.full((1, 64), 100), np.full((64, 8), 90)
    trimmed = multiply(x, w, macro=Macro(spec, seed=0, trial=0), relu=True)
    designed = multiply(x, w, macro=Macro(spec.replaced(converter__reference="designed"), seed=0, trial=0), relu=True)
    np.testing.assert_allclose(
        designed / trimmed, levels(spec).attenuation, rtol=1e-4
    )  # 16 bits: a code is 16 of 576,000


def test_thermal_noise_is_equipartition_over_the_whole_network() -> None:
    """kT C^-1 of all 73 floating nodes has kT / Y_o at the output; and 20,000 draws of charges have this variance."""
    spec = SMALL
    caps, (x, w) = nominal(spec), operands(2)
    free, matrix, _, _ = build_circuit(spec, caps, 0, x, w).matrix()
    assert len(free) == 73
    out, kt = free.index("o"), BOLTZMANN_J_PER_K * 300.0
    wanted = kt / output_capacitance(spec, caps)[0]
    assert kt * np.linalg.inv(matrix)[out, out] == pytest.approx(wanted, rel=1e-12)
    assert (levels(spec).thermal * levels(spec).unit_v) ** 2 == pytest.approx(wanted, rel=1e-12)
    draws = 20_000
    root = np.linalg.cholesky(matrix * 1e15)
    charges = root @ np.random.default_rng(0).standard_normal((len(free), draws)) * np.sqrt(kt * 1e-15)
    volts = np.linalg.solve(matrix, charges)[out]
    low, high = chi2.ppf([0.0005, 0.9995], draws) / draws  # 99.9 % confidence
    assert low < float(np.mean(volts**2)) / wanted < high


def test_mismatch_falls_with_the_square_root_of_the_capacitance() -> None:
    """Over 64 x 8 x 64 cells and 20 macros of the adders: each within the 99.9 % interval of its variance."""
    ideal = nominal(WHOLE)
    many = [drawn(WHOLE, seed=0, trial=trial) for trial in range(20)]
    for name, farads in (("cell", 2e-15), ("first", 1e-15), ("first", 64e-15), ("second", 128e-15)):
        of = getattr(ideal, name)
        here = np.isclose(of, farads, rtol=1e-9, atol=0.0)
        values = np.concatenate([(getattr(caps, name)[here] / farads - 1.0) for caps in many])
        sigma = 0.01 / np.sqrt(farads / 1e-15)
        low, high = chi2.ppf([0.0005, 0.9995], values.size) / values.size
        assert values.size >= 100
        assert low < float(np.mean(values**2)) / sigma**2 < high, name
    assert ideal.cell.size * 20 >= 10_000


def test_mismatch_of_a_product_has_the_closed_form() -> None:
    """A sum in which every cell of bits 7 and 7 of many inputs is on varies, to first order, by the cells' own spread over
    sqrt(N), since each row node divides by the sum of the same capacitors: 4,000 macros of 16 inputs, cells that
    vary alone. The derivative of g_n = c_n / (sum c + rest) f: sum over n of g varies by sigma_c sqrt(N) c rest / total^2.
    """
    spec = WHOLE.replaced(inputs=16, outputs=200, mode="bit_serial", converter__range="full_scale")
    rest = nominal(spec).load + nominal(spec).stray_row
    total = 16 * 2e-15 + rest
    wanted = 0.01 / np.sqrt(2.0) * np.sqrt(16) * 2e-15 * rest / total**2
    sums = np.concatenate(
        [gains(spec, drawn(spec, seed=1, trial=trial))[:, :, 0].sum(axis=1).reshape(-1) for trial in range(20)]
    )
    assert sums.size == 32_000
    low, high = np.sqrt(chi2.ppf([0.0005, 0.9995], sums.size - 1) / (sums.size - 1))
    # First order: the next term is sigma_c = 0.7 % smaller.
    assert low * 0.99 < float(sums.std(ddof=1)) / wanted < high * 1.01


def test_a_bit_serial_count_is_charge_conservation() -> None:
    spec = SMALL.replaced(mode="bit_serial", converter__range="full_scale", capacitors__mismatch=0.05)
    caps, (x, w) = drawn(spec, seed=0, trial=1), operands(3)
    g = gains(spec, caps)
    for i, j in ((0, 0), (3, 7), (7, 2)):
        fast = spec.reference_v * float((g[1, :, 0, j] * bits(x)[:, i] * bits(w)[:, j]).sum())
        assert count_step(spec, caps, 1, x, w, (i, j)) == pytest.approx(fast, rel=1e-12, abs=1e-15)


def test_ngspice_finds_the_same_step(tmp_path: Path) -> None:
    """A small-signal analysis has no rounding in time: 1e-8 of the step, since ngspice wants 1e15 ohm from node to ground."""
    ngspice = shutil.which("ngspice")
    if ngspice is None:
        pytest.skip("no ngspice on PATH (Debian and Ubuntu: apt-get install ngspice)")
    spec = SMALL.replaced(inputs=2, input_bits=4, weight_bits=4, capacitors__mismatch=0.05)
    caps = drawn(spec, seed=5, trial=0)
    x, w = np.array([-3, 7]), np.array([5, -8])
    circuit = build_circuit(spec, caps, 1, x, w)
    lines = ["* one output of a charge-domain macro"]
    lines += [
        f"V{node} {node} 0 DC 0 AC {circuit.after[node] - circuit.before[node]!r}"
        for node in circuit.before
        if node != "0"
    ]
    lines += [f"C{k} {a} {b} {farads!r}" for k, (a, b, farads) in enumerate(circuit.elements)]
    lines += [".options rshunt=1e15", ".ac lin 1 1e9 1e9", ".control", "set numdgt=15", "run", "print vr(o)", "quit"]
    (tmp_path / "macro.cir").write_text("\n".join([*lines, ".endc", ".end", ""]))
    said = subprocess.run(
        [ngspice, "-b", "macro.cir"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    ).stdout
    number = re.search(r"vr\(o\) = ([-+.e\d]+)", said)
    assert number, said
    assert float(number[1]) == pytest.approx(output_step(spec, caps, 1, x, w), rel=1e-8)


def test_the_same_seed_and_trial_give_the_same_macro() -> None:
    first, again, other = (drawn(SMALL, seed=4, trial=t) for t in (7, 7, 8))
    assert np.array_equal(first.cell, again.cell)
    assert not np.array_equal(first.cell, other.cell)


def test_too_small_a_capacitor_is_refused() -> None:
    spec = SMALL.replaced(capacitors__mismatch=0.2)
    with pytest.raises(SpecError, match=r"of 2 fF vary by 14.1 %; up to 10 % is modelled"):
        drawn(spec, seed=0, trial=0)
    assert mismatch_sigma(SMALL, np.array([0.0, 4e-15])).tolist() == pytest.approx([0.0, 0.005])
