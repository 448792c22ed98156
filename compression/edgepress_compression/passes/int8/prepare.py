"""What int8 and qat share: a folded graph, what of it computes in integers, and the ranges of activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
import onnx

from edgepress_compression.data.dataset import Dataset
from edgepress_compression.errors import RecipeError
from edgepress_compression.generated import generated_batches
from edgepress_compression.graph.edit import drop_dead_nodes
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.calibration_rows import calibration_order
from edgepress_compression.passes.compact import compact
from edgepress_compression.passes.int8.calibrate import Method, Observed, chosen_range, observe
from edgepress_compression.passes.int8.equalize import equalize
from edgepress_compression.passes.int8.integers import Integers
from edgepress_compression.passes.int8.qdq import (
    MATRIX_OPS,
    Plan,
    insert_pairs,
    name_nodes,
    plan,
)
from edgepress_compression.passes.int8.stem import keep_stem
from edgepress_compression.passes.int8.weights import quantize_constants
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState

CALIBRATION_BATCH = 4
Activations = Literal["u8", "s8"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How a float graph becomes integers."""

    activations: Literal["profile", "u8", "s8"] = "profile"
    calibration: Method = "mse"
    percentile: Annotated[float, msgspec.Meta(gt=50, le=100)] = 99.99
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    weight_bits: Literal["auto", 7, 8] = "auto"
    float_stem: bool = True  # see stem.py
    equalize: bool = False  # see equalize.py
    float_layers: tuple[str, ...] = ()  # names of weights whose layers stay in floats


@dataclass
class Prepared:
    """A float graph with nodes named, and what it needs to become integers."""

    graph: Graph
    plan: Plan
    seen: dict[str, Observed]
    integers: dict[str, Integers]  # activation -> its form
    bits: int  # of a weight

    @property
    def layers(self) -> list[onnx.NodeProto]:
        """The convolutions and matrix products on the integer side, in graph order."""
        nodes = self.graph.proto.graph.node
        return [node for node in nodes if node.name in self.plan.nodes and node.op_type in MATRIX_OPS]


def prepare(
    state: PassState,
    options: Calibration,
    part: tuple[float, float] = (0.0, 0.9),
    seen: Mapping[str, Observed] | None = None,
) -> Prepared:
    """Folds a copy of `state.graph`, chooses its integer side and measures its activations; the state is as
    it was. `part` is (start, length) of the pass's progress.

    Raises RecipeError when nothing can be quantized.
    """
    start, length = part
    state.progress(start, "folding constants")
    graph = simplified(state.graph)
    if options.equalize:
        pairs = equalize(graph, frozenset(state.codes))
        if not pairs:
            state.warn(
                "equalize found no two layers in a row with a Relu or nothing between; it did nothing."
            )
    name_nodes(graph)
    known = {node.input[1] for node in graph.proto.graph.node if node.op_type in MATRIX_OPS}
    for name in options.float_layers:
        if name not in known:
            raise RecipeError(f"float_layers names {name!r}, which is no layer's weight in this model.")
    left_out = {
        node.name
        for node in graph.proto.graph.node
        if node.op_type in MATRIX_OPS and node.input[1] in options.float_layers
    }
    chosen = plan(graph, {*left_out, *(keep_stem(graph) if options.float_stem else ())})
    prepared = Prepared(graph, chosen, {}, {}, _weight_bits(state, options))
    if not prepared.layers:
        raise RecipeError(
            "int8 finds no convolution or matrix product with constant weights; use another recipe."
        )

    def check(fraction: float) -> None:
        state.check_cancelled()
        state.progress(start + length * (0.1 + 0.9 * fraction), "measuring activations")

    if seen is not None and all(name in seen for name in chosen.tensors):
        prepared.seen = dict(seen)
    else:
        prepared.seen = observe(
            graph.proto,
            chosen.tensors,
            lambda: calibration_batches(state, options.samples),
            threads=1,
            check=check,
        )
    prepared.integers = _integers(prepared, state, options)
    return prepared


