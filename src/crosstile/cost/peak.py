"""Peak figures of a chip: every array full and read back to back, with leakage; no chip I/O, no stalls.

    TOPS = arrays 2 rows outputs / t_vector,  P = arrays E_vector / t_vector + P_leakage

t_vector is the read cycle times the reads that one vector takes. No network is needed: macros are validated with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosstile.cost.charges import charge
from crosstile.cost.installed import Installed, install
from crosstile.cost.latency import read_cycle
from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.specs.chip import ChipSpec


@dataclass(frozen=True)
class Peak:
    """Peak figures; an operation is half a multiply-accumulate of the chip's own input and weight bits."""

    tops: float
    power_w: float
    area_m2: float
    vector_s: float
    energy_j: dict[str, float]
    """Dynamic energy of one vector on one array, by component."""
    areas_m2: dict[str, float]
    """Area on the chip, by component."""
    leakage_w: float

    @property
    def tops_per_w(self) -> float:
        """Tera-operations per second and watt."""
        return self.tops / self.power_w

    @property
    def tops_per_mm2(self) -> float:
        """Tera-operations per second and square millimetre."""
        return self.tops / (self.area_m2 * 1e6)


def units_of(chip: ChipSpec, tiles: int) -> dict[str, int]:
    """Return how many arrays, macros, tiles and chips so many tiles are."""
    hardware = chip.hardware
    return {
        "array": tiles * hardware.arrays_per_tile,
        "macro": tiles * hardware.macros_per_tile,
        "tile": tiles,
        "chip": 1,
    }


def peak_of(chip: ChipSpec, parts: tuple[Installed, ...], units: dict[str, int]) -> Peak:
    """Return the peak of ``chip`` with the components ``parts`` and so many ``units``."""
    rows, outputs = chip.array.rows, chip.outputs_per_array
    full = plan_layer(LayerShape("peak", "linear", rows, 1, outputs, 1, 1, rows, outputs, False), chip)
    cycle_s, _, _ = read_cycle(full, chip, parts)
    vector_s = full.activity.reads_in_series * cycle_s
    spent = {part.name: charge(part, full, chip, first=False, last=False) for part in parts}
    areas_m2 = {part.name: part.instances(units) * part.figures.area_m2 for part in parts}
    leakage_w = sum(part.instances(units) * part.figures.leakage_w for part in parts)
    arrays = units["array"]
    return Peak(
        tops=arrays * 2.0 * rows * outputs / vector_s * 1e-12,
        power_w=arrays * sum(spent.values()) / vector_s + leakage_w,
        area_m2=sum(areas_m2.values()),
        vector_s=vector_s,
        energy_j=spent,
        areas_m2=areas_m2,
        leakage_w=leakage_w,
    )


def peak(chip: ChipSpec, tiles: int | None = None) -> Peak:
    """Return the peak of ``chip`` with ``tiles`` tiles (default: as many as its hardware section sets, or one).

    Raises :class:`~crosstile.errors.SpecError` when a component does not cover what is asked of it.
    """
    return peak_of(chip, install(chip), units_of(chip, tiles or chip.hardware.tiles or 1))
