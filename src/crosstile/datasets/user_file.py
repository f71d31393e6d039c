"""A user's own data set: an .npz file with images and labels."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from crosstile.datasets.base import (
    CALIBRATION_IMAGES,
    TRAINING_ORIGIN,
    Array,
    Dataset,
    calibration_tail,
    checked_images,
    checked_labels,
)
from crosstile.datasets.readers import read_npz
from crosstile.errors import DataError

_KEYS = ("x", "y", "x_calibration", "x_train", "y_train", "classes", "mean", "std")


def load_npz_dataset(path: Path) -> Dataset:
    """Return the data set of an .npz file.

    Needed: ``x`` (N, C, H, W), uint8 or float, and ``y`` (N,) integers. Optional: ``x_calibration``;
    ``x_train`` with ``y_train``; ``classes`` (names, or their number); ``mean`` and ``std``, one value a
    channel, which default to 0 and 1: uint8 images are then scaled to 0..1 and floats taken as they are.
    Raises DataError for anything missing, unknown or unusable.
    """
    arrays = read_npz(path)
    for key in arrays:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"{path}: unknown array {key!r}{hint}; allowed are {', '.join(_KEYS)}")
    absent = [key for key in ("x", "y") if key not in arrays]
    if absent:
        raise DataError(
            f"{path}: no array {' and no '.join(absent)}; found {', '.join(arrays) or 'none'}; "
            "write the file with numpy.savez(path, x=images, y=labels)"
        )
    x = checked_images(arrays["x"], f"{path}: x")
    classes = _classes(arrays.get("classes"), path)
    limit = None if classes is None else classes if isinstance(classes, int) else len(classes)
    y = checked_labels(arrays["y"], x.shape[0], f"{path}: y", classes=limit)
    x_train, y_train = None, None
    if ("x_train" in arrays) != ("y_train" in arrays):
        raise DataError(f"{path}: x_train and y_train belong together; found only one of them")
    if "x_train" in arrays:
        x_train = _like(arrays["x_train"], x, f"{path}: x_train")
        y_train = checked_labels(arrays["y_train"], x_train.shape[0], f"{path}: y_train", classes=limit)
    if "x_calibration" in arrays:
        x_calibration = _like(arrays["x_calibration"], x, f"{path}: x_calibration")
        origin = f"x_calibration of {path.name}"
    elif x_train is not None:
        x_calibration, origin = x_train[:CALIBRATION_IMAGES], TRAINING_ORIGIN
    else:
        x_calibration, origin = calibration_tail(x)
        origin = origin.replace("no training images were found", "the file holds neither x_calibration nor x_train")
    channels = x.shape[1]
    highest = max(int(part.max()) for part in (y, y_train) if part is not None)
    return Dataset(
        name=path.stem,
        x=x,
        y=y,
        x_calibration=x_calibration,
        calibration_origin=origin,
        mean=_per_channel(arrays.get("mean"), 0.0, channels, f"{path}: mean"),
        std=_per_channel(arrays.get("std"), 1.0, channels, f"{path}: std"),
        classes=classes if classes is not None else highest + 1,
        source=f"{path.name}, given by the user",
        licence="not stated",
        reference="not stated",
        x_train=x_train,
        y_train=y_train,
    )


def _like(part: Array, x: Array, what: str) -> Array:
    images = checked_images(part, what)
    if images.shape[1:] != x.shape[1:] or images.dtype != x.dtype:
        raise DataError(
            f"{what}: {images.dtype} images {tuple(images.shape[1:])}; "
            f"x has {x.dtype} images {tuple(x.shape[1:])} and they must agree"
        )
    return images


def _classes(value: Array | None, path: Path) -> int | tuple[str, ...] | None:
    if value is None:
        return None
    if value.ndim == 0 and value.dtype.kind in "iu" and int(value) >= 1:
        return int(value)
    if value.ndim == 1 and value.dtype.kind == "U" and value.size:
        return tuple(str(name) for name in value)
    raise DataError(
        f"{path}: classes is {value.dtype} of shape {tuple(value.shape)}; "
        "allowed are one whole number of at least 1, or a list of names"
    )


def _per_channel(value: Array | None, default: float, channels: int, what: str) -> tuple[float, ...]:
    if value is None:
        return (default,) * channels
    if value.shape != (channels,) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise DataError(f"{what}: {value.dtype} of shape {tuple(value.shape)}; needed: {channels} finite numbers")
    if default == 1.0 and not (value > 0).all():
        raise DataError(f"{what}: {value.tolist()}; each must be greater than 0")
    return tuple(float(v) for v in value)
