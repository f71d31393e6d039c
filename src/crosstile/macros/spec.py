"""A charge-domain macro: capacitors, converter, energies, and what has been published of it.

Numbers are SI inside; in YAML each carries its unit. Every figure has an entry in ``sources`` with its tag:
``published`` (read in the named work), ``calibrated`` (set so that the macro gives a published figure), ``derived``
(computed from published ones) or ``assumed`` (chosen by us).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from crosstile.specs.base import Capacitance, Energy, Frequency, Length, Ratio, Spec, Temperature, Voltage

MacroTag = Literal["published", "calibrated", "derived", "assumed"]
_BY_NAME = Spec.model_config | {"populate_by_name": True, "validate_default": False}


class Origin(Spec):
    """Where a figure comes from and how far it can be trusted."""

    source: str = Field(min_length=3)
    tag: MacroTag


class Parasitics(Spec):
    """Stray capacitance to ground, as a share of the capacitors that meet at a node."""

    cells: Ratio = Field(default=0.0, ge=0, le=10)
    """Of the capacitors of a row of bit cells, inputs x cell."""
    first_adder: Ratio = Field(default=0.0, ge=0, le=10)
    """Of the first adder's capacitors that meet at its output."""
    second_adder: Ratio = Field(default=0.0, ge=0, le=10)
    """Of the second adder's capacitors that meet at its output."""


class CapacitorSpec(Spec):
    """The capacitor network of one output; see :mod:`crosstile.macros.network`."""

    cell_f: Capacitance = Field(alias="cell", gt=0, le=1e-9)
    """Capacitor of a bit cell: one for each input, input bit and weight bit."""
    first_adder_f: Capacitance = Field(alias="first_adder", gt=0, le=1e-9)
    """Unit of the adder over the input bits; bit i has 2^i of them."""
    second_adder_f: Capacitance = Field(alias="second_adder", gt=0, le=1e-9)
    """Unit of the adder over the weight bits; bit j has 2^j of them."""
    load_f: Capacitance = Field(default=0.0, alias="load", ge=0, le=1e-9)
    """Input of the converter."""
    parasitics: Parasitics = Parasitics()
    mismatch: Ratio = Field(default=0.0, ge=0, le=0.2)
    """A_C: relative standard deviation of a capacitor of 1 fF; it falls with the square root of the capacitance."""

    model_config = _BY_NAME


class ConverterSpec(Spec):
    """The converter of an output and the stage in front of it."""

    bits: int = Field(default=8, ge=1, le=16)
    """Of a conversion; behind a fused ReLU all codes stand for positive sums."""
    range: Literal["full_scale", "calibrated"] = "calibrated"
    """What the largest code stands for: the largest sum of all, or a percentile of each layer's sums."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """Share of the calibration sums that a calibrated range covers, in percent."""
    reference: Literal["trimmed", "designed"] = "trimmed"
    """trimmed: references follow the attenuation by parasitics; designed: they were laid out for none."""
    noise_v: Voltage = Field(default=0.0, alias="noise", ge=0, le=1)
    """Standard deviation of one conversion, referred to the adder's output."""
    compression: Ratio = Field(default=0.0, ge=0, lt=0.3)
    """a of f(v) = v (1 - a v^2), v in units of the converter's range."""
    compression_spread: Ratio = Field(default=0.0, ge=0, le=0.5)
    """Relative standard deviation of a from one output to the next."""
    compensation: Literal["none", "polynomial", "lut"] = "none"
    """Reference levels bent by the nominal cubic, or each output's own levels from a table."""
    reference_bits: int = Field(default=12, ge=1, le=24)
    """Resolution that the levels of a table are stored with."""
    sign_first: bool = True
    """Behind a fused ReLU the sign is compared first, and negative sums are not converted."""

    model_config = _BY_NAME


class MacroEnergy(Spec):
    """Energies of the macro's parts, and the one constant that all of them are multiplied with."""

    activity: Ratio = Field(default=0.25, ge=0, le=1)
    """Share of bit products that are 1."""
    conversion_j: Energy | None = Field(default=None, alias="conversion", ge=0, le=1e-6)
    """One conversion; default: the fit to the survey of published converters at these bits, clock and node."""
    comparison_j: Energy = Field(default=0.0, alias="comparison", ge=0, le=1e-6)
    """One comparison of the sign."""
    register_bit_j: Energy = Field(default=0.0, alias="register_bit", ge=0, le=1e-6)
    """One bit written to an input or output register."""
    addition_j: Energy = Field(default=0.0, alias="addition", ge=0, le=1e-6)
    """One digital addition outside of the analog part: shift-adds and partial sums."""
    calibration: float = Field(default=1.0, gt=0, le=1e3)
    """Clock, control and all that is not listed, as one factor."""

    model_config = _BY_NAME


