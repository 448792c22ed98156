"""Fire modules: a 3 x 3 convolution becomes a narrow 1 x 1 one, and 1 x 1 and 3 x 3 ones on its channels.

SqueezeNet (Iandola et al. 2016, section 3) builds a network of them: a squeeze layer of s channels, and e1 +
e3 outputs that expand it; its squeeze ratio is s / (e1 + e3) and pct3x3 is e3 / (e1 + e3). Here a trained
convolution is turned into one, as near as least squares on the network's own inputs comes: outputs that get
1 x 1 kernels are first predicted from the middle of their window, the squeeze layer spans what the outputs
depend on most (SVD under the inputs' moment), and the expand layers are refitted to what the convolution
gave. A ReLU behind the squeeze layer would cut half of its channels' range away, so biases lift them above
zero and are taken back behind. Train afterwards: put `fine-tune` behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import onnx
from onnx import helper

from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.edit import replace_node
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.rewrite.convolution import (
    Attempt,
    Convolution,
    conv_node,
    convolutions,
    fold_batch_norm,
    refitted,
    relative_error,
    rewrite,
    root,
    same_place,
)
from edgepress_compression.passes.state import PassState

_LIFT = 1.0  # standard deviations: more would show at the borders, where padding is zero and not lifted


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The module's shape, in SqueezeNet's words, and which convolutions become one."""

    squeeze_ratio: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.25  # section 5.2: 0.125 in SqueezeNet
    pct3x3: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5  # section 5.3
    relu: bool = True  # behind the squeeze layer
    keep_first: bool = True  # the first convolution sees few channels and saves nothing
    layers: tuple[str, ...] = ()  # names of weights; all that get cheaper when empty
    most_error: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0  # squared, of the layer's outputs; else it stays
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


@dataclass(frozen=True)
class Fire:
    """Weights of one module."""

    squeeze: np.ndarray  # (s, inputs, 1, 1)
    lift: np.ndarray  # (s,) bias of the squeeze layer
    small: np.ndarray  # (e1, s, 1, 1)
    large: np.ndarray  # (e3, s, height, width)
    small_bias: np.ndarray  # (e1,)
    large_bias: np.ndarray  # (e3,)
    error: float  # part of the outputs' energy that is lost


def run(state: PassState, options: Options) -> None:
    """Rewrites convolutions of `state.graph`. Raises RecipeError where there is none to rewrite."""
    fold_batch_norm(state)
    chosen = _chosen(state.graph, options)
    if not chosen:
        raise RecipeError(
            "fire finds no convolution that would get cheaper: it takes kernels of odd size larger than "
            "1 x 1, padded around their middle, beyond the first layer. Use another recipe."
        )

    def attempt(one: Convolution, moment: np.ndarray) -> Attempt:
        fire = fire_of(one, moment, options)
        return Attempt(fire.error, lambda graph, node: _put(graph, node, one, fire, relu=options.relu))

    rewrite(state, chosen, attempt, name="fire", samples=options.samples, most_error=options.most_error)


def widths(outputs: int, inputs: int, options: Options) -> tuple[int, int, int]:
    """(s, e1, e3) of the module in the place of a convolution."""
    large = max(1, math.ceil(options.pct3x3 * outputs))
    return min(inputs, max(1, math.ceil(options.squeeze_ratio * outputs))), outputs - large, large


