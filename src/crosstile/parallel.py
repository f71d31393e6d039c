"""Work side by side on the threads of this process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="crosstile")


def in_chunks(total: int, work: Callable[[slice], object], size: int, *, multiple: int = 1) -> None:
    """Run ``work`` on slices of ``range(total)``, side by side on as many threads as torch uses.

    Slices hold at most ``size`` items, and begin at multiples of ``multiple``. ``work`` must release the GIL to gain.
    """
    workers = torch.get_num_threads()
    size = max(1, min(size, -(-total // workers)))
    size = -(-size // multiple) * multiple
    parts = [slice(i, min(i + size, total)) for i in range(0, total, size)]
    if workers == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        list(_pool(workers).map(work, parts))
