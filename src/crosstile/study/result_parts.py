"""The sections of ``result.json``: frozen, finite and documented field by field.

Physical quantities are SI floats with the unit in the name; shares and accuracies run from 0 to 1; energies,
latencies and counts are for one inference (one sample) unless a field says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


def _finite_or_null(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Decibel = Annotated[float | None, BeforeValidator(_finite_or_null)]
"""A ratio in dB; JSON has no infinity, so a layer without error (or without signal) has ``null``."""


class Section(BaseModel):
    """Base of every part of a result: frozen, no unknown fields, no infinities."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class ModelInfo(Section):
    """The network that was simulated."""

    name: str
    weights: str
    """Where the weights come from: a bundled name, or the user's file."""
    parameters: Count
    reference: str | None = None
    """Work that describes the network or published the weights."""


class DataInfo(Section):
    """The samples that were classified."""

    name: str
    samples: Count
    classes: Annotated[int, Field(ge=1)]
    calibration_samples: Count
    calibration_origin: str
    """Which samples set the input scales and converter ranges, and whether they are apart from the test."""
    source: str
    licence: str
    reference: str | None = None


class Versions(Section):
    """Software that computed the result."""

    crosstile: str
    python: str
    torch: str
    numpy: str
    numba: str
    platform: str


class Accuracy(Section):
    """Share of samples classified right, from 0 to 1."""

    digital: Share
    """The network in floating point, without any chip."""
    quantised: Share | None = None
    """The same network on ideal arrays and converters of the same bits; null when it was not computed."""
    mean: Share
    """Mean over the programmed chips."""
    ci95: tuple[float, float]
    """95 % interval of the mean: lower and upper end."""
    per_trial: tuple[Share, ...] = Field(min_length=1)
    """One accuracy for each independently programmed chip."""
    samples: Count
    """Samples classified by each programmed chip."""
    method: str
    """How the interval was computed."""
    drop: Annotated[float, Field(ge=-1, le=1)]
    """Digital accuracy minus the mean; negative when the chip does better."""

    @model_validator(mode="after")
    def _ordered(self) -> Accuracy:
        if self.ci95[0] > self.ci95[1]:
            raise ValueError(f"ci95 runs from low to high, found {self.ci95}")
        return self


class Cost(Section):
    """Cost of one sample; ``power_w`` to ``tops_per_mm2`` are for ``schedule``. An operation: half a MAC."""

    schedule: str = ""
    """``layer_serial`` (one sample at a time) or ``pipelined``."""
    node_m: Amount | None = None
    """Technology node that the figures are scaled to."""
    energy_j: Amount
    """Energy per sample, leakage included."""
    dynamic_energy_j: Amount | None = None
    leakage_power_w: Amount | None = None
    latency_s: Amount
    """Time of one sample when the layers follow each other."""
    latency_pipelined_s: Amount | None = None
    """Time of one sample when a layer starts as soon as its first inputs are there."""
    throughput_per_s: Amount | None = None
    """Samples per second when pipelined."""
    area_m2: Amount
    power_w: Amount | None = None
    edp_js: Amount
    """Energy x delay in J s; the delay is that of the schedule."""
    edap: Amount
    """Energy x delay x area in J s m2."""
    tops_per_w: Amount
    """Effective: operations of the network over its energy."""
    tops_per_mm2: Amount
    """Effective, at the rate of the schedule."""
    tops_per_w_peak: Amount | None = None
    """Every array full and read back to back; no buffer misses, no chip input or output."""
    tops_per_mm2_peak: Amount | None = None
    tops_peak: Amount | None = None
    bit_factor: Amount | None = None
    """Input bits x weight bits / 64; null for continuous weights."""
    tops_per_w_8b: Amount | None = None
    """Effective, normalised to 8-bit operations by ``bit_factor``."""
    tops_per_mm2_8b: Amount | None = None
    tops_per_w_peak_8b: Amount | None = None
    tops_per_mm2_peak_8b: Amount | None = None
    utilisation: Share | None = None
    """Share of the cells of the arrays taken that hold a digit of a weight."""
    array_utilisation: Share | None = None
    """Arrays taken over arrays built."""
    arrays_used: Count | None = None
    arrays_built: Count | None = None
    tiles_needed: Count | None = None
    tiles_built: Count | None = None
    macs: Count
    """Multiply-accumulates of the mapped layers for one sample."""
    notes: tuple[str, ...] = ()
    """Assumptions and limits of the estimate."""


class Conductance(Section):
    """Histogram of a layer's cells before and after programming, over equal bins; the last holds what lies above, too."""

    edges_s: tuple[float, ...] = Field(min_length=2)
    """Bin edges in siemens, one more than there are counts."""
    target: tuple[Count, ...]
    """Cells per bin as asked for."""
    programmed: tuple[Count, ...]
    """Cells per bin as they read after programming."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Conductance:
        bins = len(self.edges_s) - 1
        if len(self.target) != bins or len(self.programmed) != bins:
            raise ValueError(
                f"{len(self.edges_s)} edges bound {bins} bins, found {len(self.target)} target and "
                f"{len(self.programmed)} programmed counts"
            )
        return self


class LayerActivity(Section):
    """Work of one layer for one sample."""

    array_reads: Count
    """Read pulses, summed over arrays."""
    rows_driven: Count
    """Word-line activations, summed over arrays and reads."""
    dac_conversions: Count
    adc_conversions: Count
    shift_adds: Count
    digital_adds: Count
    """Additions that join row blocks."""
    input_register_bits: Count
    output_register_bits: Count
    buffer_read_bits: Count
    buffer_write_bits: Count
    network_bits: Count
    """Bits of layer outputs sent to the next layer's tile."""
    reads_in_series: Count
    """Reads that follow each other for one vector: planes x phases x segments of the longest block."""
    cell_energy_j: Amount
    """Ohmic energy of the cells."""
    energy_basis: str
    """``measured`` when the cell energy comes from real inputs and conductances, else the assumption made."""
    input_density: Amount
    """Mean of (input digit / largest digit) squared over driven rows."""