def fire_of(one: Convolution, moment: np.ndarray, options: Options) -> Fire:
    """The module nearest to a convolution on inputs of that moment (inputs * area, the same)."""
    height, width = one.kernel
    area, inputs, outputs = height * width, one.inputs, one.outputs
    squeezed, small, large = widths(outputs, inputs, options)
    flat = one.weight.reshape(outputs, inputs * area).astype(np.float64)
    middle = np.arange(inputs) * area + (height // 2) * width + width // 2
    centre = moment[np.ix_(middle, middle)]  # (inputs, inputs)
    guess = np.linalg.solve(centre, (flat[:small] @ moment[:, middle]).T).T  # (e1, inputs)
    # what the outputs need of the inputs: each tap of the large kernels, and the small kernels
    need = np.concatenate(
        [flat[small:].reshape(large, inputs, area).transpose(0, 2, 1).reshape(-1, inputs), guess]
    )
    forward, back = root(centre)
    right = np.linalg.svd(need @ forward, full_matrices=False)[2][:squeezed]
    squeezed = len(right)
    basis = right @ back  # (s, inputs): of unit variance each
    spread = np.zeros((squeezed, area, inputs, area))
    every = np.arange(area)
    spread[:, every, :, every] = basis[None]
    taps = spread.reshape(squeezed * area, inputs * area)
    large_kernels = refitted(flat[small:], taps, moment)
    at_middle = np.zeros((squeezed, inputs * area))
    at_middle[:, middle] = basis
    small_kernels = refitted(flat[:small], at_middle, moment) if small else np.zeros((0, squeezed))
    instead = np.concatenate([small_kernels @ at_middle, large_kernels @ taps])
    lift = np.full(squeezed, _LIFT if options.relu else 0.0)
    bias = np.zeros(outputs) if one.bias is None else one.bias.astype(np.float64)
    large_shaped = large_kernels.reshape(large, squeezed, height, width)
    return Fire(
        squeeze=basis.reshape(squeezed, inputs, 1, 1),
        lift=lift,
        small=small_kernels.reshape(small, squeezed, 1, 1),
        large=large_shaped,
        small_bias=bias[:small] - small_kernels @ lift,
        large_bias=bias[small:] - np.einsum("oshw,s->o", large_shaped, lift),
        error=relative_error(flat, instead, moment),
    )


def _chosen(graph: Graph, options: Options) -> list[Convolution]:
    found = []
    for number, one in enumerate(convolutions(graph)):
        height, width = one.kernel
        if one.groups != 1 or height * width == 1 or not one.keeps_size():
            continue
        squeezed, small, large = widths(one.outputs, one.inputs, options)
        after = squeezed * (one.inputs + small + large * height * width)
        cheaper = after < one.outputs * one.inputs * height * width
        wanted = one.name in options.layers if options.layers else not (options.keep_first and number == 0)
        if wanted and cheaper:
            found.append(one)
    return found


def _put(graph: Graph, node: onnx.NodeProto, one: Convolution, fire: Fire, *, relu: bool) -> None:
    name, output = one.name, node.output[0]
    weights = {
        f"{name}.squeeze": fire.squeeze,
        f"{name}.lift": fire.lift,
        f"{name}.expand3": fire.large,
        f"{name}.expand3.bias": fire.large_bias,
    }
    narrow = f"{name}.squeezed"
    nodes = [conv_node([node.input[0], f"{name}.squeeze", f"{name}.lift"], narrow, kernel_shape=[1, 1])]
    if relu:
        nodes.append(helper.make_node("Relu", [narrow], [f"{narrow}.relu"], name=f"{narrow}_relu"))
        narrow = f"{narrow}.relu"
    place = same_place(node)
    wide = f"{name}.wide" if len(fire.small) else output
    nodes.append(
        conv_node(
            [narrow, f"{name}.expand3", f"{name}.expand3.bias"], wide, kernel_shape=list(one.kernel), **place
        )
    )
    if len(fire.small):
        weights |= {f"{name}.expand1": fire.small, f"{name}.expand1.bias": fire.small_bias}
        nodes.append(
            conv_node(
                [narrow, f"{name}.expand1", f"{name}.expand1.bias"],
                f"{name}.thin",
                kernel_shape=[1, 1],
                strides=place.get("strides", [1, 1]),
            )
        )
        nodes.append(
            helper.make_node("Concat", [f"{name}.thin", wide], [output], axis=1, name=f"{name}_concat")
        )
    replace_node(graph, node, nodes, {key: array.astype(np.float32) for key, array in weights.items()})
