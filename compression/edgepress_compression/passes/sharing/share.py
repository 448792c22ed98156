"""Weight sharing: the weights of a tensor take few values, so that an index of a few bits says which.

Han et al. 2016 (Deep Compression), section 3: k-means over the weights that are not zero, from centroids
spread evenly between the smallest and the largest (linear initialization, which keeps large weights apart);
assignments then stay, and each centroid is trained with the sum of the gradients of its weights (equation 3).

Where there are too few samples to train on, values are evenly spaced instead, as finely in each tensor as its
sensitivity asks (sensitivity.py), and weights are rounded so that the layers' outputs change least
(feedback.py).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from edgepress_compression.artifact.write import SharedWeights
from edgepress_compression.executor import Executor
from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.estimate import index_bits
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.layer_inputs import layer_inputs
from edgepress_compression.passes.sharing.feedback import round_with_feedback
from edgepress_compression.passes.sharing.kmeans import half_precision, share
from edgepress_compression.passes.sharing.sensitivity import equal_harm_steps, mean_information
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit, training_data
from edgepress_compression.passes.tune import Count, Positive, Training, tune
from edgepress_compression.training.loop import top1
from edgepress_compression.training.losses import loss_for

_SENSITIVITY_SAMPLES = 64

Bits = Annotated[int, msgspec.Meta(ge=1, le=12)]


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each kind of training_data.py has its own options."""

    # labels: a tensor gets 2^bits values besides zero, which are trained
    bits: Bits = 4
    steps: Count = 1500
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples
    most_epochs: Positive = 10.0
    most_gmacs: Positive = 2000.0
    # answers: evenly spaced values, as fine as the tensor's sensitivity asks
    answers_bits: Annotated[float, msgspec.Meta(ge=0.5, le=12.0)] = 3.7  # mean entropy of an index
    answers_samples: Count = 160
    # without data
    blind_bits: Bits = 6
    elements_per_value: Count = (
        4  # tensors with fewer than this times 2^bits weights keep their own, in half precision
    )


def run(state: PassState, options: Options) -> None:
    """Gives the weights of `state.graph` few values, and `state.codes` their indices and codebooks."""
    started = time.monotonic()
    data = training_data(state)
    if data is not None and data.kind == "answers":
        codes = _round_by_answers(state, options, data)
        name = f"share, {options.answers_bits:g} bits a weight by sensitivity"
    elif data is not None:
        codes, name = _cluster_by_labels(state, options, data)
    else:
        codes = _cluster(state, options.blind_bits, options.elements_per_value)
        name = f"share, {2**options.blind_bits} values a tensor"
    round_others(state.graph, {**state.codes, **codes})
    state.codes.update(codes)
    accuracy = None
    if data is not None and len(data.held_out):
        accuracy = top1(Executor(state.graph), data.split, data.held_out, state.graph.outputs[0].name)
    shared = sum(code.indices.size for code in codes.values())
    state.add_stage(
        name,
        started,
        bits=sum(index_bits(code) for code in codes.values()) / shared if shared else None,
        accuracy=accuracy,
    )


def shareable(graph: Graph, bits: int, elements_per_value: int) -> dict[str, np.ndarray]:
    """The fp32 weights that are learned and large enough for a codebook of 2^bits values to pay."""
    least = elements_per_value * 2**bits
    learned = learned_weights(graph)
    return {
        name: array
        for name, array in graph.float_weights().items()
        if array.dtype == np.float32 and array.size >= least and name in learned
    }


