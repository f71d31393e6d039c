"""ISAAC's component table, summed to tile and chip, beside the totals that are remembered of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosstile.cost.estimate import estimate
from crosstile.cost.table import hardware_table
from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.reproduce.published import Finding, PublishedStudy
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip

if TYPE_CHECKING:
    from rich.table import Table

TILES = 168


def isaac_chip() -> ChipSpec:
    """Return the preset with the tiles of the published chip."""
    chip: ChipSpec = load_chip("isaac").replaced(hardware__tiles=TILES)
    return chip


def storage_bytes(chip: ChipSpec, arrays: int) -> float:
    """Return the bytes of weights that so many arrays hold."""
    return arrays * chip.array.rows * chip.outputs_per_array * (chip.weights.bits or 0) / 8.0


def totals() -> dict[str, float]:
    """Return our totals by the name of the claim, in its unit."""
    chip = isaac_chip()
    rows = hardware_table(chip)
    # Peak figures do not depend on the network; any layer gives them.
    shape = LayerShape("any", "linear", chip.array.rows, 1, chip.outputs_per_array, 1, 1, chip.array.rows, 1, False)
    report = estimate([plan_layer(shape, chip)], chip)
    area_mm2 = report.area_m2 * 1e6
    return {
        "tile_power": sum(row.power_per_tile_w for row in rows),
        "tile_area": sum(row.area_per_tile_m2 for row in rows) * 1e6,
        "chip_power": sum(row.power_on_chip_w for row in rows),
        "chip_area": sum(row.area_on_chip_m2 for row in rows) * 1e6,
        "computational_efficiency": report.tops_per_mm2_peak * 1e3,
        "power_efficiency": report.tops_per_w_peak * 1e3,
        "power_efficiency_of_bill": report.tops_peak * 1e3 / sum(row.power_on_chip_w for row in rows),
        "storage_efficiency": storage_bytes(chip, report.arrays_built) / 2**20 / area_mm2,
    }


def findings(study: PublishedStudy) -> list[Finding]:
    """Return each recollected total beside ours."""
    ours = totals()
    found = []
    for name, claim in study.claims.items():
        assert claim.points is not None
        value = ours[name]
        text = f"{value:.4g}"
        if name == "power_efficiency":
            text += f" by energy of the work; {ours['power_efficiency_of_bill']:.4g} as peak GOPS over the watts of the bill"
        found.append(
            Finding(
                f"{claim.text}: {claim.points:g} ({claim.basis}; {claim.source})", text, None,
                f"{value / claim.points - 1:+.1%} of the {claim.basis} figure",
            )
        )  # fmt: skip
    return found


def bill_table() -> Table:
    """Return the bill of the chip: area and busy power by component."""
    from rich.table import Table

    table = Table(title=f"ISAAC, {TILES} tiles: the bill", title_justify="left")
    for heading, justify in (("component", "left"), ("a tile", "right"), ("mm2/tile", "right"), ("mW/tile", "right"),
                             ("mm2 chip", "right"), ("W chip", "right")):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    rows = hardware_table(isaac_chip())
    for row in rows:
        table.add_row(
            row.name, f"{row.count_per_tile:g}", f"{row.area_per_tile_m2 * 1e6:.4g}", f"{row.power_per_tile_w * 1e3:.4g}",
            f"{row.area_on_chip_m2 * 1e6:.4g}", f"{row.power_on_chip_w:.4g}",
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "sum", "", f"{sum(r.area_per_tile_m2 for r in rows) * 1e6:.4g}", f"{sum(r.power_per_tile_w for r in rows) * 1e3:.4g}",
        f"{sum(r.area_on_chip_m2 for r in rows) * 1e6:.4g}", f"{sum(r.power_on_chip_w for r in rows):.4g}",
    )  # fmt: skip
    return table
