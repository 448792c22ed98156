"""Small ONNX models made on the spot, so that tests need no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph


def one_node(
    op_type: str,
    inputs: Mapping[str, np.ndarray],
    *,
    opset: int = 13,
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: int = 1,
    order: Sequence[str] | None = None,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one operator; `constants` are initializers, `order` names its inputs ("" = left out)."""
    constants = constants or {}
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, list(order or [*inputs, *constants]), names, domain=domain, **attributes)
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    for info in model.graph.output:
        if not info.type.tensor_type.elem_type:  # inference knows neither other domains nor the newest types
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    *,
    input_shape: Sequence[int | str],
    output_shape: Sequence[int | str],
    opset: int = 13,
) -> onnx.ModelProto:
    """From float `x` to float `y`."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def mlp(rng: np.random.Generator, *, inputs: int = 16, hidden: int = 32, classes: int = 4) -> Graph:
    """Two dense layers with a Relu between."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    weights = {
        "w1": normal(rng, hidden, inputs, scale=inputs**-0.5),
        "b1": normal(rng, hidden, scale=0.1),
        "w2": normal(rng, classes, hidden, scale=hidden**-0.5),
        "b2": normal(rng, classes, scale=0.1),
    }
    proto = model(nodes, weights, input_shape=["N", inputs], output_shape=["N", classes])
    return load_model(proto.SerializeToString())


def cnn(rng: np.random.Generator) -> Graph:
    """Convolution, batch normalization, pooling, dense: x (N, 1, 8, 8) -> y (N, 3)."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    weights = {
        "conv.weight": normal(rng, 6, 1, 3, 3),
        "conv.bias": normal(rng, 6),
        "scale": normal(rng, 6) + 2,
        "shift": normal(rng, 6),
        "mean": normal(rng, 6),
        "var": np.abs(normal(rng, 6)) + 1,
        "fc.weight": normal(rng, 3, 96, scale=0.1),
        "fc.bias": normal(rng, 3),
    }
    proto = model(nodes, weights, input_shape=["N", 1, 8, 8], output_shape=["N", 3])
    return load_model(proto.SerializeToString())
