"""The report of one study: a single HTML file that needs nothing but a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from crosstile.study.report_figures import figures
from crosstile.study.report_style import accuracy_text, percent, pretty
from crosstile.study.result import Result
from crosstile.study.tables import when

_TEMPLATE: Final = "report.html.j2"

# Label, path in the chip description, unit ("" for plain numbers and words).
_CHIP_FIGURES: Final = (
    ("Cell", "cell.name", ""),
    ("Technology", "cell.technology", ""),
    ("Largest conductance", "cell.g_on_s", "S"),
    ("Smallest conductance", "cell.g_off_s", "S"),
    ("Weight bits", "weights.bits", ""),
    ("Bits per cell", "weights.cell_bits", ""),
    ("Weight encoding", "weights.encoding", ""),
    ("Input bits", "inputs.bits", ""),
    ("Input bits per read", "inputs.dac_bits", ""),
    ("Negative inputs", "inputs.signed", ""),
    ("Array rows", "array.rows", ""),
    ("Array columns", "array.columns", ""),
    ("Rows driven per read", "array.active_rows", ""),
    ("Read voltage", "array.read_voltage_v", "V"),
    ("Read time", "array.read_time_s", "s"),
    ("Wires", "array.wires.topology", ""),
    ("Converter bits", "adc.bits", ""),
    ("Converter range", "adc.range", ""),
    ("Temperature", "conditions.temperature_k", "K"),
    ("Technology node", "hardware.node_m", "m"),
    ("Clock", "hardware.clock_hz", "Hz"),
    ("Schedule", "hardware.pipeline", ""),
)
_NULL_MEANS: Final = {
    "weights.bits": "continuous",
    "weights.cell_bits": "continuous",
    "array.active_rows": "all",
    "adc.bits": "ideal converter",
}


def render_report(result: Result) -> str:
    """Return the report as one HTML text: figures, tables and plotly.js inside, no request to any network."""
    described = chip_figures(result.chip)
    return render_page(_TEMPLATE, figures(result), r=result, chip_figures=described, effects=_effects(result.chip))


def render_page(template: str, drawn: Mapping[str, Any], **values: Any) -> str:
    """Return a page of this package's templates with its figures (plotly dictionaries by the id of their place)."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    folder = files("crosstile.study")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
    )  # fmt: skip
    environment.filters.update(q=pretty, percent=percent, accuracy=accuracy_text)
    environment.filters.update(count=_count, decibel=_decibel, number=_number, duration=when)
    # A library text that closed its own script element would spill into the page.
    library = re.sub(r"</(script)", r"<\\/\1", get_plotlyjs(), flags=re.IGNORECASE)
    return environment.get_template(template).render(
        drawn=drawn, figures_json=Markup(script_json(drawn)), plotly_js=Markup(library), **values
    )


def script_json(value: object) -> str:
    """Return JSON that is safe inside a script element: it holds none of ``< > &``."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def chip_figures(chip: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, value with unit) of the main figures that the chip description holds."""
    rows = []
    for label, path, unit in _CHIP_FIGURES:
        node: Any = chip
        for key in path.split("."):
            node = node.get(key, ...) if isinstance(node, Mapping) else ...
        if node is ...:
            continue
        if node is None:
            rows.append((label, _NULL_MEANS.get(path, "–")))
        elif unit and isinstance(node, (int, float)):
            rows.append((label, pretty(float(node), unit)))
        else:
            rows.append((label, str(node).replace("_", " ") if path != "cell.name" else str(node)))
    return rows


def _effects(chip: Mapping[str, Any]) -> list[str]:
    cell = chip.get("cell")
    effects = cell.get("effects", ()) if isinstance(cell, Mapping) else ()
    shown = []
    for effect in effects if isinstance(effects, (list, tuple)) else ():
        if isinstance(effect, Mapping):
            rest = ", ".join(
                f"{key} {_plain(item)}" for key, item in effect.items() if key != "kind" and item is not None
            )
            shown.append(f"{effect.get('kind', 'effect')}: {rest}" if rest else str(effect.get("kind", "effect")))
        else:
            shown.append(str(effect))
    return shown


def _plain(value: object) -> str:
    """Return a value in words; fields that are not set are left out, numbers are rounded."""
    if isinstance(value, Mapping):
        given = (f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
        return "(" + ", ".join(given) + ")"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def _decibel(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"
