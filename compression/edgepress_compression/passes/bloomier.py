"""Weightless: a large layer becomes what a Bloomier filter decodes to, and the rest is trained around it.

After Reagen et al. 2018, "Weightless: Lossy Weight Encoding For Deep Neural Network Compression". A pruned
layer is clustered and put into a filter (codec/bloomier.py), which takes few bits because it also gives
values to some pruned weights: false positives. These are fixed from then on, and the other layers, all
biases and the layer's own few values learn to live with them. Layers go from input to output.

Here the encoder knows where a false positive does harm: the loss that a weight of its own at that place would
add, by the diagonal of the Fisher information. Places of much harm get more check bits.

Prices are tried from the lowest, which gives the smallest filter. One is taken when the filter is smaller
than what the lossless coders make of the clean layer, and held-out samples lose at most `most_lost_points`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch

from edgepress_compression.artifact.codes import SharedWeights
from edgepress_compression.codec.bloomier import Bloomier, encode_filter, sides
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.registry import SYMBOL_CODERS
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.estimate import nonzero_fraction
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.sharing.kmeans import share
from edgepress_compression.passes.sharing.sensitivity import drawn_loss
from edgepress_compression.passes.sharing.share import Codebooks
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, tune
from edgepress_compression.training.loop import Teacher
from edgepress_compression.training.losses import loss_for

_LEAST_ZEROS = 0.5  # of a layer: denser ones leave a filter nothing to leave out
_HARM_MAX = 20.0  # times the mean: a few samples say little about single weights
_HARM_MIN = 0.05


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Needs labels (training_data.py); without them no layer is changed."""

    layers: tuple[str, ...] = ()  # weights by name; none: those with at least `least_share` of all weights
    least_share: Fraction = 0.3
    bits: Annotated[int, msgspec.Meta(ge=1, le=8)] = 4  # a layer gets 2^bits values besides zero
    prices: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1, max_length=8)] = (2.0, 3.0)
    seeds: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8  # filters tried at a price: least harm is taken
    smaller_than: Literal["all", "gaps"] = "all"  # the lossless coders that a filter must beat
    most_lost_points: Positive = 0.5  # of accuracy on held-out samples
    samples: Count = 400  # that say where false positives do harm
    steps: Count = 1500  # of training around the filter of a layer
    learning_rate: Positive = 1e-3
    most_epochs: Positive = 10.0
    most_gmacs: Positive = 2000.0


@dataclass(frozen=True)
class Filtered:
    """A layer as its filter gives it."""

    code: SharedWeights  # with the payload ready
    false_positives: int
    pruned: int  # zeros of the clean layer

    @property
    def size_bytes(self) -> int:
        return len(self.code.ready["bloomier"])


def run(state: PassState, options: Options) -> None:
    """Replaces weights of `state.graph` by what their filters give; `state.codes` gets the payloads."""
    names = _layers(state.graph, options)
    if not names:
        state.warn("No layer is large and pruned enough for a Bloomier filter; put prune before it.")
        return
    data = training_data(state)
    if data is None or data.kind != "labels":
        state.warn("A lossy Bloomier filter needs labelled training samples, so no layer was changed.")
        return
    teacher = Teacher(Executor(state.original), data.split)
    output = state.graph.outputs[0].name
    held_out = HeldOut(Executor(state.graph), data, output, options.most_lost_points)
    for name in names:
        _replace(state, options, data, name, held_out, teacher)


def _layers(graph: Graph, options: Options) -> list[str]:
    """In the order of the graph, which goes from input to output."""
    every = sum(array.size for array in graph.float_weights().values())
    names = []
    for name in graph.prunable():
        array = graph.weights[name]
        wanted = name in options.layers if options.layers else array.size >= options.least_share * every
        zeros = np.count_nonzero(array == 0) / max(1, array.size)
        if wanted and array.dtype == np.float32 and zeros >= _LEAST_ZEROS:
            names.append(name)
    return names


def _replace(
    state: PassState, options: Options, data: TrainingData, name: str, held_out: HeldOut, teacher: Teacher
) -> None:
    started = time.monotonic()
    clean = share(state.graph.weights[name], 2**options.bits)
    lossless = smallest_lossless(clean, options.smaller_than)
    state.progress(0.0, f"{name}: where false positives do harm")
    harm = _harm(state, data, name, options.samples)
    accuracy = None
    note = f"no filter was smaller than the {lossless:,} bytes of the lossless coders"
    for number, price in enumerate(options.prices):
        filtered = best_filter(clean, harm, price, seeds=options.seeds, check_cancelled=state.check_cancelled)
        if filtered.size_bytes >= lossless:
            break  # a higher price only makes it larger
        part = number / len(options.prices), 1 / len(options.prices)
        graph, codes = _train_around(state, options, data, name, filtered, teacher, part)
        accuracy = held_out.accuracy(Executor(graph))
        note = (
            f"{filtered.size_bytes:,} bytes, {lossless:,} without loss; false positives "
            f"{filtered.false_positives / filtered.pruned:.2%} of {filtered.pruned:,} pruned weights"
        )
        if held_out.accepts(accuracy):
            state.graph = graph
            state.codes.update(codes)
            break
        note = f"not taken, it lost too much: {note}"
    taken = name in state.codes
    if not taken:
        state.warn(f"{name} keeps its exact weights: its Bloomier filter was too large or lost too much.")
    state.stages.append(
        Stage(
            name=f"bloomier, {name}",
            seconds=time.monotonic() - started,
            nonzero=nonzero_fraction(state.graph.float_weights()),
            accuracy=accuracy,
            note=note,
        )
    )


