"""The bill of a whole chip: every component with its area and busy power, the form that papers print."""

from __future__ import annotations

from dataclasses import dataclass

from crosstile.cost.installed import Installed, install
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec


@dataclass(frozen=True)
class TableRow:
    """One component on one tile and on the chip; chip-level components have no share in a tile."""

    name: str
    component: str
    count_per_tile: float
    count_on_chip: int
    area_per_tile_m2: float
    area_on_chip_m2: float
    power_per_tile_w: float
    """Busy power, leakage included: as the source prints it, else energy x rate."""
    power_on_chip_w: float
    tag: str
    source: str


def busy_power_w(part: Installed, chip: ChipSpec) -> float:
    """Return the power of one busy instance in watts."""
    figures = part.figures
    if figures.busy_power_w is not None:
        return figures.busy_power_w + figures.leakage_w
    energy_j = max(figures.energy_j.values(), default=0.0)
    # Cells, drivers and sample-and-holds act once a read; the rest at their own rate, or the clock's.
    once_a_read = part.role in ("cell_array", "dac", "sample_hold")
    rate_hz = 1.0 / chip.array.read_time_s if once_a_read else figures.rate_hz or chip.hardware.clock_hz
    return energy_j * rate_hz + figures.leakage_w


def hardware_table(chip: ChipSpec, tiles: int | None = None) -> tuple[TableRow, ...]:
    """Return the bill of ``chip`` with ``tiles`` tiles (default: as many as its hardware section sets)."""
    hardware = chip.hardware
    tiles = tiles or hardware.tiles
    if tiles is None:
        raise SpecError(f"chip {chip.name!r}: hardware.tiles is null; say tiles=, how many the table is for.")
    per_tile = {"array": hardware.arrays_per_tile, "macro": hardware.macros_per_tile, "tile": 1, "chip": 0}
    units = {unit: number * tiles for unit, number in per_tile.items()} | {"chip": 1}
    rows = []
    for part in install(chip):
        each, total = part.count * per_tile[part.per], part.instances(units)
        power_w, area_m2 = busy_power_w(part, chip), part.figures.area_m2
        rows.append(
            TableRow(
                part.name, part.component.name, each, total, each * area_m2, total * area_m2,
                each * power_w, total * power_w, part.tag, part.source,
            )
        )  # fmt: skip
    return tuple(rows)
