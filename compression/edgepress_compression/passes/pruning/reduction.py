"""From a sparsity to a model that has it: scores, how many of each tensor go, and what the others become."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.layer_distillation.paired_inputs import paired_inputs
from edgepress_compression.passes.pruning import distribution as d
from edgepress_compression.passes.pruning.granularity import Units, pattern
from edgepress_compression.passes.pruning.layer_update import prune_layer
from edgepress_compression.passes.pruning.saliency import Kind, scores
from edgepress_compression.passes.pruning.saliency.obs import quadratic, remove_exactly
from edgepress_compression.passes.pruning.schedule import geometric
from edgepress_compression.passes.pruning.sensitivity import Curve, MeasuredLoss, curves, equal_slope
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit
from edgepress_compression.training.constraint import Masks
from edgepress_compression.training.losses import loss_for

_BATCH = 10
_OBS_ROUND = 0.3  # of what is left: further the Hessian of the start does not reach
_EVALUATION_BATCH = 50
_MOST_EVALUATED = 500  # samples that a sensitivity is measured on


@dataclass
class Reduction:
    """`names` are the weights that may be pruned, in the order of the graph; `rows` of the training split
    are looked at."""

    state: PassState
    executor: Executor
    data: TrainingData
    rows: np.ndarray
    names: Sequence[str]
    units: Mapping[str, Units]
    saliency: Kind
    distribution: d.Distribution
    measured: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # sensitivity curves
    _rounds: int = 0

    def __post_init__(self) -> None:
        task = "classification" if self.data.classification else "other"
        share = 1.0 if self.data.kind == "labels" else 0.0
        self._loss = loss_for(self.state.graph, task, label_share=share)
        self._batch = batch_limit(self.state.graph, _BATCH)

    def __call__(
        self, masks: Masks, sparsity: float, optimizer: torch.optim.Optimizer | None = None
    ) -> Masks:
        """Masks of the given sparsity inside `masks`. The executor's weights are zero outside them; with
        `obs` and `layer-obs` the others have been moved to make up for that."""
        self._rounds += 1
        found = self._scores(masks)
        levels = sparsities(self.distribution, found, self.units, sparsity, self._curves(found, sparsity))
        if self.saliency == "obs":
            return self._remove_exactly(levels)
        if self.saliency == "layer-obs":
            return self._update_layers(masks, levels)
        kept = {name: self.units[name].mask(found[name], levels[name]) & masks[name] for name in self.names}
        with torch.no_grad():
            for name, mask in kept.items():
                self.executor.weights[name].mul_(mask)
        return kept

    def resume_state(self) -> dict[str, Any]:
        """For training/checkpoint.py."""
        curves = {name: [list(point) for point in curve] for name, curve in self.measured.items()}
        return {"rounds": self._rounds, "measured": curves}

    def resume_from(self, state: dict[str, Any]) -> None:
        self._rounds = state["rounds"]
        self.measured = {
            name: [(point[0], point[1]) for point in curve] for name, curve in state["measured"].items()
        }

    def _scores(self, masks: Masks) -> dict[str, Tensor]:
        kind: Kind = self.saliency
        if kind == "obs":  # chosen one by one later: only the division over tensors needs scores now
            kind = "obd" if self.distribution != "uniform" else "magnitude"
        found = scores(
            kind, self.executor, self.data.split, self.rows, self._loss, self.names,
            seed=self.state.seed + self._rounds, batch_size=self._batch,
            check_cancelled=self.state.check_cancelled,
        )  # fmt: skip
        return {name: score * masks[name] for name, score in found.items()}

    def _curves(self, found: Mapping[str, Tensor], sparsity: float) -> Mapping[str, Curve]:
        if self.distribution == "sensitivity" and not self.measured and sparsity > 0:
            measured = MeasuredLoss(
                self.executor, self.data.split, self.data.rows[:_MOST_EVALUATED], self._loss,
                batch_size=batch_limit(self.state.graph, _EVALUATION_BATCH),
            )  # fmt: skip
            self.measured = curves(
                self.executor, found, self.units, measured,
                progress=self.state.progress, check_cancelled=self.state.check_cancelled,
            )  # fmt: skip
        return self.measured

    def _remove_exactly(self, levels: Mapping[str, float]) -> Masks:
        """In rounds, each with the Hessian where those before have led; a last one moves what is left."""
        check = self.state.check_cancelled
        masks: Masks = {}
        original = self._as_it_is()
        rounds = obs_rounds(max(levels.values(), default=0.0))
        for number in range(rounds + 1):
            self.state.progress(
                number / (rounds + 1), f"removing weights, round {number + 1} of {rounds + 1}"
            )
            found = quadratic(
                self.executor, self.data.split, self.rows, self._loss,
                original=original, check_cancelled=check,
            )  # fmt: skip
            now = {name: geometric(level, min(1.0, (number + 1) / rounds)) for name, level in levels.items()}
            masks = remove_exactly(self.executor, found, now, check_cancelled=check)
        return masks

    def _as_it_is(self) -> Executor:
        graph = self.state.graph.copy()
        self.executor.write_back(graph)
        return Executor(graph)

    def _update_layers(self, masks: Masks, levels: Mapping[str, float]) -> Masks:
        """Layer by layer, each with the inputs that those before it give it now."""
        original = self._as_it_is()
        kept = {}
        for number, name in enumerate(self.names):
            self.state.progress(number / len(self.names), f"pruning {name}")
            weight = self.executor.weights[name]
            moments = paired_inputs(
                original, self.executor, self.data.split.fetch, self.rows, [name],
                batch_size=self._batch, seed=self.state.seed, check_cancelled=self.state.check_cancelled,
            ).get(name)  # fmt: skip
            if moments is None:  # not a layer that can be read: by its size, and nothing makes up for it
                kept[name] = self.units[name].mask(weight.detach().abs(), levels[name]) & masks[name]
                with torch.no_grad():
                    weight.mul_(kept[name])
                continue
            bias = self.executor.weights.get(moments.bias or "")
            if bias is None or bias.numel() != weight.numel() // moments.own.shape[1]:
                moments = replace(moments, bias=None)
            updated = prune_layer(
                weight, moments, self.units[name].mask, levels[name],
                before=masks[name], check_cancelled=self.state.check_cancelled,
            )  # fmt: skip
            kept[name] = updated.kept
            with torch.no_grad():
                weight.copy_(updated.weight)
                if moments.bias is not None and bias is not None:
                    bias.add_(updated.bias_gain.reshape(bias.shape))
        return kept


def obs_rounds(sparsity: float) -> int:
    """In each three of ten weights that are left go, or fewer."""
    return max(1, math.ceil(math.log(1 - sparsity) / math.log(1 - _OBS_ROUND) - 1e-9))


def sparsities(
    distribution: d.Distribution,
    found: Mapping[str, Tensor],
    units: Mapping[str, Units],
    sparsity: float,
    measured: Mapping[str, Curve],
) -> dict[str, float]:
    """By name. n:m patterns are alike in all tensors."""
    if distribution == "uniform" or any(pattern(one.granularity) for one in units.values()):
        return dict.fromkeys(found, min(sparsity, d.MOST))
    if distribution == "erdos-renyi":
        return d.erdos_renyi({name: tuple(score.shape) for name, score in found.items()}, sparsity)
    if distribution == "sensitivity":
        return equal_slope(measured, {name: score.numel() for name, score in found.items()}, sparsity)
    return d.global_threshold(found, units, sparsity)
