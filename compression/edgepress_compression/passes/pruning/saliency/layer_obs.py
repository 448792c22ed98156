"""Layer-wise Optimal Brain Surgeon: the same question for each layer by itself.

Dong, Chen and Pan 2017 (L-OBS), equation 7: what removing a weight does to its layer's outputs,
w^2 / (2 [H^-1]_ii) with H = E[x x^T] of the layer's inputs, the same for all rows. So that layers can be
compared it is multiplied by how much an output matters for the model's answers (curvature.py). The update of
the remaining weights is in layer_update.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.curvature import measure_curvature
from edgepress_compression.passes.layer_matrix import layer_matrix
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss


def layer_obs(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    names: Sequence[str],
    *,
    seed: int,
    batch_size: int,
    check_cancelled: Callable[[], None],
) -> dict[str, Tensor]:
    """Scores by weight name, nats. A weight whose layer cannot be read has [H^-1]_ii = 1."""
    curvature = measure_curvature(
        executor, samples.fetch, rows, names, loss,
        seed=seed, batch_size=batch_size, check_cancelled=check_cancelled,
    )  # fmt: skip
    scores = {}
    for name in names:
        weight = executor.weights[name].detach()
        matrix = layer_matrix(weight.numpy(), curvature[name], natural_order=True)
        if matrix.factor is None:
            inverse = np.ones((1, 1, matrix.rows.shape[2]))
        else:  # factor^T factor = H^-1
            inverse = np.square(matrix.factor).sum(axis=1)[:, None, :]  # (groups, 1, inputs)
        loss_added = matrix.outputs[:, :, None] * matrix.rows**2 / (2 * inverse)
        scores[name] = torch.from_numpy(matrix.tensor(loss_added)).to(weight.dtype)
    return scores
