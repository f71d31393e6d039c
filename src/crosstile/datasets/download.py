"""Find a data file in the folders that a user names, or load it from its official address."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstile.errors import DataError

Progress = Callable[[int, int | None], None]
_CHUNK = 2**18  # bytes
_TIMEOUT_S = 30.0  # without any byte received


@dataclass(frozen=True)
class Resource:
    """One official file: its name, address, md5 as published, and a size in bytes it cannot exceed."""

    filename: str
    url: str
    md5: str
    size_limit: int


def cache_folder() -> Path:
    """Return the folder of this user that downloads are kept in (it may not exist yet)."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("crosstile", appauthor=False))


def search_folders(data_dir: Path | None) -> list[Path]:
    """Return the folders to look in, in order: ``data_dir``, CROSSTILE_DATA, the user's cache.

    Raises DataError where one that the user named is not a folder, rather than pass over it.
    """
    named: list[tuple[str, Path]] = []
    if data_dir is not None:
        named.append(("data folder", Path(data_dir)))
    variable = os.environ.get("CROSSTILE_DATA")
    if variable:
        named.append(("environment variable CROSSTILE_DATA", Path(variable)))
    for what, folder in named:
        if not folder.is_dir():
            raise DataError(f"{what}: {folder} is not a folder; name an existing one or leave it out")
    folders = [folder for _, folder in named]
    return [*folders, cache_folder()]


def verify(path: Path, resource: Resource) -> None:
    """Raise DataError where the file's md5 is not the published one."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != resource.md5:
        raise DataError(
            f"{path}: md5 {digest.hexdigest()}, but the official {resource.filename} has {resource.md5}; "
            f"it is damaged or another data set's file: remove it and load it anew from {resource.url}"
        )


def fetch(resource: Resource, folder: Path, progress: Progress | None = None) -> Path:
    """Load a resource into ``folder`` and return its path; it appears there only complete and checked.

    ``progress(bytes so far, total bytes or None)`` is called as data come in. Raises DataError with the
    address where there is no connection, the server refuses, or size or md5 differ.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{resource.filename}.", suffix=".part", dir=folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error}); name a data folder with the files") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            received, digest = _stream(resource, out.write, progress)
        if digest != resource.md5:
            raise DataError(
                f"{resource.url}: received {received} bytes with md5 {digest}, expected {resource.md5}; "
                "the transfer was cut short or the file was changed, and it was discarded: try again, or "
                f"place {resource.filename} by hand"
            )
        target = folder / resource.filename
        part.replace(target)
        return target
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise DataError(f"{resource.url}: cannot be loaded ({error})") from error
    finally:
        part.unlink(missing_ok=True)


def missing(name: str, looked_for: Sequence[str], folders: Sequence[Path], resources: Sequence[Resource]) -> str:
    """Return the message for files found nowhere: what, where searched, and how to place them by hand."""
    addresses = ", ".join(resource.url for resource in resources)
    places = ", ".join(str(folder) for folder in folders)
    return (
        f"data set {name}: found none of {', '.join(looked_for)} in {places}; "
        f"load by hand from {addresses} and place in one of these folders, or name the folder that holds "
        "it with --data-dir or the environment variable CROSSTILE_DATA"
    )


def _stream(resource: Resource, write: Callable[[bytes], object], progress: Progress | None) -> tuple[int, str]:
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    request = urllib.request.Request(resource.url, headers={"User-Agent": "crosstile"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        length = answer.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        while chunk := answer.read(_CHUNK):
            received += len(chunk)
            if received > resource.size_limit:
                raise DataError(
                    f"{resource.url}: sent more than {resource.size_limit} bytes, which {resource.filename} "
                    "cannot have; nothing was kept"
                )
            write(chunk)
            digest.update(chunk)
            if progress is not None:
                progress(received, total)
    return received, digest.hexdigest()
