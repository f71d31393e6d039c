"""The capacitor network that multiplies, weights and adds, solved by elimination.

Each output has a row node b_ij for every pair of input bit i and weight bit j. The bit cells of all inputs n hang on it
with a capacitor c_nij, whose other plate steps by the reference voltage where x_ni and w_nj are both 1. Capacitors
f_ij = 2^i C_1 couple b_ij to a node a_j (the adder over the input bits), capacitors s_j = 2^j C_2 couple a_j to the output o
(the adder over the weight bits). Nodes are reset, then float; the sum of one sign bit's products steps downwards, from
a plate that was reset high, so that s_i s_j = -1 where exactly one of i and j is the sign bit of its operand:

    V_o = V_ref sum_nij s_i s_j g_nij x_ni w_nj,     g_nij = c_nij (f_ij / T_ij) (s_j / Y_j) / Y_o
    T_ij = sum_n c_nij + stray + dummy_ij + f_ij
    Y_j  = sum_i f_ij + stray + dummy_j + s_j - sum_i f_ij^2 / T_ij
    Y_o  = sum_j s_j + stray + load - sum_j s_j^2 / Y_j

The dummies bring each node's capacitance to that of the most significant bit, so that without mismatch g_nij = 2^(i+j) g_0
exactly, whatever the parasitics; these take away signal only. Y_o is what the output node sees, and the reset leaves
a noise of variance kT / Y_o on it (equipartition: the covariance of the floating nodes is kT C^-1).

A bit-serial macro has one row node a weight bit and no adders: g_nj = c_nj / (sum_n c_nj + stray + load).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.crossbar.program import generator
from crosstile.errors import SpecError
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.units import BOLTZMANN_J_PER_K

FloatArray = npt.NDArray[np.float64]
_FEMTO = 1e-15
_MOST_SPREAD = 0.1


@dataclass(frozen=True)
class Capacitors:
    """All capacitors of a macro in farads; M outputs, N inputs, I input bits, J weight bits.

    A bit-serial macro has I = 1, since its cells serve one input bit after the other, and adders of no capacitance.
    """

    cell: FloatArray
    """(M, N, I, J)."""
    first: FloatArray
    """(M, I, J): couples the row node of bits i, j to node j of the second adder."""
    first_dummy: FloatArray
    """(M, I, J): row node to ground."""
    second: FloatArray
    """(M, J): couples node j to the output."""
    second_dummy: FloatArray
    """(M, J): node j to ground."""
    stray_row: float
    stray_first: float
    stray_second: float
    """Parasitics of one row node, one node j, and the output."""
    load: float


def bit_signs(bits: int) -> FloatArray:
    """Return (bits,) signs of two's complement: the last one is negative."""
    signs = np.ones(bits)
    signs[-1] = -1.0
    return signs


def nominal(spec: ChargeDomainSpec, *, parasitics: bool = True) -> Capacitors:
    """Return the capacitors as drawn, all outputs alike; without ``parasitics``, as a design without layout has them."""
    caps, shape = spec.capacitors, (spec.outputs, spec.inputs)
    stray = caps.parasitics
    share = (stray.cells, stray.first_adder, stray.second_adder) if parasitics else (0.0, 0.0, 0.0)
    row = share[0] * spec.inputs * caps.cell_f
    if spec.mode == "bit_serial":
        none = np.zeros((spec.outputs, 1, spec.weight_bits))
        cell = np.full((*shape, 1, spec.weight_bits), caps.cell_f)
        return Capacitors(cell, none, none, none[:, 0], none[:, 0], row, 0.0, 0.0, caps.load_f)
    i, j = 2.0 ** np.arange(spec.input_bits), 2.0 ** np.arange(spec.weight_bits)
    first = np.broadcast_to((i * caps.first_adder_f)[None, :, None], (spec.outputs, i.size, j.size))
    second = np.broadcast_to(j * caps.second_adder_f, (spec.outputs, j.size))
    return Capacitors(
        cell=np.full((*shape, i.size, j.size), caps.cell_f),
        first=first.copy(),
        first_dummy=i[-1] * caps.first_adder_f - first,
        second=second.copy(),
        second_dummy=j[-1] * caps.second_adder_f - second,
        stray_row=row,
        stray_first=share[1] * float(i.sum()) * caps.first_adder_f,
        stray_second=share[2] * float(j.sum()) * caps.second_adder_f,
        load=caps.load_f,
    )


def mismatch_sigma(spec: ChargeDomainSpec, farads: FloatArray) -> FloatArray:
    """Return the relative standard deviation of capacitors: A_C / sqrt(C / 1 fF); 0 where there is none.

    Raises:
        SpecError: a capacitor varies by more than a tenth, where the law of large areas does not hold.
    """
    present = farads > 0
    sigma = np.where(present, spec.capacitors.mismatch / np.sqrt(np.where(present, farads, 1.0) / _FEMTO), 0.0)
    if sigma.max(initial=0.0) > _MOST_SPREAD:
        smallest = float(farads[present].min())
        raise SpecError(
            f"{spec.name}: capacitors.mismatch of {100 * spec.capacitors.mismatch:g} % at 1 fF makes a capacitor of "
            f"{smallest / _FEMTO:g} fF vary by {100 * float(sigma.max()):.3g} %; up to {100 * _MOST_SPREAD:g} % is modelled. "
            "Lower mismatch or enlarge the capacitors."
        )
    return sigma


