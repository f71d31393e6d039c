"""A package: several chips of one kind, the links between them, and what a good package costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from crosstile.errors import SpecError
from crosstile.specs.base import DataRate, Energy, Ratio, Spec, Time, validate
from crosstile.specs.cell import Sourced
from crosstile.specs.load import find_entry
from crosstile.specs.yaml import read_yaml

Topology = Literal["all_to_all", "chain", "ring", "mesh"]
_ALIASED = ConfigDict(populate_by_name=True, validate_default=False)


class LinkSpec(Spec):
    """One link between neighbouring chips; it works in both directions at once."""

    bandwidth_bits_per_s: DataRate = Field(alias="bandwidth", gt=0, le=1e18)
    """Bits per second in each direction."""
    energy_per_bit_j: Energy = Field(alias="energy_per_bit", ge=0, le=1e-6)
    """Energy of one bit over one link."""
    hop_latency_s: Time = Field(alias="hop_latency", ge=0, le=1.0)
    """From the first bit sent to the first received, over one link."""
    topology: Topology = "mesh"
    """Which chips are neighbours. A mesh is as square as the number of chips allows, routed first along its rows."""

    model_config = Spec.model_config | _ALIASED


class CostSpec(Spec):
    """Silicon and assembly. Money is in the user's unit; ratios between designs are what it is for."""

    defects_per_cm2: float = Field(default=0.1, ge=0, le=100)
    """Density of killing defects."""
    clustering: float = Field(default=3.0, gt=0, le=100)
    """alpha of the negative binomial yield (1 + A D / alpha)^-alpha."""
    wafer_cost_per_cm2: float = Field(default=10.0, ge=0)
    assembly_cost_per_chip: float = Field(default=2.0, ge=0)
    """Test, substrate and bonding of one chip."""
    bonding_yield: Ratio = Field(default=0.99, gt=0, le=1)
    """Share of chips that survive their assembly; a package with one lost chip is lost."""

    model_config = Spec.model_config | _ALIASED


class PackageSpec(Spec):
    """Chips of one kind on one package."""

    name: str = Field(min_length=1, max_length=80)
    description: str = ""
    references: tuple[str, ...] = ()
    chips: int = Field(default=4, ge=1, le=65536)
    tiles_per_chip: int | None = Field(default=None, ge=1, le=10**7)
    """Tiles of one chip; ``null`` takes ``hardware.tiles`` of the chip."""
    link: LinkSpec
    cost: CostSpec = CostSpec()
    sources: dict[str, Sourced]
    """Origin and tag of the figures, by field name; ``link`` and ``cost`` must be there."""
    notes: str = ""

    model_config = Spec.model_config | _ALIASED

    def model_post_init(self, context: Any, /) -> None:
        """Check that figures have a source."""
        missing = [name for name in ("link", "cost") if name not in self.sources]
        if missing:
            raise ValueError(f"sources.{missing[0]} is missing; say where the figures of {missing[0]} come from")


def load_package(name: str | Path) -> PackageSpec:
    """Load a package from the library (``"board-hypertransport"``) or a YAML file.

    Raises:
        SpecError: naming the field, what was found, and what is allowed.
    """
    path = find_entry(name, "packages")
    return validate(PackageSpec, read_yaml(path), origin=str(name), units_required=True)


def grid(chips: int, topology: Topology) -> tuple[int, int]:
    """Return (rows, columns) of the grid that ``chips`` chips stand on; a mesh is as square as it can be."""
    if chips < 1:
        raise SpecError(f"package: chips must be at least 1, found {chips}.")
    if topology != "mesh":
        return 1, chips
    rows = next(r for r in range(int(chips**0.5), 0, -1) if chips % r == 0)
    return rows, chips // rows
