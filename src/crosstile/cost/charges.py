"""Who pays for what: the energy of one layer's activity by component.

Each role is charged its own count of the activity record times the energy of its action; memories and links
by bits over the bits of one access, so a part of an access counts as a part.
"""

from __future__ import annotations

from crosstile.cost.installed import Installed, operand_bits, trees_per_output
from crosstile.mapping.plan import LayerPlan
from crosstile.specs.chip import ChipSpec


def io_bits(plan: LayerPlan, chip: ChipSpec, first: bool, last: bool) -> int:
    """Return the bits that cross the chip's edge with this layer: network inputs and results."""
    elements = (plan.shape.input_elements if first else 0) + (plan.shape.output_elements if last else 0)
    return elements * chip.inputs.bits


def outputs_summed(plan: LayerPlan, chip: ChipSpec) -> float:
    """Return outputs times reads: the sums that digital arrays make for one sample."""
    weights = chip.weights
    pair = 2 if weights.encoding == "differential" and weights.difference == "digital" else 1
    unit = plan.activity.array_reads if chip.has_unit_column else 0  # its sum is not an output's
    return (plan.activity.adc_conversions - unit) / (weights.slices * pair)


def digital_trees(chip: ChipSpec) -> int | None:
    """Return the adder trees of one output in a digital array; ``None`` where sums are made in analog."""
    hardware = chip.hardware
    keys = [key for key in hardware.components if hardware.role_of(key) == "adder_tree"]
    if not keys:
        return None
    return sum(trees_per_output(chip, hardware.components[key].width_bits or operand_bits(chip)) for key in keys)


def charge(part: Installed, plan: LayerPlan, chip: ChipSpec, *, first: bool, last: bool) -> float:
    """Return the energy in joules that ``part`` takes for one sample in the layer of ``plan``."""
    work, energy_j, role = plan.activity, part.figures.energy_j, part.role
    access = part.figures.access_bits
    if role == "cell_array":
        # A component with an energy of its own is blind to data; else the ohmic energy of the record.
        own = "read" in energy_j
        return work.array_reads * energy_j["read"] if own else work.cell_energy_j * part.figures.cell_energy_factor
    if role == "dac":
        return work.dac_conversions * energy_j["convert"]
    if role == "mux":
        return work.adc_conversions * energy_j["select"]
    if role == "amplifier":
        return work.adc_conversions * energy_j["settle"]
    if role == "adder_tree":
        # A read of an array sums each of its outputs once, in as many trees as the weight has groups of bits.
        return outputs_summed(plan, chip) * trees_per_output(chip, part.width_bits or 1) * energy_j["add"]
    if role == "sample_hold":
        return work.adc_conversions * energy_j["sample"]
    if role == "adc":
        return work.adc_conversions * energy_j["convert"]
    if role == "shift_add":
        # In a digital array the sums of the trees are accumulated, one each; else every conversion is.
        trees = digital_trees(chip)
        return (work.shift_adds if trees is None else outputs_summed(plan, chip) * trees) * energy_j["add"]
    if role == "adder":
        return work.digital_adds * energy_j["add"]
    if role == "input_register":
        return (work.input_register_bits * energy_j["read"] + work.buffer_read_bits * energy_j["write"]) / access
    if role == "output_register":
        return work.output_register_bits * (energy_j["read"] + energy_j["write"]) / access
    if role == "buffer":
        return (work.buffer_read_bits * energy_j["read"] + work.buffer_write_bits * energy_j["write"]) / access
    if role == "bus":
        return (work.buffer_read_bits + work.output_register_bits) * energy_j["transfer"] / access
    if role == "network":
        return work.network_bits * chip.hardware.network_hops * energy_j["transfer"] / access
    if role == "activation":
        return plan.shape.output_elements * energy_j["activate"]
    if role == "chip_io":
        return io_bits(plan, chip, first, last) * energy_j["transfer"] / access
    return 0.0  # pooling and static: area and leakage only
