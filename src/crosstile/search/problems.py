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
from crosstile.search.describe import ARRAYS, BATCH, DUPLICATION, PIPELINE, ROOM, base_mapping, chip_of
from crosstile.search.knobs import Point
from crosstile.search.layers import COPIES, alike, copies_of, is_of_layer, layer_and_field, split
from crosstile.search.mixed import (
    MixedTable,
    PointCost,
    arrays_of,
    cost_of_chip,
    mixed_cost,
    mixed_table,
    scheduled_copies,
)
from crosstile.search.networks import network_of
from crosstile.search.space import Space, key_of
from crosstile.search.study import StudySpec
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import evaluate_table
from crosstile.system.stages import StageTable, stage_table
from crosstile.units import format_quantity

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
        self.network = network_of(study)
        self.space: Space = study.space_of([node.name for node in self.network.layers])
        single = [n for n in self.space.names if is_of_layer(n) and layer_and_field(n)[1] != COPIES]
        self.hardware: tuple[str, ...] = (*study.hardware, *single)
        self.by_layer = bool(study.layers)
        self.groups = alike(self.space.knobs)
        self.objectives: tuple[str, ...] = study.objectives
        self.base = base_mapping(study.chip)
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
        if self.base.get("layers"):
            raise SpecError(
                f"search {self.study.name}: chip {self.study.chip!r} has layers of its own; take them out, and open fields under "
                "layers of the study."
            )
        components = self.base.get("hardware", {}).get("components")
        for path in self.hardware:
            parts = layer_and_field(path)[1].split(".")
            if parts[:2] == ["hardware", "components"] and len(parts) > 2 and parts[2] not in (components or {}):
                found = ", ".join(components or {}) or "the generic ones, none written out"
                raise SpecError(
                    f"search {self.study.name}: {path}: chip {self.study.chip!r} has no component {parts[2]!r}; "
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
        return self._chip_of(self._of_chip(point))

    def _chip_of(self, part: Point) -> ChipSpec:
        key = key_of(part)
        if key not in self._chips:
            try:
                self._chips[key] = chip_of(self.base, part, self.study.name)
            except SpecError as error:
                self._chips[key] = str(error)
            _keep(self._chips, 8 * _KEPT)
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
        if (
            self.by_layer
        ):  # each layer's hardware by itself, since many points share it; areas are known once layers are laid out
            common, layers = split(self._of_chip(point))
            for layer, fields in {"all layers": {}, **layers}.items():
                try:
                    self._chip_of(common | fields)
                except SpecError as error:
                    return f"{layer}: {error}"
            return None
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
        chip = self.chip(point)
        if not self.by_layer:
            return self._table_of(chip)
        table = mixed_table(self.network, chip, copies_of(point), self._table_of)
        if ROOM not in point:
            return table
        copies = scheduled_copies(table, float(point[ROOM]), point.get(DUPLICATION))  # type: ignore[arg-type]
        return mixed_table(self.network, chip, copies, self._table_of)

    def _table_of(self, chip: ChipSpec) -> StageTable:
        """Return the stages on a chip whose layers are all alike; remembered."""
        key = chip.model_dump_json()
        if key not in self._tables:
            self._tables[key] = stage_table(self.network, chip)
            _keep(self._tables, _KEPT)
        return self._tables[key]

    def budget(self, point: Point) -> int | None:
        """Return the arrays that a point lets the schedule use; none where all."""
        share, room = point.get(ARRAYS), point.get(ROOM)
        if room is not None and not self.by_layer:
            return arrays_of(self.table(point), float(room))
        if share is None:
            return None
        hardware = self.chip(point).hardware
        if hardware.tiles is None:
            return None
        return max(1, math.floor(float(share) * hardware.tiles * hardware.arrays_per_tile + 1e-9))

    def cost(self, point: Point, table: StageTable | None = None) -> PointCost:
        """Return energy, time and area of a point; ``table`` is its own, where it is there already.

        Raises:
            SpecError: a component does not cover what is asked of it.
        """
        batch, how = point.get(BATCH), point.get(DUPLICATION)
        samples, table = None if batch is None else int(batch), table or self.table(point)
        if isinstance(table, MixedTable):
            return mixed_cost(table, samples)
        return cost_of_chip(
            evaluate_table(table, arrays=self.budget(point), batch=samples, duplication=how)  # type: ignore[arg-type]
        )

    def evaluate(self, point: Point) -> Outcome:
        """Return what a point gives; everything that fails is an outcome with its reason."""
        refused = self.known(point)
        if refused is not None:
            return Outcome(False, reason=refused, blames_hardware=True)
        limits = self.study.limits
        slacks: dict[str, float] = {}
        try:
            table, budget = self.table(point), self.budget(point)
            tiles = table.chip.hardware.tiles
            built = None if tiles is None else tiles * table.chip.hardware.arrays_per_tile
            room = built if budget is None else budget
            if limits.rewriting == "refused" and room is not None and not self.by_layer:
                slacks["arrays"] = math.log(table.arrays / room)
                if table.arrays > room:
                    reason = f"the network takes {table.arrays} arrays; {room} of the chip's {built} may be used."
                    blamed = built is not None and table.arrays > built
                    return Outcome(False, reason=reason, blames_hardware=blamed, slacks=slacks)
            if tiles is None and limits.arrays_max is not None:
                slacks["arrays_max"] = math.log(table.arrays / limits.arrays_max)
                if table.arrays > limits.arrays_max:
                    reason = f"the network takes {table.arrays} arrays; arrays_max is {limits.arrays_max}."
                    return Outcome(False, reason=reason, blames_hardware=True, slacks=slacks)
            cost = self.cost(point, table)
        except SpecError as error:
            return Outcome(False, reason=str(error), slacks=slacks)
        return self._judged(point, cost, slacks)

    def _judged(self, point: Point, cost: PointCost, slacks: dict[str, float]) -> Outcome:
        limits = self.study.limits
        metrics = {
            "energy_j": cost.energy_j, "latency_s": cost.latency_s, "interval_s": cost.interval_s, "area_m2": cost.area_m2,
            "power_w": cost.power_w, "edp_js": cost.edp_js, "edap_jsm2": cost.edap_jsm2,
            "arrays_used": float(cost.arrays_used), "arrays_built": float(cost.arrays_built),
            "spilled_bits": cost.spilled_bits,
        }  # fmt: skip
        capacity, wanted = cost.buffer_capacity_bits, cost.buffer_bits
        if limits.spilling == "refused" and capacity is not None and wanted > 0:
            slacks["buffers"] = math.log(wanted / capacity)
        bounds = {
            "area": (cost.area_m2, limits.area_max_m2, "m2"), "power": (cost.power_w, limits.power_max_w, "W"),
            "latency": (cost.latency_s, limits.latency_max_s, "s"), "energy": (cost.energy_j, limits.energy_max_j, "J"),
        }  # fmt: skip
        slacks |= {name: math.log(value / most) for name, (value, most, _) in bounds.items() if most is not None}
        if limits.spilling == "refused" and cost.spilled_bits > 0:
            spilled = format_quantity(cost.spilled_bits, "bit", 3)
            return Outcome(False, metrics, reason=f"{spilled} of feature maps do not fit the buffers.", slacks=slacks)
        broken = next((text for name, bound in bounds.items() if (text := _above(name, *bound))), None)
        if broken:
            return Outcome(False, metrics, reason=broken, slacks=slacks)
        details: dict[str, Any] = {"copies": cost.copies} if cost.copies else {}
        if self.ladder is not None:  # the costly one comes last, and only for what all else allows
            try:
                found = self.ladder.measure(self.chip(point))
            except CrosstileError as error:
                return Outcome(False, metrics, reason=f"accuracy: {error}", slacks=slacks)
            metrics["accuracy"] = found.accuracy
            details |= found.as_dict()
            least = limits.accuracy_min
            if least is not None:
                slacks["accuracy"] = least - found.accuracy
                if found.accuracy < least:
                    reason = (
                        f"the accuracy is {found.accuracy:.4g} on {found.images} images; accuracy_min is {least:g}."
                    )
                    return Outcome(False, metrics, reason=reason, slacks=slacks, details=details)
        losses = tuple(self._loss(name, metrics) for name in self.objectives)
        return Outcome(True, metrics, losses, slacks=slacks, details=details)

    def remember(self, outcome: Outcome) -> None:
        """Take note of an outcome of an earlier run: rungs of accuracy compare with all that reached them."""
        if self.ladder is not None and "rungs" in outcome.details:
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
