"""The components of one chip's hardware section, resolved: figures of one instance and how many there are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from crosstile.cost.components import evaluate
from crosstile.cost.figures import Figures, Request
from crosstile.cost.library import ComponentSpec, load_component
from crosstile.cost.scaling import node_range_m
from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.hardware import Unit


@dataclass(frozen=True)
class Installed:
    """One entry of ``hardware.components`` on a certain chip."""

    name: str
    role: str
    component: ComponentSpec
    per: Unit
    count: float
    """Instances per unit; below 1 when several units share one."""
    figures: Figures
    width_bits: int | None
    """Operand width of an adder, where it has one."""
    source: str
    tag: str

    def instances(self, units: dict[str, int]) -> int:
        """Return the instances for so many arrays, macros, tiles and chips, rounded up to whole ones."""
        return math.ceil(self.count * units[self.per] - 1e-9)


_WORKING = (
    "dac", "adc", "shift_add", "adder", "input_register", "output_register", "buffer", "bus",
    "network", "activation",
)  # fmt: skip


def adc_bits(chip: ChipSpec) -> int:
    """Return the resolution that the converters are costed at; an ideal one costs as a lossless one."""
    return chip.lossless_adc_bits if chip.adc.bits is None else chip.adc.bits


def accumulator_bits(chip: ChipSpec) -> int:
    """Return the adder width that loses nothing: converter, input and weight bits (ZigZag's rule)."""
    return adc_bits(chip) + chip.inputs.bits + (chip.weights.bits or 0)


def operand_bits(chip: ChipSpec) -> int:
    """Return the width of the products that a digital array adds: the bits of a weight (1 for a continuous one)."""
    return chip.weights.bits or 1


def trees_per_output(chip: ChipSpec, width_bits: int) -> int:
    """Return the adder trees of ``width_bits`` that one output takes: as many as its weight has groups of so many bits."""
    return math.ceil(operand_bits(chip) / width_bits)


def install(chip: ChipSpec) -> tuple[Installed, ...]:
    """Resolve every component of ``chip``; a component in a role it cannot fill raises :class:`SpecError`."""
    chip.require_uniform("this study")
    hardware, rows, columns = chip.hardware, chip.array.rows_built, chip.array.columns_built
    if hardware.adcs_for(columns) > columns:
        raise SpecError(
            f"chip {chip.name!r}: hardware.adcs_per_array is {hardware.adcs_for(columns):.4g}, but an array "
            f"has {columns} columns and a converter needs one of its own; lower it to {columns} or less."
        )
    found = []
    for key, use in hardware.components.items():
        role = hardware.role_of(key)
        component = load_component(use.component)
        if role not in component.roles and role != "static":
            raise SpecError(
                f"chip {chip.name!r}: hardware.components.{key}: {use.component} is a component for "
                f"{', '.join(component.roles)}, not for {role}; choose another component or another role."
            )
        bits = {"adc": adc_bits(chip), "dac": chip.inputs.dac_bits}.get(role)
        given_settings = {
            "width": use.width_bits, "capacity": use.capacity_bits, "length": use.length_m, "capacitance": use.capacitance_f,
        }  # fmt: skip
        for what, given in given_settings.items():
            if given is not None and what not in component.takes:
                raise SpecError(
                    f"chip {chip.name!r}: hardware.components.{key}: {use.component} has no {what} to scale "
                    f"with; remove {what}, or replace its energy and area."
                )
        width = use.width_bits
        if width is None and "width" in component.takes:
            width = operand_bits(chip) if role == "adder_tree" else accumulator_bits(chip)
        request = Request(
            node_m=hardware.node_m, bits=bits, width_bits=width, capacity_bits=use.capacity_bits,
            rate_hz=use.rate_hz, rows=rows, columns=columns,
            cell_area_f2=chip.cell.height_f * chip.cell.width_f, read_time_s=chip.array.read_time_s,
            read_voltage_v=chip.array.read_voltage_v,
            active_rows=chip.array.rows_per_read, input_bits=chip.inputs.dac_bits, weight_bits=operand_bits(chip),
            cells_per_column=(chip.weights.cell_bits or 1) if chip.cell.technology == "SRAM" else 1,
            columns_per_adc=math.ceil(columns / hardware.adcs_for(columns) - 1e-9),
            length_m=use.length_m, capacitance_f=use.capacitance_f, vdd_v=hardware.vdd_v,
        )  # fmt: skip
        try:
            figures = evaluate(component, request)
        except SpecError as error:
            raise SpecError(f"chip {chip.name!r}: hardware.components.{key}: {error}") from None
        if use.energy_j is not None:
            energy_j = dict.fromkeys(figures.energy_j or {"read": 0.0}, use.energy_j)
            figures = replace(figures, energy_j=energy_j, busy_power_w=None)
        if use.area_m2 is not None:
            figures = replace(figures, area_m2=use.area_m2)
        if use.leakage_w is not None:
            figures = replace(figures, leakage_w=use.leakage_w)
        source, tag = component.source, str(component.weakest_tag)
        if use.replaces:
            source, tag = f"{', '.join(use.replaces)}: {use.source}; else {source}", "assumed"
        per, count = hardware.per_of(key), hardware.count_of(key, rows, columns)
        if role == "adder_tree" and use.count is None and per == "array":
            count = float(chip.outputs_per_array * trees_per_output(chip, width or 1))
        found.append(Installed(key, role, component, per, count, figures, width, source, tag))
    return tuple(found)


def by_role(parts: tuple[Installed, ...], role: str) -> tuple[Installed, ...]:
    """Return the parts that fill ``role``, in the order of the hardware section."""
    return tuple(part for part in parts if part.role == role)


def notes_of(chip: ChipSpec, parts: tuple[Installed, ...]) -> list[str]:
    """Return what a reader of the figures of this chip has to know."""
    notes = [note for part in parts for note in part.figures.notes]
    digital = bool(by_role(parts, "adder_tree"))  # sums in gates: there is nothing to convert
    if chip.adc.bits is None and not digital:
        notes.append(f"ideal converter: costed as one of {adc_bits(chip)} bits, the least that loses nothing")
        if chip.weights.continuous:
            notes.append("continuous weights have no lossless resolution; on/off cells were taken for it")
    low, high = node_range_m()
    if not low <= chip.hardware.node_m <= high:
        node = f"node {chip.hardware.node_m * 1e9:.4g} nm"
        notes.append(f"{node} is outside the scaling tables ({high * 1e9:.4g} to {low * 1e9:.4g} nm): extrapolated")
    notes += [
        f"no {role} is described: neither its energy, area nor time is counted"
        for role in _WORKING
        if not by_role(parts, role) and not (digital and role == "adc")
    ]
    if not by_role(parts, "chip_io"):
        notes.append("no chip_io is described: moving inputs and results on and off the chip is not counted")
    if not by_role(parts, "sample_hold") and not digital and chip.hardware.read_cycle_s is None:
        notes.append("no sample_hold: reads are held while converted; cell energy is for the read time alone")
    if by_role(parts, "pooling"):
        notes.append("pooling: area and leakage only")
    if chip.hardware.tiles is not None:
        notes.append("tiles is set: area and leakage are those of the whole chip, used or not")
    return notes
