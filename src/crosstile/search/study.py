"""A study file: which chip and network, which fields are open, what is wanted, and what must hold.

Nothing in it is evaluated as code. A field of the chip is opened by its path as it stands in a chip description, such as
``array.rows`` or ``hardware.components.buffer.capacity``; ``cell`` takes names of the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from crosstile.errors import SpecError
from crosstile.search.knobs import Knob
from crosstile.search.layers import COPIES, nested, opened
from crosstile.search.space import Space
from crosstile.specs.base import Area, Energy, Power, Spec, Time, near_match, validate
from crosstile.specs.by_layer import check_sections
from crosstile.specs.chip import ChipSpec
from crosstile.specs.yaml import read_yaml

Objective = Literal["energy", "latency", "interval", "area", "power", "edp", "edap", "accuracy"]
MAPPING = ("duplication", "arrays", "room", "pipeline", "batch")
_BY_NAME = Spec.model_config | {"populate_by_name": True, "validate_default": False}


class Limits(Spec):
    """What must hold; limits that the description alone decides are never proposed."""

    area_max_m2: Area | None = Field(default=None, alias="area_max", gt=0)
    power_max_w: Power | None = Field(default=None, alias="power_max", gt=0)
    latency_max_s: Time | None = Field(default=None, alias="latency_max", gt=0)
    energy_max_j: Energy | None = Field(default=None, alias="energy_max", gt=0)
    accuracy_min: float | None = Field(default=None, ge=0, le=1)
    arrays_max: int | None = Field(default=None, ge=1)
    """Arrays that the chip has, or where it states none, that the network takes."""
    rewriting: Literal["allowed", "refused"] = "refused"
    """Whether a network may be larger than the chip."""
    spilling: Literal["allowed", "refused"] = "allowed"
    """Whether feature maps may go to memory off the chip."""

    model_config = _BY_NAME


class AccuracySpec(Spec):
    """How accuracy is found: few images and chips first, more for what is worth it."""

    model: str = "lenet5"
    data: str | None = None
    weights: str | None = None
    images: tuple[int, ...] = Field(default=(50, 100, 200), min_length=1, max_length=8)
    """Of the rungs, rising."""
    trials: tuple[int, ...] = Field(default=(1, 1, 2), min_length=1, max_length=8)
    """Programmed chips of each rung."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """Share of what reached a rung that goes on to the next (successive halving)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the interval that stops a rung early when ``accuracy_min`` lies outside it."""

    @model_validator(mode="after")
    def _rungs(self) -> AccuracySpec:
        if len(self.images) != len(self.trials):
            raise ValueError(f"images has {len(self.images)} rungs and trials {len(self.trials)}; give as many of each")
        if min(self.images) < 1 or min(self.trials) < 1:
            raise ValueError("images and trials are 1 or more")
        if list(self.images) != sorted(self.images) or list(self.trials) != sorted(self.trials):
            raise ValueError("images and trials do not fall from rung to rung")
        return self


class StudySpec(Spec):
    """A search."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    description: str = ""
    network: str
    """Of known shapes, or ``package.module:factory``, which is imported and traced on one sample of ``input_shape``."""
    input_shape: tuple[int, ...] | None = Field(default=None, min_length=1, max_length=3)
    """Of one sample, such as [3, 32, 32]; for a factory only."""
    chip: str
    """The description that knobs change."""
    hardware: dict[str, Knob] = Field(default_factory=dict, max_length=60)
    """Open fields by path, for all layers alike."""
    layers: dict[str, dict[str, Knob]] = Field(default_factory=dict, max_length=60)
    """Open fields by patterns of layer names, each layer with knobs of its own; ``copies`` of its weights are one of them."""
    mapping: dict[Literal["duplication", "arrays", "room", "pipeline", "batch"], Knob] = Field(default_factory=dict)
    """``arrays``: share of the chip's arrays that may be used, above 0 to 1. ``room``: arrays that may be used where tiles are
    left open, as a multiple, 1 or more, of those of one copy of the network."""
    limits: Limits = Limits()
    objectives: tuple[Objective, ...] = Field(default=("edp",), min_length=1, max_length=4)
    accuracy: AccuracySpec | None = None
    method: str = "nested"
    trials: int = Field(default=100, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _fits(self) -> StudySpec:
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: one appears twice")
        wants = "accuracy" in self.objectives or self.limits.accuracy_min is not None
        if wants and self.accuracy is None:
            raise ValueError("accuracy is an objective or a limit; add accuracy: {model: ...}")
        if not self.hardware and not self.layers:
            raise ValueError("nothing is open; name fields under hardware or layers")
        for path in self.hardware:
            check_path(path)
        self._check_layers()
        self._check_shape()
        allowed: dict[str, Any] = {
            "duplication": lambda v: v in ("none", "greedy", "optimal"),
            "pipeline": lambda v: v in ("layer_serial", "pipelined"),
            "batch": lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1,
            "arrays": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and 0 < v <= 1,
            "room": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and 1 <= v <= 1e6,
        }
        for name, knob in self.mapping.items():
            ends = knob.values
            if ends is None:
                ends = (knob.rounded(0.0), knob.rounded(1.0))
            bad = [value for value in ends if not allowed[name](value)]
            if bad:
                raise ValueError(f"mapping.{name}: {bad[0]!r} is not allowed")
        return self

    def _check_layers(self) -> None:
        for pattern, knobs in self.layers.items():
            if not knobs:
                raise ValueError(f"layers: {pattern}: name a field to open")
            for path, knob in knobs.items():
                if path == COPIES:
                    ends = knob.values or (knob.rounded(0.0), knob.rounded(1.0))
                    bad = [v for v in ends if not isinstance(v, int) or isinstance(v, bool) or v < 1]
                    if bad:
                        raise ValueError(f"layers: {pattern}: copies is 1 or more, found {bad[0]!r}")
                    continue
                check_path(path)
                check_sections({pattern: nested({path: {} if path == "cell" else None})})
        if "room" in self.mapping and "arrays" in self.mapping:
            raise ValueError("mapping.room and mapping.arrays both say how many arrays may be used; open one of them")
        if self.layers and "arrays" in self.mapping:
            raise ValueError("mapping.arrays is a share of arrays that are all alike; open mapping.room in its place")
        if "room" in self.mapping and any(COPIES in knobs for knobs in self.layers.values()):
            raise ValueError(
                "copies are opened under layers and, by mapping.room, left to the schedule; open one of them"
            )
        if self.layers and "duplication" in self.mapping and "room" not in self.mapping:
            raise ValueError(
                "mapping.duplication has no arrays to share out; open mapping.room, or copies under layers"
            )

    def _check_shape(self) -> None:
        own = ":" in self.network
        if own and self.input_shape is None:
            raise ValueError(
                f"network {self.network!r} is a factory; add input_shape: of one sample, such as [3, 32, 32]"
            )
        if not own and self.input_shape is not None:
            raise ValueError(
                f"input_shape belongs to a factory; the shapes of {self.network!r} are known, so remove it"
            )
        if self.input_shape is not None and min(self.input_shape) < 1:
            raise ValueError(f"input_shape: sizes are 1 or more, found {list(self.input_shape)}")

    def space_of(self, layers: Sequence[str]) -> Space:
        """Return all knobs for a network with these layers; those of the mapping as ``mapping.<name>``."""
        single = opened(self.layers, layers, self.name) if self.layers else {}
        return Space({**self.hardware, **single, **{f"mapping.{name}": knob for name, knob in self.mapping.items()}})


def check_path(path: str) -> None:
    """Refuse a path that no chip description has; open names (components) are left to the chip.

    Raises:
        ValueError: with the fields that are known there.
    """
    if path == "layers" or path.startswith("layers."):
        raise ValueError(
            f"{path}: fields that differ by layer are opened under layers of the study, not under hardware"
        )
    current: Any = ChipSpec
    for number, part in enumerate(parts := path.split(".")):
        if current is None:  # below a name of the chip's own
            return
        fields = {field.alias or name: field for name, field in current.model_fields.items()}
        if part not in fields:
            where = ".".join(parts[:number]) or "a chip"
            raise ValueError(
                f"{path}: {where} has no field {part!r}{near_match(part, fields)}; known are {', '.join(fields)}"
            )
        annotation = fields[part].annotation
        inside = (annotation, *getattr(annotation, "__args__", ()))
        if any(getattr(one, "__origin__", None) is dict for one in inside):
            return
        current = next((one for one in inside if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if current is None and number + 1 < len(parts):
            raise ValueError(f"{path}: {part!r} has no fields of its own; end the path there")
    if current is not None and path != "cell":
        names = ", ".join(field.alias or name for name, field in current.model_fields.items())
        raise ValueError(f"{path}: is a section; open one of its fields: {names}")


def study_names() -> list[str]:
    """Return the example studies of the library."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(str(files("crosstile") / "library" / "searches"))


def find_study(name: str | Path) -> Path:
    """Return the file of a study of the library, or the path that is given.

    Raises:
        SpecError: the library has no such study.
    """
    text = str(name)
    if isinstance(name, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        return Path(name)
    if text not in study_names():
        raise SpecError(
            f"no search is called {text!r}{near_match(text, study_names())}; the library has {', '.join(study_names())}. "
            "A file of your own is given by its path, ending in .yaml."
        )
    return _folder() / f"{text}.yaml"


def load_study(name: str | Path) -> StudySpec:
    """Load a study by name or path; a chip that it names by a relative path is looked for beside it.

    Raises:
        SpecError: naming the field, what was found, and what is allowed.
    """
    path = find_study(name)
    data = read_yaml(path)
    chip = data.get("chip")
    if isinstance(chip, str) and chip.endswith((".yaml", ".yml")):
        data = {**data, "chip": str(path.parent / chip)}
    return validate(StudySpec, data, origin=str(name), units_required=True)
