"""Optimal Brain Surgeon: weights go one by one, and all that remain are moved so that the loss grows least.

Hassibi and Stork 1993. With the Hessian H of the loss at a minimum, removing weight q adds at least

    L_q = w_q^2 / (2 [H^-1]_qq),   when all weights move by   dw = - w_q / [H^-1]_qq  H^-1 e_q    (equation 5)

The Hessian is by Gauss-Newton (their equation 9, exact over all outputs here) and counts biases, which are
moved, too, and never removed. H^-1 without row and column q follows from one step of elimination, so that the
inverse is made once. Far from where it was made a Hessian says little, so weights go in rounds. After the
first the model is no longer at the minimum that the paper stands on: with g the gradient of the squared
distance (in H_L) to the answers that the original gave, all weights also move by - H^-1 g, which is
Gauss-Newton towards these answers. Memory grows with the square of the number of weights, time with the cube.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.saliency.obd import root_of_loss_hessian
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss

MOST_WEIGHTS: Final = 3500  # biases counted
_DAMPING = 1e-3  # of the Hessian's mean diagonal: alpha of their equation 12
_SMALLEST = 1e-12
_SHRINK = 0.8  # of the inverse is still in use: then the rest of it is dropped
_ROWS = 32  # samples whose gradients are multiplied at once


@dataclass
class Quadratic:
    """The loss around the model as it is, of all n parameters together; `parts` says which are whose."""

    inverse: np.ndarray  # (n, n) float64, of the Hessian
    gradient: np.ndarray  # (n,) float64
    parts: Mapping[str, slice]


def obs(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    names: Sequence[str],
    *,
    check_cancelled: Callable[[], None],
) -> dict[str, Tensor]:
    """Scores by weight name, nats: L_q of each weight when it is the only one to go."""
    found = quadratic(executor, samples, rows, loss, check_cancelled=check_cancelled)
    diagonal = np.diagonal(found.inverse)
    scores = {}
    for name in names:
        weight = executor.weights[name].detach()
        by = torch.from_numpy(diagonal[found.parts[name]].copy()).reshape(weight.shape)
        scores[name] = (weight.double().square() / (2 * by)).to(weight.dtype)
    return scores


def quadratic(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    *,
    original: Executor | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Quadratic:
    """Of the mean over the rows, the Hessian damped. With `original`: of the distance to its answers;
    without, the model is taken to be at its minimum. Raises RecipeError where the model is too large."""
    parts, size = {}, 0
    for name, weight in executor.weights.items():
        parts[name] = slice(size, size + weight.numel())
        size += weight.numel()
    if size > MOST_WEIGHTS:
        raise RecipeError(
            f"obs holds the inverse Hessian of all weights, for models of at most {MOST_WEIGHTS:,}; this one "
            f'has {size:,}. Use saliency = "layer-obs", which does the same a layer at a time.'
        )
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    for start in range(0, len(rows), _ROWS):
        check_cancelled()
        parts_of = [_row(executor, original, samples, row, loss) for row in rows[start : start + _ROWS]]
        jacobian = np.concatenate([jacobian for jacobian, _ in parts_of])
        hessian += jacobian.T @ jacobian / len(rows)
        gradient += jacobian.T @ np.concatenate([distance for _, distance in parts_of]) / len(rows)
    power = max(float(np.diagonal(hessian).mean()), _SMALLEST)
    hessian[np.arange(size), np.arange(size)] += _DAMPING * power
    return Quadratic(np.linalg.inv(hessian), gradient, parts)


def _row(
    executor: Executor, original: Executor | None, samples: Samples, row: int, loss: Loss
) -> tuple[np.ndarray, np.ndarray]:
    """Of one sample: S^T J (directions, parameters), and S^T times the distance of the answers to the
    original's (directions,); float64."""
    weights = list(executor.weights.values())
    feed = {name: torch.from_numpy(array) for name, array in samples.fetch(np.array([row])).items()}
    with executor.deployed():
        values = _values(executor(feed), loss)
    wanted = values.detach()
    if original is not None:
        with torch.no_grad():
            wanted = _values(original(feed), loss)
    each = torch.eye(len(values), dtype=values.dtype)
    directions = root_of_loss_hessian(wanted.expand_as(each), each) if loss.classification else each
    gradients = torch.autograd.grad(values, weights, directions, is_grads_batched=True, allow_unused=True)
    flat = [
        torch.zeros(len(directions), weight.numel())
        if gradient is None
        else gradient.reshape(len(directions), -1)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
    distance = directions @ (values.detach() - wanted)
    return torch.cat(flat, dim=1).double().numpy(), distance.double().numpy()


def _values(outputs: Mapping[str, Tensor], loss: Loss) -> Tensor:
    """Of one sample: logits, or all outputs; (n,)"""
    if loss.classification:
        return loss.logits(outputs[loss.output])[0]
    return torch.cat([output.reshape(-1) for output in outputs.values()])


def remove_exactly(
    executor: Executor,
    found: Quadratic,
    levels: Mapping[str, float],
    *,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Prunes the executor's weights to the sparsities `levels` by name; bool masks of those, True is kept.

    What is zero already stays zero. All other weights move, biases and unpruned tensors too.
    """
    weights = executor.weights
    flat = np.concatenate([w.detach().double().numpy().reshape(-1) for w in weights.values()])
    part_of = np.concatenate([np.full(w.numel(), number) for number, w in enumerate(weights.values())])
    prunable = np.concatenate([np.full(w.numel(), name in levels) for name, w in weights.items()])
    zero = prunable & (flat == 0)
    budgets = np.array([int(levels.get(name, 0.0) * w.numel() + 1e-6) for name, w in weights.items()])
    budgets -= np.bincount(part_of[zero], minlength=len(budgets))
    present = np.flatnonzero(~zero)
    inverse = without(found.inverse, np.flatnonzero(zero))
    nearer = flat[present] - inverse @ found.gradient[present]  # Gauss-Newton of what is left
    moved, kept = remove_one_by_one(
        nearer, inverse, prunable[present], budgets, part_of[present], check_cancelled=check_cancelled
    )
    after, alive = np.zeros_like(flat), np.zeros(len(flat), bool)
    after[present], alive[present] = moved, kept
    masks = {}
    for name, weight in weights.items():
        part = found.parts[name]
        with torch.no_grad():
            weight.copy_(torch.from_numpy(after[part]).reshape(weight.shape))
        if name in levels:
            masks[name] = torch.from_numpy(alive[part].copy()).reshape(weight.shape)
    return masks


def without(inverse: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The inverse of a matrix whose rows and columns `gone` (k,) are left out, from its inverse (n, n)."""
    if not len(gone):
        return inverse
    rest = np.setdiff1d(np.arange(len(inverse)), gone)
    corner = inverse[np.ix_(gone, gone)]
    across = inverse[np.ix_(rest, gone)]
    return np.asarray(inverse[np.ix_(rest, rest)] - across @ np.linalg.solve(corner, across.T))


def remove_one_by_one(
    weights: np.ndarray,
    inverse: np.ndarray,
    removable: np.ndarray,
    budgets: np.ndarray,
    part_of: np.ndarray,
    *,
    check_cancelled: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(weights after, bool kept), both (n,). weights: (n,) float64; inverse: (n, n), the damped Hessian's.

    Always the removable weight of least L_q goes, of part `part_of[q]` no more than `budgets` says: (parts,).
    """
    weights, inverse = weights.copy(), inverse.copy()
    left = budgets.copy()
    places = np.arange(len(weights))  # of what is still in the inverse
    result, kept = weights.copy(), np.ones(len(weights), bool)
    while True:
        check_cancelled()
        able = kept[places] & removable[places] & (left[part_of[places]] > 0)
        if not able.any():
            break
        diagonal = np.maximum(np.diagonal(inverse), 1e-300)
        q = int(np.argmin(np.where(able, weights**2 / diagonal, np.inf)))
        column = inverse[:, q].copy()
        weights -= column * (weights[q] / diagonal[q])
        inverse -= np.outer(column, column / diagonal[q])  # row and column q become 0
        kept[places[q]] = False
        left[part_of[places[q]]] -= 1
        if np.count_nonzero(kept[places]) < _SHRINK * len(places):
            rest = np.flatnonzero(kept[places])
            places, weights = places[rest], weights[rest]
            inverse = inverse[np.ix_(rest, rest)]
    result[places] = weights
    return np.where(kept, result, 0.0), kept
