"""Yield and cost of a package.

    die yield      Y = (1 + A D / alpha)^-alpha        (negative binomial; defect density D, clustering alpha)
    package cost     = k (A c / Y + assembly) / bonding^k

Dies are tested before assembly, so that a package is lost only by bonding. The yield law is that of C. H. Stapper, IBM J. Res.
Dev. 33 (1989); round dies at the wafer's edge and the saw's street are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosstile.errors import SpecError
from crosstile.specs.package import CostSpec


@dataclass(frozen=True)
class PackageCost:
    """What one good package takes; money in the unit of the description."""

    chips: int
    die_area_m2: float
    die_yield: float
    package_yield: float
    """Share of assembled packages that are good."""
    silicon: float
    """Dies of one good package, bad dies included."""
    assembly: float

    @property
    def total(self) -> float:
        """Cost of one good package."""
        return self.silicon + self.assembly


def die_yield(area_m2: float, spec: CostSpec) -> float:
    """Return the share of good dies of ``area_m2``."""
    if not area_m2 > 0:
        raise SpecError(f"package: the area of a die must be positive, found {area_m2!r} m2.")
    return float((1.0 + area_m2 * 1e4 * spec.defects_per_cm2 / spec.clustering) ** -spec.clustering)


def package_cost(chips: int, die_area_m2: float, spec: CostSpec) -> PackageCost:
    """Return yield and cost of a package of ``chips`` equal dies."""
    if chips < 1:
        raise SpecError(f"package: chips must be at least 1, found {chips}.")
    good = die_yield(die_area_m2, spec)
    bonded = spec.bonding_yield**chips
    silicon = chips * die_area_m2 * 1e4 * spec.wafer_cost_per_cm2 / good / bonded
    assembly = chips * spec.assembly_cost_per_chip / bonded
    return PackageCost(chips, die_area_m2, good, bonded, silicon, assembly)
