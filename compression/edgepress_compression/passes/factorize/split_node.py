"""Puts several thinner layers in the place of one node of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

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
    graph: Graph,
    node: onnx.NodeProto,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    *,
    removed: Sequence[str] = (),
) -> None:
    """`nodes` stand where `node` stood, with the initializers `weights`; those of `removed` that nobody reads
    any more go. Refreshes the graph."""
    proto = graph.proto.graph
    position = next(i for i, one in enumerate(proto.node) if one.output[:1] == node.output[:1])
    kept = list(proto.node)
    kept[position : position + 1] = nodes
    copies = [onnx.NodeProto.FromString(one.SerializeToString()) for one in kept]
    del proto.node[:]
    proto.node.extend(copies)
    for name, array in weights.items():
        proto.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    read = {name for one in copies for name in one.input}
    for tensor in [t for t in proto.initializer if t.name in removed and t.name not in read]:
        proto.initializer.remove(tensor)
    graph.refresh()


def convolution(
    x: str, weight: str, y: str, *, bias: str | None = None, settings: Mapping[str, Any] | None = None
) -> onnx.NodeProto:
    """A Conv node; `settings` are its attributes, those that are None left out."""
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    return helper.make_node("Conv", [x, weight, *([bias] if bias else [])], [y], **given)
