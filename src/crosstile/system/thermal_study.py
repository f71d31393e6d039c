"""The main job of ``crosstile thermal``: temperatures of a network's arrays, and the accuracy that each remedy keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from torch import Tensor

from crosstile.cost.estimate import estimate
from crosstile.cost.report import CostReport
from crosstile.errors import UsageError
from crosstile.mapping.plan import LayerPlan, plan_layer
from crosstile.mapping.replace import MappedNetwork, map_network
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions
from crosstile.specs.load import load_chip
from crosstile.specs.thermal import ThermalSpec, load_thermal
from crosstile.study.analyse import plans_by_digital_inputs
from crosstile.study.assemble import data_info, versions
from crosstile.study.montecarlo import count_correct, interval
from crosstile.study.result_parts import DataInfo
from crosstile.study.samples import check_outputs, load_samples
from crosstile.study.stages import Progress
from crosstile.system.floorplan import Placement
from crosstile.system.thermal import ChipHeat, ThermalState
from crosstile.system.thermal_accuracy import accuracy, layer_sensitivity, local_conditions
from crosstile.system.thermal_options import ThermalOptions, check, parse_ambients
from crosstile.system.thermal_remedies import pair, remap
from crosstile.system.thermal_result import HeatAccuracy, HeatPoint, LayerSensitivity, ThermalResult
from crosstile.units import parse_quantity
from crosstile.zoo import LoadedModel, build_model

_COST_SAMPLES = 8
_SENSITIVITY_SAMPLES = 32

NOTES = (
    "Temperatures are steady states: the chip has worked at this rate for longer than the package's time constant. Silicon's "
    "conductivity is constant, edges of die and spreader lose nothing, wires between dies and pins carry no heat away.",
    "A layer's power is shared equally by its arrays, leakage equally by all tiles. What retention takes from the cells' "
    "currents is in the accuracy and not in the power.",
    "The chips are calibrated (scales, converters) at the temperature of their description; nothing is fitted again in the heat.",
    "remap: longer ways between the layers cost nothing here. pair: both copies have the same random numbers, take no energy "
    "to write or to switch, and the exchange is taken to be faster than the chip warms.",
    "reference: two columns more an array, whose area, energy and faults are not counted; their means are known without noise.",
)


@dataclass(frozen=True)
class _Design:
    """A network on a chip, and the heat that it makes."""

    heat: ChipHeat
    array_layer: npt.NDArray[np.int64]
    cost: CostReport
    names: tuple[str, ...]
    mapped: MappedNetwork | None


def _design(
    plans: Sequence[LayerPlan],
    chip: ChipSpec,
    package: ThermalSpec,
    rate_hz: float | None,
    mapped: MappedNetwork | None,
) -> _Design:
    cost = estimate(plans, chip)
    heat = ChipHeat.of(plans, cost, chip, package, rate_hz)
    layer = np.repeat(np.arange(len(plans)), [plan.arrays for plan in plans])
    return _Design(heat, layer, cost, tuple(plan.shape.name for plan in plans), mapped)


class _Study:
    """One network, its chip and the same chip with fewer bits."""

    def __init__(
        self, options: ThermalOptions, progress: Progress, chip: ChipSpec | None, package: ThermalSpec | None
    ) -> None:
        check(options)
        self.options, self.progress = options, progress
        chip = chip or load_chip(options.chip)
        self.chip = chip
        self.package = package or (ThermalSpec() if options.package is None else load_thermal(options.package))
        self.ambients = parse_ambients(options.ambients, self.package.ambient_k)
        self.time_s = chip.conditions.time_s if options.time is None else _time(options.time)
        self.with_bits = any("bits" in remedy.split("+") for remedy in options.remedies)
        self.chips = {"": chip}
        if self.with_bits:
            if chip.weights.bits is None or options.bits >= chip.weights.bits:
                raise UsageError(
                    f"--remedies bits: chip {chip.name!r} has {chip.weights.bits or 'continuous'} bits a weight; --bits must be "
                    f"less, found {options.bits}."
                )
            self.chips["bits"] = chip.replaced(weights__bits=options.bits)
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self.calibration: Tensor | None = None
        self.data: DataInfo | None = None
        self.digital: float | None = None
        self.loaded: LoadedModel = build_model(
            options.model, weights=options.weights, allow_untrained=options.data is None
        )
        if options.data is not None:
            self._load_data()
        self.designs: dict[str, _Design] = {}
        for key, one in self.chips.items():
            # The same work for both: what fewer bits save is not spent on more samples.
            rate = options.rate_hz if key == "" else self.designs[""].heat.rate_hz
            self.designs[key] = self._plan(one, rate)

    def _load_data(self) -> None:
        options = self.options
        found, x, y, calibration = load_samples(options.as_run(), self.loaded, self.progress)
        check_outputs(self.loaded, x, found)
        self.data = data_info(found, len(x), len(calibration))
        self.progress.stage("digital network", len(x))
        right = count_correct(self.loaded.model, x, y, options.batch, self.progress.advance)
        self.digital = right / len(x)
        self.x, self.y, self.calibration = x, y, calibration

    def _plan(self, chip: ChipSpec, rate_hz: float | None) -> _Design:
        if self.x is None or self.calibration is None:
            return _design(bare_plans(self.loaded, chip, self.options.input_shape), chip, self.package, rate_hz, None)
        self.progress.stage("map to arrays")
        mapped = map_network(self.loaded.model, chip, self.calibration, seed=self.options.seed)
        plans = plans_by_digital_inputs(mapped, self.x[:_COST_SAMPLES])
        return _design(plans, chip, self.package, rate_hz, mapped)

    def sensitivity(self) -> npt.NDArray[np.float64] | None:
        """Return the layers' sensitivities, where accuracy can be measured and something is remapped."""
        mapped = self.designs[""].mapped
        if mapped is None or self.x is None or not any("remap" in r.split("+") for r in self.options.remedies):
            return None
        self.progress.stage("sensitivity of layers", len(mapped.layers))
        hot = max(*self.ambients, mapped.chip.conditions.temperature_k + 20.0)
        return layer_sensitivity(mapped, self.x[:_SENSITIVITY_SAMPLES], hot, self.time_s, self.progress.advance)

    def placement(self, remedy: str, sensitivity: npt.NDArray[np.float64] | None) -> tuple[_Design, Placement]:
        """Return the design and the placement of a remedy."""
        parts = remedy.split("+")
        design = self.designs["bits" if "bits" in parts else ""]
        place = Placement.in_order(design.heat.arrays, design.heat.plan)
        if "remap" in parts:
            place = remap(design.heat, place, design.array_layer, sensitivity, keep_idle="pair" in parts)
        if "pair" in parts:
            place = pair(design.heat, place)
        return design, place


