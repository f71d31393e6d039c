"""A space of knobs: counted, enumerated, sampled, and turned into features and back.

The number of points is the product of the counts of the knobs. Nothing here knows of chips: a name is a name, and
which points are allowed is for :mod:`crosstile.search.problems` to say.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.errors import UsageError
from crosstile.search.knobs import Knob, Point, Value

FloatArray = npt.NDArray[np.float64]


def key_of(point: Mapping[str, Value]) -> str:
    """Return a text that two points share if and only if they are the same."""
    return json.dumps(dict(point), sort_keys=True)


@dataclass(frozen=True)
class Space:
    """Knobs by name, in order."""

    knobs: Mapping[str, Knob]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the knobs."""
        return tuple(self.knobs)

    @property
    def count(self) -> int | None:
        """Number of points; none where a knob is continuous."""
        counts = [knob.count for knob in self.knobs.values()]
        return None if None in counts else math.prod(c for c in counts if c is not None)

    def points(self) -> Iterator[Point]:
        """Yield every point, the last knob fastest.

        Raises:
            UsageError: a knob is continuous.
        """
        for name, knob in self.knobs.items():
            if knob.count is None:
                raise UsageError(f"search: {name} is continuous, so points cannot be counted; give it a step.")
        every = [[knob.at(i) for i in range(knob.count or 0)] for knob in self.knobs.values()]
        for values in itertools.product(*every):
            yield dict(zip(self.knobs, values, strict=True))

    def sample(self, rng: np.random.Generator) -> Point:
        """Return a point drawn knob by knob."""
        return {name: knob.sample(rng) for name, knob in self.knobs.items()}

    def near(self, point: Point, rng: np.random.Generator, changes: int = 1) -> Point:
        """Return a copy with ``changes`` knobs (at most all of them) changed."""
        found, free = dict(point), [name for name, knob in self.knobs.items() if knob.count != 1]
        for name in rng.permutation(free)[:changes]:
            found[str(name)] = self.knobs[str(name)].near(point[str(name)], rng)
        return found

    def part(self, names: Sequence[str]) -> Space:
        """Return the space of some knobs."""
        return Space({name: self.knobs[name] for name in names})

    def cut(self, point: Point) -> Point:
        """Return the values of this space's knobs alone."""
        return {name: point[name] for name in self.knobs}

    def features(self, points: Sequence[Point]) -> FloatArray:
        """Return (points, features) in [0, 1]; choices without an order take one feature each."""
        rows = [[x for name, knob in self.knobs.items() for x in knob.features(point[name])] for point in points]
        return np.array(rows, dtype=np.float64).reshape(len(points), -1)

    def relaxed(self, points: Sequence[Point]) -> FloatArray:
        """Return (points, knobs) in [0, 1], every knob taken as a number."""
        rows = [[knob.unit_position(point[name]) for name, knob in self.knobs.items()] for point in points]
        return np.array(rows, dtype=np.float64).reshape(len(points), -1)

    def rounded(self, positions: Sequence[float] | FloatArray) -> Point:
        """Return the point nearest to places in [0, 1], knob by knob."""
        return {n: knob.rounded(float(u)) for (n, knob), u in zip(self.knobs.items(), positions, strict=True)}

    def holds(self, point: Mapping[str, Value]) -> bool:
        """Return whether a point is one of this space."""
        return set(point) == set(self.knobs) and all(knob.allows(point[name]) for name, knob in self.knobs.items())
