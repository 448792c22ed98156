"""Trains an executor on a split, under a constraint: masks that stay zero, or codebooks that weights share.

Deterministic: the same model, data, options and seed give the same weights on one kind of machine and one
number of threads, whether or not the training was interrupted and resumed (checkpoint.py). Several processes
share each batch (parallel.py) and give what one gives, up to rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.errors import TrainingError
from edgepress_compression.executor import Executor
from edgepress_compression.training import parallel
from edgepress_compression.training.augment import Mix, augmented, mixed
from edgepress_compression.training.checkpoint import Resumable, TrainingCheckpoint
from edgepress_compression.training.constraint import Constraint, Regularized
from edgepress_compression.training.features import Seen, feature_distance
from edgepress_compression.training.judge import Judge
from edgepress_compression.training.losses import Loss, correct_answers
from edgepress_compression.training.schedule import Schedule
from edgepress_compression.training.shift import shifted
from edgepress_compression.training.teacher import Fetch, Misspellable, Samples, Teacher

__all__ = ["Constraint", "Fetch", "Samples", "Schedule", "Teacher", "fine_tune", "top1"]

_REPORT_SECONDS = 0.25
_FORMAT = 3  # of checkpoints: those of another are begun again
_LOOKS = 20  # at held-out samples, and at whether all is still finite, in one training


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
    held_out: np.ndarray | None = None,
    matched: list[str] | None = None,
    checkpoint: TrainingCheckpoint | None = None,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> float:
    """Trains for `schedule.steps` batches of the given rows, each epoch in a new order drawn from `seed`.

    Returns the mean loss of the last tenth of the steps. `held_out` rows decide when `schedule.patience` is
    over; `matched` are activations compared with the teacher's by weight `schedule.feature_match`.
    `check_cancelled` raises to stop; `progress` gets the fraction done and a sentence, at most a few times a
    second. Raises TrainingError for no samples, labels that the model has no class for, and a loss that is
    no number any more; the executor then holds the last weights that were good.
    """
    training = _Training(
        executor, samples, loss, constraint, schedule, rows, teacher, seed, held_out, matched or []
    )
    identity = training.identity()
    if checkpoint is not None and (saved := checkpoint.load(identity)) is not None:
        training.resume_from(saved)
    parallel.check_agreement(training.shared, "a training")
    reported = time.monotonic()
    while training.step < schedule.steps and not training.settled:
        check_cancelled()
        value = training.advance()
        if checkpoint is not None and checkpoint.due() and training.resumable():
            checkpoint.save(identity, training.resume_state())
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            progress(
                training.step / schedule.steps,
                f"step {training.step} of {schedule.steps}, loss {value:.3f}",
            )
    training.finish()
    if checkpoint is not None and training.resumable():
        checkpoint.save(identity, training.resume_state())
    return float(np.mean(training.recent)) if training.recent else math.nan


class _Training:
    """One training on its way: what a step needs, and everything that a checkpoint keeps."""

    def __init__(
        self,
        executor: Executor,
        samples: Samples,
        loss: Loss,
        constraint: Constraint,
        schedule: Schedule,
        rows: np.ndarray,
        teacher: Teacher | None,
        seed: int,
        held_out: np.ndarray | None,
        matched: list[str],
    ) -> None:
        if loss.label_share < 1 and teacher is None:
            raise ValueError("this loss needs the original model's answers: give a teacher")
        if not len(rows):
            raise TrainingError("There is no sample to train on; give a data set with more of them.")
        if min(schedule.batch_size, len(rows)) < parallel.world_size():
            raise TrainingError(
                f"A batch of {min(schedule.batch_size, len(rows))} samples cannot be shared by "
                f"{parallel.world_size()} processes; start fewer, or make the batches larger."
            )
        loss.check_labels(samples.labels, rows)
        self._executor, self._samples, self._loss, self._rows = executor, samples, loss, rows
        self._constraint, self._schedule, self._teacher = constraint, schedule, teacher
        self._matched = Seen(matched) if matched and schedule.feature_match > 0 else None
        self._seed = seed
        parameters = list(constraint.parameters())
        self._optimizer = schedule.make_optimizer(parameters)
        self.shared = list({id(p): p for p in [*executor.weights.values(), *parameters]}.values())
        self._order = np.random.default_rng(seed)
        self._queue = np.empty(0, rows.dtype)
        self._judge = None
        if schedule.patience and held_out is not None and len(held_out):
            self._judge = Judge(samples, loss, teacher, held_out, schedule.patience)
        self._look_every = max(1, schedule.steps // _LOOKS)
        self._keep(self._numbers())
        executor.seed(seed)
        self.step = 0
        self.settled = False  # held-out samples gain nothing any more
        self.recent: list[float] = []

    def advance(self) -> float:
        """One step; its loss."""
        schedule, step = self._schedule, self.step
        self._constraint.begin(step / schedule.steps, self._optimizer)  # type: ignore[arg-type]
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        for parameter in self.shared:
            parameter.grad = None
        value = parallel.sum_gradients(self.shared, self._backward(self._next_batch()))
        if not math.isfinite(value):
            self._went_to_pieces()
        self._constraint.collect()
        self._optimizer.step()
        self._constraint.apply()
        self.recent = [*self.recent, value][-max(1, schedule.steps // 10) :]
        self.step += 1
        if self.step % self._look_every == 0:
            self._look()
        return value

    def _next_batch(self) -> np.ndarray:
        size = self._schedule.batch_size
        if len(self._queue) < min(size, len(self._rows)):
            self._queue = np.concatenate([self._queue, self._order.permutation(self._rows)])
        batch, self._queue = self._queue[:size], self._queue[size:]
        return batch

    def _backward(self, batch: np.ndarray) -> Tensor:
        """Gradients of this process's part of the loss, which is returned: parts add up to the whole."""
        part = parallel.share_of(len(batch))
        own = batch[part]
        inputs, mix = self._varied(self._fetched(batch))
        inputs = {name: array[part] for name, array in inputs.items()}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        labels = np.asarray(self._samples.labels[batch])
        answers = self._answers(own, tensors, as_seen=mix is not None or self._schedule.consistent)
        outputs = self._executor(tensors, self._matched)
        value = self._loss(outputs, torch.from_numpy(labels[part]), answers)
        if mix is not None:
            other = self._loss(outputs, torch.from_numpy(labels[mix.partner][part]), answers)
            value = mix.share * value + (1 - mix.share) * other
        value = (value + self._distance(tensors)) * (len(own) / len(batch))
        if isinstance(self._constraint, Regularized):
            value = value + self._constraint.penalty() / parallel.world_size()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def _fetched(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        typos = self._schedule.augment.typos
        if typos > 0 and isinstance(self._samples, Misspellable) and self._samples.misspelled is not None:
            return self._samples.misspelled(batch, typos, self._order)
        return self._samples.fetch(batch)

    def _varied(self, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Mix | None]:
        """Drawn for the whole batch, so that all processes draw the same."""
        schedule = self._schedule
        if schedule.shift > 0:
            inputs = {name: shifted(array, schedule.shift, self._order) for name, array in inputs.items()}
        inputs = augmented(inputs, schedule.augment, self._order)
        return mixed(inputs, schedule.augment, self._order)

    def _answers(self, own: np.ndarray, inputs: dict[str, Tensor], *, as_seen: bool) -> dict[str, Tensor]:
        """The teacher's: of the samples as they are, once for all epochs, or as the student sees them (always
        those of mixtures, which no sample is). An original that knows its training samples by heart has more
        to say about what it has not seen (Beyer et al. 2022, section 3)."""
        if self._teacher is None or self._loss.label_share == 1:
            return {}
        if not as_seen:
            return self._teacher(own)
        with torch.no_grad():
            answers: dict[str, Tensor] = self._teacher.executor(inputs)
        return answers

    def _distance(self, inputs: dict[str, Tensor]) -> Tensor:
        """From the teacher's activations, on the samples as the student saw them."""
        if self._matched is None or self._teacher is None:
            return torch.zeros(())
        theirs = Seen(self._matched.names)
        with torch.no_grad():
            self._teacher.executor(inputs, theirs)
        distance = feature_distance(self._matched.values, theirs.values)
        return self._schedule.feature_match * distance.float().cpu()

    def _look(self) -> None:
        """Keeps the weights where they are good, and asks whether going on is worth it."""
        numbers = self._numbers()
        if not all(bool(torch.isfinite(number).all()) for number in numbers):
            self._went_to_pieces()
        if self._judge is None:
            self._keep(numbers)
            return
        if self._judge.gained(self._executor):
            self._keep(numbers)
        self.settled = self._judge.over()

    def finish(self) -> None:
        """What held-out samples liked best, where they were asked; the last weights otherwise."""
        if self._judge is not None and self.step:
            self._put_back()
        elif not all(bool(torch.isfinite(number).all()) for number in self._numbers()):
            self._went_to_pieces()

    def _went_to_pieces(self) -> None:
        self._put_back()
        raise TrainingError(
            f"The training went to pieces at step {self.step + 1} of {self._schedule.steps}: its loss is no "
            f"number any more. Lower learning_rate (now {self._schedule.learning_rate:g}), or look for "
            "samples that are not finite."
        )

    def _numbers(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.shared]

    def _keep(self, numbers: list[Tensor]) -> None:
        self._good, self._good_statistics = numbers, self._executor.statistics()

    def _put_back(self) -> None:
        self._put(self._good)
        self._executor.put_statistics(self._good_statistics)

    def _put(self, numbers: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, number in zip(self.shared, numbers, strict=True):
                parameter.copy_(number)

    def identity(self) -> str:
        """What a checkpoint must be of."""
        shapes = [list(parameter.shape) for parameter in self.shared]
        return repr((_FORMAT, self._schedule, self._loss, self._seed, len(self._rows), shapes))

    def resumable(self) -> bool:
        return isinstance(self._constraint, Resumable)

    def resume_state(self) -> dict[str, Any]:
        """Of torch tensors, numbers and strings only. Numbers of the constraint where it is Resumable."""
        constraint, judge, teacher = self._constraint, self._judge, self._teacher
        return {
            "step": self.step,
            "settled": self.settled,
            "recent": self.recent,
            "order": self._order.bit_generator.state,
            "queue": torch.from_numpy(self._queue.copy()),
            "numbers": self._numbers(),
            "good": self._good,
            "good_statistics": self._good_statistics,
            "gradients": [parameter.grad for parameter in self.shared],  # some constraints look back
            "optimizer": self._optimizer.state_dict(),
            "executor": self._executor.resume_state(),
            "constraint": constraint.resume_state() if isinstance(constraint, Resumable) else {},
            "judge": {} if judge is None else judge.resume_state(),
            "teacher": {} if teacher is None else teacher.resume_state(),
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        self.step, self.settled, self.recent = state["step"], state["settled"], state["recent"]
        self._order.bit_generator.state = state["order"]
        self._queue = state["queue"].numpy()
        self._put(state["numbers"])
        self._good, self._good_statistics = state["good"], state["good_statistics"]
        for parameter, gradient in zip(self.shared, state["gradients"], strict=True):
            parameter.grad = gradient
        self._optimizer.load_state_dict(state["optimizer"])
        self._executor.resume_from(state["executor"])
        if isinstance(self._constraint, Resumable):
            self._constraint.resume_from(state["constraint"])
        if self._judge is not None:
            self._judge.resume_from(state["judge"])
        if self._teacher is not None:
            self._teacher.resume_from(state["teacher"])


def top1(executor: Executor, samples: Samples, rows: np.ndarray, output: str, batch: int = 50) -> float:
    """Fraction of the rows whose highest score in `output` stands at the label."""
    correct = 0
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        correct += correct_answers(executor.run(samples.fetch(chosen)), output, samples.labels[chosen])
    return correct / max(1, len(rows))
