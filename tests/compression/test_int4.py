"""int4 block weights: the bytes are those that onnxruntime's MatMulNBits reads."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from test_weight_only import correlated, state_of
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.weight_only import int4, weight_only
from edgepress_compression.passes.weight_only.nibbles import pack, pack_blocks, unpack
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(31)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=40))
def test_unpacking_gives_back_what_was_packed(numbers: list[int]) -> None:
    array = np.array(numbers)
    np.testing.assert_array_equal(unpack(pack(array, 3), len(numbers)), array)


@settings(deadline=None, max_examples=30)
@given(
    inputs=st.integers(1, 150),
    outputs=st.integers(1, 9),
    block=st.sampled_from([16, 32, 64]),
    with_zeros=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_onnxruntime_reads_the_same_matrix(
    inputs: int, outputs: int, block: int, with_zeros: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    blocks = -(-inputs // block)
    numbers = rng.integers(0, 16, (outputs, inputs))
    zeros = rng.integers(0, 16, (outputs, blocks)) if with_zeros else np.full((outputs, blocks), 8)
    scales = rng.uniform(0.01, 1, (outputs, blocks)).astype(np.float32)
    constants = {"b": pack_blocks(numbers, zeros, block), "s": scales.reshape(-1)}
    if with_zeros:
        constants["z"] = pack(zeros, 8).reshape(-1)
    node = helper.make_node(
        "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", K=inputs, N=outputs, bits=4,
        block_size=block, accuracy_level=1,
    )  # fmt: skip
    proto = model([node], {}, input_shape=["N", inputs], output_shape=["N", outputs])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    repeated = np.repeat(scales, block, axis=1)[:, :inputs]
    weight = (numbers - np.repeat(zeros, block, axis=1)[:, :inputs]) * repeated
    x = rng.standard_normal((3, inputs)).astype(np.float32)
    graph = load_model(proto.SerializeToString())
    expected = x @ weight.T.astype(np.float32)
    np.testing.assert_allclose(run(open_session(proto.SerializeToString()), {"x": x})[0], expected, atol=2e-3)
    np.testing.assert_allclose(Executor(graph).run({"x": x})["y"], expected, atol=2e-3)


def quantized(graph: Graph, x: np.ndarray | None = None, **options: object) -> PassState:
    state = state_of(graph, x)
    int4.run(state, msgspec.convert(options, int4.Options))
    return state


def answers(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(open_session(graph.serialize()), {"x": x})[0]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("feedback", [True, False])
def test_the_model_answers_as_before(symmetric: bool, feedback: bool) -> None:
    graph = mlp(np.random.default_rng(3), inputs=80, hidden=64)
    x = RNG.standard_normal((200, 80)).astype(np.float32)
    state = quantized(graph, x, symmetric=symmetric, feedback=feedback, block=32)
    kinds = [node.op_type for node in state.graph.proto.graph.node]
    assert kinds.count("MatMulNBits") == 2
    before, after = answers(graph, x), answers(state.graph, x)
    assert np.square(before - after).mean() < 0.03 * np.square(before).mean()


def test_feedback_lowers_the_error() -> None:
    graph = mlp(np.random.default_rng(3), inputs=64, hidden=32)
    x = correlated(400, 64)
    errors = [
        float(np.square(answers(quantized(graph, x, feedback=feedback).graph, x) - answers(graph, x)).mean())
        for feedback in (False, True)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_a_matrix_on_the_right_without_a_bias_and_with_free_leading_dimensions() -> None:
    rng = np.random.default_rng(4)
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"w": normal(rng, 48, 20, scale=0.2)},
        input_shape=["N", 5, 48],
        output_shape=["N", 5, 20],
    )
    graph = load_model(proto.SerializeToString())
    x = rng.standard_normal((7, 5, 48)).astype(np.float32)
    for feedback in (True, False):
        after = answers(quantized(graph, x if feedback else None, feedback=feedback, block=16).graph, x)
        assert np.square(after - answers(graph, x)).mean() < 0.02 * np.square(answers(graph, x)).mean()


def test_weights_after_it_can_still_be_quantized_for_bytes() -> None:
    graph = mlp(np.random.default_rng(3), inputs=64, hidden=40)
    x = correlated(100, 64)
    state = quantized(graph, x, least_inputs=64)
    weight_only.run(state, weight_only.Options(bits=6))
    assert set(state.codes) == {"w2"}
    assert not any("cannot be looked into" in warning for warning in state.warnings)


def test_a_model_of_convolutions_is_refused_with_advice() -> None:
    proto = model(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"w": normal(RNG, 4, 3, 1, 1)},
        input_shape=["N", 3, 4, 4],
        output_shape=["N", 4, 4, 4],
    )
    state = PassState(graph=load_model(proto.SerializeToString()), profile=load_profile("x86-pc"))
    with pytest.raises(RecipeError, match="use int8 or weight-only"):
        int4.run(state, int4.Options())


def test_only_products_change() -> None:
    graph = cnn(np.random.default_rng(3))
    kinds = [node.op_type for node in quantized(graph, feedback=False, block=32).graph.proto.graph.node]
    assert kinds.count("Conv") == 1
    assert kinds.count("MatMulNBits") == 1


def test_a_model_of_which_int4_leaves_nothing_is_no_error() -> None:
    state = quantized(mlp(np.random.default_rng(3), inputs=64, hidden=64), feedback=False)
    weight_only.run(state, weight_only.Options(feedback=False))
    assert any("had left to it" in warning for warning in state.warnings)
