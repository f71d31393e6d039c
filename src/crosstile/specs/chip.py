"""The chip: one frozen description that drives accuracy and cost alike."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, model_serializer, model_validator

from crosstile.circuits.wires import Wires
from crosstile.errors import SpecError
from crosstile.specs.base import Spec, validate
from crosstile.specs.by_layer import Overrides, changes_for, check_patterns, check_sections, merged, set_field
from crosstile.specs.cell import CellSpec
from crosstile.specs.compensation import CompensationSpec
from crosstile.specs.conditions import Conditions
from crosstile.specs.hardware import HardwareSpec
from crosstile.specs.parts import AdcSpec, ArraySpec, InputSpec, WeightSpec
from crosstile.specs.schedule import ScheduleSpec, WriteSpec


class ChipSpec(Spec):
    """Everything about a chip: cell, encoding, inputs, arrays, converters, and the hardware around them."""

    name: str = Field(min_length=1, max_length=80)
    description: str = ""
    references: tuple[str, ...] = ()
    """Works that this description follows."""
    cell: CellSpec
    weights: WeightSpec = WeightSpec()
    inputs: InputSpec = InputSpec()
    array: ArraySpec = ArraySpec()
    adc: AdcSpec = AdcSpec()
    compensation: CompensationSpec = CompensationSpec()
    conditions: Conditions = Conditions()
    hardware: HardwareSpec = HardwareSpec()
    write: WriteSpec = WriteSpec()
    """How arrays are written again when a network does not fit."""
    schedule: ScheduleSpec = ScheduleSpec()
    """Copies of weights, batches and buffers."""
    layers: Overrides = Field(default_factory=dict)
    """Fields of cell, weights, inputs, array, adc, compensation or hardware that are others for some layers, by patterns of layer
    names; the first that matches holds."""
    notes: str = ""
    """Differences from the work that is described, and what is not claimed."""

    @model_serializer(mode="wrap")
    def _layers_only_where_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Chips whose layers are all alike are written as before."""
        data: dict[str, Any] = handler(self)
        if not data.get("layers", True):
            del data["layers"]
        return data

    @model_validator(mode="before")
    @classmethod
    def _layers_are_chips(cls, data: Any, info: ValidationInfo) -> Any:
        """Read each layer's description as one of a chip, so that a slip is told when the chip is read."""
        if isinstance(data, dict) and data.get("layers"):
            check_sections(data["layers"])
            rest = {key: value for key, value in data.items() if key != "layers"}
            units = bool(info.context and info.context.get("units_required"))
            if not units:  # Python may use its own names of fields; layers use those of YAML
                rest = validate(cls, rest, origin="the chip").model_dump(by_alias=True)
            for pattern, changes in data["layers"].items():
                try:
                    validate(cls, merged(rest, changes), origin=f"layers: {pattern}", units_required=units)
                except SpecError as error:
                    raise ValueError(str(error)) from None
        return data

    def replaced(self, **changes: Any) -> Any:
        """Return a copy with fields changed, as :meth:`Spec.replaced` does, for all layers alike."""
        if not self.layers or "layers" in changes:
            return super().replaced(**changes)
        layers = copy.deepcopy(self.layers)
        for path, value in changes.items():
            section, *rest = path.split("__")
            for fields in layers.values():
                set_field(ChipSpec, fields, [section, *rest], value)
        uniform = self.model_copy(update={"layers": {}}).replaced(**changes)
        return validate(ChipSpec, uniform.model_dump(by_alias=True) | {"layers": layers}, origin="changed ChipSpec")

    def for_layer(self, name: str) -> ChipSpec:
        """Return the chip as the layer ``name`` sees it: with that layer's fields, and without ``layers``."""
        changes = changes_for(self.layers, name)
        if not self.layers:
            return self
        if changes is None:
            return self.model_copy(update={"layers": {}})
        data = self.model_dump(by_alias=True, exclude={"layers"})
        return validate(ChipSpec, merged(data, changes), origin=f"chip {self.name!r}: layers: {name}")

    def check_layers(self, names: Iterable[str]) -> None:
        """Raise :class:`SpecError` for a pattern of ``layers`` that none of ``names`` matches."""
        check_patterns(self.layers, names, self.name)

    def require_uniform(self, what: str) -> None:
        """Raise :class:`SpecError` where hardware differs by layer, which ``what`` does not know."""
        if self.layers:
            raise SpecError(
                f"chip {self.name!r}: layers: {what} takes all layers to have the same hardware; "
                "remove layers from the description."
            )

    @model_validator(mode="after")
    def _parts_agree(self) -> ChipSpec:
        weights = self.weights
        wanted = weights.columns_per_weight + (1 if self.has_unit_column else 0)
        if wanted > self.array.columns:
            raise ValueError(
                f"one weight takes {wanted} columns but an array has {self.array.columns}; "
                "raise array.columns or weights.cell_bits, or lower weights.bits"
            )
        if weights.cell_bits is not None and weights.cell_bits > self.cell.max_bits:
            raise ValueError(
                f"weights.cell_bits is {weights.cell_bits}, but cell {self.cell.name!r} holds at most "
                f"{self.cell.max_bits} bits; lower cell_bits or choose another cell"
            )
        if (
            self.array.off_current == "converted"
            and weights.encoding == "differential"
            and weights.difference == "analog"
        ):
            raise ValueError("a pair subtracted in analog has no off current to convert; set off_current: cancelled")
        if self.adc.bits is not None and self.adc.range == "lossless":
            if weights.continuous or self.array.off_current == "converted":
                raise ValueError("adc.range lossless needs integer sums; use calibrated or full_scale")
            needed = self.lossless_adc_bits
            if needed > self.adc.bits:
                raise ValueError(
                    f"a lossless converter needs {needed} bits for {self.array.rows_per_read} active rows, "
                    f"{weights.max_level} levels and {self.inputs.dac_bits}-bit inputs, found {self.adc.bits}; "
                    "raise adc.bits, lower array.active_rows, or set adc.range: calibrated"
                )
        try:
            _ = self.wires  # a wire that does not fit the cell is told when the chip is read
        except SpecError as error:
            raise ValueError(str(error)) from None
        self._check_compensation()
        self._check_spares()
        if self.cell.current is not None and (self.inputs.dac_bits > 1 or not (self.wires is None or self.wires.ideal)):
            raise ValueError(
                f"cell {self.cell.name!r} has a current that is not proportional to its voltage; a network then needs reads at "
                "one voltage (inputs.dac_bits: 1) and ideal wires, or a cell without current. One array with wires is "
                "solved by crosstile.circuits.nonlinear"
            )
        return self

    def _check_compensation(self) -> None:
        remedies = self.compensation
        if self.array.off_current == "replica_column" and remedies.weights == "precompensated":
            raise ValueError(
                "compensation.weights: precompensated aims at currents without a replica column; "
                "set array.off_current: cancelled, or take it away"
            )
        if self.adc.references != "uniform" and remedies.outputs != "none":
            raise ValueError(
                f"adc.references: {self.adc.references} already gives codes of ideal sums, which compensation.outputs: "
                f"{remedies.outputs} would correct once more; set one of them to uniform or none"
            )
        if self.array.wires is None and (remedies.rows != "as_mapped" or remedies.weights != "as_mapped"):
            raise ValueError(
                "compensation.rows and compensation.weights make up for wires, but array.wires describes none; "
                "add array.wires or take them away"
            )
        if remedies.weights == "precompensated" and remedies.outputs == "none":
            raise ValueError(
                "compensation.weights: precompensated scales the matrix down, which the outputs' gain takes back; "
                "set compensation.outputs: gain"
            )

    def _check_spares(self) -> None:
        pair = self.weights.encoding == "differential" and self.weights.difference == "analog"
        if pair and self.array.spare_columns % 2:
            raise ValueError(
                f"array.spare_columns is {self.array.spare_columns}, but pairs that are subtracted in analog move as pairs; "
                "give an even number"
            )
        if self.array.mends and self.compensation.weights == "precompensated":
            raise ValueError(
                "compensation.weights: precompensated aims at cells in their places, which array.spare_rows, spare_columns and "
                "remap change; set one of them to as_mapped, 0 or none"
            )
        if self.array.remap in ("rows", "both") and self.compensation.rows == "by_current":
            raise ValueError(
                f"array.remap: {self.array.remap} would undo the order of compensation.rows: by_current; set remap: columns, or "
                "rows: as_mapped"
            )

    @property
    def wires(self) -> Wires | None:
        """Resistances of the arrays' wires in ohms; None only where none are described."""
        described = self.array.wires
        return (
            None
            if described is None
            else described.resolve(self.cell, self.hardware.node_m, self.conditions.temperature_k)
        )

    @property
    def has_unit_column(self) -> bool:
        """True when each array carries a column of unit cells that measures the sum of the inputs."""
        return self.weights.row_sum == "unit_column" and self.weights.needs_row_sum

    @property
    def signed_sums(self) -> bool:
        """True when a converter sees currents of both signs."""
        pair = self.weights.encoding == "differential" and self.weights.difference == "analog"
        return pair or self.inputs.signed == "bipolar"

    @property
    def max_digit(self) -> int:
        """Largest input digit of one read."""
        return int(2**self.inputs.dac_bits - 1)

    @property
    def max_sum(self) -> float:
        """Largest magnitude of an ideal sum at a converter, in (input digit x cell level) units."""
        full = self.array.rows_per_read * self.max_digit * self.weights.max_level
        if self.weights.flip:  # the larger of a column and its complement is never stored
            return math.floor(full / 2)
        return float(full)

    @property
    def lossless_adc_bits(self) -> int:
        """Bits that give every ideal integer sum a code of its own."""
        if self.signed_sums:
            return math.ceil(math.log2(self.max_sum + 1)) + 1
        return max(1, math.ceil(math.log2(self.max_sum + 1)))

    @property
    def outputs_per_array(self) -> int:
        """Weight columns (outputs) that fit side by side on one array."""
        return (self.array.columns - (1 if self.has_unit_column else 0)) // self.weights.columns_per_weight
