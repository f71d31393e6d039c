"""Chips side by side on the standard networks: computational, power and storage efficiency, peak and effective.

    CE = GOPS / mm2,   PE = GOPS / W,   SE = MB of weights / mm2

as the ISAAC study defines them; an operation is half a multiply-accumulate of the chip's own bits.

Normalised to 8 bits: times input bits x weight bits / 64. Normalised to 32 nm: energy times 32 nm x V32^2 / (L V^2) with nominal
supplies, area times (32 nm / L)^2; a rule of thumb that no converter obeys, so it is shown beside, never instead. Effective
figures are those of a network: pipelined, with copies of weights on arrays that would be idle, leakage included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from crosstile.cost.peak import peak
from crosstile.cost.supply import nominal_supply_v
from crosstile.errors import UsageError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.system.chip import evaluate_table
from crosstile.system.stages import stage_table
from crosstile.workloads.table import network

if TYPE_CHECKING:
    from rich.table import Table

PRESETS = ("isaac", "puma-like", "prime-like", "neurosim-22nm", "reram-8b", "edge-40nm")
TILES = 168
"""Least tiles of chips that do not say: ISAAC's number."""
_REFERENCE_M = 32e-9


@dataclass(frozen=True)
class PeakFigures:
    """One chip with all arrays full and read back to back."""

    chip: str
    node_m: float
    tiles: int
    weight_bits: int | None
    input_bits: int
    area_mm2: float
    ce_gops_per_mm2: float
    pe_gops_per_w: float
    se_mb_per_mm2: float
    bit_factor: float | None
    """Input bits x weight bits / 64; ``None`` for continuous weights."""
    node_factor_energy: float
    """What energy would be multiplied by at 32 nm."""
    node_factor_area: float


@dataclass(frozen=True)
class NetworkFigures:
    """One network on one chip."""

    chip: str
    network: str
    tiles: int
    arrays: int
    """Of one copy of each layer."""
    fits: bool
    latency_s: float
    throughput_hz: float
    energy_j: float
    ce_gops_per_mm2: float
    pe_gops_per_w: float
    array_utilisation: float
    bottleneck: str


def peak_figures(chip: ChipSpec) -> PeakFigures:
    """Return the peak figures of a chip of ``hardware.tiles`` tiles, or 168."""
    hardware = chip.hardware
    tiles = hardware.tiles or TILES
    found = peak(chip, tiles)
    area_mm2 = found.area_m2 * 1e6
    bits = chip.weights.bits
    stored = tiles * hardware.arrays_per_tile * chip.array.rows * chip.outputs_per_array * (bits or 0) / 8.0
    here, there = nominal_supply_v(hardware.node_m), nominal_supply_v(_REFERENCE_M)
    scale = _REFERENCE_M / hardware.node_m
    return PeakFigures(
        chip=chip.name, node_m=hardware.node_m, tiles=tiles, weight_bits=bits, input_bits=chip.inputs.bits, area_mm2=area_mm2,
        ce_gops_per_mm2=found.tops_per_mm2 * 1e3, pe_gops_per_w=found.tops_per_w * 1e3, se_mb_per_mm2=stored / 2**20 / area_mm2,
        bit_factor=None if bits is None else bits * chip.inputs.bits / 64.0,
        node_factor_energy=scale * (there / here) ** 2, node_factor_area=scale**2,
    )  # fmt: skip


def network_figures(chip: ChipSpec, name: str) -> NetworkFigures:
    """Return what the network ``name`` takes on a chip.

    A chip that does not say how many tiles it has gets 168, or twice as many as the network needs if that is more, so that
    there is room for copies of early layers; one that says so is rewritten in rounds where it is too small.
    """
    running: ChipSpec = chip.replaced(hardware__pipeline="pipelined")
    table = stage_table(network(name), running)
    needed = math.ceil(table.arrays / chip.hardware.arrays_per_tile)
    tiles = chip.hardware.tiles or max(TILES, 2 * needed)
    found = evaluate_table(table, arrays=tiles * chip.hardware.arrays_per_tile, duplication="optimal")
    plan = found.schedule
    return NetworkFigures(
        chip=chip.name, network=name, tiles=tiles, arrays=table.arrays, fits=plan.fits, latency_s=found.latency_s,
        throughput_hz=found.throughput_hz, energy_j=found.energy_j, ce_gops_per_mm2=found.tops_per_mm2 * 1e3,
        pe_gops_per_w=found.tops_per_w * 1e3, array_utilisation=plan.array_utilisation, bottleneck=plan.bottleneck,
    )  # fmt: skip


