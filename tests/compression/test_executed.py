"""What onnxruntime runs of a model: fused, with its own shapes and traffic."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from tiny_models import mlp, model, normal, one_node

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.executed import executed, executed_operators
from edgepress_compression.graph.load import load_model
from edgepress_compression.predict import predict_model, runtime_layout
from edgepress_devices.microbench.nets import write_net
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(0)


def conv_model(filters: int = 32) -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    ones = np.ones(filters, np.float32)
    weights = {"w": normal(RNG, filters, 16, 3, 3), "s": ones, "b": ones, "m": ones, "v": ones}
    proto = model(nodes, weights, input_shape=["N", 16, 10, 12], output_shape=["N", filters, 10, 12])
    return load_model(proto.SerializeToString()).proto.SerializeToString()


def test_a_convolution_its_normalization_and_its_activation_are_one_operator() -> None:
    (conv,) = [one for one in executed_operators(conv_model(), layout="nchw") if one.macs]
    assert conv.macs == 32 * 120 * 16 * 9
    assert (conv.depth, conv.columns, conv.rows, conv.kernel, conv.groups) == (144, 32, 120, 9, 1)
    assert conv.read_bytes == 4 * 16 * 120
    assert conv.written_bytes == 4 * 32 * 120
    assert conv.weight_bytes == 4 * (32 * 144 + 32)  # the normalization became the bias
    assert conv.kind == "convolution nchw fp32"
    assert not any("Norm" in one.op_type or one.op_type == "Relu" for one in executed_operators(conv_model()))


def test_every_operator_has_a_name_of_its_own_though_the_file_gives_none() -> None:
    proto = load_model(conv_model()).proto
    for node in proto.graph.node:
        node.name = "same"
    names = [one.name for one in executed_operators(proto.SerializeToString(), layout="nchw")]
    assert len(set(names)) == len(names) >= 1


def test_integer_products_are_int8_and_read_a_byte_a_number() -> None:
    operators = executed_operators(write_net("residual-16", "u8"))
    first, *others = [one for one in operators if one.macs]
    assert first.kind.startswith("first convolution")
    assert first.dtype == "fp32"  # as quantized models keep it
    assert {one.dtype for one in others} == {"int8"}
    conv = next(one for one in others if one.op_type == "QLinearConv")
    assert conv.layout == "nhwc"
    assert conv.written_bytes == conv.columns * conv.rows


def test_a_gather_reads_what_it_gives_and_a_reshape_moves_nothing() -> None:
    table = normal(RNG, 10_000, 8)
    rows = one_node("Gather", {"i": np.arange(3)}, constants={"t": table}, order=["t", "i"])
    (gather,) = executed_operators(rows.SerializeToString())
    assert (gather.read_bytes, gather.written_bytes, gather.weight_bytes) == (96, 96, 0)
    shaped = one_node("Reshape", {"x": normal(RNG, 4, 6)}, constants={"s": np.array([24])}, order=["x", "s"])
    (reshape,) = executed_operators(shaped.SerializeToString())
    assert reshape.bytes_moved == 0


def test_numbers_that_stay_together_are_told_of_what_moves() -> None:
    x = normal(RNG, 2, 3, 4, 5)
    last = one_node("Transpose", {"x": x}, perm=[0, 2, 3, 1])
    heads = one_node("Transpose", {"x": x}, perm=[0, 2, 1, 3])
    assert executed_operators(last.SerializeToString())[0].columns == 1
    assert executed_operators(heads.SerializeToString())[0].columns == 5


def test_memory_is_what_is_alive_together() -> None:
    graph = mlp(RNG, inputs=16, hidden=32, classes=4)
    runs = executed(graph)
    assert runs.weight_bytes == 4 * (16 * 32 + 32 + 32 * 4 + 4)
    assert runs.peak_activation_bytes == 4 * (16 + 32 + 4)  # the caller holds the input


def test_the_layout_is_the_profiles() -> None:
    pc, pi = load_profile("x86-pc"), load_profile("raspberry-pi-4")
    assert (runtime_layout(pc), runtime_layout(pi)) == ("nchwc", "nchw")
    kinds = {row.kind for row in predict_model(conv_model(), pi).operators}
    assert not any("nchwc" in kind for kind in kinds)


def test_a_model_that_does_not_run_is_an_error_in_words() -> None:
    proto = load_model(conv_model()).proto
    proto.graph.node[0].op_type = "Convolution"
    with pytest.raises(GraphError, match="onnxruntime cannot run this model"):
        executed_operators(proto.SerializeToString())
