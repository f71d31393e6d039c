"""Co-design of a chip and its mapping as a problem: which points are known to fail, and what others give.

    minimise ln(EDP)   (or other costs, each by its logarithm, or minus the accuracy)

Known before anything is evaluated: the description refuses the point; the area of a chip that states its tiles (sum over
components of count x area) or its arrays are above their limits. Unknown until evaluated: the network does not fit, a feature map
spills, a component does not cover what is asked, or energy, power, latency or accuracy break their limits.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from crosstile.cost.installed import install
from crosstile.errors import CrosstileError, SpecError
from crosstile.search.base import Outcome
from crosstile.search.describe import ARRAYS, BATCH, DUPLICATION, PIPELINE, base_mapping, chip_of
from crosstile.search.knobs import Point
from crosstile.search.space import Space, key_of
from crosstile.search.study import StudySpec
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import ChipCost, evaluate_table
from crosstile.system.stages import StageTable, stage_table
from crosstile.units import format_quantity
from crosstile.workloads.table import network as known_network

if TYPE_CHECKING:
    from crosstile.search.fidelity import AccuracyLadder

_KEPT = 256
_METRIC = {
    "energy": "energy_j", "latency": "latency_s", "interval": "interval_s", "area": "area_m2", "power": "power_w",
    "edp": "edp_js", "edap": "edap_jsm2", "accuracy": "accuracy",
}  # fmt: skip
UNITS = {
    "energy": "J", "latency": "s", "interval": "s", "area": "m2", "power": "W", "edp": "J s", "edap": "J s m2", "accuracy": "",
}  # fmt: skip


def metric_of(objective: str) -> str:
    """Return the name of an objective's figure among the metrics."""
    return _METRIC[objective]


