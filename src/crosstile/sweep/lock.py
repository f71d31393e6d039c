"""One writer for a store: a lock of the system on a file that says who holds it.

The system lets go of the lock when its owner ends, be it by kill -9, so that none is ever left behind.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from crosstile.errors import OutputError


class Lock:
    """Held inside a ``with`` block; raises :class:`OutputError` with the owner's process and host if somebody holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Lock:
        try:
            import fcntl  # late: not on every system, and only who writes needs it
        except ImportError:
            raise OutputError(
                "sweeps need locks of files as Linux and macOS have them; use one of these, or WSL."
            ) from None
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._handle, 4096, 0)
            os.close(self._handle)
            raise OutputError(
                f"{self.path.parent}: {_owner(owner)} is writing to this sweep now; wait until it ends, stop it, or name another "
                "folder with --out."
            ) from None
        except BaseException:
            os.close(self._handle)
            raise
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}) + "\n"
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text.encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)  # the file stays: who waits for it must not hold one that is gone


def _owner(text: bytes) -> str:
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']} (since {found['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
