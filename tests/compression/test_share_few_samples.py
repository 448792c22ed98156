"""Rounding with few samples: sensitive tensors finely, errors made up for, labels never read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blobs import blobs, state
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.estimate import index_bits
from edgepress_compression.passes.layer_inputs import layer_inputs
from edgepress_compression.passes.sharing import share
from edgepress_compression.passes.sharing.feedback import round_with_feedback
from edgepress_compression.passes.sharing.sensitivity import equal_harm_steps, mean_information
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)
ROWS = np.arange(48)
SPLIT = blobs(60).split("train")


def test_values_are_few_true_to_the_graph_and_cost_the_asked_bits() -> None:
    work = state(mlp(np.random.default_rng(0), hidden=64), blobs(60))
    share.run(work, share.Options(answers_bits=4.0))
    for name, code in work.codes.items():
        np.testing.assert_array_equal(code.codebook[code.indices], work.graph.weights[name])
    assert set(work.codes) == {"w1", "w2"}
    bits = sum(index_bits(code) for code in work.codes.values()) / sum(
        c.indices.size for c in work.codes.values()
    )
    assert bits == pytest.approx(4.0, abs=0.2)


def test_labels_are_never_read() -> None:
    results = []
    for label in (0, 3):
        few = blobs(60)
        few.split("train").labels[:] = label
        work = state(mlp(np.random.default_rng(0)), few)
        share.run(work, share.Options())
        results.append(work.graph.serialize())
    assert results[0] == results[1]


def correlated(rng: np.random.Generator, samples: int, size: int) -> np.ndarray:
    """Inputs that say nearly the same: errors of one weight can be made up for by others."""
    common = rng.standard_normal((samples, 1)) + 0.2 * rng.standard_normal((samples, size))
    return common.astype(np.float32)


LAYERS = {
    "dense": ([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], (6, 12), (200, 12), ["N", 6]),
    "dense, not transposed": ([helper.make_node("MatMul", ["x", "w"], ["y"])], (12, 6), (200, 12), ["N", 6]),
    "convolution": (
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 0, 0], strides=[2, 1])],
        (6, 2, 2, 2), (40, 2, 6, 4), ["N", 6, 3, 4],
    ),
    "convolution in groups": (
        [helper.make_node("Conv", ["x", "w"], ["y"], group=2)], (6, 2, 2, 2), (40, 4, 6, 4), ["N", 6, 5, 3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LAYERS)
def test_feedback_keeps_a_layers_outputs_closer_than_rounding_does(what: str) -> None:
    nodes, weight_shape, input_shape, output_shape = LAYERS[what]
    rng = np.random.default_rng(3)
    weight = normal(rng, *weight_shape)
    x = correlated(rng, input_shape[0], int(np.prod(input_shape[1:]))).reshape(input_shape)
    proto = model(nodes, {"w": weight}, input_shape=["N", *input_shape[1:]], output_shape=output_shape)
    graph = load_model(proto.SerializeToString())
    executor = Executor(graph)
    moments = layer_inputs(executor, lambda rows: {"x": x[rows]}, np.arange(len(x)), ["w"], seed=0)["w"]
    step = 0.5
    whole, gain = round_with_feedback(weight, moments, step)
    assert whole.shape == weight.shape
    assert gain.shape == (6,)
    target = executor.run({"x": x})["y"]

    def error(rounded: np.ndarray) -> float:
        changed = graph.copy()
        changed.set_weight("w", rounded.astype(np.float32))
        return float(((Executor(changed).run({"x": x})["y"] - target) ** 2).mean())

    assert error(whole * step) < 0.5 * error(np.rint(weight / step) * step)


def test_moments_are_those_of_the_patches() -> None:
    graph = cnn(np.random.default_rng(0))
    x = normal(np.random.default_rng(1), 5, 1, 8, 8)
    moments = layer_inputs(
        Executor(graph), lambda rows: {"x": x[rows]}, np.arange(5), ["conv.weight"], seed=0
    )
    found = moments["conv.weight"]
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    patches = np.stack(
        [padded[n, i : i + 3, j : j + 3].reshape(-1) for n in range(5) for i in range(8) for j in range(8)]
    )
    assert found.count == 5 * 64
    assert found.bias == "conv.bias"
    np.testing.assert_allclose(found.products[0], patches.T @ patches, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.sums[0], patches.sum(axis=0), rtol=1e-4, atol=1e-3)


def test_mean_outputs_stay_through_the_bias() -> None:
    graph = mlp(np.random.default_rng(0))
    few = blobs(60)
    rows = state(graph, few).dataset
    assert rows is not None
    work = state(graph.copy(), few)
    share.run(work, share.Options(answers_bits=2.0))
    x = {"x": SPLIT.fetch(np.arange(len(SPLIT)))["x"]}
    hidden = {"x": x["x"]}

    def first_layer(g: Graph) -> np.ndarray:
        return hidden["x"] @ g.weights["w1"].T + g.weights["b1"]

    change = (first_layer(work.graph) - first_layer(graph)).mean(axis=0)
    assert np.abs(change).max() < 0.01


def test_what_matters_more_is_rounded_more_finely() -> None:
    rng = np.random.default_rng(0)
    weights = {"calm": normal(rng, 100, 10), "touchy": normal(rng, 100, 10)}
    steps = equal_harm_steps(weights, {"calm": 1.0, "touchy": 16.0}, bits=4.0)
    assert steps["calm"] == pytest.approx(4 * steps["touchy"], rel=1e-3)


def test_information_is_the_squared_gradient_of_drawn_answers() -> None:
    graph = mlp(np.random.default_rng(0))
    loss = loss_for(graph, "classification", label_share=0.0)
    information = mean_information(Executor(graph), SPLIT.fetch, ROWS, loss, seed=0)
    # the exact expectation over answers, for the last bias: mean over rows and classes of p (1 - p)
    logits = torch.from_numpy(Executor(graph).run(SPLIT.fetch(ROWS))["y"])
    p = logits.softmax(dim=1)
    exact = float((p * (1 - p)).mean())
    assert information["b2"] == pytest.approx(exact, rel=0.3)
    other = mean_information(
        Executor(graph), SPLIT.fetch, ROWS, loss_for(graph, "detection", label_share=0), seed=0
    )
    assert all(value > 0 for value in other.values())
