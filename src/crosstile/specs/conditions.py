"""When programmed cells are read, and how warm they are."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from crosstile.specs.base import Spec, Temperature, Time

ROOM_K: Final = 300.0


class Conditions(Spec):
    """What ages cells and changes them reversibly: the same chip may be looked at under several."""

    time_s: Time | None = Field(default=None, alias="time", ge=0, le=1e11)
    """Time since programming; ``null``: the moment at which each figure of the cell was measured."""
    temperature_k: Temperature = Field(default=ROOM_K, alias="temperature", ge=200, le=600)
    """Of cells and wires, since programming."""

    model_config = Spec.model_config | {"populate_by_name": True}

    def __str__(self) -> str:
        """Return it in words, such as ``1 d, 358.15 K``."""
        from crosstile.units import format_duration, format_quantity

        when = "as programmed" if self.time_s is None else format_duration(self.time_s)
        return f"{when}, {format_quantity(self.temperature_k, 'K')}"
