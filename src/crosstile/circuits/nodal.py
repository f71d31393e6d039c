"""The oracle of crossbar wires: one array as a list of branches, solved by Kirchhoff's laws and nothing cleverer.

Unknown are the voltage u of every node and the current i of every wire segment; cells are conductances:

    sum of i out of a node + sum of g (u - u_other) over its cells = 0          every free node (Kirchhoff's current law)
    u_a - u_b - R i_ab = 0                                                      every wire segment (Ohm's law)

Written with R and not 1/R, a short segment never adds 1e2 S to the 1e-9 S of a cell, which would round the cell away. The
sparse matrix is factorised once by SuperLU; the solution is then refined: voltages and currents are carried as a pair of
doubles, residuals are taken from the two laws above, branch by branch, until they no longer fall.

Exact limits: the ends of a segment of 0 ohm are one node (a node that meets a source or a sense input takes its voltage),
one of infinite resistance is no branch, neither is a cell of 0 S. A part of the network without any path to a source or to
ground has no defined voltage in theory; here it rests at 0 V, and no current flows in it.

:func:`exact_effective_conductance` is a second oracle that shares only the list of branches: it removes the inner nodes one
after the other by the star-mesh transformation (Kron reduction), in decimals of 60 digits.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import block_array, coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from crosstile.circuits.wires import Wires
from crosstile.errors import UsageError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_DIGITS: Final = 60
_EXACT_CELLS: Final = 1024
_REFINEMENTS: Final = 40
_KCL_LIMIT: Final = 1e-12  # of the largest current; what is left after refinement lies near 1e-16
_KCL_ZERO: Final = 1e-20  # of the largest conductance times the largest voltage


@dataclass(frozen=True)
class NodeVoltages:
    """The state of one crossbar for one or more inputs."""

    word_v: Floats
    """Voltage of the node above each cell, (..., rows, columns)."""
    bit_v: Floats
    """Voltage of the node below each cell, (..., rows, columns)."""
    currents_a: Floats
    """Current that each bit line delivers into ground, (..., columns)."""


def checked_conductances(g_s: object) -> Floats:
    """Return cells' conductances as float64 (rows, columns).

    Raises:
        UsageError: not two axes, no cell, or a value that is negative, infinite or NaN.
    """
    try:
        g = np.array(g_s, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("g_s: conductances in siemens are wanted, as numbers in two axes (rows, columns).") from None
    if g.ndim != 2 or g.size == 0:
        raise UsageError(f"g_s: conductances (rows, columns) of at least one cell are wanted, found shape {g.shape}.")
    wrong = ~(np.isfinite(g) & (g >= 0))
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        raise UsageError(
            f"g_s: cell ({row}, {column}) has {g[row, column]!s} S; finite conductances of 0 S or more are wanted."
        )
    return g


def checked_voltages(v: object, rows: int) -> Floats:
    """Return input voltages as float64 (..., rows).

    Raises:
        UsageError: the last axis does not have one voltage a word line, or a value is infinite or NaN.
    """
    try:
        volts = np.array(v, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("v: voltages are wanted, as numbers with a last axis of one a word line.") from None
    if volts.ndim == 0 or volts.shape[-1] != rows:
        raise UsageError(
            f"v: shape {volts.shape}, but the array has {rows} word lines: the last axis must have {rows} voltages."
        )
    if not np.isfinite(volts).all():
        raise UsageError("v: finite voltages are wanted, found infinity or NaN.")
    return volts


@dataclass(frozen=True)
class _Network:
    """Nodes after merging, and the branches between them; each output is a ground node of its own."""

    source: Labels
    """Node of each word line's source, (rows,)."""
    ground: Labels
    """Node of each bit line's sense input, (columns,)."""
    word: Labels
    bit: Labels
    """Nodes at the cells, (rows, columns)."""
    nodes: int
    wires: list[tuple[int, int, float, float]]
    """(node, node, ohms of the segment, ohms in series with it); the sum lies above 0 and below infinity."""
    cells: list[tuple[int, int, float]]
    """(node, node, siemens above 0)."""
    free: Labels
    """Nodes with unknown voltage and a path to a source or to ground."""


def _segments(
    source: Labels, ground: Labels, word: Labels, bit: Labels, wires: Wires
) -> Iterator[tuple[int, int, float, float]]:
    """Yield every wire segment as (node, node, ohms of the segment, ohms in series), whatever its resistance."""
    rows, columns = word.shape
    segment, driver, sense = wires.word_line_ohm, wires.driver_ohm, wires.sense_ohm
    for i in range(rows):
        yield int(source[i]), int(word[i, 0]), segment, driver
        for j in range(columns - 1):
            yield int(word[i, j]), int(word[i, j + 1]), segment, 0.0
        if wires.topology == "driven_both_sides":
            yield int(source[i]), int(word[i, -1]), segment, driver
    segment = wires.bit_line_ohm
    for j in range(columns):
        if wires.topology in ("same_side", "sensed_both_sides"):
            yield int(bit[0, j]), int(ground[j]), segment, sense
        for i in range(rows - 1):
            yield int(bit[i, j]), int(bit[i + 1, j]), segment, 0.0
        if wires.topology != "same_side":
            yield int(bit[-1, j]), int(ground[j]), segment, sense


