"""What the supply voltage does to energy, delay and leakage of CMOS.

Energy: p(V) with p(V) = a V^2 + b V + c of the node (Stillmaker and Baas, Integration 58 (2017) 74-81); delay:
V / (V - Vth)^alpha, the alpha-power law of Sakurai and Newton (IEEE J. Solid-State Circuits 25 (1990) 584-594);
leakage power: V 10^(dibl (V - V0) / swing). Nominal supplies, thresholds and constants are in
``library/technology/supply-voltage.yaml``.

Without ``hardware.vdd`` figures go from node to node at one and the same supply (:mod:`crosstile.cost.scaling`), as
they are read. With it they go from the supply that they were read at to that of the chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from crosstile.cost.library import LIBRARY
from crosstile.cost.scaling import energy_polynomial
from crosstile.errors import SpecError
from crosstile.specs.yaml import read_yaml


@dataclass(frozen=True)
class SupplyFactors:
    """What figures at one node and supply are multiplied by at another."""

    energy: float
    delay: float
    leakage: float


@dataclass(frozen=True)
class _Table:
    rows: tuple[tuple[float, float, float], ...]
    """(node in nm, nominal supply, threshold), nodes descending."""
    alpha: float
    dibl: float
    swing_v: float
    lowest_v: float
    highest_over_nominal: float


@cache
def _table() -> _Table:
    data = read_yaml(LIBRARY / "technology" / "supply-voltage.yaml")
    rows = tuple(sorted(((float(n), float(v), float(t)) for n, v, t in data["nodes"]), reverse=True))
    return _Table(
        rows, float(data["alpha"]), float(data["dibl_v_per_v"]), float(data["swing_v"]),
        float(data["lowest_supply_v"]), float(data["highest_over_nominal"]),
    )  # fmt: skip


def _at(node_m: float) -> tuple[float, float]:
    """Return (nominal supply, threshold) at a node; beyond the table those of its ends."""
    node_nm, rows = node_m * 1e9, _table().rows
    for above, below in pairwise(rows):
        if below[0] <= node_nm <= above[0]:
            t = (node_nm - below[0]) / (above[0] - below[0])
            return below[1] + t * (above[1] - below[1]), below[2] + t * (above[2] - below[2])
    edge = rows[0] if node_nm > rows[0][0] else rows[-1]
    return edge[1], edge[2]


def nominal_supply_v(node_m: float) -> float:
    """Return the nominal supply of a node in volts."""
    return _at(node_m)[0]


def supply_range_v(node_m: float) -> tuple[float, float]:
    """Return the lowest and the highest supply that the laws are used for at a node, in volts.

    The lowest is where the energy polynomial has its minimum, if that is above the table's floor: below it the
    polynomial rises again, which no circuit does.
    """
    a, b, _ = energy_polynomial(node_m)
    table = _table()
    return max(table.lowest_v, -b / (2.0 * a)), table.highest_over_nominal * nominal_supply_v(node_m)


def check_supply(node_m: float, supply_v: float) -> None:
    """Raise :class:`SpecError` for a supply at which the laws do not hold."""
    low, high = supply_range_v(node_m)
    if not low * (1 - 1e-9) <= supply_v <= high * (1 + 1e-9):
        raise SpecError(
            f"a supply of {supply_v:.4g} V at {node_m * 1e9:.4g} nm: the scaling laws hold from {low:.3g} to {high:.3g} V there; "
            "choose one between, or leave hardware.vdd out."
        )


def relative_delay(node_m: float, supply_v: float) -> float:
    """Return the delay of a gate at ``supply_v`` over that at the node's nominal supply."""
    nominal_v, threshold_v = _at(node_m)
    alpha = _table().alpha
    return float((supply_v / nominal_v) * ((nominal_v - threshold_v) / (supply_v - threshold_v)) ** alpha)


def relative_leakage(node_m: float, supply_v: float) -> float:
    """Return the leakage power at ``supply_v`` over that at the node's nominal supply."""
    nominal_v, table = nominal_supply_v(node_m), _table()
    return float((supply_v / nominal_v) * 10.0 ** (table.dibl * (supply_v - nominal_v) / table.swing_v))


def supply_factors(from_m: float, from_v: float, to_m: float, to_v: float) -> SupplyFactors:
    """Return the factors from node and supply to node and supply; exactly 1 where both are the same.

    ``delay`` and ``leakage`` are for the supplies alone, to be multiplied by those of the nodes; ``energy`` is for
    both together.
    """
    if (from_m, from_v) == (to_m, to_v):
        return SupplyFactors(1.0, 1.0, 1.0)
    check_supply(to_m, to_v)

    def energy(node_m: float, v: float) -> float:
        a, b, c = energy_polynomial(node_m)
        return a * v * v + b * v + c

    return SupplyFactors(
        energy(to_m, to_v) / energy(from_m, from_v),
        relative_delay(to_m, to_v) / relative_delay(from_m, from_v),
        relative_leakage(to_m, to_v) / relative_leakage(from_m, from_v),
    )
