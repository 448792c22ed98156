"""Weight sharing: the weights of a tensor take few values, so that an index of a few bits says which.

Han et al. 2016 (Deep Compression), section 3: k-means over the weights that are not zero, from centroids
spread evenly between the smallest and the largest (linear initialization, which keeps large weights apart);
assignments then stay, and each centroid is trained with the sum of the gradients of its weights (equation 3).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from edgepress_compression.artifact.write import SharedWeights
from edgepress_compression.executor import Executor, learned_weights
from edgepress_compression.graph.model import Graph
from edgepress_compression.losses import loss_for
from edgepress_compression.passes.estimate import index_bits, nonzero_fraction, weight_bytes_estimate
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import TrainingData, batch_limit, step_budget, training_data
from edgepress_compression.train import Schedule, Teacher, fine_tune, top1

_KMEANS_ROUNDS = 60
_HALF_MIN, _HALF_MAX = 6.1e-5, 65504.0  # normal numbers of fp16, which keep 11 bits

Bits = Annotated[int, msgspec.Meta(ge=1, le=12)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each kind of training_data.py has its own bits: a tensor gets 2^bits values besides zero."""

    bits: Bits = 4
    steps: Count = 1500
    batch_size: Count = 100
    learning_rate: Positive = 5e-4
    label_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.3
    temperature: Positive = 4.0
    most_gmacs: Positive = 2000.0
    answers_bits: Bits = 5
    answers_steps: Count = 40
    answers_batch_size: Count = 16
    answers_learning_rate: Positive = 1e-4
    blind_bits: Bits = 6
    elements_per_value: Count = (
        4  # tensors with fewer than this times 2^bits weights keep their own, in half precision
    )


def run(state: PassState, options: Options) -> None:
    """Gives the weights of `state.graph` few values, and `state.codes` their indices and codebooks."""
    started = time.monotonic()
    data = training_data(state)
    bits = {"labels": options.bits, "answers": options.answers_bits, None: options.blind_bits}[
        data.kind if data is not None else None
    ]
    codes: dict[str, SharedWeights] = {}
    for name, array in shareable(state.graph, bits, options.elements_per_value).items():
        state.check_cancelled()
        codes[name] = share(array, 2**bits)
        state.graph.set_weight(name, codes[name].codebook[codes[name].indices])
    if data is not None:
        codes = _train(state, options, data, codes)
    _round_others(state.graph, codes)
    state.codes.update(codes)
    accuracy = None
    if data is not None and len(data.held_out):
        accuracy = top1(Executor(state.graph), data.split, data.held_out, state.graph.outputs[0].name)
    weights = state.graph.float_weights()
    shared = sum(code.indices.size for code in codes.values())
    state.stages.append(
        Stage(
            name=f"share, {2**bits} values a tensor",
            seconds=time.monotonic() - started,
            bytes_estimate=weight_bytes_estimate(weights, codes),
            nonzero=nonzero_fraction(weights),
            bits=sum(index_bits(code) for code in codes.values()) / shared if shared else None,
            accuracy=accuracy,
        )
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


def share(array: np.ndarray, count: int) -> SharedWeights:
    """k-means of the nonzero weights into at most `count` values; zeros stay zero.

    array: fp32 of any shape. The codebook is sorted, holds 0.0 if the array does, and no value that is not
    used.
    """
    flat = array.reshape(-1)
    kept = flat != 0
    centroids = kmeans(flat[kept].astype(np.float64), count)
    values = half_precision(centroids.astype(np.float32))
    values = np.unique(values if kept.all() else np.append(values, np.float32(0.0)))
    nonzero = np.flatnonzero(values)
    indices = np.empty(flat.size, np.int32)
    indices[~kept] = np.searchsorted(values, 0.0)
    edges = (values[nonzero][1:].astype(np.float64) + values[nonzero][:-1]) / 2
    indices[kept] = nonzero[np.searchsorted(edges, flat[kept])]
    return _compact(SharedWeights(indices.reshape(array.shape), values))


def kmeans(values: np.ndarray, count: int) -> np.ndarray:
    """Sorted centroids (at most `count`) of one-dimensional k-means, linear initialization, by Lloyd's
    algorithm.

    values: (n,) float64. Clusters that become empty are dropped.
    """
    if values.size == 0:
        return values
    ordered = np.sort(values)
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.unique(np.linspace(ordered[0], ordered[-1], count))
    for _ in range(_KMEANS_ROUNDS):
        edges = (centroids[1:] + centroids[:-1]) / 2
        ends = np.concatenate([[0], np.searchsorted(ordered, edges), [ordered.size]])  # (k + 1,)
        members = np.diff(ends)
        sums = total[ends[1:]] - total[ends[:-1]]
        moved = sums[members > 0] / members[members > 0]
        if moved.size == centroids.size and np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def half_precision(values: np.ndarray) -> np.ndarray:
    """fp32 numbers rounded to fp16 and its 11 bits; unchanged where fp16 has fewer bits for one of them."""
    magnitude = np.abs(values)
    fits = bool(((magnitude == 0) | ((magnitude >= _HALF_MIN) & (magnitude <= _HALF_MAX))).all())
    return values.astype(np.float16).astype(np.float32) if fits else values


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

    def trained(self) -> dict[str, SharedWeights]:
        """The codes with the trained values, rounded to half precision where that keeps 11 bits."""
        return {
            name: SharedWeights(code.indices, half_precision(self._tables[name].detach().numpy()))
            for name, code in self.codes.items()
        }


def _train(
    state: PassState, options: Options, data: TrainingData, codes: dict[str, SharedWeights]
) -> dict[str, SharedWeights]:
    labels = data.kind == "labels"
    graph = state.graph
    batch_size = batch_limit(graph, options.batch_size if labels else options.answers_batch_size)
    wanted = options.steps if labels else options.answers_steps
    executor = Executor(graph)
    codebooks = Codebooks(executor, codes)
    fine_tune(
        executor,
        data.split,
        loss_for(
            graph,
            "classification" if data.classification else "other",
            label_share=options.label_share if labels else 0.0,
            temperature=options.temperature,
        ),
        codebooks,
        Schedule(
            steps=step_budget(graph, steps=wanted, batch_size=batch_size, most_gmacs=options.most_gmacs),
            batch_size=batch_size,
            learning_rate=options.learning_rate if labels else options.answers_learning_rate,
        ),
        rows=data.rows,
        teacher=Teacher(Executor(state.original), data.split),
        seed=state.seed + 1,
        progress=lambda fraction, message: state.progress(fraction, f"training shared values: {message}"),
        check_cancelled=state.check_cancelled,
    )
    executor.write_back(graph)
    trained = codebooks.trained()
    for name, code in trained.items():
        graph.set_weight(name, code.codebook[code.indices])
    return trained


def _round_others(graph: Graph, codes: dict[str, SharedWeights]) -> None:
    """Biases and other small weights to half precision: a much smaller change than sharing made elsewhere."""
    for name in sorted(learned_weights(graph)):
        array = graph.weights[name]
        if name not in codes and array.dtype == np.float32:
            graph.set_weight(name, half_precision(array))


def _compact(code: SharedWeights) -> SharedWeights:
    """Without values that no weight has."""
    used, indices = np.unique(code.indices, return_inverse=True)
    return SharedWeights(
        indices.reshape(code.indices.shape).astype(np.int32), np.ascontiguousarray(code.codebook[used])
    )
