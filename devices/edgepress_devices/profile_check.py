"""Everything that is wrong with a profile at once: its fields, its inheritance, what contradicts itself.

An *error* makes the profile unusable; a *warning* is probably not meant (a number whose size belongs to
another unit, a peak that was computed for another clock) and stops nobody.
"""

from __future__ import annotations

import re
import types
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from edgepress_devices.calibration import Calibration, from_json, to_json
from edgepress_devices.inheritance import Lookup, Table, read_table, shipped_text, with_inherited
from edgepress_devices.profile_errors import Problem, close_names
from edgepress_devices.profile_rules import contradictions
from edgepress_devices.profile_schema import DeviceProfile
from edgepress_devices.profile_units import meant_field, unlikely_size

_MISSING_FIX: Final = {
    "source": "say where its numbers come from, so that somebody else can look them up",
    "basis": 'add basis = "datasheet", "measured", "derived" or "estimate"',
    "reason": "say why, in words",
}
_FIXES: Final = {
    "id": "take 1 to 63 lower-case letters, digits and hyphens, such as raspberry-pi-4-2gb",
    "inherits": 'write the id of a profile: inherits = "raspberry-pi-4"',
}
_TYPES: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
}
_SHOWN: Final = 60  # characters of a value in a message


def validate_profile(text: str, lookup: Lookup = shipped_text) -> list[Problem]:
    """All problems of a profile's TOML text, errors first. Empty: it is a profile, and nothing looks odd.

    ``lookup`` finds the TOML text of profiles to inherit from.
    """
    return check_profile(text, lookup)[1]


def check_profile(
    text: str, lookup: Lookup = shipped_text, shipped: bool = False
) -> tuple[DeviceProfile | None, list[Problem]]:
    """The profile, where there is no error, and all problems, errors first."""
    read = read_table(text)
    if isinstance(read, Problem):
        return None, [read]
    table, problems = with_inherited(read, lookup, shipped)
    int8 = table.get("int8")
    if isinstance(int8, dict) and int8.get("activations") == "none":  # TOML has no null
        table["int8"] = {**int8, "activations": None}
    known_parent = not any(problem.path == "inherits" for problem in problems)
    problems += _structure(table, DeviceProfile, "", tell_missing=known_parent)
    problems += contradictions(table, read)
    problems += _sizes(read, DeviceProfile, "")
    problems.sort(key=lambda problem: problem.level != "error")
    if any(problem.level == "error" for problem in problems):
        return None, problems
    try:
        profile = msgspec.convert(table, DeviceProfile)
        if profile.calibration is not None:
            from_json(to_json(profile.calibration))  # whose lists must fit each other
        return profile, problems
    except ValueError as error:  # no field by itself is wrong, together they are
        return None, [
            Problem(path="", message=str(error), fix="docs/profiles.md shows every field"),
            *problems,
        ]


def _structure(table: Table, schema: type[msgspec.Struct], path: str, *, tell_missing: bool) -> list[Problem]:
    """Missing and unknown fields, wrong types, numbers out of bounds."""
    problems: list[Problem] = []
    fields = {field.name: field for field in msgspec.structs.fields(schema)}
    meant: set[str] = set()
    for key in table:
        if key not in fields:
            field_meant, fix = _meant(key, table[key], list(fields))
            meant.add(field_meant)
            where = f"{path}.{key}".lstrip(".")[:200]
            problems.append(Problem(path=where, message=f"there is no field {_shown(key)}", fix=fix))
    for name, field in fields.items():
        inner = f"{path}.{name}".lstrip(".")
        if name not in table:
            if field.required and tell_missing and name not in meant:
                problems.append(_missing(name, inner, field.type))
            continue
        nested = _struct_of(field.type)
        if nested is not None and isinstance(table[name], dict):
            problems += _structure(table[name], nested, inner, tell_missing=tell_missing)
        elif nested is not None and table[name] is not None:
            problems.append(
                Problem(
                    path=inner,
                    message=f"a table is asked for, not {_shown(table[name])}",
                    fix=f"write [{inner}] and its fields below it",
                )
            )
        else:
            try:
                msgspec.convert(table[name], field.type)
            except (msgspec.ValidationError, OverflowError) as error:
                why = _in_words(str(error).split(" - at `")[0])
                fix = _FIXES.get(inner) or _MISSING_FIX.get(name, "correct it")
                problems.append(Problem(path=inner, message=f"{_shown(table[name])}: {why}", fix=fix))
    return problems


def _in_words(found: str) -> str:
    """msgspec's finding without Python's names for types."""
    for theirs, ours in _TYPES.items():
        found = found.replace(f"`{theirs}`", ours)
    found = re.sub(r"a text of length >= (\d+)", r"a text of at least \1 characters", found)
    return re.sub(r"a text of length <= (\d+)", r"a text of at most \1 characters", found).replace(
        "Expected", "expected"
    )


def _meant(key: str, value: object, fields: list[str]) -> tuple[str, str]:
    """(the field that an unknown one probably means, or "", what to do)."""
    meant = meant_field(key, value, fields)
    if meant is not None:
        return meant
    close = close_names(key, fields, cutoff=0.6)
    if close:
        return close[0], f"did you mean {close[0]}?"
    return "", f"fields here: {', '.join(fields)}"


def _missing(name: str, path: str, kind: object) -> Problem:
    where = path.rpartition(".")[0]
    if _struct_of(kind) is not None:
        return Problem(
            path=path, message=f"the table [{path}] is missing", fix="docs/profiles.md shows its fields"
        )
    asked = f"the field {name} is missing" + (f" in [{where}]" if where else "")
    return Problem(path=path, message=asked, fix=_MISSING_FIX.get(name, f"add {name} = ..."))


def _sizes(table: Table, schema: type[msgspec.Struct], path: str) -> list[Problem]:
    """Warnings for numbers whose size belongs to another unit; only what this very text states."""
    problems = []
    for field in msgspec.structs.fields(schema):
        value = table.get(field.name)
        inner = f"{path}.{field.name}".lstrip(".")
        nested = _struct_of(field.type)
        if nested is Calibration:
            continue  # nobody writes it by hand
        if nested is not None and isinstance(value, dict):
            problems += _sizes(value, nested, inner)
        elif isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e300:
            odd = unlikely_size(field.name, value)
            if odd is not None:
                problems.append(Problem(path=inner, message=odd[0], fix=odd[1], level="warning"))
    return problems


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in ``Struct``, ``Struct | None`` or ``Annotated[Struct, ...]``."""
    if isinstance(kind, type):
        return kind if issubclass(kind, msgspec.Struct) else None
    if get_origin(kind) in (Union, types.UnionType, Annotated):
        return next((found for inner in get_args(kind) if (found := _struct_of(inner)) is not None), None)
    return None


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
