"""The compression recipes this server knows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field, RootModel

from edgepress_compression.errors import RecipeError
from edgepress_compression.recipe import Recipe, coded, lacking, list_recipes, recipe_text, within
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError, NotFoundError
from edgepress_server.jobs.recipe_passes import recipe_passes

api = section("recipes", "Lists of compression passes.")


class RecipePath(Asked):
    name: Annotated[str, Field(max_length=80)]


class RecipesQuery(Asked):
    dataset: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="The data set that `lacks` is told for; without: for none"
    )


class RecipeAnswer(Answer):
    name: str
    description: str
    source: str = Field(description="The paper whose method it is; empty: our own")
    kind: str = Field(description="The family of its methods, to group recipes by")
    needs: Literal["none", "unlabelled", "labelled"] = Field(description="Data without which it refuses")
    lacks: str | None = Field(description="What it needs and is not there, in words; null: it can run")
    takes_budget: bool = Field(description="It can aim at a number of bytes for the artifact")


class OptionAnswer(Answer):
    name: str
    value: Any = Field(description="In this recipe")
    default: Any
    changed: bool = Field(description="The recipe sets it")
    kind: str = Field(description="What values it takes, in words")
    meaning: str


class PassAnswer(Answer):
    name: str
    summary: str
    options: list[OptionAnswer]


class RecipeDetail(RecipeAnswer):
    coding: str = Field(description="How weights are coded")
    passes: list[PassAnswer]
    toml: str = Field(description="The recipe's file")


class Recipes(RootModel[list[RecipeAnswer]]):
    pass


def check_recipe(
    name: str, *, dataset: str | None, target_bytes: int | None = None, coding: str | None = None
) -> Recipe:
    """Only shipped names, never a path.

    Raises NotFoundError; InvalidInputError when it needs data that this data set does not have, cannot aim at
    a number of bytes, or when there is no such coding.
    """
    recipe = _known(name)
    lack = lacking(recipe, _splits(dataset))
    if lack is not None:
        raise InvalidInputError("recipe_needs_data", f"The recipe {name} {lack}.")
    if target_bytes is not None:
        try:
            within(recipe, target_bytes)
        except RecipeError as error:
            raise InvalidInputError("recipe_takes_no_budget", str(error)) from error
    if coding is not None:
        try:
            coded(recipe, coding)
        except RecipeError as error:
            raise InvalidInputError("coding_unknown", str(error)) from error
    return recipe


@api.get("/recipes", responses={200: Recipes})
@needs("viewer")
def get_recipes(query: RecipesQuery) -> Response:
    """All recipes"""
    splits = _splits(query.dataset)
    return answers([RecipeAnswer(**_facts(recipe, splits)) for recipe in list_recipes()])


@api.get("/recipes/<name>", responses={200: RecipeDetail})
@needs("viewer")
def get_recipe(path: RecipePath, query: RecipesQuery) -> Response:
    """One recipe, with every option of its passes"""
    recipe = _known(path.name)
    return answer(
        RecipeDetail(
            **_facts(recipe, _splits(query.dataset)),
            coding=recipe.coding,
            passes=[PassAnswer.model_validate(one) for one in recipe_passes().get(recipe.name, [])],
            toml=recipe_text(recipe.name),
        )
    )


def _known(name: str) -> Recipe:
    known = {recipe.name: recipe for recipe in list_recipes()}
    if name not in known:
        raise NotFoundError(
            "recipe_unknown", f"There is no recipe {name[:80]!r}. Known: {', '.join(sorted(known))}."
        )
    return known[name]


def _splits(dataset: str | None) -> list[str] | None:
    """Names of the data set's splits. Raises NotFoundError."""
    return None if dataset is None else list(context().store.datasets.get(dataset).summary.get("splits", {}))


def _facts(recipe: Recipe, splits: list[str] | None) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "description": recipe.description,
        "source": recipe.source,
        "kind": recipe.kind,
        "needs": recipe.needs,
        "lacks": lacking(recipe, splits),
        "takes_budget": recipe.takes_budget,
    }
