"""Cutting padding off batches."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.crop_padding import crop_padding


def summing(*, masked: bool) -> Graph:
    """ids (N, L), attention_mask (N, L) -> y (N, 4): the sum of looked-up rows, under the mask or all."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["m", "zero" if not masked else "one"], ["w0"]),
        helper.make_node("Add", ["w0", "one" if not masked else "zero"], ["w"]),
        helper.make_node("Unsqueeze", ["w", "last"], ["u"]),
        helper.make_node("Mul", ["e", "u"], ["p"]),
        helper.make_node("ReduceSum", ["p", "first"], ["y"], keepdims=0),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.standard_normal((9, 4)).astype(np.float32),
        "one": np.ones(1, np.float32),
        "zero": np.zeros(1, np.float32),
        "last": np.array([-1]),
        "first": np.array([1]),
    }
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "L"])
        for name in ("ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    initializers = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "sum", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 13)]
    return load_model(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


IDS = np.array([[1, 2, 3, 0, 0, 0], [4, 0, 0, 0, 0, 0], [5, 6, 0, 0, 0, 0]])
MASK = (IDS > 0).astype(np.int64)


def fetch(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"ids": IDS[rows], "attention_mask": MASK[rows]}


def test_a_batch_is_as_long_as_its_longest_sentence() -> None:
    shorter = crop_padding(fetch, summing(masked=True), np.arange(3))
    assert shorter(np.array([0, 1]))["ids"].shape == (2, 3)
    assert shorter(np.array([1]))["attention_mask"].tolist() == [[1]]


def test_a_model_whose_answers_padding_changes_keeps_it() -> None:
    assert crop_padding(fetch, summing(masked=False), np.arange(3)) is fetch
