"""Writes profiles as TOML: what the standard library reads, it does not write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from edgepress_devices.profile_schema import DeviceProfile

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def profile_toml(profile: DeviceProfile) -> str:
    """The whole profile, what it took over included, as a file that stands alone."""
    table: dict[str, Any] = msgspec.to_builtins(profile)
    table.pop("inherits", None)
    if table["int8"]["activations"] is None:
        table["int8"]["activations"] = "none"
    return toml_text(_without_absent(table))


def toml_text(table: Mapping[str, Any]) -> str:
    """A table of text, numbers, truth values, lists and tables, as TOML. Plain values come before tables."""
    return "\n\n".join(_sections(table, ())) + "\n"


def _sections(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [
        f"{_key(key)} = {toml_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)
    ]
    nested = [(key, value) for key, value in table.items() if isinstance(value, Mapping)]
    sections = []
    if path and (lines or not nested):
        lines.insert(0, f"[{'.'.join(map(_key, path))}]")
    if lines:
        sections.append("\n".join(lines))
    for key, value in nested:
        sections += _sections(value, (*path, key))
    return sections


def toml_value(value: object) -> str:
    """One value, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)  # "nan", "inf" and "-inf" are TOML's words, too
        case str():
            return _string(value)
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {toml_value(inner)}" for key, inner in value.items()) + "}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _string(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", plain) + '"'


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _without_absent(table: Mapping[str, Any]) -> dict[str, Any]:
    """With the figures of a table before the words about them."""
    present = [(key, value) for key, value in table.items() if value is not None]
    present.sort(key=lambda pair: pair[0] in ("basis", "arithmetic", "source", "reason"))
    return {key: _without_absent(value) if isinstance(value, Mapping) else value for key, value in present}
