"""Work side by side on the threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_here = threading.local()


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="crosstile")


def in_chunks(total: int, work: Callable[[slice], object], size: int, *, multiple: int = 1) -> None:
    """Run ``work`` on slices of ``range(total)``, side by side on as many threads as torch uses.

    Slices hold at most ``size`` items, and begin at multiples of ``multiple``. ``work`` must release the GIL to gain.
    Inside work that already runs side by side, the slices follow each other.
    """
    workers = _workers()
    size = max(1, min(size, -(-total // workers)))
    size = -(-size // multiple) * multiple
    parts = [slice(i, min(i + size, total)) for i in range(0, total, size)]
    if workers == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        list(_pool(workers).map(_inside(work), parts))


def for_each(items: Sequence[_Item], work: Callable[[_Item], _Result]) -> list[_Result]:
    """Return ``work`` of each item: side by side if there are as many as threads, else one after the other.

    With fewer items the threads are better used inside of each.
    """
    workers = _workers()
    if workers == 1 or len(items) < workers:
        return [work(item) for item in items]
    return list(_pool(workers).map(_inside(work), items))


def _workers() -> int:
    return 1 if getattr(_here, "busy", False) else torch.get_num_threads()


def _inside(work: Callable[[_Item], _Result]) -> Callable[[_Item], _Result]:
    def run(item: _Item) -> _Result:
        _here.busy = True
        try:
            return work(item)
        finally:
            _here.busy = False

    return run
