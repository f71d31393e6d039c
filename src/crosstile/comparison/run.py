"""Evaluating a comparison: one network, the same samples and the same seeds on every design."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosstile.comparison.designs import CompareOptions, Design, make_designs
from crosstile.comparison.result import Comparison, DesignResult, finite
from crosstile.cost.estimate import estimate
from crosstile.cost.report import CostReport
from crosstile.crossbar.program import Window
from crosstile.crossbar.references import conversion_errors
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.specs.load import load_chip
from crosstile.study.analyse import plans_by_digital_inputs
from crosstile.study.assemble import data_info, model_info, package_version, versions
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.resume import fingerprint
from crosstile.study.samples import check_outputs, ideal_twin, load_samples
from crosstile.study.stages import Progress
from crosstile.zoo import build_model

_COST_SAMPLES = 8
_PARTIAL = "partial-compare.json"

NOTES = (
    "All designs have the same seeds: chip n of one design has the random numbers of chip n of the next.",
    "Wrong codes and sense margin are those of the first chip on up to 512 calibration vectors a layer; layers are weighted with "
    "their conversions.",
    "Fitted references cost nothing here: neither the fit, nor the circuit that sets levels apart, nor its errors.",
    "Fewer active rows take more reads, conversions (of fewer bits) and digital additions, all of which is counted.",
)


class _Partial:
    """Finished designs of an interrupted comparison."""

    def __init__(self, directory: Path | None, key: str) -> None:
        self.path, self.key = None if directory is None else directory / _PARTIAL, key
        self.done: dict[str, dict[str, Any]] = {}
        if self.path is not None and self.path.is_file() and self.path.stat().st_size < 100_000_000:
            try:
                data = json.loads(self.path.read_text(encoding="utf-8"))
                if data["key"] == key:
                    self.done = dict(data["designs"])
            except (OSError, ValueError, KeyError, TypeError):
                self.done = {}

    @staticmethod
    def _name(design: Design) -> str:
        """A design is known by its whole chip, so that another choice of designs finds those it shares."""
        return hashlib.blake2b(design.chip.model_dump_json().encode(), digest_size=16).hexdigest()

    def get(self, design: Design) -> DesignResult | None:
        found = self.done.get(self._name(design))
        return None if found is None else DesignResult.model_validate(found)

    def put(self, design: Design, result: DesignResult) -> None:
        self.done[self._name(design)] = result.model_dump(mode="json")
        if self.path is not None:
            waiting = self.path.with_suffix(".json.tmp")
            waiting.write_text(json.dumps({"key": self.key, "designs": self.done}), encoding="utf-8")
            os.replace(waiting, self.path)


def compare(options: CompareOptions, *, out: Path | None = None, progress: Progress | None = None) -> Comparison:
    """Evaluate every design; the result is written by the caller.

    Args:
        options: what to compare.
        out: folder in which finished designs are kept, so that an interrupted comparison goes on where it stopped.
        progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    progress = progress or Progress()
    template = load_chip(options.chip)
    designs, left_out = make_designs(options, template)
    run_options = options.as_run()
    loaded = build_model(options.model, weights=options.weights)
    data, x, y, calibration = load_samples(run_options, loaded, progress)
    check_outputs(loaded, x, data)
    progress.stage("digital and quantised network", 2 * len(x))
    digital = count_correct(loaded.model, x, y, options.batch, progress.advance) / len(x)
    twin = map_network(loaded.model, ideal_twin(template), calibration, seed=options.seed)
    quantised = count_correct(twin, x, y, options.batch, progress.advance) / len(x)
    del twin
    key = fingerprint(
        (options.seed, options.trials, package_version(), torch.__version__),
        (x, y, calibration, *loaded.model.state_dict().values()),
    )  # fmt: skip
    partial = _Partial(out, key)
    progress.stage("designs", len(designs) * options.trials * len(x))
    results: list[DesignResult] = []
    costs: dict[object, CostReport] = {}
    for design in designs:
        done = partial.get(design)
        if done is not None:
            progress.advance(options.trials * len(x))
        else:
            mapped = map_network(loaded.model, design.chip, calibration, seed=options.seed)
            if design.arrays not in costs:  # references change no current
                costs = {design.arrays: estimate(plans_by_digital_inputs(mapped, x[:_COST_SAMPLES]), design.chip)}
            cost = costs[design.arrays]
            done = _evaluate(design, mapped, cost, x, y, options, progress.advance)
            partial.put(design, done)
        results.append(done)
    result = Comparison(
        created=datetime.now(UTC).replace(microsecond=0),
        command=options.command(),
        model=model_info(loaded),
        data=data_info(data, len(x), len(calibration)),
        chip=template.name,
        chip_notes=template.notes,
        weight_bits=template.weights.bits,
        input_bits=template.inputs.bits,
        trials=options.trials,
        seed=options.seed,
        digital=digital,
        quantised=quantised,
        designs=tuple(results),
        left_out=tuple(left_out),
        notes=NOTES,
        versions=versions(),
    )
    return result


def forget(directory: Path) -> None:
    """Take away the finished designs of an interrupted comparison, once its result is written."""
    (directory / _PARTIAL).unlink(missing_ok=True)


def _evaluate(
    design: Design,
    mapped: MappedNetwork,
    cost: CostReport,
    x: Tensor,
    y: Tensor,
    options: CompareOptions,
    advance: Callable[[int], None],
) -> DesignResult:
    chip = design.chip
    wrong, error, margin = _errors(mapped)
    accuracy = evaluate(mapped, x, y, trials=options.trials, batch=options.batch, progress=advance)
    # One step of an evenly spaced converter is one level of one cell at the largest input digit.
    step_a = chip.array.read_voltage_v * Window.of(chip).unit_s / chip.max_digit
    wires = chip.wires
    plans = mapped.plans()
    return DesignResult(
        device=design.device,
        technology=chip.cell.technology,
        rows=design.rows,
        cell_bits=design.cell_bits,
        active_share=float(design.active),
        active_rows=chip.array.rows_per_read,
        references=chip.adc.references,
        adc_bits=chip.adc.bits or 0,
        accuracy=accuracy.mean,
        ci95=accuracy.ci95,
        per_trial=accuracy.per_trial,
        wrong_codes=wrong,
        code_error=error,
        margin_steps=finite(margin),
        margin_a=finite(margin * step_a) if chip.adc.range == "lossless" else None,
        energy_j=cost.energy_j,
        latency_s=cost.latency_s,
        area_m2=cost.area_m2,
        edp_js=cost.edp_js,
        arrays=cost.arrays_used,
        conversions=sum(plan.activity.adc_conversions for plan in plans),
        word_line_ohm=0.0 if wires is None else wires.word_line_ohm,
        bit_line_ohm=0.0 if wires is None else wires.bit_line_ohm,
    )


def _errors(mapped: MappedNetwork) -> tuple[float, float, float]:
    """Return wrong codes, mean error of a code and sense margin, layers weighted with their conversions."""
    rows: list[Sequence[float]] = []
    weights = []
    for layer in mapped.layers.values():
        adc = layer.converter
        if adc is None:
            continue
        found = conversion_errors(list(layer.sums()), len(layer.packs[0].column_slice), adc)
        rows.append((found.wrong, found.mean, found.margin))
        weights.append(layer.plan.activity.adc_conversions)
    table, share = np.asarray(rows), np.asarray(weights, dtype=np.float64)
    known = np.isfinite(table[:, 2])
    margin = float(np.average(table[known, 2], weights=share[known])) if known.any() else float("nan")
    return float(np.average(table[:, 0], weights=share)), float(np.average(table[:, 1], weights=share)), margin
