"""What `edgepress recipe show` tells of a recipe is what its passes do with it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from edgepress_compression.recipe import UNCHANGED, Recipe, Step, list_recipes, load_recipe, recipe_text
from edgepress_compression.recipe_options import _kind, field_comments, pass_options


class Base(msgspec.Struct, frozen=True):
    steps: int = 3  # of training
    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = (
        0.5  # as the paper has it,
        # and no more
    )


class Child(Base, frozen=True):
    # what it starts with
    # and ends with
    bits: int = 4
    method: Literal["a", "b"] = "a"
    steps: int = 9  # of training, more of it


def test_comments_say_what_options_mean() -> None:
    assert field_comments(Child) == {
        "steps": "of training, more of it",
        "rate": "as the paper has it, and no more",
        "bits": "what it starts with and ends with",
    }


KINDS = [
    (int, "whole number"),
    (Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)], "number, at least 0, below 1"),
    (bool, "yes or no"),
    (Literal["u8", "s8"], "one of s8, u8"),
    (Annotated[int, msgspec.Meta(ge=1)] | None, "whole number, at least 1 or nothing"),
    (tuple[str, ...], "list of text"),
    (dict[str, float], "table of number"),
]


@pytest.mark.parametrize(("type_", "words"), KINDS, ids=[words for _, words in KINDS])
def test_types_in_words(type_: object, words: str) -> None:
    assert _kind(msgspec.inspect.type_info(type_)) == words


def test_every_option_has_its_value_and_says_whether_the_recipe_sets_it() -> None:
    (int8,) = pass_options(Recipe("mine", "d", passes=(Step("int8", {"samples": 7}),)))
    assert int8.summary.startswith("Static int8")
    by_name = {option.name: option for option in int8.options}
    assert (by_name["samples"].value, by_name["samples"].default, by_name["samples"].changed) == (
        7,
        100,
        True,
    )
    assert (by_name["calibration"].value, by_name["calibration"].changed) == ("mse", False)
    assert by_name["calibration"].kind.startswith("one of ")


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_every_shipped_recipe_can_be_shown(recipe: Recipe) -> None:
    shown = pass_options(recipe)
    assert [one.name for one in shown] == [step.name for step in recipe.passes]
    assert all(one.summary for one in shown)
    assert f'name = "{recipe.name}"' in recipe_text(recipe.name)
    assert (recipe.kind == UNCHANGED) == (not recipe.passes)


def test_recipes_are_of_a_kind() -> None:
    assert load_recipe("int8").kind == "quantization"
    assert load_recipe("deep-compression").kind == "several methods"
