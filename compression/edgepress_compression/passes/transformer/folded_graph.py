"""Rewrites attention blocks so that they work on parts of tokens (folding attention).

Li et al. 2023 (Folding Attention: Memory and Power Optimization for On-Device Transformer-based Streaming
Speech Recognition): each token of d channels is split into F sub-tokens of d / F; the sub-tokens of all
tokens attend to each other, through projections of (d / F) x (d / F) that they share; the results are joined
to tokens again. The four projections hold F^2 times fewer weights and take F times less work, the scores take
F times more.

    (N, L, d) -> (N, L F, d / F) -> q, k, v with heads / F heads of the old size
    -> scores + mask, each row and column of the mask F times
    -> context (N, L F, d / F) -> output projection -> (N, L, d)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgepress_compression.graph.edit import fresh_name, replace_node
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.transformer.attention import AttentionBlock, FeedForward, Projection


@dataclass
class Folding:
    """Folds one block after another of a graph; masks that blocks share are widened once."""

    graph: Graph
    parts: int
    _masks: dict[str, str] = field(default_factory=dict)

    def attention(self, block: AttentionBlock, weights: Mapping[str, np.ndarray]) -> None:
        """Puts the folded block in the place of `block`. `weights` are the shared projections by the name of
        the weight, (d / F, d / F), or bias, (d / F,), that each replaces."""
        new = _Nodes(self.graph, block.output.result)
        heads, size, parts = block.heads // self.parts, block.head_size, self.parts
        width = weights[block.query.weight].shape[0]
        tokens = new.reshape(block.input, [0, -1, width])  # (N, L F, d / F)

        def heads_of(projection: Projection, perm: list[int]) -> str:
            projected = new.projection(tokens, projection, weights)
            return new.add("Transpose", [new.reshape(projected, [0, 0, heads, size])], perm=perm)

        query, key = heads_of(block.query, [0, 2, 1, 3]), heads_of(block.key, [0, 2, 3, 1])
        value = heads_of(block.value, [0, 2, 1, 3])
        scores = new.add("MatMul", [query, key])  # (N, heads / F, L F, L F)
        if block.scale != 1.0:
            scores = new.add("Mul", [scores, new.weight(np.array(block.scale, np.float32), "scale")])
        if block.mask is not None:
            if block.mask not in self._masks:
                self._masks[block.mask] = _widened(new, block.mask, block.mask_shape, parts)
            scores = new.add("Add", [scores, self._masks[block.mask]])
        mixed = new.add("MatMul", [new.add("Softmax", [scores], axis=-1), value])
        mixed = new.add("Transpose", [mixed], perm=[0, 2, 1, 3])  # (N, L F, heads / F, head size)
        context = new.reshape(mixed, [0, 0, heads * size])
        joined = new.projection(context, block.output, weights)
        new.reshape(joined, [0, -1, width * parts], result=block.output.result)
        new.put()

    def feed_forward(self, pair: FeedForward, weights: Mapping[str, np.ndarray]) -> None:
        """The two layers on sub-tokens, too; what is between them stays."""
        width = weights[pair.up.weight].shape[0]
        new = _Nodes(self.graph, pair.up.result)
        tokens = new.reshape(pair.input, [0, -1, width])
        new.projection(tokens, pair.up, weights, result=pair.up.result)
        new.put()
        maker = {name: node for node in self.graph.proto.graph.node for name in node.output}
        between = maker[pair.down.product].input[0]
        new = _Nodes(self.graph, pair.down.result)
        folded = new.projection(between, pair.down, weights)
        new.reshape(folded, [0, -1, width * self.parts], result=pair.down.result)
        new.put()


class _Nodes:
    """Nodes and initializers that take the place of the node that makes `result`."""

    def __init__(self, graph: Graph, result: str) -> None:
        self._graph, self._result = graph, result
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, np.ndarray] = {}
        self._count = 0

    def weight(self, array: np.ndarray, wanted: str) -> str:
        name = fresh_name(self._graph, f"{self._result}.{wanted}")
        while name in self._weights:
            name += "_"
        self._weights[name] = array
        return name

    def add(self, op_type: str, inputs: list[str], result: str | None = None, **settings: Any) -> str:
        self._count += 1
        name = result or fresh_name(self._graph, f"{self._result}.folded{self._count}")
        self._nodes.append(helper.make_node(op_type, inputs, [name], **settings))
        return name

    def reshape(self, x: str, shape: list[int], result: str | None = None) -> str:
        wanted = "shape" + "x".join(str(side) for side in shape)
        return self.add("Reshape", [x, self.weight(np.array(shape, np.int64), wanted)], result)

    def projection(
        self, x: str, old: Projection, weights: Mapping[str, np.ndarray], result: str | None = None
    ) -> str:
        name = self.weight(weights[old.weight], "weight")
        if old.bias is None:
            return self.add("MatMul", [x, name], result)
        return self.add(
            "Add", [self.add("MatMul", [x, name]), self.weight(weights[old.bias], "bias")], result
        )

    def put(self) -> None:
        node = next(n for n in self._graph.proto.graph.node if n.output[0] == self._result)
        replace_node(self._graph, node, self._nodes, self._weights)


def _widened(new: _Nodes, mask: str, shape: tuple[int, ...], parts: int) -> str:
    """The mask (..., rows, columns) with each column, and each row where there is more than one, `parts`
    times in turn."""
    rank = len(shape)
    last = new.weight(np.array([-1], np.int64), "last")
    keep = [0] * (rank - 1) + [-1]

    def columns(x: str) -> str:
        apart = new.add("Unsqueeze", [x, last])  # (..., columns, 1)
        return new.reshape(new.add("Concat", [apart] * parts, axis=-1), keep)

    wide = columns(mask)
    if shape[-2] == 1:
        return wide
    turned = [*range(rank - 2), rank - 1, rank - 2]
    return new.add("Transpose", [columns(new.add("Transpose", [wide], perm=turned))], perm=turned)
