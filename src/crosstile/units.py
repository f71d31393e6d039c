"""Quantities at the boundary: ``"25 uS"`` in YAML becomes ``2.5e-05`` siemens inside, and back for display.

Inside the package every physical number is an SI float whose name carries the unit (``g_on_s``,
``read_voltage_v``). Strings with units appear only in YAML files and on the command line.
"""

from __future__ import annotations

import math
import re
from typing import Final

BOLTZMANN_J_PER_K: Final = 1.380649e-23  # exact, SI 2019
ELEMENTARY_CHARGE_C: Final = 1.602176634e-19  # exact, SI 2019

_PREFIX: Final = {
    "y": 1e-24, "z": 1e-21, "a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6,
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
}  # fmt: skip

# Units that take a prefix: symbol -> (dimension, factor to SI).
_PREFIXED: Final = {
    "S": ("conductance", 1.0), "ohm": ("resistance", 1.0), "Ω": ("resistance", 1.0), "V": ("voltage", 1.0),
    "A": ("current", 1.0), "s": ("time", 1.0), "Hz": ("frequency", 1.0), "J": ("energy", 1.0),
    "eV": ("energy", ELEMENTARY_CHARGE_C), "W": ("power", 1.0), "F": ("capacitance", 1.0),
    "K": ("temperature", 1.0), "m": ("length", 1.0), "bit": ("information", 1.0), "B": ("information", 8.0),
}  # fmt: skip

# Units that stand alone.
_PLAIN: Final = {
    "min": ("time", 60.0), "h": ("time", 3600.0), "d": ("time", 86400.0), "day": ("time", 86400.0),
    "days": ("time", 86400.0), "y": ("time", 31557600.0), "year": ("time", 31557600.0),
    "years": ("time", 31557600.0), "%": ("ratio", 0.01), "ppm": ("ratio", 1e-6),
    # Memory sizes count in powers of two, as designers do; kB with a small k is 1,000 bytes.
    "KiB": ("information", 8.0 * 2**10), "MiB": ("information", 8.0 * 2**20), "GiB": ("information", 8.0 * 2**30),
    "KB": ("information", 8.0 * 2**10), "MB": ("information", 8.0 * 2**20), "GB": ("information", 8.0 * 2**30),
}  # fmt: skip

# A resistance times a length: "ohm m", "uohm cm".
_PER_SECTION: Final = {"m": 1.0, "cm": 1e-2}

# One over a temperature; the number before it may be a ratio.
_PER_KELVIN: Final = {"/K": 1.0, "%/K": 0.01, "ppm/K": 1e-6}

# Bits or bytes in a second; prefixes are decimal here, as makers of links count.
_PER_SECOND: Final = {"bit/s": 1.0, "B/s": 8.0}

_AREA: Final = {"m2": 1.0, "cm2": 1e-4, "mm2": 1e-6, "um2": 1e-12, "µm2": 1e-12, "nm2": 1e-18}

_EXAMPLE: Final = {
    "conductance": "25 uS", "resistance": "10 kohm", "voltage": "0.2 V", "current": "1 uA", "time": "100 ns",
    "frequency": "1.2 GHz", "energy": "1.67 pJ", "power": "2 mW", "capacitance": "50 fF",
    "temperature": "300 K", "length": "32 nm", "information": "64 KB", "ratio": "5 %", "area": "0.0012 mm2",
    "resistivity": "2.2 uohm cm", "temperature coefficient": "0.0039 /K", "data rate": "25.6 GB/s",
}  # fmt: skip

SI_SYMBOL: Final = {
    "conductance": "S", "resistance": "ohm", "voltage": "V", "current": "A", "time": "s", "frequency": "Hz",
    "energy": "J", "power": "W", "capacitance": "F", "temperature": "K", "length": "m", "information": "bit",
    "ratio": "", "area": "m2", "resistivity": "ohm m", "temperature coefficient": "/K",
    "data rate": "bit/s",
}  # fmt: skip

_QUANTITY: Final = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
    r"([A-Za-zµμ]*(?:ohm|Ω)(?:\s+|\s?[.·]\s?)c?m|(?:%|ppm)?\s?/\s?K|[A-Za-zµμ]*(?:bit|B)/s|[A-Za-zµμΩ%]*[A-Za-zµμΩ%2]?)\s*"
)


