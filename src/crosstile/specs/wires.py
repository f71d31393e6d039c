"""The wires of an array as a description: ohms per segment, or the metal that they are made of.

One segment spans one cell. A word line runs along the cell's width, a bit line along its height:

    L_word = width_f F,    L_bit = height_f F,    R(T) = R(300 K) (1 + alpha (T - 300 K)),

F being ``feature_size`` or else the chip's node, and R(300 K) = L x (R / L) of the metal (:mod:`crosstile.specs.metals`) or the
resistance as given. Driver and sense resistances are circuits, not wires, and do not change with the temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import Field, field_validator, model_validator

from crosstile.circuits.wires import Topology, Wires
from crosstile.errors import SpecError
from crosstile.specs.base import (
    Length,
    Resistance,
    Resistivity,
    Spec,
    Temperature,
    TemperatureCoefficient,
    near_match,
)
from crosstile.specs.cell import CellSpec, Sourced
from crosstile.specs.metals import Metal, Trust, metal_at, weakest
from crosstile.units import format_quantity

REFERENCE_K: Final = 300.0
MAX_OHM: Final = 1e6  # a segment or a driver above it is no wire: most likely kohm for ohm, or m for nm

_BULK_COPPER: Final = (
    "annealed copper standard, IEC 60028 (1925): 0.00393 /K at 20 degrees C; rounded, and taken at 300 K"
)
_UNSOURCED: Final = "of the chip, or a default; no source given"
_METAL: Final = {
    "width_m": "width", "thickness_m": "thickness", "aspect_ratio": "aspect_ratio",
    "resistivity_ohm_m": "resistivity", "barrier_m": "barrier",
}  # fmt: skip


def _checked_ohm(value: float | None, what: str) -> float | None:
    if value is not None and not 0 <= value <= MAX_OHM:
        raise ValueError(
            f"{what} of {format_quantity(value, 'ohm')} cannot be; allowed are 0 ohm (ideal) to "
            f"{format_quantity(MAX_OHM, 'ohm')}, and some ohms are usual for a segment. Check the unit"
        )
    return value


class LineSpec(Spec):
    """One kind of wire: a resistance per segment, or a metal. ``2.5 ohm`` is short for ``{resistance: 2.5 ohm}``."""

    resistance_ohm: Resistance | None = Field(default=None, alias="resistance")
    """One segment at 300 K; 0 ohm is an ideal wire."""
    node_m: Length | None = Field(default=None, alias="node", gt=0, le=1e-6)
    """Takes from the table of copper wires what is not given below. It does not follow ``hardware.node``."""
    width_m: Length | None = Field(default=None, alias="width", ge=1e-10, le=1e-3)
    """Drawn width, barrier included."""
    thickness_m: Length | None = Field(default=None, alias="thickness", ge=1e-10, le=1e-3)
    """Drawn thickness, barrier included."""
    aspect_ratio: float | None = Field(default=None, ge=0.01, le=100)
    """Thickness over width, in place of ``thickness``."""
    resistivity_ohm_m: Resistivity | None = Field(default=None, alias="resistivity", ge=1e-10, le=1e-3)
    """Of the metal at 300 K."""
    barrier_m: Length | None = Field(default=None, alias="barrier", ge=0, le=1e-3)
    """Lining of both sides and the bottom that conducts nothing; default: none, or the node's."""

    model_config = Spec.model_config | {"populate_by_name": True, "validate_default": False}

    @field_validator("resistance_ohm")
    @classmethod
    def _resistance_is_a_wire(cls, value: float | None) -> float | None:
        return _checked_ohm(value, "a segment")

    @model_validator(mode="after")
    def _one_way(self) -> LineSpec:
        given = self._metal_fields
        if self.node_m is not None:
            given = ["node", *given]
        if self.resistance_ohm is not None and given:
            raise ValueError(
                f"resistance and {', '.join(given)} say the same thing; give the resistance of a segment or the metal"
            )
        if self.resistance_ohm is None:
            if not given:
                raise ValueError(
                    "a wire needs a resistance per segment, such as '2.5 ohm', or a metal: {node: 32 nm}, or width, "
                    "resistivity and one of thickness and aspect_ratio"
                )
            self._check_metal(given)
        return self

    @property
    def _metal_fields(self) -> list[str]:
        return [shown for field, shown in _METAL.items() if getattr(self, field) is not None]

    def _check_metal(self, given: list[str]) -> None:
        if self.thickness_m is not None and self.aspect_ratio is not None:
            raise ValueError("thickness and aspect_ratio say the same thing; give one of them")
        if self.node_m is None:
            missing = [name for name in ("width", "resistivity") if name not in given]
            if self.thickness_m is None and self.aspect_ratio is None:
                missing.append("thickness (or aspect_ratio)")
            if missing:
                raise ValueError(
                    f"a metal without node needs {', '.join(missing)} too; or add node for the rest from the table"
                )
        try:
            metal = self.metal()
        except SpecError as error:
            raise ValueError(str(error)) from None
        if metal is not None and not metal.conducts:
            raise ValueError(
                f"a barrier of {format_quantity(metal.barrier_m, 'm')} leaves no metal in a wire "
                f"{format_quantity(metal.width_m, 'm')} wide and {format_quantity(metal.thickness_m, 'm')} thick; "
                "it must be less than half the width and less than the thickness"
            )

    def metal(self) -> Metal | None:
        """Return section and resistivity at 300 K; None where a resistance is given.

        Raises:
            SpecError: the node lies outside the table.
        """
        if self.resistance_ohm is not None:
            return None
        table = None if self.node_m is None else metal_at(self.node_m)
        width = self.width_m if self.width_m is not None else (table.width_m if table else 0.0)
        if self.thickness_m is not None:
            thickness = self.thickness_m
        elif self.aspect_ratio is not None:
            thickness = width * self.aspect_ratio
        else:
            thickness = width * (table.thickness_m / table.width_m if table else 0.0)
        barrier = self.barrier_m if self.barrier_m is not None else (table.barrier_m if table else 0.0)
        rho = (
            self.resistivity_ohm_m
            if self.resistivity_ohm_m is not None
            else (table.resistivity_ohm_m if table else 0.0)
        )
        return Metal(
            width, thickness, barrier, rho, table.source if table else _UNSOURCED, table.tag if table else "assumed"
        )


