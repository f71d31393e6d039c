"""Which trials are recorded, and where in the file: an SQLite table that can be lost.

The records are the truth. The index says up to which byte it has read them, and the checksum of the last line that it knows; if
that line is not there, or the table is damaged or of another study, it is made again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from crosstile.errors import OutputError

Scan = Callable[[Path, int], Iterator[tuple[int, int, dict[str, Any] | None]]]
Row = tuple[str, str, int, int]

_MAKE = """
CREATE TABLE trial (id TEXT PRIMARY KEY, status TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Index:
    """The index of one store; of several records of a trial the last one counts."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.rebuilt = False

    def __enter__(self) -> Index:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def follow(self, records: Path, scan: Scan) -> int:
        """Read what the file of records has and this index has not; return how many damaged lines were met."""
        if not self._fits(records):
            self._make_again()
        rows, torn, end = [], 0, self._covered()
        for offset, length, record in scan(records, end):
            end = offset + length
            if record is None:
                torn += 1
            else:
                rows.append((record["id"], record["status"], offset, length))
        self.add(rows, end)
        return torn

    def add(self, rows: Sequence[Row], covered: int) -> None:
        """Take note of records; the index then reaches to byte ``covered`` of the file."""
        with self._told(), self._base:
            self._base.executemany("INSERT OR REPLACE INTO trial VALUES (?, ?, ?, ?)", rows)
            facts = [("covered", str(covered))]
            self._base.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts)

    def status(self) -> dict[str, str]:
        """Return the status of each recorded trial by its id."""
        with self._told():
            return dict(self._base.execute("SELECT id, status FROM trial"))

    def _open(self) -> None:
        new = not self.path.exists()
        with self._told():
            self._base = sqlite3.connect(self.path)
            try:
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=NORMAL")
                if new:
                    self._base.executescript(_MAKE)
                    with self._base:
                        self._base.execute("INSERT INTO fact VALUES ('study', ?)", (self.fingerprint,))
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._make_again()

    def _fits(self, records: Path) -> bool:
        """Return whether the index is whole and that of this study and these records."""
        try:
            if self._base.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                return False
            facts = dict(self._base.execute("SELECT name, value FROM fact"))
            if facts.get("study") != self.fingerprint:
                return False
            size = records.stat().st_size if records.exists() else 0
            if not int(facts.get("covered", "0")) <= size:
                return False
            last = self._base.execute("SELECT id, offset, length FROM trial ORDER BY offset DESC LIMIT 1").fetchone()
        except (sqlite3.DatabaseError, ValueError):
            return False
        if last is None:
            return True
        with records.open("rb") as file:
            file.seek(last[1])
            line = file.read(last[2])
        body, _, tail = line.rpartition(b', "crc32": "')
        return tail == f'{zlib.crc32(body):08x}"}}\n'.encode() and last[0].encode() in body

    def _covered(self) -> int:
        found = self._base.execute("SELECT value FROM fact WHERE name = 'covered'").fetchone()
        return 0 if found is None else int(found[0])

    def _make_again(self) -> None:
        self._base.close()
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + ending).unlink()
        self.rebuilt = True
        self._open()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(
                f"{self.path}: the index cannot be used: {error}; the records are safe. Remove this file, or move the folder to "
                "a disk of this machine, and run the same command again."
            ) from None
