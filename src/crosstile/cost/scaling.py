"""From one technology node to another.

Energy: p_to(V) / p_from(V) with p(V) = a V^2 + b V + c at one V; area: a table; delay: the ratio of the nodes
(Stillmaker and Baas, Integration 58 (2017) 74-81, as coded by hwcomponents). Leakage power follows the ratio
of the nodes: widths shrink while the off current per width is held (assumed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from crosstile.cost.library import LIBRARY
from crosstile.errors import SpecError
from crosstile.specs.yaml import read_yaml

_NM = 1e-9


@dataclass(frozen=True)
class NodeFactors:
    """What figures at one node are multiplied by at another."""

    energy: float
    area: float
    delay: float
    leakage: float


@cache
def _polynomials() -> tuple[tuple[float, float, float, float], ...]:
    """Return (node in nm, a, b, c), nodes descending."""
    data = read_yaml(LIBRARY / "technology" / "stillmaker-baas-2017.yaml")
    return tuple(sorted(((float(n), float(a), float(b), float(c)) for n, a, b, c, _ in data["nodes"]), reverse=True))


@cache
def _tables() -> tuple[tuple[float, float, float], ...]:
    """Return (node in nm, relative energy, relative area), nodes descending."""
    data = read_yaml(LIBRARY / "technology" / "stillmaker-baas-2017.yaml")
    v = float(data["vdd_v"])
    rows = [(float(n), float(a) * v * v + float(b) * v + float(c), float(s)) for n, a, b, c, s in data["nodes"]]
    return tuple(sorted(rows, reverse=True))


def energy_polynomial(node_m: float) -> tuple[float, float, float]:
    """Return (a, b, c) of the relative energy a V^2 + b V + c at a node, interpolated linearly as energies are.

    Beyond the table: the coefficients of its end times the root of the ratio of the nodes.
    """
    node_nm, rows = node_m / _NM, _polynomials()
    first, last = rows[0], rows[-1]
    if node_nm >= first[0] or node_nm <= last[0]:
        edge = first if node_nm >= first[0] else last
        root = float((node_nm / edge[0]) ** 0.5)
        return edge[1] * root, edge[2] * root, edge[3] * root
    above, below = next((above, below) for above, below in pairwise(rows) if node_nm >= below[0])
    t = (node_nm - below[0]) / (above[0] - below[0])
    a, b, c = (low + t * (high - low) for high, low in zip(above[1:], below[1:], strict=True))
    return a, b, c


def node_range_m() -> tuple[float, float]:
    """Return the smallest and largest node of the tables in metres; beyond them figures are extrapolated."""
    rows = _tables()
    return rows[-1][0] * _NM, rows[0][0] * _NM


def _at(node_nm: float) -> tuple[float, float]:
    rows = _tables()
    first, last = rows[0], rows[-1]
    if node_nm >= first[0] or node_nm <= last[0]:
        edge = first if node_nm >= first[0] else last
        ratio = node_nm / edge[0]
        return float(edge[1] * ratio**0.5), edge[2] * ratio
    for above, below in pairwise(rows):
        if node_nm >= below[0]:
            t = (node_nm - below[0]) / (above[0] - below[0])
            return below[1] + t * (above[1] - below[1]), below[2] + t * (above[2] - below[2])
    raise AssertionError("nodes are descending")  # pragma: no cover


def node_factors(from_m: float, to_m: float) -> NodeFactors:
    """Return the factors from node ``from_m`` to ``to_m`` (metres); exactly 1 at the same node."""
    if from_m <= 0 or to_m <= 0:
        raise SpecError(f"a technology node must be positive, found {from_m!r} and {to_m!r} m.")
    if from_m == to_m:
        return NodeFactors(1.0, 1.0, 1.0, 1.0)
    energy_from, area_from = _at(from_m / _NM)
    energy_to, area_to = _at(to_m / _NM)
    ratio = to_m / from_m
    return NodeFactors(energy_to / energy_from, area_to / area_from, ratio, ratio)
