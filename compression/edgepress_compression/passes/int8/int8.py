"""Static int8: weights s8 for each output channel, activations u8 or s8 as the profile asks.

Ranges of activations come from a calibration run over the data set's training samples. The integer form
buys speed on devices with integer kernels and a quarter of the bytes everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np

from edgepress_compression.data.dataset import Dataset
from edgepress_compression.errors import RecipeError
from edgepress_compression.generated import generated_batches
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.compact import compact
from edgepress_compression.passes.int8.calibrate import Method, Observed, chosen_range, observe
from edgepress_compression.passes.int8.qdq import (
    MATRIX_OPS,
    Integers,
    Plan,
    drop_unused,
    insert_pairs,
    name_nodes,
    plan,
    quantize_constants,
)
from edgepress_compression.passes.int8.stem import keep_stem
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage

CALIBRATION_BATCH = 4
Activations = Literal["u8", "s8"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the pass in a recipe."""

    activations: Literal["profile", "u8", "s8"] = "profile"
    calibration: Method = "mse"
    percentile: Annotated[float, msgspec.Meta(gt=50, le=100)] = 99.99
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    weight_bits: Literal["auto", 7, 8] = "auto"
    bias_correction: bool = True
    float_stem: bool = True  # see stem.py


def run(state: PassState, options: Options) -> None:
    """Quantizes `state.graph`. Raises RecipeError when nothing in it can be quantized."""
    started = time.monotonic()
    state.progress(0.0, "folding constants")
    graph = simplified(state.graph)
    name_nodes(graph)
    chosen = plan(graph, keep_stem(graph) if options.float_stem else ())
    matrix_nodes = [
        node for node in graph.proto.graph.node if node.name in chosen.nodes and node.op_type in MATRIX_OPS
    ]
    if not matrix_nodes:
        raise RecipeError(
            "int8 finds no convolution or matrix product with constant weights; use another recipe."
        )
    state.progress(0.1, "measuring activations")

    def check(fraction: float) -> None:
        state.check_cancelled()
        state.progress(0.1 + 0.8 * fraction, "measuring activations")

    seen = observe(
        graph.proto,
        chosen.tensors,
        lambda: _calibration(state, options.samples),
        threads=1,
        check=check,
    )
    integers = _integers(chosen, seen, state, options)
    state.progress(0.9, "writing integers")
    bits = _weight_bits(state, options)
    for node in matrix_nodes:
        source = node.input[0]
        mean = seen[source].channel_mean if options.bias_correction else None
        quantize_constants(graph, node, integers[source], bits, mean)
    insert_pairs(graph, chosen, integers)
    drop_unused(graph)
    compact(graph)
    state.graph = graph
    state.codes = {name: code for name, code in state.codes.items() if name in graph.weights}
    state.stages.append(_stage(graph, started, len(matrix_nodes), bits))
    state.progress(1.0, "int8 done")


def _activations(state: PassState, options: Options) -> Activations:
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


def _calibration(state: PassState, samples: int) -> Iterable[Mapping[str, np.ndarray]]:
    dataset = state.dataset
    if dataset is None:
        state.warn(
            "int8 was calibrated on generated inputs because no data set was given; expect a loss of "
            "accuracy. Give "
            "a data set."
        )
        yield from generated_batches(state.graph, count=min(samples, 16), seed=state.seed)
        return
    split = dataset.split(_calibration_split(dataset, state))
    fixed = [one.shape[0] for one in state.graph.inputs if one.shape and isinstance(one.shape[0], int)]
    size = fixed[0] if fixed else CALIBRATION_BATCH
    for feed, labels in split.batches(size, limit=samples, shuffle_seed=state.seed):
        if not fixed or len(labels) == size:
            yield feed


def _calibration_split(dataset: Dataset, state: PassState) -> str:
    if "train" in dataset.splits:
        return "train"
    others = [name for name in dataset.splits if name != "test"]
    if others:
        return others[0]
    state.warn(
        "The data set has only a test split; int8 was calibrated on it, so its accuracy may be flattering."
    )
    return "test"


def _integers(
    chosen: Plan, seen: dict[str, Observed], state: PassState, options: Options
) -> dict[str, Integers]:
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


def _weight_bits(state: PassState, options: Options) -> int:
    """7 where two u8 x s8 products are added in 16 bits (VPMADDUBSW of AVX2 without VNNI), which
    overflows with 8."""
    if options.weight_bits != "auto":
        return options.weight_bits
    isa = state.profile.cpu.isa
    return 7 if "AVX2" in isa and "VNNI" not in isa else 8


def _stage(graph: Graph, started: float, count: int, bits: int) -> Stage:
    integers = [array for array in graph.weights.values() if array.dtype == np.int8 and array.ndim > 1]
    total = sum(array.size for array in integers)
    nonzero = sum(int(np.count_nonzero(array)) for array in integers)
    return Stage(
        name="int8",
        seconds=time.monotonic() - started,
        bytes_estimate=sum(array.nbytes for array in graph.weights.values()),
        nonzero=nonzero / total if total else None,
        bits=float(bits),
        note=f"{count} layers in integers",
    )
