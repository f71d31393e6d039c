"""Macros by name from the library, or from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosstile.errors import SpecError
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.specs.base import validate
from crosstile.specs.load import find_entry, library_names
from crosstile.specs.yaml import parse_yaml, read_yaml


def macro_names() -> list[str]:
    """Return the names of the macros in the library, sorted."""
    return library_names("macros")


def load_macro(name: str | Path) -> ChargeDomainSpec:
    """Load a macro from the library (``"sram-charge-65nm"``) or a YAML file.

    Raises:
        SpecError: naming the field, what was found, and what is allowed.
    """
    return _macro_from(read_yaml(find_entry(name, "macros")), str(name), find_entry(name, "macros").parent, 0)


def parse_macro(text: str, origin: str = "macro description") -> ChargeDomainSpec:
    """Parse a macro from YAML text."""
    return _macro_from(parse_yaml(text, origin), origin, None, 0)


def macro_yaml(name: str | Path) -> str:
    """Return the YAML text of a macro as it was written."""
    return find_entry(name, "macros").read_text(encoding="utf-8")


def _macro_from(data: dict[str, Any], origin: str, folder: Path | None, depth: int) -> ChargeDomainSpec:
    return validate(ChargeDomainSpec, _resolved(data, origin, folder, depth), origin=origin, units_required=True)


def _resolved(data: dict[str, Any], origin: str, folder: Path | None, depth: int) -> dict[str, Any]:
    """Return the description with ``from``, the name or file of another macro, replaced by what that one says."""
    if "from" not in data:
        return data
    base = data["from"]
    if not isinstance(base, str):
        raise SpecError(f"{origin}: from: the name of a macro is wanted, found {base!r}.")
    if depth == 4:
        raise SpecError(f"{origin}: from: more than four descriptions build on one another; write the fields out.")
    if folder is not None and base.endswith((".yaml", ".yml")):
        base = str(folder / base)
    path = find_entry(base, "macros")
    merged = _resolved(read_yaml(path), base, path.parent, depth + 1)
    return _merged(merged, {key: value for key, value in data.items() if key != "from"})


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes``, section by section; ``null`` takes a field away."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
