"""Knobs of single layers: a study opens fields by patterns of layer names, each layer that matches gets knobs of its own.

    layers: {"conv*": {array.rows: {values: [64, 128]}, copies: {values: [1, 2, 4]}}}

makes the knobs ``conv1/array.rows``, ``conv1/copies``, ``conv2/array.rows`` and so on. ``copies`` (of a layer's weights) belongs
to the mapping, all others to the hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from crosstile.errors import SpecError
from crosstile.search.knobs import Knob, Point, Value
from crosstile.specs.base import near_match

COPIES, BETWEEN = "copies", "/"


def is_of_layer(name: str) -> bool:
    """Return whether a knob is one of a single layer."""
    return BETWEEN in name


def layer_and_field(name: str) -> tuple[str, str]:
    """Return (layer, field) of the knob of a layer."""
    layer, _, field = name.rpartition(BETWEEN)
    return layer, field


def opened(patterns: Mapping[str, Mapping[str, Knob]], names: Iterable[str], study: str) -> dict[str, Knob]:
    """Return the knobs of all layers by ``layer/field``, layers in running order.

    Raises:
        SpecError: a pattern matches no layer, or two patterns open the same field of a layer.
    """
    layers = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise SpecError(
                f"search {study}: layers: {pattern!r} matches no layer{near_match(pattern, layers)}; the network has "
                f"{', '.join(layers)[:400]}."
            )
    found: dict[str, Knob] = {}
    for layer in layers:
        for pattern, fields in patterns.items():
            for field, knob in fields.items() if fnmatchcase(layer, pattern) else ():
                name = f"{layer}{BETWEEN}{field}"
                if name in found:
                    raise SpecError(
                        f"search {study}: layers: {field} of {layer} is opened twice, the second time by {pattern!r}; keep one."
                    )
                found[name] = knob
    return found


def alike(knobs: Mapping[str, Knob]) -> tuple[tuple[str, ...], ...]:
    """Return groups of two or more layers' knobs that open the same field in the same way, layers in running order."""
    groups: list[tuple[str, Knob, list[str]]] = []
    for name, knob in knobs.items():
        field = layer_and_field(name)[1]
        if not is_of_layer(name):
            continue
        for other, same, names in groups:
            if other == field and same == knob:
                names.append(name)
                break
        else:
            groups.append((field, knob, [name]))
    return tuple(tuple(names) for _, _, names in groups if len(names) > 1)


def split(point: Mapping[str, Value]) -> tuple[Point, dict[str, Point]]:
    """Return the values that all layers share, and those of each layer that has its own, ``copies`` left out."""
    common, layers = {}, dict[str, Point]()
    for name, value in point.items():
        if not is_of_layer(name):
            common[name] = value
            continue
        layer, field = layer_and_field(name)
        if field != COPIES:
            layers.setdefault(layer, {})[field] = value
    return common, layers


def copies_of(point: Mapping[str, Value]) -> dict[str, int]:
    """Return the copies of each layer for which the point says them."""
    found = {}
    for name, value in point.items():
        layer, field = layer_and_field(name)
        if layer and field == COPIES:
            found[layer] = int(value)  # type: ignore[arg-type]
    return found


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections within sections for fields by their paths; sections come before their fields."""
    data: dict[str, Any] = {}
    for path in sorted(fields, key=lambda one: one.count(".")):
        *parents, leaf = path.split(".")
        node = data
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = fields[path]
    return data
