"""Constrained random search: points drawn knob by knob, those that known constraints refuse thrown away."""

from __future__ import annotations

from crosstile.search.base import Method
from crosstile.search.knobs import Point


class RandomSearch(Method):
    """The baseline that every other method has to beat."""

    name = "random"

    def ask(self) -> Point | None:
        """Return a fresh random point."""
        return self.draw()
