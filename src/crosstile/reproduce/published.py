"""What a publication claims, as far as it was read, from ``library/published/<study>.yaml``, and what we find beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from crosstile.specs.base import Spec, validate
from crosstile.specs.load import find_entry, library_names
from crosstile.specs.yaml import read_yaml

if TYPE_CHECKING:
    from rich.console import Console


class Claim(Spec):
    """One claim."""

    text: str = Field(min_length=3)
    points: float | None = None
    """Points of accuracy, or the number itself, where the claim is one."""
    basis: Literal["published", "recollected"] = "published"
    """recollected: from memory, the text was not at hand; shown as such and never a target."""
    source: str = Field(min_length=3)


class PublishedStudy(Spec):
    """A published study."""

    name: str
    work: str = Field(min_length=3)
    seen: str
    """What of it was read: figures that were not seen there are not called published."""
    claims: dict[str, Claim]
    differences: tuple[str, ...]
    """How the set-up that we compare with differs, or is not known."""


def study_names() -> list[str]:
    """Return the studies that can be reproduced."""
    return library_names("published")


def load_study(name: str) -> PublishedStudy:
    """Load a study.

    Raises:
        SpecError: the library has none of this name.
    """
    return validate(PublishedStudy, read_yaml(find_entry(name, "published")), origin=name)


@dataclass(frozen=True)
class Finding:
    """One claim and what we find."""

    published: str
    ours: str
    same_direction: bool | None
    """``None`` where our runs cannot tell, or ``verdict`` says it."""
    verdict: str = ""
    """Replaces "same direction" where a claim is a number."""

    @property
    def told(self) -> str:
        """The verdict in words."""
        same = {True: "same direction", False: "NOT the same direction", None: "not told apart by these designs"}
        return self.verdict or same[self.same_direction]


def findings_document(study: PublishedStudy, command: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return claims and findings, ready for JSON."""
    return {
        "study": study.name, "work": study.work, "command": command,
        "findings": [vars(one) for one in findings], "differences": list(study.differences),
    }  # fmt: skip


def show_findings(
    console: Console, study: PublishedStudy, findings: Sequence[Finding], differences: Sequence[str] = ()
) -> None:
    """Print each claim with ours beside it, then every known difference; ``differences`` are those of this run."""
    console.print(f"\nPublished: {study.work} (read: {study.seen})", markup=False, soft_wrap=True)
    for one in findings:
        console.print(f"\n- {one.published}", markup=False, style="bold", soft_wrap=True)
        console.print(f"  ours: {one.ours}", markup=False, soft_wrap=True)
        console.print(f"  {one.told}", markup=False, soft_wrap=True)
    console.print("\nWhat differs:", style="bold")
    for text in (*study.differences, *differences):
        console.print(f"- {text}", markup=False, soft_wrap=True)
