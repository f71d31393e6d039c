"""When programmed cells are read, and how warm they are: the whole chip alike, or each array at its own temperature."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from crosstile.errors import SpecError
from crosstile.specs.base import Spec, Temperature, Time

ROOM_K: Final = 300.0
LOWEST_K: Final = 200.0
HIGHEST_K: Final = 600.0


class Conditions(Spec):
    """What ages cells and changes them reversibly: the same chip may be looked at under several."""

    time_s: Time | None = Field(default=None, alias="time", ge=0, le=1e11)
    """Time since programming; ``null``: the moment at which each figure of the cell was measured."""
    temperature_k: Temperature = Field(default=ROOM_K, alias="temperature", ge=LOWEST_K, le=HIGHEST_K)
    """Of cells and wires, since programming."""
    arrays: dict[str, tuple[Temperature, ...]] | None = None
    """Temperatures of single arrays by layer, in the order pack, row block, column block; layers that are not named have
    ``temperature``. Wires of a pack take the mean of its arrays."""
    reference_columns: bool = False
    """Converters take zero and scale from two reference columns of the same array, of g_off and of g_on cells, which are as
    warm and as old as the others."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @field_validator("arrays")
    @classmethod
    def _in_range(cls, value: dict[str, tuple[float, ...]] | None) -> dict[str, tuple[float, ...]] | None:
        for layer, temperatures in (value or {}).items():
            wrong = [k for k in temperatures if not LOWEST_K <= k <= HIGHEST_K]
            if wrong:
                raise ValueError(f"layer {layer!r}: {wrong[0]:g} K lies outside {LOWEST_K:g} to {HIGHEST_K:g} K")
        return value

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Chips that are as warm everywhere are written as before."""
        data: dict[str, Any] = handler(self)
        for key, usual in (("arrays", None), ("reference_columns", False)):
            if key in data and data[key] == usual:
                del data[key]
        return data

    def for_pack(self, layer: str, number: int, first: int, count: int) -> Conditions:
        """Return the conditions of one pack: arrays ``first`` to ``first + count - 1`` of the layer.

        In them ``arrays`` goes by the name that programming knows a pack by, ``layer/number``, and ``temperature_k`` is the mean.
        """
        if self.arrays is None:
            return self
        mine = self.arrays.get(layer, ())[first : first + count]
        if not mine:
            return self.model_copy(update={"arrays": None})
        same = len(set(mine)) == 1  # the mean of equal numbers may round
        mean = mine[0] if same else sum(mine) / len(mine)
        return self.model_copy(update={"arrays": {f"{layer}/{number}": mine}, "temperature_k": mean})

    def of_array(self, pack: str, array: int) -> Conditions:
        """Return the conditions of one array of a pack, from those of :meth:`for_pack`."""
        if self.arrays is None or pack not in self.arrays:
            return self
        return self.model_copy(update={"arrays": None, "temperature_k": self.arrays[pack][array]})

    def check_arrays(self, wanted: dict[str, int]) -> None:
        """Raise :class:`SpecError` unless ``arrays`` fits layers with so many arrays."""
        for layer, temperatures in (self.arrays or {}).items():
            if layer not in wanted:
                raise SpecError(f"conditions.arrays: no layer is called {layer!r}; layers are {', '.join(wanted)}.")
            if len(temperatures) != wanted[layer]:
                raise SpecError(
                    f"conditions.arrays: layer {layer!r} stands on {wanted[layer]} arrays, found {len(temperatures)} "
                    "temperatures; give one for each, in the order pack, row block, column block."
                )

    def __str__(self) -> str:
        """Return it in words, such as ``1 d, 358.15 K``."""
        from crosstile.units import format_duration, format_quantity

        when = "as programmed" if self.time_s is None else format_duration(self.time_s)
        warm = format_quantity(self.temperature_k, "K")
        if self.arrays:
            all_k = [k for temperatures in self.arrays.values() for k in temperatures]
            warm += f", arrays {min(all_k, default=self.temperature_k):.4g} to {max(all_k, default=self.temperature_k):.4g} K"
        return f"{when}, {warm}"
