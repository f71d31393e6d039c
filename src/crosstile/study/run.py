"""The main job: one network, one chip, accuracy and cost, one result."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosstile.citation import References
from crosstile.cost.estimate import estimate
from crosstile.crossbar.program import derive_key
from crosstile.datasets import Dataset, load_dataset
from crosstile.errors import DataError, UsageError
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml, load_chip
from crosstile.study.analyse import LayerAnalysis, analyse, conductance_histogram
from crosstile.study.montecarlo import AccuracyResult, count_correct, evaluate
from crosstile.study.result import (
    Accuracy,
    LayerResult,
    Result,
    components_from_estimate,
    cost_from_estimate,
    layer_costs_from_estimate,
)
from crosstile.zoo import LoadedModel, build_model

CALIBRATION_SAMPLES = 128


@dataclass(frozen=True)
class RunOptions:
    """What to run; the fields are the options of ``crosstile run``."""

    model: str
    chip: str = "reram-8b"
    data: str | None = None
    weights: Path | None = None
    data_dir: Path | None = None
    samples: int | None = None
    trials: int = 3
    seed: int = 0
    batch: int = 128
    device: str = "cpu"
    digital: tuple[str, ...] = ()
    download: bool = True

    def command(self) -> str:
        """Return the command line that repeats this run."""
        words = ["crosstile", "run", self.model, "--chip", self.chip]
        given = (
            ("--data", self.data),
            ("--data-dir", self.data_dir),
            ("--weights", self.weights),
            ("--samples", self.samples),
        )
        for flag, value in given:
            words += [flag, str(value)] if value is not None else []
        words += ["--trials", str(self.trials), "--seed", str(self.seed), "--batch", str(self.batch)]
        words += ["--device", self.device] if self.device != "cpu" else []
        words += [] if self.download else ["--offline"]
        for name in self.digital:
            words += ["--digital", name]
        return shlex.join(words)


class Progress:
    """What a run reports while it works; the command line shows it as a bar."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; ``total`` steps are ahead, if known."""

    def advance(self, steps: int = 1) -> None:
        """So many steps of the stage are done."""


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def _check(options: RunOptions) -> None:
    for name in ("trials", "batch"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, found {getattr(options, name)}.")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples must be at least 1, found {options.samples}.")
    if options.seed < 0 or options.seed >= 2**63:
        raise UsageError(f"--seed must be between 0 and 2^63 - 1, found {options.seed}.")
    if options.device not in ("cpu", "cuda"):
        raise UsageError(f"--device must be cpu or cuda, found {options.device!r}.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch."
        )


def _load_data(options: RunOptions, loaded: LoadedModel, progress: Progress) -> tuple[Dataset, Tensor, Tensor, Tensor]:
    name = options.data or (loaded.info.default_dataset if loaded.info else None)
    if name is None:
        raise UsageError(f"network {options.model!r} has no default data set; name one with --data.")
    seen = -1

    def downloading(done: int, total: int | None) -> None:
        nonlocal seen
        if seen < 0 or done < seen:  # the first file, or the next
            progress.stage(f"download {name}", total)
            seen = 0
        progress.advance(done - seen)
        seen = done

    data = load_dataset(name, data_dir=options.data_dir, download=options.download, progress=downloading)
    count = min(options.samples or len(data), len(data))
    x = torch.from_numpy(data.normalised(data.x[:count]))
    y = torch.from_numpy(np.asarray(data.y[:count], dtype=np.int64))
    calibration = torch.from_numpy(data.normalised(data.x_calibration[:CALIBRATION_SAMPLES]))
    return data, x, y, calibration