class ChipProblem:
    """A study, ready to be searched."""

    def __init__(self, study: StudySpec) -> None:
        self.study = study
        self.space: Space = study.space
        self.hardware: tuple[str, ...] = tuple(study.hardware)
        self.objectives: tuple[str, ...] = study.objectives
        self.base = base_mapping(study.chip)
        self.network = known_network(study.network)
        self._chips: OrderedDict[str, ChipSpec | str] = OrderedDict()
        self._refused: OrderedDict[str, str | None] = OrderedDict()
        self._tables: OrderedDict[str, StageTable] = OrderedDict()
        self.ladder: AccuracyLadder | None = None
        if study.accuracy is not None:
            from crosstile.search.fidelity import AccuracyLadder

            self.ladder = AccuracyLadder(study.accuracy, study.limits.accuracy_min, study.seed)
        self._check_base()

    def _check_base(self) -> None:
        """Refuse a knob on a component that the chip does not have, which would make a new one without a figure."""
        components = self.base.get("hardware", {}).get("components")
        for path in self.hardware:
            parts = path.split(".")
            if parts[:2] == ["hardware", "components"] and len(parts) > 2 and parts[2] not in (components or {}):
                found = ", ".join(components or {}) or "the generic ones, none written out"
                raise SpecError(
                    f"search {self.study.name}: hardware.{path}: chip {self.study.chip!r} has no component {parts[2]!r}; "
                    f"it has {found}."
                )

    def _of_chip(self, point: Point) -> Point:
        """Return the part of a point that changes the chip: all mappings but the pipeline share it."""
        return {name: value for name, value in point.items() if name in self.hardware or name == PIPELINE}

    def chip(self, point: Point) -> ChipSpec:
        """Return the chip of a point.

        Raises:
            SpecError: the description refuses it.
        """
        part = self._of_chip(point)
        key = key_of(part)
        if key not in self._chips:
            try:
                self._chips[key] = chip_of(self.base, part, self.study.name)
            except SpecError as error:
                self._chips[key] = str(error)
            _keep(self._chips, _KEPT)
        found = self._chips[key]
        if isinstance(found, str):
            raise SpecError(found)
        return found

    def known(self, point: Point) -> str | None:
        """Return why a point is refused without evaluating it, or none."""
        key = key_of(self._of_chip(point))
        if key not in self._refused:
            self._refused[key] = self._known(point)
            _keep(self._refused, 200 * _KEPT)
        return self._refused[key]

    def _known(self, point: Point) -> str | None:
        try:
            chip = self.chip(point)
            hardware, limits = chip.hardware, self.study.limits
            if hardware.tiles is None:
                return None
            arrays = hardware.tiles * hardware.arrays_per_tile
            if limits.arrays_max is not None and arrays > limits.arrays_max:
                return f"the chip has {arrays} arrays; arrays_max is {limits.arrays_max}."
            area_m2 = _area_m2(chip, hardware.tiles)
        except SpecError as error:
            return str(error)
        return _above("area", area_m2, limits.area_max_m2, "m2")

    def table(self, point: Point) -> StageTable:
        """Return the stages of the network on the chip of a point; shared by all mappings of one hardware."""
        key = key_of(self._of_chip(point))
        if key not in self._tables:
            self._tables[key] = stage_table(self.network, self.chip(point))
            _keep(self._tables, _KEPT)
        return self._tables[key]

    def budget(self, point: Point) -> int | None:
        """Return the arrays that a point lets the schedule use; none where all."""
        hardware, share = self.chip(point).hardware, point.get(ARRAYS)
        if share is None or hardware.tiles is None:
            return None
        return max(1, math.floor(float(share) * hardware.tiles * hardware.arrays_per_tile + 1e-9))

    def cost(self, point: Point) -> ChipCost:
        """Return energy, time and area of a point.

        Raises:
            SpecError: a component does not cover what is asked of it.
        """
        batch, how = point.get(BATCH), point.get(DUPLICATION)
        return evaluate_table(
            self.table(point),
            arrays=self.budget(point),
            batch=None if batch is None else int(batch),
            duplication=how,  # type: ignore[arg-type]
        )

    def evaluate(self, point: Point) -> Outcome:
        """Return what a point gives; everything that fails is an outcome with its reason."""
        refused = self.known(point)
        if refused is not None:
            return Outcome(False, reason=refused, blames_hardware=True)
        limits = self.study.limits
        try:
            table, budget = self.table(point), self.budget(point)
            tiles = table.chip.hardware.tiles
            built = None if tiles is None else tiles * table.chip.hardware.arrays_per_tile
            room = built if budget is None else budget
            if limits.rewriting == "refused" and room is not None and table.arrays > room:
                reason = f"the network takes {table.arrays} arrays; {room} of the chip's {built} may be used."
                return Outcome(False, reason=reason, blames_hardware=built is not None and table.arrays > built)
            if tiles is None and limits.arrays_max is not None and table.arrays > limits.arrays_max:
                reason = f"the network takes {table.arrays} arrays; arrays_max is {limits.arrays_max}."
                return Outcome(False, reason=reason, blames_hardware=True)
            cost = self.cost(point)
        except SpecError as error:
            return Outcome(False, reason=str(error))
        return self._judged(point, cost)

    def _judged(self, point: Point, cost: ChipCost) -> Outcome:
        limits = self.study.limits
        metrics = {
            "energy_j": cost.energy_j, "latency_s": cost.latency_s, "interval_s": cost.interval_s, "area_m2": cost.area_m2,
            "power_w": cost.power_w, "edp_js": cost.edp_js, "edap_jsm2": cost.edap_jsm2,
            "arrays_used": float(cost.schedule.arrays_used), "arrays_built": float(cost.arrays_built),
            "spilled_bits": cost.schedule.spilled_bits,
        }  # fmt: skip
        if limits.spilling == "refused" and cost.schedule.spilled_bits > 0:
            spilled = format_quantity(cost.schedule.spilled_bits, "bit", 3)
            return Outcome(False, metrics, reason=f"{spilled} of feature maps do not fit the buffers.")
        broken = (
            _above("area", cost.area_m2, limits.area_max_m2, "m2")
            or _above("power", cost.power_w, limits.power_max_w, "W")
            or _above("latency", cost.latency_s, limits.latency_max_s, "s")
            or _above("energy", cost.energy_j, limits.energy_max_j, "J")
        )
        if broken:
            return Outcome(False, metrics, reason=broken)
        details = {}
        if self.ladder is not None:  # the costly one comes last, and only for what all else allows
            try:
                found = self.ladder.measure(self.chip(point))
            except CrosstileError as error:
                return Outcome(False, metrics, reason=f"accuracy: {error}")
            metrics["accuracy"], details = found.accuracy, found.as_dict()
            if limits.accuracy_min is not None and found.accuracy < limits.accuracy_min:
                least = limits.accuracy_min
                reason = f"the accuracy is {found.accuracy:.4g} on {found.images} images; accuracy_min is {least:g}."
                return Outcome(False, metrics, reason=reason, details=details)
        return Outcome(True, metrics, tuple(self._loss(name, metrics) for name in self.objectives), details=details)

    def remember(self, outcome: Outcome) -> None:
        """Take note of an outcome of an earlier run: rungs of accuracy compare with all that reached them."""
        if self.ladder is not None and outcome.details:
            self.ladder.remember(outcome.details)

    @staticmethod
    def _loss(objective: str, metrics: dict[str, float]) -> float:
        value = metrics[metric_of(objective)]
        return -value if objective == "accuracy" else math.log(value)


def _keep(cache: OrderedDict[str, Any], most: int) -> None:
    while len(cache) > most:
        cache.popitem(last=False)


def _area_m2(chip: ChipSpec, tiles: int) -> float:
    hardware = chip.hardware
    units = {
        "array": tiles * hardware.arrays_per_tile,
        "macro": tiles * hardware.macros_per_tile,
        "tile": tiles,
        "chip": 1,
    }
    return sum(part.instances(units) * part.figures.area_m2 for part in install(chip))


def _above(what: str, value: float, limit: float | None, unit: str) -> str | None:
    if limit is None or value <= limit:
        return None
    return f"the {what} is {format_quantity(value, unit, 4)}; {what}_max is {format_quantity(limit, unit, 4)}."
