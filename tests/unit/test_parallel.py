"""Work side by side: every item once, in order, and never a deadlock when such work asks for more of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from crosstile.circuits.factor import one_blas_thread
from crosstile.parallel import for_each, in_chunks


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_item_once_and_in_order(threads: int) -> None:
    assert for_each(range(20), lambda n: n * n) == [n * n for n in range(20)]
    seen: list[slice] = []
    in_chunks(100, seen.append, size=16, multiple=8)
    assert sorted(n for part in seen for n in range(100)[part]) == list(range(100))
    assert all(part.start % 8 == 0 for part in seen)


def test_work_within_work(threads: int) -> None:
    def inner(n: int) -> int:
        found: list[int] = []
        in_chunks(50, lambda part: found.extend(range(part.start, part.stop)), size=5)
        return n + len(found) + sum(for_each(range(10), int))

    assert for_each(range(12), inner) == [n + 50 + 45 for n in range(12)]


def test_an_error_reaches_the_caller_and_leaves_the_threads_usable(threads: int) -> None:
    def fail(n: int) -> int:
        raise ValueError(f"item {n}")

    with pytest.raises(ValueError, match="item"):
        for_each(range(9), fail)
    assert for_each(range(9), str) == [str(n) for n in range(9)]


def test_blas_stays_limited_until_the_last_has_left() -> None:
    from threadpoolctl import threadpool_info

    def most() -> int:
        return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

    before = most()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread:
            entered.set()
            leave.wait(10)

    helper = threading.Thread(target=other)
    helper.start()
    assert entered.wait(10)
    with one_blas_thread:
        assert most() == 1
    assert most() == 1
    leave.set()
    helper.join()
    assert most() == before
