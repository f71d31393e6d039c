"""A fitted cell as YAML in the format of the library, read back before anything is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from crosstile.devices.fit import DeviceFit
from crosstile.devices.noise_drift import DriftFit, Noise
from crosstile.specs.base import validate
from crosstile.specs.cell import CellSpec
from crosstile.specs.yaml import parse_yaml
from crosstile.units import format_duration, format_quantity


def default_source(fit: DeviceFit) -> str:
    """Return where the figures come from: file, rows and SHA-256."""
    return f"measured data in {_plain(fit.measured.name)}, {len(fit.measured)} rows, SHA-256 {fit.measured.sha256}"


def cell_text(fit: DeviceFit, *, name: str, technology: str, source: str | None) -> tuple[str, CellSpec]:
    """Return the YAML text and the cell that it describes.

    Args:
        fit: the fit.
        name, technology: of the cell.
        source: what the figures are from, in words; the file, its rows and SHA-256 are added.

    Raises:
        SpecError: a name that no cell may have, or figures that the effects do not allow.
    """
    told = f"{source}; {default_source(fit)}" if source else default_source(fit)
    measured = {"source": told, "tag": "derived"}
    data: dict[str, Any] = {
        "name": name,
        "technology": technology,
        "description": f"Fitted to {_plain(fit.measured.name)}: {_counts(fit)}.",
        "g_on": _quantity(fit.g_on_s),
        "g_off": _quantity(fit.g_off_s),
        "effects": _effects(fit),
        "sources": {
            "g_on": measured, "g_off": measured, "effects": measured,
            "height_f": {"source": "default of crosstile, not measured", "tag": "assumed"},
            "width_f": {"source": "default of crosstile, not measured", "tag": "assumed"},
            "max_bits": {"source": "default of crosstile, not measured", "tag": "assumed"},
        },
        "limits": limits(fit),
    }  # fmt: skip
    head = "# Written by crosstile device fit. sigma of the polynomials in uS of r = g / g_max.\n"
    text = head + yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )
    origin = f"the cell fitted to {_plain(fit.measured.name)}"
    return text, validate(CellSpec, parse_yaml(text, origin), origin=origin, units_required=True)


class _Dumper(yaml.SafeDumper):
    """Writes a mapping that occurs twice out twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _effects(fit: DeviceFit) -> list[dict[str, Any]]:
    g_max = _quantity(fit.g_max_s)
    effects: list[dict[str, Any]] = [
        {"kind": "variation", "distribution": "normal", "sigma": _polynomial(fit.sigma, g_max)}
    ]
    if fit.drift is not None:
        effects.append(_drift(fit.drift, g_max))
    if fit.noise is not None:
        effects.append({"kind": "read_noise", "sigma": _noise(fit.noise, g_max)})
    return effects


def _polynomial(siemens: np.ndarray[Any, np.dtype[np.float64]], g_max: str) -> dict[str, Any]:
    coefficients = [_rounded(c * 1e6) for c in siemens]
    return {"polynomial": coefficients, "argument": "relative", "unit": "1 uS", "g_max": g_max}


def _noise(noise: Noise, g_max: str) -> dict[str, Any]:
    if noise.kind == "proportional":
        return {"proportional": f"{_rounded(100 * float(noise.values[0]))!r} %"}
    return _polynomial(noise.values, g_max)


def _drift(drift: DriftFit, g_max: str) -> dict[str, Any]:
    mean: Any = _rounded(float(drift.mean[0]))
    if drift.mean.size > 1:
        mean = {"polynomial": [_rounded(c) for c in drift.mean], "minimum": 0.0, "g_max": g_max}
    return {"kind": "drift", "nu_mean": mean, "nu_std": _rounded(drift.std), "t0": f"{drift.t0_s:.6g} s"}


def limits(fit: DeviceFit) -> str:
    """Return what the data do not show, in words."""
    m = fit.measured
    low, high = m.target_s.min(), m.target_s.max()
    said = [f"Fitted to {_counts(fit)}, targets {format_quantity(low, 'S')} to {format_quantity(high, 'S')}"]
    if m.time_s is None:
        said.append("one moment after programming, which the file does not name")
    else:
        ends = [format_duration(float(t)) for t in (m.time_s.min(), m.time_s.max())]
        said.append(
            f"{ends[0]} to {ends[1]} after programming" if ends[0] != ends[1] else f"{ends[0]} after programming"
        )
    if m.temperature_k is None:
        said.append("at a temperature that the file does not name")
    else:
        kelvin = [f"{t:.5g}" for t in (m.temperature_k.min(), m.temperature_k.max())]
        said.append(
            f"at {kelvin[0]} K" if kelvin[0] == kelvin[1] else f"at {kelvin[0]} K to {kelvin[1]} K, taken together"
        )
    parts = [", ".join(said) + ".", f"Goodness of fit: {fit.goodness['verdict']}."]
    parts += [f"Not in it: {reason}." for reason in fit.left_out]
    parts += [f"Note: {warning}." for warning in fit.warnings]
    return " ".join(parts)


def _counts(fit: DeviceFit) -> str:
    cells = "" if fit.measured.cell is None else f" of {int(fit.measured.cell.max()) + 1} cells"
    levels = np.unique(fit.measured.target_s).size
    return f"{len(fit.measured)} reads of {len(fit.programmings)} programmings{cells} at {levels} targets"


def _quantity(siemens: float) -> str:
    return f"{siemens * 1e6:.12g} uS"


def _rounded(value: float, digits: int = 7) -> float:
    return float(f"{value:.{digits}g}")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
