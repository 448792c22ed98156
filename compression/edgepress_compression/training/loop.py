"""Trains an executor on a split, under a constraint: masks that stay zero, or codebooks that weights share.

Deterministic: the same model, data, options and seed give the same weights on one kind of machine and one
number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.training.constraint import Constraint, Regularized
from edgepress_compression.training.losses import Loss, correct_answers
from edgepress_compression.training.shift import shifted

__all__ = ["Constraint", "Fetch", "Samples", "Schedule", "Teacher", "fine_tune", "top1"]

Fetch = Callable[[np.ndarray], dict[str, np.ndarray]]
_REPORT_SECONDS = 0.25
_CACHE_BYTES = 256 * 2**20  # larger sets of answers are computed again for each batch
_BETAS = (0.9, 0.999)


class Samples(Protocol):
    """What training needs of a split: inputs by row number, and one label a row."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def fetch(self) -> Fetch: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    batch_size: int
    learning_rate: float
    shift: float = (
        0.0  # pictures are moved by up to this fraction of their size; the answers are those of the unmoved
    )
    hold: float = 0.0  # fraction of the steps at the full rate; then it falls to 1 % along half a cosine

    def rate(self, step: int) -> float:
        fraction = step / max(1, self.steps)
        if fraction <= self.hold:
            return self.learning_rate
        falling = (fraction - self.hold) / (1 - self.hold)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * falling)))


class Teacher:
    """The original model's answers by row number of a split, computed once where they are small enough."""

    def __init__(self, executor: Executor, samples: Samples) -> None:
        self._executor = executor
        self._samples = samples
        self._known = np.zeros(len(samples), bool)
        self._answers: dict[str, np.ndarray] = {}

    def __call__(self, rows: np.ndarray) -> dict[str, Tensor]:
        new = rows[~self._known[rows]]
        if len(new):
            outputs = self._executor.run(self._samples.fetch(new))
            row_bytes = sum(array.nbytes for array in outputs.values()) // len(new)
            if row_bytes * len(self._samples) > _CACHE_BYTES:
                return {name: torch.from_numpy(array) for name, array in outputs.items()}
            for name, array in outputs.items():
                kept = self._answers.setdefault(
                    name, np.zeros((len(self._samples), *array.shape[1:]), array.dtype)
                )
                kept[new] = array
            self._known[new] = True
        return {name: torch.from_numpy(kept[rows]) for name, kept in self._answers.items()}


def fine_tune(
    executor: Executor,
    samples: Samples,
    loss: Loss,
    constraint: Constraint,
    schedule: Schedule,
    *,
    rows: np.ndarray,
    teacher: Teacher | None,
    seed: int,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> float:
    """Trains for `schedule.steps` batches of the given rows, each epoch in a new order drawn from `seed`.

    Returns the mean loss of the last tenth of the steps. `check_cancelled` raises to stop; `progress` gets
    the fraction done and a sentence, at most a few times a second.
    """
    if loss.label_share < 1 and teacher is None:
        raise ValueError("this loss needs the original model's answers: give a teacher")
    optimizer = torch.optim.Adam(list(constraint.parameters()), lr=schedule.learning_rate, betas=_BETAS)
    order = np.random.default_rng(seed)
    queue = np.empty(0, rows.dtype)
    recent: list[float] = []
    reported = time.monotonic()
    for step in range(schedule.steps):
        check_cancelled()
        constraint.begin(step / schedule.steps, optimizer)
        if len(queue) < min(schedule.batch_size, len(rows)):
            queue = np.concatenate([queue, order.permutation(rows)])
        batch, queue = queue[: schedule.batch_size], queue[schedule.batch_size :]
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        executor.zero_grad(set_to_none=True)
        inputs = samples.fetch(batch)
        if schedule.shift > 0:
            inputs = {name: shifted(array, schedule.shift, order) for name, array in inputs.items()}
        outputs = executor({name: torch.from_numpy(array) for name, array in inputs.items()})
        labels = torch.from_numpy(np.asarray(samples.labels[batch]))
        value = loss(outputs, labels, teacher(batch) if teacher is not None and loss.label_share < 1 else {})
        if isinstance(constraint, Regularized):
            value = value + constraint.penalty()
        value.backward()  # type: ignore[no-untyped-call]
        constraint.collect()
        optimizer.step()
        constraint.apply()
        recent = [*recent[-max(1, schedule.steps // 10) + 1 :], float(value.detach())]
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            progress(
                (step + 1) / schedule.steps, f"step {step + 1} of {schedule.steps}, loss {recent[-1]:.3f}"
            )
    return float(np.mean(recent)) if recent else math.nan


def top1(executor: Executor, samples: Samples, rows: np.ndarray, output: str, batch: int = 50) -> float:
    """Fraction of the rows whose highest score in `output` stands at the label."""
    correct = 0
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        correct += correct_answers(executor.run(samples.fetch(chosen)), output, samples.labels[chosen])
    return correct / max(1, len(rows))
