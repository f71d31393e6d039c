"""The main job: one network, one chip, accuracy and cost, one result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crosstile.cost.estimate import estimate
from crosstile.crossbar.wired import solver_work
from crosstile.datasets import Dataset, load_dataset
from crosstile.errors import DataError, UsageError
from crosstile.mapping.replace import map_network
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.study.ageing import evaluate_ageing, parse_conditions
from crosstile.study.ageing import steps as ageing_steps
from crosstile.study.analyse import analyse
from crosstile.study.assemble import Measured, assemble, package_version
from crosstile.study.montecarlo import count_correct, evaluate
from crosstile.study.options import RunOptions, check
from crosstile.study.result import Result
from crosstile.study.resume import Resume, fingerprint
from crosstile.study.wires import steps as wire_steps
from crosstile.study.wires import wire_loss, without_wires
from crosstile.zoo import LoadedModel, build_model

__all__ = ["Progress", "RunOptions", "run"]

CALIBRATION_SAMPLES = 128


class Progress:
    """What a run reports while it works; the command line shows it as a bar."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; ``total`` steps are ahead, if known."""

    def advance(self, steps: int = 1) -> None:
        """So many steps of the stage are done."""


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
        data, x, y, calibration = _load_data(options, loaded, progress)
        _check_outputs(loaded, x, data)
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
        twin = map_network(loaded.model, _ideal(chip), calibration, seed=options.seed, digital=options.digital)
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
        cost = estimate([analysis[name].plan for name in mapped.layers], chip).as_dict()
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
        ),
    )
    resume.clear()
    Resume(out, key, "partial-ageing.json").clear()
    return result


def _ideal(chip: ChipSpec) -> ChipSpec:
    """Return the same chip with ideal cells, wires and converters: the quantised network and nothing else."""
    ideal: ChipSpec = without_wires(chip).replaced(
        cell__effects=(), adc__bits=None, adc__range="calibrated", adc__references="uniform", compensation__outputs="none"
    )
    return ideal
