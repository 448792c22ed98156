"""Edits of a graph: nodes in the place of another, and the end of what no output needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from edgepress_compression.graph.model import Graph


def fresh_name(graph: Graph, wanted: str) -> str:
    """`wanted`, or with a number behind it where the graph has such a name already."""
    proto = graph.proto.graph
    taken = {tensor.name for tensor in proto.initializer} | {info.name for info in proto.input}
    taken |= {name for node in proto.node for name in node.output}
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def replace_node(
    graph: Graph, node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto], weights: Mapping[str, np.ndarray]
) -> None:
    """`nodes`, the last of which gives what `node` gave, stand where it stood, with the initializers
    `weights`; what no output needs any more goes. Refreshes the graph."""
    proto = graph.proto.graph
    kept = list(proto.node)
    position = next(i for i, one in enumerate(kept) if one.output[:1] == node.output[:1])
    kept[position : position + 1] = nodes
    _put(proto, kept)
    for name, array in weights.items():
        proto.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    drop_dead_nodes(graph)


def drop_dead_nodes(graph: Graph) -> None:
    """Takes out the nodes and initializers that no output needs. Refreshes the graph."""
    proto = graph.proto.graph
    needed = {output.name for output in proto.output}
    alive = []
    for node in reversed(proto.node):
        if needed.intersection(node.output):
            needed.update(name for name in node.input if name)
            alive.append(node)
    if len(alive) < len(proto.node):
        _put(proto, alive[::-1])
    for number in reversed(range(len(proto.initializer))):
        if proto.initializer[number].name not in needed:
            del proto.initializer[number]
    graph.refresh()


def _put(proto: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.node[:]
    proto.node.extend(copies)