def _parts(count: int, ends: list[tuple[int, int]]) -> Labels:
    """Return for each node the number of the connected part it belongs to."""
    a, b = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(a.size), (a, b)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _network(g: Floats, wires: Wires) -> _Network:
    rows, columns = g.shape
    source = np.arange(rows)
    ground = rows + np.arange(columns)
    word = rows + columns + np.arange(rows * columns).reshape(rows, columns)
    bit = word + rows * columns
    count = rows + columns + 2 * rows * columns
    segments = list(_segments(source, ground, word, bit, wires))
    merged = _parts(count, [(a, b) for a, b, segment, series in segments if segment + series == 0.0])
    nodes = int(merged.max()) + 1
    kept = [(int(merged[a]), int(merged[b]), r, s) for a, b, r, s in segments if 0.0 < r + s < np.inf]
    cells = [(int(merged[word[k]]), int(merged[bit[k]]), float(g[k])) for k in np.ndindex(g.shape) if g[k] > 0]
    parts = _parts(nodes, [(a, b) for a, b, *_ in kept] + [(a, b) for a, b, _ in cells])
    terminals = merged[np.concatenate([source, ground])]
    free = np.flatnonzero(np.isin(parts, parts[terminals]) & ~np.isin(np.arange(nodes), terminals))
    return _Network(merged[source], merged[ground], merged[word], merged[bit], nodes, kept, cells, free)


def solve_nodal(g_s: Floats, v: Floats, wires: Wires) -> NodeVoltages:
    """Solve one crossbar by nodal analysis.

    Args:
        g_s: conductance of each cell in siemens, (rows, columns).
        v: voltage of each word line's source in volts, (..., rows).
        wires: resistances and topology.

    Raises:
        UsageError: a shape or value is not allowed, or the resistances and conductances lie so far apart that Kirchhoff's
            current law cannot be met to 1e-12 of the largest current in double precision.
    """
    g = checked_conductances(g_s)
    volts = checked_voltages(v, g.shape[0])
    net = _network(g, wires)
    inputs = volts.reshape(-1, g.shape[0]).T
    fixed = np.zeros((net.nodes, inputs.shape[1]))
    fixed[net.source] = inputs
    voltages, inflow = _solve(net, fixed)
    shape = volts.shape[:-1]

    def batch_first(values: Floats, *axes: int) -> Floats:
        return np.ascontiguousarray(np.moveaxis(values, -1, 0)).reshape(*shape, *axes)

    return NodeVoltages(
        word_v=batch_first(voltages[net.word], *g.shape),
        bit_v=batch_first(voltages[net.bit], *g.shape),
        currents_a=batch_first(inflow[net.ground], g.shape[1]),
    )


def nodal_effective_conductance(g_s: Floats, wires: Wires) -> Floats:
    """Return G_eff (rows, columns) in siemens, by inputs of 1 V on one word line at a time: currents are V @ G_eff."""
    g = checked_conductances(g_s)
    return solve_nodal(g, np.eye(g.shape[0]), wires).currents_a