def write(state: PassState, prepared: Prepared, *, bias_correction: bool) -> float:
    """Puts the integer graph into the state; says which fraction 0..1 of its weights kept what `state.codes`
    made of them."""
    graph = prepared.graph
    kept = total = 0.0
    for node in prepared.layers:
        source = node.input[0]
        mean = prepared.seen[source].channel_mean if bias_correction else None
        code = state.codes.get(node.input[1])
        size = graph.weights[node.input[1]].size
        share = quantize_constants(graph, node, prepared.integers[source], prepared.bits, mean, code)
        kept, total = kept + share * size, total + size
    insert_pairs(graph, prepared.plan, prepared.integers)
    drop_dead_nodes(graph)
    named = {name: array for name, array in graph.weights.items() if name in state.codes}
    compact(graph)
    state.graph = graph
    # a small tensor may have got another's name: what a code says must still be true
    state.codes = {
        name: code
        for name, code in state.codes.items()
        if name in named and name in graph.weights and np.array_equal(named[name], graph.weights[name])
    }
    return kept / max(total, 1.0)


def _activations(state: PassState, options: Calibration) -> Activations:
    if options.activations != "profile":
        return options.activations
    asked = state.profile.int8.activations
    if asked is None:
        state.warn(
            f"{state.profile.name} runs int8 slower than fp32 ({state.profile.int8.reason}); the artifact "
            "is smaller, "
            "not faster."
        )
        return "u8"
    return asked


def calibration_batches(state: PassState, samples: int) -> Iterable[Mapping[str, np.ndarray]]:
    dataset = state.dataset
    if dataset is None:
        state.warn(
            "Calibrated on generated inputs because no data set was given; expect a loss of "
            "accuracy. Give "
            "a data set."
        )
        yield from generated_batches(state.graph, count=min(samples, 16), seed=state.seed)
        return
    split = dataset.split(_calibration_split(dataset, state))
    fixed = [one.shape[0] for one in state.graph.inputs if one.shape and isinstance(one.shape[0], int)]
    size = fixed[0] if fixed else CALIBRATION_BATCH
    rows = calibration_order(len(split), state.seed)[:samples]
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        if not fixed or len(chosen) == size:
            yield split.fetch(chosen)


def _calibration_split(dataset: Dataset, state: PassState) -> str:
    if "train" in dataset.splits:
        return "train"
    others = [name for name in dataset.splits if name != "test"]
    if others:
        return others[0]
    state.warn(
        "The data set has only a test split; it served for calibration, too, so accuracy may be flattering."
    )
    return "test"


def _integers(prepared: Prepared, state: PassState, options: Calibration) -> dict[str, Integers]:
    chosen, seen = prepared.plan, prepared.seen
    dtype: np.dtype[np.generic] = np.dtype(np.uint8 if _activations(state, options) == "u8" else np.int8)
    # TensorRT takes zero point 0 only (TensorRT developer guide, explicit quantization)
    symmetric = dtype == np.int8 and "TensorrtExecutionProvider" in state.profile.providers
    if symmetric:
        state.warn(
            "int8 has the form that TensorRT takes (zero point 0); with onnxruntime's CPU provider "
            "alone it is slower than fp32."
        )
    # Generated inputs say nothing about how rare large values are.
    method = "minmax" if state.dataset is None else options.calibration
    ranges: dict[str, tuple[float, float]] = {}
    for name in chosen.tensors:
        low, high = chosen_range(seen[name], method, percentile=options.percentile)
        known = ranges.get(chosen.ranges[name], (0.0, 0.0))
        ranges[chosen.ranges[name]] = (min(low, known[0]), max(high, known[1]))
    return {
        name: Integers.covering(*ranges[chosen.ranges[name]], dtype, symmetric) for name in chosen.tensors
    }


def _weight_bits(state: PassState, options: Calibration) -> int:
    """7 where two u8 x s8 products are added in 16 bits (VPMADDUBSW of AVX2 without VNNI), which
    overflows with 8."""
    if options.weight_bits != "auto":
        return options.weight_bits
    isa = state.profile.cpu.isa
    return 7 if "AVX2" in isa and "VNNI" not in isa else 8
