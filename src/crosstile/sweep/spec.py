"""A study file: which network, which chip, what is varied, what is measured.

model: lenet5
chip: reram-8b
vary: {adc.bits: {from: 4, to: 8}, "array.rows, array.columns": [64, 128]}
measure: {cost: [energy, latency], accuracy: {samples: 200, trials: 5}}
seed: 0
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from crosstile.errors import SpecError
from crosstile.specs.base import Spec, near_match, validate
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_from_mapping, find_entry, library_names
from crosstile.specs.yaml import read_yaml
from crosstile.sweep.space import MAX_VARIANTS, canonical, changed, grid, parse_axis, sample

FORMAT: Final = "crosstile-study-1"
FIGURES: Final = {
    "energy": "energy_j", "latency": "latency_s", "area": "area_m2", "power": "power_w", "edp": "edp_js", "edap": "edap_jsm2",
    "throughput": "throughput_hz", "tops_per_w": "tops_per_w", "tops_per_mm2": "tops_per_mm2", "leakage": "leakage_power_w",
}  # fmt: skip
"""Names in a study and the fields of a cost estimate."""


class CostSpec(Spec):
    """Cost of one sample, without data: ``crosstile estimate``, or ``crosstile schedule``."""

    figures: tuple[str, ...] = Field(default=tuple(FIGURES), min_length=1)
    by: Literal["estimate", "schedule"] = "estimate"
    batch: int | None = Field(default=None, ge=1)
    """Only with ``by: schedule``, as are the next two."""
    arrays: int | None = Field(default=None, ge=1)
    duplication: Literal["none", "greedy", "optimal"] | None = None
    input_shape: tuple[int, ...] | None = Field(default=None, min_length=1, max_length=3)
    """Of one sample, for a network ``package.module:factory``, which is traced."""

    @model_serializer(mode="wrap")
    def _shape_only_where_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Studies of networks of known shapes are written as before."""
        data: dict[str, Any] = handler(self)
        if data.get("input_shape", True) is None:
            del data["input_shape"]
        return data


class AccuracySpec(Spec):
    """Accuracy on data: each chip of each variant is a trial of its own."""

    data: str | None = None
    weights: str | None = None
    data_dir: str | None = None
    samples: int | None = Field(default=None, ge=1)
    trials: int = Field(default=3, ge=1, le=100_000)
    """Chips of each variant."""
    batch: int = Field(default=128, ge=1)
    digital: tuple[str, ...] = ()
    offline: bool = False


class MeasureSpec(Spec):
    """What is measured of each variant."""

    cost: CostSpec | None = None
    accuracy: AccuracySpec | None = None


class SampleSpec(Spec):
    """So many random variants."""

    random: int = Field(ge=1, le=MAX_VARIANTS)