@dataclass
class Codebooks:
    """The constraint of a model with shared weights: what is trained is one value per cluster."""

    executor: Executor
    codes: dict[str, SharedWeights]

    def __post_init__(self) -> None:
        self._tables = {
            name: nn.Parameter(torch.from_numpy(code.codebook.copy())) for name, code in self.codes.items()
        }
        self._indices = {
            name: torch.from_numpy(code.indices.reshape(-1).astype(np.int64))
            for name, code in self.codes.items()
        }
        self._used = {name: table.detach() != 0 for name, table in self._tables.items()}
        self._free = [weight for name, weight in self.executor.weights.items() if name not in self.codes]

    def parameters(self) -> list[Tensor]:
        return [*self._tables.values(), *self._free]

    def begin(self, fraction: float, optimizer: torch.optim.Adam) -> None:
        """Assignments stay as they are."""

    def collect(self) -> None:
        """The gradient of a centroid is the sum over its weights (Han et al. 2016, equation 3)."""
        for name, table in self._tables.items():
            gradient = self.executor.weights[name].grad
            if gradient is not None:
                summed = torch.bincount(self._indices[name], gradient.reshape(-1), table.numel())
                table.grad = summed.to(table.dtype) * self._used[name]

    def apply(self) -> None:
        with torch.no_grad():
            for name, table in self._tables.items():
                weight = self.executor.weights[name]
                weight.copy_(table[self._indices[name]].reshape(weight.shape))

    def resume_state(self) -> dict[str, Any]:
        """Nothing beside the parameters (training/checkpoint.py)."""
        return {}

    def resume_from(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""

    def trained(self) -> dict[str, SharedWeights]:
        """The codes with the trained values, rounded to half precision where that keeps 11 bits."""
        return {
            name: replace(code, codebook=half_precision(self._tables[name].detach().numpy()))
            for name, code in self.codes.items()
        }


def _cluster(state: PassState, bits: int, elements_per_value: int) -> dict[str, SharedWeights]:
    codes = {}
    for name, array in shareable(state.graph, bits, elements_per_value).items():
        if name in state.codes:
            continue  # an earlier pass chose its values
        state.check_cancelled()
        codes[name] = share(array, 2**bits)
        state.graph.set_weight(name, codes[name].codebook[codes[name].indices])
    return codes


def _cluster_by_labels(
    state: PassState, options: Options, data: TrainingData
) -> tuple[dict[str, SharedWeights], str]:
    """(codes, name of the stage). Where few values lose too much, weights are rounded by answers instead."""
    before = state.graph.copy()
    held_out = HeldOut(Executor(before), data, before.outputs[0].name, options.most_lost_points)
    known = {name: code for name, code in state.codes.items() if isinstance(code, SharedWeights)}
    codes = {**known, **_cluster(state, options.bits, options.elements_per_value)}
    if codes:
        codes = _train(state, options, data, codes)
    if held_out.accepts(held_out.accuracy(Executor(state.graph))):
        return codes, f"share, {2**options.bits} values a tensor"
    state.warn(
        f"Sharing {2**options.bits} values a tensor lost more than {options.most_lost_points:g} points of "
        "accuracy on held-out training samples, so weights were rounded more finely."
    )
    state.graph = before
    rounded = _round_by_answers(state, options, data)
    return rounded, f"share, {options.answers_bits:g} bits a weight by sensitivity"


def _round_by_answers(state: PassState, options: Options, data: TrainingData) -> dict[str, SharedWeights]:
    """Evenly spaced values, since entropy coding makes those better than clusters of the same cost."""
    graph = state.graph
    executor = Executor(graph)
    loss = loss_for(graph, "classification" if data.classification else "other", label_share=0.0)
    weights = {
        name: a for name, a in shareable(graph, 1, 32).items() if a.ndim > 1 and name not in state.codes
    }
    if not weights:
        return {}
    rows = data.rows[: options.answers_samples]
    batch_size = batch_limit(graph, 10)
    state.progress(0.0, "finding out which weights matter")
    information = mean_information(
        executor, data.split.fetch, rows[:_SENSITIVITY_SAMPLES], loss, seed=state.seed,
        check_cancelled=state.check_cancelled,
    )  # fmt: skip
    state.progress(0.4, "looking at what goes into each layer")
    moments = layer_inputs(
        executor, data.split.fetch, rows, list(weights), batch_size=batch_size, seed=state.seed,
        check_cancelled=state.check_cancelled,
    )  # fmt: skip
    steps = equal_harm_steps(weights, information, options.answers_bits)
    codes = {}
    for position, (name, array) in enumerate(weights.items()):
        state.check_cancelled()
        state.progress(0.7 + 0.3 * position / len(weights), f"rounding {name}")
        if name in moments:
            whole, gain = round_with_feedback(array, moments[name], steps[name])
            correct_bias(graph, moments[name].bias, gain)
        else:
            whole = np.rint(array / steps[name]).astype(np.int64)
        codes[name] = _evenly_spaced(whole, steps[name])
        graph.set_weight(name, codes[name].codebook[codes[name].indices])
    return codes


def correct_bias(graph: Graph, bias: str | None, gain: np.ndarray) -> None:
    if bias is not None and bias in graph.weights:
        old = graph.weights[bias]
        if old.dtype == np.float32 and old.shape == gain.shape:
            graph.set_weight(bias, old + gain)


def _evenly_spaced(whole: np.ndarray, step: float) -> SharedWeights:
    """Indices and a codebook of multiples of `step`."""
    used, indices = np.unique(whole, return_inverse=True)
    values = half_precision((used * step).astype(np.float32))
    return SharedWeights(indices.reshape(whole.shape).astype(np.int32), values)


def _train(
    state: PassState, options: Options, data: TrainingData, codes: dict[str, SharedWeights]
) -> dict[str, SharedWeights]:
    graph = state.graph
    executor = Executor(graph)
    codebooks = Codebooks(executor, codes)
    tune(state, executor, data, codebooks, options, label="training shared values", seed=1)
    executor.write_back(graph)
    trained = codebooks.trained()
    for name, code in trained.items():
        graph.set_weight(name, code.codebook[code.indices])
    return trained


def round_others(graph: Graph, codes: Collection[str]) -> None:
    """Biases and other small weights to half precision: a much smaller change than sharing made elsewhere."""
    for name in sorted(learned_weights(graph)):
        array = graph.weights[name]
        if name not in codes and array.dtype == np.float32:
            graph.set_weight(name, half_precision(array))
