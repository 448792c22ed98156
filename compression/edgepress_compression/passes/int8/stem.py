"""The first convolution of a picture network stays in floats: integers are slower there.

With 3 input channels an integer kernel cannot fill its lanes. Measured with onnxruntime 1.31.1 on AVX-512
VNNI, one thread: the first convolution of SqueezeNet 1.1 takes 0.81 ms in u8 x s8 and 0.33 ms in fp32,
EfficientNet-Lite0's 0.56 and 0.22 ms.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgepress_compression.graph.model import Graph, attributes

FEW_CHANNELS = 4


def keep_stem(graph: Graph) -> list[str]:
    """Names of the nodes to leave in floats: first convolutions with few channels, and what makes their
    output smaller.

    That is max pooling, depthwise convolutions and convolutions to fewer channels, each with its clamp:
    behind them there is less to quantize, and on so large a picture that costs as much as computing.
    """
    users = graph.users()
    kept: list[str] = []
    for one in graph.inputs:
        for node, position in users.get(one.name, []):
            weight = _weight(node, graph)
            if (
                node.op_type == "Conv"
                and position == 0
                and weight is not None
                and weight.shape[1] <= FEW_CHANNELS
            ):
                kept += _follow(node, graph, users)
                users = graph.users()
    return kept


def _follow(
    first: onnx.NodeProto, graph: Graph, users: dict[str, list[tuple[onnx.NodeProto, int]]]
) -> list[str]:
    kept: list[str] = []
    last: onnx.NodeProto = first
    clamp: onnx.NodeProto | None = None
    step: onnx.NodeProto | None = first
    while step is not None:
        clamp_before = clamp
        last, clamp = step, None
        kept.append(step.name)
        if step.op_type == "Conv":
            clamp = _only_reader(step, users, ("Relu", "Clip"))
            if clamp is not None:
                kept.append(clamp.name)
        step = _only_reader(clamp or step, users, ("MaxPool", "Conv"))
        if step is not None and step.op_type == "Conv" and not _shrinks(step, graph):
            step = None
    if last.op_type == "MaxPool" and clamp_before is not None and clamp_before.op_type == "Relu":
        _pool_first(graph, clamp_before, last)
        graph.refresh()
    return kept


def _weight(node: onnx.NodeProto, graph: Graph) -> np.ndarray | None:
    return graph.weights.get(node.input[1]) if len(node.input) > 1 else None


def _shrinks(node: onnx.NodeProto, graph: Graph) -> bool:
    weight = _weight(node, graph)
    if weight is None:
        return False
    depthwise = weight.shape[1] == 1 and attributes(node).get("group", 1) == len(weight)
    return depthwise or len(weight) < weight.shape[1]


def _only_reader(
    node: onnx.NodeProto, users: dict[str, list[tuple[onnx.NodeProto, int]]], types: tuple[str, ...]
) -> onnx.NodeProto | None:
    readers = users.get(node.output[0], [])
    if len(node.output) == 1 and len(readers) == 1 and readers[0][0].op_type in types:
        return readers[0][0]
    return None


def _pool_first(graph: Graph, clamp: onnx.NodeProto, pool: onnx.NodeProto) -> None:
    """conv -> relu -> max pool becomes conv -> max pool -> relu, which is the same: both keep order.

    onnxruntime moves a quantization that follows a max pooling in front of it, where the pooling then
    runs in u8 and channels first: 5.9 ms in SqueezeNet 1.1 in place of 0.1. It also melts a Relu into the
    quantization; a LeakyRelu with slope 0 is a Relu that stays where it is.
    """
    before, between, after = clamp.input[0], clamp.output[0], pool.output[0]
    pool.input[0], pool.output[0] = before, between
    late = helper.make_node("LeakyRelu", [between], [after], name=clamp.name, alpha=0.0)
    proto = graph.proto.graph
    nodes = []
    for node in proto.node:
        if node.name == clamp.name:
            continue
        nodes.append(node)
        if node.name == pool.name:
            nodes.append(late)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.node[:]
    proto.node.extend(copies)
