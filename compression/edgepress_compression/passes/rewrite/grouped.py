"""Position-wise dense layers of a transformer as grouped convolutions (SqueezeBERT).

Iandola et al. 2020 (SqueezeBERT: What can computer vision teach NLP about efficient neural networks?, section
3): a dense layer applied to each position is a convolution of kernel 1 over the sequence; with G groups it
holds G times fewer weights and takes G times less work. They group the projections to queries, keys and
values and the two feed-forward layers, and keep the layer after attention whole, so that groups exchange
what they know there (table 2). They train from the start; here each group begins as the regression of the
original's outputs on the inputs that it sees (shared_projection.py), with the hidden units of feed-forward
layers assigned to the groups that explain them best, and the whole is trained towards the original
(imitate.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np
import onnx
from onnx import helper

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.edit import fresh_name, replace_node
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.run_shapes import run_shapes
from edgepress_compression.passes.layer_inputs import Moments, layer_inputs
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.transformer.attention import (
    FeedForward,
    Projection,
    attention_blocks,
    feed_forwards,
)
from edgepress_compression.passes.transformer.imitate import Imitation, data_for, imitate
from edgepress_compression.passes.transformer.local_fit import Part
from edgepress_compression.passes.transformer.shared_projection import (
    grouped_projection,
    second_moments,
)

_SAMPLES = 200  # whose inner values give the first weights


class Options(Imitation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is grouped."""

    groups: Annotated[int, msgspec.Meta(ge=2, le=64)] = 4
    attention: bool = True  # projections to queries, keys and values
    feed_forward: bool = True


def run(state: PassState, options: Options) -> None:
    """Groups dense layers of `state.graph` and trains it. Raises RecipeError without data to train on."""
    started = time.monotonic()
    graph, groups = state.graph, options.groups
    shapes = run_shapes(graph)
    blocks = attention_blocks(graph, shapes) if options.attention else []
    pairs = feed_forwards(graph, shapes) if options.feed_forward else []
    wanted = [p for block in blocks for p in (block.query, block.key, block.value)]
    pairs = [pair for pair in pairs if _divisible(graph, pair.up, groups)]
    wanted = [p for p in wanted if _divisible(graph, p, groups)]
    if not wanted and not pairs:
        state.warn(
            f"group-dense found no dense layer of a transformer that {groups} groups divide; the model "
            "stays as it is."
        )
        return
    data = data_for(state, options, "Grouping dense layers")
    before = graph.copy()
    names = [p.weight for p in wanted] + [p.weight for pair in pairs for p in (pair.up, pair.down)]
    moments = layer_inputs(
        Executor(graph), data.split.fetch, data.rows[:_SAMPLES], names, seed=state.seed,
        check_cancelled=state.check_cancelled,
    )  # fmt: skip
    weights_before = graph.weight_bytes()
    for pair in pairs:
        _arrange(graph, pair, moments, groups)
    for projection in [*wanted, *(p for pair in pairs for p in (pair.up, pair.down))]:
        state.check_cancelled()
        found = grouped_projection(graph, projection, moments.get(projection.weight), groups)
        group_projection(graph, projection, found, groups)
        state.codes.pop(projection.weight, None)
    state.stages.append(
        Stage(
            name=f"group {len(names)} dense layers by {groups}",
            seconds=time.monotonic() - started,
            note=f"{graph.weight_bytes() / weights_before:.1%} of the weights",
        )
    )
    fitted = [Part(block.input, block.output.result) for block in blocks]
    fitted += [Part(pair.input, pair.down.result) for pair in pairs]
    imitate(state, before, data, options, fitted, "Grouping dense layers")


def group_projection(
    graph: Graph, projection: Projection, weights: Mapping[str, np.ndarray], groups: int
) -> None:
    """Puts a grouped convolution over the sequence in the place of the dense layer."""
    node = next(n for n in graph.proto.graph.node if n.output[0] == projection.result)
    product = next(n for n in graph.proto.graph.node if n.output[0] == projection.product)
    turned = fresh_name(graph, f"{projection.result}.channels_first")
    grouped = fresh_name(graph, f"{projection.result}.grouped")
    kernel = fresh_name(graph, f"{projection.weight}.grouped")
    new = {kernel: weights[projection.weight]}
    inputs = [turned, kernel]
    if projection.bias is not None:
        bias = fresh_name(graph, f"{projection.bias}.grouped")
        new[bias] = weights[projection.bias]
        inputs.append(bias)
    nodes: list[onnx.NodeProto] = [
        helper.make_node("Transpose", [product.input[0]], [turned], perm=[0, 2, 1]),  # (N, channels, L)
        helper.make_node("Conv", inputs, [grouped], group=groups, kernel_shape=[1]),
        helper.make_node("Transpose", [grouped], [projection.result], perm=[0, 2, 1]),
    ]
    replace_node(graph, node, nodes, new)


def assign(gains: np.ndarray) -> np.ndarray:
    """Units to groups of equal size: gains (units, groups) -> group of each unit (units,).

    Greedy: the units that lose most by their second choice choose first.
    """
    units, groups = gains.shape
    if units % groups:
        raise RecipeError(f"{units} hidden units cannot be divided into {groups} groups of equal size.")
    ordered = np.sort(gains, axis=1)
    eager = np.argsort(-(ordered[:, -1] - ordered[:, -2]), kind="stable")
    left = np.full(groups, units // groups)
    chosen = np.zeros(units, np.int64)
    for unit in eager:
        group = int(np.argmax(np.where(left > 0, gains[unit], -np.inf)))
        chosen[unit] = group
        left[group] -= 1
    return chosen


def _arrange(graph: Graph, pair: FeedForward, moments: Mapping[str, Moments], groups: int) -> None:
    """Orders the hidden units so that each stands in the group whose inputs explain it best. The answers do
    not change."""
    seen = moments.get(pair.up.weight)
    if seen is None:
        return
    matrix = graph.weights[pair.up.weight].astype(np.float64)  # (inputs, units)
    products, mean = second_moments(seen, matrix.shape[0])
    centred = products - np.outer(mean, mean)
    width = matrix.shape[0] // groups
    gains = np.zeros((matrix.shape[1], groups))
    for group in range(groups):
        part = slice(group * width, (group + 1) * width)
        inside = centred[part, part] + np.eye(width) * 1e-9
        cross = centred[part] @ matrix  # (width, units)
        gains[:, group] = (cross * np.linalg.solve(inside, cross)).sum(axis=0)  # variance explained
    order = np.argsort(assign(gains), kind="stable")
    graph.set_weight(pair.up.weight, graph.weights[pair.up.weight][:, order])
    if pair.up.bias is not None:
        graph.set_weight(pair.up.bias, graph.weights[pair.up.bias][order])
    graph.set_weight(pair.down.weight, graph.weights[pair.down.weight][order])
    down = moments.get(pair.down.weight)
    if down is not None:
        down.products = down.products[:, order][:, :, order]
        down.sums = down.sums[:, order]


def _divisible(graph: Graph, projection: Projection, groups: int) -> bool:
    return all(side % groups == 0 for side in graph.weights[projection.weight].shape)
