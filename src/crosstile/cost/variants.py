"""Many variants of a chip at once: the estimate of :mod:`crosstile.cost.estimate`, as arrays over variants.

Variants that lay the network on arrays alike share its plans; within such a group figures of components are stacked, so that each
formula is evaluated once for all variants and layers. The formulas are those of the estimate; so are the results, to rounding.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from crosstile.cost.charges import charge, io_bits
from crosstile.cost.estimate import LEAKAGE
from crosstile.cost.installed import Installed, install
from crosstile.cost.latency import conversions_per_read, window
from crosstile.errors import SpecError
from crosstile.mapping.plan import Activity, LayerPlan, LayerShape, plan_layer
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VariantCosts:
    """One sample on each variant; arrays (variants,) in SI units, defined as in :class:`crosstile.cost.report.CostReport`."""

    energy_j: FloatArray
    dynamic_energy_j: FloatArray
    leakage_power_w: FloatArray
    latency_s: FloatArray
    latency_pipelined_s: FloatArray
    interval_s: FloatArray
    """The slowest layer: one over the throughput when pipelined."""
    area_m2: FloatArray
    edp_js: FloatArray
    edap_jsm2: FloatArray
    tops_per_w: FloatArray
    tops_per_mm2: FloatArray
    arrays: npt.NDArray[np.int64]
    groups: int
    """Groups of variants that lay the network on arrays alike: so often were formulas evaluated."""
    layers_planned: int


def estimate_variants(shapes: Sequence[LayerShape], chips: Sequence[ChipSpec]) -> VariantCosts:
    """Return what one sample costs on each of ``chips``; no data, as ``crosstile estimate``.

    Raises:
        SpecError: there is no layer or no chip, a chip has too few tiles, or a component does not cover what is asked of it.
    """
    if not shapes or not chips:
        raise SpecError("variants: at least one layer and one chip are needed.")
    groups: dict[Hashable, list[int]] = {}
    parts = [install(chip) for chip in chips]
    for number, (chip, installed) in enumerate(zip(chips, parts, strict=True)):
        groups.setdefault(_alike(chip, installed), []).append(number)
    found = {field.name: np.zeros(len(chips)) for field in fields(VariantCosts) if field.type == "FloatArray"}
    arrays = np.zeros(len(chips), dtype=np.int64)
    for members in groups.values():
        group = _Group(shapes, [chips[i] for i in members], [parts[i] for i in members])
        for name, values in group.costs().items():
            found[name][members] = values
        arrays[members] = group.arrays
    return VariantCosts(**found, arrays=arrays, groups=len(groups), layers_planned=len(groups) * len(shapes))


def _alike(chip: ChipSpec, parts: tuple[Installed, ...]) -> Hashable:
    """Return what variants of one group have in common: everything that counts of work and formulas depend on."""
    hardware = chip.hardware
    per = tuple((p.name, p.role, p.per, p.width_bits, p.figures.access_bits, p.figures.rate_hz is None) for p in parts)
    places = (
        hardware.arrays_per_macro,
        hardware.macros_per_tile,
        hardware.tiles,
        hardware.pipeline,
        hardware.network_hops,
    )
    size = (chip.array.rows, chip.array.columns, chip.array.rows_per_read, hardware.read_cycle_s is None)
    return chip.weights, chip.inputs, size, places, per


class _Group:
    """Variants that share plans. Arrays are (variants, 1) for figures and (layers,) for counts."""

    def __init__(self, shapes: Sequence[LayerShape], chips: list[ChipSpec], parts: list[tuple[Installed, ...]]) -> None:
        self.shapes, self.chips, self.chip = shapes, chips, chips[0]
        plans = [plan_layer(shape, self.chip) for shape in shapes]
        self.arrays = sum(plan.arrays for plan in plans)
        self.plans = plans
        counts: dict[str, Any] = {
            field.name: np.array([getattr(plan.activity, field.name) for plan in plans], dtype=np.float64)
            for field in fields(Activity)
            if field.name != "energy_basis"
        }
        read = [c.array.read_voltage_v**2 * c.array.read_time_s * (c.cell.g_on_s + c.cell.g_off_s) for c in chips]
        counts["cell_energy_j"] = counts["cell_energy_j"] * self._column([r / read[0] for r in read])
        outputs = np.array([shape.output_elements for shape in shapes], dtype=np.float64)
        shape = SimpleNamespace(output_elements=outputs, input_elements=outputs)
        self.plan = cast(LayerPlan, SimpleNamespace(activity=SimpleNamespace(**counts), shape=shape))
        self.parts = [self._stacked([variant[i] for variant in parts]) for i in range(len(parts[0]))]

    def _column(self, values: Sequence[float]) -> FloatArray:
        return np.array(values, dtype=np.float64)[:, None]

    def _stacked(self, variants: list[Installed]) -> Installed:
        first, figures = variants[0], [variant.figures for variant in variants]
        columns: dict[str, Any] = {  # arrays stand where the formulas expect numbers
            "energy_j": {
                action: self._column([f.energy_j[action] for f in figures]) for action in first.figures.energy_j
            },
            "area_m2": self._column([f.area_m2 for f in figures]),
            "leakage_w": self._column([f.leakage_w for f in figures]),
            "rate_hz": None if first.figures.rate_hz is None else self._column([f.rate_hz or 0.0 for f in figures]),
            "cell_energy_factor": self._column([f.cell_energy_factor for f in figures]),
        }
        stacked = replace(first.figures, **columns)
        return replace(first, figures=stacked, count=cast(float, self._column([v.count for v in variants])))

    def _instances(self, part: Installed, units: dict[str, Any]) -> FloatArray:
        return np.asarray(np.ceil(part.count * units[part.per] - 1e-9))

    def costs(self) -> dict[str, FloatArray]:
        """Return the arrays over the variants of this group."""
        hardware = self.chip.hardware
        needed = -(-self.arrays // hardware.arrays_per_tile)
        if hardware.tiles is not None and needed > hardware.tiles:
            raise SpecError(
                f"chip {self.chip.name!r}: hardware.tiles is {hardware.tiles}, but the network needs {needed} tiles; set "
                f"tiles to {needed} or more, or to null."
            )
        if any(part.name == LEAKAGE for part in self.parts):
            raise SpecError(
                f"chip {self.chip.name!r}: hardware.components.{LEAKAGE}: this name is taken; rename the entry."
            )
        tiles = hardware.tiles or needed
        units = {
            "array": tiles * hardware.arrays_per_tile,
            "macro": tiles * hardware.macros_per_tile,
            "tile": tiles,
            "chip": 1,
        }
        area = sum(self._instances(p, units) * p.figures.area_m2 for p in self.parts)[:, 0]  # type: ignore[index]
        leakage = sum(self._instances(p, units) * p.figures.leakage_w for p in self.parts)[:, 0]  # type: ignore[index]
        spent = np.zeros((len(self.chips), len(self.shapes)))
        for part in self.parts:
            if part.role == "chip_io":
                spent += self._io_bits * part.figures.energy_j["transfer"] / part.figures.access_bits
            else:
                spent += charge(part, self.plan, self.chip, first=False, last=False)
        totals = self._times()
        latency, interval = totals.sum(axis=1), totals.max(axis=1)
        pipelined = self._pipelined(totals)
        serial = hardware.pipeline == "layer_serial"
        held, delay = (latency, latency) if serial else (interval, pipelined)
        dynamic = spent.sum(axis=1)
        energy = dynamic + leakage * held
        ops = 2.0 * sum(shape.macs for shape in self.shapes)
        return {
            "energy_j": energy, "dynamic_energy_j": dynamic, "leakage_power_w": leakage, "latency_s": latency,
            "latency_pipelined_s": pipelined, "interval_s": interval, "area_m2": area, "edp_js": energy * delay,
            "edap_jsm2": energy * delay * area, "tops_per_w": ops / energy * 1e-12,
            "tops_per_mm2": ops / held * 1e-12 / (area * 1e6),
        }  # fmt: skip

    @property
    def _io_bits(self) -> FloatArray:
        last = len(self.plans) - 1
        bits = [io_bits(plan, self.chip, i == 0, i == last) for i, plan in enumerate(self.plans)]
        return np.array(bits, dtype=np.float64)

    def _times(self) -> FloatArray:
        """Return (variants, layers) the time of each layer, as :func:`crosstile.cost.latency.layer_time`."""
        hardware, work = self.chip.hardware, self.plan.activity
        arrays = np.array([plan.arrays for plan in self.plans], dtype=np.float64)
        units = {
            "array": arrays,
            "macro": np.ceil(arrays / hardware.arrays_per_macro),
            "tile": np.ceil(arrays / hardware.arrays_per_tile),
            "chip": np.ones_like(arrays),
        }
        clock = self._column([chip.hardware.clock_hz for chip in self.chips])
        cycle, convert = self._cycles(clock)
        blocks = np.array([max(len(pack.blocks) for pack in plan.packs) for plan in self.plans])
        drain = (1 + np.ceil(np.log2(blocks))) / clock
        if any(part.role == "sample_hold" for part in self.parts):
            drain = drain + convert

        def move(bits: Any, role: str) -> FloatArray:
            slowest = np.zeros((len(self.chips), len(self.plans)))
            for part in self.parts:
                if part.role == role:
                    rate = clock if part.figures.rate_hz is None else part.figures.rate_hz
                    slowest = np.maximum(
                        slowest, bits / (part.figures.access_bits * rate * self._instances(part, units))
                    )
            return slowest

        positions = np.array([shape.positions for shape in self.shapes], dtype=np.float64)
        buffers = move(work.buffer_read_bits + work.buffer_write_bits, "buffer")
        bus = move(work.buffer_read_bits + work.output_register_bits, "bus")
        network = move(work.network_bits * hardware.network_hops, "network")
        compute = positions * work.reads_in_series * cycle
        return np.asarray(compute + drain + np.maximum(buffers, bus) + network + move(self._io_bits, "chip_io"))

    def _cycles(self, clock: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the read cycle and the conversion time within it, as :func:`crosstile.cost.latency.read_cycle`."""
        nothing = np.zeros((len(self.chips), 1))
        if self.chip.hardware.read_cycle_s is not None:
            return self._column([chip.hardware.read_cycle_s or 0.0 for chip in self.chips]), nothing
        read = self._column([chip.array.read_time_s for chip in self.chips])
        for part in self.parts:
            if part.role == "dac" and part.figures.rate_hz is not None:
                read = np.maximum(read, 1.0 / part.figures.rate_hz)
        adc = [part for part in self.parts if part.role == "adc"]
        if not adc:
            return read, nothing
        conversions = np.array([conversions_per_read(plan, self.chip) for plan in self.plans], dtype=np.float64)
        rate = clock if adc[0].figures.rate_hz is None else adc[0].figures.rate_hz
        convert = np.ceil(conversions / adc[0].count - 1e-9) / rate
        held = any(part.role == "sample_hold" for part in self.parts)
        return (np.maximum(read, convert) if held else read + convert), convert

    def _pipelined(self, totals: FloatArray) -> FloatArray:
        start, end = np.zeros(len(totals)), totals[:, 0].copy()
        for i in range(1, len(self.shapes)):
            start = start + window(self.shapes[i - 1], self.shapes[i]) * totals[:, i - 1]
            end = np.maximum(start + totals[:, i], end + totals[:, i] / self.shapes[i].positions)
        return end
