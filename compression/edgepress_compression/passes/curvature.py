"""How much a model's answers change when a weight does: second order, from inputs alone, a layer at a time.

For a layer with outputs o and inputs x the Fisher information of its weights is taken as the product of two
parts (K-FAC, Martens and Grosse 2015, section 3): the second moments of the inputs, E[x x^T], which say how
errors of one row add up or cancel, and one number per output, E[g_o^2], which says how much that output
matters. So an error e_o in the row of output o adds

    g_o * e_o E[x x^T] e_o^T / 2

to the divergence from the model's answers, in nats. A weight that is not a layer's (an embedding, say) has
one number for all its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepress_compression.executor import Executor
from edgepress_compression.passes.layer_inputs import Moments, layer_inputs
from edgepress_compression.passes.sharing.sensitivity import drawn_loss
from edgepress_compression.training.loop import Fetch
from edgepress_compression.training.losses import Loss

# A class that no sample shows has no gradient at all, and one that a single sample shows has far too much: an
# output's number is drawn to its tensor's mean, on a logarithmic scale, the nearer the fewer samples speak.
_SAMPLES = 12.0  # as many samples of equal weight bring it half-way
_LEAST = 1e-2  # of the tensor's mean


@dataclass(frozen=True)
class Curvature:
    """Of one weight tensor."""

    moments: Moments | None  # of the layer's inputs; None where the tensor is not a layer's weight
    outputs: np.ndarray  # (outputs,) float64, g_o; with no moments (1,): of every element


def measure_curvature(
    executor: Executor,
    fetch: Fetch,
    rows: np.ndarray,
    weights: Sequence[str],
    loss: Loss,
    *,
    seed: int,
    gradient_rows: int = 64,
    batch_size: int = 10,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, Curvature]:
    """By weight name. `rows` are samples of `fetch`; the first `gradient_rows` of them give g_o.

    Labels are not looked at: they are drawn from the model's own answers (`sensitivity.drawn_loss`).
    """
    progress(0.0, "looking at what goes into each layer")
    moments = layer_inputs(
        executor, fetch, rows, weights, batch_size=batch_size, seed=seed, check_cancelled=check_cancelled
    )
    generator = torch.Generator().manual_seed(seed)
    seen = {name: _Gradients(moments.get(name)) for name in weights}
    chosen = rows[:gradient_rows]
    for position, row in enumerate(chosen):
        check_cancelled()
        progress(0.4 + 0.6 * position / len(chosen), "finding out which weights matter")
        executor.zero_grad(set_to_none=True)
        with executor.deployed():
            outputs = executor({name: torch.from_numpy(a) for name, a in fetch(np.array([row])).items()})
        drawn_loss(outputs, loss, generator).backward()  # type: ignore[no-untyped-call]
        for name in weights:
            gradient = executor.weights[name].grad
            if gradient is not None:
                seen[name].add(gradient.double().square().numpy())
    executor.zero_grad(set_to_none=True)
    return {name: gradients.curvature() for name, gradients in seen.items()}


def plain_curvature(weights: Mapping[str, np.ndarray]) -> dict[str, Curvature]:
    """Where nothing is known: an error counts relative to the mean square of its tensor."""
    return {
        name: Curvature(None, np.array([1.0 / max(float(np.square(a, dtype=np.float64).mean()), 1e-30)]))
        for name, a in weights.items()
    }


class _Gradients:
    """Of one tensor: squared gradients, by output."""

    def __init__(self, moments: Moments | None) -> None:
        self._moments = moments
        self._count = 0
        self._sums: np.ndarray = np.zeros(1)  # (outputs,), over samples: mean of the squares in a row
        self._squares: np.ndarray = np.zeros(1)  # the same, of their squares

    def add(self, squares: np.ndarray) -> None:
        """Of one sample, in the tensor's shape."""
        if self._moments is None:
            row = squares.mean(keepdims=True).reshape(1)
        else:
            flat = squares if self._moments.rows_first else squares.T
            row = flat.reshape(flat.shape[0], -1).mean(axis=1)
        self._count += 1
        self._sums = self._sums + row
        self._squares = self._squares + row * row

    def curvature(self) -> Curvature:
        by_output = self._sums / max(self._count, 1)
        mean = max(float(by_output.mean()), 1e-30)
        moments = self._moments
        if moments is None:
            return Curvature(None, np.array([mean]))
        speaking = self._sums**2 / np.maximum(self._squares, 1e-300)  # samples of equal weight, (outputs,)
        trust = speaking / (speaking + _SAMPLES)
        relative = np.maximum(by_output / mean, _LEAST) ** trust
        power = float((moments.products.diagonal(dim1=1, dim2=2).double() / moments.count).mean())
        return Curvature(moments, relative * (mean / (float(relative.mean()) * max(power, 1e-30))))
