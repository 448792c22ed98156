"""Trains a rewritten transformer: its new parts by themselves, then the whole towards answers and labels.

Parts that began as approximations get targets of their own, the original's inner values, which say far more
than two logits do (Romero et al. 2015, FitNets, section 2.2; Jiao et al. 2020, TinyBERT, equation 8).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.transformer.local_fit import Part, fit_parts, row_lengths
from edgepress_compression.passes.tune import Count, Positive, Share, Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.precision import Precision

_LOCAL = 0.3  # of the progress


class Imitation(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As in every pass that trains; and how long parts train by themselves."""

    steps: Count = 200
    batch_size: Count = 32
    learning_rate: Positive = 3e-4
    label_share: Share = 0.5
    most_epochs: Positive = 15.0
    most_gmacs: Positive = 60000.0
    precision: Precision = "auto"
    # the longest sentences, not trained on: a batch costs what its longest does
    left_out: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.25
    local_steps: Count = 300  # of each new part, towards the original's inner values
    local_rate: Positive = 2e-3  # their learning rate
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples; beyond, the report says so


def data_for(state: PassState, options: Imitation, what: str) -> TrainingData:
    """What to train on. Raises RecipeError where there is nothing."""
    data = training_data(state, most_gmacs=options.most_gmacs)
    if data is None:
        raise RecipeError(
            f"{what} changes what layers compute and must be trained afterwards: give a data set with a "
            "split named train beside the one that tests."
        )
    if options.left_out:
        lengths = row_lengths(data, data.rows)
        data = replace(data, rows=data.rows[lengths <= np.quantile(lengths, 1 - options.left_out)])
    return data


def imitate(
    state: PassState, before: Graph, data: TrainingData, options: Imitation, parts: Sequence[Part], what: str
) -> None:
    """Trains `state.graph` towards `before`, first each of the `parts`, which both have."""
    started = time.monotonic()
    graph = state.graph
    left = fit_parts(
        graph, before, parts, data, steps=options.local_steps, learning_rate=options.local_rate,
        seed=state.seed, check_cancelled=state.check_cancelled,
        progress=lambda fraction, message: state.progress(_LOCAL * fraction, f"{what}: {message}"),
    )  # fmt: skip
    state.stages.append(
        Stage(
            name=f"fit {len(parts)} parts, {options.local_steps} steps each",
            seconds=time.monotonic() - started,
            note="relative squared errors left: " + ", ".join(f"{error:.3f}" for error in left),
        )
    )
    started = time.monotonic()
    executor = Executor(graph)
    tune(
        state, executor, data, Free(executor), options,
        label=f"{what}, towards answers", seed=2, part=(_LOCAL, 1 - _LOCAL),
    )  # fmt: skip
    accuracy = judged(state, executor, before, data, options, what)
    executor.write_back(graph)
    state.add_stage(
        f"train, {planned_steps(state, data, options)} steps of {options.batch_size}",
        started,
        accuracy=accuracy,
    )


def judged(
    state: PassState,
    executor: Executor,
    before: Graph,
    data: TrainingData,
    options: Imitation,
    what: str,
) -> float | None:
    """Accuracy on held-out samples, if there are any; warns when it fell too far."""
    if not data.held_out.size:
        return None
    held_out = HeldOut(Executor(before), data, state.graph.outputs[0].name, options.most_lost_points)
    accuracy = held_out.accuracy(executor)
    if not held_out.accepts(accuracy):
        state.warn(
            f"{what} lost more than {options.most_lost_points:g} points of accuracy on held-out training "
            "samples; train longer (steps), or change less."
        )
    return accuracy
