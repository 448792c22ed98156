"""Recipes: shipped ones are valid, wrong ones say what to change before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_compression.errors import RecipeError
from edgepress_compression.recipe import RECIPES_DIR, check_recipe, coded, list_recipes, load_recipe


def test_the_shipped_recipes_are_valid_and_named_as_their_files() -> None:
    recipes = list_recipes()
    assert {"deep-compression", "int8", "none"} <= {recipe.name for recipe in recipes}
    assert [recipe.name for recipe in recipes] == sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))
    for recipe in recipes:
        assert [name for name, _ in check_recipe(recipe)] == [step.name for step in recipe.passes]


def test_a_recipe_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ndescription = "d"\n[[passes]]\nname = "int8"\nsamples = 7\n')
    recipe = load_recipe(str(path))
    assert recipe.passes[0].options == {"samples": 7}
    assert recipe.as_json()["passes"] == [{"name": "int8", "options": {"samples": 7}}]


def test_an_unknown_recipe_names_the_closest() -> None:
    with pytest.raises(RecipeError, match=r"Did you mean int8( or .*)?\?"):
        load_recipe("int-8")


HEAD = 'name = "mine"\ndescription = "d"\n'
WRONG = [
    ("not TOML", "name = ", "not valid TOML"),
    ("no description", 'name = "mine"', "missing required field `description`"),
    ("unknown key", HEAD + "speed = 3", "unknown field `speed`"),
    ("pass without name", HEAD + "[[passes]]\nsamples = 3", "needs a `name`"),
    ("unknown pass", HEAD + '[[passes]]\nname = "shrink"', "asks for the pass 'shrink'; there are: .*int8"),
    (
        "unknown option",
        HEAD + '[[passes]]\nname = "int8"\nsample = 3',
        "unknown field `sample`. Its options are",
    ),
    (
        "unknown coding",
        HEAD + 'coding = "zip"',
        "recipe mine: coding: 'zip' is not known; use one of auto, fast",
    ),
    ("option out of range", HEAD + '[[passes]]\nname = "int8"\nsamples = 0', ">= 1"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_recipe_says_what_to_change(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        check_recipe(load_recipe(path))


def test_a_coding_can_be_asked_for_in_place_of_the_recipes() -> None:
    assert coded(load_recipe("none"), "small").coding == "small"
    with pytest.raises(RecipeError, match="'zip' is not known"):
        coded(load_recipe("none"), "zip")


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "nowhere.toml")
