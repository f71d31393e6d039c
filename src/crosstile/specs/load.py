"""Chips and cells by name from the library, or from a YAML file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from crosstile.errors import SpecError
from crosstile.specs.base import near_match, validate
from crosstile.specs.cell import CellSpec
from crosstile.specs.chip import ChipSpec
from crosstile.specs.yaml import parse_yaml, read_yaml

_ONE = {"chips": "chip", "cells": "cell", "macros": "macro", "published": "published study", "packages": "package"}


def _folder(kind: str) -> Path:
    return Path(str(files("crosstile") / "library" / kind))


def library_names(kind: str) -> list[str]:
    """Return the names in ``library/<kind>`` (``"chips"`` or ``"cells"``), sorted."""
    return sorted(path.stem for path in _folder(kind).glob("*.yaml"))


def find_entry(name: str | Path, kind: str) -> Path:
    """Return the file of an entry of ``library/<kind>`` by its name, or the path that is given.

    Raises:
        SpecError: the library has no such name.
    """
    text = str(name)
    looks_like_path = isinstance(name, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))
    if looks_like_path:
        return Path(name)
    names = library_names(kind)
    if text not in names:
        raise SpecError(
            f"no {_ONE[kind]} is called {text!r}; the library has {', '.join(names)}{near_match(text, names)}. "
            "A file of your own is given by its path, ending in .yaml."
        )
    return _folder(kind) / f"{text}.yaml"


def load_cell(name: str | Path) -> CellSpec:
    """Load a cell from the library or a YAML file."""
    path = find_entry(name, "cells")
    return validate(CellSpec, read_yaml(path), origin=str(name), units_required=True)


def load_chip(name: str | Path) -> ChipSpec:
    """Load a chip from the library (``"isaac"``) or a YAML file.

    Raises:
        SpecError: naming the field, what was found, and what is allowed.
    """
    path = find_entry(name, "chips")
    return chip_from_mapping(read_yaml(path), str(name), path.parent)


def parse_chip(text: str, origin: str = "chip description") -> ChipSpec:
    """Parse a chip from YAML text."""
    return chip_from_mapping(parse_yaml(text, origin), origin)


def chip_yaml(name: str | Path) -> str:
    """Return the YAML text of a chip as it was written."""
    return find_entry(name, "chips").read_text(encoding="utf-8")


def _beside(name: str, folder: Path | None) -> str:
    """Return the path of a file named relative to a description; names of the library stay as they are."""
    if folder is None or not name.endswith((".yaml", ".yml")):
        return name
    return str(folder / name)


def _with_files(data: dict[str, Any], origin: str, folder: Path | None) -> dict[str, Any]:
    """Read the cell that is named, and find components that are files."""
    cell = data.get("cell")
    if isinstance(cell, str):
        cell = {"from": cell}
    if isinstance(cell, dict) and "from" in cell:
        base = cell["from"]
        if not isinstance(base, str):
            raise SpecError(f"{origin}: cell.from: the name of a cell is wanted, found {base!r}.")
        merged = read_yaml(find_entry(_beside(base, folder), "cells"))
        merged.update({key: value for key, value in cell.items() if key != "from"})
        data = {**data, "cell": merged}
    hardware = data.get("hardware")
    if isinstance(hardware, dict) and isinstance(hardware.get("components"), dict):
        used = {
            key: {**use, "component": _beside(use["component"], folder)}
            if isinstance(use, dict) and isinstance(use.get("component"), str)
            else use
            for key, use in hardware["components"].items()
        }
        data = {**data, "hardware": {**hardware, "components": used}}
    return data


def chip_from_mapping(data: dict[str, Any], origin: str, folder: Path | None = None) -> ChipSpec:
    """Validate a chip; ``cell`` is a mapping, a name of the library, or a mapping with ``from`` and changes.

    Files that the description names (a cell, components) are looked for beside it, in ``folder``.
    """
    data = _with_files(data, origin, folder)
    layers = data.get("layers")
    if isinstance(layers, dict):
        read = {
            pattern: _with_files(changes, f"{origin}: layers: {pattern}", folder)
            if isinstance(changes, dict)
            else changes
            for pattern, changes in layers.items()
        }
        data = {**data, "layers": read}
    return validate(ChipSpec, data, origin=origin, units_required=True)


def cell_yaml(name: str | Path) -> str:
    """Return the YAML text of a cell as it was written."""
    return find_entry(name, "cells").read_text(encoding="utf-8")
