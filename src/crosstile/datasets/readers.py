"""Read .npz, idx .gz and CIFAR-10 binary files without trusting what they say about themselves.

Sizes are checked before anything is allocated; nothing is unpickled and no archive is unpacked to disk.
"""

from __future__ import annotations

import gzip
import io
import math
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from crosstile.datasets.base import Array
from crosstile.errors import DataError

MEMBER_LIMIT = 2 * 2**30  # bytes, uncompressed, of one array
_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error, tarfile.TarError, SyntaxError,
)  # fmt: skip
_ANEW = "delete it to load it anew"
_CIFAR_IMAGES = 10_000  # in each batch file
_CIFAR_RECORD = 1 + 3 * 32 * 32  # one label byte, then red, green and blue planes
_CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


def read_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name.

    Raises DataError for a file that is missing, not a zip, damaged, holds object arrays (pickles) or
    an array larger than 2 GiB; zip members that are not arrays are refused too.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for info in members:
                if not info.filename.endswith(".npy"):
                    raise DataError(f"{path}: member {info.filename!r} is no array; only .npy members may be")
                if info.file_size > MEMBER_LIMIT:
                    raise DataError(
                        f"{path}: array {info.filename[:-4]!r} declares {info.file_size} bytes; "
                        f"at most {MEMBER_LIMIT} are read, so give fewer images"
                    )
            return {info.filename[:-4]: _read_npy(archive, info, path) for info in members}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give the path of an existing .npz file") from error
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: not a readable .npz file ({_reason(error)}); write it anew with numpy.savez"
        ) from error


def read_idx(path: Path, rank: int) -> Array:
    """Return the uint8 array of a gzipped idx file (the format of MNIST) that has ``rank`` axes.

    Raises DataError for a damaged file, another type, rank or length.
    """
    try:
        with gzip.open(path, "rb") as stream:
            raw = cast(IO[bytes], stream).read(MEMBER_LIMIT + 1)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a readable .gz file ({_reason(error)}); {_ANEW}") from error
    if raw[:4] != bytes((0, 0, 8, rank)):
        raise DataError(f"{path}: begins with {raw[:4]!r}; expected an idx file of bytes with {rank} axes")
    start = 4 + 4 * rank
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start].ljust(4 * rank, b"\0"), dtype=">u4"))
    if len(raw) - start != math.prod(shape):
        raise DataError(f"{path}: declares shape {shape} but holds {len(raw) - start} bytes of data; {_ANEW}")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape).copy()


def read_cifar_tar(path: Path) -> dict[str, Array]:
    """Return x, y, x_train, y_train from ``cifar-10-binary.tar.gz``, read as a stream.

    Only plain files with the six known names are read, at their known size; any other member is passed
    over, and no member's path is ever used to write. Raises DataError where one is missing or damaged.
    """
    wanted = {*_CIFAR_TRAIN, "test_batch.bin"}
    raw: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                base = member.name.rsplit("/", 1)[-1]
                if base not in wanted or not member.isreg():
                    continue
                if member.size != _CIFAR_IMAGES * _CIFAR_RECORD:
                    raise DataError(f"{path}: {base} has {member.size} bytes; {_cifar_size()}")
                stream = archive.extractfile(member)
                raw[base] = stream.read() if stream is not None else b""
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a readable .tar.gz ({_reason(error)}); {_ANEW}") from error
    return _cifar_arrays(raw, path)


def read_cifar_folder(path: Path) -> dict[str, Array]:
    """Return x, y, x_train, y_train from the extracted folder ``cifar-10-batches-bin``."""
    raw: dict[str, bytes] = {}
    for base in (*_CIFAR_TRAIN, "test_batch.bin"):
        file = path / base
        try:
            with file.open("rb") as stream:
                raw[base] = stream.read(_CIFAR_IMAGES * _CIFAR_RECORD + 1)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({_reason(error)}); extract the archive anew") from error
    return _cifar_arrays(raw, path)


def _cifar_arrays(raw: dict[str, bytes], path: Path) -> dict[str, Array]:
    batches: dict[str, Array] = {}
    for base in (*_CIFAR_TRAIN, "test_batch.bin"):
        data = raw.get(base)
        if data is None:
            raise DataError(f"{path}: {base} is missing; use the official cifar-10-binary.tar.gz")
        if len(data) != _CIFAR_IMAGES * _CIFAR_RECORD:
            raise DataError(f"{path}: {base} has {len(data)} bytes; {_cifar_size()}")
        batches[base] = np.frombuffer(data, dtype=np.uint8).reshape(_CIFAR_IMAGES, _CIFAR_RECORD)
    train = np.concatenate([batches[base] for base in _CIFAR_TRAIN])
    test = batches["test_batch.bin"]
    return {
        "x": test[:, 1:].reshape(-1, 3, 32, 32),
        "y": test[:, 0],
        "x_train": train[:, 1:].reshape(-1, 3, 32, 32),
        "y_train": train[:, 0],
    }


def _cifar_size() -> str:
    return f"{_CIFAR_IMAGES} records of {_CIFAR_RECORD} bytes were expected; {_ANEW}"


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    # numpy's own reader allocates what the header asks for before it reads; here the header is compared
    # with the member's length first, and the length with the limit above.
    with archive.open(info) as member:
        raw = member.read()
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"array format {version} of {info.filename!r} is not supported")
    shape, fortran_order, dtype = readers[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{path}: array {info.filename[:-4]!r} holds Python objects, which would need pickle; "
            "allowed are arrays of numbers or strings of fixed length"
        )
    if math.prod(shape) * dtype.itemsize != len(raw) - stream.tell():
        raise ValueError(f"{info.filename!r} declares {shape}, holds {len(raw) - stream.tell()} bytes")
    if dtype.itemsize == 0:
        raise ValueError(f"{info.filename!r} holds items of no length")
    array = np.frombuffer(raw, dtype=dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran_order else "C")


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
