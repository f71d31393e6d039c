"""The state of a training after an epoch, in one file, from which it goes on to the same end, bit for bit.

All draws are named by seed and step, so that weights, the optimiser's averages and the history are all there is to keep.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from crosstile.errors import ModelError, OutputError, UsageError

CHECKPOINT_NAME = "checkpoint.pt"
_SIZE_LIMIT = 16 * 2**30
_FIELDS = ("key", "epoch", "weights", "ranges", "optimiser", "history", "before")


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    waiting = path.with_name(f".{path.name}.part")
    try:
        with waiting.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(waiting, path)
    except (OSError, ValueError) as error:
        with suppress(OSError):
            waiting.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}.") from None


def saved_bytes(content: object) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Keep the state; an earlier one is replaced at once."""
    write_file(path, saved_bytes({name: state[name] for name in _FIELDS}))


def load_checkpoint(path: Path, key: str) -> dict[str, Any]:
    """Return the state in a checkpoint. No code in the file runs.

    Args:
        key: digest of all that the training depends on.

    Raises:
        UsageError: there is no such file, or it belongs to another training.
        ModelError: it is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no checkpoint to resume from; leave out --resume to start from the beginning.")
    if path.stat().st_size > _SIZE_LIMIT:
        raise ModelError(f"{path}: {path.stat().st_size} bytes; a checkpoint has at most {_SIZE_LIMIT}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"{path}: cannot be read as a checkpoint; delete it and start from the beginning.") from error
    if not isinstance(state, dict) or any(name not in state for name in _FIELDS):
        raise ModelError(f"{path}: is not a checkpoint of a training; delete it and start from the beginning.")
    if state["key"] != key:
        raise UsageError(
            f"{path}: belongs to another training: chip, data, starting weights, options and releases of crosstile and torch "
            "must be the same. Repeat that command with --resume, or leave --resume out and name another folder with --out."
        )
    return state
