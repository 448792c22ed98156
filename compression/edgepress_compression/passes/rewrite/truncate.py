"""Early-layer truncation: the first steps that halve the picture go, and the picture is halved instead.

The layers behind see feature maps of the size they know, while those before work on a quarter of the
positions. Together with a larger input it is the other way round: early layers as before, and finer feature
maps behind, which is what small objects need (Eggert et al. 2017, section 4: features of an earlier, finer
layer). `resolution` sets the picture's size; this pass takes strides and pools out. Train afterwards: put
`fine-tune` behind it.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import onnx

from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.rewrite.resolution import (
    at_resolution,
    free_space,
    picture_input,
    settle_sizes,
)
from edgepress_compression.passes.state import PassState, Stage

_POOLS = ("MaxPool", "AveragePool")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many halvings go, and whether the picture is halved for each of them."""

    halvings: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1
    shrink_input: bool = True  # False: finer feature maps from there on, and more work


def run(state: PassState, options: Options) -> None:
    """Takes the first halvings out of `state.graph`. Raises RecipeError where there are not so many."""
    started = time.monotonic()
    picture = picture_input(state.graph)
    graph, taken = without_halvings(state.graph, options.halvings)
    before = state.graph.shapes()
    if not options.shrink_input:
        settle_sizes(graph, before)
    else:
        factor = 2**options.halvings
        graph = at_resolution(
            graph, round(int(picture.shape[2]) / factor), round(int(picture.shape[3]) / factor)
        )
    state.graph = graph
    state.codes = {name: code for name, code in state.codes.items() if name in graph.weights}
    state.stages.append(Stage(name=f"truncate, {', '.join(taken)}", seconds=time.monotonic() - started))


def without_halvings(graph: Graph, count: int) -> tuple[Graph, list[str]]:
    """(a graph without its first `count` strides of 2, what they were). Raises RecipeError."""
    result = graph.copy()
    proto = result.proto.graph
    halving = [node for node in proto.node if _halves(node)][:count]
    if len(halving) < count:
        raise RecipeError(
            f"truncate finds {len(halving)} steps that halve the picture, and {count} were asked for; "
            "lower `halvings`."
        )
    taken = []
    for node in halving:
        if node.op_type == "Conv":
            for attribute in node.attribute:
                if attribute.name == "strides":
                    attribute.ints[:] = [1, 1]
            taken.append(f"stride of {node.input[1]}")
        else:
            for other in proto.node:
                for position, name in enumerate(other.input):
                    if name == node.output[0]:
                        other.input[position] = node.input[0]
            proto.node.remove(node)
            taken.append(node.op_type)
    del proto.value_info[:]
    for info in proto.output:
        free_space(info)
    result.refresh()
    return result, taken


def _halves(node: onnx.NodeProto) -> bool:
    strides = attributes(node).get("strides")
    return node.op_type in ("Conv", *_POOLS) and strides == [2, 2]
