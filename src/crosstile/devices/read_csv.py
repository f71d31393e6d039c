"""A table of measured cells, as a device researcher keeps it: one read a row, with its target.

Columns are found by name, whatever their case, with the unit as suffix or in brackets (``target_uS``, ``read (kohm)``).
Nothing is guessed: a row that cannot be read is an error that names its line and column.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crosstile.errors import DataError
from crosstile.specs.base import near_match

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.intp]

SIZE_LIMIT: Final = 64 * 2**20
"""Bytes of a file."""
ROW_LIMIT: Final = 1_000_000

_CONDUCTANCE: Final = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "nS": 1e-9, "pS": 1e-12}
_RESISTANCE: Final = {"ohm": 1.0, "kohm": 1e3, "Mohm": 1e6, "Gohm": 1e9}
_STATE: Final = {**_CONDUCTANCE, **_RESISTANCE}
_TIME: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS: Final = {"target": _STATE, "read": _STATE, "time": _TIME, "temperature": {"K": 1.0, "C": 1.0}}
_IDENTITIES: Final = ("cell", "cycle")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COLUMN: Final = re.compile(r"(target|read|time|temperature)(?:[\s_]*[\[(]\s*([^\])]*?)\s*[\])]|[\s_]+(\S+))?", re.I)
_ALLOWED: Final = (
    "target_uS (or S, mS, nS, ohm, kohm, Mohm) and read_uS, and optionally time_s (ms, us, min, h, d), temperature_K (C), "
    "cell and cycle"
)


@dataclass(frozen=True)
class Measured:
    """Reads of cells; each array has one entry a row."""

    name: str
    """Of the file, without its folder."""
    sha256: str
    target_s: Floats
    read_s: Floats
    time_s: Floats | None
    """Since programming."""
    temperature_k: Floats | None
    cell: Ids | None
    """Identity of the device, counted from 0."""
    cycle: Ids | None
    """Identity of the programming of a cell, counted from 0."""
    unused: tuple[str, ...]
    """Columns that mean nothing here."""

    def __len__(self) -> int:
        return int(self.target_s.size)


def read_measured(path: Path) -> Measured:
    """Return the reads of a CSV file (comma, semicolon or tab; ``#`` starts a comment line).

    Raises:
        DataError: with line and column, for whatever cannot be read.
    """
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text; save the table as CSV in UTF-8.") from None
    lines = _lines(path, text)
    if not lines:
        raise DataError(f"{path}: the file is empty; wanted are a header and rows, with columns {_ALLOWED}.")
    number, header = lines[0]
    columns, unused = _columns(path, number, header)
    rows = lines[1:]
    if not rows:
        raise DataError(f"{path}: a header without rows; at least 8 programmings of each of 2 targets are wanted.")
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(row)} fields, but the header has {len(header)}; give each row every column."
            )
    values = {
        name: _numbers(path, rows, place, header[place].strip(), name, unit)
        for name, (place, unit) in columns.items()
        if name in _UNITS
    }
    ids = {name: _identities(path, rows, columns[name][0], name) for name in _IDENTITIES if name in columns}
    if "cycle" in ids and "cell" not in ids:
        raise DataError(
            f"{path}, line {lines[0][0]}: a column cycle without a column cell; add cell, the same in every row if all "
            "cycles are of one cell."
        )
    return Measured(
        name=path.name, sha256=hashlib.sha256(content).hexdigest(), target_s=values["target"], read_s=values["read"],
        time_s=values.get("time"), temperature_k=values.get("temperature"), cell=ids.get("cell"), cycle=ids.get("cycle"),
        unused=unused,
    )  # fmt: skip


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a CSV file.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > SIZE_LIMIT:
        raise DataError(f"{path}: larger than {SIZE_LIMIT >> 20} MiB, the most that is read; give fewer rows.")
    return content


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return the fields of each line that is neither blank nor a comment, with the line's number."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if not any(field.strip() for field in row) or row[0].lstrip().startswith("#"):
                continue
            if len(lines) > ROW_LIMIT:
                raise DataError(
                    f"{path}, line {reader.line_num}: more than {ROW_LIMIT} rows, the most that are fitted; give fewer."
                )
            lines.append((reader.line_num, row))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a row of a CSV file ({error}).") from None
    return lines


def _columns(path: Path, line: int, header: list[str]) -> tuple[dict[str, tuple[int, str]], tuple[str, ...]]:
    """Return the place and unit of each column that is known, by its name, and the others."""
    where = f"{path}, line {line}"
    found: dict[str, tuple[int, str]] = {}
    unused = []
    for place, title in enumerate(header):
        name, unit = _meaning(where, title.strip())
        if not name:
            unused.append(title.strip())
            continue
        if name in found:
            raise DataError(
                f"{where}: columns {header[found[name][0]].strip()!r} and {title.strip()!r} both give the {name}; keep one."
            )
        found[name] = (place, unit)
    for name in ("target", "read"):
        if name not in found:
            titles = ", ".join(repr(title.strip()[:40]) for title in header[:20])
            raise DataError(
                f"{where}: no column {name} with a unit, such as {name}_uS{near_match(name, unused)}; found {titles}; "
                f"allowed are {_ALLOWED}."
            )
    return found, tuple(unused)


def _meaning(where: str, title: str) -> tuple[str, str]:
    """Return what a title names and its unit; empty for a title that means nothing here."""
    if title.lower() in _IDENTITIES:
        return title.lower(), ""
    match = _COLUMN.fullmatch(title)
    if match is None:
        return "", ""
    name, unit = match[1].lower(), (match[2] or match[3] or "").replace("µ", "u").replace("μ", "u").replace("Ω", "ohm")
    allowed = _UNITS[name]
    if unit in allowed:
        return name, unit
    same = [known for known in allowed if known.lower() == unit.lower()]
    if len(same) == 1 and unit.lower() != "mohm":  # milliohm or megohm: not for us to guess
        return name, same[0]
    told = f"the unit {unit!r} is not known" if unit else "a unit is wanted"
    if unit.lower() == "mohm":
        told = f"the unit {unit!r} may be milliohm or megohm, write Mohm for the latter"
    raise DataError(f"{where}, column {title!r}: {told}; allowed are {', '.join(f'{name}_{u}' for u in allowed)}.")


def _numbers(
    path: Path, rows: list[tuple[int, list[str]]], place: int, title: str, name: str, unit: str
) -> Floats:  # fmt: skip
    """Return one column in SI units."""
    values = np.empty(len(rows))
    inverse = unit in _RESISTANCE and name in ("target", "read")
    for i, (line, row) in enumerate(rows):
        text = row[place].strip()
        if not _NUMBER.fullmatch(text):
            shown = text[:40] + ("..." if len(text) > 40 else "")
            raise DataError(
                f"{path}, line {line}, column {title!r}: {shown!r} is not a finite number; write one such as 12.5 or 1.25e-5, "
                "and leave out rows without a value."
            )
        value = float(text) * _UNITS[name][unit]
        if name == "temperature" and unit == "C":
            value += 273.15
        least = 0.0 if not inverse and name != "temperature" else np.nextafter(0.0, 1.0)
        si = 1.0 / value if inverse and value > 0 else value
        limit = {"target": 1e3, "read": 1e3, "time": 1e11, "temperature": 2000.0}[name]
        if value < least or not si <= limit:
            wanted = "a resistance above 0, of at least 1 mohm" if inverse else {
                "time": "0 s to 1e11 s", "temperature": "above 0 K, up to 2000 K",
            }.get(name, "a conductance from 0 to 1000 S")  # fmt: skip
            raise DataError(f"{path}, line {line}, column {title!r}: {text} is not allowed; wanted is {wanted}.")
        values[i] = si
    return values


def _identities(path: Path, rows: list[tuple[int, list[str]]], place: int, name: str) -> Ids:
    known: dict[str, int] = {}
    values = np.empty(len(rows), dtype=np.intp)
    for i, (line, row) in enumerate(rows):
        text = row[place].strip()
        if not text:
            raise DataError(f"{path}, line {line}, column {name!r}: empty; name the {name} in every row.")
        values[i] = known.setdefault(text, len(known))
    return values