class LayerWires(Section):
    """What the wires of one layer cost, on chip 0."""

    current_kept: Amount
    """Conductance that acts through the wires over that of the cells: what is left of the current with every input on."""
    snr_without_db: Decibel = None
    """Signal to error of the layer on the same chip without wires; null when it is infinite."""
    accuracy: Share
    """With the wires of this layer alone."""
    accuracy_cost: Annotated[float, Field(ge=-1, le=1)]
    """Accuracy without wires minus that with this layer's alone; negative when the layer does better."""


class Seen(Section):
    """Accuracy of all chips under one condition."""

    mean: Share
    ci95: tuple[float, float]
    per_trial: tuple[Share, ...] = Field(min_length=1)


class AgedResult(Section):
    """Accuracy at one time and temperature; a chip is the same one under every condition."""

    time_s: Amount | None
    """Since programming; null: the moment at which the cell's figures were measured."""
    temperature_k: Amount
    once: Seen
    """Calibrated after programming and left alone."""
    again: Seen
    """The outputs' gain fitted again at this time and temperature."""
    method: str
    """How the interval of ``once`` was computed."""


class WireFigure(Section):
    """One figure that the wires rest on."""

    name: str
    value: float
    unit: str
    """SI unit."""
    source: str
    tag: str
    """published, derived or assumed."""


class WireResult(Section):
    """Resistances of the wires, what solving them took, and what they cost."""

    figures: tuple[WireFigure, ...]
    topology: str
    samples: Count
    """Samples that the accuracies here were measured on, on chip 0."""
    accuracy_without: Share
    """The same chip with ideal wires."""
    accuracy_with: Share
    accuracy_cost: Annotated[float, Field(ge=-1, le=1)]
    """Accuracy without wires minus accuracy with them."""
    solves: Count
    """Arrays solved in the whole run: each new content once, for every chip."""
    solve_s: Amount
    """Wall-clock seconds that this took."""


def _as_mapping(value: object) -> object:
    """Take :class:`crosstile.mapping.plan.Activity` as it is."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


class LayerResult(Section):
    """One mapped layer."""

    name: str
    kind: str
    rows: Count
    """Fan-in of one output."""
    outputs: Count
    """Outputs of one group."""
    groups: Count
    positions: Count
    """Matrix-vector products per sample."""
    macs: Count
    arrays: Count
    row_blocks: Count
    """Arrays that one output's fan-in is cut into."""
    utilisation: Share
    """Share of the cells of its arrays that hold a digit of a weight."""
    engine: Literal["collapsed", "tables", "planes"]
    """How the reads were computed: as one product, by tables, or bit plane by bit plane."""
    signed_inputs: bool
    input_scale: Amount
    """Real value of one input step."""
    adc_bits: int | None
    """Null for an ideal converter."""
    saturation: Share | None = None
    """Share of the conversions that clipped; null when there was no converter to clip."""
    saturation_per_slice: tuple[Share | None, ...] = ()
    """The same for each digit position of the weights, in the order that the chip stores them."""
    snr_db: Decibel = None
    """Signal to error at its output, given the digital layer's inputs; null when it is infinite."""
    snr_cumulative_db: Decibel = None
    """Signal to error with the errors of all earlier layers; null when it is infinite."""
    energy_j: Amount
    latency_s: Amount
    """Time of the layer when layers follow each other."""
    latency_by_part_s: dict[str, Amount] = Field(default_factory=dict)
    """Where the time goes: compute, drain, buffer, network, chip_io."""
    limited_by: str = ""
    """What sets the read cycle: array or converter."""
    energy_by_component: dict[str, Amount] = Field(default_factory=dict)
    """Joules by entry of the chip's hardware section, and ``leakage``."""
    conductance: Conductance | None = None
    wires: LayerWires | None = None
    """Null for ideal wires."""
    activity: Annotated[LayerActivity, BeforeValidator(_as_mapping)]


class ComponentResult(Section):
    """One entry of the chip's hardware section, or ``leakage``."""

    name: str = ""
    """Key in the hardware section; differs from the role when a role has several entries."""
    role: str
    component: str
    """Name in the component library."""
    count: Count
    """Instances on the chip."""
    energy_j: Amount
    energy_share: Amount | None = None
    area_m2: Amount
    area_share: Amount | None = None
    leakage_w: Amount | None = None
    source: str
    """Where the figures come from."""
    tag: str
    """published, derived or assumed."""


class Programming(Section):
    """Writing the cells of one chip."""

    cells: Count
    writes_per_cell: Amount
    unconverged_share: Share
    """Cells that write-and-verify left outside its tolerance."""
    energy_j: Amount | None = None
    """Of all writes of one chip and the reads that check them; null where the cell's description does not say."""
    serial_time_s: Amount | None = None
    """The same as a time, one cell after the other; cells that are written side by side take less."""


class Reference(Section):
    """A work that the result rests on."""

    text: str
    used_for: str
