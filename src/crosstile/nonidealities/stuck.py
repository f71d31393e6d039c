"""Stuck-at faults: cells that read g_on or g_off whatever was written, by rate or by a map.

Faults by rate are independent, or come in clusters and lines:

- ``cluster_size`` K > 1: clusters lie at random (a Poisson process on the array, which is taken to wrap around), each the
  n cells nearest its centre with n geometric of mean K, all stuck alike. A cell lies in at least one cluster with the
  chance 1 - exp(-mu E[n]) for mu clusters a cell; mu is set so that this is on_rate + off_rate. Where clusters
  overlap, the later counts.
- ``line_rate`` l: each row, and each column, is broken with this chance, and all its cells with it, on top of the rates:
  a share 1 - (1 - l)^2 of all cells. The rates hold for the cells of whole lines.

Measured maps are better than both: yields differ by more than any of these processes says.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from crosstile.errors import SpecError
from crosstile.nonidealities.base import Array, Effect, Levels, Stage, register
from crosstile.specs.base import Ratio

_MAX_MAP_BYTES = 2**30
_MAX_CLUSTERED = 0.9


@register
class StuckAt(Effect):
    """Stuck-on and stuck-off cells.

    A map is an ``.npz`` with ``stuck``: int8 of shape (arrays, rows, columns), 1 stuck on, -1 stuck off, 0 healthy.
    Arrays are numbered through the network in the order of its layers; those beyond the map use it again
    from the start, so that one measured array can stand for all.
    """

    kind: Literal["stuck_at"] = "stuck_at"
    stage: ClassVar[Stage] = "fault"
    on_rate: Ratio = Field(default=0.0, ge=0, le=1)
    off_rate: Ratio = Field(default=0.0, ge=0, le=1)
    map: str | None = None
    cluster_size: float = Field(default=1.0, ge=1, le=1e4)
    """Mean cells of a cluster; 1: cells fail independently."""
    line_rate: Ratio = Field(default=0.0, ge=0, le=1)
    """Chance of a row, and of a column, to fail as a whole."""
    line_state: Literal["off", "on"] = "off"
    """What the cells of a broken line read: off where the line is open, on where it is shorted."""

    @model_validator(mode="after")
    def _rates_fit(self) -> StuckAt:
        if self.on_rate + self.off_rate > 1:
            raise ValueError(f"on_rate + off_rate is {self.on_rate + self.off_rate:.4g}; at most 1 is possible")
        if self.map is not None and (self.on_rate or self.off_rate or self.line_rate):
            raise ValueError("give a map or rates, not both")
        if self.cluster_size > 1 and self.on_rate + self.off_rate > _MAX_CLUSTERED:
            raise ValueError(
                f"clusters cover at most {_MAX_CLUSTERED:.0%} of an array; on_rate + off_rate is "
                f"{self.on_rate + self.off_rate:.4g}; lower the rates or leave cluster_size out"
            )
        return self

    @property
    def is_identity(self) -> bool:
        """True without faults."""
        return self.map is None and self.on_rate == 0 and self.off_rate == 0 and self.line_rate == 0

    def apply_to_array(self, g_s: Array, levels: Levels, rng: np.random.Generator, array_number: int) -> Array:
        """Return the (rows, columns) conductances of one array with its faults."""
        if self.map is not None:
            faults = _load_map(self.map)
            layer = faults[array_number % len(faults)]
            rows, columns = g_s.shape
            if layer.shape[0] < rows or layer.shape[1] < columns:
                raise SpecError(
                    f"the stuck-at map {self.map} holds arrays of {layer.shape[0]} x {layer.shape[1]}, smaller "
                    f"than the {rows} x {columns} cells in use; give a map of the chip's array size."
                )
            state = layer[:rows, :columns]
            return np.where(state > 0, levels.g_on_s, np.where(state < 0, levels.g_off_s, g_s))
        if self.cluster_size > 1 and self.on_rate + self.off_rate > 0:
            state = self._clusters(g_s.shape[0], g_s.shape[1], rng)
            g_s = np.where(state > 0, levels.g_on_s, np.where(state < 0, levels.g_off_s, g_s))
        else:
            u = rng.random(g_s.shape)
            g_s = np.where(u < self.on_rate, levels.g_on_s, g_s)
            g_s = np.where(u >= 1.0 - self.off_rate, levels.g_off_s, g_s)
        if self.line_rate:
            words, bits = rng.random(g_s.shape[0]), rng.random(g_s.shape[1])
            broken = np.logical_or.outer(words < self.line_rate, bits < self.line_rate)
            g_s = np.where(broken, levels.g_on_s if self.line_state == "on" else levels.g_off_s, g_s)
        return g_s

    def _clusters(self, rows: int, columns: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
        """Return the (rows, columns) states of clustered faults: 1 on, -1 off, 0 healthy."""
        cells, rate = rows * columns, self.on_rate + self.off_rate
        p = 1.0 / self.cluster_size
        mean_size = -np.expm1(cells * np.log1p(-p)) / p  # of min(n, cells): a cluster covers no cell twice
        count = rng.poisson(-np.log1p(-rate) / mean_size * cells)
        centre = rng.integers(cells, size=count)
        size = np.minimum(rng.geometric(p, size=count), cells)
        sign = np.where(rng.random(count) * rate < self.on_rate, 1, -1).astype(np.int8)
        order = _nearest(rows, columns)
        state = np.zeros(cells, dtype=np.int8)
        cluster = np.repeat(np.arange(count), size)
        step = np.arange(cluster.size) - np.repeat(np.cumsum(size) - size, size)  # 0 .. n-1 within each cluster
        row = (centre[cluster] // columns + order[0, step]) % rows
        column = (centre[cluster] % columns + order[1, step]) % columns
        state[row * columns + column] = sign[cluster]  # of several, the last counts
        return state.reshape(rows, columns)


@lru_cache(maxsize=8)
def _nearest(rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return the offsets (2, rows * columns) of all cells of an array that wraps around, nearest first."""
    row, column = (axis.ravel() for axis in np.indices((rows, columns)))
    distance = np.minimum(row, rows - row) ** 2 + np.minimum(column, columns - column) ** 2
    return np.stack([row, column])[:, np.argsort(distance, kind="stable")]


@lru_cache(maxsize=4)
def _load_map(path: str) -> npt.NDArray[np.int8]:
    hint = "an .npz with 'stuck': integers of shape (arrays, rows, columns), 1 on, -1 off, 0 healthy, is wanted"
    try:
        if Path(path).stat().st_size > _MAX_MAP_BYTES:
            raise SpecError(f"the stuck-at map {path} is larger than 1 GiB.")
        with np.load(path, allow_pickle=False) as archive:
            faults = archive["stuck"]
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"the stuck-at map {path} cannot be read ({error}); {hint}.") from None
    if faults.ndim != 3 or 0 in faults.shape or faults.dtype.kind not in "iu" or not np.isin(faults, (-1, 0, 1)).all():
        raise SpecError(f"the stuck-at map {path} has shape {faults.shape}, type {faults.dtype}; {hint}.")
    return np.asarray(faults, dtype=np.int8)
