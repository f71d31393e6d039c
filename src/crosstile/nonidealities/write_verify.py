"""Write-verify: write, read back, and write again while the cell is outside its tolerance.

Each rewrite is an independent draw of the program effects. With tolerance tau and one-write error
distribution F the accepted error is F conditioned on |error| <= tau, up to the share of cells that the
iteration limit leaves outside.

Cells with a character of their own (``device_variation``) would miss a fixed aim each time. The loop then moves it by
what it read: aim += c (target - g), never below zero. With a factor f and no other error the error after k
writes is (1 - c f)^(k-1) (f - 1) target. The correction c is 1 for such cells and 0 for others, unless it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from crosstile.nonidealities.base import Array, Effect, Levels, Stage, register
from crosstile.specs.base import Ratio


@dataclass(frozen=True)
class WriteStatistics:
    """What programming took: writes over all cells, and cells left outside the tolerance."""

    cells: int = 0
    writes: int = 0
    unconverged: int = 0

    def __add__(self, other: WriteStatistics) -> WriteStatistics:
        return WriteStatistics(
            self.cells + other.cells, self.writes + other.writes, self.unconverged + other.unconverged
        )


@register
class WriteVerify(Effect):
    """Closed-loop programming."""

    kind: Literal["write_verify"] = "write_verify"
    stage: ClassVar[Stage] = "program"
    tolerance: Ratio = Field(gt=0, le=1)
    """Largest accepted error as a share of the window g_on - g_off."""
    max_iterations: int = Field(default=20, ge=1, le=1000)
    """Writes of one cell at most."""
    correction: float | None = Field(default=None, ge=0, le=2)
    """Share of the error read back by which the next aim moves; default: 1 where cells keep a factor, else 0."""

    @property
    def is_identity(self) -> bool:
        """True when each cell is written once, whatever it reads."""
        return self.max_iterations == 1

    def apply(
        self, target_s: Array, levels: Levels, write: Callable[[Array], Array], factor: Array | None = None
    ) -> tuple[Array, WriteStatistics]:
        """Write until within tolerance.

        Args:
            target_s: asked for, any shape.
            levels: the window.
            write: performs one open-loop write of flat targets.
            factor: what each cell makes of a write, for life; shape of ``target_s``.
        """
        flat = target_s.ravel()
        aim = flat.copy()
        life = None if factor is None else factor.ravel()
        correction = self.correction if self.correction is not None else float(life is not None)
        g = write(aim if life is None else aim * life)
        limit = self.tolerance * (levels.g_on_s - levels.g_off_s)
        writes = flat.size
        outside = np.flatnonzero(np.abs(g - flat) > limit)
        for _ in range(self.max_iterations - 1):
            if outside.size == 0:
                break
            if correction:
                aim[outside] = np.maximum(aim[outside] + correction * (flat[outside] - g[outside]), 0.0)
            g[outside] = write(aim[outside] if life is None else aim[outside] * life[outside])
            writes += outside.size
            outside = outside[np.abs(g[outside] - flat[outside]) > limit]
        return g.reshape(target_s.shape), WriteStatistics(flat.size, writes, outside.size)
