"""Trials on disk as JSON lines: the first says what is searched, each further one is a trial.

A line is written whole and flushed before the next trial starts. A last line that was cut off is dropped; everything else that
is not as expected is refused, never overwritten.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crosstile.errors import OutputError, UsageError
from crosstile.search.base import Outcome
from crosstile.search.knobs import Point

FORMAT = "crosstile-search-1"


def fingerprint(description: object) -> str:
    """Return a digest of what decides the outcomes."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


class Store:
    """A file of trials."""

    def __init__(self, path: Path, header: dict[str, Any], *, resume: bool) -> None:
        """Open ``path``; with ``resume`` its trials are in :attr:`earlier`.

        Raises:
            UsageError: it exists and resume is not asked, or it belongs to another search.
            OutputError: it cannot be read or written.
        """
        self.path = path
        self.earlier: list[tuple[Point, Outcome]] = []
        header = {"format": FORMAT, **header}
        try:
            if path.exists():
                if not resume:
                    raise UsageError(
                        f"{path}: holds trials of an earlier search; --resume goes on, another --out begins anew."
                    )
                kept = self._read(header)
                path.write_bytes(kept)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(header) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}.") from None

    def _read(self, header: dict[str, Any]) -> bytes:
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = whole.splitlines()
        try:
            found = [json.loads(line) for line in lines]
            first = found[0] if found else {}
            if first != header:
                names = [k for k in header if not isinstance(first, dict) or first.get(k) != header[k]]
                raise UsageError(
                    f"{self.path}: belongs to another search ({', '.join(names)} differ); name another --out, "
                    "or repeat the options it was started with."
                )
            for trial in found[1:]:
                data = trial["outcome"]
                self.earlier.append((trial["point"], Outcome(**{**data, "losses": tuple(data["losses"])})))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path}: is not a file of trials ({error}); name another --out.") from None
        return whole

    def add(self, number: int, point: Point, outcome: Outcome) -> None:
        """Write a trial.

        Raises:
            OutputError: it cannot be written.
        """
        line = json.dumps({"trial": number, "point": point, "outcome": asdict(outcome)}, allow_nan=False)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}.") from None
