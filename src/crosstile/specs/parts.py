"""The parts of a chip's description that say how numbers become currents and codes: weights, inputs, arrays, converters."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from crosstile.specs.base import Spec, Time, Voltage
from crosstile.specs.wires import WireSpec


class WeightSpec(Spec):
    """How a weight becomes conductances."""

    bits: int | None = Field(default=8, ge=1, le=16)
    """Weight bits, sign included; ``null`` together with ``cell_bits: null`` stores continuous weights."""
    cell_bits: int | None = Field(default=2, ge=1, le=5)
    """Bits per cell; ``null`` means a continuous conductance."""
    encoding: Literal["differential", "offset", "twos_complement"] = "differential"
    scale: Literal["per_channel", "per_tensor"] = "per_channel"
    difference: Literal["analog", "digital"] = "analog"
    """Differential pairs: currents subtracted before one conversion, or two conversions subtracted after."""
    flip: bool = False
    """Store a column as its complement when that halves its largest sum (ISAAC's encoding; not differential)."""
    row_sum: Literal["digital", "unit_column"] = "digital"
    """Where the sum of the inputs that offset and flip need comes from: counted digitally, or a column of cells."""

    @model_validator(mode="after")
    def _consistent(self) -> WeightSpec:
        if (self.bits is None) != (self.cell_bits is None):
            raise ValueError(
                "bits and cell_bits are both null (continuous conductances) or both numbers; "
                f"found bits={self.bits}, cell_bits={self.cell_bits}"
            )
        if self.bits is None and self.encoding != "differential":
            raise ValueError(f"continuous conductances need encoding 'differential', found {self.encoding!r}")
        if self.flip and self.encoding == "differential":
            raise ValueError(
                "flip complements a column of offset or two's complement digits; a differential pair has none"
            )
        if self.row_sum == "unit_column" and self.encoding == "differential":
            raise ValueError("row_sum: unit_column has no use with encoding 'differential'; remove it")
        return self

    @property
    def continuous(self) -> bool:
        """True when a weight is one pair of continuous conductances."""
        return self.cell_bits is None

    @property
    def slices(self) -> int:
        """Digits per weight; in two's complement the sign bit has a cell of its own."""
        if self.bits is None or self.cell_bits is None:
            return 1
        if self.bits == 1:
            return 1
        if self.encoding == "offset":
            return math.ceil(self.bits / self.cell_bits)
        magnitude = math.ceil((self.bits - 1) / self.cell_bits)
        return magnitude + 1 if self.encoding == "twos_complement" else magnitude

    @property
    def max_level(self) -> int:
        """Largest digit of a cell (1 for a continuous one)."""
        return 1 if self.cell_bits is None else 2**self.cell_bits - 1

    @property
    def columns_per_weight(self) -> int:
        """Physical columns that one weight takes."""
        return self.slices * (2 if self.encoding == "differential" else 1)

    @property
    def needs_row_sum(self) -> bool:
        """True when decoding needs the sum of the inputs of each read."""
        return self.flip or self.encoding == "offset" or (self.encoding == "twos_complement" and self.bits == 1)


class ScaleSpec(Spec):
    """How the scale of a layer's inputs is found from calibration data."""

    method: Literal["max", "percentile", "mse"] = "percentile"
    percentile: float = Field(default=99.9, gt=50, le=100)


class InputSpec(Spec):
    """How an activation becomes voltages."""

    bits: int = Field(default=8, ge=1, le=16)
    """Input bits; for signed inputs the sign is one of them."""
    dac_bits: int = Field(default=1, ge=1, le=16)
    """Bits applied in one read; the rest follow in further reads (bit planes)."""
    signed: Literal["two_phase", "bipolar"] = "two_phase"
    """Negative inputs: a second read with the negative part, or negative voltages in the same read."""
    scale: ScaleSpec = ScaleSpec()

    @model_validator(mode="after")
    def _dac_fits(self) -> InputSpec:
        if self.dac_bits > self.bits:
            raise ValueError(f"dac_bits ({self.dac_bits}) must not exceed bits ({self.bits}); lower dac_bits")
        return self


class ArraySpec(Spec):
    """The crossbar: its size and how it is read."""

    rows: int = Field(default=128, ge=1, le=16384)
    columns: int = Field(default=128, ge=1, le=16384)
    active_rows: int | None = Field(default=None, ge=1)
    """Word lines driven in one read (partial word-line activation); ``null`` drives all."""
    read_voltage_v: Voltage = Field(default=0.2, alias="read_voltage", gt=0, le=10)
    """Voltage of the largest input digit."""
    read_time_s: Time = Field(default=100e-9, alias="read_time", ge=1e-15, le=1.0)
    """Length of one read pulse with settling."""
    off_current: Literal["cancelled", "replica_column", "converted"] = "cancelled"
    """Current of g_off: taken away before the converter, by an ideal replica or by a column of the array with g_off cells, behind
    the same wires; or converted and removed digitally."""
    wires: WireSpec | None = None
    """Resistances of word lines, bit lines, drivers and sense amplifiers; ``null``: ideal wires."""
    spare_rows: int = Field(default=0, ge=0, le=1024)
    """Rows that the array has in addition, for rows with stuck cells."""
    spare_columns: int = Field(default=0, ge=0, le=1024)
    """Columns that the array has in addition, for columns with stuck cells."""
    remap: Literal["none", "columns", "rows", "both"] = "none"
    """Which lines go where they mind stuck cells least, known from a test of the array; ``none``: only spares are used."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Arrays without spares and remapping are written as before."""
        data: dict[str, Any] = handler(self)
        for key, usual in (("spare_rows", 0), ("spare_columns", 0), ("remap", "none")):
            if key in data and data[key] == usual:
                del data[key]
        return data

    @model_validator(mode="after")
    def _active_fits(self) -> ArraySpec:
        if self.active_rows is not None and self.active_rows > self.rows:
            raise ValueError(f"active_rows ({self.active_rows}) must not exceed rows ({self.rows})")
        return self

    @property
    def rows_per_read(self) -> int:
        """Word lines that one read drives at most."""
        return self.active_rows or self.rows

    @property
    def rows_built(self) -> int:
        """Rows with the spares."""
        return self.rows + self.spare_rows

    @property
    def columns_built(self) -> int:
        """Columns with the spares."""
        return self.columns + self.spare_columns

    @property
    def mends(self) -> bool:
        """True when lines may stand elsewhere than in order."""
        return bool(self.spare_rows or self.spare_columns or self.remap != "none")


class AdcSpec(Spec):
    """The converter at the foot of a column."""

    bits: int | None = Field(default=8, ge=1, le=20)
    """Resolution; ``null`` is an ideal converter: neither rounding nor clipping."""
    range: Literal["lossless", "calibrated", "full_scale"] = "calibrated"
    """lossless: one code a level, an error if the bits do not suffice; calibrated: from data; full_scale: largest sum."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """calibrated: share of the calibration sums, in per cent, that must not clip."""
    per: Literal["layer", "slice"] = "slice"
    """calibrated: one range for a layer, or one for each digit position of the weights."""
    references: Literal["uniform", "calibrated", "custom"] = "uniform"
    """Where the reference levels stand, between which a converter tells codes apart. uniform: evenly, for ideal cells and wires;
    calibrated: evenly, with gain and offset fitted on the programmed arrays; custom: level by level, fitted likewise.
    One set serves all columns of a layer that hold the same digit and polarity."""
    placement: Literal["midpoint", "likelihood", "frequency"] = "likelihood"
    """custom: between the means of neighbouring codes; where the fewest sums of either would fall on the wrong side, both codes
    counting alike; or each as often as calibration data show it."""
    reference_steps: int = Field(default=16, ge=1, le=64)
    """Positions within a nominal step at which a fitted reference can be set; a power of two."""

    @model_validator(mode="after")
    def _references_fit(self) -> AdcSpec:
        if self.reference_steps & (self.reference_steps - 1):
            raise ValueError(f"reference_steps is {self.reference_steps}; a power of two from 1 to 64 is wanted")
        if self.references != "uniform" and (self.bits is None or self.bits > 12):
            raise ValueError(
                f"references: {self.references} needs a converter of 1 to 12 bits, found {self.bits}; set adc.bits, "
                "or references: uniform"
            )
        return self
