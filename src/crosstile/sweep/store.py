"""The durable store of a sweep: JSON Lines, written by the client alone.

    study.json     what is studied; written once, before the first trial
    records.jsonl  one line a finished trial, appended and fsynced; nothing is ever rewritten
    index.sqlite   which trials are recorded, and where (WAL); made again from the records whenever it is not theirs
    lock           who writes here now

Why one file, by the client: workers need no file system in common with it; ten thousand records are one read; and an append that
a kill cuts short damages only itself. Each line ends in a CRC-32 of what stands before it: a torn line is not a record, so its
trial is done again. What costs time twice is only what was running, or on its way to the client, when it died.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from crosstile.errors import OutputError, UsageError
from crosstile.sweep.index import Index
from crosstile.sweep.lock import Lock
from crosstile.sweep.measure import versions
from crosstile.sweep.spec import Study

STUDY, RECORDS, INDEX, LOCK = "study.json", "records.jsonl", "index.sqlite", "lock"
FORMAT: Final = "crosstile-sweep-1"
_TAIL: Final = len(', "crc32": "00000000"}')


def seal(record: str) -> bytes:
    """Return a record (the text of a JSON object) as a line with its checksum."""
    body = record.rstrip()[:-1].encode()
    return body + f', "crc32": "{zlib.crc32(body):08x}"}}\n'.encode()


def unseal(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line without its newline; ``None`` if it is torn or damaged."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != f', "crc32": "{zlib.crc32(body):08x}"}}'.encode():
        return None
    try:
        found = json.loads(body + b"}")
    except ValueError:
        return None
    return found if isinstance(found, dict) and "id" in found and "status" in found else None


def scan(path: Path, start: int = 0) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield (offset, bytes with newline, record or None) of each whole line of a file of records from ``start``."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n"):
                    yield start, len(line), unseal(line[:-1])
                start += len(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror or error}.") from None


def read_study(directory: Path) -> dict[str, Any]:
    """Return ``study.json`` of a store.

    Raises:
        UsageError: the folder holds no sweep.
    """
    path = directory / STUDY
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{directory}: holds no sweep ({STUDY} is missing); name the --out folder of `crosstile sweep`."
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise OutputError(
            f"{path}: is not of the format {FORMAT}; it was written by another version, or by something else."
        )
    return found


class Store:
    """A store that this process writes; use it in a ``with`` block.

    Raises:
        OutputError: the folder cannot be written, or somebody else writes there.
        UsageError: it holds another study, or this one as it was before a change.
    """

    def __init__(self, directory: Path, study: Study) -> None:
        self.directory, self.study = directory, study
        self.torn = 0
        """Damaged lines that were found."""

    def __enter__(self) -> Store:
        with _told(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                self.lock = stack.enter_context(Lock(self.directory / LOCK))
                self._claim()
                _end_line(self.directory / RECORDS)
                self._file = stack.enter_context((self.directory / RECORDS).open("ab", buffering=0))
                _sync_folder(self.directory)
                self.index = stack.enter_context(Index(self.directory / INDEX, self.study.fingerprint()))
                self.torn = self.index.follow(self.directory / RECORDS, scan)
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def status(self) -> dict[str, str]:
        """Return ``done`` or ``failed`` for each recorded trial."""
        return self.index.status()

    def append(self, records: Iterable[str]) -> int:
        """Record finished trials and return how many of them failed; when this returns they are on the disk."""
        rows, lines = [], []
        offset = self._file.tell()
        for text in records:
            line = seal(text)
            found = json.loads(text)
            rows.append((found["id"], found["status"], offset, len(line)))
            lines.append(line)
            offset += len(line)
        with _told(self.directory):
            waiting = memoryview(b"".join(lines))
            while waiting:  # a write may take a part only
                waiting = waiting[self._file.write(waiting) :]
            os.fsync(self._file.fileno())
        self.index.add(rows, offset)
        return sum(row[1] == "failed" for row in rows)

    def _claim(self) -> None:
        """Make this the store of the study, or check that it is."""
        path, fingerprint = self.directory / STUDY, self.study.fingerprint()
        if not path.exists():
            if (self.directory / RECORDS).exists():
                raise UsageError(f"{self.directory}: has records but no {STUDY}; name another folder with --out.")
            text = self.study.content() | {"format": FORMAT, "fingerprint": fingerprint, "versions": versions()}
            _write_durably(path, json.dumps(text, indent=1) + "\n")
            return
        kept = read_study(self.directory)
        if kept["fingerprint"] != fingerprint:
            raise UsageError(
                f"{self.directory}: holds the results of another study, or of this one before it changed "
                f"({', '.join(_differences(kept, self.study.content())) or 'its format'}). Put the study back as it was to go on "
                "with it, or name another folder with --out for the new one; nothing was changed."
            )
        before, now = kept["versions"]["crosstile"], versions()["crosstile"]
        if before != now:
            raise UsageError(
                f"{self.directory}: was begun with crosstile {before}; this is {now}, whose figures may differ. Go on with "
                f"{before}, or name another folder with --out."
            )


def _differences(kept: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    for key, value in now["study"].items():
        if kept.get("study", {}).get(key) != json.loads(json.dumps(value)):
            found.append(key)
    if kept.get("chip") != json.loads(json.dumps(now["chip"])):
        found.append("the base chip's description")
    if kept.get("files") != now["files"]:
        found.append("the content of a file that it uses")
    return found


def _end_line(path: Path) -> None:
    """End a line that was cut short, so that the next record begins on its own."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())


def _write_durably(path: Path, text: str) -> None:
    waiting = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with waiting.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(waiting, path)
    finally:
        waiting.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can; the records' own fsync is what counts
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{directory}: the sweep's records cannot be written: {error.strerror or error}; free space or name another folder "
            "with --out, and run the same command again to go on."
        ) from None
