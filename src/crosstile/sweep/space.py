"""What a study varies: axes over fields of a chip, as a grid, as listed points, or as a random sample.

An axis is one path (``array.rows``), or several with commas between that change together (``array.rows, array.columns``). Draw
number i of an axis depends on (study seed, i, paths) and nothing else:

    u = blake2b(seed, "draw", i, paths) / 2^64;   linear: low + u (high - low);   log: low (high / low)^u

so that neither the order of axes nor of the work changes a sample.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crosstile.errors import SpecError
from crosstile.specs.base import Spec, validate
from crosstile.units import SI_SYMBOL, format_quantity, parse_quantity

MAX_VARIANTS: Final = 1_000_000
_DIGITS: Final = 6  # of a value that is worked out; as many as a table can show


def canonical(value: object) -> str:
    """Return JSON text that is the same for equal values, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(*parts: object) -> int:
    """Return 64 bits named by ``parts``, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(canonical(parts).encode(), digest_size=8).digest(), "little")


class _Whole(Spec):
    """Integers ``from`` .. ``to``, both included."""

    from_: int
    to: int
    step: int = 1


class _Between(Spec):
    """Numbers, or quantities with units, between ``low`` and ``high``."""

    low: Any
    high: Any
    log: bool = False
    points: int | None = None


@dataclass(frozen=True)
class Axis:
    """One thing that is varied: the fields it sets, and either its values or an interval."""

    paths: tuple[str, ...]
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    unit: str = ""

    def draw(self, seed: int, number: int) -> Any:
        """Return the value of draw ``number``."""
        u = key_of(seed, "draw", number, self.paths) / 2**64
        if self.values:
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        return self.at(u)

    def at(self, u: float) -> Any:
        """Return the value at ``u`` of the way, 0 to 1, with its unit."""
        low, high = self.low, self.high
        value = low * (high / low) ** u if self.log else low + u * (high - low)
        value = min(max(float(f"{value:.{_DIGITS}g}"), low), high)
        return _written(value, self.unit) if self.unit else value


def _written(value: float, unit: str) -> str:
    """Return a quantity as people write it, where that says the same."""
    text = format_quantity(value, unit, _DIGITS)
    try:
        same = math.isclose(_number(text, "")[0], value, rel_tol=1e-9)
    except SpecError:
        same = False
    return text if same else f"{value!r} {unit}"


def parse_axis(key: str, given: object, origin: str, *, sampled: bool) -> Axis:
    """Return the axis that ``vary`` describes under ``key``.

    Args:
        key: one path, or several with commas between.
        given: a list of values, ``{from, to, step}`` for integers, or ``{low, high, log, points}``.
        origin: the study, for messages.
        sampled: True when values are drawn; a grid needs ``points`` of an interval.

    Raises:
        SpecError: naming the axis, what was found and what is allowed.
    """
    where = f"{origin}: vary.{key}"
    paths = tuple(path.strip() for path in key.split(","))
    for path in paths:
        if not path or any(not part for part in path.split(".")):
            raise SpecError(f"{where}: {path!r} is no path of a chip's field; write one such as array.rows.")
    if isinstance(given, list):
        if not given:
            raise SpecError(f"{where}: the list is empty; give at least one value.")
        if len({canonical(value) for value in given}) < len(given):
            raise SpecError(f"{where}: a value stands twice in the list; write each once.")
        return Axis(paths, tuple(given))
    if isinstance(given, Mapping) and "from" in given:
        whole = validate(_Whole, {"from_" if k == "from" else k: v for k, v in given.items()}, origin=where)
        if whole.step < 1 or whole.to < whole.from_:
            raise SpecError(f"{where}: from <= to and step >= 1 are wanted; found {dict(given)}.")
        if (whole.to - whole.from_) // whole.step >= MAX_VARIANTS:
            raise SpecError(f"{where}: more than {MAX_VARIANTS} values; give a larger step.")
        return Axis(paths, tuple(range(whole.from_, whole.to + 1, whole.step)))
    if isinstance(given, Mapping) and "low" in given:
        return _interval(paths, given, where, sampled)
    raise SpecError(
        f"{where}: a list of values, {{from: 4, to: 8}} or {{low: 200 MHz, high: 1 GHz, log: true, points: 5}} is wanted; "
        f"found {given!r}."
    )


def _interval(paths: tuple[str, ...], given: Mapping[str, Any], where: str, sampled: bool) -> Axis:
    between = validate(_Between, given, origin=where)
    low, unit = _number(between.low, f"{where}.low")
    high, other = _number(between.high, f"{where}.high")
    if unit != other:
        raise SpecError(
            f"{where}: low is in {unit or 'plain numbers'}, high in {other or 'plain numbers'}; use one unit."
        )
    if not low < high:
        raise SpecError(f"{where}: low must be less than high; found {between.low!r} and {between.high!r}.")
    if between.log and low <= 0:
        raise SpecError(f"{where}: log needs low > 0; found {between.low!r}.")
    axis = Axis(paths, low=low, high=high, log=between.log, unit=unit)
    if sampled:
        if between.points is not None:
            raise SpecError(
                f"{where}: points belong to a grid; a random sample draws from the interval. Remove points."
            )
        return axis
    if between.points is None or not 2 <= between.points <= MAX_VARIANTS:
        raise SpecError(
            f"{where}: a grid needs points, 2 or more, such as points: 5; or take a random sample with sample: {{random: 100}}."
        )
    return Axis(paths, tuple(axis.at(i / (between.points - 1)) for i in range(between.points)))


def _number(value: object, where: str) -> tuple[float, str]:
    """Return a bound as an SI number and the symbol of its unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value), ""
    dimensions = list(SI_SYMBOL)
    if isinstance(value, str) and value.rstrip().endswith(("ohm", "Ω")):
        dimensions = ["resistance"]  # which would pass as a conductance, too
    for dimension in dimensions:
        try:
            return parse_quantity(value, dimension), SI_SYMBOL[dimension]
        except ValueError:
            continue
    raise SpecError(f"{where}: a number, or a quantity such as '200 MHz', is wanted; found {value!r}.")


