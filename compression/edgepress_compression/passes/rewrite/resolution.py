"""Input resolution as a choice: the model computes on a smaller or larger picture than the one it is given.

Work goes with the square of the side. A detector gains on small objects from a larger picture, since features
of small things vanish where the feature map is coarse (Eggert et al. 2017, "Improving Small Object Proposals
for Company Logo Detection", section 3); a classifier often keeps its answers on a smaller one. The device
feeds the same pictures as before: the first operator resizes them.

Where an operator holds a size of its own (the Reshapes of a channel shuffle), it is computed again; a layer
that needs its pictures in one size (a dense layer behind Flatten) makes another resolution impossible, and
that is said.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Annotated

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.errors import GraphError, RecipeError
from edgepress_compression.evaluate import open_session
from edgepress_compression.evaluate import run as run_session
from edgepress_compression.generated import generated_batches
from edgepress_compression.graph.model import Graph, Value
from edgepress_compression.passes.state import PassState, Stage

_RESIZE_OPSET = 11  # the first whose Resize says where pixels lie
_ANTIALIAS_OPSET = 18


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`scale` is of the picture's side."""

    scale: Annotated[float, msgspec.Meta(ge=0.125, le=4.0)] = 0.75


def run(state: PassState, options: Options) -> None:
    """Puts a Resize before `state.graph`. Raises RecipeError where the model cannot take another size."""
    started = time.monotonic()
    picture = picture_input(state.graph)
    height, width = scaled_size(state.graph, options.scale)
    graph = at_resolution(state.graph, height, width)
    state.graph = graph
    state.codes = {name: code for name, code in state.codes.items() if name in graph.weights}
    state.stages.append(
        Stage(
            name=f"resolution, {height} x {width} in place of {picture.shape[2]} x {picture.shape[3]}",
            seconds=time.monotonic() - started,
        )
    )


def picture_input(graph: Graph) -> Value:
    """The one input that is a picture of known size. Raises RecipeError."""
    found = [
        one
        for one in graph.inputs
        if len(one.shape) == 4 and one.dtype == np.float32 and all(isinstance(n, int) for n in one.shape[1:])
    ]
    if len(found) != 1 or len(graph.inputs) != 1:
        raise RecipeError(
            "resolution takes models whose one input is a picture (N, channels, height, width) of known "
            f"size; this one takes {', '.join(f'{v.name} {list(v.shape)}' for v in graph.inputs)}."
        )
    return found[0]


def scaled_size(graph: Graph, scale: float) -> tuple[int, int]:
    """(height, width) of the pictures at `scale`; where the model halves its pictures without a rest, the new
    ones can be halved as often, for feature maps that meet again must agree."""
    picture = picture_input(graph)
    sides = []
    for axis in (2, 3):
        side = int(picture.shape[axis])
        maps = [s[axis] for n, s in graph.shapes().items() if n not in graph.weights and len(s) == 4]
        smallest = min([one for one in maps if one > 1], default=side)
        multiple = side // smallest if side % smallest == 0 else 1
        sides.append(max(multiple, round(side * scale / multiple) * multiple))
    return sides[0], sides[1]


def at_resolution(graph: Graph, height: int, width: int) -> Graph:
    """A graph that takes the same pictures and computes on `height` x `width`. Raises RecipeError."""
    picture = picture_input(graph)
    before = graph.shapes()
    result = graph.copy()
    proto = result.proto.graph
    taken = {name for node in proto.node for name in node.output}
    resized = next(n for k in count() if (n := f"{picture.name}.resized{k or ''}") not in taken)
    factors = np.array([1.0, 1.0, height / int(picture.shape[2]), width / int(picture.shape[3])], np.float32)
    for node in proto.node:
        for position, name in enumerate(node.input):
            if name == picture.name:
                node.input[position] = resized
    nodes = [_resize(picture.name, resized, graph.opset), *proto.node]
    copies = [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes]
    del proto.node[:]
    proto.node.extend(copies)
    for name, array in (("region", np.zeros(0, np.float32)), ("factors", factors)):
        proto.initializer.append(numpy_helper.from_array(array, f"{resized}.{name}"))
    del proto.value_info[:]
    for info in proto.output:
        free_space(info)
    result.refresh()
    settle_sizes(result, before)
    return result


