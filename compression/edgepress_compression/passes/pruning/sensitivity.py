"""How much loss each tensor's pruning costs, measured, and the division of a budget that costs least.

Han et al. 2015 (figure 6) prune each layer alone and look at the accuracy; here the loss is measured, and
sparsities are set so that the last weight taken from any tensor costs the same (the slope criterion;
Shoham and Gersho 1988): on the lower convex hull of each curve the flattest segments are taken first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.distribution import MOST
from edgepress_compression.passes.pruning.granularity import Units
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss

LEVELS: Final = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, MOST)
Curve = Sequence[tuple[float, float]]  # (sparsity, loss), rising sparsity


class MeasuredLoss:
    """The mean loss of an executor on samples: by their labels, or, with `loss.label_share` below 1, also by
    what it answered when this was made."""

    def __init__(
        self, executor: Executor, samples: Samples, rows: np.ndarray, loss: Loss, *, batch_size: int
    ) -> None:
        self._executor, self._samples, self._loss = executor, samples, loss
        self._batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        self._answers = [self._outputs(batch) for batch in self._batches]

    def __call__(self) -> float:
        total, count = 0.0, 0
        for rows, answers in zip(self._batches, self._answers, strict=True):
            labels = torch.from_numpy(np.asarray(self._samples.labels[rows]))
            total += float(self._loss(self._outputs(rows), labels, answers)) * len(rows)
            count += len(rows)
        return total / max(1, count)

    def _outputs(self, rows: np.ndarray) -> dict[str, Tensor]:
        outputs = self._executor.run(self._samples.fetch(rows))
        return {name: torch.from_numpy(array) for name, array in outputs.items()}


def curves(
    executor: Executor,
    scores: Mapping[str, Tensor],
    units: Mapping[str, Units],
    loss: Callable[[], float],
    *,
    progress: Callable[[float, str], None],
    check_cancelled: Callable[[], None],
) -> dict[str, list[tuple[float, float]]]:
    """By name: (sparsity, loss) of the model with that tensor alone pruned by `scores`, the first at 0.

    `loss` says the loss of the executor as it is. The executor is left as it was.
    """
    dense = loss()
    found = {}
    for number, (name, score) in enumerate(scores.items()):
        progress(number / len(scores), f"measuring how sensitive {name} is")
        weight, saved = executor.weights[name], executor.weights[name].detach().clone()
        points = [(0.0, dense)]
        for level in LEVELS:
            check_cancelled()
            with torch.no_grad():
                weight.copy_(saved * units[name].mask(score, level))
            points.append((level, loss()))
        with torch.no_grad():
            weight.copy_(saved)
        found[name] = points
    return found


def equal_slope(curves: Mapping[str, Curve], sizes: Mapping[str, int], sparsity: float) -> dict[str, float]:
    """Sparsity by name that costs least, when `sparsity` of all weights goes and losses of tensors add up."""
    segments = []  # (loss for each weight, name, weights)
    for name, curve in curves.items():
        hull = lower_hull(curve)
        for (start, low), (end, high) in pairwise(hull):
            weights = (end - start) * sizes[name]
            segments.append(((high - low) / max(weights, 1e-12), name, weights))
    left = sparsity * sum(sizes.values())
    gone = dict.fromkeys(curves, 0.0)
    for _, name, weights in sorted(segments, key=lambda segment: segment[0]):
        taken = min(weights, left)
        gone[name] += taken
        left -= taken
    return {name: min(MOST, gone[name] / sizes[name]) for name in curves}


def lower_hull(curve: Curve) -> list[tuple[float, float]]:
    """The points of the lower convex hull, in order: slopes rise."""
    hull: list[tuple[float, float]] = []
    for x, y in curve:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    return hull


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
