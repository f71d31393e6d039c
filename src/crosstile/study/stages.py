"""What long work reports while it goes on."""

from __future__ import annotations


class Progress:
    """What a run reports while it works; the command line shows it as a bar."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; ``total`` steps are ahead, if known."""

    def advance(self, steps: int = 1) -> None:
        """So many steps of the stage are done."""
