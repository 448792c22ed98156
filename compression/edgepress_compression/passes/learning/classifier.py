"""The last layer with weights of a classifier, and the features that it reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.model import Graph, attributes

_BEHIND = (
    "Add", "Clip", "Flatten", "GlobalAveragePool", "Identity", "LogSoftmax", "ReduceMean", "Relu", "Reshape",
    "Softmax", "Squeeze", "Dropout", "AveragePool", "Cast",
)  # fmt: skip


@dataclass(frozen=True)
class Classifier:
    """A Gemm, MatMul or 1 x 1 convolution behind which nothing has weights but a bias."""

    node: onnx.NodeProto
    features: str  # the value that it reads: (batch, width) or (batch, width, height, width)
    weight: str
    bias: str | None
    rows_first: bool  # whether the weight is (classes, width...) and not (width, classes)

    def classes(self, graph: Graph) -> int:
        return int(graph.weights[self.weight].shape[0 if self.rows_first else 1])

    def width(self, graph: Graph) -> int:
        return int(graph.weights[self.weight].shape[1 if self.rows_first else 0])


def find_classifier(graph: Graph) -> Classifier:
    """Of the first output. Raises RecipeError where the model does not end in one."""
    makers = {name: node for node in graph.proto.graph.node for name in node.output}
    node = makers.get(graph.outputs[0].name)
    added: str | None = None
    while node is not None and node.op_type in _BEHIND:
        constants = [name for name in node.input if name in graph.weights]
        if node.op_type == "Add" and constants and graph.weights[constants[0]].ndim == 1:
            added = constants[0]
        computed = [name for name in node.input if name and name not in graph.weights]
        node = makers.get(computed[0]) if computed else None
    if node is not None and node.op_type in ("Gemm", "MatMul", "Conv"):
        weight = graph.weights.get(node.input[1])
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else added
        if weight is not None and weight.dtype == np.float32 and _plain(node, weight):
            rows_first = node.op_type == "Conv" or bool(attributes(node).get("transB", 0))
            return Classifier(node, node.input[0], node.input[1], bias, rows_first)
    raise RecipeError(
        "The model does not end in a layer that gives a score for each class (a dense layer or a 1 x 1 "
        "convolution), so its features cannot be told from its classifier. Use another recipe."
    )


def _plain(node: onnx.NodeProto, weight: np.ndarray) -> bool:
    if node.op_type == "Conv":
        return weight.shape[2:] == (1, 1) and attributes(node).get("group", 1) == 1
    return weight.ndim == 2 and not attributes(node).get("transA", 0)
