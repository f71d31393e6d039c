"""Parts by name: built-ins of this package and entry points of other packages.

A registry maps a name to a class or function. Third-party packages add theirs under the entry-point
group ``crosstile.<kind>``; they are looked for only when a name is not a built-in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from crosstile.errors import SpecError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to parts of one kind (``"effect"``, ``"component"`` ...)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, T] = {}

    def add(self, name: str, part: T) -> T:
        """Register ``part``; a second part of the same name is an error."""
        if name in self._parts and self._parts[name] is not part:
            raise SpecError(f"two {self.kind}s are called {name!r}; rename one of them.")
        self._parts[name] = part
        return part

    def get(self, name: str) -> T:
        """Return the part called ``name``; unknown names raise :class:`SpecError` with a near match."""
        if name not in self._parts:
            self.load_entry_points()
        if name not in self._parts:
            from crosstile.specs.base import near_match

            raise SpecError(
                f"no {self.kind} is called {name!r}; known are {', '.join(sorted(self._parts))}"
                f"{near_match(name, self._parts)}."
            )
        return self._parts[name]

    def load_entry_points(self) -> None:
        """Load what other installed packages offer for this kind."""
        for point in entry_points(group=f"crosstile.{self.kind}"):
            if point.name not in self._parts:
                self._parts[point.name] = point.load()

    def names(self) -> list[str]:
        """Return all names, built-in and third-party, sorted."""
        self.load_entry_points()
        return sorted(self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
