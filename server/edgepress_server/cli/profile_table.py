"""A profile as rows for people: each number with its source and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_WORDS = ("source", "basis", "arithmetic", "reason")
Row = tuple[str, str, str, str]  # field, value, basis, source


def rows(profile: dict[str, Any]) -> Iterator[Row]:
    """Fields by the names they have in the file; a table's source stands on its first row."""
    for key, value in profile.items():
        if key == "calibration" or value is None:
            continue
        if isinstance(value, dict):
            yield from _table(key, value)
        else:
            yield key, said(value), "", ""


def _table(path: str, table: dict[str, Any]) -> Iterator[Row]:
    basis, source = str(table.get("basis") or ""), str(table.get("source") or table.get("reason") or "")
    if table.get("arithmetic"):
        source = f"{table['arithmetic']}. {source}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _table(f"{path}.{key}", value)
        elif key not in _WORDS and (value is not None or key == "activations"):
            yield f"{path}.{key}", said(value), basis, source
            source = '"' if source else ""


def said(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}".replace(",", " ")
        case list():
            return ", ".join(map(str, value)) or "none"
    return str(value)
