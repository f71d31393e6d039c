"""Components by name, from YAML files that carry value, unit, source, node, scaling rule and tag."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from crosstile.errors import SpecError
from crosstile.specs.base import Area, Energy, Frequency, Length, Power, Spec, Voltage, near_match, validate
from crosstile.specs.cell import Sourced
from crosstile.specs.hardware import Role
from crosstile.specs.yaml import read_yaml

LIBRARY = Path(__file__).resolve().parent.parent / "library"
Tag = Literal["published", "derived", "assumed"]
Variable = Literal["bits", "width", "capacity", "length", "rows", "columns", "cells", "read_time"]
Setting = Literal["width", "capacity", "length", "capacitance"]

ACTIONS: dict[str, tuple[str, ...]] = {
    "cell_array": ("read",), "dac": ("convert",), "mux": ("select",), "amplifier": ("settle",),
    "sample_hold": ("sample",), "adc": ("convert",),
    "adder_tree": ("add",), "shift_add": ("add",), "adder": ("add",), "input_register": ("read", "write"),
    "output_register": ("read", "write"), "buffer": ("read", "write"), "bus": ("transfer",),
    "network": ("transfer",), "activation": ("activate",), "pooling": ("pool",), "chip_io": ("transfer",),
    "static": (),
}  # fmt: skip
"""The actions whose energy each role is charged for."""


class Rule(Spec):
    """How a figure changes: ``per_unit`` ** (value - reference), or (value / reference) ** ``power``."""

    per_unit: float | None = Field(default=None, gt=0, le=16)
    power: float | None = Field(default=None, ge=-4, le=4)

    @model_validator(mode="after")
    def _one(self) -> Rule:
        if (self.per_unit is None) == (self.power is None):
            raise ValueError("give either per_unit or power")
        return self

    def factor(self, value: float, reference: float) -> float:
        """Return what the figure at ``reference`` is multiplied by at ``value``."""
        if self.per_unit is not None:
            return float(self.per_unit ** (value - reference))
        assert self.power is not None
        return float((value / reference) ** self.power)


class Scaling(Spec):
    """Rules of one variable; a figure without a rule does not depend on it."""

    reference: float = Field(gt=0)
    """Value of the variable (SI) that the figures of the file hold at."""
    energy: Rule | None = None
    area: Rule | None = None
    leakage: Rule | None = None
    rate: Rule | None = None


class Point(Spec):
    """One row of a table of converters."""

    bits: int = Field(ge=1, le=20)
    energy_j: Energy = Field(alias="energy", gt=0)
    area_m2: Area = Field(alias="area", gt=0)
    rate_hz: Frequency = Field(alias="rate", gt=0)


class ComponentSpec(Spec):
    """One component of the library: figures at a node, rules to scale them, and where they come from.

    Exactly one of three kinds: ``actions`` (figures), ``table`` (figures by resolution) or ``formula``
    (the name of a registered function that computes them).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,60}$")
    role: Role | tuple[Role, ...]
    """The role, or the roles, that it can fill."""
    description: str = Field(min_length=3)
    actions: dict[str, Annotated[Energy, Field(ge=0)]] | None = None
    """Energy of one action of one instance."""
    table: tuple[Point, ...] = ()
    """By resolution, ascending; a resolution between two rows takes the next larger converter."""
    formula: str | None = None
    access_bits: int = Field(default=1, ge=1, le=65536)
    """Bits moved by one action of a memory, register or link."""
    rate_hz: Frequency | None = Field(default=None, alias="rate", gt=0)
    """Actions per second of one instance."""
    area_m2: Area | None = Field(default=None, alias="area", ge=0)
    leakage_w: Power = Field(default=0.0, alias="leakage", ge=0)
    busy_power_w: Power | None = Field(default=None, alias="busy_power", ge=0)
    """Power of one instance when busy, as the source prints it; only for the hardware table."""
    node_m: Length = Field(alias="node", gt=0)
    vdd_v: Voltage | None = Field(default=None, alias="vdd", gt=0, le=5)
    """Supply that the figures hold at; default: the nominal one of the node."""
    settings: tuple[Setting, ...] = ()
    """What a formula takes of the entry in the hardware section; figures take what they have a scaling rule for."""
    supply_in_formula: bool = False
    """The formula takes the supply itself; else the law of :mod:`crosstile.cost.supply` follows."""
    node_scaling: Literal["stillmaker-baas-2017", "none", "in_formula"] = "stillmaker-baas-2017"
    scaling: dict[Variable, Scaling] = Field(default_factory=dict)
    source: str = Field(min_length=3)
    tag: Tag
    sources: dict[str, Sourced] = Field(default_factory=dict)
    """Figures of another origin or tag than the component's, by field name."""
    notes: str = ""

    # validate_default off: the default leakage of zero needs no unit.
    model_config = Spec.model_config | ConfigDict(populate_by_name=True, validate_default=False)

    @model_validator(mode="after")
    def _one_kind(self) -> ComponentSpec:
        kinds = [self.actions is not None, bool(self.table), self.formula is not None]
        if sum(kinds) != 1:
            raise ValueError("give exactly one of actions, table and formula")
        if self.actions is not None:
            if self.area_m2 is None:
                raise ValueError("area is required beside actions")
            for role in self.roles:
                if sorted(self.actions) != sorted(ACTIONS[role]):
                    raise ValueError(
                        f"the role {role} needs the actions {list(ACTIONS[role])}, found {list(self.actions)}"
                    )
        if self.settings and self.formula is None:
            raise ValueError("settings belong to a formula; figures take what they have a scaling rule for")
        if self.table and [p.bits for p in self.table] != sorted({p.bits for p in self.table}):
            raise ValueError("the rows of the table must have ascending bits, each once")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the component can fill."""
        return (self.role,) if isinstance(self.role, str) else self.role

    @property
    def takes(self) -> frozenset[str]:
        """The settings of an entry in the hardware section that change this component's figures."""
        return frozenset((*self.scaling, *self.settings))

    @property
    def weakest_tag(self) -> Tag:
        """The least trustworthy tag of any figure: assumed before derived before published."""
        found = {self.tag, *(item.tag for item in self.sources.values())}
        order: tuple[Tag, ...] = ("assumed", "derived", "published")
        return next(tag for tag in order if tag in found)


