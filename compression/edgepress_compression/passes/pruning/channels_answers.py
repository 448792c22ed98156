"""Training a cut network where there are inputs and no labels: towards the original's answers, and judged.

A few hundred samples are soon learned by heart. So a part of them is held out, and what was trained is kept
only if it answers those more like the original than the network did that was fitted and not trained.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from edgepress_compression.executor import Executor
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData
from edgepress_compression.passes.tune import Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.judge import mean_loss
from edgepress_compression.training.losses import loss_for
from edgepress_compression.training.teacher import Teacher

_LEAST_SAMPLES = 50  # fewer teach nothing that holds elsewhere
_HELD_OUT = 0.2
_HELD_OUT_MOST = 500


def train_by_answers(
    state: PassState, data: TrainingData, training: Training, *, part: tuple[float, float]
) -> None:
    """Trains `state.graph` in place, or leaves it; one stage says what became of it."""
    rows = np.random.default_rng(state.seed).permutation(data.rows)
    if len(rows) < _LEAST_SAMPLES:
        return
    started = time.monotonic()
    held = min(_HELD_OUT_MOST, int(_HELD_OUT * len(rows)))
    taught = replace(data, rows=rows[held:], held_out=rows[:held])
    task = "classification" if data.classification else "other"
    loss = loss_for(state.graph, task, label_share=0.0, temperature=training.temperature)
    teacher = Teacher(Executor(state.original), data.split)
    executor = Executor(state.graph)
    before = mean_loss(executor, data.split, loss, teacher, taught.held_out)
    tune(
        state, executor, taught, Free(executor), training,
        label="training towards the original's answers", teacher=teacher, part=part,
    )  # fmt: skip
    after = mean_loss(executor, data.split, loss, teacher, taught.held_out)
    if after < before:
        executor.write_back(state.graph)
        note = f"distance to the original's answers on samples held out {before:.3g}, then {after:.3g}"
    else:
        note = f"not kept: distance on samples held out {before:.3g}, then {after:.3g}"
    state.add_stage(
        f"train by answers, {planned_steps(state, taught, training)} steps",
        started,
        note=note,
    )