def _time(text: str) -> float:
    try:
        value = parse_quantity(text, "time")
    except ValueError as error:
        raise UsageError(f"--time: {error}.") from None
    return validate(Conditions, {"time": value}, origin="--time").time_s or 0.0


def bare_plans(loaded: LoadedModel, chip: ChipSpec, shape: tuple[int, ...] | None) -> list[LayerPlan]:
    """Return the plans of a network without data; ``shape`` of one sample, default: that of a built-in."""
    import torch

    from crosstile.mapping.bypass import check_nothing_bypasses
    from crosstile.mapping.capture import capture

    if shape is None:
        if loaded.info is None:
            raise UsageError(
                f"network {loaded.name!r} is not a built-in: give the shape of one sample, such as --input-shape 3,32,32, "
                "or --data."
            )
        shape = loaded.info.input_shape
    x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    seen = capture(loaded.model, x, ())
    check_nothing_bypasses(loaded.model, x, (), planned=[call.module for call in seen.layers.values()])
    return [plan_layer(call.shape(), chip) for call in seen.layers.values()]


def run(
    options: ThermalOptions,
    *,
    chip: ChipSpec | None = None,
    package: ThermalSpec | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> ThermalResult:
    """Find temperatures, and accuracies where there is data; the result is written by the caller.

    Args:
        options: what to run. chip, package: instead of those that the options name. command: that repeats the study, where it is
        not that of the options. progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong, thermal runaway, or no idle tile for pairing.
    """
    progress = progress or Progress()
    study = _Study(options, progress, chip, package)
    keys = [(remedy, ambient) for ambient in study.ambients for remedy in options.remedies]
    fixed = {remedy: study.placement(remedy, None) for remedy in options.remedies}  # what cannot work is told early
    for remedy, ambient in keys:
        fixed[remedy][0].heat.settle(fixed[remedy][1], ambient)
    sensitivity = study.sensitivity()
    if sensitivity is not None:
        fixed = {remedy: study.placement(remedy, sensitivity) for remedy in options.remedies}
    states = {(r, a): fixed[r][0].heat.settle(fixed[r][1], a) for r, a in keys}
    cool: HeatAccuracy | None = None
    accuracies: dict[tuple[str, float], HeatAccuracy] = {}
    if study.data is not None:
        cool, accuracies = _accuracies(study, states)
    main = study.designs[""]
    samples = 0 if study.data is None else study.data.samples
    points = tuple(_point(key, fixed[key[0]][0], states[key], accuracies, cool, samples) for key in keys)
    layers = main.names if sensitivity is not None else ()
    return ThermalResult(
        created=datetime.now(UTC).replace(microsecond=0),
        command=command or options.command(),
        model=study.loaded.name,
        chip=study.chip.name,
        chip_notes=study.chip.notes,
        data=study.data,
        trials=options.trials if study.data else 0,
        seed=options.seed,
        time_s=study.time_s,
        rate_hz=main.heat.rate_hz,
        schedule=main.cost.schedule,
        tiles=main.heat.plan.tiles,
        arrays=main.heat.arrays,
        die_area_m2=main.heat.plan.sites * main.heat.plan.pitch_m**2,
        time_constant_s=main.heat.network.time_constant_s(),
        thermal=study.package,
        digital=study.digital,
        cool=cool,
        sensitivity=tuple(
            LayerSensitivity(layer=name, per_kelvin=float(s))
            for name, s in zip(layers, sensitivity if sensitivity is not None else (), strict=True)
        ),
        points=points,
        notes=NOTES,
        versions=versions(),
    )


def _accuracies(
    study: _Study, states: dict[tuple[str, float], ThermalState]
) -> tuple[HeatAccuracy, dict[tuple[str, float], HeatAccuracy]]:
    options, x, y = study.options, study.x, study.y
    assert x is not None
    assert y is not None
    runs: dict[tuple[str, float], list[Conditions]] = {}
    networks: dict[tuple[str, float], MappedNetwork] = {}
    for key, state in states.items():
        parts = key[0].split("+")
        mapped = study.designs["bits" if "bits" in parts else ""].mapped
        assert mapped is not None
        networks[key] = mapped
        runs[key] = local_conditions(mapped, state.arrays_k, study.time_s, reference_columns="reference" in parts)
    main = study.designs[""].mapped
    assert main is not None
    cold = Conditions(time=study.time_s, temperature=main.chip.conditions.temperature_k)
    passes = 1 + sum(len(conditions) for conditions in runs.values())
    study.progress.stage("programmed chips", options.trials * passes * len(x))
    advance: Callable[[int], None] = study.progress.advance
    found: dict[tuple[str, float], list[float]] = {key: [] for key in runs}
    fresh: list[float] = []
    for trial in range(options.trials):
        for design in study.designs.values():
            assert design.mapped is not None
            design.mapped.program(trial)
        fresh.append(accuracy(main, x, y, [cold], options.batch, advance))
        for key, conditions in runs.items():
            found[key].append(accuracy(networks[key], x, y, conditions, options.batch, advance))
    return _over_chips(fresh, x), {key: _over_chips(values, x) for key, values in found.items()}


def _over_chips(values: list[float], x: Tensor) -> HeatAccuracy:
    ci95, _ = interval(values, len(x))
    return HeatAccuracy(mean=round(float(np.mean(values)), 12), ci95=ci95, per_trial=tuple(values))


def _point(
    key: tuple[str, float],
    design: _Design,
    state: ThermalState,
    accuracies: dict[tuple[str, float], HeatAccuracy],
    cool: HeatAccuracy | None,
    samples: int,
) -> HeatPoint:
    remedy, ambient = key
    plan, mine = design.heat.plan, accuracies.get(key)
    recovered = None
    if mine is not None and cool is not None and remedy != "none":
        lost = cool.mean - accuracies["none", ambient].mean
        blur = 2 * math.sqrt(max(cool.mean * (1 - cool.mean), 1e-4) / samples)  # two standard deviations
        recovered = (mine.mean - accuracies["none", ambient].mean) / lost if lost > blur else None
    grid = [[None if r * plan.columns + c >= plan.tiles else float(state.tiles_k[r * plan.columns + c])
             for c in range(plan.columns)] for r in range(plan.rows)]  # fmt: skip
    return HeatPoint(
        remedy=remedy, ambient_k=ambient, peak_k=state.peak_k, mean_k=state.mean_k,
        hottest_array_k=float(state.arrays_k.max()), coolest_array_k=float(state.arrays_k.min()), power_w=state.power_w,
        leakage_w=state.leakage_w, tiles_k=tuple(map(tuple, grid)), accuracy=mine, recovered=recovered,
    )  # fmt: skip