def _lookup(symbol: str) -> tuple[str, float] | None:
    if symbol in _AREA:
        return "area", _AREA[symbol]
    if symbol in _PLAIN:
        return _PLAIN[symbol]
    if symbol.endswith("K") and "/" in symbol:
        return "temperature coefficient", _PER_KELVIN["".join(symbol.split())]
    if symbol.endswith("/s"):
        rate = next(unit for unit in _PER_SECOND if symbol.endswith(unit))
        times = _PREFIX.get(symbol[: len(symbol) - len(rate)])
        return None if times is None else ("data rate", times * _PER_SECOND[rate])
    first, *second = re.split(r"[\s.·]+", symbol)
    if second:
        found = _lookup(first)
        return None if found is None else ("resistivity", found[1] * _PER_SECTION[second[0]])
    for unit, (dimension, factor) in _PREFIXED.items():
        if symbol.endswith(unit):
            prefix = symbol[: len(symbol) - len(unit)]
            if prefix in _PREFIX:
                return dimension, _PREFIX[prefix] * factor
    return None


def parse_quantity(value: object, dimension: str) -> float:
    """Return ``value`` as an SI float of ``dimension``.

    Args:
        value: a string such as ``"25 uS"``; for a ratio also ``"5 %"`` or a bare number.
        dimension: one of the keys of :data:`SI_SYMBOL`.

    Raises:
        ValueError: no unit, an unknown unit, a unit of another dimension, or a number that is not finite.

    Conductances may be given as resistances (``"10 kohm"``) and the reverse; degrees Celsius as ``"85 C"``.
    """
    example = _EXAMPLE[dimension]
    if isinstance(value, bool):
        raise ValueError(f"a {dimension} is wanted, such as {example!r}; found {value!r}")
    if isinstance(value, (int, float)):
        if dimension == "ratio":
            return _finite(float(value), value)
        raise ValueError(f"the number {value!r} has no unit; write a {dimension} with its unit, such as {example!r}")
    if not isinstance(value, str):
        raise ValueError(f"a {dimension} is wanted, such as {example!r}; found {type(value).__name__}")
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a number with a unit; write a {dimension} such as {example!r}")
    number, symbol = _finite(float(match[1]), value), match[2]
    if not symbol:
        if dimension == "ratio":
            return _finite(number, value)
        raise ValueError(f"{value!r} has no unit; write a {dimension} such as {example!r}")
    if dimension == "temperature" and symbol in ("C", "degC"):
        return _finite(number + 273.15, value)
    found = _lookup(symbol)
    if found is None:
        raise ValueError(f"the unit {symbol!r} of {value!r} is not known; write a {dimension} such as {example!r}")
    found_dimension, factor = found
    si = number * factor
    if found_dimension == dimension:
        return _finite(si, value)
    if {found_dimension, dimension} == {"conductance", "resistance"}:
        if si == 0:
            raise ValueError(f"{value!r} has no inverse; write a {dimension} such as {example!r}")
        return _finite(1.0 / si, value)
    raise ValueError(f"{value!r} is a {found_dimension}, but a {dimension} is wanted, such as {example!r}")


def _finite(number: float, value: object) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def format_duration(si: float, digits: int = 4) -> str:
    """Return a time in the unit that people use for it: ``"20 s"``, ``"1 d"``, ``"10 y"``."""
    for unit, seconds in (("y", 31557600.0), ("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if si >= seconds * (1 - 1e-12):
            return f"{si / seconds:.{digits}g} {unit}"
    return format_quantity(si, "s", digits)


def format_quantity(si: float, unit: str, digits: int = 4) -> str:
    """Return an SI value with a readable prefix: ``format_quantity(1.2e-6, "J") == "1.2 uJ"``.

    Areas (``unit="m2"``) are shown in mm2 or um2.
    """
    if unit == "m2" and si == 0:
        return "0 mm2"
    if si == 0 or not math.isfinite(si):
        return f"{si:g} {unit}".strip()
    if unit == "m2":
        return f"{si * 1e6:.{digits}g} mm2" if abs(si) >= 1e-9 else f"{si * 1e12:.{digits}g} um2"
    if not unit:
        return f"{si:.{digits}g}"
    exponent = min(max(math.floor(math.log10(abs(si)) / 3) * 3, -24), 15)
    prefix = {-24: "y", -21: "z", -18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M",
              9: "G", 12: "T", 15: "P"}[exponent]  # fmt: skip
    return f"{si / 10.0**exponent:.{digits}g} {prefix}{unit}"