def _solve(net: _Network, fixed: Floats) -> tuple[Floats, Floats]:
    """Return the voltage of each node and the current into it from its branches, (nodes, inputs).

    ``fixed`` holds the voltages of the sources; it is 0 elsewhere.
    """
    wire_a, wire_b = (np.array([w[k] for w in net.wires], dtype=np.int64) for k in (0, 1))
    ohm = np.array([segment + series for *_, segment, series in net.wires], dtype=np.float64)[:, None]
    cell_a, cell_b = (np.array([c[k] for c in net.cells], dtype=np.int64) for k in (0, 1))
    siemens = np.array([c[2] for c in net.cells], dtype=np.float64)[:, None]
    from_wires = _incidence(wire_a, wire_b, net.nodes)
    from_cells = _incidence(cell_a, cell_b, net.nodes)

    free = net.free
    laplacian = from_cells @ diags_array(siemens[:, 0]) @ from_cells.T
    system = block_array(
        [[laplacian[free][:, free], from_wires[free]], [from_wires[free].T, -diags_array(ohm[:, 0])]], format="csc"
    )
    factors = None
    if system.shape[0]:
        try:
            factors = splu(system)
        except RuntimeError:
            raise _too_far_apart() from None

    # Each unknown is the sum of two doubles: u + u_low, i + i_low.
    u, u_low = fixed.copy(), np.zeros_like(fixed)
    i, i_low = np.zeros((ohm.size, fixed.shape[1])), np.zeros((ohm.size, fixed.shape[1]))
    scale = _largest(siemens) * _largest(fixed)
    kcl_before = ohm_before = np.inf
    for _ in range(_REFINEMENTS):
        in_cells = siemens * ((u[cell_a] - u[cell_b]) + (u_low[cell_a] - u_low[cell_b]))
        inflow = -(from_wires @ i + from_cells @ in_cells + from_wires @ i_low)
        lacking = -(((u[wire_a] - u[wire_b]) - ohm * i) + ((u_low[wire_a] - u_low[wire_b]) - ohm * i_low))
        kcl_left, ohm_left = _largest(inflow[free]), _largest(lacking)
        if factors is None or not (kcl_left < kcl_before / 2 or ohm_left < ohm_before / 2):
            break
        kcl_before, ohm_before = kcl_left, ohm_left
        step = factors.solve(np.concatenate([inflow[free], lacking]))
        u[free], u_low[free] = _add(u[free], u_low[free], step[: free.size])
        i, i_low = _add(i, i_low, step[free.size :])
    # Where all sources that a part of the network sees are equal, its currents are 0 but for rounding: hence the scale.
    if not kcl_left <= max(_KCL_LIMIT * max(_largest(i), _largest(in_cells)), _KCL_ZERO * scale):
        raise _too_far_apart()
    return u + u_low, inflow + 0.0  # no -0.0


def _incidence(a: Labels, b: Labels, nodes: int) -> csr_array:
    """Return the (nodes, branches) matrix with 1 at the first and -1 at the second node of each branch."""
    branch = np.arange(a.size)
    signs = np.concatenate([np.ones(a.size), -np.ones(b.size)])
    return coo_array((signs, (np.concatenate([a, b]), np.tile(branch, 2))), shape=(nodes, a.size)).tocsr()


def _add(high: Floats, low: Floats, step: Floats) -> tuple[Floats, Floats]:
    """Add to a pair of doubles; the error of the sum of the large parts is exact (Knuth's two-sum)."""
    total = high + step
    shadow = total - high
    error = (high - (total - shadow)) + (step - shadow)
    return total, low + error


def _largest(values: Floats) -> float:
    return float(np.abs(values).max(initial=0.0))


def _too_far_apart() -> UsageError:
    return UsageError(
        "the resistances of the wires and the conductances of the cells lie too far apart for double precision: Kirchhoff's "
        "current law cannot be met; give a nearly perfect wire 0 ohm, a nearly broken one infinity, a nearly open cell 0 S."
    )


def exact_effective_conductance(g_s: Floats, wires: Wires) -> Floats:
    """Return G_eff (rows, columns) in siemens, each entry correct to the last bit or its neighbour.

    Removing a node k joins its neighbours a and b by g_ka g_kb / sum(g_k). Conductances are only added, multiplied and
    divided, all of them positive: nothing cancels, so with 60 digits each entry has a relative error below 1e-50. What is
    left between source i and output j is G_eff[i, j].

    Raises:
        UsageError: a value is not allowed, or there are more than 1024 cells (plain Python, minutes beyond).
    """
    g = checked_conductances(g_s)
    if g.size > _EXACT_CELLS:
        raise UsageError(
            f"g_s: {g.shape[0]} x {g.shape[1]} cells; exact decimals are for {_EXACT_CELLS} at most, take solve_nodal."
        )
    net = _network(g, wires)
    joined: list[dict[int, decimal.Decimal]] = [{} for _ in range(net.nodes)]

    def join(a: int, b: int, siemens: decimal.Decimal) -> None:
        if a != b:
            joined[a][b] = joined[b][a] = joined[a].get(b, decimal.Decimal(0)) + siemens

    with decimal.localcontext(decimal.Context(prec=_DIGITS, Emin=-999_999, Emax=999_999)):
        for a, b, segment, series in net.wires:
            join(a, b, 1 / (decimal.Decimal(segment) + decimal.Decimal(series)))
        for a, b, siemens in net.cells:
            join(a, b, decimal.Decimal(siemens))
        left = set(net.free.tolist())
        while left:
            node = min(left, key=lambda k: len(joined[k]))
            left.remove(node)
            neighbours = list(joined[node].items())
            total = sum((siemens for _, siemens in neighbours), decimal.Decimal(0))
            for a, _ in neighbours:
                del joined[a][node]
            for position, (a, to_a) in enumerate(neighbours):
                for b, to_b in neighbours[:position]:
                    join(a, b, to_a * to_b / total)
    return np.array(
        [[float(joined[source].get(ground, 0)) for ground in net.ground.tolist()] for source in net.source.tolist()]
    )
