"""Stuck-at faults: cells that read g_on or g_off whatever was written, by rate or by a map."""

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

    @model_validator(mode="after")
    def _rates_fit(self) -> StuckAt:
        if self.on_rate + self.off_rate > 1:
            raise ValueError(f"on_rate + off_rate is {self.on_rate + self.off_rate:.4g}; at most 1 is possible")
        if self.map is not None and (self.on_rate or self.off_rate):
            raise ValueError("give a map or rates, not both")
        return self

    @property
    def is_identity(self) -> bool:
        """True without faults."""
        return self.map is None and self.on_rate == 0 and self.off_rate == 0

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
        u = rng.random(g_s.shape)
        g_s = np.where(u < self.on_rate, levels.g_on_s, g_s)
        return np.where(u >= 1.0 - self.off_rate, levels.g_off_s, g_s)


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
