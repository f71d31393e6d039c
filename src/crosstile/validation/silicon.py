"""Published macros: what was built, what was measured, and what the sources do not say.

One file a macro in ``library/macros/silicon``. Its ``chip`` is an ordinary chip description that holds what the design says
(geometry, bits, converters, node, supply, clock); energies and areas come from the library's components alone, so
replacing figures is refused.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from crosstile.errors import SpecError
from crosstile.specs.base import Spec, near_match, validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_from_mapping
from crosstile.specs.yaml import read_yaml

TechnologyClass = Literal["sram-charge", "sram-current", "sram-digital", "reram", "pcm"]


class Published(Spec):
    """One published figure."""

    value: float = Field(gt=0)
    conditions: str = Field(min_length=3)
    """Bits, supply, data: what the figure was measured at."""
    source: str = Field(min_length=3)
    provenance: Literal["read", "second-hand"]
    """read: in the work itself (its title, abstract or text); second-hand: as coded or listed by somebody else."""


class PublishedFigures(Spec):
    """What was published of a macro; an operation is half a multiply-accumulate of the macro's own bits."""

    tops_per_w: Published
    tops: Published | None = None
    tops_per_mm2: Published | None = None
    area_mm2: Published | None = None
    energy_share: dict[str, Published] = Field(default_factory=dict)
    """Share of a component in the energy, by the name of its entry in the hardware section."""

    def density(self, tops: float) -> tuple[float, Published] | None:
        """Return TOPS/mm2 and its source; from the area at ``tops``, where the area alone is published."""
        if self.tops_per_mm2 is not None:
            return self.tops_per_mm2.value, self.tops_per_mm2
        return None if self.area_mm2 is None else (tops / self.area_mm2.value, self.area_mm2)


class Silicon(Spec):
    """A published macro and its description."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,60}$")
    work: str = Field(min_length=3)
    doi: str | None = None
    technology_class: TechnologyClass = Field(alias="class")
    """Macros that share a constant of calibration."""
    kind: str = Field(min_length=3, max_length=20)
    chip: ChipSpec
    published: PublishedFigures
    assumed: tuple[str, ...] = Field(min_length=1)
    """What the sources do not say, or say differently, and what was taken."""

    model_config = Spec.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _shares_are_of_components(self) -> Silicon:
        for key, share in self.published.energy_share.items():
            known = self.chip.hardware.components
            if key not in known:
                raise ValueError(
                    f"published.energy_share: {key!r} is no entry of hardware.components{near_match(key, known)}"
                )
            if share.value > 1:
                raise ValueError(f"published.energy_share.{key}: a share is at most 1, found {share.value:g}")
        return self

    @field_validator("chip")
    @classmethod
    def _only_the_design(cls, chip: ChipSpec) -> ChipSpec:
        for key, use in chip.hardware.components.items():
            if use.replaces:
                raise ValueError(
                    f"hardware.components.{key} replaces {', '.join(use.replaces)}; a macro is predicted from the library's "
                    "figures alone: remove them"
                )
        return chip


def _folder() -> Path:
    return Path(str(files("crosstile") / "library" / "macros" / "silicon"))


def silicon_names() -> list[str]:
    """Return the names of the published macros, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_silicon(name: str | Path) -> Silicon:
    """Load a published macro by its name, or from a YAML file of one's own.

    Raises:
        SpecError: no such macro, or a description that is not valid, with the field and what is allowed.
    """
    text = str(name)
    if isinstance(name, Path) or text.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        names = silicon_names()
        if text not in names:
            raise SpecError(
                f"no published macro is called {text!r}; the library has {', '.join(names)}{near_match(text, names)}. "
                "A file of your own is given by its path, ending in .yaml."
            )
        path = _folder() / f"{text}.yaml"
    data: dict[str, Any] = read_yaml(path)
    chip = data.get("chip")
    if not isinstance(chip, dict):
        raise SpecError(f"{text}: chip: the description of the macro as a chip is wanted, found {type(chip).__name__}.")
    # The chip is read on its own: its quantities carry units, its cell may be a name of the library.
    described = chip_from_mapping(chip, f"{text}: chip", path.parent)
    macro = validate(Silicon, {**data, "chip": described}, origin=text)
    if macro.name != path.stem:
        raise SpecError(f"{path.name}: the name inside is {macro.name!r}; name and file must agree.")
    return macro
