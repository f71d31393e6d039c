"""One field that a search may set: a list of choices, or a range of numbers.

A knob maps to [0, 1] and back. Choice i of n ordered ones stands at u = i / (n - 1); a number x at

    u = (x - low) / (high - low),        or ln(x / low) / ln(high / low) with ``log``,

rounded to the steps of the range. Choices without an order become one feature each (one-hot).
"""

from __future__ import annotations

import itertools
import math
import re
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from crosstile.specs.base import Spec

Value = str | int | float | bool | None
Point = dict[str, Value]
"""One value for each knob, by its name."""

_MEASURE = re.compile(r"\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(\S.*?)\s*")


class Knob(Spec):
    """What one field may be: ``values``, or ``low`` to ``high``."""

    values: tuple[bool | int | float | str | None, ...] | None = None
    """Choices as they would stand in a description, quantities with their units."""
    ordered: bool | None = None
    """Whether near choices behave alike; default: where they are rising numbers (or quantities of one unit)."""
    low: float | None = None
    high: float | None = None
    type: Literal["integer", "float"] = "integer"
    step: float | None = Field(default=None, gt=0)
    """Of a range; integers default to 1, floats to none at all."""
    log: bool = False
    """Spread evenly over ratios; steps, where given, are those of the values."""
    unit: str | None = Field(default=None, max_length=12)
    """Of the numbers of a range, such as ``ns``."""

    @model_validator(mode="after")
    def _one_kind(self) -> Knob:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("give either values: [...], or low and high")
        if self.values is not None:
            self._check_values(self.values)
            return self
        low, high = self._ends
        if not high > low:
            raise ValueError(f"high ({high:g}) must be above low ({low:g})")
        if self.log and low <= 0:
            raise ValueError(f"log needs low above 0, found {low:g}")
        if self.type == "integer" and any(not float(v).is_integer() for v in (low, high, self.step or 1.0)):
            raise ValueError("low, high and step of an integer are whole numbers; or set type: float")
        return self

    def _check_values(self, values: tuple[Value, ...]) -> None:
        if self.low is not None or self.high is not None or self.step is not None or self.log or self.unit is not None:
            raise ValueError("values are written out with their units; low, high, step, log and unit belong to a range")
        if not values:
            raise ValueError("values: at least one choice is wanted")
        if len({(type(v).__name__, v) for v in values}) < len(values):
            raise ValueError("values: a choice appears twice")

    @cached_property
    def has_order(self) -> bool:
        """True where near values are expected to behave alike."""
        if self.values is None:
            return True
        if self.ordered is not None:
            return self.ordered
        numbers, units = [], set()
        for value in self.values:
            found = _MEASURE.fullmatch(value) if isinstance(value, str) else None
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers.append(float(value))
                units.add("")
            elif found is not None:
                numbers.append(float(found[1]))
                units.add(found[2])
            else:
                return False
        return len(units) == 1 and all(a < b for a, b in itertools.pairwise(numbers))

    @cached_property
    def count(self) -> int | None:
        """Number of values; none where a float has no step."""
        if self.values is not None:
            return len(self.values)
        low, high = self._ends
        return None if self._step is None else math.floor((high - low) / self._step + 1e-9) + 1

    @property
    def _ends(self) -> tuple[float, float]:
        if self.low is None or self.high is None:
            raise ValueError("low and high belong together")
        return self.low, self.high

    @property
    def _step(self) -> float | None:
        return 1.0 if self.step is None and self.type == "integer" else self.step

    def at(self, index: int) -> Value:
        """Return value number ``index``; for knobs with a count."""
        if self.values is not None:
            return self.values[index]
        return self._written(self._ends[0] + index * (self._step or 1.0))

    def _written(self, number: float) -> Value:
        plain: int | float = round(number) if self.type == "integer" else float(f"{number:.9g}")
        return plain if self.unit is None else f"{plain} {self.unit}"

    def _number(self, value: Value) -> float:
        if isinstance(value, str):
            value = value.removesuffix(self.unit or "").strip()
        return float(value)  # type: ignore[arg-type]

    def unit_position(self, value: Value) -> float:
        """Return where a value stands in [0, 1]."""
        if self.values is not None:
            return self.index(value) / max(1, len(self.values) - 1)
        (low, high), number = self._ends, self._number(value)
        if self.log:
            return math.log(number / low) / math.log(high / low)
        return (number - low) / (high - low)

    def index(self, value: Value) -> int:
        """Return the place of a choice among ``values``."""
        assert self.values is not None
        return next(i for i, v in enumerate(self.values) if v == value and type(v) is type(value))

    def rounded(self, position: float) -> Value:
        """Return the value nearest to a place in [0, 1]."""
        position = min(max(position, 0.0), 1.0)
        if self.values is not None:
            return self.values[min(len(self.values) - 1, math.floor(position * (len(self.values) - 1) + 0.5))]
        low, high = self._ends
        number = low * math.exp(position * math.log(high / low)) if self.log else low + position * (high - low)
        if self._step is None:
            return self._written(number)
        steps = min(math.floor((number - low) / self._step + 0.5), (self.count or 1) - 1)
        return self.at(steps)

    def sample(self, rng: np.random.Generator) -> Value:
        """Return a value drawn evenly over values, or over the (logarithmic) range."""
        if self.count is not None and not self.log:
            return self.at(int(rng.integers(self.count)))
        return self.rounded(float(rng.random()))

    def near(self, value: Value, rng: np.random.Generator) -> Value:
        """Return another value: one step up or down, or any for choices without an order."""
        count = self.count
        if count == 1:
            return value
        if not self.has_order:
            assert self.values is not None
            others = [v for i, v in enumerate(self.values) if i != self.index(value)]
            return others[int(rng.integers(len(others)))]
        position = self.unit_position(value)
        for scale in (0.05, 0.1, 0.2, 0.4, 1.0):
            found = self.rounded(position + scale * float(rng.normal()))
            if found != value:
                return found
        if count is None:
            return self.sample(rng)
        options = [other for other in (self.at(i) for i in range(count)) if other != value]
        return options[int(rng.integers(len(options)))]

    def features(self, value: Value) -> list[float]:
        """Return the numbers that a surrogate sees."""
        if self.has_order:
            return [self.unit_position(value)]
        assert self.values is not None
        return [1.0 if i == self.index(value) else 0.0 for i in range(len(self.values))]

    def allows(self, value: Value) -> bool:
        """Return whether a value is one of this knob's."""
        if self.values is not None:
            return any(v == value and type(v) is type(value) for v in self.values)
        try:
            return self.rounded(self.unit_position(value)) == value
        except (TypeError, ValueError):
            return False
