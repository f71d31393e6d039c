"""Writing files that belong together: all or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crosstile.errors import OutputError


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write files, all or none: each is complete beside its place before the first takes its name.

    Raises:
        OutputError: one of them cannot be written.
    """
    waiting: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in contents.items():
            if path.is_dir():
                raise OutputError(f"{path}: is a directory; name a file.")
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
            waiting[path] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            umask = os.umask(0o022)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that nobody else can read
        for path, ready in waiting.items():
            os.replace(ready, path)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}.") from None
    finally:
        for ready in waiting.values():
            with contextlib.suppress(OSError):
                ready.unlink(missing_ok=True)
