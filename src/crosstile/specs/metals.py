"""The metal of a wire, and the table of copper wires by technology node.

A wire of drawn width w and thickness t, lined on both sides and at the bottom by a barrier b that conducts nothing,
has the resistance per length

    R / L = rho / ((w - 2 b) (t - b)),    t = aspect ratio x w.

``library/technology/copper-wires.yaml`` holds w, aspect ratio, rho and b of thirteen nodes; between two nodes each is linear
in the node (assumed), outside the table a node is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field

from crosstile.errors import SpecError
from crosstile.specs.base import Length, Resistivity, Spec, validate
from crosstile.specs.cell import Sourced
from crosstile.specs.yaml import read_yaml
from crosstile.units import format_quantity

Trust = Literal["published", "derived", "assumed"]
_TRUST: tuple[Trust, ...] = ("published", "derived", "assumed")
_SAME_NODE = 1e-9  # relative: what 32 nm loses on its way through text and replaced()


def weakest(*tags: Trust) -> Trust:
    """Return the least trusted of some tags: a figure is as good as the worst that it is made of."""
    return _TRUST[max(_TRUST.index(tag) for tag in tags)]


@dataclass(frozen=True)
class Metal:
    """Section and resistivity of one wire at 300 K."""

    width_m: float
    thickness_m: float
    barrier_m: float
    resistivity_ohm_m: float
    source: str
    tag: Trust

    @property
    def conducts(self) -> bool:
        """True when the barrier leaves metal inside it."""
        return self.width_m > 2 * self.barrier_m and self.thickness_m > self.barrier_m

    @property
    def ohm_per_m(self) -> float:
        """Resistance per length at 300 K in ohm/m."""
        return self.resistivity_ohm_m / (self.width_m - 2 * self.barrier_m) / (self.thickness_m - self.barrier_m)


class MetalRow(Sourced):
    """A copper wire at one node of the table."""

    node_m: Length = Field(alias="node", gt=0)
    width_m: Length = Field(alias="width", gt=0)
    """Drawn width: copper and barrier."""
    aspect_ratio: float = Field(gt=0)
    """Drawn thickness over drawn width."""
    resistivity_ohm_m: Resistivity = Field(alias="resistivity", gt=0)
    """Of the copper alone at 300 K."""
    barrier_m: Length = Field(alias="barrier", ge=0)


class MetalTable(Spec):
    """Wires by node, with the rules that make a section of them."""

    name: str
    description: str
    rules: dict[str, str]
    nodes: tuple[MetalRow, ...] = Field(min_length=2)
    notes: str = ""


@cache
def metal_table() -> tuple[MetalRow, ...]:
    """Return the rows of the library's table, nodes descending."""
    path = Path(str(files("crosstile") / "library" / "technology" / "copper-wires.yaml"))
    table = validate(MetalTable, read_yaml(path), origin=path.name, units_required=True)
    return tuple(sorted(table.nodes, key=lambda row: -row.node_m))


def metal_at(node_m: float) -> Metal:
    """Return the copper wire of a technology node in metres.

    Raises:
        SpecError: the node lies outside the table.
    """
    rows = metal_table()
    for row in rows:
        if abs(node_m - row.node_m) <= _SAME_NODE * row.node_m:
            return _metal(_columns(row), row.source, row.tag)
    for above, below in pairwise(rows):
        if below.node_m < node_m < above.node_m:
            t = (node_m - below.node_m) / (above.node_m - below.node_m)
            columns = [low + t * (high - low) for low, high in zip(_columns(below), _columns(above), strict=True)]
            between = f"{format_quantity(above.node_m, 'm')} and {format_quantity(below.node_m, 'm')}"
            # The rule between nodes is ours, whatever the rows are.
            return _metal(columns, f"{above.source}; linear between {between}", "assumed")
    raise SpecError(
        f"no wire is known at node {format_quantity(node_m, 'm')}; the table goes from "
        f"{format_quantity(rows[-1].node_m, 'm')} to {format_quantity(rows[0].node_m, 'm')}. "
        "Give width, thickness and resistivity instead of node"
    )


def _columns(row: MetalRow) -> list[float]:
    return [row.width_m, row.aspect_ratio, row.barrier_m, row.resistivity_ohm_m]


def _metal(columns: list[float], source: str, tag: Trust) -> Metal:
    width_m, aspect_ratio, barrier_m, resistivity_ohm_m = columns
    return Metal(width_m, width_m * aspect_ratio, barrier_m, resistivity_ohm_m, source, tag)
