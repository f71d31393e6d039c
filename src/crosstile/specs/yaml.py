"""Reading YAML that came from somebody else: safe types only, size-limited, no aliases, no duplicate keys."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from crosstile.errors import SpecError

MAX_BYTES: Final = 1_000_000


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases (they can blow up) and duplicate keys (they hide mistakes)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {mark.line + 1}: aliases (*name) are not allowed; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: keys must be text, found {key!r}")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: the key {key!r} appears twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        number = int(super().construct_yaml_int(node))
        if abs(number) >= 2**63:  # more digits than can be shown, or turned into a float
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: an integer of {number.bit_length()} bits is too large")
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """Parse one YAML mapping; every failure is a :class:`SpecError` that names ``origin`` and the line."""
    if len(text) > MAX_BYTES:
        raise SpecError(f"{origin}: {len(text)} characters; a description has at most {MAX_BYTES}.")
    try:
        data = _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, LookupError, AttributeError) as error:
        # The last three: explicit tags on what they do not fit, such as !!int "".
        raise SpecError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SpecError(f"{origin}: not valid YAML: nested too deeply.") from None
    if not isinstance(data, dict):
        raise SpecError(f"{origin}: a mapping of fields is wanted, found {type(data).__name__}.")
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file; see :func:`parse_yaml`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(f"{path}: {path.stat().st_size} bytes; a description has at most {MAX_BYTES}.")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # never more: a device has no size and no end
        if len(raw) > MAX_BYTES:
            raise SpecError(f"{path}: more than {MAX_BYTES} bytes; a description has at most {MAX_BYTES}.")
        text = raw.decode("utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not UTF-8 text.") from None
    except ValueError as error:  # a null byte in the name
        raise SpecError(f"{str(path)!r}: cannot be read: {error}.") from None
    return parse_yaml(text, str(path))