def _check_outputs(loaded: LoadedModel, x: Tensor, data: Dataset) -> None:
    """Run one sample, so that a misfit is told as such."""
    try:
        with torch.inference_mode():
            out = loaded.model(x[:2])
    except (RuntimeError, ValueError, TypeError) as error:
        expected = f" (it takes {loaded.info.input_shape})" if loaded.info else ""
        raise DataError(
            f"network {loaded.name!r}{expected} does not run on samples of shape {tuple(x.shape[1:])} from data set "
            f"{data.name!r}: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(out, Tensor) or out.dim() != 2 or out.shape[0] != min(2, len(x)):
        found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise DataError(
            f"network {loaded.name!r} must give (samples, classes) scores; on two samples it gives {found}."
        )
    if not bool(torch.isfinite(out).all()):
        raise DataError(f"network {loaded.name!r} gives scores that are not finite; check weights and data.")
    if data.num_classes > out.shape[1]:
        raise DataError(
            f"data set {data.name!r} has {data.num_classes} classes but network {loaded.name!r} gives {out.shape[1]} scores."
        )


class _Resume:
    """Finished trials of an interrupted run, in DIR/partial.json, tied to everything that they depend on."""

    def __init__(self, directory: Path | None, key: int) -> None:
        self.path = None if directory is None else directory / "partial.json"
        self.key = f"{key:016x}"

    def load(self, trials: int) -> list[float]:
        """Return the accuracies of finished trials, if they belong to this very run."""
        if self.path is None or not self.path.is_file() or self.path.stat().st_size > 1_000_000:
            return []
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["key"] != self.key:
                return []
            return [float(a) for a in data["accuracies"]][:trials]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def save(self, accuracies: list[float]) -> None:
        """Keep the accuracies so far; the file is replaced as a whole."""
        if self.path is None:
            return
        waiting = self.path.with_suffix(".json.tmp")
        waiting.write_text(json.dumps({"key": self.key, "accuracies": accuracies}), encoding="utf-8")
        os.replace(waiting, self.path)

    def clear(self) -> None:
        """Forget, once the result is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def run(options: RunOptions, *, out: Path | None = None, progress: Progress | None = None) -> Result:
    """Map, programme, evaluate, estimate; return the result (written by the caller).

    Args:
        options: what to run.
        out: directory in which finished trials are kept, so that an interrupted run goes on where it stopped.
        progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    _check(options)
    progress, clock = progress or Progress(), _Clock()
    chip = load_chip(options.chip)
    with clock.measure("load"):
        loaded = build_model(options.model, weights=options.weights)
        data, x, y, calibration = _load_data(options, loaded, progress)
        _check_outputs(loaded, x, data)
    device = torch.device(options.device)
    total = len(x)
    progress.stage("digital network", total)
    with clock.measure("digital"):
        digital = count_correct(loaded.model.to(device), x.to(device), y, options.batch, progress.advance) / total
        loaded.model.to("cpu")
    progress.stage("map to arrays")
    with clock.measure("map"):
        mapped = map_network(
            loaded.model, chip, calibration, seed=options.seed, digital=options.digital,
            progress=lambda _: progress.advance(),
        ).to(device)  # fmt: skip
    with clock.measure("quantised"):
        progress.stage("quantised network", total)
        twin = map_network(loaded.model, _ideal(chip), calibration, seed=options.seed, digital=options.digital)
        quantised = count_correct(twin.to(device), x.to(device), y, options.batch, progress.advance) / total
        del twin
    key = derive_key(
        chip.model_dump_json(), loaded.name, loaded.weights, data.name, data.x[:total].tobytes()[:4096], total,
        options.seed, options.device, options.digital, _version(), torch.__version__,
    )  # fmt: skip
    resume = _Resume(out, key)
    progress.stage("analyse layers")
    with clock.measure("analyse"):
        analysis = analyse(mapped, x.to(device))
        for layer in mapped.layers.values():
            layer.reset_counts()
    finished = resume.load(options.trials)
    progress.stage("programmed chips", options.trials * total)
    progress.advance(len(finished) * total)
    with clock.measure("evaluate"):
        if len(finished) == options.trials:
            mapped.program(options.trials - 1)  # clipping is that of a chip that was run
            count_correct(mapped, x[: options.batch].to(device), y, options.batch)
        accuracy = evaluate(
            mapped, x.to(device), y, trials=options.trials, batch=options.batch, done=finished,
            progress=progress.advance, after_trial=resume.save,
        )  # fmt: skip
    progress.stage("estimate cost")
    with clock.measure("estimate"):
        cost = estimate([analysis[name].plan for name in mapped.layers], chip).as_dict()
    result = _assemble(
        options, loaded, data, chip, mapped, analysis, accuracy, digital, quantised, cost, clock, calibration
    )
    resume.clear()
    return result


def _ideal(chip: ChipSpec) -> ChipSpec:
    """Return the same chip with ideal cells and converters: the quantised network and nothing else."""
    ideal: ChipSpec = chip.replaced(cell__effects=(), adc__bits=None, adc__range="calibrated")
    return ideal


def _version() -> str:
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


def _versions() -> dict[str, str]:
    return {
        "crosstile": _version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": importlib.metadata.version("numba"),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _layer_results(
    mapped: MappedNetwork, analysis: dict[str, LayerAnalysis], cost: dict[str, Any]
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
                    **layer_costs_from_estimate(costs),
                }
            )
        )  # fmt: skip
    return results


