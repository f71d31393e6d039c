"""Progress in the terminal: a bar with the time left where there is a terminal, a line a stage elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from crosstile.study.stages import Progress


class _Bar(Progress):
    def __init__(self, rich: RichProgress) -> None:
        self.rich = rich
        self.task: TaskID = rich.add_task("starting", total=None)

    def stage(self, name: str, total: int | None = None) -> None:
        self.rich.remove_task(self.task)
        self.task = self.rich.add_task(name, total=total)

    def advance(self, steps: int = 1) -> None:
        self.rich.advance(self.task, steps)


class _Lines(Progress):
    def __init__(self, console: Console) -> None:
        self.console = console
        self.told: set[str] = set()

    def stage(self, name: str, total: int | None = None) -> None:
        if name in self.told:  # gone back to, between two chips
            return
        self.told.add(name)
        self.console.print(name + (f" ({total} steps)" if total else ""), markup=False)


@contextmanager
def bar(console: Console) -> Iterator[Progress]:
    """Show progress on ``console`` while the block runs."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with RichProgress(*columns, console=console, transient=True) as rich:
        yield _Bar(rich)
