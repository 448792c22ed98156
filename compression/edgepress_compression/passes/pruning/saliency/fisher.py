"""Fisher pruning: the loss that zeroing a weight adds, with the empirical Fisher information for the Hessian.

Theis et al. 2018, equation 7: w^2 / (2 N) times the sum over single samples of g^2. At a minimum of the loss
the first-order term vanishes and the Fisher information equals the Hessian in expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.saliency.gradients import labelled, mean_squared_gradients
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss


def fisher(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    names: Sequence[str],
    *,
    seed: int,
    check_cancelled: Callable[[], None],
) -> dict[str, Tensor]:
    """Scores by weight name, nats."""
    squares = mean_squared_gradients(
        executor, samples, rows, names, labelled(loss, seed), batch_size=1, check_cancelled=check_cancelled
    )
    return {name: executor.weights[name].detach().square() * squares[name] / 2 for name in names}
