"""The hardware around the arrays: hierarchy, technology node and the components that cost energy, time, area.

A chip is arrays in macros in tiles. Each entry of ``components`` says which library component fills a role
and how many there are per array, macro, tile or chip; the cost estimate charges the work of that role to it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import ConfigDict, Field, field_validator, model_validator

from crosstile.errors import SpecError
from crosstile.specs.base import (
    Area,
    Bits,
    Capacitance,
    Energy,
    Frequency,
    Length,
    Power,
    Spec,
    Time,
    Voltage,
    near_match,
)

Unit = Literal["array", "macro", "tile", "chip"]
Role = Literal[
    "cell_array", "dac", "mux", "amplifier", "sample_hold", "adc", "adder_tree", "shift_add", "adder",
    "input_register", "output_register", "buffer", "bus", "network", "activation", "pooling", "chip_io", "static",
]  # fmt: skip


# Defaults are SI numbers of ours: not to be held to "numbers carry a unit" when a file leaves them out.
_BY_NAME = ConfigDict(populate_by_name=True, validate_default=False)


class RoleDefault(NamedTuple):
    """Where a role sits unless an entry says otherwise, and what it is for."""

    per: Unit
    meaning: str


ROLES: dict[str, RoleDefault] = {
    "cell_array": RoleDefault("array", "the cells; one per array"),
    "dac": RoleDefault("array", "word-line drivers; one per row"),
    "mux": RoleDefault(
        "array", "leads columns in turn to a shared converter; one switch per column, set for each conversion"
    ),
    "amplifier": RoleDefault("array", "between column and converter; one per converter, used for each conversion"),
    "sample_hold": RoleDefault("array", "one per column; the next read starts while the last is converted"),
    "adc": RoleDefault("array", "converters; adcs_per_array or columns_per_adc sets the number"),
    "adder_tree": RoleDefault(
        "array", "digital arrays: sums the products of a column of weights in each read; one per output"
    ),
    "shift_add": RoleDefault("array", "joins digits and bit planes; one operation per conversion"),
    "adder": RoleDefault("macro", "joins row blocks"),
    "input_register": RoleDefault("macro", "written from the buffer, read at each word-line activation"),
    "output_register": RoleDefault("macro", "collects layer outputs: one write and one read each"),
    "buffer": RoleDefault("tile", "activations of the layers on a tile"),
    "bus": RoleDefault("tile", "buffer to macros and back"),
    "network": RoleDefault("tile", "outputs to the next layer's tile"),
    "activation": RoleDefault("tile", "one operation per layer output"),
    "pooling": RoleDefault("tile", "area and leakage only: pooling work is not counted yet"),
    "chip_io": RoleDefault("chip", "network inputs onto the chip, results off it"),
    "static": RoleDefault("chip", "area and leakage only"),
}
"""All roles; an entry with any other key must say its role."""


class ComponentUse(Spec):
    """One line of the hardware: which component, in which role, how many, and where."""

    component: str = Field(min_length=1, max_length=4096)
    """Name in the component library, or a YAML file beside the chip's."""
    role: Role | None = None
    """Needed only when the entry's key is not itself a role; ``static`` takes area and leakage, no work."""
    count: float | None = Field(default=None, gt=0, le=1e6)
    """Instances per unit; below 1 means shared by several units. Default: 1, or as the role implies."""
    per: Unit | None = None
    """The unit that ``count`` refers to; default: as the role implies."""
    width_bits: int | None = Field(default=None, alias="width", ge=1, le=65536)
    """Operand width of an adder or shift-adder; default: the width that loses nothing."""
    length_m: Length | None = Field(default=None, alias="length", gt=0, le=1.0)
    """Length of the wires of a link; default: that of the library figure."""
    capacitance_f: Capacitance | None = Field(default=None, alias="capacitance", gt=0, le=1e-9)
    """Of the node that one cell adds: a compute capacitor, or the load on a word line; default: that of the library formula."""
    capacity_bits: Bits | None = Field(default=None, alias="capacity", gt=0, le=1e15)
    """Size of a memory or register; default: the size of the library figure."""
    rate_hz: Frequency | None = Field(default=None, alias="rate", ge=1, le=1e12)
    """Operations per second of one instance; default: the library figure."""
    energy_j: Energy | None = Field(default=None, alias="energy", ge=0, le=1.0)
    """Replaces the energy of every action, at this chip's node and widths; needs ``source``."""
    area_m2: Area | None = Field(default=None, alias="area", ge=0, le=1.0)
    """Replaces the area of one instance; needs ``source``."""
    leakage_w: Power | None = Field(default=None, alias="leakage", ge=0, le=1e6)
    """Replaces the leakage of one instance; needs ``source``."""
    source: str | None = Field(default=None, min_length=3)
    """Where the replacing figures come from."""

    model_config = Spec.model_config | _BY_NAME

    @model_validator(mode="after")
    def _replacements_have_a_source(self) -> ComponentUse:
        if self.replaces and self.source is None:
            raise ValueError(f"{', '.join(self.replaces)} replaces a library figure; add source: where it comes from")
        return self

    @field_validator("count")
    @classmethod
    def _count_is_not_vanishing(cls, value: float | None) -> float | None:
        if value is not None and value < 1e-6:  # times and energies are divided by it
            raise ValueError(f"count is {value:.3g}; one instance for a million units is the least")
        return value

    @property
    def replaces(self) -> tuple[str, ...]:
        """Names of the library figures that this entry replaces."""
        given = {"energy": self.energy_j, "area": self.area_m2, "leakage": self.leakage_w}
        return tuple(name for name, value in given.items() if value is not None)


