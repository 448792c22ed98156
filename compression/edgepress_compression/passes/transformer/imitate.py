"""Trains a rewritten transformer: first towards the original's inner values, then its answers and the labels.

Feature matching before the answers (Romero et al. 2015, FitNets, section 2.2; Jiao et al. 2020, TinyBERT,
equation 8): layers that began as approximations get a target of their own, which says far more than two
logits do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.estimate import nonzero_fraction, weight_bytes_estimate
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Positive, Share, Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Samples, Teacher


class Imitation(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As in every pass that trains; and how much goes to inner values."""

    steps: Count = 1200
    batch_size: Count = 32
    learning_rate: Positive = 3e-4
    label_share: Share = 0.5
    most_epochs: Positive = 15.0
    most_gmacs: Positive = 60000.0
    inner_share: Share = 0.5  # of the steps, towards inner values
    inner_rate: Positive = 1e-3  # their learning rate
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples; beyond, the report says so


class PlainTeacher(Teacher):
    """Answers computed for each batch: inner values are as long as the batch's longest sentence."""

    def __init__(self, executor: Executor, samples: Samples) -> None:
        super().__init__(executor, samples)
        self._original, self._split = executor, samples

    def __call__(self, rows: np.ndarray) -> dict[str, Tensor]:
        answers = self._original.run(self._split.fetch(rows))
        return {name: torch.from_numpy(array) for name, array in answers.items()}


def data_for(state: PassState, options: Imitation, what: str) -> TrainingData:
    """What to train on. Raises RecipeError where there is nothing."""
    data = training_data(state, most_gmacs=options.most_gmacs)
    if data is None:
        raise RecipeError(
            f"{what} changes what layers compute and must be trained afterwards: give a data set with a "
            "split named train beside the one that tests."
        )
    return data


def imitate(
    state: PassState, before: Graph, data: TrainingData, options: Imitation, inner: Sequence[str], what: str
) -> None:
    """Trains `state.graph` towards `before`. `inner` are names of values that both have."""
    started = time.monotonic()
    output = state.graph.outputs[0].name
    held_out = (
        HeldOut(Executor(before), data, output, options.most_lost_points) if data.held_out.size else None
    )
    share = options.inner_share if inner else 0.0
    steps = planned_steps(state, data, options)
    if share:
        towards = msgspec.structs.replace(
            options, steps=max(1, round(share * steps)), learning_rate=options.inner_rate
        )
        executor = Executor(showing(state.graph, inner))
        tune(
            state, executor, replace(data, kind="answers", classification=False), Free(executor), towards,
            label=f"{what}, towards inner values", seed=1, part=(0.1, 0.9 * share), hold=0.3,
            teacher=PlainTeacher(Executor(showing(before, inner)), data.split),
        )  # fmt: skip
        executor.write_back(state.graph)
    if share < 1:
        towards = msgspec.structs.replace(options, steps=max(1, round((1 - share) * steps)))
        executor = Executor(state.graph)
        tune(
            state, executor, data, Free(executor), towards,
            label=f"{what}, towards answers", seed=2, part=(0.1 + 0.9 * share, 0.9 * (1 - share)),
        )  # fmt: skip
        executor.write_back(state.graph)
    accuracy = None if held_out is None else held_out.accuracy(Executor(state.graph))
    if held_out is not None and accuracy is not None and not held_out.accepts(accuracy):
        state.warn(
            f"{what} lost more than {options.most_lost_points:g} points of accuracy on held-out training "
            "samples; train longer (steps), or rewrite fewer layers."
        )
    state.stages.append(
        Stage(
            name=f"train, {steps} steps of {options.batch_size}",
            seconds=time.monotonic() - started,
            bytes_estimate=weight_bytes_estimate(state.graph.float_weights(), state.codes),
            nonzero=nonzero_fraction(state.graph.float_weights()),
            accuracy=accuracy,
        )
    )


def showing(graph: Graph, inner: Sequence[str]) -> Graph:
    """A copy of the graph whose outputs are also the values `inner`."""
    shown = graph.copy()
    given = {info.name for info in shown.proto.graph.output}
    shown.proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in inner
        if name not in given
    )
    return shown