def settle_sizes(graph: Graph, before: Mapping[str, tuple[int, ...]]) -> None:
    """Makes a graph whose pictures have other sizes than `before` run. Raises RecipeError where it cannot."""
    _sizes_again(graph, before)
    try:
        feed = next(iter(generated_batches(graph, count=1, seed=0)))
        run_session(open_session(graph.serialize()), feed)
    except GraphError as error:
        raise RecipeError(
            "The model cannot compute on pictures of that size; it probably has a dense layer that needs its "
            f"pictures in one size. Use another recipe. {error}"
        ) from error


def _resize(source: str, output: str, opset: int) -> onnx.NodeProto:
    if opset < _RESIZE_OPSET:
        raise RecipeError(
            f"resolution needs opset {_RESIZE_OPSET} or later, and the model has {opset}. Export it again "
            "with opset_version=13."
        )
    node = helper.make_node(
        "Resize",
        [source, f"{output}.region", f"{output}.factors"],
        [output],
        name=f"{output}_resize",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    if opset >= _ANTIALIAS_OPSET:
        node.attribute.append(helper.make_attribute("antialias", 1))  # a smaller picture without moire
    return node


def free_space(info: onnx.ValueInfoProto) -> None:
    """Sizes of an output's third dimension on are computed now, and not promised."""
    dims = info.type.tensor_type.shape.dim
    for position in range(2, len(dims)):
        dims[position].Clear()


def _sizes_again(graph: Graph, before: Mapping[str, tuple[int, ...]]) -> None:
    """Reshapes to constant sizes get the sizes that their pictures have now, from the input on."""
    settled: set[str] = set()
    given = {one.name for one in graph.inputs}
    while True:
        now = _shapes_as_far_as_known(graph)
        sizes: dict[tuple[int, ...], tuple[int, ...]] = {}
        for name, shape in now.items():  # from the input on: what lies behind a wrong constant comes too late
            if len(shape) == 4 and len(before.get(name, ())) == 4 and name not in given:
                sizes.setdefault(before[name][2:], shape[2:])
        waiting = [
            node
            for node in graph.proto.graph.node
            if node.op_type == "Reshape" and node.input[1] in graph.weights and node.output[0] not in settled
        ]
        if not waiting:
            return
        node = waiting[0]
        settled.add(node.output[0])
        target = [int(n) for n in graph.weights[node.input[1]]]
        new = _resized_target(target, sizes)
        if new != target:
            name = f"{node.output[0]}.shape"
            graph.proto.graph.initializer.append(numpy_helper.from_array(np.array(new, np.int64), name))
            node.input[1] = name
            graph.refresh()


def _shapes_as_far_as_known(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of values, without those behind an operator whose constants do not fit its input yet."""
    proto = onnx.shape_inference.infer_shapes(graph.proto, data_prop=True)
    shapes = {}
    for info in (*proto.graph.input, *proto.graph.value_info):
        dims = info.type.tensor_type.shape.dim
        shapes[info.name] = tuple(int(d.dim_value) if d.HasField("dim_value") else 1 for d in dims)
    return shapes


def _resized_target(target: list[int], sizes: Mapping[tuple[int, ...], tuple[int, ...]]) -> list[int]:
    """The constant sizes with a picture's old height and width, or their product, replaced by the new."""
    if len(target) >= 2 and tuple(target[-2:]) in sizes:
        return [*target[:-2], *sizes[target[-2], target[-1]]]
    areas = {old[0] * old[1]: new[0] * new[1] for old, new in sizes.items()}
    if target and target[-1] in areas:
        return [*target[:-1], areas[target[-1]]]
    return target
