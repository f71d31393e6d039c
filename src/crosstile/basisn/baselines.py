"""What a basis is compared with, each by its name, on the same number of arrays of the same chip.

``reprogramming``  the network's own weights, written round by round (:mod:`crosstile.system.schedule`), copies where they pay;
                   pipelined within a round, and weights come from the memory off the chip.
``identity``       a basis of unit vectors: coefficients are the weights, read bit by bit, all columns wanted by all kernels.
``per layer``      a basis for each layer, rewritten between layers by the same write model.
``digital``        all columns converted once a position, block and plane; coefficients multiplied and added by digital logic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from crosstile.basisn.arrays import coefficient_chip
from crosstile.basisn.cost import BasisCost, area_and_leakage, basis_cost, cycle_s
from crosstile.basisn.cycles import BasisArraySpec, LayerCycles, layer_cycles_at_rate
from crosstile.cost.charges import charge
from crosstile.cost.components import evaluate
from crosstile.cost.figures import Request
from crosstile.cost.installed import adc_bits, install
from crosstile.cost.latency import layer_time
from crosstile.cost.library import load_component
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, input_planes, plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import evaluate_table
from crosstile.system.reload import write_model
from crosstile.system.stages import stage_table
from crosstile.workloads.graph import Network


def with_write_model(chip: ChipSpec, parallelism: str, cycles: float) -> ChipSpec:
    """Return ``chip`` with cells, rows or whole arrays written at once, in so many write-verify cycles."""
    if parallelism not in ("cell", "row", "array"):
        raise SpecError(f"write model: cell, row or array is wanted, found {parallelism!r}.")
    found: ChipSpec = chip.replaced(write__parallelism=parallelism, write__cycles=cycles)
    return found


def reprogramming(network: Network, chip: ChipSpec, arrays: int, batch: int) -> BasisCost:
    """Return what the network's own weights take on ``arrays`` arrays, rewritten in rounds for each batch."""
    running: ChipSpec = chip.replaced(hardware__pipeline="pipelined", hardware__tiles=None)
    table = stage_table(network, running)
    found = evaluate_table(table, arrays=arrays, batch=batch, duplication="greedy")
    plan = found.schedule
    each_s = cycle_s(chip, table.parts, _conversions(chip))
    time_s = plan.batch_latency_s / batch
    return BasisCost(
        "reprogramming", math.ceil(time_s / each_s), each_s, time_s, found.energy_j, found.energy_by_component_j, found.area_m2,
        plan.write_time_per_sample_s, plan.write_energy_per_sample_j, None, found.notes,
    )  # fmt: skip


def _conversions(chip: ChipSpec) -> int:
    return chip.outputs_per_array * chip.weights.slices


def identity(shapes: Sequence[LayerShape], chip: ChipSpec, design: BasisArraySpec) -> BasisCost:
    """Return what unit vectors take: every kernel wants every column of its rows, so that a cycle serves one kernel."""
    bits = chip.weights.bits or 8
    unit = replace(design, sets=1, vectors=chip.array.rows, lines=1, bits=min(bits, 8))
    support = 0.5 * chip.array.rows  # half of the bits of a weight are set
    layers = [layer_cycles_at_rate(shape, unit, chip, 1.0, support) for shape in shapes]
    return replace(basis_cost(shapes, layers, unit, chip), name="identity")


def per_layer(
    shapes: Sequence[LayerShape], layers: Sequence[LayerCycles], design: BasisArraySpec, chip: ChipSpec, batch: int
) -> BasisCost:
    """Return what a basis for each layer takes: the same cycles, and all arrays rewritten before each layer, once a batch."""
    once, model = basis_cost(shapes, layers, design, chip), write_model(chip)
    write_s = len(shapes) * model.time_s(design.arrays, design.sets) / batch
    write_j = len(shapes) * model.energy_j(design.arrays, design.sets) / batch
    return replace(
        once, name="per layer", time_s=once.time_s + write_s, energy_j=once.energy_j + write_j, write_time_s=write_s,
        write_energy_j=write_j, cycles=once.cycles + math.ceil(write_s / once.cycle_s),
        energy_by_component_j=once.energy_by_component_j | {"writes": write_j}, notes=(*once.notes, *model.notes),
    )  # fmt: skip


def digital(shapes: Sequence[LayerShape], chip: ChipSpec, design: BasisArraySpec) -> BasisCost:
    """Return what converting all columns takes, with coefficients applied by multipliers and adders."""
    seen, parts = coefficient_chip(chip, design.bits), install(chip)
    each_s = cycle_s(chip, parts, design.vectors)
    spent = {part.name: 0.0 for part in parts} | {"digital products": 0.0}
    total_s, cycles, last = 0.0, 0, len(shapes) - 1
    for number, shape in enumerate(shapes):
        plan = plan_layer(shape, seen)
        planes, phases = input_planes(chip, shape.signed_inputs)
        blocks, reads = len(plan.packs[0].blocks), shape.positions * planes * phases
        taken = max(math.ceil(reads * blocks / design.copies), planes * phases)
        driven = reads * shape.rows * design.sets
        work = replace(
            plan.activity, array_reads=reads * blocks * design.sets, rows_driven=driven, dac_conversions=driven,
            adc_conversions=reads * blocks * design.sets * design.vectors,
            shift_adds=reads * blocks * design.sets * design.vectors,
            digital_adds=shape.positions * shape.outputs * (blocks * design.sets - 1),
            input_register_bits=driven * chip.inputs.dac_bits,
            cell_energy_j=reads * shape.rows * design.sets * design.vectors * 2 * plan.activity.input_density
            * chip.array.read_voltage_v**2 * chip.array.read_time_s * 0.5 * (chip.cell.g_on_s + chip.cell.g_off_s),
        )  # fmt: skip
        plan = replace(plan, activity=work)
        moved = layer_time(replace(plan, arrays=design.arrays), seen, parts, first=number == 0, last=number == last)
        total_s += taken * each_s + moved.drain_s + moved.buffer_s + moved.network_s + moved.chip_io_s
        cycles += taken
        for part in parts:
            spent[part.name] += charge(part, plan, seen, first=number == 0, last=number == last)
        products = shape.positions * shape.outputs * shape.groups * blocks * design.sets * design.vectors
        spent["digital products"] += products * _mac_j(chip, design.bits, planes)
    area_m2, leakage_w = area_and_leakage(chip, parts, design)
    spent["leakage"] = leakage_w * total_s
    note = "digital products are taken to be done in time; their area is not counted"
    return BasisCost("digital", cycles, each_s, total_s, sum(spent.values()), spent, area_m2, 0.0, 0.0, None, (note,))


def _mac_j(chip: ChipSpec, bits: int, planes: int) -> float:
    """Return the energy of one product of a coefficient with a converted dot product, and its addition."""
    width = adc_bits(chip) + planes
    node_m, vdd_v = chip.hardware.node_m, chip.hardware.vdd_v
    # The multiplier's width is the product of both widths over 32.
    times = evaluate(
        load_component("multiplier-aladdin"),
        Request(node_m=node_m, width_bits=max(1, round(bits * width / 32)), vdd_v=vdd_v),
    )
    plus = evaluate(load_component("adder-aladdin"), Request(node_m=node_m, width_bits=width + bits, vdd_v=vdd_v))
    return times.energy_j["add"] + plus.energy_j["add"]
