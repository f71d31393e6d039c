"""What a component is asked, what it answers, and the registry of computed components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crosstile.registry import Registry


@dataclass(frozen=True)
class Request:
    """The setting that a component works in. ``None`` means: as the library figure has it."""

    node_m: float
    bits: int | None = None
    """Resolution of a converter."""
    width_bits: int | None = None
    """Operand width of an adder or shift-adder."""
    capacity_bits: float | None = None
    rate_hz: float | None = None
    rows: int | None = None
    """Rows of the array that the component belongs to."""
    columns: int | None = None
    active_rows: int | None = None
    """Rows that one read drives; ``None``: all."""
    input_bits: int | None = None
    """Bits of an input that one read applies."""
    weight_bits: int | None = None
    """Bits of a weight that stand side by side."""
    cells_per_column: int = 1
    """SRAM holds a bit a cell: a column of b bits is b cells side by side. Analog memories: 1."""
    columns_per_adc: int | None = None
    length_m: float | None = None
    capacitance_f: float | None = None
    vdd_v: float | None = None
    """Supply of the chip; ``None``: figures are scaled between nodes at one and the same supply."""
    cell_area_f2: float = 16.0
    """Area of a cell in squares of the node."""
    read_time_s: float | None = None
    read_voltage_v: float | None = None


@dataclass(frozen=True)
class Figures:
    """One instance of a component in its setting, SI units."""

    energy_j: dict[str, float]
    """Energy per action; empty for cells, whose ohmic energy is in the activity record."""
    area_m2: float
    leakage_w: float = 0.0
    rate_hz: float | None = None
    """Actions per second; ``None`` when the source states none."""
    access_bits: int = 1
    busy_power_w: float | None = None
    """Power when busy as the source prints it; used in the hardware table only."""
    cell_energy_factor: float = 1.0
    """What the ohmic energy of the activity record is multiplied by, for cells without an energy of their own."""
    notes: tuple[str, ...] = field(default=())


Formula = Callable[[Request], Figures]
"""Figures at the node that the library file names, or at the asked node if it says ``in_formula``."""

FORMULAS: Registry[Formula] = Registry("component")


def register(name: str) -> Callable[[Formula], Formula]:
    """Function decorator: make a formula known under ``name``."""

    def add(formula: Formula) -> Formula:
        return FORMULAS.add(name, formula)

    return add
