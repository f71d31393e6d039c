"""A figure that depends on the state of a cell: f(r) with r = g / g_max, in pieces.

Each piece is one of: a polynomial sum_k c_k r^k; a ln r + b; c r^p; or a table of (r, value), linear between its
points. A piece may be clamped. Fits of measured cells take these forms; outside 1e-7 <= r <= 1 the value at
the nearer end is taken, since no fit holds there.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from pydantic import Field, model_validator

from crosstile.nonidealities.base import Array, Levels
from crosstile.specs.base import Conductance, Spec

R_MIN: Final = 1e-7
_FORMS: Final = ("polynomial", "log", "power", "table")


class StatePiece(Spec):
    """One form over one range of r."""

    until: float | None = Field(default=None, gt=0, le=1)
    """The piece holds for r below this; the last piece has none."""
    polynomial: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=8)
    """Coefficients c_0, c_1 ... of r."""
    log: tuple[float, float] | None = None
    """(a, b) of a ln r + b."""
    power: tuple[float, float] | None = None
    """(c, p) of c r^p, with -1 <= p <= 8."""
    table: tuple[tuple[float, float], ...] | None = Field(default=None, min_length=2, max_length=200)
    """(r, value), r rising."""
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _one_of(self) -> StatePiece:
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(_FORMS)}; found {', '.join(given) or 'none'}")
        if self.power is not None and not -1 <= self.power[1] <= 8:
            raise ValueError(f"the exponent of power must lie from -1 to 8; found {self.power[1]:g}")
        if self.table is not None and any(b[0] <= a[0] for a, b in pairwise(self.table)):
            raise ValueError("the r of a table must rise from point to point")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum:g}) is above maximum ({self.maximum:g})")
        return self

    def at(self, r: Array) -> Array:
        """Return the value at each r > 0."""
        if self.polynomial is not None:
            value = np.polynomial.polynomial.polyval(r, np.asarray(self.polynomial))
        elif self.log is not None:
            value = self.log[0] * np.log(r) + self.log[1]
        elif self.power is not None:
            value = self.power[0] * r ** self.power[1]
        else:
            points = np.asarray(self.table)
            value = np.interp(r, points[:, 0], points[:, 1])
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        return np.asarray(np.clip(value, low, high))


class StateFunction(Spec):
    """A function of the state. A number stands for a constant, one piece for itself."""

    pieces: tuple[StatePiece, ...] = Field(min_length=1, max_length=20)
    """By rising r."""
    g_max_s: Conductance | None = Field(default=None, alias="g_max", gt=0)
    """Conductance at which r = 1; default: g_on of the cell."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"pieces": ({"polynomial": (value,)},)}
        if isinstance(value, (list, tuple)):
            return {"pieces": value}
        if isinstance(value, dict) and "pieces" not in value:
            own = {key: value[key] for key in ("g_max", "g_max_s") if key in value}
            return {"pieces": ({key: item for key, item in value.items() if key not in own},), **own}
        return value

    @model_validator(mode="after")
    def _pieces_follow(self) -> StateFunction:
        ends = [piece.until for piece in self.pieces]
        inner = [end for end in ends[:-1] if end is not None]
        if ends[-1] is not None or len(inner) != len(ends) - 1 or inner != sorted(set(inner)):
            raise ValueError("each piece but the last needs 'until', rising from piece to piece; the last has none")
        return self

    @property
    def is_zero(self) -> bool:
        """True when the value vanishes for each state."""
        return self.bounds() == (0.0, 0.0)

    def at(self, r: Array) -> Array:
        """Return the value at each state r; elementwise."""
        r = np.clip(r, R_MIN, 1.0)
        value = self.pieces[-1].at(r)
        for piece in reversed(self.pieces[:-1]):
            value = np.where(r < float(piece.until or 0.0), piece.at(r), value)
        return np.asarray(value)

    def of(self, g_s: Array, levels: Levels) -> Array:
        """Return the value for conductances in siemens; elementwise."""
        return self.at(np.abs(g_s) / (self.g_max_s or levels.g_on_s))

    def bounds(self) -> tuple[float, float]:
        """Return the least and the largest value over a fine grid of states and the ends of the pieces."""
        ends = [float(piece.until) for piece in self.pieces if piece.until is not None]
        tables = [point[0] for piece in self.pieces for point in piece.table or ()]
        grid = np.concatenate([np.geomspace(R_MIN, 1.0, 2001), np.linspace(1e-3, 1.0, 2001), ends, tables])
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows fails each check of a range
            value = self.at(grid)
        return float(value.min()), float(value.max())


def check_range(value: StateFunction, name: str, low: float, high: float) -> None:
    """Refuse a function that leaves ``low`` to ``high`` for some state."""
    least, largest = value.bounds()
    if not (low <= least and largest <= high):
        raise ValueError(
            f"{name} reaches {least:.4g} to {largest:.4g} over the states of a cell; it must stay from {low:g} to "
            f"{high:g}: check its coefficients, or clamp it with minimum and maximum"
        )