def compare_chips(chips: Sequence[str], networks: Sequence[str]) -> tuple[list[PeakFigures], list[NetworkFigures]]:
    """Return peak figures of ``chips`` (names or files), and those of each of ``networks`` on each of them."""
    if not chips or not networks:
        raise UsageError("chips --table: at least one chip and one network are needed.")
    for name in networks:
        network(name)  # refuse what is unknown before anything is computed
    loaded = [load_chip(name) for name in chips]
    return [peak_figures(chip) for chip in loaded], [network_figures(c, name) for c in loaded for name in networks]


def document(peaks: Sequence[PeakFigures], found: Sequence[NetworkFigures]) -> dict[str, Any]:
    """Return all figures, ready for JSON."""
    return {"format": "crosstile-chips-1", "peak": [asdict(p) for p in peaks], "networks": [asdict(f) for f in found]}


def chip_tables(peaks: Sequence[PeakFigures], found: Sequence[NetworkFigures]) -> Iterator[Table]:
    """Yield the tables that ``crosstile chips --table`` prints."""
    from rich.table import Table

    table = Table(title="Peak: CE in GOPS/mm2, PE in GOPS/W, SE in MB/mm2", title_justify="left")
    for heading in ("chip", "nm", "weights x inputs", "tiles", "mm2", "CE", "PE", "SE"):
        table.add_column(heading, justify="left" if heading == "chip" else "right")
    for one in peaks:
        table.add_row(
            one.chip, f"{one.node_m * 1e9:.0f}", f"{one.weight_bits or '-'} x {one.input_bits}", str(one.tiles),
            _short(one.area_mm2), _short(one.ce_gops_per_mm2), _short(one.pe_gops_per_w), _short(one.se_mb_per_mm2),
        )  # fmt: skip
    yield table
    table = Table(title="Peak, normalised (a rule of thumb)", title_justify="left")
    for heading in ("chip", "CE\n8 bits", "PE\n8 bits", "CE\n32 nm", "PE\n32 nm", "CE\nboth", "PE\nboth"):
        table.add_column(heading, justify="left" if heading == "chip" else "right", no_wrap=True)
    for one in peaks:
        ce, pe, bits = one.ce_gops_per_mm2, one.pe_gops_per_w, one.bit_factor
        small, cool = ce / one.node_factor_area, pe / one.node_factor_energy
        values = (None if bits is None else ce * bits, None if bits is None else pe * bits, small, cool,
                  None if bits is None else small * bits, None if bits is None else cool * bits)  # fmt: skip
        table.add_row(one.chip, *("-" if value is None else _short(value) for value in values))
    yield table
    metrics: tuple[tuple[str, Callable[[NetworkFigures], float]], ...] = (
        ("Effective PE, GOPS/W", lambda one: one.pe_gops_per_w),
        ("Effective CE, GOPS/mm2", lambda one: one.ce_gops_per_mm2),
        ("Samples per second", lambda one: one.throughput_hz),
        ("Energy of a sample, uJ", lambda one: one.energy_j * 1e6),
    )
    names, chips = list(dict.fromkeys(f.network for f in found)), [p.chip for p in peaks]
    by = {(one.network, one.chip): one for one in found}
    for title, value in metrics:
        table = Table(title=f"{title} (* rewritten in rounds)", title_justify="left")
        table.add_column("network", no_wrap=True)
        for chip in chips:
            table.add_column(chip.replace("-", "-\n"), justify="right", no_wrap=True)
        for name in names:
            cells = [by[name, chip] for chip in chips]
            table.add_row(name, *(_short(value(one)) + ("" if one.fits else "*") for one in cells))
        yield table


def _short(value: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[suffix]:.3g}{suffix}"
    return f"{value:.0f}" if abs(value) >= 1e3 else f"{value:.3g}"
