"""How warm a chip gets while it works, with what warmth does to its power in turn.

    P(T) = f E_dynamic + f E_cells g(T) / g(T0) + P_leak (T / T0)^2 exp(-(E / k) (1 / T - 1 / T0)),     T = T_air + G^-1 P(T)

f is the rate of samples. Energies are those of the cost model by layer, shared equally by a layer's arrays and spread evenly over
their tile; leakage is shared equally by all tiles; what cells take follows their conductance at mid window (their
``temperature`` effects). The two equations are iterated from the air's temperature until what is left of the geometric series
of steps is below the tolerance. Leakage only grows on the way up, so that the lowest temperature at which both hold is found,
or none, which is thermal runaway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from crosstile.cost.report import CostReport
from crosstile.errors import SpecError, UsageError
from crosstile.mapping.plan import LayerPlan
from crosstile.nonidealities.temperature import TemperatureDependence
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import HIGHEST_K
from crosstile.specs.thermal import ThermalSpec
from crosstile.system.floorplan import Floorplan, Placement
from crosstile.system.thermal_solve import ThermalNetwork
from crosstile.units import BOLTZMANN_J_PER_K, format_quantity

FloatArray = npt.NDArray[np.float64]
_MAX_ITERATIONS = 5000


def leakage_factor(temperature_k: FloatArray, spec: ThermalSpec) -> FloatArray:
    """Return leakage over leakage at the reference temperature: (T / T0)^2 exp(-(E / k) (1 / T - 1 / T0))."""
    reference = spec.leakage_reference_k
    exponent = -spec.leakage_energy_j / BOLTZMANN_J_PER_K * (1.0 / temperature_k - 1.0 / reference)
    return np.asarray((temperature_k / reference) ** 2 * np.exp(exponent))


def conductance_factor(temperature_k: FloatArray, chip: ChipSpec) -> FloatArray:
    """Return the conductance of a cell at mid window over that at the reference of its ``temperature`` effects; else 1."""
    on, off = chip.cell.g_on_s, chip.cell.g_off_s
    factor = np.ones_like(temperature_k)
    for effect in chip.cell.effects:
        if isinstance(effect, TemperatureDependence):
            both = np.array([effect.factors(float(k)) for k in temperature_k]).reshape(-1, 2)
            factor = factor * (both[:, 0] * on + both[:, 1] * off) / (on + off)
    return factor


def full_rate(cost: CostReport) -> float:
    """Return the samples per second that the schedule of the estimate allows."""
    return cost.throughput_hz if cost.schedule == "pipelined" else 1.0 / cost.latency_s


@dataclass(frozen=True)
class ThermalState:
    """A chip in the steady state, one entry a copy of each array where arrays are copied."""

    ambient_k: float
    cells_k: FloatArray
    """(cells of the die along y, along x) temperature."""
    tiles_k: FloatArray
    """(tiles,) mean temperature of each tile."""
    tiles_w: FloatArray
    """(tiles,) power of each tile."""
    arrays_k: FloatArray
    """(copies, arrays) temperature of each array's tile."""
    leakage_w: float
    iterations: int

    @property
    def power_w(self) -> float:
        """Power of the chip."""
        return float(self.tiles_w.sum())

    @property
    def peak_k(self) -> float:
        """Temperature of the hottest cell of the die."""
        return float(self.cells_k.max())

    @property
    def mean_k(self) -> float:
        """Mean temperature of the tiles."""
        return float(self.tiles_k.mean())


