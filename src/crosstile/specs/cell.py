"""A memory cell: its conductance window, its size, and the effects that its technology brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from crosstile.specs.base import Conductance, Energy, Spec, Time, Voltage

if TYPE_CHECKING:
    from crosstile.circuits.cell_models import Cell


class Sourced(Spec):
    """Where a figure comes from and how far it can be trusted."""

    source: str = Field(min_length=3)
    """Publication, table or figure, or the public code that the figure was read in."""
    tag: Literal["published", "derived", "assumed"]
    """published: read in the named work; derived: computed from such; assumed: chosen by us."""


class WriteSpec(Spec):
    """One write of a cell, and the read that checks it."""

    time_s: Time | None = Field(default=None, alias="time", ge=0, le=1.0)
    """Of one programming pulse; none where the figures' source does not say."""
    energy_j: Energy | None = Field(default=None, alias="energy", ge=0, le=1e-3)
    """Of one programming pulse."""
    verify_time_s: Time = Field(default=0.0, alias="verify_time", ge=0, le=1.0)
    """Of the read after it."""
    verify_energy_j: Energy = Field(default=0.0, alias="verify_energy", ge=0, le=1e-3)
    """Of the read after it."""

    model_config = Spec.model_config | {"populate_by_name": True, "validate_default": False}

    def energy_of(self, writes: int) -> float | None:
        """Return the energy of so many writes with their reads in joule; ``None`` where it is not known."""
        return None if self.energy_j is None else writes * (self.energy_j + self.verify_energy_j)

    def time_of(self, writes: int) -> float | None:
        """Return the time of so many writes with their reads, one after the other, in seconds; ``None`` where it is not known."""
        return None if self.time_s is None else writes * (self.time_s + self.verify_time_s)


class CurrentSpec(Spec):
    """How the current grows with the voltage: I = g v0 sinh(v / v0), or I = g (v + a2 v^2 + a3 v^3 + ...)."""

    sinh_v0_v: Voltage | None = Field(default=None, alias="sinh", gt=0, le=100)
    """v0 of the sinh law."""
    polynomial: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=8)
    """a2, a3 ... in powers of 1/V."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _one_law(self) -> CurrentSpec:
        if (self.sinh_v0_v is None) == (self.polynomial is None):
            raise ValueError("give one of sinh (v0, such as 0.4 V) and polynomial (a2, a3 ...)")
        return self

    def law(self) -> Cell:
        """Return the law for :mod:`crosstile.circuits.nonlinear`."""
        from crosstile.circuits.cell_models import Polynomial, Sinh

        return Sinh(self.sinh_v0_v) if self.sinh_v0_v is not None else Polynomial(self.polynomial or ())


class CellSpec(Spec):
    """One memory technology in one measured set of figures."""

    name: str = Field(min_length=1, max_length=80)
    technology: str = Field(min_length=1, max_length=40)
    """ReRAM, PCM, FeFET, SRAM, ideal ..."""
    description: str = ""
    g_on_s: Conductance = Field(alias="g_on", gt=0, le=1e3)
    """Largest programmed conductance."""
    g_off_s: Conductance = Field(alias="g_off", ge=0, le=1e3)
    """Smallest programmed conductance."""
    max_bits: int = Field(default=5, ge=1, le=5)
    """Most bits that one cell of this technology is said to hold."""
    height_f: float = Field(default=4.0, gt=0, le=1e4)
    """Cell height (along the bit line) in feature sizes F."""
    width_f: float = Field(default=4.0, gt=0, le=1e4)
    """Cell width (along the word line) in feature sizes F."""
    write: WriteSpec | None = None
    """What one write takes; none where it is not known."""
    current: CurrentSpec | None = None
    """Law of the current; none: proportional to the voltage. g is then the conductance at small voltages."""
    effects: tuple[Any, ...] = ()
    """Non-idealities, applied in the order of their stages and then as listed."""
    sources: dict[str, Sourced] = Field(default_factory=dict)
    """Source of each field, by field name or ``effects``."""
    limits: str = ""
    """What this set of figures does not claim."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @field_validator("effects", mode="before")
    @classmethod
    def _build_effects(cls, value: Any, info: Any) -> Any:
        from crosstile.nonidealities import build_effects

        return build_effects(value, units_required=bool(info.context and info.context.get("units_required")))

    @model_validator(mode="after")
    def _window_is_open(self) -> CellSpec:
        if self.g_on_s <= self.g_off_s:
            raise ValueError(
                f"g_on ({self.g_on_s:.4g} S) must be larger than g_off ({self.g_off_s:.4g} S); "
                "swap them, or give them as resistances with r_on < r_off"
            )
        return self
