"""Rewrites a float graph with QuantizeLinear / DequantizeLinear pairs that onnxruntime fuses into integer
kernels.

Every activation x on the integer side becomes  x -> Q -> DQ -> its readers, so that each integer node
stands between DQ and Q and is replaced by its integer kernel. Weights are stored as s8 with one scale for
each output channel, biases as s32 with the product of input and weight scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.int8.integers import Integers

MATRIX_OPS = ("Conv", "Gemm", "MatMul")
SAME_RANGE_OPS = (
    "MaxPool",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Concat",
    "Split",
)
OWN_RANGE_OPS = ("Add", "AveragePool", "GlobalAveragePool")
CLAMPS = ("Relu", "Clip")


@dataclass
class Plan:
    """Which nodes compute in integers, and what must share a range."""

    nodes: set[str] = field(default_factory=set)  # names of nodes on the integer side
    tensors: list[str] = field(default_factory=list)  # activations that get a Q/DQ pair, in graph order
    ranges: dict[str, str] = field(
        default_factory=dict
    )  # tensor -> first tensor of its class: one range for all
    fused: dict[str, str] = field(default_factory=dict)  # output of a matrix op or Add -> output of its clamp


def name_nodes(graph: Graph) -> None:
    """Gives every node a unique name, which plans refer to."""
    for number, node in enumerate(graph.proto.graph.node):
        node.name = f"{node.op_type}_{number}"


def plan(graph: Graph, excluded: Iterable[str] = ()) -> Plan:
    """Chooses the integer side: matrix operations with constant weights, and what stands between them."""
    left_out = set(excluded)
    result = Plan()
    producers = {name: node for node in graph.proto.graph.node for name in node.output}
    users = graph.users()
    outputs = {one.name for one in graph.outputs}
    for node in graph.proto.graph.node:
        if node.name in left_out:
            continue
        if node.op_type in MATRIX_OPS:
            if _has_constant_weights(node, graph):
                result.nodes.add(node.name)
        elif node.op_type in (*SAME_RANGE_OPS, *OWN_RANGE_OPS, *CLAMPS):
            sources = activations(node, graph)
            if sources and all(
                name in producers and producers[name].name in result.nodes for name in sources
            ):
                result.nodes.add(node.name)
    _trim(result, graph, users, outputs)
    for node in graph.proto.graph.node:
        if node.op_type in CLAMPS and node.name in result.nodes:
            source = node.input[0]
            alone = len(users[source]) == 1 and source not in outputs
            if alone and producers[source].op_type in ("Conv", "Gemm", "Add") and source not in result.fused:
                result.fused[source] = node.output[0]
    _collect_tensors(result, graph, outputs)
    _share_ranges(result, graph)
    return result


def activations(node: onnx.NodeProto, graph: Graph) -> list[str]:
    """The float inputs of a node that are computed (not constants, not shapes)."""
    count = len(node.input) if node.op_type in ("Concat", "Add") else 1
    return [name for name in node.input[:count] if name and name not in graph.weights]


def _has_constant_weights(node: onnx.NodeProto, graph: Graph) -> bool:
    weight = graph.weights.get(node.input[1])
    if weight is None or weight.dtype != np.float32 or node.input[0] in graph.weights:
        return False
    if any(name not in graph.weights for name in node.input[2:3] if name):
        return False
    facts = attributes(node)
    if node.op_type == "Gemm":
        plain = (
            facts.get("alpha", 1.0) == 1.0 and facts.get("beta", 1.0) == 1.0 and not facts.get("transA", 0)
        )
        bias = graph.weights.get(node.input[2]) if len(node.input) > 2 else None
        return plain and (bias is None or bias.ndim == 1)
    return weight.ndim >= 3 if node.op_type == "Conv" else weight.ndim == 2


def _trim(
    result: Plan, graph: Graph, users: dict[str, list[tuple[onnx.NodeProto, int]]], outputs: set[str]
) -> None:
    """Takes off trailing nodes that feed no integer node: rounding there would cost accuracy and gain
    nothing."""
    for node in reversed(graph.proto.graph.node):
        if node.name in result.nodes and node.op_type not in (*MATRIX_OPS, *CLAMPS):
            readers = [user for name in node.output for user, _ in users.get(name, [])]
            if not any(user.name in result.nodes for user in readers):
                result.nodes.discard(node.name)


def _collect_tensors(result: Plan, graph: Graph, outputs: set[str]) -> None:
    wanted: dict[str, None] = {}
    for node in graph.proto.graph.node:
        if node.name not in result.nodes:
            continue
        for name in activations(node, graph):
            wanted[name] = None
        for name in node.output:
            # A product can leave its integer kernel as float; a convolution cannot.
            if name and not (node.op_type in ("Gemm", "MatMul") and _feeds_floats(name, result, graph)):
                wanted[name] = None
    result.tensors = [name for name in wanted if name not in result.fused and name not in outputs]


def _feeds_floats(name: str, result: Plan, graph: Graph) -> bool:
    if name in result.fused:
        return True  # the clamp's output is the one that is quantized
    return not any(user.name in result.nodes for user, _ in graph.users().get(name, []))


def _share_ranges(result: Plan, graph: Graph) -> None:
    parent = {name: name for name in result.tensors}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.proto.graph.node:
        if node.name in result.nodes and node.op_type in SAME_RANGE_OPS:
            family = [name for name in (*activations(node, graph), *node.output) if name in parent]
            for other in family[1:]:
                parent[root(other)] = root(family[0])
    result.ranges = {name: root(name) for name in result.tensors}


def insert_pairs(graph: Graph, chosen: Plan, integers: dict[str, Integers]) -> None:
    """Puts the Q/DQ pair on every planned activation; clamps that the integers' own limits do are taken
    out."""
    proto = graph.proto.graph
    _drop_clamps(graph, chosen, integers)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    renamed = {name: f"{name}_dq" for name in chosen.tensors}

    def pair(name: str) -> list[onnx.NodeProto]:
        form = integers[name]
        # Equal constants are stored once: many tensors have zero point 0, and a family has one scale.
        scale, zero = f"scale_{form.scale.tobytes().hex()}", f"zero_{form.dtype}_{form.zero_point}"
        constants[scale] = numpy_helper.from_array(np.asarray(form.scale), scale)
        constants[zero] = numpy_helper.from_array(np.asarray(form.zero_point, dtype=form.dtype), zero)
        return [
            helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_q"], name=f"{name}_Q"),
            helper.make_node(
                "DequantizeLinear", [f"{name}_q", scale, zero], [renamed[name]], name=f"{name}_DQ"
            ),
        ]

    present = {name for node in proto.node for name in node.output}
    for one in proto.input:
        if one.name in renamed:
            nodes.extend(pair(one.name))
    for node in proto.node:
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]
        nodes.append(node)
        for name in node.output:
            if name in renamed and name in present:
                nodes.extend(pair(name))
    del proto.node[:]
    proto.node.extend(nodes)
    proto.initializer.extend(constants.values())


def _drop_clamps(graph: Graph, chosen: Plan, integers: dict[str, Integers]) -> None:
    """conv -> relu -> Q saturates at 0 by itself when 0 is the lowest integer; likewise the upper limit
    of relu6."""
    proto = graph.proto.graph
    producers = {name: node for node in proto.node for name in node.output}
    dropped = set()
    for source, clamped in chosen.fused.items():
        form = integers[clamped]
        low, high = clamp_limits(producers[clamped], graph)
        # beyond the upper limit by less than a step is no more than rounding
        if form.lowest >= low and form.highest < high + float(form.scale):
            producer = producers[source]
            producer.output[list(producer.output).index(source)] = clamped
            dropped.add(producers[clamped].name)
    kept = [node for node in proto.node if node.name not in dropped]
    del proto.node[:]
    proto.node.extend(kept)


def clamp_limits(node: onnx.NodeProto, graph: Graph) -> tuple[float, float]:
    """The range of a Relu's or Clip's output; infinite where it is open or not constant."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    facts = attributes(node)
    limits = [-np.inf, np.inf]
    for position, key in ((1, "min"), (2, "max")):
        name = node.input[position] if len(node.input) > position else ""
        if name in graph.weights:
            limits[position - 1] = float(graph.weights[name])
        elif not name and isinstance(facts.get(key), float):
            limits[position - 1] = float(facts[key])  # type: ignore[arg-type]
    return limits[0], limits[1]
