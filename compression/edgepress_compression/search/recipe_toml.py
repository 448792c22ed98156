"""A recipe as the TOML file that `edgepress compress --recipe FILE` runs again, to the same artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepress_compression.recipe import Recipe


def recipe_toml(recipe: Recipe) -> str:
    lines = [f"name = {_text(recipe.name)}", f"description = {_text(recipe.description)}"]
    if recipe.source:
        lines.append(f"source = {_text(recipe.source)}")
    if recipe.needs != "none":
        lines.append(f"needs = {_text(recipe.needs)}")
    if recipe.coding != "auto":
        lines.append(f"coding = {_text(recipe.coding)}")
    for step in recipe.passes:
        lines += ["", "[[passes]]", f"name = {_text(step.name)}"]
        lines += [f"{key} = {_value(value)}" for key, value in step.options.items() if value is not None]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_text(str(key))} = {_value(one)}" for key, one in value.items()) + " }"
    return "[" + ", ".join(_value(one) for one in value) + "]"


def _text(text: str) -> str:
    """A basic string: quotes, backslashes and control characters escaped."""
    escaped = "".join(
        f"\\{one}" if one in '"\\' else one if one >= " " and one != "\x7f" else f"\\u{ord(one):04x}"
        for one in text
    )
    return f'"{escaped}"'
