"""``edgepress recipe``: the recipes this version ships, and those in files. No server needed."""

import re
from typing import Any

import click

from .output import emit_json, facts, json_option, table

PAPER = re.compile(r"^.*?\b(19|20)\d\d\b")  # authors and year


@click.group()
def recipe() -> None:
    """Look at compression recipes."""


@recipe.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the recipes."""
    from edgepress_compression.recipe import list_recipes

    found = list_recipes()
    if as_json:
        emit_json(
            [
                {
                    "name": one.name,
                    "description": one.description,
                    "source": one.source,
                    "kind": one.kind,
                    "needs": one.needs,
                    "takes_budget": one.takes_budget,
                }
                for one in found
            ]
        )
        return
    table(
        ("NAME", "DATA", "AFTER", "WHAT IT DOES"),
        [(one.name, one.needs, _paper(one.source), one.description) for one in found],
        empty="No recipes are installed; reinstall edgepress.",
    )


def _paper(source: str) -> str:
    """Authors and year; the recipe itself names the title."""
    short = PAPER.match(source)
    if short is None:
        return source or "edgepress"
    authors, _, year = short[0].rpartition(" ")
    return f"{authors.split(',')[0]} et al. {year}" if "," in authors else short[0]


@recipe.command()
@click.argument("name")
@click.option("--toml", "as_toml", is_flag=True, help="Print the recipe's file, to start one of your own.")
@json_option
def show(name: str, as_toml: bool, as_json: bool) -> None:
    """Show the recipe NAME (or a TOML file) with every option of its passes."""
    from edgepress_compression.errors import RecipeError
    from edgepress_compression.recipe import load_recipe, recipe_text

    try:
        found = load_recipe(name)
        if as_toml:
            click.echo(recipe_text(name).rstrip("\n"))
            return
        from edgepress_compression.recipe_options import as_json as plain
        from edgepress_compression.recipe_options import pass_options

        passes = plain(pass_options(found))
    except RecipeError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"this needs {error.name}, not found: pip install 'edgepress[server]'"
        ) from error
    about = {
        "name": found.name,
        "description": found.description,
        "source": found.source,
        "kind": found.kind,
        "needs": found.needs,
        "takes_budget": found.takes_budget,
        "coding": found.coding,
    }
    if as_json:
        emit_json({**about, "passes": passes})
        return
    facts(
        [
            ("what it does", found.description),
            ("source", found.source or "edgepress"),
            ("methods", found.kind),
            ("data", found.needs),
            ("--target-bytes", "yes" if found.takes_budget else "no"),
            ("coding", found.coding),
        ]
    )
    for number, one in enumerate(passes, start=1):
        click.echo(f"\n{number}. {one['name']}: {one['summary']}.")
        table(
            ("OPTION", "VALUE", "", "MEANING"),
            [_row(option) for option in one["options"]],
            empty="It has no options.",
        )


def _row(option: dict[str, Any]) -> tuple[str, str, str, str]:
    meaning, kind = option["meaning"], option["kind"]
    return (
        option["name"],
        _value(option["value"]),
        f"(default {_value(option['default'])})" if option["changed"] else "",
        f"{meaning} ({kind})" if meaning else f"({kind})",
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(one)}" for key, one in value.items() if one) or "none"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
