"""Where the accuracy goes and what the cells dissipate: per-layer signal-to-noise, clipping, measured activity."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstile.crossbar.matrix import histogram_edges
from crosstile.crossbar.program import Window
from crosstile.mapping.plan import LayerPlan
from crosstile.mapping.replace import MappedNetwork
from crosstile.nn.layer import MappedLayer

SAMPLES = 32
"""Samples that per-layer errors and activity are measured on."""


@dataclass(frozen=True)
class LayerAnalysis:
    """What was measured of one layer."""

    snr_db: float
    """Signal to error at the output given the digital layer's inputs; infinite without error."""
    snr_cumulative_db: float
    """Signal to error at the output with the errors of all layers before it."""
    plan: LayerPlan
    """The layer's plan with measured cell energy and input density."""
    samples: int


def _snr_db(reference: Tensor, value: Tensor) -> float:
    signal = float((reference.double() ** 2).sum())
    error = float(((value.double() - reference.double()) ** 2).sum())
    if error == 0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0 else -math.inf


def _run(mapped: MappedNetwork, x: Tensor, *, digital: bool) -> dict[str, dict[str, Tensor]]:
    records: dict[str, dict[str, Tensor]] = {}
    for name, layer in mapped.layers.items():
        layer.record = records[name] = {}
    mapped.state.digital = digital
    try:
        mapped.seek(0)
        with torch.inference_mode():
            mapped(x)
    finally:
        mapped.state.digital = False
        for layer in mapped.layers.values():
            layer.record = None
        mapped.seek(0)
    return records


def measured_plan(layer: MappedLayer, x: Tensor) -> LayerPlan:
    """Return the plan with the ohmic energy of real inputs on the programmed conductances.

    Each driven cell dissipates G V^2 t with V in proportion to the input digit; the cells of a word line
    share its voltage.
    """
    chip, scale = layer.chip, layer.scale
    q = scale.quantise(x)
    inputs = layer.make_inputs(q)
    step, planes = chip.inputs.dac_bits, -(-scale.magnitude_bits // chip.inputs.dac_bits)
    values = np.arange(scale.largest + 1)
    squares = sum(((values >> (p * step)) & chip.max_digit).astype(np.float64) ** 2 for p in range(planes))
    table = torch.from_numpy(np.asarray(squares) / chip.max_digit**2)
    energy, driven, total = 0.0, 0.0, 0.0
    per_read_j = chip.array.read_voltage_v**2 * chip.array.read_time_s
    for start in range(0, len(q), 4):
        part = inputs if len(q) <= 4 else layer.make_inputs(q[start : start + 4])
        squared = part.vectors(table[q[start : start + 4].abs().to(torch.int64).cpu()])
        mean = squared.sum(dim=0).numpy()
        for pack, matrix in zip(layer.plan.packs, layer.packs, strict=True):
            rows = mean[layer.pack_rows(pack)]
            energy += float(rows @ matrix.row_conductance_s) * per_read_j
            driven += float(rows.sum())
            total += len(rows) * len(squared) * planes
    samples = max(1, len(q) * inputs.positions // max(layer.shape.positions, 1))
    activity = dataclasses.replace(
        layer.plan.activity,
        cell_energy_j=energy / samples,
        input_density=driven / total if total else 0.0,
        energy_basis=f"measured on {samples} samples and the programmed conductances",
    )
    return dataclasses.replace(layer.plan, activity=activity)


def analyse(mapped: MappedNetwork, x: Tensor) -> dict[str, LayerAnalysis]:
    """Measure each layer of a programmed network on a few samples; counts and noise streams are left as they were.

    Args:
        x: (samples, ...) inputs; the first :data:`SAMPLES` are used.
    """
    x = x[:SAMPLES]
    counters = {name: layer.total_calls for name, layer in mapped.layers.items()}
    reference = _run(mapped, x, digital=True)
    actual = _run(mapped, x, digital=False)
    found = {}
    mapped.state.batch = len(x)
    with torch.inference_mode():
        for name, layer in mapped.layers.items():
            wanted = reference[name]["output"]
            layer.calls = 0
            local = layer.compute(reference[name]["input"])
            found[name] = LayerAnalysis(
                snr_db=_snr_db(wanted, local),
                snr_cumulative_db=_snr_db(wanted, actual[name]["output"]),
                plan=measured_plan(layer, actual[name]["input"]),
                samples=len(x),
            )
    for name, layer in mapped.layers.items():
        layer.total_calls = counters[name]
    mapped.seek(0)
    return found


def plans_by_digital_inputs(mapped: MappedNetwork, x: Tensor) -> list[LayerPlan]:
    """Return the layers' plans with the ohmic energy that the digital network's activations take on the programmed cells.

    Other converters then change no energy, as they change no current of a layer with the same inputs.
    """
    counters = {name: layer.total_calls for name, layer in mapped.layers.items()}
    inputs = _run(mapped, x, digital=True)
    for name, layer in mapped.layers.items():
        layer.total_calls = counters[name]
    mapped.seek(0)
    return [measured_plan(layer, inputs[name]["input"]) for name, layer in mapped.layers.items()]


def conductance_histogram(layer: MappedLayer) -> dict[str, list[float] | list[int]]:
    """Return the histogram of a layer's cells: bin edges in siemens, counts of targets and of programmed cells."""
    edges = Window.of(layer.chip).to_siemens(histogram_edges(layer.chip))
    target = np.sum([matrix.histogram[0] for matrix in layer.packs], axis=0)
    programmed = np.sum([matrix.histogram[1] for matrix in layer.packs], axis=0)
    edges[0] = 0.0  # up to rounding it is
    return {
        "edges_s": [float(e) for e in edges],
        "target": [int(n) for n in target],
        "programmed": [int(n) for n in programmed],
    }
