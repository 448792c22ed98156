"""Costs of a model: work, bytes and memory as counted by hand, latency as the roofline says."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.figures import figures
from edgepress_compression.graph.cost import model_cost, operator_costs
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8 import int8
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile
from edgepress_devices.roofline import roofline

PI = load_profile("raspberry-pi-4")


def test_a_small_cnn_costs_what_is_counted_by_hand() -> None:
    graph = cnn(np.random.default_rng(0))  # conv 1->6 3x3 on 8x8, pool 2, dense 96->3
    cost = model_cost(graph)
    conv, dense = 8 * 8 * 6 * 9, 96 * 3
    assert cost.macs == conv + dense == graph.macs()
    fused = 2 * 8 * 8 * 6  # normalization and Relu, done on the way
    assert cost.flops == 2 * (conv + dense) + fused + 6 * 4 * 4 * 4
    assert cost.weight_bytes == 4 * 375
    assert cost.peak_activation_bytes == 4 * (6 * 64 + 6 * 16)  # into and out of the pooling
    assert cost.latency_us is None


def test_latency_is_the_sum_of_the_operators_rooflines() -> None:
    graph = mlp(np.random.default_rng(0))  # 16 -> 32 -> 4
    first, relu, second = operator_costs(graph, PI)
    limits = roofline(PI)
    moved = 4 * (16 * 32 + 32) + 4 * (16 + 32)
    assert first.weight_bytes + first.activation_bytes == moved
    assert first.latency_us == limits.latency_us(operations=2 * 16 * 32, bytes_moved=moved)
    assert (relu.activation_bytes, relu.latency_us) == (0, 0.0)  # the runtime does it on the way
    assert second.latency_us is not None
    assert model_cost(graph, PI).latency_us == pytest.approx(first.latency_us + second.latency_us)


def test_a_depthwise_convolution_costs_one_filter_a_channel() -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=8, pads=[1, 1, 1, 1])
    proto = model(
        [node], {"w": normal(rng, 8, 1, 3, 3)}, input_shape=["N", 8, 4, 4], output_shape=["N", 8, 4, 4]
    )
    assert model_cost(load_model(proto.SerializeToString())).macs == 8 * 9 * 16


def residual() -> Graph:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Conv", ["a", "w1"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d", "a"], ["y"]),
    ]
    weights = {"w1": normal(rng, 4, 4, 3, 3), "w2": normal(rng, 4, 4, 3, 3)}
    proto = model(nodes, weights, input_shape=["N", 4, 8, 8], output_shape=["N", 4, 8, 8])
    return load_model(proto.SerializeToString())


def test_a_shortcut_keeps_its_value_alive() -> None:
    value = 4 * 4 * 8 * 8
    assert model_cost(residual()).peak_activation_bytes == 3 * value  # a, c and d


def test_what_depends_on_no_input_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("MatMul", ["r", "t"], ["y"]),
    ]
    proto = model(nodes, {"w": normal(rng, 4, 8)}, input_shape=["N", 8], output_shape=["N", 4])
    costs = operator_costs(load_model(proto.SerializeToString()), PI)
    assert [(one.op_type, one.macs) for one in costs] == [("Reshape", 0), ("MatMul", 32)]
    assert costs[1].weight_bytes == 4 * 32  # behind the Transpose
    assert costs[0].latency_us == 0.0


def test_shapes_that_only_running_tells_are_seen() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),  # as many columns as there are ones
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    proto = model(nodes, {"w": normal(rng, 8, 5)}, input_shape=[1, 8], output_shape=[2, 5])
    assert model_cost(load_model(proto.SerializeToString())).macs == 2 * 8 * 5


def test_int8_counts_a_byte_a_number_and_integer_speed() -> None:
    graph = cnn(np.random.default_rng(0))
    state = PassState(graph=graph.copy(), profile=PI)
    int8.run(state, int8.Options())
    before, after = model_cost(graph, PI), model_cost(state.graph, PI)
    assert after.macs == before.macs
    assert after.weight_bytes < before.weight_bytes / 2
    types = {one.op_type: one.dtype for one in operator_costs(state.graph)}
    assert types["Gemm"] == "int8"
    assert types["Conv"] == "fp32"  # the first layer stays as it is: it sees one channel


def test_parameters_are_what_is_learned_and_no_settings_or_statistics() -> None:
    rng = np.random.default_rng(0)
    counted = figures(cnn(rng))
    assert counted.parameters == counted.nonzero == 375 - 2 * 6  # normalization's means and variances
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c", "low", "high"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["s"]),
        helper.make_node("Mul", ["s", "half"], ["y"]),
    ]
    weights = {
        "w": normal(rng, 8, 8, 3, 3),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "half": np.array(0.5, np.float32),
    }
    proto = model(nodes, weights, input_shape=["N", 8, 4, 4], output_shape=["N", 8, 8, 8])
    assert figures(load_model(proto.SerializeToString())).parameters == 8 * 8 * 9


def test_integers_count_as_weights_and_their_scales_do_not_nor_is_quantizing_work() -> None:
    graph = mlp(np.random.default_rng(0))
    before = figures(graph)
    state = PassState(graph=graph, profile=PI)
    int8.run(state, int8.Options())
    after = figures(state.graph)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in state.graph.proto.graph.node}
    assert after.parameters == before.parameters
    assert before.flops == 2 * (16 * 32 + 32 * 4) + 32
    assert after.flops == 2 * (16 * 32 + 32 * 4)  # the Relu went into the rounding's lower limit