class StudySpec(Spec):
    """A study as it is written."""

    name: str = Field(default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")
    description: str = ""
    model: str = Field(min_length=1)
    chip: str = Field(default="reram-8b", min_length=1)
    vary: dict[str, Any] = Field(default_factory=dict)
    points: tuple[dict[str, Any], ...] = ()
    """Variants one by one, in place of ``vary``."""
    sample: Literal["grid"] | SampleSpec = "grid"
    measure: MeasureSpec
    seed: int = Field(default=0, ge=0, lt=2**63)


@dataclass(frozen=True)
class Study:
    """A study with everything that its results depend on."""

    spec: StudySpec
    origin: str
    base: dict[str, Any]
    """The chip as YAML would have it, with its cell written out."""
    files: dict[str, str]
    """SHA-256 of each file that the study uses, by its path."""

    def variants(self) -> list[dict[str, Any]]:
        """Return what is changed in each variant, in the order of the study."""
        spec = self.spec
        if spec.points:
            return [dict(point) for point in spec.points]
        sampled = isinstance(spec.sample, SampleSpec)
        axes = [parse_axis(key, given, self.origin, sampled=sampled) for key, given in spec.vary.items()]
        paths = [path for axis in axes for path in axis.paths]
        for path in paths:
            if paths.count(path) > 1:
                raise SpecError(f"{self.origin}: vary: {path} is varied by two axes; keep one.")
        if isinstance(spec.sample, SampleSpec):
            return list(sample(axes, spec.sample.random, spec.seed, self.origin))
        total = 1
        for axis in axes:
            total *= len(axis.values)
        if total > MAX_VARIANTS:
            raise SpecError(f"{self.origin}: the grid has {total} variants; at most {MAX_VARIANTS} go into one study.")
        return list(grid(axes))

    def chip_data(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the description of a variant, as YAML would have it."""
        base = self.base
        if isinstance(changes.get("cell"), str):
            base = with_cell({**base, "cell": changes["cell"]}, Path(self.origin).parent)
            changes = {path: value for path, value in changes.items() if path != "cell"}
        return changed(base, changes, self.origin)

    def chip(self, changes: dict[str, Any]) -> ChipSpec:
        """Return a variant, checked."""
        return chip_from_mapping(self.chip_data(changes), f"{self.origin}: variant {canonical(changes)}")

    def content(self) -> dict[str, Any]:
        """Return all that results depend on, as JSON has it; ``description`` is free to change."""
        spec = self.spec.model_dump(mode="json", exclude={"description"})
        return {"format": FORMAT, "study": spec, "chip": self.base, "files": self.files}

    def fingerprint(self) -> str:
        """Return a digest of :meth:`content`."""
        return hashlib.blake2b(canonical(self.content()).encode(), digest_size=16).hexdigest()


def find_study(name: str | Path) -> Path:
    """Return the file of a study: a path, or a name of the library.

    Raises:
        SpecError: neither exists.
    """
    path, names = Path(name), library_names("sweeps")
    if str(name) in names and not path.is_file():
        return Path(str(find_entry("reram-8b", "chips").parent.parent / "sweeps" / f"{name}.yaml"))
    if not path.is_file():
        raise SpecError(
            f"{name}: no such study file; the library has {', '.join(names) or 'none'}{near_match(str(name), names)}."
        )
    return path


def load_study(name: str | Path) -> Study:
    """Read a study file, its chip and the digests of its files.

    Raises:
        SpecError: naming the field, what was found and what is allowed.
    """
    path = find_study(name)
    data = read_yaml(path)
    origin = str(path)
    measure = data.get("measure")
    if isinstance(measure, dict):
        data = {**data, "measure": _short_forms(measure, origin)}
    spec = validate(StudySpec, data, origin=origin)
    _check(spec, origin)
    folder = path.resolve().parent
    files: dict[str, str] = {}
    accuracy = spec.measure.accuracy
    if accuracy is not None:
        places: dict[str, Any] = {}
        for field in ("weights", "data", "data_dir"):
            value: str | None = getattr(accuracy, field)
            if value is not None and (field != "data" or value.endswith(".npz")):
                places[field] = str(folder / Path(value).expanduser())
                if field != "data_dir":
                    files[places[field]] = _digest(Path(places[field]), f"{origin}: measure.accuracy.{field}")
        accuracy = accuracy.model_copy(update=places)
        spec = spec.model_copy(update={"measure": spec.measure.model_copy(update={"accuracy": accuracy})})
    chip = spec.chip
    if chip.endswith((".yaml", ".yml")) or "/" in chip:
        chip = str(folder / chip)
        spec = spec.model_copy(update={"chip": chip})
    entry = find_entry(chip, "chips")
    base = with_cell(read_yaml(entry), entry.resolve().parent)
    components = (base.get("hardware") or {}).get("components") or {}
    for use in components.values() if isinstance(components, dict) else ():
        named = use.get("component") if isinstance(use, dict) else None
        if isinstance(named, str) and named.endswith((".yaml", ".yml")):
            use["component"] = str(entry.resolve().parent / named)
            files[use["component"]] = _digest(Path(use["component"]), f"{chip}: hardware.components")
    chip_from_mapping(base, chip)
    return Study(spec, origin, base, files)


def _short_forms(measure: dict[str, Any], origin: str) -> dict[str, Any]:
    """Take ``cost: [energy, area]`` for its long form, and turn names of figures into fields."""
    cost = measure.get("cost")
    if ("cost" in measure and isinstance(cost, (list, str))) or ("cost" in measure and cost is None):
        cost = {} if cost in (None, "all") else {"figures": [cost] if isinstance(cost, str) else cost}
    if isinstance(cost, dict) and isinstance(cost.get("figures"), list):
        for name in cost["figures"]:
            if name not in FIGURES:
                known = ", ".join(FIGURES)
                raise SpecError(
                    f"{origin}: measure.cost: {name!r} is no figure of a cost estimate{near_match(str(name), FIGURES)}; "
                    f"there are {known}."
                )
    found = {**measure} if cost is None else {**measure, "cost": cost}
    if "accuracy" in measure and measure["accuracy"] is None:
        found["accuracy"] = {}
    return found


def _check(spec: StudySpec, origin: str) -> None:
    if spec.measure.cost is None and spec.measure.accuracy is None:
        raise SpecError(f"{origin}: measure: nothing is measured; give cost, accuracy, or both.")
    if bool(spec.vary) == bool(spec.points):
        raise SpecError(f"{origin}: give either vary (axes) or points (a list of variants); found both or none.")
    if spec.points and spec.sample != "grid":
        raise SpecError(f"{origin}: sample belongs to vary; points are taken as they are. Remove sample.")
    if len({canonical(point) for point in spec.points}) < len(spec.points):
        raise SpecError(f"{origin}: points: one of them stands twice; write each once.")
    cost = spec.measure.cost
    if cost is not None:
        from crosstile.workloads.named import is_factory
        from crosstile.workloads.table import network

        own = is_factory(spec.model)
        if own and cost.input_shape is None:
            raise SpecError(
                f"{origin}: measure.cost: {spec.model!r} is a factory, which is traced; add input_shape: of one sample, such as "
                "[3, 32, 32]."
            )
        if not own:
            network(spec.model)
            if cost.input_shape is not None:
                raise SpecError(f"{origin}: measure.cost: the shapes of {spec.model!r} are known; remove input_shape.")
        if cost.input_shape is not None and min(cost.input_shape) < 1:
            raise SpecError(
                f"{origin}: measure.cost: input_shape: sizes are 1 or more, found {list(cost.input_shape)}."
            )
        if cost.by == "estimate" and (cost.batch, cost.arrays, cost.duplication) != (None, None, None):
            raise SpecError(f"{origin}: measure.cost: batch, arrays and duplication go with by: schedule; add it.")
    if spec.measure.accuracy is not None and ":" not in spec.model:
        from crosstile.zoo.table import model_info

        model_info(spec.model)


def with_cell(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a chip with its cell written out, so that paths reach into it."""
    cell = data.get("cell")
    if isinstance(cell, str):
        cell = {"from": cell}
    if not isinstance(cell, dict) or not isinstance(cell.get("from"), str):
        return data
    name = cell["from"]
    place = str(folder / name) if name.endswith((".yaml", ".yml")) else name
    written = read_yaml(find_entry(place, "cells"))
    return {**data, "cell": {**written, **{key: value for key, value in cell.items() if key != "from"}}}


def _digest(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SpecError(f"{where}: {path}: cannot be read: {error.strerror or error}.") from None
