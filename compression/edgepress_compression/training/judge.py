"""Held-out samples say when a training gains nothing any more (early stopping, Prechelt 1998)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from edgepress_compression.executor import Executor
from edgepress_compression.training.losses import Loss
from edgepress_compression.training.teacher import Samples, Teacher

_BATCH = 100


class Judge:
    """Remembers the least loss on rows that are never trained on."""

    def __init__(
        self, samples: Samples, loss: Loss, teacher: Teacher | None, rows: np.ndarray, patience: int
    ) -> None:
        self._samples, self._loss, self._teacher, self._rows = samples, loss, teacher, rows
        self._patience = patience
        self._least, self._without = math.inf, 0

    def gained(self, executor: Executor) -> bool:
        """Whether the loss is lower than at any look before."""
        now = mean_loss(executor, self._samples, self._loss, self._teacher, self._rows)
        if now < self._least:
            self._least, self._without = now, 0
            return True
        self._without += 1
        return False

    def over(self) -> bool:
        return self._without >= self._patience

    def resume_state(self) -> dict[str, Any]:
        return {"least": self._least, "without": self._without}

    def resume_from(self, state: dict[str, Any]) -> None:
        self._least, self._without = state["least"], state["without"]


def mean_loss(
    executor: Executor, samples: Samples, loss: Loss, teacher: Teacher | None, rows: np.ndarray
) -> float:
    """Over the given rows, by what training lowers; the executor runs as it is deployed. 0.0 for no rows."""
    total = 0.0
    with executor.deployed(), torch.no_grad():
        for first in range(0, len(rows), _BATCH):
            batch = rows[first : first + _BATCH]
            outputs = executor({name: torch.from_numpy(a) for name, a in samples.fetch(batch).items()})
            labels = torch.from_numpy(np.asarray(samples.labels[batch]))
            answers = {} if teacher is None or loss.label_share == 1 else teacher(batch)
            total += len(batch) * float(loss(outputs, labels, answers))
    return total / max(1, len(rows))
