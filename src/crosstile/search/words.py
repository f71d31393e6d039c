"""Knobs and their values in few words, for figures and tables."""

from __future__ import annotations

from crosstile.search.knobs import Value
from crosstile.search.layers import BETWEEN, layer_and_field


def short(name: str) -> str:
    """Return a knob's name without its common beginnings; a layer's name stays in front."""
    layer, field = layer_and_field(name)
    field = field.removeprefix("hardware.").removeprefix("components.").removeprefix("mapping.")
    return f"{layer}{BETWEEN}{field}" if layer else field


def value_text(value: Value) -> str:
    """Return a value as it would stand in a description."""
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
