"""Finished trials of an interrupted run, so that the same command goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor


def fingerprint(facts: Iterable[object], tensors: Iterable[Tensor]) -> str:
    """Return a digest of everything that a trial's accuracy depends on, to the last value of each tensor.

    Weights count by value and not by the file that they came from: a network of one's own may load them itself.
    """
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        digest.update(f"{type(fact).__name__}:{fact}\x1f".encode())
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{values.dtype}{values.shape}\x1f".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


class Resume:
    """Finished trials of an interrupted run, in a file of their own, tied to everything that they depend on."""

    def __init__(self, directory: Path | None, key: str, name: str = "partial.json") -> None:
        self.path = None if directory is None else directory / name
        self.key = key

    def load(self, trials: int) -> list[float]:
        """Return the accuracies of finished trials, if they belong to this very run."""
        if self.path is None or not self.path.is_file() or self.path.stat().st_size > 1_000_000:
            return []
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["key"] != self.key:
                return []
            return [float(a) for a in data["accuracies"]][:trials]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def save(self, accuracies: list[float]) -> None:
        """Keep the accuracies so far; the file is replaced as a whole."""
        if self.path is None:
            return
        waiting = self.path.with_suffix(".json.tmp")
        waiting.write_text(json.dumps({"key": self.key, "accuracies": accuracies}), encoding="utf-8")
        os.replace(waiting, self.path)

    def clear(self) -> None:
        """Forget, once the result is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
