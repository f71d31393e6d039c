"""CIFAR-10 and Fashion-MNIST: official files, where they are looked for, downloads from a loopback server."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from crosstile.datasets import download as dl
from crosstile.datasets import load_dataset, official
from crosstile.datasets.readers import read_idx
from crosstile.errors import DataError


@pytest.fixture(autouse=True)
def _no_outside_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROSSTILE_DATA", raising=False)
    monkeypatch.setattr(dl, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(official, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _save(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def _cifar_tar(path: Path, *, images: int = 10_000, leave_out: str = "", hostile: bool = False) -> bytes:
    """Write an archive like the official one: image i of a batch is filled with i % 251, label i % 10."""
    rows = np.arange(images)
    record = np.repeat((rows % 251).astype(np.uint8)[:, None], 3073, axis=1)
    record[:, 0] = rows % 10
    record[:, 1:1025] = 7  # the red plane comes first
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        if hostile:
            link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(link)
            outside = tarfile.TarInfo("../../outside.txt")
            outside.size = 4
            archive.addfile(outside, io.BytesIO(b"evil"))
        for name in names:
            if name == leave_out:
                continue
            batch = record.copy()
            if name != "test_batch.bin":
                batch[:, 1025:2049] = int(name[11])
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = batch.nbytes
            archive.addfile(info, io.BytesIO(batch.tobytes()))
    return path.read_bytes()


def _accept(monkeypatch: pytest.MonkeyPatch, content: bytes, url: str = "http://127.0.0.1:9/x.gz") -> None:
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(official, "CIFAR10", dl.Resource("cifar-10-binary.tar.gz", url, md5, 2**28))


def test_cifar_archive_is_parsed_and_its_other_members_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    _accept(monkeypatch, _cifar_tar(folder / "cifar-10-binary.tar.gz", hostile=True))
    data = load_dataset("cifar10", data_dir=folder, download=False)
    assert data.x.shape == (10_000, 3, 32, 32)
    assert data.y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.x[300].reshape(3, -1).max(axis=1).tolist() == [7, 49, 49]
    assert data.load_split("train")[0].shape == (50_000, 3, 32, 32)
    assert data.load_split("train")[0][10_000:20_000, 1].mean() == 2
    assert data.calibration_origin == "training images"
    assert data.mean == (0.485, 0.456, 0.406)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["cifar-10-binary.tar.gz"]


def test_cifar_archive_incomplete_or_of_wrong_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    _accept(monkeypatch, _cifar_tar(path, leave_out="data_batch_3.bin"))
    with pytest.raises(DataError, match=r"data_batch_3.bin is missing"):
        load_dataset("cifar10", data_dir=tmp_path, download=False)
    _accept(monkeypatch, _cifar_tar(path, images=99))
    with pytest.raises(DataError, match=r"data_batch_1\.bin has 304227 bytes; 10000 records"):
        load_dataset("cifar10", data_dir=tmp_path, download=False)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"md5 .* but the official"):
        load_dataset("cifar10", data_dir=tmp_path, download=False)


def test_cifar_npz_and_folder_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, variable = tmp_path / "a", tmp_path / "b"
    for folder, value in ((named, 11), (variable, 22)):
        folder.mkdir()
        x = np.full((600, 3, 32, 32), value, np.uint8)
        _save(folder / "cifar10_test.npz", x=x, y=np.arange(600) % 10, classes=np.array(list("abcdefghij")))
    monkeypatch.setenv("CROSSTILE_DATA", str(variable))
    assert load_dataset("cifar10", data_dir=named).x[0, 0, 0, 0] == 11
    data = load_dataset("cifar10")
    assert data.x[0, 0, 0, 0] == 22
    assert "come last" in data.calibration_origin
    assert data.x_calibration.shape[0] == 512
    assert data.classes[8] == "ship"  # type: ignore[index]
    monkeypatch.setenv("CROSSTILE_DATA", str(tmp_path / "typing-error"))
    with pytest.raises(DataError, match=r"CROSSTILE_DATA: .*typing-error is not a folder"):
        load_dataset("cifar10")


def test_absent_data_set_says_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"pickled")
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10", data_dir=tmp_path, download=False)
    text = str(caught.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in text
    assert f"{tmp_path}, {tmp_path / 'cache'}" in text
    assert "CROSSTILE_DATA" in text
    assert "pickled and is not read" in text
    assert not (tmp_path / "cache").exists()


def _idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes(), mtime=0)


def _fashion(monkeypatch: pytest.MonkeyPatch, base: str = "http://127.0.0.1:9/") -> dict[str, bytes]:
    files, table = {}, {}
    for key, count, value in (("x_train", 600, 5), ("y_train", 600, 3), ("x", 50, 9), ("y", 50, 8)):
        shape = (count, 28, 28) if key.startswith("x") else (count,)
        old = official.FASHION_MNIST[key]
        files[old.filename] = _idx(np.full(shape, value, np.uint8))
        md5 = hashlib.md5(files[old.filename]).hexdigest()
        table[key] = dl.Resource(old.filename, base + old.filename, md5, 10**6)
    monkeypatch.setattr(official, "FASHION_MNIST", table)
    return files


def test_fashion_mnist_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _fashion(monkeypatch)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(files[name])
    data = load_dataset("fashion-mnist", data_dir=tmp_path, download=False)
    assert data.x.shape == (50, 1, 28, 28)
    assert set(data.y.tolist()) == {8}
    assert "come last" in data.calibration_origin
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(files["train-images-idx3-ubyte.gz"])
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(files["train-labels-idx1-ubyte.gz"])
    data = load_dataset("fashion-mnist", data_dir=tmp_path, download=False)
    assert data.x_calibration.shape == (512, 1, 28, 28)
    assert data.x_calibration.max() == 5
    # MNIST's own files have the same names; only the md5 tells them apart
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(_idx(np.zeros((50, 28, 28), np.uint8)))
    with pytest.raises(DataError, match="another data set's file"):
        load_dataset("fashion-mnist", data_dir=tmp_path, download=False)


def test_idx_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(_idx(np.zeros((4, 2, 2), np.uint8)))
    assert read_idx(path, 3).shape == (4, 2, 2)
    with pytest.raises(DataError, match="idx file of bytes with 1 axes"):
        read_idx(path, 1)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(DataError, match=r"declares shape \(4, 2, 2\) but holds 15 bytes"):
        read_idx(path, 3)
    path.write_bytes(b"\x1f\x8bgarbage")
    with pytest.raises(DataError, match=r"not a readable \.gz"):
        read_idx(path, 3)


def test_fashion_npz_of_the_data_folder(real_data_dir: Path) -> None:
    if not (real_data_dir / "fashion_mnist_20k.npz").is_file():
        pytest.skip("no fashion_mnist_20k.npz in the data folder")
    data = load_dataset("fashion-mnist", data_dir=real_data_dir, download=False)
    assert np.bincount(data.y).tolist() == [1000] * 10
    assert data.load_split("train")[0].shape == (20_000, 1, 28, 28)
    assert data.normalised(data.load_split("train")[0]).std() == pytest.approx(1.0, abs=0.01)


# ---- downloads


class _Server(HTTPServer):
    files: dict[str, bytes]
    declared_extra = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.server.declared_extra))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.files = {}
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_download_goes_to_the_cache_and_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: _Server
) -> None:
    server.files = _fashion(monkeypatch, _url(server))
    calls: list[tuple[int, int | None]] = []
    data = load_dataset("fashion-mnist", progress=lambda done, total: calls.append((done, total)))
    assert data.x.shape == (50, 1, 28, 28)
    assert data.calibration_origin == "training images"
    size = len(server.files["train-images-idx3-ubyte.gz"])
    assert (size, size) in calls
    cached = sorted(p.name for p in (tmp_path / "cache" / "fashion-mnist").iterdir())
    assert cached == sorted(server.files)
    # one file lost from the cache is loaded anew, and with all four there no server is needed
    (tmp_path / "cache" / "fashion-mnist" / "train-labels-idx1-ubyte.gz").unlink()
    calls.clear()
    assert load_dataset("fashion-mnist", progress=lambda a, b: calls.append((a, b))).x_train is not None
    assert len(calls) == 1
    server.files = {}
    assert load_dataset("fashion-mnist").x.shape == (50, 1, 28, 28)


def test_download_with_wrong_checksum_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: _Server
) -> None:
    _accept(monkeypatch, b"the official bytes", _url(server) + "c.gz")
    server.files = {"c.gz": b"other bytes"}
    with pytest.raises(DataError, match=r"received 11 bytes with md5 .*discarded") as caught:
        load_dataset("cifar10")
    assert f"{_url(server)}c.gz" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("case", ["cut short", "too long", "not found", "refused"])
def test_download_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: _Server, case: str) -> None:
    url = _url(server) + "c.gz"
    server.files = {} if case == "not found" else {"c.gz": b"0123456789"}
    server.declared_extra = 5 if case == "cut short" else 0
    if case == "refused":
        server.socket.close()
    limit = 4 if case == "too long" else 100
    resource = dl.Resource("cifar-10-binary.tar.gz", url, hashlib.md5(b"0123456789abcde").hexdigest(), limit)
    monkeypatch.setattr(official, "CIFAR10", resource)
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10", data_dir=tmp_path)
    text = str(caught.value)
    reason = {"cut short": "received 10 bytes", "too long": "more than 4 bytes", "not found": "404"}
    assert reason.get(case, "refused") in text
    assert url in text
    assert f"found none of cifar-10-binary.tar.gz, cifar-10-batches-bin/, cifar10_test.npz in {tmp_path}" in text
    assert list((tmp_path / "cache").iterdir()) == []


def test_download_into_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(official, "cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(DataError, match="cannot be written"):
        load_dataset("cifar10")
