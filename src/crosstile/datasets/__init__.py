"""Labelled images to measure accuracy with, and unlabelled ones to set ranges with."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from crosstile.datasets.base import Dataset
from crosstile.errors import DataError

__all__ = ["Dataset", "dataset_names", "load_dataset"]

_NAMES = ("cifar10", "digits", "fashion-mnist", "mnist5k")


def dataset_names() -> tuple[str, ...]:
    """Return the names that :func:`load_dataset` knows, in alphabetical order."""
    return _NAMES


def load_dataset(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    download: bool = True,
    progress: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """Return a data set by name, or from the path of an .npz file (``x``, ``y``, ...).

    mnist5k and digits come inside installed packages. cifar10 and fashion-mnist are looked for in
    ``data_dir``, then the folder that CROSSTILE_DATA names, then this user's cache; if they are in none
    and ``download`` is true, they are loaded from their official address into the cache, and
    ``progress(bytes so far, total bytes or None)`` is called meanwhile. Text that ends in ``.npz`` or
    holds a path separator is taken as a path.

    Raises DataError, which says what to do, for an unknown name, data that are absent and cannot be
    loaded, and files that are damaged or not of the expected form.
    """
    if name_or_path.endswith(".npz") or "/" in name_or_path or "\\" in name_or_path:
        from crosstile.datasets.user_file import load_npz_dataset

        return load_npz_dataset(Path(name_or_path))
    if name_or_path == "mnist5k":
        from crosstile.datasets.builtin import load_mnist5k

        return load_mnist5k()
    if name_or_path == "digits":
        from crosstile.datasets.builtin import load_digits

        return load_digits()
    if name_or_path == "cifar10":
        from crosstile.datasets.official import load_cifar10

        return load_cifar10(data_dir, download, progress)
    if name_or_path == "fashion-mnist":
        from crosstile.datasets.official import load_fashion_mnist

        return load_fashion_mnist(data_dir, download, progress)
    near = difflib.get_close_matches(name_or_path, _NAMES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise DataError(
        f"unknown data set {name_or_path!r}{hint}; allowed are {', '.join(_NAMES)} or the path of an .npz file"
    )
