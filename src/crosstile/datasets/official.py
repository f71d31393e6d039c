"""CIFAR-10 and Fashion-MNIST, from a data folder or from their official addresses."""

from __future__ import annotations

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
from crosstile.datasets.download import (
    Progress,
    Resource,
    cache_folder,
    fetch,
    missing,
    search_folders,
    verify,
)
from crosstile.datasets.readers import read_cifar_folder, read_cifar_tar, read_idx, read_npz
from crosstile.errors import DataError

# The python form of CIFAR-10 is pickled; the binary form holds the same images as plain bytes.
CIFAR10 = Resource(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    256 * 2**20,
)
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST = {
    key: Resource(filename, _FASHION_URL + filename, md5, 64 * 2**20)
    for key, filename, md5 in (
        ("x_train", "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("y_train", "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("x", "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("y", "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
}
_CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_cifar10(data_dir: Path | None, download: bool, progress: Progress | None) -> Dataset:
    """Return CIFAR-10's 10,000 test images (3, 32, 32), normalised as the published weights expect.

    In each folder these are looked for in turn: the binary archive, its extracted folder, and
    ``cifar10_test.npz`` (x, y, classes), which has no training images.
    """
    folders = search_folders(data_dir)
    found = _find_cifar(folders)
    if found is None:
        looked_for = (CIFAR10.filename, "cifar-10-batches-bin/", "cifar10_test.npz")
        text = missing("cifar10", looked_for, folders, [CIFAR10])
        if any((folder / "cifar-10-python.tar.gz").exists() for folder in folders):
            text += "; the cifar-10-python.tar.gz found there is pickled and is not read"
        if not download:
            raise DataError(text)
        found = _fetch_or_explain(CIFAR10, cache_folder(), progress, text)
    if found.is_dir():
        arrays, form = read_cifar_folder(found), "the binary version's extracted files"
    elif found.suffix == ".npz":
        arrays, form = read_npz(found), found.name
    else:
        verify(found, CIFAR10)
        arrays, form = read_cifar_tar(found), f"{found.name} (md5 {CIFAR10.md5})"
    return _dataset(
        arrays,
        found,
        shape=(3, 32, 32),
        name="cifar10",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        classes=_CIFAR_CLASSES,
        source=f"{form}; official address {CIFAR10.url}",
        licence="no formal licence; cite the reference",
        reference="A. Krizhevsky, Learning multiple layers of features from tiny images, technical report, "
        "University of Toronto, 2009",
    )


def load_fashion_mnist(data_dir: Path | None, download: bool, progress: Progress | None) -> Dataset:
    """Return Fashion-MNIST's 10,000 test images (1, 28, 28).

    In each folder these are looked for in turn: the four official .gz files, in a folder
    ``fashion-mnist`` or directly (MNIST's files have the same names, so the md5 decides), and
    ``fashion_mnist_20k.npz`` (x_test, y_test, x_train, y_train). The .gz test files alone will do.
    """
    folders = search_folders(data_dir)
    found = _find_fashion(folders)
    if found is None:
        looked_for = (*(r.filename for r in FASHION_MNIST.values()), "fashion_mnist_20k.npz")
        text = missing("fashion-mnist", looked_for, folders, list(FASHION_MNIST.values()))
        if not download:
            raise DataError(text)
        found = cache_folder() / "fashion-mnist"
        for resource in FASHION_MNIST.values():
            if not (found / resource.filename).is_file():
                _fetch_or_explain(resource, found, progress, text)
    if found.is_dir():
        arrays = {}
        for key, resource in FASHION_MNIST.items():
            path = found / resource.filename
            if path.is_file():
                verify(path, resource)
                arrays[key] = read_idx(path, rank=3 if key.startswith("x") else 1)
        form = "the official idx files"
    else:
        arrays, form = read_npz(found), found.name
        renamed = {"x_test": "x", "y_test": "y"}
        arrays = {renamed.get(key, key): value for key, value in arrays.items()}
    arrays = {k: v[:, None] if k.startswith("x") and v.ndim == 3 else v for k, v in arrays.items()}
    return _dataset(
        arrays,
        found,
        shape=(1, 28, 28),
        name="fashion-mnist",
        mean=(0.2860,),
        std=(0.3530,),
        classes=_FASHION_CLASSES,
        source=f"{form}; official address {_FASHION_URL}",
        licence="MIT, Zalando SE",
        reference="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking "
        "machine learning algorithms, arXiv:1708.07747, 2017",
    )


def _find_cifar(folders: list[Path]) -> Path | None:
    for folder in folders:
        for path in (folder / CIFAR10.filename, folder / "cifar-10-batches-bin", folder / "cifar10_test.npz"):
            if path.exists():
                return path
    return None


def _find_fashion(folders: list[Path]) -> Path | None:
    for folder in folders:
        for place in (folder / "fashion-mnist", folder):
            if all((place / FASHION_MNIST[key].filename).is_file() for key in ("x", "y")):
                # A download that was cut short between files is completed, not taken for a test-only copy.
                if place == cache_folder() / "fashion-mnist" and not all(
                    (place / resource.filename).is_file() for resource in FASHION_MNIST.values()
                ):
                    continue
                return place
        if (folder / "fashion_mnist_20k.npz").is_file():
            return folder / "fashion_mnist_20k.npz"
    return None


def _fetch_or_explain(resource: Resource, folder: Path, progress: Progress | None, text: str) -> Path:
    try:
        return fetch(resource, folder, progress)
    except DataError as error:
        raise DataError(f"{error}\n{text}") from error


def _dataset(
    arrays: dict[str, Array],
    path: Path,
    *,
    shape: tuple[int, int, int],
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    classes: tuple[str, ...],
    source: str,
    licence: str,
    reference: str,
) -> Dataset:
    """Check the arrays x, y and, where present, x_train, y_train; choose the calibration images."""
    pairs: dict[str, tuple[Array, Array]] = {}
    for xk, yk in (("x", "y"), ("x_train", "y_train")):
        if xk not in arrays or yk not in arrays:
            if xk == "x" or xk in arrays or yk in arrays:
                raise DataError(f"{path}: found {sorted(arrays)}; data set {name} needs both {xk} and {yk}")
            continue
        x = checked_images(arrays[xk], f"{path}: {xk}")
        if x.dtype != np.uint8 or x.shape[1:] != shape:
            raise DataError(
                f"{path}: {xk} is {x.dtype} {tuple(x.shape)}; data set {name} has uint8 images {shape}; "
                "give your own data by the path of their .npz file"
            )
        pairs[xk] = x, checked_labels(arrays[yk], x.shape[0], f"{path}: {yk}", classes=len(classes))
    x, y = pairs["x"]
    x_train, y_train = pairs.get("x_train", (None, None))
    if x_train is not None:
        x_calibration, origin = x_train[:CALIBRATION_IMAGES], TRAINING_ORIGIN
    else:
        x_calibration, origin = calibration_tail(x)
    return Dataset(name, x, y, x_calibration, origin, mean, std, classes, source, licence, reference, x_train, y_train)
