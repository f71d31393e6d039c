"""Every point of a small space, in order: the optimum without doubt."""

from __future__ import annotations

from crosstile.errors import UsageError
from crosstile.search.base import Method, Problem
from crosstile.search.knobs import Point

LIMIT = 100_000


class Exhaustive(Method):
    """Enumeration; spaces of more than 100,000 points are refused."""

    name = "exhaustive"

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        super().__init__(problem, seed)
        count = self.space.count
        if count is None or count > LIMIT:
            size = "is continuous" if count is None else f"has {count:,} points"
            raise UsageError(f"exhaustive search takes spaces of up to {LIMIT:,} points; this one {size}.")
        self._left = self.space.points()

    def ask(self) -> Point | None:
        """Return the next allowed point, or none at the end."""
        return next((point for point in self._left if self.fresh(point)), None)
