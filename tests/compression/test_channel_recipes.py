"""The recipes that cut channels, from a model to the decoded artifact, on the digits."""

from __future__ import annotations

import msgspec
import pytest
import torch

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import compress
from edgepress_compression.data.digits import digits_dataset, make_digits_model
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import evaluate
from edgepress_compression.graph.load import load_model
from edgepress_compression.recipe import Recipe, Step, load_recipe
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
PI = load_profile("raspberry-pi-4")
SHORT = {"steps": 120, "batch_size": 64, "refit_samples": 64}


@pytest.fixture(scope="module")
def digits() -> bytes:
    return make_digits_model()


def short(name: str, **options: object) -> Recipe:
    """The shipped recipe, trained for a moment."""
    recipe = load_recipe(name)
    first = Step(recipe.passes[0].name, {**recipe.passes[0].options, **SHORT, **options})
    return msgspec.structs.replace(recipe, passes=(first, *recipe.passes[1:]))


CASES = [
    ("structured-pruning", {"samples": 128}, 0.52),
    ("morphnet", {"target": 0.4, "steps": 240}, 0.62),
    ("hakd", {"samples": 128, "trial_steps": 20}, 0.8),
    ("best-latency", {"samples": 128}, 0.8),
]


@pytest.mark.parametrize(("name", "options", "most"), CASES, ids=[case[0] for case in CASES])
def test_the_recipe_ships_a_smaller_network_that_still_reads_digits(
    digits: bytes, name: str, options: dict[str, object], most: float
) -> None:
    result = compress(
        digits, recipe=short(name, **options), profile=PI, dataset=digits_dataset(), latency_seconds=0.1
    )
    costs = result.report["costs"]
    assert costs["after"]["flops"] <= most * costs["before"]["flops"]
    decoded = decode(result.artifact, max_bytes=10**7)
    shapes = {array.shape for array in load_model(decoded).weights.values()}
    assert (72, 512) not in shapes  # the first dense layer lost rows or columns
    found = evaluate(decoded, digits_dataset().split("test"))
    assert found.value == result.report["accuracy"]["after"]
    assert found.value >= 0.94
    assert any(stage["detail"] for stage in result.report["stages"] if stage["detail"])


@pytest.mark.parametrize("name", ["morphnet", "hakd"])
def test_a_recipe_that_trains_refuses_without_data(digits: bytes, name: str) -> None:
    with pytest.raises(RecipeError, match="label"):
        compress(digits, recipe=name, profile=PI)


@pytest.mark.parametrize("name", ["structured-pruning", "best-latency"])
def test_without_data_a_little_goes(digits: bytes, name: str) -> None:
    report = compress(digits, recipe=name, profile=PI, latency_seconds=0.1).report
    costs = report["costs"]
    assert 0.7 * costs["before"]["flops"] < costs["after"]["flops"] < costs["before"]["flops"]