def _generic_components() -> dict[str, ComponentUse]:
    return {
        "cell_array": ComponentUse(component="cell-array"),
        "dac": ComponentUse(component="dac-isaac-1b"),
        "sample_hold": ComponentUse(component="sample-hold-isaac"),
        "adc": ComponentUse(component="adc-isaac-sar-8b"),
        "shift_add": ComponentUse(component="shift-add-isaac"),
        "adder": ComponentUse(component="adder-aladdin", count=8),
        "input_register": ComponentUse(component="sram-puma-4kb", capacity=2048 * 8),
        "output_register": ComponentUse(component="sram-puma-4kb", capacity=256 * 8),
        "buffer": ComponentUse(component="edram-isaac-64kb"),
        "bus": ComponentUse(component="bus-isaac"),
        "network": ComponentUse(component="router-isaac", count=0.25),
        "activation": ComponentUse(component="sigmoid-isaac", count=2),
        "pooling": ComponentUse(component="max-pool-isaac"),
    }


class HardwareSpec(Spec):
    """Hierarchy and components of a chip. The default is a generic 32 nm ReRAM chip without chip I/O."""

    node_m: Length = Field(default=32e-9, alias="node", gt=0.5e-9, le=1e-6)
    """Technology node; library figures are scaled to it."""
    vdd_v: Voltage | None = Field(default=None, alias="vdd", gt=0, le=5)
    """Supply of the CMOS components. ``null``: the nominal one of the node; figures then go from node to node as they stand,
    at one and the same supply."""
    clock_hz: Frequency = Field(default=1e9, alias="clock", ge=1, le=1e11)
    """Digital clock: drains the adders, and paces transfers whose component states no rate."""
    read_cycle_s: Time | None = Field(default=None, alias="read_cycle", gt=0, le=1.0)
    """From one read to the next, conversion included, where the design states it; ``null``: worked out from the array
    and its converters."""
    arrays_per_macro: int = Field(default=8, ge=1, le=65536)
    macros_per_tile: int = Field(default=4, ge=1, le=65536)
    tiles: int | None = Field(default=None, ge=1, le=10**7)
    """Tiles on the chip; ``null`` builds as many as the network needs."""
    adcs_per_array: float | None = Field(default=None, ge=1e-6, le=16384)
    """Converters per array (below 1: one converter serves several arrays). Default 1."""
    columns_per_adc: int | None = Field(default=None, ge=1, le=16384)
    """The same as a sharing of columns: one converter for each so many columns of an array."""
    pipeline: Literal["layer_serial", "pipelined"] = "layer_serial"
    """Schedule that energy, power and products are stated for; the latencies of both are always reported."""
    network_hops: float = Field(default=1.0, ge=0, le=1e4)
    """Mean router crossings of a layer output on its way to the next layer."""
    components: dict[str, ComponentUse] = Field(default_factory=_generic_components, min_length=1)
    """Entries by role, or by a free name with ``role`` given."""

    model_config = Spec.model_config | _BY_NAME

    @field_validator("components", mode="after")
    @classmethod
    def _roles_and_names(cls, value: dict[str, ComponentUse]) -> dict[str, ComponentUse]:
        from crosstile.cost.library import check_name, is_path, load_component  # late: cost imports specs

        for key, use in value.items():
            if use.role is None and key not in ROLES:
                raise ValueError(
                    f"{key!r} is not a role{near_match(key, ROLES)}; roles are {', '.join(ROLES)}. "
                    "Under a free name say its role, such as role: static for area and leakage only"
                )
            try:
                (load_component if is_path(use.component) else check_name)(use.component)
            except SpecError as error:
                raise ValueError(f"{key}: {error}".rstrip(".")) from None
            role = use.role or key
            if role == "adc" and (use.count is not None or use.per not in (None, "array")):
                raise ValueError(
                    f"{key}: the number of converters is set once, by hardware.adcs_per_array or "
                    "hardware.columns_per_adc; remove count and per"
                )
            if role == "cell_array" and (use.count not in (None, 1.0) or use.per not in (None, "array")):
                raise ValueError(f"{key}: an array has one array of cells; remove count and per")
        for single in ("cell_array", "adc"):
            found = [key for key, use in value.items() if (use.role or key) == single]
            if len(found) > 1:
                raise ValueError(f"{' and '.join(found)} both have the role {single}; keep one")
        if not any((use.role or key) == "cell_array" for key, use in value.items()):
            raise ValueError("no entry has the role cell_array; add cell_array: {component: cell-array}")
        return value

    @model_validator(mode="after")
    def _one_sharing(self) -> HardwareSpec:
        if self.adcs_per_array is not None and self.columns_per_adc is not None:
            raise ValueError("adcs_per_array and columns_per_adc say the same thing; give one of them")
        return self

    @property
    def arrays_per_tile(self) -> int:
        """Arrays of one tile."""
        return self.arrays_per_macro * self.macros_per_tile

    def adcs_for(self, columns: int) -> float:
        """Return converters per array of ``columns`` columns."""
        if self.columns_per_adc is not None:
            return float(math.ceil(columns / self.columns_per_adc))
        return 1.0 if self.adcs_per_array is None else self.adcs_per_array

    def role_of(self, key: str) -> str:
        """Return the role of the entry ``key``."""
        return self.components[key].role or key

    def per_of(self, key: str) -> Unit:
        """Return the unit that the count of the entry ``key`` refers to."""
        return self.components[key].per or ROLES[self.role_of(key)].per

    def count_of(self, key: str, rows: int, columns: int) -> float:
        """Return instances of the entry ``key`` per unit, for arrays of ``rows`` x ``columns``."""
        use, role = self.components[key], self.role_of(key)
        if role == "adc":
            return self.adcs_for(columns)
        if use.count is not None:
            return use.count
        each = {
            "dac": float(rows),
            "sample_hold": float(columns),
            "mux": float(columns),
            "amplifier": self.adcs_for(columns),
        }
        return each.get(role, 1.0) if use.per in (None, "array") else 1.0
