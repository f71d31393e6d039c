"""What every non-ideality has in common.

An effect is one frozen description with one behaviour, in one file. It acts on the conductances of one array
at a named stage of the array's life: ``program`` (while the cells are written), ``age`` (between writing and
reading, by time and temperature), ``fault`` (cells that cannot be written at all) or ``read`` (at each read).
At zero strength it is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from crosstile.registry import Registry
from crosstile.specs.base import Spec
from crosstile.specs.conditions import Conditions

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

    def is_idle(self, conditions: Conditions) -> bool:
        """True when the effect changes nothing under the given conditions."""
        return self.is_identity


class ProgramEffect(Effect):
    """Acts on conductances (any shape, siemens) while they are written; all draws come from ``rng``."""

    def apply(self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return the conductances after the effect; ``target_s`` is what was asked for."""
        raise NotImplementedError(f"{type(self).__name__} must implement apply()")


class DeviceEffect(Effect):
    """A character that a cell has for life: drawn once a cell, never again however often it is written."""

    def factor(self, target_s: Array, levels: Levels, rng: np.random.Generator) -> Array:
        """Return what each cell makes of a write, as a factor on what is asked of it; shape of ``target_s``."""
        raise NotImplementedError(f"{type(self).__name__} must implement factor()")


class AgeEffect(Effect):
    """What time and temperature do to a cell between writing and reading.

    Draws belong to the cell and not to the moment: for the same ``rng``, every condition sees the same cells.
    """

    def age(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return conductances under ``conditions``; ``g_s`` as programmed, ``target_s`` as asked for, any shape."""
        raise NotImplementedError(f"{type(self).__name__} must implement age()")


class ReadEffect(Effect):
    """Noise that is drawn anew at each read of a cell.

    What ``rng`` gives belongs to the cell (whether it is a noisy one), not to the read.
    """

    def sigma_s(
        self, g_s: Array, target_s: Array, levels: Levels, rng: np.random.Generator, conditions: Conditions
    ) -> Array:
        """Return the standard deviation in siemens of one read of each cell; ``g_s`` as read, any shape."""
        raise NotImplementedError(f"{type(self).__name__} must implement sigma_s()")


EFFECTS: Registry[type[Effect]] = Registry("effect")


def register(effect: type[Any]) -> type[Any]:
    """Class decorator: make an effect known under its ``kind``."""
    EFFECTS.add(effect.model_fields["kind"].default, effect)
    return effect
