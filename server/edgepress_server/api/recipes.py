"""The compression recipes this server knows."""

from __future__ import annotations

from flask import Response
from pydantic import Field, RootModel

from edgepress_compression.errors import RecipeError
from edgepress_compression.recipe import BUDGETED, Recipe, coded, list_recipes, within
from edgepress_server.api.answers import Answer, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.errors import InvalidInputError, NotFoundError

api = section("recipes", "Lists of compression passes.")


class RecipeAnswer(Answer):
    name: str
    description: str
    needs_data: bool = Field(description="It cannot run without a labelled data set")
    takes_budget: bool = Field(description="It can aim at a number of bytes for the artifact")


class Recipes(RootModel[list[RecipeAnswer]]):
    pass


def check_recipe(
    name: str, *, has_data: bool, target_bytes: int | None = None, coding: str | None = None
) -> Recipe:
    """Only shipped names, never a path.

    Raises NotFoundError; InvalidInputError when it needs data, cannot aim at a number of bytes, or when there
    is no such coding.
    """
    known = {recipe.name: recipe for recipe in list_recipes()}
    if name not in known:
        raise NotFoundError(
            "recipe_unknown", f"There is no recipe {name[:80]!r}. Known: {', '.join(sorted(known))}."
        )
    if _needs_data(known[name]) and not has_data:
        raise InvalidInputError(
            "recipe_needs_data",
            f"Recipe {name} needs a labelled data set. Give the model one, or name one in the request.",
        )
    if target_bytes is not None:
        try:
            within(known[name], target_bytes)
        except RecipeError as error:
            raise InvalidInputError("recipe_takes_no_budget", str(error)) from error
    if coding is not None:
        try:
            coded(known[name], coding)
        except RecipeError as error:
            raise InvalidInputError("coding_unknown", str(error)) from error
    return known[name]


@api.get("/recipes", responses={200: Recipes})
@needs("viewer")
def get_recipes() -> Response:
    """All recipes"""
    return answers(
        [
            RecipeAnswer(
                name=recipe.name,
                description=recipe.description,
                needs_data=_needs_data(recipe),
                takes_budget=any(step.name in BUDGETED for step in recipe.passes),
            )
            for recipe in list_recipes()
        ]
    )


def _needs_data(recipe: Recipe) -> bool:
    """Recipes say so where it is true; those that are only better with data do not."""
    return bool(getattr(recipe, "needs_data", False))
