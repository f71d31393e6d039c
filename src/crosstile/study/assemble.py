"""From what a run measured to the result that is written."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from crosstile.citation import References
from crosstile.crossbar.wired import SolverWork
from crosstile.datasets import Dataset
from crosstile.mapping.replace import MappedNetwork
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml
from crosstile.study.ageing import AgedAccuracy
from crosstile.study.analyse import LayerAnalysis, conductance_histogram
from crosstile.study.montecarlo import AccuracyResult
from crosstile.study.options import RunOptions
from crosstile.study.result import (
    Accuracy,
    DataInfo,
    LayerResult,
    ModelInfo,
    Result,
    Versions,
    components_from_estimate,
    cost_from_estimate,
    layer_costs_from_estimate,
)
from crosstile.study.result_chip import Heat, Timeline
from crosstile.study.wires import WireLoss
from crosstile.zoo import LoadedModel


def package_version() -> str:
    """Return the installed version of Crosstile."""
    return importlib.metadata.version("crosstile")


def _references(
    loaded: LoadedModel, data: Dataset, chip: ChipSpec, components: list[dict[str, Any]]
) -> list[dict[str, str]]:
    works = References()
    for text in chip.references:
        works.add(text, f"chip {chip.name}")
    if loaded.info is not None:
        works.add(loaded.info.reference, f"network {loaded.name}")
    works.add(data.reference, f"data set {data.name}")
    for name, sourced in chip.cell.sources.items():
        works.add(sourced.source, f"cell {chip.cell.name}: {name} ({sourced.tag})")
    for effect in chip.cell.effects:
        works.add(effect.reference, f"effect {effect.kind}")
    for component in components:
        if component["role"] != "leakage":
            works.add(component["source"], f"component {component['component']} ({component['tag']})")
    return works.as_list()


def versions() -> Versions:
    """Return the software that computes here."""
    found = {
        "crosstile": package_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": importlib.metadata.version("numba"),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    return Versions.model_validate(found)


def model_info(loaded: LoadedModel) -> ModelInfo:
    """Return what a result says of the network."""
    return ModelInfo(
        name=loaded.name,
        weights=loaded.weights,
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        reference=loaded.info.reference if loaded.info else None,
    )


def data_info(data: Dataset, samples: int, calibration_samples: int) -> DataInfo:
    """Return what a result says of the samples."""
    return DataInfo(
        name=data.name, samples=samples, classes=data.num_classes, calibration_samples=calibration_samples,
        calibration_origin=data.calibration_origin, source=data.source, licence=data.licence, reference=data.reference,
    )  # fmt: skip


def _layer_results(
    mapped: MappedNetwork, analysis: dict[str, LayerAnalysis], cost: dict[str, Any], loss: WireLoss | None
) -> list[LayerResult]:
    results = []
    for (name, layer), costs in zip(mapped.layers.items(), cost["layers"], strict=True):
        found, shape, plan = analysis[name], layer.shape, analysis[name].plan
        clipping = layer.clipping()
        saturation: float | None = None
        per_slice: tuple[float | None, ...] = ()
        if clipping is not None and clipping.conversions.sum():
            saturation = float(clipping.clipped.sum() / clipping.conversions.sum())
            shares = zip(clipping.clipped, clipping.conversions, strict=True)
            per_slice = tuple(float(c / n) if n else None for c, n in shares)
        engine = layer.engines(layer.weight_scale.device)[0]
        results.append(
            LayerResult.model_validate(
                {
                    "name": name, "kind": shape.kind, "rows": shape.rows, "outputs": shape.outputs,
                    "groups": shape.groups, "positions": shape.positions, "macs": shape.macs, "arrays": plan.arrays,
                    "row_blocks": max(len(pack.blocks) for pack in plan.packs), "utilisation": plan.utilisation,
                    "engine": engine.mode, "signed_inputs": layer.scale.signed, "input_scale": layer.scale.scale,
                    "adc_bits": layer.chip.adc.bits, "saturation": saturation, "saturation_per_slice": per_slice,
                    "snr_db": found.snr_db, "snr_cumulative_db": found.snr_cumulative_db,
                    "conductance": conductance_histogram(layer), "activity": plan.activity,
                    "wires": None if loss is None else _layer_wires(loss, name),
                    **layer_costs_from_estimate(costs),
                }
            )
        )  # fmt: skip
    return results


def _layer_wires(loss: WireLoss, layer: str) -> dict[str, float]:
    found = loss.layers[layer]
    cost = round(loss.accuracy_without - found.accuracy, 12)
    return {
        "current_kept": found.current_kept, "snr_without_db": found.snr_without_db, "accuracy": found.accuracy,
        "accuracy_cost": cost,
    }  # fmt: skip


def _aged(point: AgedAccuracy) -> dict[str, Any]:
    return {
        "time_s": point.conditions.time_s, "temperature_k": point.conditions.temperature_k,
        "once": dataclasses.asdict(point.once), "again": dataclasses.asdict(point.again), "method": point.method,
    }  # fmt: skip


def _wire_result(chip: ChipSpec, found: Measured) -> dict[str, Any] | None:
    loss, wires = found.wire_loss, chip.array.wires
    if loss is None or wires is None or found.solved is None:
        return None
    return {
        "figures": [
            figure._asdict()
            for figure in wires.describe(chip.cell, chip.hardware.node_m, chip.conditions.temperature_k)
        ],
        "topology": wires.topology,
        "samples": loss.samples,
        "accuracy_without": loss.accuracy_without,
        "accuracy_with": loss.accuracy_with,
        "accuracy_cost": round(loss.accuracy_without - loss.accuracy_with, 12),
        "solves": found.solved.arrays,
        "solve_s": round(found.solved.seconds, 4),
    }


def _notes(mapped: MappedNetwork, chip: ChipSpec, data: Dataset, samples: int) -> list[str]:
    notes = []
    if data.calibration_origin != "training images":
        notes.append(f"Calibration: {data.calibration_origin}.")
    if mapped.digital:
        notes.append(f"Kept digital at the user's wish: {', '.join(mapped.digital)}; their cost is not counted.")
    if mapped.folded:
        notes.append(f"{len(mapped.folded)} batch-norms are folded into the layer before them.")
    notes.append(f"Signal-to-noise ratios and cell energy are measured on {samples} samples and chip 0.")
    finest = min(int(pack.grid.fraction_bits.min()) for layer in mapped.layers.values() for pack in layer.packs)
    notes.append(f"So that sums are exact, conductances are rounded to 2^-{finest} of a level or finer.")
    if chip.wires is not None and not chip.wires.ideal:
        notes.append(
            "Wires: cells are linear; the cells in use stand next to drivers and sense amplifiers, free rows and columns "
            "are switched off, word lines that a read does not drive are at 0 V."
        )
        if any(pack.noisy for layer in mapped.layers.values() for pack in layer.packs):
            notes.append(
                "Read noise through wires: exact to first order for inputs of which half are on; that columns share a "
                "cell's noise a little through the word line is left out."
            )
    if chip.layers:
        notes.append("Hardware differs by layer: there is no schedule, which takes all arrays to be alike.")
    if chip.notes:
        notes.append(f"Chip {chip.name}: {chip.notes}")
    if chip.cell.limits:
        notes.append(f"Cell {chip.cell.name}: {chip.cell.limits}")
    return notes


@dataclass(frozen=True)
class Measured:
    """Everything that a run found out."""

    loaded: LoadedModel
    data: Dataset
    calibration_samples: int
    chip: ChipSpec
    mapped: MappedNetwork
    analysis: dict[str, LayerAnalysis]
    accuracy: AccuracyResult
    digital: float
    quantised: float
    cost: dict[str, Any]
    seconds: dict[str, float]
    wire_loss: WireLoss | None = None
    solved: SolverWork | None = None
    ageing: list[AgedAccuracy] | None = None
    timeline: Timeline | None = None
    heat: Heat | None = None
    why_no_heat: str = ""


def assemble(options: RunOptions, found: Measured) -> Result:
    """Return the result of a run."""
    loaded, data, chip, mapped, accuracy = found.loaded, found.data, found.chip, found.mapped, found.accuracy
    writes = [matrix.writes for layer in mapped.layers.values() for matrix in layer.packs]
    cells, pulse = sum(w.cells for w in writes), chip.cell.write
    samples = next(iter(found.analysis.values())).samples
    return Result.model_validate(
        {
            "created": datetime.now(UTC),
            "command": options.command(),
            "model": model_info(loaded),
            "data": data_info(data, accuracy.samples, found.calibration_samples),
            "chip": json.loads(chip.model_dump_json()),
            "chip_yaml": chip_yaml(options.chip),
            "seed": options.seed,
            "trials": options.trials,
            "batch": options.batch,
            "device": options.device,
            "versions": versions(),
            "accuracy": Accuracy(
                digital=found.digital, quantised=found.quantised, mean=accuracy.mean, ci95=accuracy.ci95,
                per_trial=accuracy.per_trial, samples=accuracy.samples, method=accuracy.method,
                drop=round(found.digital - accuracy.mean, 12),
            ),
            "cost": cost_from_estimate(found.cost),
            "layers": _layer_results(mapped, found.analysis, found.cost, found.wire_loss),
            "wires": _wire_result(chip, found),
            "timeline": found.timeline,
            "heat": found.heat,
            "ageing": [_aged(point) for point in found.ageing or ()],
            "components": components_from_estimate(found.cost),
            "programming": {
                "cells": cells,
                "writes_per_cell": sum(w.writes for w in writes) / cells,
                "unconverged_share": sum(w.unconverged for w in writes) / cells,
                "energy_j": None if pulse is None else pulse.energy_of(sum(w.writes for w in writes)),
                "serial_time_s": None if pulse is None else pulse.time_of(sum(w.writes for w in writes)),
            },
            "references": _references(loaded, data, chip, found.cost["components"]),
            "timings": {name: round(seconds, 4) for name, seconds in found.seconds.items()},
            "notes": [*_notes(mapped, chip, data, samples), *([found.why_no_heat] if found.why_no_heat else [])],
        }
    )  # fmt: skip
