"""Cross-layer equalization: channels of two layers in a row get ranges alike, and nothing else changes.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1: a
channel divided by s > 0 in front of a ReLU and multiplied by s behind it is the same function (equation 6);
s_i = sqrt(r1_i / r2_i) makes both layers' ranges of channel i the same (equation 11). Exact for Relu
and for no activation; a clamp at 6 does not scale, so layers around one are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgepress_compression.graph.model import Graph, attributes

_ROUNDS = 20
_DONE = 1e-3  # largest change of a channel's scale, of itself
_MOST = 1e3  # a channel is scaled by at most so much: all but empty ones would ask for more
_BETWEEN = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool")  # f(s x) = s f(x) for s > 0


@dataclass(frozen=True)
class Pair:
    first: onnx.NodeProto
    second: onnx.NodeProto


def equalize(graph: Graph, kept: frozenset[str] = frozenset()) -> int:
    """Scales the channels between layers of `graph`, weights in `kept` excepted; says how many pairs."""
    pairs = layer_pairs(graph, kept)
    for _ in range(_ROUNDS):
        change = max((_equalize_pair(graph, pair) for pair in pairs), default=0.0)
        if change < _DONE:
            break
    return len(pairs)


def layer_pairs(graph: Graph, kept: frozenset[str] = frozenset()) -> list[Pair]:
    """Layers whose outputs nobody else reads, and the layer behind, in graph order."""
    users = graph.users()
    outputs = {one.name for one in graph.outputs}
    pairs = []
    for node in graph.proto.graph.node:
        if not _layer(node, graph, users) or kept.intersection(node.input[1:]):
            continue
        reached = _next_layer(node, graph, users, outputs)
        if reached is not None and not kept.intersection(reached.input[1:]):
            channels = _rows(graph.weights[node.input[1]], node).shape[0]
            if _columns(graph.weights[reached.input[1]], reached).shape[0] == channels:
                pairs.append(Pair(node, reached))
    return pairs


def _layer(node: onnx.NodeProto, graph: Graph, users: dict[str, list[tuple[onnx.NodeProto, int]]]) -> bool:
    """A convolution or dense layer whose constants are its own."""
    if node.op_type not in ("Conv", "Gemm") or len(node.input) < 2:
        return False
    constants = [name for name in node.input[1:] if name]
    if any(name not in graph.weights or len(users[name]) != 1 for name in constants):
        return False
    facts = attributes(node)
    if node.op_type == "Gemm":
        bias = graph.weights[constants[1]] if len(constants) > 1 else None
        return not facts.get("transA", 0) and (bias is None or bias.ndim == 1)
    weight = graph.weights[node.input[1]]
    return facts.get("group", 1) in (1, weight.shape[0])


def _next_layer(
    node: onnx.NodeProto,
    graph: Graph,
    users: dict[str, list[tuple[onnx.NodeProto, int]]],
    outputs: set[str],
) -> onnx.NodeProto | None:
    name = node.output[0]
    while name not in outputs and len(users.get(name, [])) == 1:
        reader, position = users[name][0]
        if reader.op_type in _BETWEEN and len(reader.output) == 1:
            name = reader.output[0]
        elif position == 0 and _layer(reader, graph, users) and reader.op_type == node.op_type:
            return reader
        else:
            return None
    return None


def _rows(weight: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """(output channels, the rest)"""
    if node.op_type == "Gemm" and not attributes(node).get("transB", 0):
        return weight.T
    return weight.reshape(weight.shape[0], -1)


def _columns(weight: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """(input channels, the rest)"""
    if node.op_type == "Gemm":
        return weight.T if attributes(node).get("transB", 0) else weight
    if attributes(node).get("group", 1) == 1:
        return np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
    return weight.reshape(weight.shape[0], -1)  # depthwise


def _equalize_pair(graph: Graph, pair: Pair) -> float:
    """Scales one pair's channels; the largest relative change."""
    first, second = pair.first, pair.second
    makes, reads = graph.weights[first.input[1]], graph.weights[second.input[1]]
    range1 = np.abs(_rows(makes, first)).max(axis=1).astype(np.float64)  # (channels,)
    range2 = np.abs(_columns(reads, second)).max(axis=1).astype(np.float64)
    usable = (range1 > 0) & (range2 > 0)
    scale = np.ones(len(range1))
    scale[usable] = np.clip(np.sqrt(range1[usable] / range2[usable]), 1 / _MOST, _MOST)
    graph.set_weight(first.input[1], _scaled(makes, 1 / scale, _output_axis(first)))
    if len(first.input) > 2 and first.input[2]:
        bias = graph.weights[first.input[2]]
        graph.set_weight(first.input[2], (bias / scale).astype(bias.dtype))
    graph.set_weight(second.input[1], _scaled(reads, scale, _input_axis(second)))
    return float(np.abs(scale - 1).max(initial=0.0))


def _output_axis(node: onnx.NodeProto) -> int:
    return 1 if node.op_type == "Gemm" and not attributes(node).get("transB", 0) else 0


def _input_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        return 1 if attributes(node).get("transB", 0) else 0
    return 1 if attributes(node).get("group", 1) == 1 else 0


def _scaled(weight: np.ndarray, scale: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(weight * scale.reshape(shape), weight.dtype)
