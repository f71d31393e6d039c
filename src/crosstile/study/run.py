"""The main job: one network, one chip, accuracy and cost, one result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from crosstile.cost.estimate import estimate
from crosstile.crossbar.wired import solver_work
from crosstile.mapping.replace import map_network
from crosstile.specs.load import load_chip
from crosstile.study.ageing import evaluate_ageing, parse_conditions
from crosstile.study.ageing import steps as ageing_steps
from crosstile.study.analyse import analyse
from crosstile.study.assemble import Measured, assemble, package_version
from crosstile.study.chip_level import heat, timeline
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.options import RunOptions, check
from crosstile.study.result import Result
from crosstile.study.resume import Resume, fingerprint
from crosstile.study.samples import check_outputs, ideal_twin, load_samples
from crosstile.study.stages import Progress
from crosstile.study.wires import steps as wire_steps
from crosstile.study.wires import wire_loss, without_wires
from crosstile.zoo import build_model

__all__ = ["Progress", "RunOptions", "run"]


class _MapSteps:
    """Turns the steps of mapping into stages: chip 0 is a stage of its own where its wires are solved."""

    def __init__(self, progress: Progress, wired: bool) -> None:
        self.progress, self.wired, self.layers = progress, wired, 0

    def step(self, what: str) -> None:
        """Take note of one step."""
        self.layers += what.startswith("calibrate ")
        if what == "program" and self.wired:
            self.progress.stage("program chip 1 and solve its wires", self.layers)
        else:
            self.progress.advance()


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run(options: RunOptions, *, out: Path | None = None, progress: Progress | None = None) -> Result:
    """Map, programme, evaluate, estimate; return the result (written by the caller).

    Args:
        options: what to run.
        out: directory in which finished trials are kept, so that an interrupted run goes on where it stopped.
        progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    check(options)
    progress, clock = progress or Progress(), _Clock()
    chip = load_chip(options.chip)
    conditions = parse_conditions(options.times, options.temperatures, chip.conditions)
    if conditions[0] != chip.conditions:
        chip = chip.replaced(conditions=conditions[0].model_dump())
    with clock.measure("load"):
        loaded = build_model(options.model, weights=options.weights)
        data, x, y, calibration = load_samples(options, loaded, progress)
        check_outputs(loaded, x, data)
    device = torch.device(options.device)
    total = len(x)
    progress.stage("digital network", total)
    with clock.measure("digital"):
        digital = count_correct(loaded.model.to(device), x.to(device), y, options.batch, progress.advance) / total
        loaded.model.to("cpu")
    work = solver_work()
    wired = chip.wires is not None and not chip.wires.ideal
    progress.stage("map to arrays")
    with clock.measure("map"):
        mapped = map_network(
            loaded.model, chip, calibration, seed=options.seed, digital=options.digital,
            progress=_MapSteps(progress, wired).step,
        ).to(device)  # fmt: skip
    with clock.measure("quantised"):
        progress.stage("quantised network", total)
        twin = map_network(loaded.model, ideal_twin(chip), calibration, seed=options.seed, digital=options.digital)
        quantised = count_correct(twin.to(device), x.to(device), y, options.batch, progress.advance) / total
        del twin
    # The programmed cells of chip 0 stand for all that programming depends on, fault maps in files too.
    cells = [torch.from_numpy(pack.row_conductance_s) for layer in mapped.layers.values() for pack in layer.packs]
    key = fingerprint(
        (
            chip.model_dump_json(),
            conditions,
            options.seed,
            options.device,
            options.digital,
            package_version(),
            torch.__version__,
        ),
        (x, y, calibration, *loaded.model.state_dict().values(), *cells),
    )
    resume = Resume(out, key)
    progress.stage("analyse layers")
    with clock.measure("analyse"):
        analysis = analyse(mapped, x.to(device))
        for layer in mapped.layers.values():
            layer.reset_counts()
    loss = None
    if wired:
        with clock.measure("wires"):
            bare = map_network(
                loaded.model, without_wires(chip), calibration, seed=options.seed, digital=options.digital
            ).to(device)
            progress.stage("what wires cost, layer by layer", wire_steps(len(mapped.layers), total))
            loss = wire_loss(mapped, bare, x.to(device), y, batch=options.batch, progress=progress.advance)
            del bare
    finished = resume.load(options.trials)

    def program(trial: int) -> None:
        if not wired:
            mapped.program(trial)
            return
        progress.stage(f"program chip {trial + 1} and solve its wires", len(mapped.layers))
        mapped.program(trial, progress=lambda _: progress.advance())
        progress.stage("programmed chips", options.trials * total)
        progress.advance(trial * total)

    progress.stage("programmed chips", options.trials * total)
    progress.advance(len(finished) * total)

    with clock.measure("evaluate"):
        if len(finished) == options.trials:
            mapped.program(options.trials - 1)  # clipping is that of a chip that was run
            count_correct(mapped, x[: options.batch].to(device), y, options.batch)
        accuracy = evaluate(
            mapped, x.to(device), y, trials=options.trials, batch=options.batch, done=finished,
            progress=progress.advance, program=program, after_trial=resume.save,
        )  # fmt: skip
    ageing = None
    if len(conditions) > 1:
        with clock.measure("ageing"):
            later = Resume(out, key, "partial-ageing.json")
            seen = later.load(2 * options.trials * len(conditions))
            progress.stage("time and temperature", ageing_steps(len(conditions), options.trials, total))
            progress.advance(len(seen) * total)
            ageing = evaluate_ageing(
                mapped, x.to(device), y, conditions, trials=options.trials, batch=options.batch, done=seen,
                progress=progress.advance, after_each=later.save,
            )  # fmt: skip
    solved = solver_work().since(work)
    progress.stage("estimate cost")
    with clock.measure("estimate"):
        plans = [analysis[name].plan for name in mapped.layers]
        report = estimate(plans, chip)
        cost = report.as_dict()
        warm, why_not = heat(plans, report, chip)
        whole = timeline(loaded.model, tuple(x.shape[1:]), chip, options.digital), warm, why_not
    result = assemble(
        options,
        Measured(
            loaded,
            data,
            len(calibration),
            chip,
            mapped,
            analysis,
            accuracy,
            digital,
            quantised,
            cost,
            clock.seconds,
            loss,
            solved,
            ageing,
            *whole,
        ),
    )
    resume.clear()
    Resume(out, key, "partial-ageing.json").clear()
    return result
