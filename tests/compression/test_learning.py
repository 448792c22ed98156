"""Learning without labels and other classes: against the papers' formulae, and on the digits for real."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import dataset_from_arrays
from edgepress_compression.data.digits import digits_arrays, make_digits_model
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import evaluate, open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.passes.learning import new_head, pretrain
from edgepress_compression.passes.learning.classifier import find_classifier
from edgepress_compression.passes.learning.fresh import fresh_weights
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import Recipe, Step
from edgepress_devices.profile import load_profile


def noise(shape: tuple[int, ...], classes: int = 3, count: int = 160) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((count, *shape)).astype(np.float32),
        "labels": np.arange(count) % classes,
    }


def state_of(graph, arrays=None) -> PassState:  # type: ignore[no-untyped-def]
    data = None
    if arrays is not None:
        data = fit(dataset_from_arrays("noise", arrays), graph.inputs, graph.outputs, model_name="m")
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=data)


def test_the_contrastive_loss_is_the_papers() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 4, generator=rng), torch.randn(5, 4, generator=rng)
    views = [F.normalize(v, dim=0) for v in (*first, *second)]
    t, total = 0.5, 0.0
    for i, own in enumerate(views):  # equation 1, written out
        others = [math.exp(float(own @ v) / t) for k, v in enumerate(views) if k != i]
        total -= math.log(math.exp(float(own @ views[(i + 5) % 10]) / t) / sum(others))
    loss = pretrain.contrastive_loss(first, second, t)
    assert float(loss) == pytest.approx(total / 10, rel=1e-5)
    same = torch.ones(5, 4)
    assert float(pretrain.contrastive_loss(same, same, t)) == pytest.approx(math.log(9), rel=1e-5)


def test_pre_training_lowers_its_loss_without_a_label() -> None:
    state = state_of(cnn(np.random.default_rng(0)), noise((1, 8, 8)))
    before = dict(state.graph.weights)
    pretrain.run(state, pretrain.Options(steps=60, batch_size=32, flip=False, from_scratch=True))
    note = state.stages[-1].note or ""
    first, last = (float(word) for word in note.removeprefix("contrastive loss ").split(" -> "))
    assert last < first - 0.1
    assert (state.graph.weights["conv.weight"] != before["conv.weight"]).any()


def test_pre_training_repeats_by_its_seed() -> None:
    runs = []
    for _ in range(2):
        state = state_of(cnn(np.random.default_rng(0)), noise((1, 8, 8)))
        pretrain.run(state, pretrain.Options(steps=5, batch_size=16))
        runs.append(state.graph.serialize())
    assert runs[0] == runs[1]


def test_pre_training_says_what_it_lacks() -> None:
    with pytest.raises(RecipeError, match="give a data set"):
        pretrain.run(state_of(cnn(np.random.default_rng(0))), pretrain.Options())
    with pytest.raises(RecipeError, match="has 24 samples"):
        arrays = noise((1, 8, 8), count=30)
        pretrain.run(state_of(cnn(np.random.default_rng(0)), arrays), pretrain.Options())
    with pytest.raises(RecipeError, match="views of pictures"):
        pretrain.run(state_of(mlp(np.random.default_rng(0)), noise((16,), 4, 200)), pretrain.Options())
    with pytest.raises(RecipeError, match="looks for the split 'test'"):
        state = state_of(cnn(np.random.default_rng(0)), noise((1, 8, 8)))
        pretrain.run(state, pretrain.Options(split="test"))


def test_fresh_weights_are_as_large_as_their_inputs_ask() -> None:
    graph = mlp(np.random.default_rng(0), inputs=200, hidden=300)
    fresh_weights(graph, seed=1)
    assert graph.weights["w1"].std() == pytest.approx(math.sqrt(2 / 200), rel=0.05)
    assert not graph.weights["b1"].any()


def test_the_classifier_is_found_behind_pools_and_softmax() -> None:
    graph = cnn(np.random.default_rng(0))
    found = find_classifier(graph)
    assert (found.weight, found.bias, found.features) == ("fc.weight", "fc.bias", "f")
    assert (found.classes(graph), found.width(graph)) == (3, 96)


def test_ridge_regression_is_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    weight, bias = new_head.ridge_regression(x, labels, 3, 1e-12)
    ones = np.concatenate([x, np.ones((60, 1))], axis=1)
    expected = np.linalg.lstsq(ones, np.eye(3)[labels], rcond=None)[0].T
    assert np.allclose(weight, expected[:, :5], atol=1e-6) and np.allclose(bias, expected[:, 5], atol=1e-6)


def test_a_digits_model_learns_to_tell_odd_from_even() -> None:
    graph = load_model(make_digits_model())
    arrays = digits_arrays()
    labels = next(name for name in arrays if name == "labels")
    parity = {**arrays, labels: arrays[labels] % 2}
    parity.pop("class_names", None)
    data = fit(dataset_from_arrays("parity", parity), graph.inputs, graph.outputs, model_name="digits")
    state = PassState(graph=graph, profile=load_profile("x86-pc"), dataset=data)
    new_head.run(state, new_head.Options())
    assert state.graph.outputs[0].shape[-1] == 2
    accuracy = evaluate(state.graph.serialize(), data.split("test")).value
    assert accuracy > 0.93
    assert state.original.serialize() == state.graph.serialize()


def test_a_new_head_may_have_more_classes_than_the_old_one_and_is_not_fitted_on_what_judges() -> None:
    arrays = noise((16,), classes=6, count=400)
    recipe = Recipe("more", "more classes", passes=(Step("new-head"),))
    result = compress(
        mlp(np.random.default_rng(0)),
        recipe=recipe,
        profile="x86-pc",
        dataset=dataset_from_arrays("six", arrays),
        latency_seconds=0.05,
    )
    assert "of 288 training samples" in result.report["stages"][0]["note"]  # 320, less the tenth held out
    graph = load_model(decode(result.artifact, max_bytes=10**7))
    assert graph.outputs[0].shape[-1] == 6
    assert any("counts for nothing" in sentence for sentence in result.report["warnings"])


def test_a_product_without_a_bias_gets_one() -> None:
    nodes = [helper.make_node("Identity", ["x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    weights = {"w": normal(np.random.default_rng(0), 5, 3)}
    proto = model(nodes, weights, input_shape=["N", 5], output_shape=["N", 3])
    graph = load_model(proto.SerializeToString())
    weight, bias = np.random.default_rng(1).standard_normal((4, 5)), np.arange(4.0)
    new_head.put_classifier(graph, find_classifier(graph), weight, bias)
    x = np.ones((2, 5), np.float32)
    (answers,) = run(open_session(graph.serialize()), {"x": x})
    assert np.allclose(answers, x @ weight.T + bias, atol=1e-5)


def test_a_new_head_without_labels_says_what_to_give() -> None:
    with pytest.raises(RecipeError, match="split named train"):
        new_head.run(state_of(cnn(np.random.default_rng(0))), new_head.Options())
