"""What may vary: only what makes sense for the model and the profile; every point is a recipe that runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_compression.data.digits import make_digits_model
from edgepress_compression.graph.load import load_model
from edgepress_compression.recipe import Recipe, Step, check_recipe, load_recipe
from edgepress_compression.search.recipe_toml import recipe_toml
from edgepress_compression.search.space import Parameter, Space, space_for
from edgepress_compression.search.starts import starts
from edgepress_devices.profile import load_profile


@pytest.fixture(scope="module")
def digits() -> bytes:
    return make_digits_model(seed=0)


def levels(space: Space, name: str) -> tuple[object, ...]:
    return next((one.levels for one in space.parameters if one.name == name), ())


def test_every_point_of_a_space_is_a_recipe_whose_options_are_right(digits: bytes) -> None:
    space = space_for(load_model(digits), load_profile("x86-pc"), samples=True, labelled=True)
    recipes = [space.recipe(point) for point in space.points(np.random.default_rng(0))]
    assert len(recipes) > 200
    assert len({repr(one.passes) for one in recipes}) == len(recipes), "one recipe is one point"
    for recipe in recipes[::17]:
        check_recipe(recipe)


def test_there_are_no_integers_where_the_profile_says_that_they_are_slower(digits: bytes) -> None:
    browser = load_profile("iphone-browser")
    assert browser.int8.activations is None
    space = space_for(load_model(digits), browser, samples=True, labelled=True)
    assert "int8" not in levels(space, "numbers")
    assert all("int8" not in {step.name for step in one.recipe.passes} for one in starts(space, browser, ("train", "test"), seconds=900))  # fmt: skip  # noqa: E501


def test_without_data_nothing_is_cut(digits: bytes) -> None:
    space = space_for(load_model(digits), load_profile("x86-pc"), samples=False, labelled=False)
    assert {one.name for one in space.parameters} <= {"bits", "numbers"}


def test_without_labels_cuts_stay_moderate(digits: bytes) -> None:
    graph, profile = load_model(digits), load_profile("x86-pc")
    light = space_for(graph, profile, samples=True, labelled=False)
    trained = space_for(graph, profile, samples=True, labelled=True)
    assert min(levels(light, "channels")) > min(levels(trained, "channels"))  # type: ignore[type-var, operator]


def test_a_model_that_insists_on_its_pictures_size_has_no_resolution(digits: bytes) -> None:
    space = space_for(load_model(digits), load_profile("x86-pc"), samples=True, labelled=True)
    assert levels(space, "resolution") == ()


def test_a_search_begins_with_the_shipped_recipes_as_they_are(digits: bytes) -> None:
    profile = load_profile("x86-pc")
    space = space_for(load_model(digits), profile, samples=True, labelled=True)
    begin = starts(space, profile, ("train", "test"), seconds=900, artifact_bytes=20_000)
    for name in ("int8", "balanced", "rate-distortion"):
        assert any(one.recipe == load_recipe(name) for one in begin), name
    for name in ("int8", "balanced", "rate-distortion"):
        point = next(one.point for one in begin if one.recipe == load_recipe(name))
        assert point, f"{name} teaches about its point of the space"
    aimed = [one for one in begin if any("target_bytes" in step.options for step in one.recipe.passes)]
    assert aimed and all(20_000 in step.options.values() for one in aimed for step in one.recipe.passes if "target_bytes" in step.options)  # fmt: skip  # noqa: E501


SPACE = Space(
    (
        Parameter("channels", (1.0, 0.8, 0.6)),
        Parameter("numbers", ("fp32", "int8")),
        Parameter("float_layers", (4, 2, 0), needs=("numbers", "int8")),
    )
)


def test_what_does_not_count_makes_no_second_point() -> None:
    points = list(SPACE.points(np.random.default_rng(0)))
    assert len(points) == 3 * (1 + 3)
    assert SPACE.canonical({"numbers": "fp32", "float_layers": 0})["float_layers"] == 4


def test_neighbours_differ_in_one_level_of_one_parameter() -> None:
    point = SPACE.canonical({"channels": 0.8, "numbers": "int8", "float_layers": 2})
    found = SPACE.neighbours(point)
    assert {"channels": 0.6, "numbers": "int8", "float_layers": 2} in found
    assert {"channels": 0.8, "numbers": "fp32", "float_layers": 4} in found
    assert point not in found


@given(
    st.text(max_size=40), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.lists(st.text())
)
def test_a_recipe_written_as_a_file_is_the_same_recipe(tmp_path_factory, text, number, flag, names) -> None:  # type: ignore[no-untyped-def]
    described = ("x" + text)[:500].replace("\r", " ")
    made = Recipe(
        "searched",
        described,
        "auto",
        (Step("a", {"kept": number, "flag": flag, "names": names, "text": text}), Step("b")),
        needs="unlabelled",
    )
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_bytes(recipe_toml(made).encode("utf-8", "surrogatepass"))
    assert load_recipe(path) == made


def test_without_samples_a_point_is_a_recipe_that_asks_for_none() -> None:
    without = dataclasses.replace(SPACE, samples=False)
    for point in without.points(np.random.default_rng(0)):
        assert without.recipe(point).needs == "none"
    assert SPACE.recipe({**SPACE.harmless, "numbers": "int8"}).needs == "unlabelled"
