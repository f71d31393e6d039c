"""Read a file of weights safely and put it into a network, or say exactly what does not fit."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from crosstile.errors import ModelError

SIZE_LIMIT = 4 * 2**30  # bytes, of the file and of the tensors in it
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_LISTED = 4  # how many mismatches a message spells out


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    Files written by ``torch.save`` are read with ``weights_only=True``: no code in them runs. A dict
    that wraps the weights under ``state_dict``, ``model_state_dict`` or ``model`` is unwrapped and a
    ``module.`` prefix that all names share is removed. Raises ModelError for a file that is missing,
    larger than 4 GiB, damaged, holds anything but tensors, or holds NaN or infinite weights.
    """
    path = Path(path)
    _check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(
            f"{path}: cannot be read as weights ({_load_reason(error)}); "
            "write it with torch.save(model.state_dict(), path)"
        ) from error
    found = _unwrap(content, path)
    stripped = found
    if all(key.startswith("module.") for key in found):
        stripped = {key.removeprefix("module."): value for key, value in found.items()}
    if sum(value.numel() * value.element_size() for value in stripped.values()) > SIZE_LIMIT:
        raise ModelError(f"{path}: its tensors would need more than {SIZE_LIMIT} bytes, the most that is read")
    for key, value in stripped.items():
        _check_finite(key, value, path)
    return stripped


def apply_state_dict(model: nn.Module, state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into ``model``, converted to its parameters' dtype; names and shapes must all agree.

    ``path`` is named in errors. Absent ``num_batches_tracked`` counters are allowed, as old files lack
    them and inference does not use them. Raises ModelError, and then changes nothing, with the first few
    missing and unexpected names and differing shapes.
    """
    wanted = model.state_dict()
    absent = [k for k in wanted if k not in state_dict and not k.endswith("num_batches_tracked")]
    surplus = [k for k in state_dict if k not in wanted]
    shapes = [
        f"{k} is {tuple(state_dict[k].shape)}, expected {tuple(wanted[k].shape)}"
        for k in wanted
        if k in state_dict and state_dict[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(items)} {what}: {', '.join(items[:_LISTED])}{', ...' if len(items) > _LISTED else ''}"
        for what, items in (("missing", absent), ("unexpected", surplus), ("of another shape", shapes))
        if items
    ]
    if problems:
        raise ModelError(
            f"{path}: the weights do not fit {type(model).__name__}; {'; '.join(problems)}; "
            "give the weights of this very network"
        )
    converted: dict[str, Tensor] = {}
    for key, target in wanted.items():
        value = state_dict.get(key, target)
        if value.is_floating_point() != target.is_floating_point():
            raise ModelError(
                f"{path}: {key} is {value.dtype}, expected {target.dtype}; quantised or integer weights "
                "must be turned into real numbers first"
            )
        converted[key] = value.to(target.dtype)
        _check_finite(key, converted[key], path)
    model.load_state_dict(converted, strict=True)


def _check_file(path: Path) -> None:
    """Refuse a file that is absent, too large, or a zip whose members differ from their checksums."""
    broken = None
    try:
        if not path.is_file():
            raise ModelError(f"{path}: no such file; give the path of an existing file of weights")
        size = path.stat().st_size
        if zipfile.is_zipfile(path):  # what torch.save writes; the members may be compressed
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(info.file_size for info in archive.infolist()))
                broken = archive.testzip() if size <= SIZE_LIMIT else None  # torch.load does not compare
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be read as weights ({error}); save or copy the file anew") from error
    if size > SIZE_LIMIT:
        raise ModelError(f"{path}: {size} bytes; files of weights may have at most {SIZE_LIMIT}")
    if broken is not None:
        raise ModelError(f"{path}: {broken} is damaged (its checksum differs); save or copy the file anew")


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        wrappers = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if len(wrappers) > 1:
            raise ModelError(
                f"{path}: holds weights under {' and '.join(wrappers)}; save the one that is meant as a file of its own"
            )
        if wrappers:
            content = content[wrappers[0]]
    if not isinstance(content, Mapping) or not content:
        found = "an empty dict" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ModelError(f"{path}: holds {found}; a dict of tensors was expected: torch.save(model.state_dict(), path)")
    for key, value in content.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        if not isinstance(key, str) or not plain or value.is_complex() or value.device.type != "cpu":
            kind = f"{value.dtype} {value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"{path}: entry {key!r} is a {kind}; allowed are dense real tensors by name, either at the "
                f"top or under one of {', '.join(_WRAPPERS)}"
            )
    return {key: value.detach() for key, value in content.items()}


def _check_finite(key: str, value: Tensor, path: Path) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int(value.numel() - torch.isfinite(value).sum())
        raise ModelError(
            f"{path}: {key} holds {bad} values of {value.numel()} that are NaN or infinite as {value.dtype}; "
            "the training diverged or the file is damaged, so take an earlier checkpoint"
        )


def _load_reason(error: Exception) -> str:
    # torch's text for a refused object goes on to recommend weights_only=False; only the object is repeated.
    text = str(error)
    refused = re.search(r"GLOBAL (\S+)", text)
    if refused:
        return f"it holds the object {refused.group(1)[:100]}, not only tensors"
    inner = re.search(r"WeightsUnpickler error: (.*)", text)
    line = inner.group(1) if inner else (text.splitlines() or [""])[0]
    return line.strip()[:160] or type(error).__name__
