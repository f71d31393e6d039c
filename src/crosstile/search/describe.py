"""From a point to a chip: the description that knobs change, and the YAML that other commands take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from crosstile.errors import SpecError
from crosstile.search.knobs import Point, Value
from crosstile.search.layers import nested, split
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_from_mapping, find_entry
from crosstile.specs.yaml import read_yaml

PIPELINE, DUPLICATION, BATCH = "mapping.pipeline", "mapping.duplication", "mapping.batch"
ARRAYS, ROOM = "mapping.arrays", "mapping.room"
_FIELDS = {PIPELINE: "hardware.pipeline", DUPLICATION: "schedule.duplication", BATCH: "schedule.batch"}


@cache
def _cell(name: str) -> dict[str, Any]:
    return read_yaml(find_entry(name, "cells"))


def base_mapping(name: str) -> dict[str, Any]:
    """Return a chip description as written, its cell in full and files beside it by their whole path.

    Raises:
        SpecError: it cannot be read, or is not valid.
    """
    path = find_entry(name, "chips")
    data = read_yaml(path)
    chip_from_mapping(data, name, path.parent)  # its own mistakes are told before any knob is turned

    def beside(text: str) -> str:
        return str((path.parent / text).resolve()) if text.endswith((".yaml", ".yml")) else text

    cell = data["cell"]
    changes = {} if isinstance(cell, str) else {k: v for k, v in cell.items() if k != "from"}
    origin = cell if isinstance(cell, str) else cell.get("from")
    data["cell"] = {**({} if origin is None else _cell(beside(origin))), **changes}
    for use in data.get("hardware", {}).get("components", {}).values():
        use["component"] = beside(use["component"])
    return data


def described(base: Mapping[str, Any], point: Mapping[str, Value]) -> dict[str, Any]:
    """Return the description with the fields of a point set; sections come before their fields, layers last."""
    common, layers = split(point)
    data = _with_fields(base, common)
    if layers:
        data["layers"] = {
            layer: nested({path: dict(_cell(str(v))) if path == "cell" else v for path, v in fields.items()})
            for layer, fields in layers.items()
        }
    return data


def _with_fields(base: Mapping[str, Any], point: Mapping[str, Value]) -> dict[str, Any]:
    data = dict(base)  # sections are copied as they are entered
    for name in sorted(point, key=lambda n: n.count(".")):
        path, value = _FIELDS.get(name, name), point[name]
        if name in (ARRAYS, ROOM):
            continue  # a budget of the schedule, not a field of the chip
        if path == "cell":
            data["cell"] = dict(_cell(str(value)))
            continue
        *parents, leaf = path.split(".")
        node = data
        for part in parents:
            inner = node.get(part)
            node[part] = dict(inner) if isinstance(inner, dict) else {}
            node = node[part]
        node[leaf] = value
    return data


def chip_of(base: Mapping[str, Any], point: Point, origin: str) -> ChipSpec:
    """Return the chip of a point.

    Raises:
        SpecError: the description refuses it, with the reason.
    """
    return chip_from_mapping(described(base, point), origin)


def point_yaml(base: Mapping[str, Any], point: Point, name: str, remarks: list[str]) -> str:
    """Return the chip of a point as YAML that every command takes, ``remarks`` as comments above it.

    Raises:
        SpecError: the description refuses it.
    """
    data = described(base, point) | {"name": name[:80]}
    chip_from_mapping(data, name)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    found = "".join(f"# {' '.join(line.split())}\n" for line in remarks) + text
    if len(found) > 900_000:
        raise SpecError(f"{name}: the description has {len(found)} characters, more than can be read back.")
    return found