def _notes(mapped: MappedNetwork, chip: ChipSpec, data: Dataset, samples: int) -> list[str]:
    notes = []
    if data.calibration_origin != "training images":
        notes.append(f"Calibration: {data.calibration_origin}.")
    if mapped.digital:
        notes.append(f"Kept digital at the user's wish: {', '.join(mapped.digital)}; their cost is not counted.")
    if mapped.folded:
        notes.append(f"{len(mapped.folded)} batch-norms are folded into the layer before them.")
    notes.append(f"Signal-to-noise ratios and cell energy are measured on {samples} samples and chip 0.")
    if chip.notes:
        notes.append(f"Chip {chip.name}: {chip.notes}")
    if chip.cell.limits:
        notes.append(f"Cell {chip.cell.name}: {chip.cell.limits}")
    return notes


def _assemble(
    options: RunOptions,
    loaded: LoadedModel,
    data: Dataset,
    chip: ChipSpec,
    mapped: MappedNetwork,
    analysis: dict[str, LayerAnalysis],
    accuracy: AccuracyResult,
    digital: float,
    quantised: float,
    cost: dict[str, Any],
    clock: _Clock,
    calibration: Tensor,
) -> Result:
    writes = [matrix.writes for layer in mapped.layers.values() for matrix in layer.packs]
    cells = sum(w.cells for w in writes)
    samples = next(iter(analysis.values())).samples
    return Result.model_validate(
        {
            "created": datetime.now(UTC),
            "command": options.command(),
            "model": {
                "name": loaded.name,
                "weights": loaded.weights,
                "parameters": sum(p.numel() for p in loaded.model.parameters()),
                "reference": loaded.info.reference if loaded.info else None,
            },
            "data": {
                "name": data.name, "samples": accuracy.samples, "classes": data.num_classes,
                "calibration_samples": len(calibration), "calibration_origin": data.calibration_origin,
                "source": data.source, "licence": data.licence, "reference": data.reference,
            },
            "chip": json.loads(chip.model_dump_json()),
            "chip_yaml": chip_yaml(options.chip),
            "seed": options.seed,
            "trials": options.trials,
            "batch": options.batch,
            "device": options.device,
            "versions": _versions(),
            "accuracy": Accuracy(
                digital=digital, quantised=quantised, mean=accuracy.mean, ci95=accuracy.ci95,
                per_trial=accuracy.per_trial, samples=accuracy.samples, method=accuracy.method,
                drop=round(digital - accuracy.mean, 12),
            ),
            "cost": cost_from_estimate(cost),
            "layers": _layer_results(mapped, analysis, cost),
            "components": components_from_estimate(cost),
            "programming": {
                "cells": cells,
                "writes_per_cell": sum(w.writes for w in writes) / cells,
                "unconverged_share": sum(w.unconverged for w in writes) / cells,
            },
            "references": _references(loaded, data, chip, cost["components"]),
            "timings": {name: round(seconds, 4) for name, seconds in clock.seconds.items()},
            "notes": _notes(mapped, chip, data, samples),
        }
    )  # fmt: skip
