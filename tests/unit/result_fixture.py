"""A realistic result for the tests of result, report, tables and writer: LeNet-5 or a deep chain."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.specs.cell import CellSpec
from crosstile.specs.chip import ChipSpec
from crosstile.study.result import Result

LENET = (
    LayerShape("features.0", "conv2d", 1, 25, 6, 1, 784, 784, 4704, False),
    LayerShape("features.3", "conv2d", 6, 25, 16, 1, 100, 1176, 1600, False),
    LayerShape("classifier.0", "linear", 400, 1, 120, 1, 1, 400, 120, False),
    LayerShape("classifier.2", "linear", 120, 1, 84, 1, 1, 120, 84, False),
    LayerShape("classifier.4", "linear", 84, 1, 10, 1, 1, 84, 10, True),
)
ROLES = ("cell_array", "dac", "sample_hold", "adc", "shift_add", "adder", "input_register", "output_register",
         "buffer", "bus", "network", "activation", "pooling", "leakage")  # fmt: skip
PER_ACTION_J = (
    0.0,
    4e-15,
    1e-14,
    1.67e-12,
    5e-14,
    6e-14,
    1e-15,
    1e-15,
    9e-15,
    2e-15,
    1.3e-14,
    2e-14,
    0.0,
    0.0,
)
AREA_M2 = (
    2.5e-11,
    1.7e-13,
    4e-14,
    1.2e-9,
    6e-11,
    6e-11,
    2.1e-10,
    7.7e-11,
    8.3e-9,
    9e-9,
    3.8e-8,
    3e-10,
    2.4e-10,
    0,
)
NOTES = ("pooling has no energy model yet; its area and leakage are counted",
         "weights stay on the chip; programming energy is not part of a sample")  # fmt: skip


def deep_shapes(count: int) -> tuple[LayerShape, ...]:
    """A chain of equal convolutions with the long names that residual networks have."""
    return tuple(
        LayerShape(f"layer{1 + i // 6}.{i // 2 % 3}.conv{1 + i % 2}", "conv2d", 16, 9, 16, 1, 256, 4096, 4096, i > 9)
        for i in range(count)
    )


def example_chip() -> ChipSpec:
    """An 8-bit chip with 2-bit cells, 128 x 128 arrays."""
    cell = CellSpec(name="hfo2-test", technology="ReRAM", g_on_s=25e-6, g_off_s=1.5e-6)
    return ChipSpec(name="example-isaac-like", description="128 x 128 arrays, 2-bit cells", cell=cell)


def _gauss_counts(bins: int, cells: int, width: float) -> list[int]:
    counts = [0] * bins
    for level, share in enumerate((0.62, 0.21, 0.11, 0.06)):
        centre = level * (bins - 9) / 3 + 4
        if width == 0:
            counts[round(centre)] += round(cells * share)
            continue
        for i in range(bins):
            height = math.exp(-0.5 * ((i - centre) / width) ** 2) / (width * math.sqrt(2 * math.pi))
            counts[i] += round(cells * share * height)
    return counts


def _layer(shape: LayerShape, index: int, chip: ChipSpec) -> dict[str, Any]:
    plan = plan_layer(shape, chip)
    work = plan.activity
    counts = (0, work.dac_conversions, work.adc_conversions, work.adc_conversions, work.shift_adds,
              work.digital_adds, work.input_register_bits, work.output_register_bits, work.buffer_read_bits,
              work.buffer_read_bits, work.network_bits, shape.output_elements, 0, 0)  # fmt: skip
    spent = {role: n * e for role, n, e in zip(ROLES, counts, PER_ACTION_J, strict=True)}
    spent["cell_array"] = work.cell_energy_j
    compute_s = shape.positions * work.reads_in_series * 100e-9
    spent["leakage"] = 2e-4 * compute_s
    bins, cells = 60, plan.cells_used
    return {
        "name": shape.name, "kind": shape.kind, "rows": shape.rows, "outputs": shape.outputs,
        "groups": shape.groups, "positions": shape.positions, "macs": shape.macs, "arrays": plan.arrays,
        "row_blocks": len(plan.packs[0].blocks), "utilisation": plan.utilisation, "engine": "planes",
        "signed_inputs": shape.signed_inputs, "input_scale": 0.0123 + 0.001 * index, "adc_bits": 8,
        "saturation": 1e-4 * (1 + index), "saturation_per_slice": [2e-4 * (1 + index), 1e-5, 3e-4, 0.0],
        "snr_db": 31.0 - 0.9 * index % 7, "snr_cumulative_db": 30.0 - 0.35 * index,
        "energy_j": sum(spent.values()), "latency_s": compute_s * 1.03,
        "latency_by_part_s": {"compute": compute_s, "drain": 0.0, "buffer": 0.02 * compute_s,
                              "network": 0.01 * compute_s, "chip_io": 0.0},
        "limited_by": "array", "energy_by_component": spent,
        "conductance": {"edges_s": [i * 0.5e-6 for i in range(bins + 1)],
                        "target": _gauss_counts(bins, cells, 0),
                        "programmed": _gauss_counts(bins, cells, 1.8)},
        "activity": asdict(work),
    }  # fmt: skip


HEAT = {
    "rate_hz": 900.0, "power_w": 0.4, "ambient_k": 300.0, "peak_k": 331.2, "mean_k": 318.0, "leakage_w": 0.01,
    "tiles_k": [[331.0, 316.0], [307.0, None]], "tiles_w": [[0.3, 0.08], [0.02, None]],
}  # fmt: skip


def _timeline(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Layers one after the other; the last is written in a second round."""
    stages, now = [], 0.0
    for number, layer in enumerate(layers):
        second = number == len(layers) - 1 > 0
        end = now + layer["latency_s"]
        stages.append(
            {"layer": layer["name"], "piece": 0, "round": int(second), "copies": 1 + number % 2, "arrays": layer["arrays"],
             "start_s": now, "end_s": end, "busy_s": layer["latency_s"], "batch_end_s": end,
             "limited_by": ("array", "converter", "transfers")[number % 3]}
        )  # fmt: skip
        now = end
    rounds = [
        {"start_s": 0.0, "reload_s": 1e-6, "arrays_written": 4},
        {"start_s": 0.9 * now, "reload_s": 2e-6, "arrays_written": 1},
    ]
    return {
        "mode": "layer_serial", "duplication": "greedy", "batch": 1, "latency_s": now, "batch_latency_s": now, "interval_s": now,
        "bottleneck": layers[0]["name"] if layers else "none", "array_utilisation": 0.3, "buffer_bits": 5e5,
        "spilled_bits": 100.0,
        "stages": stages, "rounds": rounds, "notes": ["10 write-verify cycles: assumed"],
    }  # fmt: skip


