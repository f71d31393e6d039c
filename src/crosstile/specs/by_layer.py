"""Hardware that differs by layer: patterns of layer names with the fields of the chip that are others there.

    layers:
      "layer3.*": {array: {rows: 64, columns: 64}, adc: {bits: 7}, hardware: {arrays_per_macro: 16}}

The first pattern that matches a layer's name holds for it. All layers are on one chip: what is no part of an array or of a macro
is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, get_args

from pydantic import BaseModel

from crosstile.errors import SpecError
from crosstile.specs.base import Spec, near_match

Overrides = dict[str, dict[str, Any]]
SECTIONS = ("cell", "weights", "inputs", "array", "adc", "compensation", "hardware")
HARDWARE = ("arrays_per_macro", "adcs_per_array", "columns_per_adc", "components")


def check_sections(overrides: object) -> None:
    """Raise :class:`ValueError` for what cannot differ by layer."""
    if not isinstance(overrides, Mapping):
        raise ValueError("layers: a mapping from patterns of layer names to changed fields is wanted")
    for pattern, changes in overrides.items():
        if not isinstance(pattern, str) or not pattern or not isinstance(changes, Mapping) or not changes:
            raise ValueError(f"layers: {pattern!r}: a pattern of layer names and fields that change are wanted")
        for section, fields in changes.items():
            if section not in SECTIONS:
                raise ValueError(
                    f"layers: {pattern}: {section!r} is the same for all layers of a chip{near_match(str(section), SECTIONS)}; "
                    f"what can differ is {', '.join(SECTIONS)}"
                )
            if not isinstance(fields, Mapping):
                raise ValueError(f"layers: {pattern}: {section}: a mapping of fields is wanted, found {fields!r}")
            for name in fields if section == "hardware" else ():
                if name not in HARDWARE:
                    raise ValueError(
                        f"layers: {pattern}: hardware.{name} is the same for all layers of a chip; what can differ is "
                        f"{', '.join(HARDWARE)}"
                    )


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the fields of ``changes``; sections are merged, and entries of components.

    A cell that is given with its name takes the place of the other cell as a whole.
    """
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(old, Spec):
            old = old.model_dump(by_alias=True)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[key] = merged(old, value) if both and not (key == "cell" and "name" in value) else value  # type: ignore[arg-type]
    return found


def changes_for(overrides: Overrides, layer: str) -> dict[str, Any] | None:
    """Return the changed fields of ``layer``; None where it has those of the chip."""
    return next((changes for pattern, changes in overrides.items() if fnmatchcase(layer, pattern)), None)


def set_field(model: type[BaseModel], changes: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Give the field at ``path``, by names of Python, another value where ``changes`` has it."""
    name, *rest = path
    field = model.model_fields.get(name)
    key = name if field is None or field.alias is None else field.alias
    if key not in changes:
        return
    if not rest:
        changes[key] = value
        return
    kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
    inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), BaseModel)
    if isinstance(changes[key], dict):
        set_field(inner, changes[key], rest, value)


def check_patterns(overrides: Overrides, layers: Iterable[str], chip: str) -> None:
    """Raise :class:`SpecError` for a pattern that no layer of the network has."""
    names = list(layers)
    for pattern in overrides:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SpecError(
                f"chip {chip!r}: layers: {pattern!r} is no layer of the network, which has {', '.join(names)[:400]}"
                f"{near_match(pattern, names)}."
            )
