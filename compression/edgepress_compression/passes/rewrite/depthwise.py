"""Depthwise separable convolutions: a k x k convolution becomes one kernel a channel and a 1 x 1 mixture.

QuickNet (Ghosh 2017) builds a network of them with parametric rectifiers; here a trained network is turned
into one. The start is the nearest there is on the network's own inputs: each input channel's slices are
replaced by their best common kernel (depth-wise decomposition, He et al. 2019, section 3, by the SVD), and
then kernels and mixture are refitted in turns by least squares to what the convolution gave. Parametric
rectifiers start as what they replace: slope 1 between the two (nothing), slope 0 in the place of a ReLU.
Train afterwards: put `fine-tune` behind it.
"""

from __future__ import annotations

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

_WIDEST = 2400  # numbers of all kernels of a layer: beyond, the refit of the kernels takes too long
_ROUNDS = 3


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which convolutions, and how many kernels a channel."""

    prelu: bool = True  # parametric rectifiers: between the two, and in the place of the ReLU behind
    multiplier: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1  # kernels for each input channel
    keep_first: bool = True  # the first convolution sees few channels and saves nothing
    layers: tuple[str, ...] = ()  # names of weights; all that get cheaper when empty
    most_error: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0  # squared, of the layer's outputs; else it stays
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


def run(state: PassState, options: Options) -> None:
    """Rewrites convolutions of `state.graph`. Raises RecipeError where there is none to rewrite."""
    fold_batch_norm(state)
    chosen = _chosen(state.graph, options)
    if not chosen:
        raise RecipeError(
            "depthwise finds no convolution that would get cheaper: it takes kernels larger than 1 x 1 "
            "without groups, beyond the first layer. Use another recipe."
        )

    def attempt(one: Convolution, moment: np.ndarray) -> Attempt:
        kernels, mixture, error = separated(one.weight, moment, options.multiplier)
        return Attempt(
            error, lambda graph, node: _put(graph, node, one, kernels, mixture, prelu=options.prelu)
        )

    rewrite(state, chosen, attempt, name="depthwise", samples=options.samples, most_error=options.most_error)


def separated(
    weight: np.ndarray, moment: np.ndarray, multiplier: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """(kernels (inputs * multiplier, 1, height, width), mixture (outputs, inputs * multiplier, 1, 1), part of
    the outputs' energy that is lost) for a weight (outputs, inputs, height, width) and its inputs' moment."""
    outputs, inputs, height, width = weight.shape
    area = height * width
    flat = weight.reshape(outputs, inputs * area).astype(np.float64)
    kernels = np.empty((inputs, multiplier, area))
    for channel in range(inputs):
        part = slice(channel * area, (channel + 1) * area)
        forward, back = root(moment[part, part])
        right = np.linalg.svd(flat[:, part] @ forward, full_matrices=False)[2]
        kernels[channel] = 0.0
        found = min(multiplier, len(right))
        kernels[channel, :found] = right[:found] @ back
    mixture = refitted(flat, _spread(kernels), moment)
    if inputs * multiplier * area <= _WIDEST:
        for _ in range(_ROUNDS):
            kernels = _refit_kernels(flat, mixture, moment, kernels.shape)
            mixture = refitted(flat, _spread(kernels), moment)
    kernels, mixture = _balanced(kernels, mixture)
    error = relative_error(flat, mixture @ _spread(kernels), moment)
    return (
        kernels.reshape(inputs * multiplier, 1, height, width),
        mixture.reshape(outputs, inputs * multiplier, 1, 1),
        error,
    )


def _spread(kernels: np.ndarray) -> np.ndarray:
    """Kernels (inputs, multiplier, area) as the matrix (inputs * multiplier, inputs * area) they are."""
    inputs, multiplier, area = kernels.shape
    matrix = np.zeros((inputs, multiplier, inputs, area))
    every = np.arange(inputs)
    matrix[every, :, every, :] = kernels
    return matrix.reshape(inputs * multiplier, inputs * area)


def _refit_kernels(
    flat: np.ndarray, mixture: np.ndarray, moment: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """The kernels that serve this mixture best: the error is a quadratic form in them."""
    inputs, multiplier, area = shape
    gram = (mixture.T @ mixture).reshape(inputs, multiplier, inputs, multiplier)
    by_tap = moment.reshape(inputs, area, inputs, area)
    hessian = np.einsum("imjn,ikjl->imkjnl", gram, by_tap).reshape(inputs * multiplier * area, -1)
    pull = (mixture.T @ (flat @ moment)).reshape(inputs, multiplier, inputs, area)
    every = np.arange(inputs)
    right = pull[every, :, every, :].reshape(-1)  # (inputs * multiplier * area)
    hessian[np.diag_indices_from(hessian)] += 1e-6 * max(float(np.trace(hessian)) / len(hessian), 1e-30)
    return np.asarray(np.linalg.solve(hessian, right)).reshape(shape)


def _balanced(kernels: np.ndarray, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each kernel as large as the weights that mix it: both train at one rate."""
    inputs, multiplier, _ = kernels.shape
    own = np.sqrt(np.square(kernels).sum(axis=2).reshape(-1))
    mixed = np.sqrt(np.square(mixture).sum(axis=0))
    alive = (own > 0) & (mixed > 0)
    scale = np.where(alive, np.sqrt(np.divide(mixed, own, where=alive, out=np.ones_like(own))), 1.0)
    return kernels * scale.reshape(inputs, multiplier, 1), mixture / scale


def _chosen(graph: Graph, options: Options) -> list[Convolution]:
    found = []
    for number, one in enumerate(convolutions(graph)):
        height, width = one.kernel
        if options.layers:
            wanted = one.name in options.layers
        else:
            before = one.outputs * one.inputs * height * width
            after = one.inputs * options.multiplier * (height * width + one.outputs)
            wanted = after < before and not (options.keep_first and number == 0)
        if wanted and one.groups == 1 and height * width > 1:
            found.append(one)
    return found


def _put(
    graph: Graph,
    node: onnx.NodeProto,
    one: Convolution,
    kernels: np.ndarray,
    mixture: np.ndarray,
    *,
    prelu: bool,
) -> None:
    middle, output = f"{one.name}.depth", node.output[0]
    weights = {f"{one.name}.depthwise": kernels, f"{one.name}.pointwise": mixture}
    nodes = [
        conv_node(
            [node.input[0], f"{one.name}.depthwise"],
            middle,
            group=one.inputs,
            kernel_shape=list(one.kernel),
            **same_place(node),
        )
    ]
    if prelu:
        weights[f"{one.name}.slope"] = np.ones((len(kernels), 1, 1), np.float32)
        nodes.append(
            helper.make_node(
                "PRelu", [middle, f"{one.name}.slope"], [f"{middle}.prelu"], name=f"{middle}_prelu"
            )
        )
        middle = f"{middle}.prelu"
    inputs = [middle, f"{one.name}.pointwise"]
    if one.bias is not None:
        weights[f"{one.name}.bias"] = one.bias
        inputs.append(f"{one.name}.bias")
    nodes.append(conv_node(inputs, output, kernel_shape=[1, 1]))
    if prelu:
        _parametric(graph, output, one)
    replace_node(graph, node, nodes, {key: array.astype(np.float32) for key, array in weights.items()})


def _parametric(graph: Graph, output: str, one: Convolution) -> None:
    """The ReLU that alone reads `output` becomes a PReLU of slope 0."""
    readers = graph.users().get(output, [])
    if len(readers) != 1 or readers[0][0].op_type != "Relu" or output in {v.name for v in graph.outputs}:
        return
    node = readers[0][0]
    node.op_type = "PRelu"
    name = f"{one.name}.rectifier"
    node.input.append(name)
    graph.proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.zeros((one.outputs, 1, 1), np.float32), name)
    )
    graph.refresh()
