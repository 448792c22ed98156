"""Optimal Brain Surgeon: weights go one by one, and all that remain are moved so that the loss grows least.

Hassibi and Stork 1993. With the Hessian H of the loss at a minimum, removing weight q adds at least

    L_q = w_q^2 / (2 [H^-1]_qq),   when all weights move by   dw = - w_q / [H^-1]_qq  H^-1 e_q    (equation 5)

The Hessian is by Gauss-Newton (their equation 9, exact over all outputs here) and counts biases, which are
moved, too, and never removed. H^-1 without row and column q follows from one step of elimination, so that the
inverse is made once. Memory and time grow with the square and the cube of the number of weights.
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


@dataclass
class InverseHessian:
    """Of all parameters together, (n, n) float64; `parts` says which entries are whose."""

    inverse: np.ndarray
    parts: Mapping[str, slice]


def obs(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    names: Sequence[str],
    *,
    seed: int,
    check_cancelled: Callable[[], None],
) -> dict[str, Tensor]:
    """Scores by weight name, nats: L_q of each weight when it is the only one to go. `seed` is not used."""
    found = inverse_hessian(executor, samples, rows, loss, check_cancelled=check_cancelled)
    diagonal = np.diagonal(found.inverse)
    scores = {}
    for name in names:
        weight = executor.weights[name].detach()
        by = torch.from_numpy(diagonal[found.parts[name]].copy()).reshape(weight.shape)
        scores[name] = (weight.double().square() / (2 * by)).to(weight.dtype)
    return scores


def inverse_hessian(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    *,
    check_cancelled: Callable[[], None] = lambda: None,
) -> InverseHessian:
    """Of the mean loss over the rows, damped. Raises RecipeError where the model is too large."""
    weights = list(executor.weights.values())
    parts, size = {}, 0
    for name, weight in executor.weights.items():
        parts[name] = slice(size, size + weight.numel())
        size += weight.numel()
    if size > MOST_WEIGHTS:
        raise RecipeError(
            f"obs holds the inverse Hessian of all weights, for models of at most {MOST_WEIGHTS:,}; this one "
            f'has {size:,}. Use saliency = "layer-obs", which does the same a layer at a time.'
        )
    hessian = np.zeros((size, size))
    for row in rows:
        check_cancelled()
        feed = samples.fetch(np.array([row]))
        outputs = executor({name: torch.from_numpy(array) for name, array in feed.items()})
        values = _directions(outputs, loss)  # one scalar for each row of S^T J
        jacobian = np.empty((len(values), size))
        for i, value in enumerate(values):
            gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            flat = [
                torch.zeros(weight.numel()) if gradient is None else gradient.reshape(-1)
                for gradient, weight in zip(gradients, weights, strict=True)
            ]
            jacobian[i] = torch.cat(flat).double().numpy()
        hessian += jacobian.T @ jacobian / len(rows)
    power = max(float(np.diagonal(hessian).mean()), _SMALLEST)
    hessian[np.arange(size), np.arange(size)] += _DAMPING * power
    return InverseHessian(np.linalg.inv(hessian), parts)


def _directions(outputs: Mapping[str, Tensor], loss: Loss) -> list[Tensor]:
    if loss.classification:
        logits = loss.logits(outputs[loss.output])  # (1, classes)
        each = torch.eye(logits.shape[1], dtype=logits.dtype)
        directions = root_of_loss_hessian(logits.detach().expand_as(each), each)  # S e_c, (classes, classes)
        return list((logits * directions).sum(dim=1))
    return [value for output in outputs.values() for value in output.reshape(-1)]


def remove_exactly(
    executor: Executor,
    hessian: InverseHessian,
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
    inverse = without(hessian.inverse, np.flatnonzero(zero))
    moved, kept = remove_one_by_one(
        flat[present], inverse, prunable[present], budgets, part_of[present], check_cancelled=check_cancelled
    )
    after, alive = np.zeros_like(flat), np.zeros(len(flat), bool)
    after[present], alive[present] = moved, kept
    masks = {}
    for name, weight in weights.items():
        part = hessian.parts[name]
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
        able = removable[places] & (left[part_of[places]] > 0)
        if not able.any():
            break
        diagonal = np.maximum(np.diagonal(inverse), 1e-300)
        q = int(np.argmin(np.where(able, weights**2 / diagonal, np.inf)))
        column = inverse[:, q].copy()
        weights = weights - column * (weights[q] / diagonal[q])
        inverse -= np.outer(column, column / diagonal[q])
        kept[places[q]] = False
        left[part_of[places[q]]] -= 1
        rest = np.arange(len(places)) != q
        places, weights = places[rest], weights[rest]
        inverse = inverse[np.ix_(rest, rest)]
    result[:] = 0.0
    result[places] = weights
    return result, kept
