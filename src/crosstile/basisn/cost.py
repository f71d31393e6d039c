"""What a network on a basis takes: time, energy and area of one sample.

    cycle = max(read, lines / converters of an array x conversion time)       (their sum without a sample-and-hold)
    time  = sum over layers of cycles x cycle + drain + transfers

A word line is held while all bits and groups of one position, block and plane are read, so that it is driven once for them; cells
carry current only in columns that are switched on. Components are those of the chip, charged as everywhere
(:mod:`crosstile.cost.charges`); two are added, of assumed figures: the switches between columns and summing lines, each column of
a pair changing twice for each kernel that uses it, and the memory that says in each cycle which column goes to which line. The
basis is written once, before the first sample: no energy or time of writing is in here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from crosstile.basisn.arrays import coefficient_chip
from crosstile.basisn.cycles import BasisArraySpec, LayerCycles
from crosstile.cost.charges import charge
from crosstile.cost.components import evaluate
from crosstile.cost.figures import Request
from crosstile.cost.installed import Installed, by_role, install
from crosstile.cost.latency import layer_time
from crosstile.cost.library import load_component
from crosstile.mapping.plan import LayerPlan, LayerShape, plan_layer
from crosstile.specs.chip import ChipSpec

SWITCHES, CONTROL, LEAKAGE = "column switches", "coefficient memory", "leakage"
_CONTROL_BITS = 32 * 1024 * 8  # of one array's coefficient memory: the figure is that of a memory of 32 KiB


@dataclass(frozen=True)
class BasisCost:
    """One sample of a network on a basis."""

    name: str
    """Of the scheme: ``basis``, or a baseline."""
    cycles: int
    cycle_s: float
    time_s: float
    energy_j: float
    energy_by_component_j: dict[str, float]
    area_m2: float
    write_time_s: float
    """Of one sample, where arrays are rewritten; 0 for a basis that stays."""
    write_energy_j: float
    kernels_per_cycle: float | None
    notes: tuple[str, ...] = ()

    @property
    def edp_js(self) -> float:
        """Energy times time of one sample."""
        return self.energy_j * self.time_s

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"edp_js": self.edp_js}


def cycle_s(chip: ChipSpec, parts: tuple[Installed, ...], conversions: int) -> float:
    """Return the time of one cycle in which each array makes so many conversions."""
    read_s = chip.array.read_time_s
    for dac in by_role(parts, "dac"):
        if dac.figures.rate_hz is not None:
            read_s = max(read_s, 1.0 / dac.figures.rate_hz)
    adc = by_role(parts, "adc")
    if not adc:
        return read_s
    convert_s = math.ceil(conversions / adc[0].count - 1e-9) / (adc[0].figures.rate_hz or chip.hardware.clock_hz)
    return max(read_s, convert_s) if by_role(parts, "sample_hold") else read_s + convert_s


def basis_cost(
    shapes: Sequence[LayerShape], layers: Sequence[LayerCycles], design: BasisArraySpec, chip: ChipSpec
) -> BasisCost:
    """Return time, energy and area of a network on ``design.arrays`` arrays of ``chip`` that hold the basis.

    Args:
        shapes: of the network. layers: their cycles, from :mod:`crosstile.basisn.cycles`.

    Raises:
        SpecError: the chip cannot switch columns, or a component does not cover what is asked.
    """
    seen = coefficient_chip(chip, design.bits)
    parts = install(chip)
    each_s = cycle_s(chip, parts, design.lines)
    spent = dict.fromkeys([*(part.name for part in parts), SWITCHES, CONTROL], 0.0)
    total_s, cycles = 0.0, 0
    switch_j = _figure("column-switch", chip, "select")
    control_j = (
        _figure("sram-buffer", chip, "read", capacity_bits=_CONTROL_BITS) / load_component("sram-buffer").access_bits
    )
    control_bits = design.vectors * (math.ceil(math.log2(design.lines + 1)) + 1)
    last = len(shapes) - 1
    for number, (shape, layer) in enumerate(zip(shapes, layers, strict=True)):
        plan = _plan(shape, layer, design, seen)
        moved = layer_time(replace(plan, arrays=design.arrays), seen, parts, first=number == 0, last=number == last)
        total_s += layer.cycles * each_s + moved.drain_s + moved.buffer_s + moved.network_s + moved.chip_io_s
        cycles += layer.cycles
        for part in parts:
            spent[part.name] += charge(part, plan, seen, first=number == 0, last=number == last)
        reads = layer.positions * layer.planes
        spent[SWITCHES] += reads * layer.columns_on * 2 * 2 * switch_j
        spent[CONTROL] += reads * sum(layer.groups) * control_bits * control_j
    area_m2, leakage_w = area_and_leakage(chip, parts, design)
    spent[LEAKAGE] = leakage_w * total_s
    reads = sum(layer.positions * layer.planes * layer.reads for layer in layers)
    jobs = sum(layer.positions * layer.planes * sum(layer.groups) for layer in layers)
    return BasisCost(
        "basis", cycles, each_s, total_s, sum(spent.values()), spent, area_m2, 0.0, 0.0, reads / jobs if jobs else None,
        ("column switches: assumed figures; coefficient memory: one of 32 KiB an array, whose leakage and area are counted",),
    )  # fmt: skip


def area_and_leakage(chip: ChipSpec, parts: tuple[Installed, ...], design: BasisArraySpec) -> tuple[float, float]:
    """Return area and leakage of the arrays with their tiles, switches and coefficient memories."""
    tiles = math.ceil(design.arrays / chip.hardware.arrays_per_tile)
    macros = math.ceil(design.arrays / chip.hardware.arrays_per_macro)
    units = {"array": design.arrays, "macro": macros, "tile": tiles, "chip": 1}
    area_m2 = sum(part.instances(units) * part.figures.area_m2 for part in parts)
    leakage_w = sum(part.instances(units) * part.figures.leakage_w for part in parts)
    switch = evaluate(load_component("column-switch"), Request(node_m=chip.hardware.node_m))
    memory = evaluate(load_component("sram-buffer"), Request(node_m=chip.hardware.node_m, capacity_bits=_CONTROL_BITS))
    per_array = (
        2 * design.vectors * 2 * design.lines
    )  # each column of a pair onto the positive or the negative side of a line
    area_m2 += design.arrays * (per_array * switch.area_m2 + memory.area_m2)
    return area_m2, leakage_w + design.arrays * memory.leakage_w


def _figure(component: str, chip: ChipSpec, action: str, *, capacity_bits: float | None = None) -> float:
    figures = evaluate(
        load_component(component),
        Request(node_m=chip.hardware.node_m, capacity_bits=capacity_bits, vdd_v=chip.hardware.vdd_v),
    )
    return figures.energy_j[action]


def _plan(shape: LayerShape, layer: LayerCycles, design: BasisArraySpec, seen: ChipSpec) -> LayerPlan:
    """Return the layer's plan with the work that it does on the basis."""
    plan = plan_layer(shape, seen)
    array = seen.array
    reads = layer.positions * layer.planes
    driven = reads * shape.rows * shape.groups * design.sets
    density = plan.activity.input_density
    mean_g_s = 0.5 * (seen.cell.g_on_s + seen.cell.g_off_s)
    work = replace(
        plan.activity,
        array_reads=reads * sum(layer.groups),
        rows_driven=driven,
        dac_conversions=driven,
        adc_conversions=reads * layer.reads,
        shift_adds=reads * layer.reads,
        digital_adds=layer.positions * layer.kernels * (layer.blocks * design.sets - 1),
        input_register_bits=driven * seen.inputs.dac_bits,
        cell_energy_j=reads * layer.cell_rows_on * 2 * density * array.read_voltage_v**2 * array.read_time_s * mean_g_s,
        energy_basis=f"assumed: mean squared input {density:.3g}, conductances at mid window, switched columns only",
    )
    return replace(plan, activity=work)
