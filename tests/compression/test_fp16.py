"""fp16: half the bytes, answers as near as half precision can be, and inputs and outputs as they were."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from onnx import helper
from test_int8 import network
from test_int8 import quantized as int8_quantized
from tiny_models import cnn, model, normal

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.weight_only import fp16
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(41)


def halved(graph: Graph, profile: str = "x86-pc", **options: object) -> PassState:
    state = PassState(graph=graph.copy(), profile=load_profile(profile))
    fp16.run(state, msgspec.convert(options, fp16.Options))
    return state


@pytest.mark.parametrize("compute", ["weights", "graph"])
def test_answers_are_as_near_as_half_precision_can_be(compute: str) -> None:
    for graph, shape in (
        (cnn(np.random.default_rng(3)), (8, 1, 8, 8)),
        (network(relu6=True), (4, 3, 16, 16)),
    ):
        x = RNG.standard_normal(shape).astype(np.float32)
        state = halved(graph, compute=compute)
        assert state.graph.inputs == graph.inputs
        assert state.graph.outputs == graph.outputs
        before, after = (run(open_session(one.serialize()), {"x": x})[0] for one in (graph, state.graph))
        assert after.dtype == np.float32
        assert np.abs(before - after).max() < 0.01 * np.abs(before).max()


def test_the_profile_says_whether_the_graph_computes_in_fp16() -> None:
    for profile, whole in (("x86-pc", False), ("jetson-orin-nano", True)):
        state = halved(network(), profile)
        kinds = [node.op_type for node in state.graph.proto.graph.node]
        assert (kinds.count("Cast") == 2) is whole


def test_weights_take_half_the_bytes() -> None:
    graph = network()
    floats = [a for a in halved(graph, compute="weights").graph.weights.values() if a.size >= 16]
    assert {a.dtype for a in floats} == {np.dtype(np.float16)}


def test_a_mask_beyond_fp16_still_masks() -> None:
    proto = model(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Add", ["h", "mask"], ["m"]),
            helper.make_node("Softmax", ["m"], ["y"], axis=-1),
        ],
        {"w": normal(RNG, 8, 8), "mask": np.array([0] * 7 + [-3.4e38], np.float32)},
        input_shape=["N", 8],
        output_shape=["N", 8],
    )
    graph = load_model(proto.SerializeToString())
    x = RNG.standard_normal((4, 8)).astype(np.float32)
    after = run(open_session(halved(graph, compute="graph").graph.serialize()), {"x": x})[0]
    assert np.isfinite(after).all()
    assert not after[:, 7].any()


def test_a_model_that_overflows_is_refused_with_advice() -> None:
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Mul", ["h", "h"], ["y"])],
        {"w": normal(RNG, 8, 8, scale=1e4)},
        input_shape=["N", 8],
        output_shape=["N", 8],
    )
    with pytest.raises(RecipeError, match='Take compute = "weights"'):
        halved(load_model(proto.SerializeToString()), compute="graph")


def test_a_model_in_integers_is_refused() -> None:
    with pytest.raises(RecipeError, match="this one has integers"):
        halved(int8_quantized(network()).graph)


def test_what_an_earlier_pass_coded_keeps_its_code() -> None:
    state = PassState(graph=network(), profile=load_profile("x86-pc"))
    shape = state.graph.weights["wide.w"].shape
    code = ScaledIntegers(RNG.integers(-3, 4, shape).astype(np.int32), np.array([0.125], np.float32))
    state.graph.set_weight("wide.w", code.weights())
    state.codes["wide.w"] = code
    fp16.run(state, fp16.Options(compute="weights"))
    assert state.codes == {"wide.w": code}
    np.testing.assert_array_equal(state.graph.weights["wide.w"], code.weights())
