"""A profile that stands on another: "a Pi 4 with 2 GB is a Pi 4".

    inherits = "raspberry-pi-4"

Tables merge deeply: what the profile does not state, it takes over. Three rules keep every number with its
own source:

- a table that states a number also states ``source`` and ``basis``; where it takes over other numbers of the
  table, both sources stand there with the numbers they are of, and the weaker basis holds;
- ``arithmetic`` is not taken over into such a table, it gave the other number;
- a table whose choice changes (``runtime``, ``int8``, ``int4``, ``fp16``, ``layout``) states its own
  ``reason``.

``id`` and ``name`` are always the profile's own. "none" takes away what is optional (``gpu``,
``compute.int8``, ``memory.cache.l3_bytes`` ...). A calibration is not taken over by a profile whose
processor, memory or runtime differs: it was fitted to the other. A profile that inherits from its own id is
an *override* of the shipped profile of that id. At most 4 steps; a circle is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from edgepress_devices.profile_errors import Problem, close_names

PROFILES_DIR: Final = Path(__file__).parent / "profiles"
PROFILE_MAX_BYTES: Final = 65_536  # a profile is a page of text; larger is refused unread
MAX_STEPS: Final = 4
_MAX_DEPTH: Final = 8  # of tables in tables; the schema has 3, a calibration a few more

Table = dict[str, Any]
Lookup = Callable[[str], str | None]  # the TOML text of the profile with this id, or None

_OPTIONAL: Final = frozenset(
    {"gpu", "compute.fp16", "compute.int8", "gpu.compute.fp16", "gpu.compute.int8", "memory.cache.l3_bytes",
     "layout", "calibration"}
)  # fmt: skip
_REASONED: Final = frozenset({"runtime", "int8", "int4", "fp16", "layout"})
_PROSE: Final = frozenset({"source", "basis", "arithmetic", "reason", "kind", "model"})
_WEAKER: Final = ("measured", "datasheet", "derived", "estimate")  # each rests on less than the one before
_SOURCE_MIN_CHARS, _SOURCE_MAX_CHARS = 8, 1000  # of the schema
_OWN: Final = ("id", "name", "inherits")


def shipped_ids() -> list[str]:
    return sorted(path.stem for path in PROFILES_DIR.glob("*.toml"))


def shipped_text(profile_id: str) -> str | None:
    """The TOML text of a profile that ships with this version."""
    if profile_id not in shipped_ids():
        return None
    return (PROFILES_DIR / f"{profile_id}.toml").read_text(encoding="utf-8")


def read_table(text: str) -> Table | Problem:
    """The TOML text as it is, or why it is none."""
    if len(text) > PROFILE_MAX_BYTES or len(text.encode(errors="replace")) > PROFILE_MAX_BYTES:
        return Problem(
            path="",
            message=f"it is larger than {PROFILE_MAX_BYTES} bytes",
            fix="a profile is a page of text: shorten it",
        )
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers of thousands of digits
        return Problem(path="", message=f"it is not TOML ({str(error)[:200]})", fix="correct it there")
    if _depth(table) > _MAX_DEPTH:
        return Problem(path="", message="its tables are nested too deeply", fix="see docs/profiles.md")
    return table


def with_inherited(
    table: Table, lookup: Lookup = shipped_text, shipped: bool = False
) -> tuple[Table, list[Problem]]:
    """The table with everything that it takes over filled in, and what is wrong with its inheritance.

    ``shipped``: it is a file of this version's own, which cannot stand on another of the same id.
    """
    problems: list[Problem] = []
    filled = _filled(table, lookup, [(_name(table), shipped)], problems)
    return filled, problems


def _filled(table: Table, lookup: Lookup, chain: list[tuple[str, bool]], problems: list[Problem]) -> Table:
    own = _without_none(table, "")
    if "inherits" not in table:
        return own
    parent = _parent(table["inherits"], lookup, chain, problems)
    if parent is None:
        return own
    found: list[Problem] = []
    merged = _merge(parent, own, "", found)
    for key in _OWN:
        merged.pop(key, None)
        if key in own:
            merged[key] = own[key]
    if len(chain) == 1:
        problems += found
    elif found:
        message = f"{chain[-1][0]!r} has a mistake itself: {found[0]}"
        problems.append(Problem(path="inherits", message=message, fix="correct that one first"))
    if "calibration" not in own and _ran_differently(parent, merged):
        merged.pop("calibration", None)
    return merged


def _parent(
    inherits: object, lookup: Lookup, chain: list[tuple[str, bool]], problems: list[Problem]
) -> Table | None:
    def wrong(message: str, fix: str) -> None:
        problems.append(Problem(path="inherits", message=message, fix=fix))

    if not isinstance(inherits, str) or not inherits or len(inherits) > 63:
        wrong("it is no profile's id", 'write the id of a profile: inherits = "raspberry-pi-4"')
        return None
    of_shipped = inherits == chain[-1][0]  # an override stands on the shipped profile of its own id
    names = " inherits ".join(name for name, _ in [*chain, (inherits, of_shipped)])
    if (inherits, True) in chain or (not of_shipped and inherits in [name for name, _ in chain]):
        wrong(f"it goes in a circle: {names}", "take one of these lines away")
        return None
    if len(chain) > MAX_STEPS:
        wrong(f"{names}: more than {MAX_STEPS} steps", "inherit from one of the last of them")
        return None
    text = shipped_text(inherits) if of_shipped else lookup(inherits)
    if text is None:
        wrong(*_no_parent(inherits, of_shipped))
        return None
    parent = read_table(text)
    if isinstance(parent, Problem):
        wrong(f"{inherits!r} is no profile itself: {parent.message}", "correct that one first")
        return None
    return _filled(parent, lookup, [*chain, (inherits, of_shipped)], problems)


def _no_parent(inherits: str, of_shipped: bool) -> tuple[str, str]:
    if of_shipped:
        return "a profile cannot stand on itself", "inherit from another one, or take the line away"
    close = close_names(inherits, shipped_ids())
    hint = f"did you mean {' or '.join(close)}?" if close else f"shipped are {', '.join(shipped_ids())}"
    return f"there is no profile {inherits!r} to inherit from", hint


def _merge(parent: Mapping[str, Any], own: Table, path: str, problems: list[Problem]) -> Table:
    merged = dict(parent)
    numbers = [
        key
        for key, value in own.items()
        if _is_number(value) or (value == "none" and f"{path}.{key}" in _OPTIONAL)
    ]
    if path and numbers and "source" in parent:
        merged.pop("arithmetic", None)
        missing = [key for key in ("source", "basis") if key not in own]
        if missing:
            problems.append(
                Problem(
                    path=path,
                    message=f"[{path}] states {', '.join(numbers)} on another's {' and '.join(missing)}",
                    fix=f"say where this one comes from: add {' and '.join(missing)} to [{path}]",
                )
            )
    changed = [key for key, value in own.items() if key != "reason" and value != parent.get(key)]
    if path in _REASONED and parent and changed and "reason" not in own:
        problems.append(
            Problem(
                path=path,
                message=f"[{path}] states {', '.join(changed)} with the reason of another choice",
                fix=f'add reason = "..." to [{path}]',
            )
        )
    taken_over = [key for key, value in parent.items() if _is_number(value) and key not in own]
    stated = isinstance(own.get("basis"), str) and len(str(own.get("source", ""))) >= _SOURCE_MIN_CHARS
    if numbers and taken_over and stated:
        own = {**own, **_both_sources(parent, own, numbers, taken_over)}
        if own["basis"] == "derived" and "arithmetic" not in own:
            own["basis"] = "estimate"  # of numbers that one computation does not give
    for key, value in own.items():
        inner = f"{path}.{key}".lstrip(".")
        if value == "none" and inner in _OPTIONAL:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(parent.get(key), dict) and inner != "calibration":
            merged[key] = _merge(parent[key], value, inner, problems)
        else:
            merged[key] = value
    return merged


def _both_sources(parent: Mapping[str, Any], own: Table, numbers: list[str], taken_over: list[str]) -> Table:
    """Source and basis of a table whose numbers come from two places."""
    theirs = str(parent.get("source", ""))
    source = f"{', '.join(numbers)}: {own['source']}; {', '.join(taken_over)}: {theirs}"
    if len(source) > _SOURCE_MAX_CHARS:
        source = source[: _SOURCE_MAX_CHARS - 3] + "..."
    # an unknown word stays, for the structure to complain of it
    known = [basis for basis in (own["basis"], parent.get("basis")) if basis in _WEAKER]
    weaker = max(known, key=_WEAKER.index) if own["basis"] in known else own["basis"]
    return {"source": source, "basis": weaker}


def _ran_differently(parent: Table, merged: Table) -> bool:
    """Whether what a calibration is fitted to is another: processor, memory or runtime."""

    def fitted(table: Table) -> list[object]:
        cpu = table.get("cpu")
        cpu = cpu if isinstance(cpu, dict) else {}
        return [
            *(_figures(table.get(name)) for name in ("compute", "gpu", "memory", "runtime")),
            *(cpu.get(name) for name in ("threads", "clock_mhz", "machine")),
        ]

    return fitted(parent) != fitted(merged)


def _figures(value: object) -> object:
    """A table without its words."""
    if isinstance(value, dict):
        return {key: _figures(inner) for key, inner in value.items() if key not in _PROSE}
    return value


def _without_none(table: Table, path: str) -> Table:
    """A profile that inherits nothing may say "none", too; one that does needs the word for merging."""
    if "inherits" in table or path.count(".") > 2:
        return table
    kept = {}
    for key, value in table.items():
        inner = f"{path}.{key}".lstrip(".")
        if value == "none" and inner in _OPTIONAL:
            continue
        kept[key] = _without_none(value, inner) if isinstance(value, dict) else value
    return kept


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(table: Table) -> str:
    name = table.get("id")
    return name if isinstance(name, str) else ""


def _depth(table: Table) -> int:
    """Without recursion: a dotted key nests thousands of levels in one line."""
    deepest = 1
    waiting: list[tuple[Table | list[Any], int]] = [(table, 1)]
    while waiting and deepest <= _MAX_DEPTH:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        children = value.values() if isinstance(value, dict) else value
        waiting += [(child, depth + 1) for child in children if isinstance(child, dict | list)]
    return deepest
