"""First-order Taylor expansion: the squared change of the loss that zeroing a weight brings, to first order.

Molchanov et al. 2019, equation 8: the mean over batches of (g w)^2. Their batches hold many samples, which
tells this from the Fisher information of single samples: gradients that cancel within a batch do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.saliency.gradients import labelled, mean_squared_gradients
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss


def taylor(
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
    """Scores by weight name."""
    squares = mean_squared_gradients(
        executor, samples, rows, names, labelled(loss, seed),
        batch_size=batch_size, check_cancelled=check_cancelled,
    )  # fmt: skip
    return {name: executor.weights[name].detach().square() * squares[name] for name in names}
