"""Smaller projections that come nearest to what the original gives on real inputs, in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.layer_inputs import Moments
from edgepress_compression.passes.transformer.attention import Projection

_DAMPING = 1e-3  # of the mean moment: inputs that hardly move do not get wild weights


def second_moments(moments: Moments | None, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """E[x x^T] (inputs, inputs) and E[x] (inputs,); without moments those of white noise."""
    if moments is None:
        return np.eye(inputs), np.zeros(inputs)
    products = moments.products[0].double().numpy() / moments.count
    return products, moments.sums[0].double().numpy() / moments.count


def folded_projection(
    graph: Graph, projection: Projection, moments: Moments | None, parts: int
) -> dict[str, np.ndarray]:
    """One (inputs / parts, outputs / parts) map for all parts of a token, and its bias.

    With x_n and y_n the n-th parts of inputs and outputs, A minimises sum over n of E |y_n - x_n A - b|^2:
    A = (sum_n C[n, n])^-1 sum_n C[n, :] W[:, n], with C the centred moments and W[:, n] the n-th part of the
    columns.
    """
    weight = graph.weights[projection.weight]
    matrix = weight.astype(np.float64)  # (inputs, outputs)
    inputs, outputs = matrix.shape
    products, mean = second_moments(moments, inputs)
    centred = products - np.outer(mean, mean) if projection.bias is not None else products
    width, made = inputs // parts, outputs // parts
    left, right = np.zeros((width, width)), np.zeros((width, made))
    for n in range(parts):
        rows = slice(n * width, (n + 1) * width)
        left += centred[rows, rows]
        right += centred[rows] @ matrix[:, n * made : (n + 1) * made]
    left += np.eye(width) * max(_DAMPING * float(np.trace(left)) / width, 1e-12)
    shared = np.linalg.solve(left, right)  # (width, made)
    found = {projection.weight: shared.astype(weight.dtype)}
    if projection.bias is not None:
        bias = graph.weights[projection.bias]
        given = (mean @ matrix + bias).reshape(parts, made)
        left_over = given - mean.reshape(parts, width) @ shared
        found[projection.bias] = left_over.mean(axis=0).astype(bias.dtype)
    return found


def grouped_projection(
    graph: Graph, projection: Projection, moments: Moments | None, groups: int
) -> dict[str, np.ndarray]:
    """A (outputs, inputs / groups, 1) convolution of so many groups, and its bias (outputs,).

    The outputs of a group see its inputs only: A_g = W[:, g] E[x x^T][:, g] (E[x x^T][g, g])^-1 of centred
    moments, the regression of the outputs on those inputs.
    """
    weight = graph.weights[projection.weight]
    matrix = weight.astype(np.float64)
    inputs, outputs = matrix.shape
    products, mean = second_moments(moments, inputs)
    centred = products - np.outer(mean, mean) if projection.bias is not None else products
    width, made = inputs // groups, outputs // groups
    grouped = np.zeros((outputs, width))
    expected = np.zeros(outputs)
    for group in range(groups):
        seen, rows = slice(group * width, (group + 1) * width), slice(group * made, (group + 1) * made)
        inside = centred[seen, seen].copy()
        inside += np.eye(width) * max(_DAMPING * float(np.trace(inside)) / width, 1e-12)
        grouped[rows] = np.linalg.solve(inside, centred[seen] @ matrix[:, rows]).T
        expected[rows] = grouped[rows] @ mean[seen]
    found = {projection.weight: grouped[:, :, None].astype(weight.dtype)}
    if projection.bias is not None:
        bias = graph.weights[projection.bias]
        found[projection.bias] = (bias + mean @ matrix - expected).astype(bias.dtype)
    return found


def all_projections(
    graph: Graph,
    projections: list[Projection],
    moments: Mapping[str, Moments],
    parts: int,
    *,
    grouped: bool = False,
) -> dict[str, np.ndarray]:
    """Of several, by the names of the weights and biases that they replace."""
    fit = grouped_projection if grouped else folded_projection
    found: dict[str, np.ndarray] = {}
    for one in projections:
        found |= fit(graph, one, moments.get(one.weight), parts)
    return found
