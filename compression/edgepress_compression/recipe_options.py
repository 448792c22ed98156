"""The passes of a recipe with every option, what it is set to, and what it means, for people.

Meanings are the comments behind the fields of the passes' `Options`: what a reader of the code sees is what
`edgepress recipe show` says.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import tokenize
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import msgspec

from edgepress_compression.recipe import PASSES, Recipe, Step, check_recipe, list_recipes


class Option(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: Any  # in this recipe
    default: Any
    changed: bool  # whether the recipe sets it
    kind: str  # "number, 0 to 1", "yes or no", "one of u8, s8"
    meaning: str  # may be empty


class PassOptions(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    summary: str  # one sentence
    options: tuple[Option, ...]


def pass_options(recipe: Recipe) -> list[PassOptions]:
    """The recipe's passes with their options. Raises RecipeError where the recipe is wrong.

    Imports the passes, and torch with them: a second or two.
    """
    check_recipe(recipe)
    return [_pass(step) for step in recipe.passes]


def _pass(step: Step) -> PassOptions:
    module = importlib.import_module(PASSES[step.name])
    chosen = msgspec.convert(step.options, module.Options)
    defaults = module.Options()
    meanings = field_comments(module.Options)
    kinds = {field.name: _kind(field.type) for field in _fields(module.Options)}
    return PassOptions(
        name=step.name,
        summary=_first_sentence(inspect.getdoc(module) or ""),
        options=tuple(
            Option(
                name=name,
                value=msgspec.to_builtins(getattr(chosen, name)),
                default=msgspec.to_builtins(getattr(defaults, name)),
                changed=name in step.options,
                kind=kinds[name],
                meaning=meanings.get(name, ""),
            )
            for name in module.Options.__struct_fields__
        ),
    )


def _fields(options: type[msgspec.Struct]) -> tuple[msgspec.inspect.Field, ...]:
    info = msgspec.inspect.type_info(options)
    return info.fields if isinstance(info, msgspec.inspect.StructType) else ()


@cache
def field_comments(options: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> the comment on its lines, or on the lines right above it; of base classes too."""
    found: dict[str, str] = {}
    for base in reversed(options.__mro__):
        if base in (object, msgspec.Struct) or not issubclass(base, msgspec.Struct):
            continue
        try:
            source = inspect.cleandoc("\n" + inspect.getsource(base))
        except (OSError, TypeError):  # installed without sources: names and values still tell
            continue
        found.update(_comments(source))
    return found


def _comments(source: str) -> Iterator[tuple[str, str]]:
    lines: dict[int, tuple[str, bool]] = {}  # line -> (comment, whether it stands alone)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ").rstrip()
            lines[token.start[0]] = (text, token.line.strip().startswith("#"))
    definition = ast.parse(source).body[0]
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    last = 0
    for node in body:
        end = node.end_lineno or node.lineno
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = [lines[n][0] for n in range(node.lineno, end + 1) if n in lines]
            if not said:
                start = node.lineno - 1
                while start > last and start in lines and lines[start][1]:
                    start -= 1
                said = [lines[n][0] for n in range(start + 1, node.lineno)]
            if said:
                yield node.target.id, " ".join(said)
        last = end


def _kind(type_: msgspec.inspect.Type) -> str:
    """In words."""
    words = "value"
    match type_:
        case msgspec.inspect.BoolType():
            words = "yes or no"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            words = "whole number" if isinstance(type_, msgspec.inspect.IntType) else "number"
            words += _limits(type_)
        case msgspec.inspect.LiteralType():
            words = "one of " + ", ".join(str(value) for value in type_.values)
        case msgspec.inspect.StrType():
            words = "text"
        case msgspec.inspect.NoneType():
            words = "nothing"
        case msgspec.inspect.UnionType():
            words = " or ".join(dict.fromkeys(_kind(one) for one in type_.types))
        case msgspec.inspect.StructType():
            words = "table of " + ", ".join(field.name for field in type_.fields)
        case msgspec.inspect.DictType():
            words = f"table of {_kind(type_.value_type)}"
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            words = f"list of {_kind(type_.item_type)}"
        case msgspec.inspect.TupleType():
            words = "list of " + ", ".join(_kind(one) for one in type_.item_types)
        case msgspec.inspect.Metadata():
            words = _kind(type_.type)
    return words


def _limits(type_: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    limits = ((type_.ge, "at least"), (type_.gt, "above"), (type_.le, "at most"), (type_.lt, "below"))
    return "".join(f", {word} {value:g}" for value, word in limits if value is not None)


def _first_sentence(text: str) -> str:
    """Of a docstring, on one line."""
    line = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return line.split(". ")[0].rstrip(".")


def as_json(passes: list[PassOptions]) -> list[dict[str, Any]]:
    """Plain JSON types only."""
    return cast(list[dict[str, Any]], msgspec.json.decode(msgspec.json.encode(passes)))


def main() -> None:
    """`python -m edgepress_compression.recipe_options`: of all shipped recipes, by name, as one JSON line.

    For programs that do not want torch inside.
    """
    shipped = {recipe.name: as_json(pass_options(recipe)) for recipe in list_recipes()}
    print(json.dumps(shipped))


if __name__ == "__main__":
    main()
