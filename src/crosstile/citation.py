"""The works that a result rests on, collected from the parts that a run really used."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class References:
    """An ordered list of works, each with what it was used for; a work named twice is listed once."""

    entries: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str | None, used_for: str) -> None:
        """Note that ``text`` was used for something; empty texts are ignored."""
        if text and text.strip():
            uses = self.entries.setdefault(" ".join(text.split()), [])
            if used_for not in uses:
                uses.append(used_for)

    def as_list(self) -> list[dict[str, str]]:
        """Return ``{"text", "used_for"}`` entries in the order of first use."""
        return [{"text": text, "used_for": ", ".join(uses)} for text, uses in self.entries.items()]