class Published(Spec):
    """Figures that a publication states of the macro; shown beside ours, never used in a computation."""

    work: str = Field(min_length=3)
    gops: float | None = Field(default=None, gt=0)
    tops_per_w: float | None = Field(default=None, gt=0)
    accuracy: dict[str, Ratio] = Field(default_factory=dict)
    """Accuracy by data set."""
    differences: tuple[str, ...] = ()
    """How the publication's set-up differs from ours, or is not known."""


class ChargeDomainSpec(Spec):
    """One macro: ``outputs`` dot products of ``inputs`` signed numbers at a time."""

    name: str = Field(min_length=1, max_length=80)
    description: str = ""
    mode: Literal["parallel", "bit_serial"] = "parallel"
    """parallel: all bits of both operands in one cycle and one conversion; bit_serial: one input bit a cycle, each weight
    bit's column converted on its own and joined digitally."""
    inputs: int = Field(default=64, ge=1, le=4096)
    """Rows: numbers that one dot product takes."""
    outputs: int = Field(default=8, ge=1, le=4096)
    """Dot products at a time."""
    input_bits: int = Field(default=8, ge=2, le=8)
    """Two's complement, sign included."""
    weight_bits: int = Field(default=8, ge=2, le=8)
    """Two's complement, sign included."""
    capacitors: CapacitorSpec
    reference_v: Voltage = Field(alias="reference_voltage", gt=0, le=5)
    """Step of a bit cell's driven plate."""
    temperature_k: Temperature = Field(default=300.0, alias="temperature", ge=200, le=600)
    thermal_noise: bool = True
    """kT/C noise of the reset."""
    converter: ConverterSpec = ConverterSpec()
    clock_hz: Frequency = Field(alias="clock", ge=1, le=1e11)
    """Cycles a second; a parallel dot product takes one."""
    node_m: Length = Field(default=65e-9, alias="node", gt=0.5e-9, le=1e-6)
    energy: MacroEnergy = MacroEnergy()
    published: Published | None = None
    sources: dict[str, Origin] = Field(default_factory=dict)
    """Source of each figure, by field; nested ones with a dot."""
    limits: str = ""
    """What this description does not claim."""

    model_config = _BY_NAME

    @model_validator(mode="after")
    def _fits_together(self) -> ChargeDomainSpec:
        if self.mode == "bit_serial" and self.converter.range == "calibrated":
            raise ValueError(
                "converter.range: a bit-serial macro counts ones, at most as many as it has inputs; write range: full_scale"
            )
        if self.largest_sum > 2**23:
            raise ValueError(
                f"inputs: {self.inputs} products of {self.input_bits} x {self.weight_bits} bits reach "
                f"{self.largest_sum}; sums are exact up to 2^23. Lower inputs or bits"
            )
        for name in self.sources:
            if not _has_field(self, name):
                raise ValueError(f"sources.{name}: no field of the description has this name")
        return self

    @property
    def largest_sum(self) -> int:
        """Largest magnitude of a dot product: all operands at their most negative value."""
        return int(self.inputs * 2 ** (self.input_bits - 1) * 2 ** (self.weight_bits - 1))

    @property
    def full_span(self) -> float:
        """Sum that the end of the converter's range stands for, unless a layer's own sums set it.

        A bit-serial macro counts: no code stands for less than one.
        """
        if self.mode == "parallel":
            return float(self.largest_sum)
        codes = 2**self.converter.bits
        return float(codes * max(1.0, self.inputs / (codes - 1)))

    @property
    def largest_input(self) -> int:
        """Largest positive input."""
        return int(2 ** (self.input_bits - 1) - 1)

    def bit_serial(self) -> ChargeDomainSpec:
        """Return the baseline: the same cells and energies, one input bit a cycle, a code for each count of ones."""
        serial: ChargeDomainSpec = self.replaced(
            mode="bit_serial", converter__bits=math.ceil(math.log2(self.inputs + 1)), converter__range="full_scale",
            converter__sign_first=False,
        )  # fmt: skip
        return serial

    def idealised(self) -> ChargeDomainSpec:
        """Return the same macro without mismatch, noise and compression: its converter rounds, and nothing else."""
        ideal: ChargeDomainSpec = self.replaced(
            capacitors__mismatch=0.0, thermal_noise=False, converter__noise_v=0.0, converter__compression=0.0,
            converter__compression_spread=0.0, converter__compensation="none", converter__reference="trimmed",
        )  # fmt: skip
        return ideal


def _has_field(spec: Spec, name: str) -> bool:
    """Return whether a dotted name, in YAML's spelling, leads to a field."""
    node: object = spec
    for part in name.split("."):
        fields = type(node).model_fields if isinstance(node, Spec) else {}
        found = next((key for key, field in fields.items() if part in (key, field.alias)), None)
        if found is None:
            return False
        node = getattr(node, found)
    return True
