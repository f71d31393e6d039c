"""Noise of cells seen through the wires: exact to first order, by adjoint sensitivities.

A small change of cell (k, l) moves the current of column j by

    dI_j / dg_kl = dv_kl a_j,kl,

dv_kl being the voltage across the cell and a_j,kl the voltage across it when column j's ground is raised to 1 V and
every source held at 0 V (Tellegen's theorem; S. W. Director and R. A. Rohrer, IEEE Trans. Circuit Theory 16, 318 (1969),
10.1109/TCT.1969.1082967). Independent changes of variance s2_kl therefore give

    Var I_j = sum_kl s2_kl dv_kl^2 a_j,kl^2.

Without wires dv_kl = V_k and a_j,kl = -1 for l = j, else 0: the usual sum of s2 V^2 down the column.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.circuits.factor import Factor
from crosstile.circuits.kirchhoff import check_conductance, check_inputs
from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError
from crosstile.parallel import for_each

FloatArray = npt.NDArray[np.float64]
_CHUNK_VALUES = 2**22


def _cell_voltages(factor: Factor, sources: FloatArray, grounds: FloatArray) -> FloatArray:
    """Return (arrays, rows, columns, K) volts across the cells."""
    word_v, bit_v, _ = factor.voltages(sources, grounds)
    word_v -= bit_v
    return word_v


def _adjoint_squared(factor: Factor) -> FloatArray:
    """Return (arrays, rows, columns, outputs) a_j,kl^2."""
    arrays, rows, columns = factor.arrays, factor.order.rows, factor.order.columns
    unit = np.broadcast_to(np.eye(columns), (arrays, columns, columns))
    a = _cell_voltages(factor, np.zeros((arrays, rows, columns)), np.ascontiguousarray(unit))
    return np.square(a, out=a)


def _check_variance(variance_s2: Tensor, g_s: Tensor) -> Tensor:
    if not isinstance(variance_s2, Tensor) or variance_s2.shape != g_s.shape:
        found = tuple(variance_s2.shape) if isinstance(variance_s2, Tensor) else type(variance_s2).__name__
        raise UsageError(f"variance_s2: one variance a cell {tuple(g_s.shape)} is wanted, found {found}.")
    if not bool((torch.isfinite(variance_s2) & (variance_s2 >= 0)).all()):
        raise UsageError("variance_s2: variances are finite and at least 0 S^2; some are not.")
    return variance_s2.to(torch.float64)


def current_variance(g_s: Tensor, v: Tensor, variance_s2: Tensor, wires: Wires) -> Tensor:
    """Return the variance of column currents when each cell varies on its own.

    Args:
        g_s: (..., rows, columns) mean conductances, siemens. v: (..., K, rows) volts. variance_s2: (..., rows, columns)
        variances of the cells in S^2, such as those of read noise. wires: resistances and topology.

    Returns:
        (..., K, columns) variances in A^2, exact to first order in the variances.

    Raises:
        UsageError: shapes that do not fit, or values that are not possible.
    """
    cells, inputs, spread = check_conductance(g_s), check_inputs(v, g_s), _check_variance(variance_s2, g_s)
    rows, columns = cells.shape[-2:]
    if wires.ideal:
        return inputs.square() @ spread
    if wires.topology == "same_side":
        cells, inputs, spread = cells.flip(-2), inputs.flip(-1), spread.flip(-2)
    flat, drive = _numpy(cells, 2), _numpy(inputs, 2).swapaxes(1, 2)
    weight = _numpy(spread, 2).reshape(len(flat), -1)
    parts = []
    step = max(1, _CHUNK_VALUES // (rows * columns * max(columns, drive.shape[2])))
    for start in range(0, len(flat), step):
        factor = Factor.of(flat[start : start + step], wires, keep=True)
        sources = np.ascontiguousarray(drive[start : start + step])
        across = _cell_voltages(factor, sources, np.zeros((factor.arrays, columns, sources.shape[2])))
        across = np.square(across).reshape(factor.arrays, rows * columns, -1) * weight[start : start + step, :, None]
        parts.append(across.swapaxes(1, 2) @ _adjoint_squared(factor).reshape(factor.arrays, rows * columns, columns))
    joined = torch.from_numpy(np.concatenate(parts))
    return joined.reshape(*g_s.shape[:-2], -1, columns).to(g_s.device)


def row_variance(g_s: FloatArray, variance_s2: FloatArray, wires: Wires, activity: float) -> FloatArray:
    """Return (arrays, rows, columns) S such that Var I_j is about sum_i V_i^2 S_ij for inputs of one polarity.

    The voltage across a cell depends on all inputs; here it is taken in proportion to its own row's, with what the
    others take away on average: dv_kl = V_k (own_kl + activity (all_kl - own_kl)), where own is the voltage for 1 V on row
    k alone and all for 1 V on every row.

    Args:
        g_s, variance_s2: (arrays, rows, columns) siemens and S^2. activity: mean input over the driven one, 0 to 1.
    """
    if wires.topology == "same_side":  # the standard network upside down
        upright = dataclasses.replace(wires, topology="standard")
        return row_variance(g_s[:, ::-1].copy(), variance_s2[:, ::-1].copy(), upright, activity)[:, ::-1].copy()
    rows, columns = g_s.shape[1:]

    def solve(part: slice) -> FloatArray:
        factor = Factor.of(g_s[part], wires, keep=True)
        unit = np.ascontiguousarray(np.broadcast_to(np.eye(rows), (factor.arrays, rows, rows)))
        across = _cell_voltages(factor, unit, np.zeros((factor.arrays, columns, rows)))
        own = np.einsum("arcr->arc", across)
        typical = own + activity * (across.sum(axis=3) - own)
        return np.asarray(np.einsum("arc,arcj->arj", variance_s2[part] * np.square(typical), _adjoint_squared(factor)))

    step = max(1, _CHUNK_VALUES // (rows * columns * max(rows, columns)))
    return np.concatenate(for_each([slice(n, n + step) for n in range(0, len(g_s), step)], solve))


def _numpy(values: Tensor, trailing: int) -> FloatArray:
    flat = values.reshape(-1, *values.shape[values.dim() - trailing :])
    return flat.detach().cpu().contiguous().numpy()
