"""The file that ``edgepress profile new`` writes: what differs from another profile, ready to be filled in.

Tables that are stated come first, each with the other profile's figure beside its own; everything else
follows as comments, with the figures that hold as long as nobody states them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from edgepress_devices.profile import DeviceProfile
from edgepress_devices.profile_schema import Sourced
from edgepress_devices.profile_toml import toml_value

Table = dict[str, Any]
_WORDS = ("source", "basis", "arithmetic", "reason")
_ASKED_BASIS = 'basis = "estimate"  # or "datasheet", "measured", "derived"'
_ABOUT = (
    "A device profile: docs/profiles.md explains every field.",
    "A table that states a number states its own source and basis. What is not stated is taken over.",
)


def assignments(pairs: tuple[str, ...]) -> Table:
    """``("memory.ram_mib=2048",)`` -> ``{"memory": {"ram_mib": 2048}}``. Raises BadParameter."""
    table: Table = {}
    for pair in pairs:
        path, equals, written = pair.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise click.BadParameter(f"{pair!r} sets nothing; write memory.ram_mib=2048", param_hint="--set")
        inner = table
        for key in keys[:-1]:
            found = inner.setdefault(key, {})
            if not isinstance(found, dict):
                raise click.BadParameter(f"{pair!r}: {key} is set as a value already", param_hint="--set")
            inner = found
        inner[keys[-1]] = _value(written.strip())
    return table


def _value(written: str) -> object:
    """As TOML has it; what is no TOML value is text."""
    try:
        return tomllib.loads(f"x = {written}")["x"]
    except tomllib.TOMLDecodeError:
        return written


def draft(own: Table, base: DeviceProfile, *, source: str | None = None, basis: str | None = None) -> str:
    """The TOML text. ``own`` is stated; ``source`` and ``basis`` go to its tables with numbers without."""
    parent = _table_of(base)
    top = {key: value for key, value in own.items() if not isinstance(value, dict)}
    lines = [f"# {line}" for line in _ABOUT]
    lines += ["", *(f"{key} = {toml_value(value)}" for key, value in top.items()), ""]
    for path, table in _tables(own):
        lines += [*_stated(path, table, parent, source, basis), ""]
    lines += [f"# Taken over from {base.id}, unless stated above or below:", ""]
    stated = {path for path, _ in _tables(own)}
    for path, table in _tables(parent):
        if path not in stated:
            lines += [*_commented(path, table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _stated(path: str, table: Table, parent: Table, source: str | None, basis: str | None) -> list[str]:
    before = _at(parent, path)
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"[{path}]"]
    for key, value in values.items():
        other = before.get(key)
        beside = "" if key in _WORDS or other in (None, value) else f"  # there: {toml_value(other)}"
        lines.append(f"{key} = {toml_value(value)}{beside}")
    if any(_is_number(value) for value in values.values()) and _is_sourced(path):
        if "basis" not in values:
            lines.append(f'basis = "{basis}"' if basis else _ASKED_BASIS)
        if "source" not in values:
            ask = "" if source else "  # where do these numbers come from?"
            lines.append(f"source = {toml_value(source or '')}{ask}")
    elif "reason" in before and values and "reason" not in values:
        lines.append('reason = ""  # why?')
    return lines


def _commented(path: str, table: Table) -> list[str]:
    plain = [(key, value) for key, value in table.items() if not isinstance(value, dict)]
    values = sorted(plain, key=lambda pair: pair[0] in _WORDS)  # figures first
    return [f"# [{path}]", *(f"# {key} = {toml_value(value)}" for key, value in values)]


def _tables(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Table]]:
    """Tables that hold values of their own, with their dotted names."""
    found: list[tuple[str, Table]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            if any(not isinstance(inner, dict) for inner in value.values()):
                found.append((prefix + key, value))
            found += _tables(value, f"{prefix}{key}.")
    return found


def _at(table: Table, path: str) -> Table:
    found: Any = table
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _is_sourced(path: str) -> bool:
    """Whether a table of this name has numbers with a source in the schema."""
    schema: Any = DeviceProfile
    for key in path.split("."):
        fields = {field.name: field.type for field in msgspec.structs.fields(schema)}
        kinds = [fields.get(key), *getattr(fields.get(key), "__args__", ())]
        schema = next((k for k in kinds if isinstance(k, type) and issubclass(k, msgspec.Struct)), None)
        if schema is None:
            return False
    return issubclass(schema, Sourced)


def _table_of(profile: DeviceProfile) -> Table:
    table: Table = msgspec.to_builtins(profile)
    table.pop("calibration", None)
    return _present(table)


def _present(table: Mapping[str, Any]) -> Table:
    return {
        key: _present(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
