"""The one way in which passes train: rows of a split, the original as teacher, a constraint on the weights.

A pass that trains takes its options from `Training`, so that all recipes name them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import torch

from edgepress_compression.executor import Executor
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit, step_budget
from edgepress_compression.training import parallel
from edgepress_compression.training.augment import Augment
from edgepress_compression.training.features import matched_names
from edgepress_compression.training.loop import Constraint, Schedule, Teacher, fine_tune
from edgepress_compression.training.losses import loss_for
from edgepress_compression.training.precision import Precision, half_width
from edgepress_compression.training.schedule import OptimizerName, scaled

Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long, how fast, and towards what."""

    steps: Count = 2000  # at most: see most_epochs and most_gmacs
    batch_size: Count = 100  # samples a step
    learning_rate: Positive = 5e-4  # at its highest; it falls along half a cosine
    label_share: Share = 0.3  # the rest of the loss: the original's answers
    temperature: Positive = 4.0  # by which both sides' answers are softened (Hinton et al. 2015)
    shift: Fraction = 0.04  # of a picture's size, for samples beyond those given
    flip: bool = False  # half of the pictures left to right, at random: not for digits or writing
    augment: Augment = Augment()  # more variations of the samples (docs/training.md)
    feature_match: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0  # weight of the distance inside the model
    consistent: bool = False  # the original answers samples as they were varied (Beyer et al. 2022)
    optimizer: OptimizerName = "adam"  # or sgd, with Nesterov's momentum of 0.9
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0  # pulls weights towards 0, a step
    warm_up: Fraction = 0.0  # of the steps, in which the learning rate rises from 0
    precision: Precision = "fp32"  # auto: bf16 where the processor has it and the model is large enough
    early_stop: Annotated[int, msgspec.Meta(ge=0)] = 0  # looks (of 20) without a gain; 0: all steps
    train_mode: bool = False  # batch normalization by each batch's statistics, and dropout, where there are
    scale_batch: bool = False  # n processes: batches n times as large, a higher rate, fewer steps
    most_epochs: Positive = 40.0  # small data sets are done sooner
    most_gmacs: Positive = 6000.0  # 1e9 multiply-accumulates of training, at most


def planned_steps(state: PassState, data: TrainingData, training: Training) -> int:
    """`training.steps`, or fewer where the data or the budget of work end before."""
    return step_budget(
        state.graph,
        len(data.rows),
        steps=training.steps,
        batch_size=batch_limit(state.graph, training.batch_size),
        most_epochs=training.most_epochs,
        most_gmacs=training.most_gmacs,
    )


def tune(
    state: PassState,
    executor: Executor,
    data: TrainingData,
    constraint: Constraint,
    training: Training,
    *,
    label: str | Callable[[], str],
    hold: float = 0.0,
    seed: int = 0,
    teacher: Teacher | None = None,
    part: tuple[float, float] = (0.0, 1.0),
) -> float:
    """Trains `executor` and gives the mean loss of the last tenth of the steps. The graph is not touched.

    `label` says in the progress what is done; `hold` is the fraction of the steps at the full learning rate;
    `seed` tells one pass's order of samples from another's; `part` is (start, length) of this pass's
    progress. Without `teacher` the model as it was before the first pass is it.
    """
    say = label if callable(label) else lambda: label
    start, length = part
    task = "classification" if data.classification else "other"
    label_share = training.label_share if data.kind == "labels" else 0.0
    teacher = teacher or Teacher(Executor(state.original), data.split)
    matched = matched_names(state.graph, state.original) if training.feature_match > 0 else []
    device = parallel.device()
    bfloat16 = half_width(
        training.precision, frozenset(node.op_type for node in state.graph.proto.graph.node),
        state.graph.macs() if training.precision == "auto" else None, device,
    )  # fmt: skip
    executor.compute_on(device, bfloat16=bfloat16)
    teacher.executor.compute_on(device, bfloat16=bfloat16)
    executor.train(training.train_mode)
    try:
        return fine_tune(
            executor,
            data.split,
            loss_for(state.graph, task, label_share=label_share, temperature=training.temperature),
            constraint,
            _schedule(state, data, training, hold),
            rows=data.rows,
            teacher=teacher,
            seed=state.seed + seed,
            held_out=data.held_out,
            matched=matched,
            checkpoint=state.checkpoints.next() if state.checkpoints is not None else None,
            progress=lambda fraction, message: state.progress(
                start + length * fraction, f"{say()}: {message}"
            ),
            check_cancelled=state.check_cancelled,
        )
    finally:
        executor.eval()
        for one in (executor, teacher.executor):
            one.compute_on(torch.device("cpu"))


def _schedule(state: PassState, data: TrainingData, training: Training, hold: float) -> Schedule:
    steps = planned_steps(state, data, training)
    batch_size = batch_limit(state.graph, training.batch_size)
    rate = training.learning_rate
    times = parallel.world_size() if training.scale_batch else 1
    if times > 1:
        batch_size = batch_limit(state.graph, times * batch_size)
        rate = scaled(rate, training.optimizer, times)
        steps = max(1, steps // times)
    augment = msgspec.structs.replace(training.augment, flip=training.augment.flip or training.flip)
    return Schedule(
        steps=steps,
        batch_size=batch_size,
        learning_rate=rate,
        shift=training.shift,
        hold=hold,
        warm_up=training.warm_up,
        optimizer=training.optimizer,
        weight_decay=training.weight_decay,
        augment=augment,
        feature_match=training.feature_match,
        consistent=training.consistent,
        patience=training.early_stop,
    )
