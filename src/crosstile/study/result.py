"""The result of one study, as it is written to ``result.json``, and its JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from crosstile.errors import CrosstileError
from crosstile.study.result_chip import Heat, Timeline
from crosstile.study.result_parts import (
    Accuracy,
    AgedResult,
    Amount,
    ComponentResult,
    Conductance,
    Cost,
    DataInfo,
    LayerActivity,
    LayerResult,
    ModelInfo,
    Programming,
    Reference,
    Section,
    Versions,
    WireResult,
)

__all__ = [
    "FORMAT",
    "Accuracy",
    "ComponentResult",
    "Conductance",
    "Cost",
    "DataInfo",
    "LayerActivity",
    "LayerResult",
    "ModelInfo",
    "Programming",
    "Reference",
    "Result",
    "Versions",
    "components_from_estimate",
    "cost_from_estimate",
    "layer_costs_from_estimate",
    "result_schema",
]

FORMAT: Final = "crosstile-result/1"
MAX_BYTES: Final = 200_000_000
_LAYER_TIMES: Final = ("compute", "drain", "buffer", "network", "chip_io")
_RENAMED: Final = {
    "throughput_hz": "throughput_per_s",
    "edap_jsm2": "edap",
    "cell_utilisation": "utilisation",
}


class Result(Section):
    """One study: one network on one chip description, with everything needed to repeat it."""

    format: Literal["crosstile-result/1"] = FORMAT
    created: AwareDatetime
    """Time of the run, UTC."""
    command: str
    """Command line that repeats the run."""
    model: ModelInfo
    data: DataInfo
    chip: dict[str, Any]
    """The full chip description as resolved, in SI units."""
    chip_yaml: str
    """The same as YAML with units, ready to be run again."""
    seed: int
    trials: Annotated[int, Field(ge=1)]
    """Independently programmed chips."""
    batch: Annotated[int, Field(ge=1)]
    device: str
    versions: Versions
    accuracy: Accuracy
    cost: Cost
    layers: tuple[LayerResult, ...]
    components: tuple[ComponentResult, ...]
    programming: Programming | None = None
    wires: WireResult | None = None
    """Null for ideal wires."""
    timeline: Timeline | None = None
    """Who runs when; null in results of earlier releases."""
    heat: Heat | None = None
    """Temperatures of the tiles; null in results of earlier releases."""
    ageing: tuple[AgedResult, ...] = ()
    """Over time and temperature, where several were asked for; the first is that of ``accuracy``."""
    references: tuple[Reference, ...] = ()
    timings: dict[str, Amount] = Field(default_factory=dict)
    """Wall-clock seconds of each stage of the run."""
    notes: tuple[str, ...] = ()
    """Limits of the result that a reader must know."""

    @field_validator("created")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.astimezone(UTC).replace(microsecond=0)

    @field_validator("chip")
    @classmethod
    def _finite_chip(cls, value: dict[str, Any]) -> dict[str, Any]:
        _refuse_infinite(value, "chip")
        return value

    def to_json(self) -> str:
        """Return the text of ``result.json``; it never holds NaN or infinity."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, path: Path | str) -> Result:
        """Read a result file.

        Raises:
            CrosstileError: unreadable, larger than 200 MB, not JSON, or not a result of this format.
        """
        path = Path(path)
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise CrosstileError(f"{path}: {size} bytes; a result has at most {MAX_BYTES}.")
            text = path.read_bytes()
        except OSError as error:
            raise CrosstileError(f"{path}: cannot be read: {error.strerror or error}.") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file as a whole"
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            raise CrosstileError(f"{path}: not a {FORMAT} result: {where}: {first['msg']}{more}.") from None


def _refuse_infinite(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_infinite(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_infinite(item, f"{where}.{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is not a finite number")


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``result.json``."""
    schema = Result.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FORMAT} | {
        key: item for key, item in schema.items() if key != "title"
    }


def cost_from_estimate(estimate: Mapping[str, Any]) -> Cost:
    """Return the cost section from ``CostReport.as_dict()``."""
    data = {
        _RENAMED.get(key, key): value
        for key, value in estimate.items()
        if key not in ("chip", "ops", "layers", "components")
    }
    return Cost.model_validate(data | {"macs": estimate["ops"] // 2})


def layer_costs_from_estimate(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost fields of :class:`LayerResult` from an entry of ``CostReport.as_dict()["layers"]``."""
    return {
        "energy_j": layer["energy_j"],
        "latency_s": layer["latency_s"],
        "latency_by_part_s": {part: layer[f"{part}_s"] for part in _LAYER_TIMES},
        "limited_by": layer["limited_by"],
        "energy_by_component": dict(layer["energy_by_component_j"]),
    }


def components_from_estimate(estimate: Mapping[str, Any]) -> tuple[ComponentResult, ...]:
    """Return the component entries from ``CostReport.as_dict()``."""
    return tuple(ComponentResult.model_validate(item) for item in estimate["components"])
