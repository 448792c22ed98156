"""Small ONNX files made on the spot."""

from __future__ import annotations

import io

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_onnx(*, classes: int = 3, operator: str = "Gemm") -> bytes:
    """A linear classifier of 4 numbers: ``x`` (N, 4) -> ``y`` (N, classes)."""
    weight = np.arange(4 * classes, dtype=np.float32).reshape(4, classes) / 10
    node = helper.make_node(operator, ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if operator == "Gemm":
        onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_npz(*, classes: int = 3, samples: int = 20) -> bytes:
    """A labelled data set that fits `tiny_onnx`."""
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 4)).astype(np.float32)
    np.savez(file, x=x, labels=np.arange(samples) % classes)
    return file.getvalue()