def smallest_lossless(code: SharedWeights, among: Literal["all", "gaps"]) -> int:
    """Bytes of the shortest payload for the indices that loses nothing."""
    symbols = _symbols(code)
    shape, count = code.indices.shape, len(code.codebook)
    coders = SYMBOL_CODERS if among == "all" else {"gaps": SYMBOL_CODERS["gaps"]}
    payloads = (coder.encode(symbols, count, shape) for coder in coders.values())
    return min(len(payload) for payload in payloads if payload is not None)


def best_filter(
    clean: SharedWeights,
    harm: np.ndarray,
    price: float,
    *,
    seeds: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Filtered:
    """The filter of `seeds` tried whose false positives do the least harm.

    harm: shape of the weights, mean about 1; `price` in bits for a false positive of harm 1.
    """
    shape, count = clean.indices.shape, len(clean.codebook)
    symbols = _symbols(clean)
    prices = price * np.clip(harm, _HARM_MIN, _HARM_MAX).reshape(sides(shape))
    best, least = None, np.inf
    for seed in range(seeds):
        check_cancelled()
        payload = encode_filter(symbols, count, shape, prices, seed=seed)
        decoded = np.empty_like(symbols)
        Bloomier().decode(memoryview(payload), count, shape, decoded)
        wrong = decoded != symbols
        done = float((harm.reshape(-1)[wrong] * clean.codebook[decoded[wrong]].astype(np.float64) ** 2).sum())
        if done < least:
            indices = decoded.astype(np.int32).reshape(shape)
            pruned = int(np.count_nonzero(clean.codebook[clean.indices] == 0))
            code = SharedWeights(indices, clean.codebook, {"bloomier": payload})
            best, least = Filtered(code, int(np.count_nonzero(wrong)), pruned), done
    if best is None:
        raise ValueError("at least one seed must be tried")
    return best


def _symbols(code: SharedWeights) -> Symbols:
    return code.indices.reshape(-1).astype(symbol_dtype(len(code.codebook)))


def _harm(state: PassState, data: TrainingData, name: str, samples: int) -> np.ndarray:
    """The Fisher information's diagonal (shape of the weight), over its mean where a filter may be wrong:

    at the zeros of rows and columns in which some weight is kept.
    """
    executor = Executor(state.graph)
    loss = loss_for(state.graph, "classification", label_share=0.0)
    generator = torch.Generator().manual_seed(state.seed)
    weight = executor.weights[name]
    total = np.zeros(tuple(weight.shape))
    for row in data.rows[:samples]:
        state.check_cancelled()
        executor.zero_grad(set_to_none=True)
        outputs = executor({n: torch.from_numpy(a) for n, a in data.split.fetch(np.array([row])).items()})
        drawn_loss(outputs, loss, generator).backward()  # type: ignore[no-untyped-call]
        if weight.grad is not None:
            total += weight.grad.double().square().numpy()
    kept = (state.graph.weights[name] != 0).reshape(sides(total.shape))
    at_risk = (kept.any(1)[:, None] & kept.any(0) & ~kept).reshape(total.shape)
    return total / max(float(total[at_risk].mean()), 1e-300) if at_risk.any() else total


class _Around(Codebooks):
    """Filtered layers learn their values only; other pruned weights stay zero."""

    def __init__(self, executor: Executor, codes: dict[str, SharedWeights], masked: list[str]) -> None:
        super().__init__(executor, codes)
        self._masks = {name: executor.weights[name].detach() != 0 for name in masked}

    def apply(self) -> None:
        super().apply()
        with torch.no_grad():
            for name, mask in self._masks.items():
                self.executor.weights[name].mul_(mask)


def _train_around(
    state: PassState,
    options: Options,
    data: TrainingData,
    name: str,
    filtered: Filtered,
    teacher: Teacher,
    part: tuple[float, float],
) -> tuple[Graph, Mapping[str, SharedWeights]]:
    """A trained copy of the graph with the filter's weights, and all codes of it."""
    graph = state.graph.copy()
    codes = {n: code for n, code in state.codes.items() if isinstance(code, SharedWeights)}
    codes[name] = filtered.code
    graph.set_weight(name, filtered.code.weights())
    executor = Executor(graph)
    around = _Around(executor, codes, [other for other in graph.prunable() if other not in codes])
    tune(state, executor, data, around, options, label=f"around {name}", seed=2, teacher=teacher, part=part)
    executor.write_back(graph)
    trained = {n: replace(code, ready=codes[n].ready) for n, code in around.trained().items()}
    for n, code in trained.items():
        graph.set_weight(n, code.weights())
    return graph, trained
