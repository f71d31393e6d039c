"""The thermal network of a die and its spreader: C dT/dt + G (T - T_air) = P on a grid of cells.

    lateral      g = k t dy / dx               between neighbours of one layer
    vertical     g = dx dy / (t_si / 2 k_si + R_interface + t_sp / 2 k_sp)        die to spreader
    to the air   g = (cell area / spreader area) / R_sink

Heat is put into the die's cells and spread evenly over them. Layers are as warm at the top as at the bottom (the fin
approximation), half of each layer's thickness counts as vertical resistance, edges lose nothing, conductivities do not
change with temperature. Without a spreader the die's cells lead to the air through R_interface and their share of R_sink. The
discretisation error falls with the square of the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu

from crosstile.errors import SpecError
from crosstile.specs.thermal import ThermalSpec

FloatArray = npt.NDArray[np.float64]
_MAX_CELLS = 400_000
_LEAST_RESISTANCE_K_PER_W = 1e-12


@dataclass(frozen=True)
class ThermalNetwork:
    """A die of ``rows`` x ``columns`` cells, then the cells of the spreader, if there is one."""

    rows: int
    columns: int
    conductance: Any
    """(nodes, nodes) G in W/K, sparse and symmetric; the air is node 0 K."""
    to_air_w_per_k: FloatArray
    """(nodes,)"""
    capacity_j_per_k: FloatArray
    """(nodes,)"""

    @classmethod
    def build(cls, rows: int, columns: int, cell_m: float, spec: ThermalSpec) -> ThermalNetwork:
        """Return the network of a die of square cells with side ``cell_m``.

        Raises:
            SpecError: the grid is too fine, or nothing resists the heat.
        """
        rim = round(spec.spreader_rim_m / cell_m) if spec.spreader_thickness_m else 0
        wide, high = columns + 2 * rim, rows + 2 * rim
        spread = wide * high if spec.spreader_thickness_m else 0
        if rows * columns + spread > _MAX_CELLS:
            raise SpecError(
                f"the thermal grid would have {rows * columns + spread} cells, at most {_MAX_CELLS} are solved; "
                "lower thermal.cells_per_tile or thermal.spreader_rim."
            )
        area = cell_m**2
        die = np.arange(rows * columns).reshape(rows, columns)
        edges = [_neighbours(die, spec.silicon_conductivity_w_per_mk * spec.silicon_thickness_m)]
        air = np.zeros(rows * columns + spread)
        capacity = np.full(len(air), area * spec.silicon_thickness_m * spec.silicon_heat_capacity_j_per_m3k)
        below = (
            spec.silicon_thickness_m / (2 * spec.silicon_conductivity_w_per_mk) + spec.interface_resistance_m2k_per_w
        )
        if spread:
            lid = rows * columns + np.arange(spread).reshape(high, wide)
            edges.append(_neighbours(lid, spec.spreader_conductivity_w_per_mk * spec.spreader_thickness_m))
            below += spec.spreader_thickness_m / (2 * spec.spreader_conductivity_w_per_mk)
            under = lid[rim : rim + rows, rim : rim + columns]
            edges.append((die.ravel(), under.ravel(), np.full(die.size, area / below)))
            capacity[die.size :] = area * spec.spreader_thickness_m * spec.spreader_heat_capacity_j_per_m3k
            air[die.size :] = 1.0 / (spread * max(spec.sink_resistance_k_per_w, _LEAST_RESISTANCE_K_PER_W))
        else:
            air[:] = 1.0 / (below / area + die.size * spec.sink_resistance_k_per_w)
        first, second, g = (np.concatenate(part) for part in zip(*edges, strict=True))
        ends = np.concatenate([first, second])
        diagonal = air + np.bincount(ends, weights=np.concatenate([g, g]), minlength=len(air))
        everything = (np.concatenate([-g, -g, diagonal]), (np.concatenate([ends, np.arange(len(air))]),
                      np.concatenate([second, first, np.arange(len(air))])))  # fmt: skip
        return cls(rows, columns, csc_array(coo_array(everything, shape=(len(air), len(air)))), air, capacity)

    @cached_property
    def _factor(self) -> Any:
        return splu(self.conductance)

    @property
    def cells(self) -> int:
        """Cells of the die."""
        return self.rows * self.columns

    def _sources(self, power_w: FloatArray) -> FloatArray:
        full = np.zeros((len(self.to_air_w_per_k), *np.shape(power_w)[1:]))
        full[: self.cells] = power_w
        return full

    def steady(self, power_w: FloatArray) -> FloatArray:
        """Return (nodes, ...) kelvins above the air for (die cells, ...) watts; factored once."""
        return np.asarray(self._factor.solve(self._sources(power_w)))

    def time_constant_s(self) -> float:
        """Return the slowest time constant, the largest eigenvalue of G^-1 C, by power iteration to 1e-6."""
        x, found = np.ones(len(self.capacity_j_per_k)), 0.0
        for _ in range(10_000):
            y = self._factor.solve(self.capacity_j_per_k * x)
            before, found = found, float(np.abs(y).max())
            x = y / found
            if abs(found - before) <= 1e-6 * found:
                break
        return found

    def transient(
        self,
        power_w: Callable[[float], FloatArray],
        step_s: float,
        steps: int,
        *,
        start_k: FloatArray | None = None,
        trapezoidal: bool = False,
    ) -> FloatArray:
        """Return (steps + 1, nodes) kelvins above the air at times 0, step, 2 step ...

        Args:
            power_w: (die cells,) watts at a time in seconds; within a step it is that of the step's middle. step_s: of one step.
            start_k: (nodes,) kelvins above the air at first; default 0. trapezoidal: Crank-Nicolson, second order in the step;
            default implicit Euler, first order, which never overshoots.
        """
        new = 0.5 if trapezoidal else 1.0
        stored = diags_array(self.capacity_j_per_k / step_s)
        factor = splu(csc_array(stored + new * self.conductance))
        explicit = csc_array(stored - (1.0 - new) * self.conductance)
        found = np.zeros((steps + 1, len(self.capacity_j_per_k)))
        if start_k is not None:
            found[0] = start_k
        for n in range(steps):
            found[n + 1] = factor.solve(explicit @ found[n] + self._sources(power_w((n + 0.5) * step_s)))
        return found


def _neighbours(
    nodes: npt.NDArray[np.int64], sheet_w_per_k: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Return pairs of neighbours on a grid of square cells and the conductance k t between them."""
    first = np.concatenate([nodes[:, :-1].ravel(), nodes[:-1].ravel()])
    second = np.concatenate([nodes[:, 1:].ravel(), nodes[1:].ravel()])
    return first, second, np.full(len(first), sheet_w_per_k)
