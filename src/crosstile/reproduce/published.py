"""What a publication claims, as far as it was read, from ``library/published/<study>.yaml``."""

from __future__ import annotations

from pydantic import Field

from crosstile.specs.base import Spec, validate
from crosstile.specs.load import find_entry, library_names
from crosstile.specs.yaml import read_yaml


class Claim(Spec):
    """One claim."""

    text: str = Field(min_length=3)
    points: float | None = None
    """Points of accuracy, where the claim is a number."""
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
