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
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: keys must be text, found {key!r}")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: the key {key!r} appears twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """Parse one YAML mapping; every failure is a :class:`SpecError` that names ``origin`` and the line."""
    if len(text) > MAX_BYTES:
        raise SpecError(f"{origin}: {len(text)} characters; a description has at most {MAX_BYTES}.")
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader subclass
    except (yaml.YAMLError, ValueError, OverflowError) as error:
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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not UTF-8 text.") from None
    return parse_yaml(text, str(path))
