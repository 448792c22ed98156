"""Few values of any kind for a tensor: entropy-constrained quantization with a codebook, and with feedback.

Chou, Lookabaugh and Gray (1989): assignment by error and price of the index' bits, values re-estimated as
the means of what was assigned to them, bits from how often each is used; a value that nothing takes is
dropped. As in cost_rounding.py a layer's inputs are rounded one at a time and errors spread over those to
come, so what is assigned, and averaged, is each weight as those before it have changed it. Values start
evenly spaced, at the step that the price asks for, and zero stays zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgepress_compression.artifact.codes import SharedWeights
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.layer_matrix import LayerMatrix, layer_matrix
from edgepress_compression.passes.rate_distortion.choose_integers import THRIFT, bias_gain
from edgepress_compression.passes.rate_distortion.steps import steepness
from edgepress_compression.passes.sharing.kmeans import half_precision

_BLOCK = 48  # columns whose errors are spread together over those after them
_MOST_VALUES = 1024
_NEVER_BITS = 24.0  # of a value that was not used


@dataclass(frozen=True)
class ChosenCodebook:
    """As choose_integers.ChosenIntegers, with a codebook."""

    shared: SharedWeights
    bits: float
    loss: float
    bias_gain: np.ndarray | None

    def code(self) -> SharedWeights:
        return self.shared


def choose_codebooks(
    weights: Mapping[str, np.ndarray],
    curvature: Mapping[str, Curvature],
    price: float,
    *,
    thrift: float = THRIFT,
    rounds: int = 3,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, ChosenCodebook]:
    """Codebooks and indices by weight name; the arguments are those of `choose_integers`."""
    chosen = {}
    for name, array in weights.items():
        check_cancelled()
        matrix = layer_matrix(array, curvature[name])
        step = float(steepness(matrix).steps(price, per_channel=False).flat[0])
        chosen[name] = _choose(matrix, curvature[name], step, max(price * thrift, 1e-30), rounds)
    return chosen


def _choose(
    matrix: LayerMatrix, curvature: Curvature, step: float, price: float, rounds: int
) -> ChosenCodebook:
    low, high = (int(np.rint(edge / step)) for edge in (matrix.rows.min(), matrix.rows.max()))
    spread = max(1, -(-(high - low) // _MOST_VALUES))
    values = np.unique([*range(low, high + 1, spread), 0]) * step
    bits = np.zeros(len(values))
    for number in range(rounds):
        indices, targets, weights, loss = _assign(matrix, values, bits, price)
        counts = np.bincount(indices.reshape(-1), minlength=len(values))
        used = (counts > 0) | (values == 0)
        if number + 1 < rounds:
            mass = np.bincount(indices.reshape(-1), weights.reshape(-1), len(values))
            sums = np.bincount(indices.reshape(-1), (weights * targets).reshape(-1), len(values))
            moved = np.where(values == 0, 0.0, sums / np.maximum(mass, 1e-300))
            rounded = half_precision(moved[used].astype(np.float32))
            values, first = np.unique(rounded.astype(np.float64), return_index=True)
            shares = counts[used][first] / counts.sum()
            bits = np.minimum(-np.log2(shares), _NEVER_BITS)
    kept = np.flatnonzero(used)
    codebook = values[kept].astype(np.float32)
    ranks = np.searchsorted(kept, indices).astype(np.int32)
    shares = counts[kept] / counts.sum()
    return ChosenCodebook(
        SharedWeights(matrix.tensor(ranks), codebook),
        bits=float(-(counts[kept] * np.log2(shares)).sum()) + 16.0 * len(kept),
        loss=loss,
        bias_gain=bias_gain(matrix.rows - codebook.astype(np.float64)[ranks], curvature),
    )


def _assign(
    matrix: LayerMatrix, values: np.ndarray, bits: np.ndarray, price: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(indices, the weights that were rounded, what a squared error of each costs, nats); the arrays are
    (groups, outputs, inputs). values: sorted (k,) float64; bits: (k,) of each index."""
    shape = matrix.rows.shape
    inputs = shape[2]
    order = np.broadcast_to(matrix.order[:, None, :], shape)
    work = np.take_along_axis(matrix.rows, order, axis=2)
    costs = 0.5 * matrix.outputs[:, :, None] * matrix.diagonal  # (groups, outputs, inputs)
    costs = np.broadcast_to(costs, shape)
    indices = np.empty(shape, np.int64)
    loss = 0.0
    zero, pruned = int(np.searchsorted(values, 0.0)), work == 0  # zeros stay zeros
    if matrix.factor is None:
        indices = np.where(pruned, zero, _cheapest(work, costs / price, values, bits))
        loss = float((costs * np.square(work - values[indices])).sum())
        return indices, work, costs, loss
    factor = matrix.factor
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*shape[:2], stop - start))
        for i in range(start, stop):
            now = work[:, :, i]
            cheapest = _cheapest(now, costs[:, :, i] / price, values, bits)
            indices[:, :, i] = np.where(pruned[:, :, i], zero, cheapest)
            wrong = now - values[indices[:, :, i]]
            loss += float((costs[:, :, i] * np.square(wrong)).sum())
            errors[:, :, i - start] = wrong / factor[:, i, i][:, None]
            if i + 1 < stop:
                work[:, :, i + 1 : stop] -= errors[:, :, i - start, None] * factor[:, None, i, i + 1 : stop]
        if stop < inputs:
            work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    placed, targets, weights = np.empty_like(indices), np.empty(shape), np.empty(shape)
    np.put_along_axis(placed, order, indices, axis=2)
    np.put_along_axis(targets, order, work, axis=2)
    np.put_along_axis(weights, order, costs, axis=2)
    return placed, targets, weights, loss


def _cheapest(now: np.ndarray, worth: np.ndarray, values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Of the value above, the one below, the next one nearer to 0, and 0."""
    above = np.clip(np.searchsorted(values, now), 0, len(values) - 1)
    below = np.maximum(above - 1, 0)
    zero = int(np.searchsorted(values, 0.0)) if (values == 0).any() else None
    nearer = np.where(now > 0, np.maximum(below - 1, 0), np.minimum(above + 1, len(values) - 1))
    best = above
    least = worth * np.square(now - values[above]) + bits[above]
    for candidate in (below, nearer, *(() if zero is None else (np.full_like(above, zero),))):
        cost = worth * np.square(now - values[candidate]) + bits[candidate]
        best = np.where(cost < least, candidate, best)
        least = np.minimum(cost, least)
    return best