def example_dict(shapes: tuple[LayerShape, ...] = LENET) -> dict[str, Any]:
    """The fields of a valid result; tests change them before they build it."""
    chip = example_chip()
    layers = [_layer(shape, i, chip) for i, shape in enumerate(shapes)]
    energy_j = sum(layer["energy_j"] for layer in layers)
    latency_s = sum(layer["latency_s"] for layer in layers)
    area_m2 = 16 * sum(AREA_M2)
    macs = sum(shape.macs for shape in shapes)
    components = [
        {"name": role, "role": role, "component": f"{role.replace('_', '-')}-isaac", "count": 16,
         "energy_j": sum(layer["energy_by_component"][role] for layer in layers), "area_m2": 16 * area,
         "leakage_w": 1e-5, "source": "A. Author et al., A Work on Accelerators, ISCA 2016, Table 6",
         "tag": "derived" if role == "leakage" else "published"}
        for role, area in zip(ROLES, AREA_M2, strict=True)
    ]  # fmt: skip
    accuracy = [0.9705, 0.9720, 0.9698, 0.9731, 0.9712]
    return {
        "created": "2025-01-02T03:04:05Z",
        "command": "crosstile run --model lenet5 --chip isaac.yaml --trials 5 --seed 7 --out results/lenet5",
        "model": {"name": "lenet5", "weights": "bundled", "parameters": 61706,
                  "reference": "LeCun et al., Gradient-based learning, Proc. IEEE 1998"},
        "data": {"name": "mnist5k", "samples": 1000, "classes": 10, "calibration_samples": 256,
                 "calibration_origin": "training part, apart from the test samples", "source": "bundled",
                 "licence": "CC BY-SA 3.0", "reference": None},
        "chip": chip.model_dump(mode="json"),
        "chip_yaml": "name: example-isaac-like\ncell: hfo2-test\narray:\n  rows: 128\n  columns: 128\n"
                     "  read_voltage: 0.2 V\n",
        "seed": 7, "trials": 5, "batch": 128, "device": "cpu",
        "versions": {"crosstile": "0.1.0", "python": "3.12.1", "torch": "2.6.0", "numpy": "2.1.0",
                     "numba": "0.60.0", "platform": "Linux x86_64"},
        "accuracy": {"digital": 0.984, "quantised": 0.981, "mean": sum(accuracy) / 5,
                     "ci95": [0.9697, 0.9730],
                     "per_trial": accuracy, "samples": 1000, "drop": 0.984 - sum(accuracy) / 5,
                     "method": "Student's t over 5 programmed chips"},
        "cost": {"schedule": "layer_serial", "node_m": 32e-9, "energy_j": energy_j, "latency_s": latency_s,
                 "latency_pipelined_s": 0.6 * latency_s, "throughput_per_s": 1.8 / latency_s,
                 "area_m2": area_m2,
                 "power_w": energy_j / latency_s, "edp_js": energy_j * latency_s,
                 "edap": energy_j * latency_s * area_m2, "tops_per_w": 2e-12 * macs / energy_j,
                 "tops_per_mm2": 2e-12 * macs / latency_s / (area_m2 * 1e6), "tops_per_w_peak": 0.64,
                 "tops_per_mm2_peak": 0.478, "utilisation": 0.41, "arrays_used": 9, "arrays_built": 16,
                 "macs": macs, "notes": NOTES},
        "layers": layers, "components": components,
        "timeline": _timeline(layers), "heat": HEAT,
        "programming": {"cells": 246_824, "writes_per_cell": 3.7, "unconverged_share": 0.0021},
        "references": [{"text": "A. Author et al., A Work on Accelerators, ISCA 2016",
                        "used_for": "component figures"}],
        "timings": {"load": 0.4, "calibrate": 1.9, "evaluate": 42.5},
        "notes": ["Line resistance is not modelled in this run."],
    }  # fmt: skip


def example_result(shapes: tuple[LayerShape, ...] = LENET, **changes: Any) -> Result:
    """A valid result, with top-level fields replaced by ``changes``."""
    return Result.model_validate(example_dict(shapes) | changes)
