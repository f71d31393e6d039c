"""What every non-ideality has in common.

An effect is one frozen description with one behaviour, in one file. It acts on the conductances of one array
at a named stage of the array's life: ``program`` (while the cells are written), ``age`` (between writing
and reading), ``fault`` (cells that cannot be written at all) or ``read`` (at each read). At zero strength
it is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from crosstile.registry import Registry
from crosstile.specs.base import Spec

Array = npt.NDArray[np.float64]
Stage = Literal["program", "fault", "age", "read"]


@dataclass(frozen=True)
class Levels:
    """The conductance window of a cell, in siemens."""

    g_off_s: float
    g_on_s: float


class Effect(Spec):
    """One non-ideality. Subclasses set ``kind`` and ``stage`` and implement the stage's method."""

    kind: str
    stage: ClassVar[Stage]
    reference: ClassVar[str] = ""
    """Where the model comes from, for the list of references of a result."""

    @property
    def is_identity(self) -> bool:
        """True when the effect changes nothing."""
        raise NotImplementedError(f"{type(self).__name__} must say when it is the identity")


class ProgramEffect(Effect):
    """Acts on conductances (any shape, siemens); all draws come from ``rng``."""

    def apply(self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return the conductances after the effect; ``target_s`` is what was asked for."""
        raise NotImplementedError(f"{type(self).__name__} must implement apply()")


class ReadEffect(Effect):
    """Noise that is drawn anew at each read of a cell."""

    def sigma_s(self, g_s: Array, levels: Levels) -> Array:
        """Return the standard deviation in siemens of one read of each cell."""
        raise NotImplementedError(f"{type(self).__name__} must implement sigma_s()")


EFFECTS: Registry[type[Effect]] = Registry("effect")


def register(effect: type[Any]) -> type[Any]:
    """Class decorator: make an effect known under its ``kind``."""
    EFFECTS.add(effect.model_fields["kind"].default, effect)
    return effect
