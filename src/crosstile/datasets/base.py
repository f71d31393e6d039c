"""The Dataset record and the checks that every data set passes before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosstile.errors import DataError, UsageError

CALIBRATION_IMAGES = 512  # enough for stable activation percentiles, small enough to be quick
TRAINING_ORIGIN = "training images"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled test images, unlabelled calibration images and where both come from.

    ``x`` is (N, C, H, W), uint8 or float32; ``y`` is (N,) int64. ``x_calibration`` has the layout of
    ``x``; ``calibration_origin`` says in words which images they are. ``mean`` and ``std`` are per
    channel and apply to x/255 for uint8 images, to x itself for float32. ``x_train`` and ``y_train``
    are None where no training images were found. ``classes`` is a count or the names in label order.
    """

    name: str
    x: Array
    y: Array
    x_calibration: Array
    calibration_origin: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int | tuple[str, ...]
    source: str
    licence: str
    reference: str
    x_train: Array | None = None
    y_train: Array | None = None

    def __len__(self) -> int:
        """Return the number of test images."""
        return int(self.x.shape[0])

    @property
    def num_classes(self) -> int:
        """Return how many classes the labels may name."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of one image."""
        c, h, w = self.x.shape[1:]
        return int(c), int(h), int(w)

    def normalised(self, x: Array) -> Array:
        """Return images (n, C, H, W) as the float32 network input.

        uint8 images become (x/255 - mean)/std; float images (x - mean)/std. Raises UsageError where
        the number of channels is not the data set's.
        """
        if x.ndim != 4 or x.shape[1] != len(self.mean):
            raise UsageError(
                f"data set {self.name}: normalised() was given an array of shape {tuple(x.shape)}; "
                f"it takes (n, {len(self.mean)}, H, W)"
            )
        mean = np.asarray(self.mean, np.float32)[None, :, None, None]
        std = np.asarray(self.std, np.float32)[None, :, None, None]
        scaled = x.astype(np.float32)
        if x.dtype == np.uint8:
            scaled /= np.float32(255.0)
        return np.asarray((scaled - mean) / std, dtype=np.float32)

    def load_split(self, split: str) -> tuple[Array, Array]:
        """Return (images, labels) of ``"train"`` or ``"test"``.

        Raises UsageError for another name and DataError where no training images were found.
        """
        if split == "test":
            return self.x, self.y
        if split != "train":
            raise UsageError(f"data set {self.name}: no split {split!r}; there are 'train' and 'test'")
        if self.x_train is None or self.y_train is None:
            raise DataError(
                f"data set {self.name}: no training images in {self.source}; "
                "put the official files, which hold them, into the data folder"
            )
        return self.x_train, self.y_train


def checked_images(x: Array, what: str) -> Array:
    """Return images as uint8 or float32 (N, C, H, W); DataError where they are not usable."""
    if x.ndim != 4:
        raise DataError(
            f"{what}: rank {x.ndim}, shape {tuple(x.shape)}; images must be (N, C, H, W), "
            "so grey images of shape (N, H, W) need x[:, None]"
        )
    if 0 in x.shape:
        raise DataError(f"{what}: shape {tuple(x.shape)} holds no pixels; at least one image is needed")
    if x.dtype == np.uint8:
        return np.array(x, order="C")  # a copy, as arrays read from a file are views on read-only bytes
    if x.dtype.kind != "f":
        raise DataError(
            f"{what}: dtype {x.dtype}; allowed are uint8 (0 to 255, scaled by 1/255) and floats "
            "(taken as they are), so convert with astype"
        )
    _check_finite(x, what)
    with np.errstate(over="ignore"):
        x32 = np.array(x, dtype=np.float32, order="C")
    _check_finite(x32, f"{what}, as float32")
    return x32


def checked_labels(y: Array, images: int, what: str, classes: int | None = None) -> Array:
    """Return labels as int64 (N,); DataError where they do not fit ``images`` images."""
    if y.ndim != 1 or y.shape[0] != images:
        raise DataError(f"{what}: shape {tuple(y.shape)}; {images} images need labels of shape ({images},)")
    if y.dtype.kind not in "iu":
        raise DataError(f"{what}: dtype {y.dtype}; labels must be integers, so convert with astype('int64')")
    bad = np.flatnonzero(y < 0)
    if bad.size:
        raise DataError(
            f"{what}: {bad.size} negative labels, the first at index {bad[0]} ({y[bad[0]]}); labels count from 0"
        )
    top = (classes if classes is not None else 1_000_000) - 1  # a cap, so that a stray label is seen
    bad = np.flatnonzero(y > top)
    if bad.size:
        raise DataError(
            f"{what}: {bad.size} labels above {top}, the first at index {bad[0]} ({y[bad[0]]}); allowed are 0 to {top}"
        )
    return y.astype(np.int64)


def calibration_tail(x: Array) -> tuple[Array, str]:
    """Return the last images of the test file and the sentence that says so."""
    count = min(CALIBRATION_IMAGES, x.shape[0])
    return x[-count:], (
        f"the {count} images of the test file that come last (without labels); no training images were found"
    )


def _check_finite(x: Array, what: str) -> None:
    finite = np.isfinite(x)
    bad = int(x.size - np.count_nonzero(finite))
    if bad:
        first = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), x.shape))
        raise DataError(
            f"{what}: {bad} values are not finite (NaN or infinite), the first at index {first} "
            f"({x[first]}); replace them or leave these images out"
        )
