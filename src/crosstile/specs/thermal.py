"""How a die sheds its heat: silicon, what bonds it to a spreader, the spreader, and what lies between that and the air."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from crosstile.specs.base import Energy, Length, Spec, Temperature, validate
from crosstile.specs.cell import Sourced
from crosstile.specs.yaml import read_yaml
from crosstile.units import ELEMENTARY_CHARGE_C


class ThermalSpec(Spec):
    """A die in its package. Fields whose name ends in a compound unit are plain SI numbers, the others carry their unit."""

    ambient_k: Temperature = Field(default=300.0, alias="ambient", ge=200, le=550)
    silicon_thickness_m: Length = Field(default=300e-6, alias="silicon_thickness", gt=0, le=0.01)
    silicon_conductivity_w_per_mk: float = Field(default=110.0, gt=0, le=1e6)
    silicon_heat_capacity_j_per_m3k: float = Field(default=1.63e6, gt=0, le=1e8)
    interface_resistance_m2k_per_w: float = Field(default=1.25e-5, ge=0, le=1.0)
    """Between die and spreader, of one square metre: divide by the area for kelvin per watt."""
    spreader_thickness_m: Length = Field(default=1e-3, alias="spreader_thickness", ge=0, le=0.1)
    """0: no spreader; the interface then leads to the sink."""
    spreader_conductivity_w_per_mk: float = Field(default=400.0, gt=0, le=1e6)
    spreader_heat_capacity_j_per_m3k: float = Field(default=3.45e6, gt=0, le=1e8)
    spreader_rim_m: Length = Field(default=2e-3, alias="spreader_rim", ge=0, le=0.1)
    """How far it reaches beyond the die on each side; rounded to whole cells of the grid."""
    sink_resistance_k_per_w: float = Field(default=20.0, ge=0, le=1e5)
    """From the whole spreader (or die) to the air, spread evenly over its area."""
    leakage_energy_j: Energy = Field(default=0.3 * ELEMENTARY_CHARGE_C, alias="leakage_energy", ge=0, le=2e-19)
    """E of leakage(T) = leakage(T0) (T / T0)^2 exp(-(E / k) (1 / T - 1 / T0))."""
    leakage_reference_k: Temperature = Field(default=300.0, alias="leakage_reference", ge=200, le=600)
    """T0: temperature at which the components' leakage holds."""
    cells_per_tile: int = Field(default=4, ge=1, le=64)
    """Cells of the thermal grid along each side of a tile."""
    columns: int | None = Field(default=None, ge=1, le=10_000)
    """Tiles side by side; default: as near to a square as can be."""
    tolerance_k: Temperature = Field(default=0.01, alias="tolerance", gt=0, le=1)
    """Leakage and temperature follow each other until no cell is farther than this from where they settle."""

    model_config = Spec.model_config | {"populate_by_name": True}


SOURCES: Final = {
    "silicon_conductivity_w_per_mk": Sourced(
        source="lower end of the range 110 to 142.8 W/(m K) that HISIM's thermal grid uses for silicon, read in its code",
        tag="derived",
    ),
    "silicon_thickness_m": Sourced(source="a thinned die; 300 um chosen by us", tag="assumed"),
    "silicon_heat_capacity_j_per_m3k": Sourced(source="700 J/(kg K) x 2330 kg/m3, handbook values", tag="assumed"),
    "interface_resistance_m2k_per_w": Sourced(
        source="50 um at 4 W/(m K), chosen by us; 4 W/(m K) stands among HISIM's materials", tag="assumed"
    ),
    "spreader_thickness_m": Sourced(source="a copper lid; 1 mm chosen by us", tag="assumed"),
    "spreader_conductivity_w_per_mk": Sourced(source="copper, handbook value", tag="assumed"),
    "spreader_heat_capacity_j_per_m3k": Sourced(source="385 J/(kg K) x 8960 kg/m3, copper, handbook values", tag="assumed"),
    "spreader_rim_m": Sourced(source="chosen by us", tag="assumed"),
    "sink_resistance_k_per_w": Sourced(source="a small package on a board without a heat sink, chosen by us", tag="assumed"),
    "leakage_energy_j": Sourced(
        source="subthreshold current grows as T^2 exp(-E/kT); 0.3 eV (twofold in 18 K near 330 K) chosen by us", tag="assumed"
    ),
    "leakage_reference_k": Sourced(source="component libraries state no temperature; 300 K chosen by us", tag="assumed"),
}  # fmt: skip
"""Where the default figures come from."""


def load_thermal(path: Path) -> ThermalSpec:
    """Read a package from a YAML file; fields that it leaves out keep their defaults.

    Raises:
        SpecError: naming the field, what was found, and what is allowed.
    """
    return validate(ThermalSpec, read_yaml(path), origin=str(path), units_required=True)