class WireFigure(NamedTuple):
    """One line of a table of wires for a report: an SI value, where it comes from, how far it can be trusted."""

    name: str
    value: float
    unit: str
    source: str
    tag: Trust


class WireSpec(Spec):
    """The wires of every array of a chip. A chip without this section has ideal wires."""

    word_line: LineSpec
    """Between two cells of a row, and from the driver to the first."""
    bit_line: LineSpec
    """Between two cells of a column, and from the last to the sense amplifier."""
    driver_ohm: Resistance = Field(default=0.0, alias="driver")
    """Output resistance of a word-line driver."""
    sense_ohm: Resistance = Field(default=0.0, alias="sense")
    """Input resistance of a sense amplifier."""
    topology: Topology = "standard"
    """Where lines are driven and sensed; see :mod:`crosstile.circuits.wires`."""
    feature_size_m: Length | None = Field(default=None, alias="feature_size", gt=0.5e-9, le=1e-6)
    """F in which the cell's height and width are counted; default: ``hardware.node``."""
    temperature_k: Temperature | None = Field(default=None, alias="temperature", ge=200, le=600)
    """Of the wires; default: that of the chip's conditions."""
    temperature_coefficient_per_k: TemperatureCoefficient = Field(
        default=0.0039, alias="temperature_coefficient", ge=-0.003, le=0.009
    )
    """Relative change of a wire's resistance per kelvin at 300 K; the default is that of bulk copper."""
    sources: dict[str, Sourced] = Field(default_factory=dict)
    """Source of each figure given here, by field name; figures from the table carry their own."""

    model_config = Spec.model_config | {"populate_by_name": True, "validate_default": False}

    @field_validator("word_line", "bit_line", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, (Mapping, LineSpec)) else {"resistance": value}

    @field_validator("driver_ohm", "sense_ohm")
    @classmethod
    def _ends_are_finite(cls, value: float) -> float:
        _checked_ohm(value, "a driver or sense amplifier")
        return value

    @field_validator("sources")
    @classmethod
    def _sources_name_fields(cls, value: dict[str, Sourced]) -> dict[str, Sourced]:
        known = ["word_line", "bit_line", "driver", "sense", "feature_size", "temperature", "temperature_coefficient"]
        for key in value:
            if key not in known:
                raise ValueError(
                    f"{key!r} is no figure of the wires{near_match(key, known)}; they are {', '.join(known)}"
                )
        return value

    @model_validator(mode="after")
    def _feature_size_has_a_use(self) -> WireSpec:
        if self.feature_size_m is not None and self.word_line.metal() is None and self.bit_line.metal() is None:
            raise ValueError("feature_size has no use where both lines are given as resistances; remove it")
        return self

    @property
    def temperature_factor(self) -> float:
        """Resistance of a wire over that at 300 K; at least 0.1 within the limits of the fields."""
        return 1.0 + self.temperature_coefficient_per_k * (self._temperature_k - REFERENCE_K)

    @property
    def _temperature_k(self) -> float:
        return REFERENCE_K if self.temperature_k is None else self.temperature_k

    def _at(self, temperature_k: float) -> WireSpec:
        """Return these wires at their own temperature, or else at the given one."""
        return self if self.temperature_k is not None else self.model_copy(update={"temperature_k": temperature_k})

    def resolve(self, cell: CellSpec, feature_size_m: float, temperature_k: float = REFERENCE_K) -> Wires:
        """Return the resistances in ohms at the wires' temperature.

        Args:
            cell: its height and width in F are the lengths of the segments.
            feature_size_m: F in metres, unless this description brings its own.
            temperature_k: of the chip, unless this description brings its own.

        Raises:
            SpecError: a wire does not fit beside its neighbour in the cell, or a segment comes to more than 1 Mohm.
        """
        here = self._at(temperature_k)
        return Wires(
            word_line_ohm=here._segment_ohm("word_line", cell, feature_size_m),
            bit_line_ohm=here._segment_ohm("bit_line", cell, feature_size_m),
            driver_ohm=self.driver_ohm,
            sense_ohm=self.sense_ohm,
            topology=self.topology,
        )

    def describe(self, cell: CellSpec, feature_size_m: float, temperature_k: float = REFERENCE_K) -> list[WireFigure]:
        """Return every figure that :meth:`resolve` rests on, and what it comes to, as lines of a table; SI units."""
        if self.temperature_k is None and temperature_k != REFERENCE_K:
            return self._at(temperature_k).describe(cell, feature_size_m)
        rows: list[WireFigure] = []
        for name in ("word_line", "bit_line"):
            rows += self._line_figures(name, cell, feature_size_m)
        for name, value in (("driver", self.driver_ohm), ("sense", self.sense_ohm)):
            rows.append(WireFigure(name, value, "ohm", *self._own_source(name)))
        rows.append(WireFigure("temperature", self._temperature_k, "K", *self._own_source("temperature")))
        rows.append(
            WireFigure("temperature_coefficient", self.temperature_coefficient_per_k, "/K", *self._coefficient_source())
        )
        return rows

    def _feature_size(self, feature_size_m: float) -> float:
        return feature_size_m if self.feature_size_m is None else self.feature_size_m

    def _segment_ohm(self, name: str, cell: CellSpec, feature_size_m: float) -> float:
        line: LineSpec = getattr(self, name)
        metal = line.metal()
        if metal is None:
            assert line.resistance_ohm is not None  # LineSpec has one or the other
            return line.resistance_ohm * self.temperature_factor
        f = self._feature_size(feature_size_m)
        along_f, across_f, side = (
            (cell.width_f, cell.height_f, "high") if name == "word_line" else (cell.height_f, cell.width_f, "wide")
        )
        where = f"array.wires.{name}"
        if metal.width_m >= across_f * f:
            raise SpecError(
                f"{where}: a wire {format_quantity(metal.width_m, 'm')} wide touches its neighbour over cells that are "
                f"{format_quantity(across_f * f, 'm')} {side} ({across_f:.4g} F, F = {format_quantity(f, 'm')}); "
                "give a narrower wire, a larger feature_size, or the resistance of a segment"
            )
        ohm = metal.ohm_per_m * along_f * f * self.temperature_factor
        if ohm > MAX_OHM:
            raise SpecError(
                f"{where}: a segment comes to {format_quantity(ohm, 'ohm')} ({format_quantity(along_f * f, 'm')} long, "
                f"{format_quantity(metal.width_m, 'm')} wide, {format_quantity(metal.thickness_m, 'm')} thick, "
                f"{metal.resistivity_ohm_m:.4g} ohm m); at most {format_quantity(MAX_OHM, 'ohm')} is allowed. Check the units"
            )
        return ohm

    def _line_figures(self, name: str, cell: CellSpec, feature_size_m: float) -> list[WireFigure]:
        line: LineSpec = getattr(self, name)
        ohm, metal, own = self._segment_ohm(name, cell, feature_size_m), line.metal(), self._own_source(name)
        warm = () if self._temperature_k == REFERENCE_K else (self._coefficient_source()[1],)
        if metal is None:
            return [WireFigure(name, ohm, "ohm", own[0], weakest(own[1], *warm))]
        if line.node_m is not None and not line._metal_fields and name not in self.sources:
            source, tag = metal.source, metal.tag
        elif line.node_m is not None:
            source, tag = f"{own[0]}; the rest: {metal.source}", weakest(own[1], metal.tag)
        else:
            source, tag = own
        pitch = "width_f" if name == "word_line" else "height_f"
        along_f, f = getattr(cell, pitch), self._feature_size(feature_size_m)
        cell_tag: Trust = cell.sources[pitch].tag if pitch in cell.sources else "assumed"
        how = f"{along_f:.5g} F of cell {cell.name}, F = {format_quantity(f, 'm')}"
        return [
            WireFigure(name, ohm, "ohm", f"from the figures below, {how}", weakest("derived", tag, cell_tag, *warm)),
            WireFigure(f"{name}.length", along_f * f, "m", how, weakest("derived", cell_tag)),
            WireFigure(f"{name}.width", metal.width_m, "m", source, tag),
            WireFigure(f"{name}.thickness", metal.thickness_m, "m", source, tag),
            WireFigure(f"{name}.barrier", metal.barrier_m, "m", source, tag),
            WireFigure(f"{name}.resistivity", metal.resistivity_ohm_m, "ohm m", source, tag),
        ]

    def _own_source(self, name: str) -> tuple[str, Trust]:
        found = self.sources.get(name)
        return (_UNSOURCED, "assumed") if found is None else (found.source, found.tag)

    def _coefficient_source(self) -> tuple[str, Trust]:
        default = type(self).model_fields["temperature_coefficient_per_k"].default
        if "temperature_coefficient" not in self.sources and self.temperature_coefficient_per_k == default:
            return _BULK_COPPER, "derived"
        return self._own_source("temperature_coefficient")
