"""Single cells of a description, outside of any chip: written once, then seen at any time and temperature.

device = Device.load("pcm-nandakumar-2019")
cells = device.program(target_s, np.random.default_rng(0))
device.conductance(cells, time_s=86400.0, temperature_k=330.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstile.errors import DataError
from crosstile.nonidealities import Levels, life
from crosstile.nonidealities.life import Draw
from crosstile.nonidealities.write_verify import WriteStatistics
from crosstile.specs.cell import CellSpec
from crosstile.specs.conditions import ROOM_K, Conditions
from crosstile.specs.load import load_cell

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Cells that were written."""

    target_s: FloatArray
    """(rows, columns), or any shape: asked for, in siemens."""
    written_s: FloatArray
    """As written, in siemens."""
    writes: WriteStatistics
    energy_j: float | None
    """Of all writes and the reads that check them; ``None`` where the description does not say."""
    time_s: float | None
    """Of all writes one after the other, with the reads that check them; ``None`` where the description does not say."""
    key: int
    """Names their random numbers: what they are for life."""


class Device:
    """A memory technology as its description says; every effect that a chip would see."""

    def __init__(self, cell: CellSpec) -> None:
        self.cell = cell
        self.levels = Levels(cell.g_off_s, cell.g_on_s)

    @classmethod
    def load(cls, name: str | Path) -> Device:
        """Return a cell of the library, or of a YAML file."""
        return cls(load_cell(name))

    def level_targets(self, bits: int) -> FloatArray:
        """Return the (2 ** bits,) conductances of evenly spaced levels, in siemens, rising.

        Raises:
            DataError: the cell is described with fewer bits.
        """
        if not 1 <= bits <= self.cell.max_bits:
            raise DataError(f"cell {self.cell.name!r} holds 1 to {self.cell.max_bits} bits; found {bits}.")
        return np.linspace(self.levels.g_off_s, self.levels.g_on_s, 2**bits)

    def program(self, target_s: npt.ArrayLike, generator: np.random.Generator) -> Cells:
        """Write cells.

        Args:
            target_s: conductances in siemens, any shape; two dimensions count as an array, whose faults may cluster.
            generator: one number is taken from it, which names all draws of these cells.

        Raises:
            DataError: targets that are negative or not finite.
        """
        target = np.array(target_s, dtype=np.float64)
        if not np.isfinite(target).all() or (target < 0).any():
            raise DataError(f"cell {self.cell.name!r}: targets must be finite and not negative, in siemens.")
        key = int(generator.integers(2**63))
        written, writes = life.write(self.cell.effects, target, self.levels, self._draw(key))
        pulse = self.cell.write
        energy = None if pulse is None else pulse.energy_of(writes.writes)
        time = None if pulse is None else pulse.time_of(writes.writes)
        return Cells(target, written, writes, energy, time, key)

    def conductance(self, cells: Cells, *, time_s: float | None = None, temperature_k: float = ROOM_K) -> FloatArray:
        """Return the conductances of written cells in siemens, shape of the targets; the same cells at every call.

        Args:
            cells: from :meth:`program`. time_s: since programming; None: as written. temperature_k: of the cells.
        """
        conditions = Conditions(time=time_s, temperature=temperature_k)
        draw, target = self._draw(cells.key), cells.target_s
        g_s = life.age(self.cell.effects, cells.written_s.copy(), target, self.levels, draw, conditions)
        flat = g_s if g_s.ndim == 2 else g_s.reshape(1, -1)
        whole = life.break_cells(self.cell.effects, flat, target.reshape(flat.shape), self.levels, draw, 0)
        return np.asarray(whole.reshape(target.shape))

    def read(
        self,
        cells: Cells,
        generator: np.random.Generator,
        *,
        time_s: float | None = None,
        temperature_k: float = ROOM_K,
    ) -> FloatArray:
        """Return one read of the cells, in siemens: :meth:`conductance` and fresh read noise from ``generator``."""
        conditions = Conditions(time=time_s, temperature=temperature_k)
        g_s = self.conductance(cells, time_s=time_s, temperature_k=temperature_k)
        variance = life.read_variance(
            self.cell.effects, g_s, cells.target_s, self.levels, self._draw(cells.key), conditions
        )
        return g_s if variance is None else g_s + np.sqrt(variance) * generator.standard_normal(g_s.shape)

    def current(self, g_s: npt.ArrayLike, voltage_v: npt.ArrayLike) -> FloatArray:
        """Return the currents in ampere of conductances at voltages, shapes that broadcast; by the cell's law, or Ohm's."""
        g, v = np.asarray(g_s, dtype=np.float64), np.asarray(voltage_v, dtype=np.float64)
        return g * v if self.cell.current is None else np.asarray(self.cell.current.law().current(v, g))

    @staticmethod
    def _draw(key: int) -> Draw:
        from crosstile.crossbar.program import generator

        return lambda purpose: generator(key, purpose)
