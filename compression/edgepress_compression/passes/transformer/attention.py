"""Finds attention blocks that exporters have written out in primitive operators.

::

    x -> MatMul -> Add -> Reshape -> Transpose -> q --+
    x -> MatMul -> Add -> Reshape -> Transpose -> k --+-> MatMul -> Mul/Div -> Add mask -> Softmax --+
    x -> MatMul -> Add -> Reshape -> Transpose -> v ------------------------------------------ MatMul
                                                                                                  |
                                     result <- Add <- MatMul (output) <- Reshape <- Transpose <---+

The walk starts at each Softmax and goes back and on through nodes that only move or scale numbers. What does
not look like this (q, k and v from one product, a Softmax that ends a classifier) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.graph.run_shapes import run_shapes

_MOVES = frozenset({"Reshape", "Transpose", "Identity", "Dropout", "Cast"})
_SCALES = frozenset({"Mul", "Div"})


@dataclass(frozen=True)
class Projection:
    """A linear map of the channels, position by position."""

    weight: str  # initializer (inputs, outputs)
    bias: str | None
    product: str  # what MatMul gives
    result: str  # with the bias added


@dataclass(frozen=True)
class AttentionBlock:
    """Self-attention of one layer. Names are of values in the graph."""

    input: str  # (batch, length, channels): what q, k and v are made of
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    heads: int
    head_size: int
    scale: float  # of the scores, before the mask
    mask: str | None  # added to the scores; its last two sides are 1 or (length, length)
    mask_shape: tuple[int, ...]
    softmax: str  # output of the Softmax
    context: str  # what the output projection reads


@dataclass(frozen=True)
class FeedForward:
    """The two position-wise layers after an attention block: down(activation(up(x)))."""

    input: str
    up: Projection
    down: Projection


def attention_blocks(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> list[AttentionBlock]:
    """In the order of the graph. `shapes` are those of `run_shapes`."""
    finder = _Finder(graph, run_shapes(graph) if shapes is None else shapes)
    softmaxes = [node for node in graph.proto.graph.node if node.op_type == "Softmax"]
    return [block for node in softmaxes if (block := finder.block(node)) is not None]


def feed_forwards(graph: Graph, shapes: Mapping[str, tuple[int, ...]] | None = None) -> list[FeedForward]:
    """Pairs of projections with only elementwise operators between them, on values of three sides."""
    finder = _Finder(graph, run_shapes(graph) if shapes is None else shapes)
    found = []
    for node in graph.proto.graph.node:
        if (pair := finder.pair(node)) is not None:
            found.append(pair)
    return found


class _Finder:
    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._weights = graph.weights
        self._shapes = shapes
        self._makers = {name: node for node in graph.proto.graph.node for name in node.output}
        self._users = graph.users()

    def block(self, softmax: onnx.NodeProto) -> AttentionBlock | None:
        """The block around this Softmax, or None."""
        walked = self._scores(softmax.input[0])
        if walked is None:
            return None
        scores, scale, mask = walked
        query, q_scale = self._source(scores.input[0])
        key, k_scale = self._source(scores.input[1])
        mixing = self._reader(softmax.output[0])
        if query is None or key is None or mixing is None or mixing.op_type != "MatMul":
            return None
        value, v_scale = self._source(mixing.input[1])
        output = self._onward(mixing.output[0])
        if value is None or output is None or v_scale != 1.0:
            return None
        sides = self._shapes.get(scores.input[0], ())
        if len(sides) != 4:
            return None
        width = self._weights[query.weight].shape[1]
        heads, head_size = sides[1], sides[3]
        inputs = {self._makers[one.product].input[0] for one in (query, key, value)}
        if heads * head_size != width or len(inputs) != 1:
            return None
        return AttentionBlock(
            input=inputs.pop(), query=query, key=key, value=value, output=output,
            heads=heads, head_size=head_size, scale=scale * q_scale * k_scale, mask=mask,
            mask_shape=self._shapes.get(mask or "", ()), softmax=softmax.output[0],
            context=self._makers[output.product].input[0],
        )  # fmt: skip

    def pair(self, node: onnx.NodeProto) -> FeedForward | None:
        """The feed-forward layers that begin with this node, or None."""
        up = self._projection(node)
        if up is None or len(self._shapes.get(node.input[0], ())) != 3:
            return None
        front, met = [up.result], {up.result}
        while front:
            name = front.pop()
            for reader, _ in self._users.get(name, []):
                if reader.op_type == "MatMul":
                    down = self._projection(reader)
                    if (
                        down is None
                        or self._weights[down.weight].shape != self._weights[up.weight].shape[::-1]
                    ):
                        return None
                    return FeedForward(node.input[0], up, down)
                shape = self._shapes.get(reader.output[0])
                if reader.op_type in _MOVES or shape != self._shapes.get(up.result):
                    return None
                if reader.output[0] not in met:
                    met.add(reader.output[0])
                    front.append(reader.output[0])
        return None

    def _scores(self, name: str) -> tuple[onnx.NodeProto, float, str | None] | None:
        """(product of queries and keys, scale, mask) behind what a Softmax reads."""
        scale, mask = 1.0, None
        while True:
            node = self._makers.get(name)
            if node is None:
                return None
            if node.op_type == "MatMul":
                return (node, scale, mask) if all(n not in self._weights for n in node.input) else None
            if node.op_type == "Add" and mask is None and scale == 1.0:  # a mask that is not scaled itself
                # the scores are the side with a matrix product behind it
                sides = [n for n in node.input if self._leads_to_product(n)]
                if len(sides) != 1:
                    return None
                mask = next(n for n in node.input if n != sides[0])
                name = sides[0]
            elif node.op_type in _SCALES and (one := self._scaled(node)) is not None:
                name, factor = one
                scale *= factor
            elif node.op_type in ("Identity", "Dropout"):
                name = node.input[0]
            else:
                return None

    def _leads_to_product(self, name: str) -> bool:
        node = self._makers.get(name)
        while node is not None and node.op_type in (*_SCALES, "Identity", "Dropout"):
            scaled = self._scaled(node) if node.op_type in _SCALES else (node.input[0], 1.0)
            if scaled is None:
                return False
            node = self._makers.get(scaled[0])
        return node is not None and node.op_type == "MatMul"

    def _source(self, name: str) -> tuple[Projection | None, float]:
        """The projection behind a value, through nodes that move or scale its numbers; and the scale."""
        scale = 1.0
        while True:
            node = self._makers.get(name)
            if node is None:
                return None, scale
            if node.op_type in _MOVES:
                name = node.input[0]
            elif node.op_type in _SCALES and (one := self._scaled(node)) is not None:
                name, scale = one[0], scale * one[1]
            else:
                product = node
                if node.op_type == "Add":
                    before = [self._makers.get(n) for n in node.input if n not in self._weights]
                    if len(before) != 1 or before[0] is None:
                        return None, scale
                    product = before[0]
                projection = self._projection(product)
                return (projection if projection and projection.result == name else None), scale

    def _onward(self, name: str) -> Projection | None:
        """The projection that reads a value, through nodes that move its numbers."""
        node = self._reader(name)
        while node is not None and node.op_type in _MOVES:
            node = self._reader(node.output[0])
        return None if node is None else self._projection(node)

    def _projection(self, node: onnx.NodeProto) -> Projection | None:
        if node.op_type != "MatMul" or node.input[1] not in self._weights:
            return None
        weight, product = node.input[1], node.output[0]
        if self._weights[weight].ndim != 2 or len(self._users.get(weight, [])) != 1:
            return None
        reader = self._reader(product)
        if reader is not None and reader.op_type == "Add":
            bias = next((n for n in reader.input if n in self._weights), None)
            if bias is not None and self._weights[bias].shape == self._weights[weight].shape[1:]:
                return Projection(weight, bias, product, reader.output[0])
        return Projection(weight, None, product, product)

    def _reader(self, name: str) -> onnx.NodeProto | None:
        """The only node that reads a value."""
        readers = self._users.get(name, [])
        return readers[0][0] if len(readers) == 1 else None

    def _scaled(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """(the other input, factor) of a product with, or quotient by, one number."""
        for position, name in enumerate(node.input):
            number = self._number(name)
            if number is not None and (node.op_type == "Mul" or position == 1):
                return node.input[1 - position], number if node.op_type == "Mul" else 1.0 / number
        return None

    def _number(self, name: str) -> float | None:
        array = self._weights.get(name)
        maker = self._makers.get(name)
        if array is None and maker is not None and maker.op_type == "Constant":
            value = attributes(maker).get("value")
            array = value if isinstance(value, np.ndarray) else None
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
