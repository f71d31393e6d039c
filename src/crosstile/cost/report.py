"""What a cost estimate returns: frozen figures in SI units, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ComponentCost:
    """One component of the chip. ``leakage`` is a line of its own, with energy alone."""

    name: str
    role: str
    component: str
    count: int
    """Instances on the chip."""
    energy_j: float
    energy_share: float
    area_m2: float
    area_share: float
    leakage_w: float
    source: str
    tag: str


@dataclass(frozen=True)
class LayerCost:
    """One layer, for one sample."""

    name: str
    macs: int
    arrays: int
    area_share: float
    """Its arrays over all arrays that the network takes."""
    utilisation: float
    """Cells of its arrays that hold a digit of a weight."""
    energy_j: float
    energy_by_component_j: dict[str, float]
    latency_s: float
    compute_s: float
    drain_s: float
    buffer_s: float
    network_s: float
    chip_io_s: float
    read_cycle_s: float
    limited_by: str
    energy_basis: str


@dataclass(frozen=True)
class CostReport:
    """Cost of one sample on a chip. An operation is half a multiply-accumulate; energy includes leakage.

    ``power_w``, ``edp_js``, ``edap_jsm2``, ``tops_per_w`` and ``tops_per_mm2`` are for ``schedule``: with
    ``layer_serial`` one sample at a time, with ``pipelined`` samples at the interval 1 / ``throughput_hz``
    (delay in the products: ``latency_pipelined_s``).
    """

    chip: str
    schedule: str
    node_m: float
    ops: int
    """2 x multiply-accumulates of one sample."""
    energy_j: float
    dynamic_energy_j: float
    leakage_power_w: float
    latency_s: float
    """Layer-serial."""
    latency_pipelined_s: float
    throughput_hz: float
    """Samples per second when pipelined."""
    area_m2: float
    power_w: float
    edp_js: float
    edap_jsm2: float
    tops_per_w: float
    """Effective: operations of the network over its energy."""
    tops_per_mm2: float
    """Effective, at the rate of the schedule."""
    tops_per_w_peak: float
    """A layer that fills every array, read back to back, with leakage, without buffer misses or chip I/O."""
    tops_per_mm2_peak: float
    tops_peak: float
    bit_factor: float | None
    """Input bits x weight bits / 64; ``None`` for continuous weights."""
    tops_per_w_8b: float | None
    """Effective, normalised to 8-bit operations by ``bit_factor``."""
    tops_per_mm2_8b: float | None
    tops_per_w_peak_8b: float | None
    tops_per_mm2_peak_8b: float | None
    arrays_used: int
    arrays_built: int
    tiles_needed: int
    tiles_built: int
    cell_utilisation: float
    """Cells of the arrays taken that hold a digit of a weight."""
    array_utilisation: float
    """Arrays taken over arrays built."""
    layers: tuple[LayerCost, ...]
    components: tuple[ComponentCost, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        data = asdict(self)
        for key in ("layers", "components", "notes"):
            data[key] = list(data[key])
        return data
