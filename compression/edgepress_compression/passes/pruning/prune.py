"""Pruning: the least important weights become zero while the rest are trained to make up for it.

Han et al. 2015 (section 3) prune and retrain in rounds, with a threshold for each layer found by hand. Here:
- Importance, with data: weight^2 times the mean squared gradient, which is the loss that zeroing it would
add (Optimal
  Brain Damage, LeCun et al. 1990, equation 5, with the Fisher information for the Hessian). The optimizer
  keeps that mean anyway. It compares weights of all layers, so one sparsity gives each layer its own, and
  weights behind an input that is always zero go first.
- Without data: LAMP (Lee et al. 2021, equation 4), a magnitude that compares layers.
- Sparsity rises along a cubic (Zhu and Gupta 2017, equation 1) over the first part of the training. Held-out
samples
  are asked after each round; when they lose more than `most_lost_points`, the round is taken back and the
  sparsity before it is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning.masks import Gradual
from edgepress_compression.passes.pruning.saliency.magnitude import lamp
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, planned_steps, tune
from edgepress_compression.training.constraint import Masks

_LEAST_KEPT = 0.002  # of each tensor: a layer without weights passes nothing on


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that is zeroed with labels, and what is zeroed without data (see training_data.py).

    With too few samples to train on nothing is pruned: rounding in share.py makes zeros where they do no
    harm.
    """

    sparsity: Fraction = 0.96  # with labels: the most; less where accuracy asks for it
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples, while the rate is still high
    rounds: Count = 20
    steps: Count = 6000
    learning_rate: Positive = 1e-3
    ramp: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = (
        0.6  # of the steps in which sparsity rises; afterwards the rate falls
    )
    blind_sparsity: Fraction = 0.1  # without data


def run(state: PassState, options: Options) -> None:
    """Zeroes weights of `state.graph`. Changes no shapes."""
    if not _candidates(state.graph):
        return
    data = training_data(state)
    if data is None:
        _prune_blind(state, options.blind_sparsity)
    elif data.kind == "labels":
        _prune_trained(state, options, data)


def _prune_blind(state: PassState, sparsity: float) -> None:
    started = time.monotonic()
    weights = {name: torch.from_numpy(state.graph.weights[name].copy()) for name in _candidates(state.graph)}
    scores = {name: lamp(weight) for name, weight in weights.items()}
    for name, mask in keep_masks(scores, sparsity).items():
        state.graph.set_weight(name, (weights[name] * mask).numpy().astype(state.graph.weights[name].dtype))
        state.codes.pop(name, None)
    state.add_stage("prune without data", started)


def _prune_trained(state: PassState, options: Options, data: TrainingData) -> None:
    started = time.monotonic()
    graph = state.graph
    steps = planned_steps(state, data, options)
    executor = Executor(graph)
    held_out = HeldOut(executor, data, graph.outputs[0].name, options.most_lost_points)
    masks = Pruning(
        executor,
        _candidates(graph),
        sparsity=options.sparsity,
        rounds=min(options.rounds, max(1, steps // 4)),
        ramp=options.ramp,
        held_out=held_out,
    )
    tune(
        state, executor, data, masks, options,
        label=lambda: f"pruning, {masks.sparsity():.0%} zero", hold=options.ramp,
    )  # fmt: skip
    accuracy = held_out.accuracy(executor)
    if not held_out.accepts(accuracy):
        state.warn("Training after pruning lost accuracy on held-out samples, so nothing was pruned.")
        return
    executor.write_back(graph)
    for name in executor.weights:
        state.codes.pop(name, None)
    if masks.taken_back:
        state.warn(
            f"Pruning stopped at {masks.sparsity():.1%} zeros: the next step lost more than "
            f"{options.most_lost_points:g} points of accuracy on held-out training samples."
        )
    name = f"prune, {masks.done} of {masks.rounds} rounds, {steps} steps of {options.batch_size}"
    state.add_stage(name, started, accuracy=accuracy)


class Pruning(Gradual):
    """Importance of all weights together, from the squared gradients that the optimizer keeps."""

    def __init__(
        self,
        executor: Executor,
        names: Sequence[str],
        *,
        sparsity: float,
        rounds: int,
        ramp: float,
        held_out: HeldOut | None = None,
    ) -> None:
        super().__init__(
            executor, names, self._least_harm, sparsity=sparsity, rounds=rounds, ramp=ramp, held_out=held_out
        )

    def _least_harm(self, masks: Masks, sparsity: float, optimizer: torch.optim.Optimizer) -> Masks:
        scores = {}
        for name, mask in masks.items():
            weight = self._executor.weights[name]
            squared_gradient = optimizer.state[weight].get("exp_avg_sq")
            information = torch.ones(()) if squared_gradient is None else squared_gradient
            scores[name] = weight.detach().square() * information * mask
        return keep_masks(scores, sparsity)


def keep_masks(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Masks that zero the fraction `sparsity` of all weights with the lowest scores, and all with score 0.

    Every tensor keeps its best 0.2 %, at least one weight.
    """
    if not scores:
        return {}
    every = torch.cat([score.reshape(-1) for score in scores.values()])
    dropped = int(sparsity * every.numel())
    cut = torch.kthvalue(every, dropped).values if dropped else torch.tensor(-1.0)
    masks = {}
    for name, score in scores.items():
        least = max(1, int(_LEAST_KEPT * score.numel()))
        own_cut = torch.topk(score.reshape(-1), least).values[-1]
        masks[name] = (score > cut) | (score >= own_cut)
    return masks


def _candidates(graph: Graph) -> list[str]:
    return [name for name in graph.prunable() if graph.weights[name].dtype in (np.float32, np.float16)]
