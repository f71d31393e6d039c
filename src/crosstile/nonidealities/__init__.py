"""Non-idealities of cells, one file an effect, found by name in a registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crosstile.errors import SpecError
from crosstile.nonidealities import (
    device_variation,
    drift,
    endurance,
    life,
    one_over_f,
    read_noise,
    relaxation,
    retention,
    stuck,
    telegraph,
    temperature,
    variation,
    write_verify,
)
from crosstile.nonidealities.base import (
    EFFECTS,
    AgeEffect,
    DeviceEffect,
    Effect,
    Levels,
    ProgramEffect,
    ReadEffect,
)
from crosstile.nonidealities.device_variation import device_factor
from crosstile.specs.base import validate

__all__ = [
    "EFFECTS", "AgeEffect", "DeviceEffect", "Effect", "Levels", "ProgramEffect", "ReadEffect", "build_effects",
    "device_factor", "device_variation", "drift", "endurance", "life", "one_over_f", "read_noise", "relaxation", "retention",
    "stuck", "telegraph", "temperature", "variation", "write_verify",
]  # fmt: skip


def build_effects(value: Any, *, units_required: bool) -> tuple[Effect, ...]:
    """Build effects from a list of mappings with a ``kind`` (or from effects already built).

    Raises:
        ValueError: with the position in the list, inside a larger validation.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"a list of effects, each with its kind, is wanted; found {type(value).__name__}")
    effects: list[Effect] = []
    for number, item in enumerate(value):
        if isinstance(item, Effect):
            effects.append(item)
            continue
        if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
            raise ValueError(
                f"effect {number}: a mapping with a text field 'kind' is wanted; known: {', '.join(EFFECTS)}"
            )
        try:
            effect = validate(EFFECTS.get(item["kind"]), item, origin=f"effect {number}", units_required=units_required)
        except SpecError as error:
            raise ValueError(str(error).rstrip(".")) from None
        effects.append(effect)
    kinds = [effect.kind for effect in effects]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise ValueError(f"effects given twice: {', '.join(twice)}; each kind may appear once")
    return tuple(effects)
