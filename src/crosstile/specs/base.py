"""The base of every description: frozen, strict, with quantities that carry their unit in YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from crosstile.errors import SpecError
from crosstile.units import parse_quantity


class Spec(BaseModel):
    """A frozen description. Unknown keys are refused; numbers are finite.

    Built from Python, physical quantities are SI floats; read from YAML they must be strings with a unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def replaced(self, **changes: Any) -> Any:
        """Return a copy with the given fields changed and everything validated again.

        Nested fields are reached with two underscores: ``chip.replaced(adc__bits=6)``.
        """
        data: dict[str, Any] = self.model_dump()
        for path, value in changes.items():
            node = data
            *parents, leaf = path.split("__")
            for part in parents:
                inner = node.get(part)
                if not isinstance(inner, dict):
                    raise SpecError(f"{type(self).__name__} has no section {part!r} in {path!r}.")
                node = inner
            node[leaf] = value
        return validate(type(self), data, origin=f"changed {type(self).__name__}")


def _quantity(dimension: str) -> BeforeValidator:
    def parse(value: object, info: ValidationInfo) -> object:
        from_text = bool(info.context and info.context.get("units_required"))
        try:
            if not from_text and isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)  # Python callers speak SI
            return parse_quantity(value, dimension)
        except OverflowError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(parse)


Conductance = Annotated[float, _quantity("conductance")]
Resistance = Annotated[float, _quantity("resistance")]
Voltage = Annotated[float, _quantity("voltage")]
Time = Annotated[float, _quantity("time")]
Frequency = Annotated[float, _quantity("frequency")]
Energy = Annotated[float, _quantity("energy")]
Power = Annotated[float, _quantity("power")]
Capacitance = Annotated[float, _quantity("capacitance")]
Temperature = Annotated[float, _quantity("temperature")]
Length = Annotated[float, _quantity("length")]
Area = Annotated[float, _quantity("area")]
Resistivity = Annotated[float, _quantity("resistivity")]
TemperatureCoefficient = Annotated[float, _quantity("temperature coefficient")]
Bits = Annotated[float, _quantity("information")]
DataRate = Annotated[float, _quantity("data rate")]
Ratio = Annotated[float, _quantity("ratio")]


_S = TypeVar("_S", bound=Spec)


def validate(model: type[_S], data: object, *, origin: str, units_required: bool = False) -> _S:
    """Validate ``data`` as ``model``; every failure is a :class:`SpecError` that names field, value and fix."""
    if not isinstance(data, Mapping):
        raise SpecError(f"{origin}: a mapping of fields is wanted, found {type(data).__name__}.")
    try:
        return model.model_validate(data, context={"units_required": units_required})
    except ValidationError as error:
        raise SpecError(f"{origin}: {_explain(model, error)}") from None
    except RecursionError:
        raise SpecError(f"{origin}: the description is nested too deeply to read.") from None


def _explain(model: type[Spec], error: ValidationError) -> str:
    lines = []
    details = error.errors(include_url=False)
    for item in details[:6]:
        location = [str(part) for part in item["loc"]]
        where = ".".join(location) or "the description as a whole"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            allowed = _fields_at(model, location[:-1])
            message = f"this field is not known; allowed are {', '.join(sorted(allowed)) or 'none'}"
            message += near_match(location[-1], allowed)
        elif item["type"] == "missing":
            message = "this field is required"
        elif not item["type"].startswith("value_error") and not isinstance(item["input"], Mapping):
            message += f" (found {_short(item['input'])})"
        lines.append(f"{where}: {message}")
    if len(details) > 6:
        lines.append(f"and {len(details) - 6} more")
    return "; ".join(lines) + "."


def _fields_at(model: type[Spec], location: list[str]) -> list[str]:
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        field = fields.get(part) or next((f for f in fields.values() if f.alias == part), None)
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return [field.alias or name for name, field in getattr(current, "model_fields", {}).items()]


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else text[:57] + "..."


def near_match(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` when something known is close to ``name``, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
