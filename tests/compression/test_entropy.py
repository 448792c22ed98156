"""Training under a price for coded bytes: true codes, the bytes asked for, accuracy kept, rows that empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blobs import blobs, state
from tiny_models import cnn, mlp

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.compress import compress
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.entropy import entropy
from edgepress_compression.passes.entropy.entropy import tensor_forms
from edgepress_compression.passes.entropy.latents import Form, Latent, PricedIntegers
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import Recipe, Step
from edgepress_compression.training.loop import top1
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
DATA = blobs(2000)
OPTIONS = entropy.Options(steps=400, batch_size=50, most_epochs=100.0)


def accuracy(work: PassState) -> float:
    split = DATA.split("test")
    return top1(Executor(work.graph), split, np.arange(len(split)), "y")


@pytest.fixture(scope="module")
def trained() -> PassState:
    """A model that knows the blobs, in fp32."""
    work = state(mlp(np.random.default_rng(0), hidden=64), DATA)
    options = entropy.Options(
        steps=300, batch_size=50, target_bytes=4000, step=0.05, label_share=1.0, learning_rate=5e-3
    )
    entropy.run(work, options)
    work.codes.clear()
    assert accuracy(work) > 0.97
    return work


def test_the_artifact_has_the_bytes_asked_for_and_the_model_still_knows(trained: PassState) -> None:
    work = state(trained.graph.copy(), DATA)
    entropy.run(work, entropy.Options(steps=450, batch_size=50, target_bytes=700))
    assert 630 <= work.artifact_bytes(work) <= 700
    assert accuracy(work) > 0.95
    for name, code in work.codes.items():
        assert isinstance(code, ScaledIntegers)
        assert np.abs(code.integers).max() <= 127
        np.testing.assert_array_equal(code.weights(), work.graph.weights[name])
    (stage,) = work.stages
    assert stage.accuracy is not None
    assert stage.nonzero is not None
    assert stage.nonzero < 0.6


def test_the_same_seed_gives_the_same_integers(trained: PassState) -> None:
    found = []
    for _ in range(2):
        work = state(trained.graph.copy(), DATA, seed=3)
        entropy.run(work, entropy.Options(steps=60, batch_size=50, target_bytes=1200))
        found.append(work.graph.serialize())
    assert found[0] == found[1]


def test_a_target_below_an_empty_model_says_what_is_possible(trained: PassState) -> None:
    work = state(trained.graph.copy(), DATA)
    with pytest.raises(RecipeError, match=r"cannot be reached: this model takes [0-9,]+ bytes"):
        entropy.run(work, entropy.Options(target_bytes=50))


def test_accuracy_that_rounding_loses_is_lost(trained: PassState) -> None:
    """Grids so coarse that hardly a weight is left, and no training to speak of."""
    work = state(trained.graph.copy(), DATA)
    entropy.run(work, entropy.Options(steps=1, learning_rate=1e-9, step=4.0, target_bytes=4000))
    assert accuracy(work) < accuracy(trained) - 0.1
    assert any("loses over 2 points of accuracy" in warning for warning in work.warnings)


def test_without_data_it_says_what_to_give() -> None:
    with pytest.raises(RecipeError, match="give a data set"):
        entropy.run(state(mlp(np.random.default_rng(0)), None), OPTIONS)


def test_with_few_samples_the_answers_of_the_original_are_the_target(trained: PassState) -> None:
    work = state(trained.graph.copy(), blobs(200))
    entropy.run(work, entropy.Options(steps=300, batch_size=20, target_bytes=1100))
    assert work.artifact_bytes(work) <= 1100
    assert accuracy(work) > 0.9
    (stage,) = work.stages
    assert stage.accuracy is None


def test_a_grid_that_a_pass_before_chose_stays(trained: PassState) -> None:
    work = state(trained.graph.copy(), DATA)
    before = ScaledIntegers(np.rint(work.graph.weights["w1"] / 0.11).astype(np.int32), np.float32([0.11]))
    work.graph.set_weight("w1", before.weights())
    work.codes["w1"] = before
    executor = Executor(work.graph)
    forms = tensor_forms(work.graph, executor, OPTIONS, work.codes)
    assert forms["w1"].steps.tolist() == [np.float32(0.11)]
    np.testing.assert_array_equal(PricedIntegers(executor, forms).codes()["w1"].integers, before.integers)


def test_integers_are_gradients_of_straight_through_rounding() -> None:
    """Against torch: w = step * (latent + stop_gradient(round(latent) - latent)), step = step0 * exp(3 s)."""
    rng = torch.Generator().manual_seed(0)
    start, wanted = torch.randn(4, 6, generator=rng), torch.randn(4, 6, generator=rng)
    for steps in (torch.tensor([0.5]), torch.rand(4, generator=rng) + 0.3):
        parameter = torch.nn.Parameter(start.clone())
        latent = Latent(parameter, Form(0, 1, steps))
        latent.apply()
        (parameter - wanted).square().sum().backward()
        latent.collect(0.0)

        values, scale = start.clone().requires_grad_(), torch.zeros_like(steps).requires_grad_()
        column = steps[:, None] if len(steps) > 1 else steps
        wide = scale[:, None] if len(steps) > 1 else scale
        latents = values / column
        weight = column * torch.exp(3 * wide) * (latents + (latents.round() - latents).detach())
        (weight - wanted).square().sum().backward()
        assert values.grad is not None
        assert scale.grad is not None
        torch.testing.assert_close(latent.values.grad, values.grad)
        torch.testing.assert_close(latent.scale.grad, scale.grad)
        torch.testing.assert_close(parameter.detach(), weight.detach())


def test_batch_normalization_goes_into_the_weights_first() -> None:
    graph = cnn(np.random.default_rng(0))
    executor = Executor(graph)
    forms = tensor_forms(graph, executor, OPTIONS)
    assert forms["conv.weight"].kernel == 9
    assert forms["fc.weight"].axis == 0
    priced = PricedIntegers(executor, forms)
    assert set(priced.codes()) == set(forms)


def test_after_quantize_training_starts_from_its_integers_and_keeps_to_the_bytes(trained: PassState) -> None:
    steps = (
        Step("quantize", {"bits": 2.5, "trellis": False}),
        Step("entropy", {"target_bytes": 1500, "steps": 150, "learning_rate": 5e-4}),
    )
    result = compress(
        trained.graph.copy(),
        recipe=Recipe("both", "Two passes.", passes=steps),
        profile=load_profile("raspberry-pi-4"),
        dataset=DATA,
        latency_seconds=0.05,
        model_name="tiny",
    )
    assert len(result.artifact) <= 1500
    assert result.report["accuracy"]["after"] > 0.95
