"""Quantities: every unit against an independently written table, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from crosstile.units import SI_SYMBOL, format_quantity, parse_quantity

EV = 1.602176634e-19
PREFIXES = {
    "y": -24,
    "z": -21,
    "a": -18,
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "µ": -6,
    "μ": -6,
    "m": -3,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
}
PREFIXED = [
    ("S", "conductance", 1.0),
    ("ohm", "resistance", 1.0),
    ("Ω", "resistance", 1.0),
    ("V", "voltage", 1.0),
    ("A", "current", 1.0),
    ("s", "time", 1.0),
    ("Hz", "frequency", 1.0),
    ("J", "energy", 1.0),
    ("eV", "energy", EV),
    ("W", "power", 1.0),
    ("F", "capacitance", 1.0),
    ("K", "temperature", 1.0),
    ("m", "length", 1.0),
    ("bit", "information", 1.0),
    ("B", "information", 8.0),
]
ALONE = [
    ("1 min", "time", 60.0),
    ("1.5 h", "time", 5400.0),
    ("2 d", "time", 172800.0),
    ("1 day", "time", 86400.0),
    ("10 days", "time", 864000.0),
    ("1 y", "time", 365.25 * 86400),
    ("1 year", "time", 365.25 * 86400),
    ("10 years", "time", 3652.5 * 86400),
    ("5 %", "ratio", 0.05),
    ("250 ppm", "ratio", 2.5e-4),
    ("0.3", "ratio", 0.3),
    ("2 KiB", "information", 16384.0),
    ("1 MiB", "information", 8388608.0),
    ("64 KB", "information", 524288.0),
    ("2 KB", "information", 2 * 8192.0),
    ("2 MB", "information", 2 * 8.0 * 2**20),
    ("2 GiB", "information", 2 * 8.0 * 2**30),
    ("2 kB", "information", 16000.0),
    ("1 m2", "area", 1.0),
    ("2 cm2", "area", 2e-4),
    ("3 mm2", "area", 3e-6),
    ("4 um2", "area", 4e-12),
    ("4 µm2", "area", 4e-12),
    ("5 nm2", "area", 5e-18),
    ("25 C", "temperature", 298.15),
    ("-40 degC", "temperature", 233.15),
]


@pytest.mark.parametrize(("unit", "dimension", "factor"), PREFIXED)
def test_every_unit_with_every_prefix(unit: str, dimension: str, factor: float) -> None:
    for prefix, exponent in PREFIXES.items():
        if prefix + unit in ("KB", "MB", "GB", "min", "d", "y"):  # memory sizes count in powers of two
            continue
        assert parse_quantity(f"2.5 {prefix}{unit}", dimension) == pytest.approx(
            2.5 * factor * 10.0**exponent, rel=1e-14
        ), prefix + unit


@pytest.mark.parametrize(("text", "dimension", "si"), ALONE)
def test_units_that_stand_alone(text: str, dimension: str, si: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(si, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "si"),
    [
        ("25uS", 25e-6),
        ("  25   uS ", 25e-6),
        (".5 S", 0.5),
        ("1. S", 1.0),
        ("+1e-6 S", 1e-6),
        ("1E3 nS", 1e-6),
        ("-3 S", -3.0),
        ("0 S", 0.0),
        ("1e-400 S", 0.0),
    ],
)
def test_ways_to_write_a_number(text: str, si: float) -> None:
    assert parse_quantity(text, "conductance") == pytest.approx(si, rel=1e-14)


def test_resistance_and_conductance_are_each_others_inverse() -> None:
    assert parse_quantity("10 kohm", "conductance") == pytest.approx(1e-4, rel=1e-14)
    assert parse_quantity("25 uS", "resistance") == pytest.approx(4e4, rel=1e-14)
    with pytest.raises(ValueError, match="has no inverse"):
        parse_quantity("0 ohm", "conductance")
    with pytest.raises(ValueError, match="finite"):
        parse_quantity("1e-320 ohm", "conductance")


@pytest.mark.parametrize(
    ("value", "dimension", "message"),
    [
        ("25 V", "conductance", "'25 V' is a voltage, but a conductance is wanted, such as '25 uS'"),
        ("25 uS", "time", "is a conductance, but a time is wanted"),
        ("5 %", "voltage", "is a ratio, but a voltage"),
        ("5 mm2", "length", "is a area, but a length"),
        ("5 s", "ratio", "is a time, but a ratio"),
        ("25", "conductance", "has no unit; write a conductance such as '25 uS'"),
        (25, "conductance", "the number 25 has no unit"),
        (2.5e-5, "conductance", "has no unit"),
        ("25 furlong", "length", "the unit 'furlong' of '25 furlong' is not known"),
        ("25 us", "conductance", "is a time"),
        ("25 TiB", "information", "the unit 'TiB'"),
        ("1e309 ohm", "conductance", "not a finite number"),
        ("uS", "conductance", "is not a number with a unit"),
        ("", "conductance", "is not a number with a unit"),
        ("1,5 V", "voltage", "is not a number with a unit"),
        ("1 2 V", "voltage", "is not a number with a unit"),
        ("0x10 V", "voltage", "not"),
        ("nan S", "conductance", "is not a number with a unit"),
        ("inf S", "conductance", "is not a number with a unit"),
        ("nan", "ratio", "not"),
        ("1e309 S", "conductance", "not a finite number"),
        ("1e300 PV", "voltage", "not a finite number"),
        ("1e309", "ratio", "not a finite number"),
        (float("nan"), "ratio", "not a finite number"),
        (float("inf"), "ratio", "not a finite number"),
        (float("inf"), "voltage", "has no unit"),
        (True, "ratio", "found True"),
        (None, "voltage", "found NoneType"),
        ([1], "voltage", "found list"),
        ({}, "ratio", "found dict"),
    ],
)
def test_what_is_refused(value: Any, dimension: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_quantity(value, dimension)
    assert message in str(caught.value)


@pytest.mark.parametrize("dimension", sorted(SI_SYMBOL))
def test_each_refusal_shows_an_example_that_is_accepted(dimension: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_quantity("nonsense!", dimension)
    example = str(caught.value).split("such as '")[1].split("'")[0]
    assert parse_quantity(example, dimension) > 0


@pytest.mark.parametrize(
    ("si", "unit", "text"),
    [
        (1.2e-6, "J", "1.2 uJ"),
        (0.0, "W", "0 W"),
        (2.5e-5, "S", "25 uS"),
        (1.2e9, "Hz", "1.2 GHz"),
        (0.2, "V", "200 mV"),
        (-3e-3, "A", "-3 mA"),
        (1.0, "s", "1 s"),
        (1e-30, "J", "1e-06 yJ"),
        (1e20, "J", "1e+05 PJ"),
        (0.25, "", "0.25"),
        (1.2e-9, "m2", "0.0012 mm2"),
        (2e-12, "m2", "2 um2"),
        (math.inf, "J", "inf J"),
    ],
)
def test_display(si: float, unit: str, text: str) -> None:
    assert format_quantity(si, unit) == text


@pytest.mark.parametrize(
    "dimension",
    ["conductance", "voltage", "time", "frequency", "energy", "power", "capacitance", "length", "area"],
)
def test_what_is_shown_can_be_read_again(dimension: str) -> None:
    for exponent in range(-20, 12):
        si = 1.2345678 * 10.0**exponent
        again = parse_quantity(format_quantity(si, SI_SYMBOL[dimension], digits=12), dimension)
        assert again == pytest.approx(si, rel=1e-11)
