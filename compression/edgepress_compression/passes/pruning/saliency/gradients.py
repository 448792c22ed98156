"""Mean squared gradients of a loss, batch by batch: what several measures of importance are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.sharing.sensitivity import drawn_loss
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss

Objective = Callable[[dict[str, Tensor], Tensor], Tensor]  # outputs, labels -> a scalar to differentiate


def mean_squared_gradients(
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    names: Sequence[str],
    objective: Objective,
    *,
    batch_size: int,
    check_cancelled: Callable[[], None],
) -> dict[str, Tensor]:
    """By weight name, in its shape: the mean over batches of the squared gradient of `objective`."""
    sums = {name: torch.zeros_like(executor.weights[name]) for name in names}
    starts = range(0, len(rows), batch_size)
    for start in starts:
        check_cancelled()
        batch = rows[start : start + batch_size]
        executor.zero_grad(set_to_none=True)
        with executor.deployed():  # also when asked in the middle of a training
            outputs = executor({name: torch.from_numpy(a) for name, a in samples.fetch(batch).items()})
        labels = torch.from_numpy(np.asarray(samples.labels[batch]))
        objective(outputs, labels).backward()  # type: ignore[no-untyped-call]
        for name in names:
            gradient = executor.weights[name].grad
            if gradient is not None:
                sums[name] += gradient.square() / len(starts)
    executor.zero_grad(set_to_none=True)
    return sums


def labelled(loss: Loss, seed: int) -> Objective:
    """Cross-entropy with the labels, or with labels drawn from the model's own answers where `loss` does not
    look at labels."""
    generator = torch.Generator().manual_seed(seed)

    def objective(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        if loss.classification and loss.label_share > 0:
            return torch.nn.functional.cross_entropy(loss.logits(outputs[loss.output]), labels)
        return drawn_loss(outputs, loss, generator)

    return objective