@dataclass(frozen=True)
class ChipHeat:
    """What a chip dissipates at the reference temperatures, and the network that sheds it."""

    chip: ChipSpec
    spec: ThermalSpec
    plan: Floorplan
    network: ThermalNetwork
    rate_hz: float
    dynamic_w: FloatArray
    """(arrays,) all but cells and leakage."""
    cells_w: FloatArray
    """(arrays,) ohmic power of the cells."""
    leakage_w: float

    @classmethod
    def of(
        cls,
        plans: Sequence[LayerPlan],
        cost: CostReport,
        chip: ChipSpec,
        spec: ThermalSpec,
        rate_hz: float | None = None,
    ) -> ChipHeat:
        """Return the heat of a network on a chip.

        Args:
            plans, cost: of the same network and chip. rate_hz: samples per second; default: as fast as the schedule goes.

        Raises:
            UsageError: the chip cannot go as fast. SpecError: the chip does not fit the description of its package.
        """
        chip.require_uniform("the floorplan")
        most = full_rate(cost)
        rate = most if rate_hz is None else rate_hz
        if not 0 <= rate <= most * (1 + 1e-9):
            raise UsageError(
                f"a rate of {rate:.4g} samples/s is not between 0 and the {most:.4g} that chip {chip.name!r} reaches "
                f"{cost.schedule.replace('_', '-')}; lower it, or add converters (hardware.adcs_per_array)."
            )
        if cost.arrays_used != sum(plan.arrays for plan in plans):
            raise SpecError(
                f"chip {chip.name!r}: the estimate takes {cost.arrays_used} arrays, the plans of its layers "
                f"{sum(plan.arrays for plan in plans)}; copies of weights have no place on the floorplan: take them away."
            )
        ohmic = {part.name for part in cost.components if part.role == "cell_array"}
        dynamic, cells = [], []
        for layer, plan in zip(cost.layers, plans, strict=True):
            own = sum(energy for name, energy in layer.energy_by_component_j.items() if name in ohmic)
            rest = layer.energy_j - layer.energy_by_component_j["leakage"] - own
            dynamic += [rate * rest / plan.arrays] * plan.arrays
            cells += [rate * own / plan.arrays] * plan.arrays
        place = Floorplan.of(cost, chip, spec)
        n = spec.cells_per_tile
        network = ThermalNetwork.build(place.rows * n, place.columns * n, place.pitch_m / n, spec)
        return cls(chip, spec, place, network, rate, np.array(dynamic), np.array(cells), cost.leakage_power_w)

    @property
    def arrays(self) -> int:
        """Arrays of the network."""
        return len(self.dynamic_w)

    def spread(self, by_tile: FloatArray) -> FloatArray:
        """Return (cells of the die,) shares of (tiles,) values."""
        n = self.spec.cells_per_tile
        return np.kron(self.plan.as_grid(by_tile), np.full((n, n), 1.0 / n**2)).ravel()

    def of_tiles(self, by_cell: FloatArray) -> FloatArray:
        """Return the (tiles,) means of values of the die's cells."""
        n, plan = self.spec.cells_per_tile, self.plan
        blocks = by_cell[: self.network.cells].reshape(plan.rows, n, plan.columns, n).mean(axis=(1, 3))
        return np.asarray(blocks.ravel()[: plan.tiles])

    def influence(self) -> FloatArray:
        """Return (tiles, tiles) kelvins of the one tile for each watt in the other; symmetric."""
        unit = np.stack([self.spread(row) for row in np.eye(self.plan.tiles)], axis=1)
        rise = self.network.steady(unit)
        return np.stack([self.of_tiles(column) for column in rise.T], axis=1)

    def tile_powers(self, tiles_k: FloatArray, placement: Placement) -> tuple[FloatArray, float]:
        """Return (tiles,) watts at these temperatures, and how much of their sum leaks."""
        warm = conductance_factor(tiles_k, self.chip)[placement.tile_of]
        leak = self.leakage_w / self.plan.tiles * leakage_factor(tiles_k, self.spec)
        return placement.power_by_tile(self.dynamic_w + self.cells_w * warm) + leak, float(leak.sum())

    def settle(self, placement: Placement, ambient_k: float | None = None) -> ThermalState:
        """Return the steady state.

        Args:
            placement: where the arrays stand. ambient_k: of the air; default: that of the package's description.

        Raises:
            SpecError: thermal runaway, or hotter than cells are described for.
        """
        air = self.spec.ambient_k if ambient_k is None else ambient_k
        tiles_k, cells_k = np.full(self.plan.tiles, air), np.full(self.network.cells, air)
        before = np.inf
        for iteration in range(1, _MAX_ITERATIONS + 1):
            power, leakage = self.tile_powers(tiles_k, placement)
            found = air + self.network.steady(self.spread(power))[: self.network.cells]
            step = float(np.abs(found - cells_k).max())
            cells_k, tiles_k = found, self.of_tiles(found)
            if not cells_k.max() <= HIGHEST_K:
                break
            ratio = step / before if before > 0 else 0.0
            # With steps that shrink by this ratio the rest of the way is a geometric series.
            if ratio < 1 and step * max(ratio / (1 - ratio), 0.1) < self.spec.tolerance_k and iteration > 1:
                n, plan = self.spec.cells_per_tile, self.plan
                return ThermalState(
                    air, cells_k.reshape(plan.rows * n, plan.columns * n), tiles_k, power,
                    tiles_k[placement.tile_of], leakage, iteration,
                )  # fmt: skip
            before = step
        self._too_hot(placement, air)

    def _too_hot(self, placement: Placement, air: float) -> NoReturn:
        """Say why no temperature was found."""
        even = np.full(self.plan.tiles, air)
        power, leak = self.tile_powers(even, placement)
        rise = air + float(self.network.steady(self.spread(power)).max())
        mend = "lower the rate or thermal.ambient, or give the package a smaller thermal.sink_resistance_k_per_w"
        if rise > HIGHEST_K:
            raise SpecError(
                f"chip {self.chip.name!r}: {format_quantity(float(power.sum()), 'W')} would heat it to {rise:.4g} K in air of "
                f"{air:.4g} K, beyond the {HIGHEST_K:g} K that cells are described for; {mend}."
            )
        raise SpecError(
            f"chip {self.chip.name!r}: thermal runaway in air of {air:.4g} K: its leakage ({format_quantity(leak, 'W')} at that "
            "temperature) grows faster with the temperature than the package sheds heat, and no temperature below "
            f"{HIGHEST_K:g} K is steady; {mend}."
        )