@cache
def component_names() -> tuple[str, ...]:
    """Return the names of all components of the library, sorted."""
    return tuple(sorted(path.stem for path in (LIBRARY / "components").glob("*.yaml")))


def is_path(name: str) -> bool:
    """True when a component is given by its file and not by its name in the library."""
    return name.endswith((".yaml", ".yml"))


def check_name(name: str) -> None:
    """Raise :class:`SpecError` with a near match when the library has no component ``name``."""
    known = component_names()
    if name not in known:
        raise SpecError(f"no component is called {name!r}; known are {', '.join(known)}{near_match(name, known)}.")


def read_component(path: Path) -> ComponentSpec:
    """Read one component file; the name inside must be the name of the file."""
    spec = validate(ComponentSpec, read_yaml(path), origin=f"component file {path.name}", units_required=True)
    if spec.name != path.stem:
        raise SpecError(f"{path.name}: the name inside is {spec.name!r}; name and file must agree.")
    return spec


def load_component(name: str) -> ComponentSpec:
    """Return the component ``name``; unknown names and broken files raise :class:`SpecError`.

    A file of one's own is read each time, since it may change; the library is read once.
    """
    return read_component(Path(name)) if is_path(name) else _library_component(name)


@lru_cache(maxsize=256)
def _library_component(name: str) -> ComponentSpec:
    check_name(name)
    return read_component(LIBRARY / "components" / f"{name}.yaml")
