"""The whole walk: every node by its rule, then what must hold together."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgepress_compression.graph.channels import (
    rules_elementwise,
    rules_layer,
    rules_reduce,
    rules_shape,
    rules_size,
)
from edgepress_compression.graph.channels.shuffle import Shuffle, find_shuffles
from edgepress_compression.graph.channels.walk import Rule, Walk, settle, start, title
from edgepress_compression.graph.model import Graph

RULES: dict[str, Rule] = {
    **rules_layer.RULES,
    **rules_elementwise.RULES,
    **rules_reduce.RULES,
    **rules_shape.RULES,
    "Shape": rules_size.shape,
    "Size": rules_size.size,
}
_OTHER_DOMAINS = {"Gelu", "FastGelu", "QuickGelu"}  # of com.microsoft, with the rule of their name


@dataclass(frozen=True)
class Analysis:
    """What is known of a graph's channels."""

    walk: Walk
    shuffles: dict[str, Shuffle]
    needed: frozenset[str]  # values that are computed when every shuffle is one step


def analyse(graph: Graph) -> Analysis:
    """Follows every channel. Raises GraphError when the model does not run."""
    walk = start(graph)
    for node in graph.proto.graph.node:
        _rule(node)(walk, node)
        rules_size.follow(walk, node)
    for output in graph.outputs:
        walk.whole_use(output.name)
        walk.fix(output.name, f"they are the model's output {output.name}")
    shuffles = find_shuffles(walk)
    needed = _needed(graph, shuffles)
    settle(walk, needed)
    return Analysis(walk, shuffles, frozenset(needed))


def _rule(node: onnx.NodeProto) -> Rule:
    if node.domain in ("", "ai.onnx") or node.op_type in _OTHER_DOMAINS:
        return RULES.get(node.op_type, _unknown)
    return _unknown


def _unknown(walk: Walk, node: onnx.NodeProto) -> None:
    for name in node.input:
        if name:
            walk.whole_use(name)
            walk.fix(name, f"{title(node)} is an operator through which channels are not followed")
    walk.put_plain(node)


def _needed(graph: Graph, shuffles: dict[str, Shuffle]) -> set[str]:
    needed = {output.name for output in graph.outputs}
    for node in reversed(graph.proto.graph.node):
        for name in needed.intersection(node.output):
            if name in shuffles:
                needed.add(shuffles[name].root)
            else:
                needed.update(other for other in node.input if other)
    return needed
