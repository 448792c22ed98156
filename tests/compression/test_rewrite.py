"""Rewriting: the cheaper operators are the nearest there are, and where nothing must be lost nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tiny_models import mlp, model, normal

from edgepress_compression.data.dataset import dataset_from_arrays
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.rewrite import depthwise, fire, resolution, truncate
from edgepress_compression.passes.rewrite.convolution import convolutions, relative_error
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

INPUTS = np.random.default_rng(1).standard_normal((80, 3, 12, 12)).astype(np.float32)


def network(*, stride: int = 1, opset: int = 13, pooled: bool = True) -> Graph:
    """Stem, one wide 3 x 3 convolution, a classifier: x (N, 3, 12, 12) -> y (N, 4)."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["x", "stem", "stem.b"], ["s"], pads=[1] * 4),
        helper.make_node("Relu", ["s"], ["sr"]),
        helper.make_node("Conv", ["sr", "wide", "wide.b"], ["w"], pads=[1] * 4, strides=[stride] * 2),
        helper.make_node("Relu", ["w"], ["wr"]),
        *([helper.make_node("GlobalAveragePool", ["wr"], ["p"])] if pooled else []),
        helper.make_node("Flatten", ["p" if pooled else "wr"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "fc.b"], ["y"], transB=1),
    ]
    side = 1 if pooled else 12 // stride
    weights = {
        "stem": normal(rng, 8, 3, 3, 3, scale=0.3),
        "stem.b": normal(rng, 8),
        "wide": normal(rng, 16, 8, 3, 3, scale=0.2),
        "wide.b": normal(rng, 16),
        "fc": normal(rng, 4, 16 * side * side),
        "fc.b": normal(rng, 4),
    }
    proto = model(nodes, weights, input_shape=["N", 3, 12, 12], output_shape=["N", 4], opset=opset)
    return load_model(proto.SerializeToString())


def state_of(graph: Graph, *, with_data: bool = True) -> PassState:
    labels = np.arange(len(INPUTS)) % 4
    data = dataset_from_arrays("noise", {"x": INPUTS, "labels": labels})
    fitted = fit(data, graph.inputs, graph.outputs, model_name="tiny") if with_data else None
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=fitted)


def answers(graph: Graph) -> np.ndarray:
    return run(open_session(graph.serialize()), {graph.inputs[0].name: INPUTS})[0]


def rewritten(graph: Graph, module: Any, **options: Any) -> Graph:
    state = state_of(graph)
    module.run(state, module.Options(**options))
    return state.graph


def moment(rng: np.random.Generator, size: int) -> np.ndarray:
    mixed = rng.standard_normal((size, size))
    return np.asarray(mixed @ mixed.T / size + 0.1 * np.eye(size))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_separable_kernel_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernels, mixture = rng.standard_normal((5, 1, 3, 3)), rng.standard_normal((7, 5))
    weight = np.einsum("oi,ihw->oihw", mixture, kernels[:, 0])
    depth, point, error = depthwise.separated(weight, moment(rng, 45), 1)
    assert depth.shape == (5, 1, 3, 3) and point.shape == (7, 5, 1, 1)
    assert error < 1e-6
    assert np.allclose(np.einsum("oi,ihw->oihw", point[:, :, 0, 0], depth[:, 0]), weight, atol=1e-2)


def test_knowing_the_inputs_loses_less_of_the_outputs_than_not() -> None:
    rng = np.random.default_rng(3)
    weight, seen = rng.standard_normal((12, 6, 3, 3)), moment(rng, 54)

    def lost(knowing: np.ndarray) -> float:
        depth, point, _ = depthwise.separated(weight, knowing, 1)
        instead = np.einsum("oi,ihw->oihw", point[:, :, 0, 0], depth[:, 0]).reshape(12, 54)
        return relative_error(weight.reshape(12, 54), instead, seen)

    assert lost(seen) < 0.9 * lost(np.eye(54))


def test_as_many_kernels_as_taps_lose_nothing_and_rectifiers_start_as_what_they_replace() -> None:
    graph = network()
    expected = answers(graph)
    exact = rewritten(graph.copy(), depthwise, multiplier=8, layers=("wide",))
    more = rewritten(graph.copy(), depthwise, multiplier=8, layers=("wide",), prelu=False)
    kinds = [node.op_type for node in exact.proto.graph.node]
    assert kinds[2:6] == ["Conv", "PRelu", "Conv", "PRelu"]
    # 8 of 9 taps: all but the least of what the kernels need
    assert np.abs(answers(exact) - expected).max() < 0.05 * np.abs(expected).max()
    assert np.allclose(answers(exact), answers(more), atol=1e-4)


def test_stride_and_padding_stay_where_they_were() -> None:
    graph = rewritten(network(stride=2), depthwise)
    assert graph.shapes()["w"] == (1, 16, 6, 6)
    first = convolutions(graph)[1]
    assert first.groups == 8 and first.name == "wide.depthwise"
    assert graph.weight_bytes() < network(stride=2).weight_bytes()


def test_the_first_layer_and_what_would_not_get_cheaper_stay() -> None:
    state = state_of(network())
    depthwise.run(state, depthwise.Options())
    assert "stem" in state.graph.weights
    with pytest.raises(RecipeError, match="no convolution that would get cheaper"):
        depthwise.run(state_of(mlp(np.random.default_rng(0)), with_data=False), depthwise.Options())


