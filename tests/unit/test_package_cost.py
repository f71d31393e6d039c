"""Yield and cost of packages against hand computation and limits."""

from __future__ import annotations

import math

import pytest

from crosstile.errors import SpecError
from crosstile.specs.load import library_names
from crosstile.specs.package import CostSpec, grid, load_package
from crosstile.system.package_cost import die_yield, package_cost


def test_yield_against_hand_computation_and_poisson_limit() -> None:
    spec = CostSpec(defects_per_cm2=0.3, clustering=2.0)
    assert die_yield(4e-4, spec) == pytest.approx((1 + 4 * 0.3 / 2) ** -2, rel=1e-15)
    # Without clustering the law tends to Poisson's exp(-A D).
    assert die_yield(4e-4, CostSpec(defects_per_cm2=0.3, clustering=100.0)) == pytest.approx(math.exp(-1.2), rel=0.01)
    assert die_yield(4e-4, CostSpec(defects_per_cm2=0.0)) == 1.0


def test_cost_adds_up() -> None:
    spec = CostSpec(
        defects_per_cm2=0.5, clustering=3.0, wafer_cost_per_cm2=7.0, assembly_cost_per_chip=2.0, bonding_yield=0.98
    )
    found = package_cost(4, 2e-4, spec)
    good, bonded = (1 + 2 * 0.5 / 3) ** -3, 0.98**4
    assert found.silicon == pytest.approx(4 * 2 * 7.0 / good / bonded)
    assert found.total == pytest.approx(found.silicon + 4 * 2.0 / bonded)
    assert found.package_yield == pytest.approx(bonded)


def test_small_dies_pay_where_defects_are_many_and_not_where_there_are_none() -> None:
    def ratio(defects: float) -> float:
        spec = CostSpec(defects_per_cm2=defects, assembly_cost_per_chip=2.0, bonding_yield=0.99)
        return package_cost(4, 2e-4, spec).total / package_cost(1, 8e-4, spec).total

    assert ratio(0.5) < 1.0 < ratio(0.0)


@pytest.mark.parametrize("name", library_names("packages"))
def test_packages_of_the_library_load(name: str) -> None:
    package = load_package(name)
    assert package.name == name
    assert package.link.bandwidth_bits_per_s > 1e9
    assert {"link", "cost"} <= set(package.sources)


@pytest.mark.parametrize(
    ("chips", "topology", "shape"),
    [(12, "mesh", (3, 4)), (16, "mesh", (4, 4)), (7, "mesh", (1, 7)), (12, "ring", (1, 12))],
)
def test_grids(chips: int, topology: str, shape: tuple[int, int]) -> None:
    assert grid(chips, topology) == shape  # type: ignore[arg-type]


def test_mistakes_are_told() -> None:
    with pytest.raises(SpecError, match="area of a die must be positive"):
        die_yield(0.0, CostSpec())
    with pytest.raises(SpecError, match="chips must be at least 1"):
        package_cost(0, 1e-4, CostSpec())
    with pytest.raises(SpecError, match="did you mean 'interposer-aib'"):
        load_package("interposer-aab")