def grid(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Yield every combination, the last axis fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield {path: value for axis, value in zip(axes, values, strict=True) for path in axis.paths}


def sample(axes: Sequence[Axis], count: int, seed: int, origin: str) -> Iterator[dict[str, Any]]:
    """Yield ``count`` distinct draws.

    Raises:
        SpecError: there are not so many.
    """
    seen: set[str] = set()
    for number in range(100 * count + 1000):
        drawn = {path: value for axis in axes for value in [axis.draw(seed, number)] for path in axis.paths}
        text = canonical(drawn)
        if text not in seen:
            seen.add(text)
            yield drawn
            if len(seen) == count:
                return
    raise SpecError(
        f"{origin}: sample.random: {count} different variants are wanted, but only {len(seen)} were found; ask for fewer, or "
        "take the grid."
    )


def changed(base: Mapping[str, Any], changes: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return the description ``base`` with the fields at paths set; list entries are reached by number.

    Sections that ``base`` leaves to their defaults are made; whether the field exists is for the chip's own checks to say.
    """
    data: dict[str, Any] = copy.deepcopy(dict(base))
    for path, value in sorted(changes.items(), key=lambda item: item[0].count(".")):
        *parents, leaf = path.split(".")
        node: Any = data
        for depth, part in enumerate(parents):
            where = ".".join(parents[: depth + 1])
            if isinstance(node, dict):
                if node.get(part) is None:
                    node[part] = {}
                node = node[part]
            else:
                node = node[_place(node, part, where, path, origin)]
            if not isinstance(node, (dict, list)):
                raise SpecError(f"{origin}: {path}: {where} is {node!r}, which has no fields.")
        value = copy.deepcopy(value)
        if isinstance(node, dict):
            node[leaf] = value
        else:
            node[_place(node, leaf, path, path, origin)] = value
    return data


def _place(node: list[Any], part: str, where: str, path: str, origin: str) -> int:
    if not part.isdecimal() or int(part) >= len(node):
        raise SpecError(
            f"{origin}: {path}: {where}: a number of an entry, 0 to {len(node) - 1}, is wanted; found {part!r}."
        )
    return int(part)