def test_a_layer_that_would_lose_too_much_stays_and_that_is_said() -> None:
    state = state_of(network())
    before = state.graph.serialize()
    depthwise.run(state, depthwise.Options(most_error=1e-9))
    assert state.graph.serialize() == before
    assert any("nothing was changed" in sentence for sentence in state.warnings)


def test_a_fire_module_has_the_widths_of_the_paper() -> None:
    # SqueezeNet's fire2 (table 1): s1x1 = 16, e1x1 = 64, e3x3 = 64, a squeeze ratio of 0.125
    options = fire.Options(squeeze_ratio=0.125, pct3x3=0.5)
    assert fire.widths(128, 96, options) == (16, 64, 64)


def test_a_fire_module_wide_enough_loses_nothing() -> None:
    graph = network()
    expected = answers(graph)
    one = convolutions(graph)[1]
    found = fire.fire_of(one, np.eye(72), fire.Options(squeeze_ratio=1.0, pct3x3=1.0, relu=False))
    assert found.error < 1e-9 and found.small.shape[0] == 0
    module = np.einsum("oshw,si->oihw", found.large, found.squeeze[:, :, 0, 0])
    assert np.allclose(module, one.weight, atol=1e-5)
    state = state_of(graph)
    fire.run(state, fire.Options(squeeze_ratio=0.5, pct3x3=0.5, relu=False, layers=("wide",)))
    assert [node.op_type for node in state.graph.proto.graph.node].count("Concat") == 1
    assert answers(state.graph).shape == expected.shape
    assert np.corrcoef(answers(state.graph).ravel(), expected.ravel())[0, 1] > 0.5


def test_biases_lift_squeezed_channels_over_the_rectifier(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    plain = answers(rewritten(graph.copy(), fire, squeeze_ratio=0.5, relu=False))
    lifted = np.abs(answers(rewritten(graph.copy(), fire, squeeze_ratio=0.5)) - plain).mean()
    monkeypatch.setattr(fire, "_LIFT", 0.0)
    cut = np.abs(answers(rewritten(graph.copy(), fire, squeeze_ratio=0.5)) - plain).mean()
    assert lifted < 0.6 * cut


def test_a_model_computes_on_smaller_pictures_and_is_fed_the_same() -> None:
    graph = rewritten(network(), resolution, scale=0.5)
    assert graph.inputs[0].shape == ("N", 3, 12, 12)
    assert graph.shapes()["s"] == (1, 8, 6, 6)
    macs = network().macs()
    assert macs is not None and graph.macs() is not None and graph.macs() < 0.3 * macs
    assert answers(graph).shape == (80, 4)


def test_a_model_that_was_resized_can_be_truncated() -> None:
    smaller = rewritten(network(stride=2), resolution, scale=1.0)
    both = rewritten(smaller, truncate)
    assert both.shapes()["s"] == (1, 8, 6, 6)


def test_reshapes_of_a_channel_shuffle_follow_the_size() -> None:
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], pads=[1] * 4),
        helper.make_node("Reshape", ["a", "apart"], ["b"]),
        helper.make_node("Transpose", ["b"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "together"], ["d"]),
        helper.make_node("Conv", ["d", "e"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    weights = {
        "c": normal(rng, 8, 3, 3, 3),
        "apart": np.array([1, 2, 4, 12, 12]),
        "together": np.array([1, 8, 12, 12]),
        "e": normal(rng, 4, 8, 1, 1),
    }
    graph = load_model(
        model(nodes, weights, input_shape=[1, 3, 12, 12], output_shape=[1, 4]).SerializeToString()
    )
    smaller = resolution.at_resolution(graph, 6, 6)
    (output,) = run(open_session(smaller.serialize()), {"x": INPUTS[:1]})
    assert output.shape == (1, 4)
    # what the graph computes on a picture that was resized before
    first = [node for node in smaller.proto.graph.node if node.op_type == "Reshape"]
    assert [list(smaller.weights[node.input[1]]) for node in first] == [[1, 2, 4, 6, 6], [1, 8, 6, 6]]


def test_a_size_keeps_as_many_halvings_as_there_are() -> None:
    assert resolution.scaled_size(network(stride=2), 0.75) == (8, 8)  # 9 could not be halved
    assert resolution.scaled_size(network(stride=2), 1.5) == (18, 18)


def test_what_cannot_change_its_size_says_so() -> None:
    with pytest.raises(RecipeError, match="dense layer that needs its pictures in one size"):
        rewritten(network(pooled=False), resolution, scale=0.5)
    with pytest.raises(RecipeError, match="whose one input is a picture"):
        resolution.run(state_of(mlp(np.random.default_rng(0)), with_data=False), resolution.Options())
    with pytest.raises(RecipeError, match="needs opset 11"):
        rewritten(network(opset=9), resolution, scale=0.5)


def test_truncation_takes_the_first_stride_out_and_halves_the_picture() -> None:
    before = network(stride=2)
    after = rewritten(before, truncate)
    assert after.shapes()["w"] == before.shapes()["w"]
    assert after.shapes()["s"] == (1, 8, 6, 6)
    finer = rewritten(network(stride=2), truncate, shrink_input=False)
    assert finer.shapes()["w"] == (1, 16, 12, 12)
    with pytest.raises(RecipeError, match="finds 1 steps that halve"):
        rewritten(network(stride=2), truncate, halvings=2)
