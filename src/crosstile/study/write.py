"""Writing a result: ``result.json`` and ``report.html`` together, or neither."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from crosstile.errors import CrosstileError, OutputError
from crosstile.study.report import render_report
from crosstile.study.result import Result

RESULT_NAME: Final = "result.json"
REPORT_NAME: Final = "report.html"


def check_writable(directory: Path | str) -> None:
    """Make ``directory`` if it is missing and prove that a result can be written there, before long work.

    Raises:
        OutputError: it is not a directory, cannot be made or written, or a name of ours is a directory there.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(
            f"{directory}: a file is in the way of this directory; name another directory or move the file."
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{directory}: cannot be made: {_reason(error)}.") from None
    for name in (RESULT_NAME, REPORT_NAME):
        if (directory / name).is_dir():
            raise OutputError(
                f"{directory / name}: is a directory, so no file of that name can be written; "
                "name another output directory."
            )
    try:
        with tempfile.TemporaryFile(dir=directory):  # the only test that holds for root and network mounts too
            pass
    except OSError as error:
        raise OutputError(
            f"{directory}: cannot be written: {_reason(error)}; name another directory or change its rights."
        ) from None


@contextlib.contextmanager
def output_folder(directory: Path | None) -> Iterator[None]:
    """Make and prove the folder as :func:`check_writable`; a new one that the work leaves empty, by an error, goes again.

    None: there is nothing to write.
    """
    fresh = directory is not None and not directory.exists()
    if directory is not None:
        check_writable(directory)
    try:
        yield
    except (CrosstileError, KeyboardInterrupt):
        if fresh and directory is not None and directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
        raise


def write_result(result: Result, directory: Path | str) -> tuple[Path, Path]:
    """Write ``result.json`` and ``report.html`` and return their paths; earlier ones are replaced.

    Both texts are complete on the disk before either takes its name. Should the second not take its name,
    the first is put back as it was.

    Raises:
        OutputError: the directory cannot be written; then it holds what it held before.
    """
    directory = Path(directory)
    check_writable(directory)
    texts = {RESULT_NAME: result.to_json(), REPORT_NAME: render_report(result)}
    waiting: dict[Path, Path] = {}  # final name -> temporary file
    try:
        for name, text in texts.items():
            waiting[directory / name] = _write_temporary(directory, name, text)
        _replace_all(waiting)
        _sync_directory(directory)
    except OSError as error:
        raise OutputError(f"{directory}: the result was not written: {_reason(error)}.") from None
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)
    return directory / RESULT_NAME, directory / REPORT_NAME


def _write_temporary(directory: Path, name: str, text: str) -> Path:
    handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(path, 0o666 & ~_umask())  # mkstemp makes files that nobody else can read
    except BaseException:
        os.unlink(path)
        raise
    return Path(path)


def _replace_all(waiting: dict[Path, Path]) -> None:
    """Give every temporary file its name; on failure undo those already given."""
    kept: dict[Path, Path | None] = {}
    try:
        for final, temporary in waiting.items():
            kept[final] = _keep(final)
            os.replace(temporary, final)
    except BaseException:
        for final, earlier in kept.items():
            if earlier is not None:
                os.replace(earlier, final)
            elif not waiting[final].exists():  # it took its name
                final.unlink(missing_ok=True)
        raise
    for earlier in kept.values():
        if earlier is not None:
            earlier.unlink(missing_ok=True)


def _keep(final: Path) -> Path | None:
    """Copy an earlier file aside so that it can be put back; ``None`` when there is none."""
    if not final.exists():
        return None
    handle, path = tempfile.mkstemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(final.read_bytes())
    except BaseException:
        os.unlink(path)
        raise
    return Path(path)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can; the files themselves are synced
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
