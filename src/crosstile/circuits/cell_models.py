"""Cells whose current is not proportional to their voltage: I(v, g), strictly increasing, with I(0, g) = 0.

    Sinh        I = g v0 sinh(v / v0)
    Polynomial  I = g (v + a2 v^2 + a3 v^3 + ...)
    Selector    v = v_memory(I) + v_s asinh(I / i_s)        memory cell and selector in series (1S1R)

g is what the cell is programmed to: its conductance in siemens as v goes to 0 (with a selector: that of the memory
alone). A cell of 0 S is open. The exponential laws follow X. Guan, S. Yu and H.-S. P. Wong, IEEE Electron Device Lett. 33,
1405 (2012), 10.1109/LED.2012.2210856 (sinh); crossbars of cells with selectors: A. Chen, IEEE Trans. Electron Devices 60,
1318 (2013), 10.1109/TED.2013.2246791.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from crosstile.circuits.elimination import jit
from crosstile.errors import UsageError
from crosstile.parallel import in_chunks

FloatArray = npt.NDArray[np.float64]

STEEPEST: Final = 200.0
"""Largest voltage over v0: sinh(200) is 4e86, far above any current that wires let through."""


class Cell(Protocol):
    """A law of the current. Arrays are float64 of shapes that broadcast; volts, siemens, amperes."""

    def current(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return I(v, g)."""

    def conductance(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return dI/dv."""

    def check(self, span_v: float) -> None:
        """Raise :class:`UsageError` unless the law is strictly increasing and finite from -span_v to span_v."""


def _positive(owner: str, name: str, value: object, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise UsageError(f"{owner}: {name} is a number of {unit} above 0, found {value!r}.")
    return float(value)


def _check_steepness(owner: str, name: str, v0: float, span_v: float) -> None:
    if span_v > STEEPEST * v0:
        raise UsageError(
            f"{owner}: cell voltages may reach {span_v:.4g} V, {span_v / v0:.4g} times {name} = {v0:.4g} V; up to {STEEPEST:g} "
            f"times can be solved. Give lower input voltages, or a larger {name}."
        )


@dataclass(frozen=True)
class Sinh:
    """I = g v0 sinh(v / v0): filamentary oxide memories; v0 to infinity is the linear cell."""

    v0_v: float
    """Voltage from which the current grows exponentially, volts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "v0_v", _positive("Sinh", "v0_v", self.v0_v, "volts"))

    def current(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return amperes."""
        return np.asarray(g * (self.v0_v * np.sinh(v / self.v0_v)))

    def conductance(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return dI/dv, siemens."""
        return np.asarray(g * np.cosh(v / self.v0_v))

    def check(self, span_v: float) -> None:
        """Refuse voltages at which sinh would leave the range of a double."""
        _check_steepness("Sinh", "v0_v", self.v0_v, span_v)


@dataclass(frozen=True)
class Polynomial:
    """I = g (v + a2 v^2 + a3 v^3 + ...), as fitted to measured curves.

    Every cell voltage that the inputs allow must have dI/dv > 0: otherwise the network may have several states, and
    which one a real array takes depends on its past.
    """

    coefficients: tuple[float, ...]
    """(a2, a3, ...), in 1/V, 1/V^2, ..."""

    def __post_init__(self) -> None:
        try:
            values = tuple(float(a) for a in self.coefficients)
        except (TypeError, ValueError):
            raise UsageError(
                f"Polynomial: coefficients are numbers (a2, a3, ...), found {self.coefficients!r}."
            ) from None
        if not all(math.isfinite(a) for a in values):
            raise UsageError(f"Polynomial: coefficients are finite, found {values}.")
        object.__setattr__(self, "coefficients", values)

    @property
    def _curve(self) -> np.polynomial.Polynomial:
        return np.polynomial.Polynomial([0.0, 1.0, *self.coefficients])

    def current(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return amperes."""
        return np.asarray(g * self._curve(v))

    def conductance(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return dI/dv, siemens."""
        return np.asarray(g * self._curve.deriv()(v))

    def check(self, span_v: float) -> None:
        """Refuse a range of voltages with a negative differential conductance in it."""
        slope = self._curve.deriv()
        bends = slope.deriv().roots() if slope.degree() > 0 else np.empty(0)
        # Two real roots that coincide come out as a pair that is complex by rounding: its real part is tried, too.
        tried = np.concatenate([[0.0, -span_v, span_v], np.clip(np.real(bends), -span_v, span_v)])
        lowest = tried[np.argmin(slope(tried))]
        if not slope(lowest) > 0:
            raise UsageError(
                f"Polynomial: at {lowest:.4g} V the differential conductance is {slope(lowest):.4g} times g, not above 0, and "
                f"these inputs allow cell voltages from {-span_v:.4g} to {span_v:.4g} V. Give lower input voltages, or "
                "coefficients whose current rises over all of them."
            )


@dataclass(frozen=True)
class Selector:
    """Memory cell in series with a selector of I = i_s sinh(v / v_s).

    The memory is linear, or I = g v0 sinh(v / v0) with ``memory_v0_v``. How the voltage divides is an equation with one
    unknown, solved for every cell by a Newton iteration that starts above the root of a convex function and so falls
    onto it; the currents' relative error was below 2e-14 (tests/unit/test_nonlinear.py, against 50 digits).
    """

    i_s_a: float
    """Scale of the selector's current, amperes."""
    v_s_v: float
    """Scale of the selector's voltage, volts."""
    memory_v0_v: float | None = None
    """v0 of the memory, volts; ``None`` for a linear one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "i_s_a", _positive("Selector", "i_s_a", self.i_s_a, "amperes"))
        object.__setattr__(self, "v_s_v", _positive("Selector", "v_s_v", self.v_s_v, "volts"))
        if self.memory_v0_v is not None:
            object.__setattr__(self, "memory_v0_v", _positive("Selector", "memory_v0_v", self.memory_v0_v, "volts"))

    def current(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return amperes."""
        return self._solve(v, g)[0]

    def conductance(self, v: FloatArray, g: FloatArray) -> FloatArray:
        """Return dI/dv, siemens: selector and memory in series."""
        current, g = self._solve(v, g)
        selector = np.hypot(self.i_s_a, current) / self.v_s_v
        memory = g if self.memory_v0_v is None else np.hypot(g, current / self.memory_v0_v)
        return selector * (memory / (selector + memory))

    def check(self, span_v: float) -> None:
        """Refuse voltages at which sinh would leave the range of a double; a linear memory bounds the current."""
        if self.memory_v0_v is not None:
            _check_steepness("Selector", "v_s_v", self.v_s_v, span_v)
            _check_steepness("Selector", "memory_v0_v", self.memory_v0_v, span_v)

    def _solve(self, v: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the current and ``g``, both of the broadcast shape."""
        v, g = (np.asarray(x, dtype=np.float64, order="C") for x in np.broadcast_arrays(v, g))
        current = np.empty_like(v)
        volts, siemens, amperes = v.reshape(-1), g.reshape(-1), current.reshape(-1)
        memory_v0 = self.memory_v0_v or math.inf

        def solve(part: slice) -> None:
            _series(volts[part], siemens[part], amperes[part], self.i_s_a, self.v_s_v, memory_v0)

        in_chunks(v.size, solve, size=2**16)
        return current, g


@jit
def _series(v: Any, g: Any, current: Any, i_s: float, v_s: float, v_m: float) -> None:
    """Write the current of memory and selector in series; arrays (cells,), v_m infinite for a linear memory.

    The unknown is y = v / v0 of the element with the smaller scale of current, i_u: then

        F(y) = v_u y + v_o asinh((i_u / i_o) sinh y) - v        (linear memory: v_s y + (i_s / g) sinh y - v)

    is convex for y > 0, so that Newton steps from above its root never pass it.
    """
    for n in range(v.size):
        x, conductance = abs(v[n]), g[n]
        if x == 0.0 or conductance == 0.0:
            current[n] = 0.0
            continue
        linear = not np.isfinite(v_m)
        i_u, v_u, i_o, v_o = i_s, v_s, conductance * v_m, v_m
        if i_u > i_o:
            i_u, v_u, i_o, v_o = i_o, v_o, i_u, v_u
        y = x / v_u
        if linear:
            y = min(y, np.arcsinh(conductance * x / i_s))
        for _ in range(200):
            sinh = np.sinh(y)
            cosh = np.sqrt(1.0 + sinh * sinh)
            if linear:
                value = (i_s / conductance) * sinh + v_u * y - x
                slope = (i_s / conductance) * cosh + v_u
            else:
                a = i_u / i_o
                value = v_o * np.arcsinh(a * sinh) + v_u * y - x
                slope = v_o * a * cosh / np.sqrt(1.0 + (a * sinh) * (a * sinh)) + v_u
            step = value / slope
            if not step > 0.0:  # at the root, to rounding
                break
            y -= step
            if step < 4e-16 * y:
                break
        found = i_u * np.sinh(y)
        if linear and i_s * np.cosh(y) > v_s * conductance:  # the memory sets the current: its voltage is exacter
            found = (x - v_s * y) * conductance
        current[n] = found if v[n] > 0.0 else -found
