"""Layers that can be factorized: a weight that one convolution, matrix product or look-up uses, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from edgepress_compression.graph.model import Graph, attributes

Kind = Literal["conv", "gemm", "matmul", "table"]


@dataclass(frozen=True)
class Layer:
    """One node and its weight."""

    weight: str
    kind: Kind
    node: onnx.NodeProto  # of the graph it was found in
    bias: str | None  # an fp32 initializer that this layer alone adds to its outputs
    kernel: tuple[int, ...]  # (height, width) of a convolution, () of others

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """The weight as (outputs, inputs of an output), float64. A table of n rows has n inputs, one of
        which is 1."""
        flat = weight.astype(np.float64)
        if self.kind == "conv":
            return flat.reshape(len(flat), -1)
        rows_first = self.kind == "gemm" and bool(attributes(self.node).get("transB", 0))
        return flat if rows_first else flat.T


def factorizable(graph: Graph, kinds: frozenset[Kind], *, least_weights: int) -> dict[str, Layer]:
    """By weight name, in the order of the nodes: float weights of at least `least_weights` numbers that one
    node uses, as a weight. Grouped convolutions are thin already and are left out."""
    users = graph.users()
    makers = {name: node for node in graph.proto.graph.node for name in node.output}
    outputs = {info.name for info in graph.proto.graph.output}
    found: dict[str, Layer] = {}
    for node in graph.proto.graph.node:
        kind = _kind(node)
        if kind is None or kind not in kinds:
            continue
        position = 0 if kind == "table" else 1
        name = node.input[position]
        weight = graph.weights.get(name)
        if weight is None or weight.dtype not in (np.float32, np.float16) or weight.size < least_weights:
            continue
        if len(users[name]) != 1 or name in outputs or weight.ndim != (4 if kind == "conv" else 2):
            continue
        settings = attributes(node)
        if settings.get("group", 1) != 1 or settings.get("transA", 0) or settings.get("axis", 0) != 0:
            continue
        bias = _bias(graph, node, kind, users, makers)
        kernel = tuple(weight.shape[2:]) if kind == "conv" else ()
        found[name] = Layer(name, kind, node, bias, kernel)
    return found


def _kind(node: onnx.NodeProto) -> Kind | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    kinds: Mapping[str, Kind] = {"Conv": "conv", "Gemm": "gemm", "MatMul": "matmul", "Gather": "table"}
    return kinds.get(node.op_type)


def _bias(
    graph: Graph,
    node: onnx.NodeProto,
    kind: Kind,
    users: Mapping[str, list[tuple[onnx.NodeProto, int]]],
    makers: Mapping[str, onnx.NodeProto],
) -> str | None:
    name: str | None = None
    if kind in ("conv", "gemm") and len(node.input) > 2:
        name = node.input[2]
    elif kind == "matmul":
        readers = users.get(node.output[0], [])
        if len(readers) == 1 and readers[0][0].op_type == "Add":
            name = readers[0][0].input[1 - readers[0][1]]
    if not name or name not in graph.weights or len(users[name]) != 1:
        return None
    array = graph.weights[name]
    return name if array.dtype == np.float32 and array.ndim == 1 else None
