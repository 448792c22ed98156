"""The one way in which passes train: rows of a split, the original as teacher, a constraint on the weights.

A pass that trains takes its options from `Training`, so that all recipes name them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from edgepress_compression.executor import Executor
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit, step_budget
from edgepress_compression.training.loop import Constraint, Schedule, Teacher, fine_tune
from edgepress_compression.training.losses import loss_for

Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long, how fast, and towards what."""

    steps: Count = 2000  # at most: see most_epochs and most_gmacs
    batch_size: Count = 100
    learning_rate: Positive = 5e-4
    label_share: Share = 0.3  # the rest of the loss: the original's answers
    temperature: Positive = 4.0
    shift: Fraction = 0.04  # of a picture's size, for samples beyond those given
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
    classification = "classification" if data.classification else "other"
    return fine_tune(
        executor,
        data.split,
        loss_for(
            state.graph,
            classification,
            label_share=training.label_share if data.kind == "labels" else 0.0,
            temperature=training.temperature,
        ),
        constraint,
        Schedule(
            steps=planned_steps(state, data, training),
            batch_size=batch_limit(state.graph, training.batch_size),
            learning_rate=training.learning_rate,
            shift=training.shift,
            hold=hold,
        ),
        rows=data.rows,
        teacher=teacher or Teacher(Executor(state.original), data.split),
        seed=state.seed + seed,
        progress=lambda fraction, message: state.progress(start + length * fraction, f"{say()}: {message}"),
        check_cancelled=state.check_cancelled,
    )