def drawn(spec: ChargeDomainSpec, *, seed: int, trial: int) -> Capacitors:
    """Return the capacitors of macro number ``trial``; the same (seed, trial) gives the same macro."""
    ideal = nominal(spec)
    if spec.capacitors.mismatch == 0:
        return ideal
    rng = generator(seed, trial, "macro", "capacitors")
    parts = {
        name: farads * (1.0 + mismatch_sigma(spec, farads) * rng.standard_normal(farads.shape))
        for name in ("cell", "first", "first_dummy", "second", "second_dummy")
        for farads in (getattr(ideal, name),)
    }
    return Capacitors(
        **parts,
        stray_row=ideal.stray_row,
        stray_first=ideal.stray_first,
        stray_second=ideal.stray_second,
        load=ideal.load,
    )


def gains(spec: ChargeDomainSpec, caps: Capacitors) -> FloatArray:
    """Return g, (M, N, I, J): what a step of each bit cell's plate moves the output by, in units of that step."""
    rows = caps.cell.sum(axis=1) + caps.stray_row  # (M, I, J)
    if spec.mode == "bit_serial":
        return np.asarray(caps.cell / (rows + caps.load)[:, None])
    row_total = rows + caps.first_dummy + caps.first
    node = (caps.first - caps.first**2 / row_total).sum(axis=1) + caps.stray_first + caps.second_dummy + caps.second
    out = (caps.second - caps.second**2 / node).sum(axis=1) + caps.stray_second + caps.load
    path = caps.first / row_total * (caps.second / node / out[:, None])[:, None, :]
    return np.asarray(caps.cell * path[:, None])


def output_capacitance(spec: ChargeDomainSpec, caps: Capacitors) -> FloatArray:
    """Return the capacitance in farads that each converter's input node sees: (M,), bit-serial (M, J)."""
    rows = caps.cell.sum(axis=1) + caps.stray_row
    if spec.mode == "bit_serial":
        return np.asarray(rows[:, 0] + caps.load)
    row_total = rows + caps.first_dummy + caps.first
    node = (caps.first - caps.first**2 / row_total).sum(axis=1) + caps.stray_first + caps.second_dummy + caps.second
    return np.asarray((caps.second - caps.second**2 / node).sum(axis=1) + caps.stray_second + caps.load)


@dataclass(frozen=True)
class Levels:
    """Volts and integers: what one unit of the dot product (bit-serial: one count) is worth, and its noise."""

    unit_v: float
    """Step of the output for a sum of 1."""
    attenuation: float
    """What parasitics leave of the signal, 1 without them."""
    thermal: float
    """Standard deviation of the reset's noise in units of the sum; 0 if switched off."""
    converter: float
    """That of the converter's own noise."""


def levels(spec: ChargeDomainSpec) -> Levels:
    """Return the levels of a macro without mismatch, which references are trimmed to and noise is taken at."""
    caps = nominal(spec)
    unit = float(gains(spec, caps)[0, 0, 0, 0])
    clean = float(gains(spec, nominal(spec, parasitics=False))[0, 0, 0, 0])
    unit_v = unit * spec.reference_v
    farads = float(output_capacitance(spec, caps).flat[0])
    thermal = math.sqrt(BOLTZMANN_J_PER_K * spec.temperature_k / farads) / unit_v if spec.thermal_noise else 0.0
    return Levels(unit_v, unit / clean, thermal, spec.converter.noise_v / unit_v)


def effective_weights(
    spec: ChargeDomainSpec, relative: FloatArray, weights: npt.NDArray[np.int64], first_row: int = 0
) -> FloatArray:
    """Return (I, rows, columns, J): what input bit i of each row adds to a sum through weight bit j, signs included.

    Args:
        spec: the macro.
        relative: gains in units of that of bits 0 and 0, (M, N, I, J).
        weights: (rows, columns) two's complement integers; column m sits on output m modulo M.
        first_row: input that the first row sits on.
    """
    rows, columns = weights.shape
    bits = ((weights[:, :, None] >> np.arange(spec.weight_bits)) & 1).astype(
        np.float64
    )  # negative ints shift arithmetically
    used = relative[np.arange(columns) % spec.outputs][:, first_row : first_row + rows]  # (columns, rows, I, J)
    value: FloatArray = used.transpose(2, 1, 0, 3) * (bits * bit_signs(spec.weight_bits))
    if spec.mode == "parallel":
        value = value * bit_signs(spec.input_bits)[:, None, None, None]
    return value
