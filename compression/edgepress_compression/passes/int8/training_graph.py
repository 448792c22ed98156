"""A float graph with its integers played in floats: what quantization-aware training trains.

Jacob et al. 2018, section 3.1: weights and activations are rounded where the integer graph rounds them, and
nowhere else; a layer's clamp comes before its output is rounded. Biases (32 bits) are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.artifact.codes import Codes
from edgepress_compression.executor.quantize import FAKE_QUANTIZE_DOMAIN
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8.integers import Integers, short_scale
from edgepress_compression.passes.int8.prepare import Prepared
from edgepress_compression.passes.int8.qdq import clamp_limits
from edgepress_compression.passes.int8.weights import keep_scales, quantize_weight, weight_axis


@dataclass(frozen=True)
class TrainingGraph:
    """`graph` has a FakeQuantize node for each rounding, whose scale is an initializer of its own."""

    graph: Graph
    ranges: dict[str, str]  # activation -> initializer of its scale; a family has one
    weights: dict[str, str]  # a layer's weight -> initializer of its scales (channels,)
    axes: dict[str, int]  # a layer's weight -> axis of its output channels
    largest: dict[str, float]  # initializer of a scale -> what it may not exceed, where a clamp says so


def training_graph(
    prepared: Prepared, codes: Mapping[str, Codes] | None = None, only: str | None = None
) -> TrainingGraph:
    """From the calibrated ranges and the best scales of the weights, or those of an earlier pass's `codes`.

    `only`: a layer's weight; it and the layer's input are rounded, and nothing else.
    """
    graph = prepared.graph.copy()
    proto = graph.proto.graph
    constants: dict[str, onnx.TensorProto] = {}
    ranges: dict[str, str] = {}
    readers: dict[str, str] = {}

    def constant(name: str, array: np.ndarray) -> str:
        constants[name] = numpy_helper.from_array(array, name)
        return name

    def fake(name: str, scale: str, zero: str, low: int, high: int, axis: int) -> onnx.NodeProto:
        return helper.make_node(
            "FakeQuantize",
            [name, scale, zero],
            [f"{name}_fake"],
            domain=FAKE_QUANTIZE_DOMAIN,
            low=low,
            high=high,
            axis=axis,
        )

    def activation(name: str) -> onnx.NodeProto:
        form = prepared.integers[name]
        limits = np.iinfo(form.dtype)  # type: ignore[type-var]
        family = prepared.plan.ranges[name]
        ranges[name] = constant(f"range of {family}", np.asarray(form.scale))
        zero = constant(f"zero of {family}", np.asarray(form.zero_point, np.int32))
        readers[name] = f"{name}_fake"
        return fake(name, ranges[name], zero, limits.min, limits.max, 0)

    weights: dict[str, str] = {}
    axes: dict[str, int] = {}
    nodes: list[onnx.NodeProto] = []
    limit = 2 ** (prepared.bits - 1) - 1
    layers = [node for node in prepared.layers if only in (None, node.input[1])]
    planned = set(prepared.plan.tensors)
    if only is not None:
        planned &= {node.input[0] for node in layers}
    for node in layers:
        name = node.input[1]
        if name not in weights:
            axis = axes[name] = weight_axis(node)
            weight = graph.weights[name]
            scales = quantize_weight(weight, axis, prepared.bits)[1]
            code = (codes or {}).get(name)
            if code is not None:
                scales = keep_scales(code, weight, axis, limit, scales)[0]
            weights[name] = constant(f"scales of {name}", scales)
            zero = constant("zero of weights", np.asarray(0, np.int32))
            nodes.append(fake(name, weights[name], zero, -limit, limit, axis))
            readers[name] = f"{name}_fake"
    for one in proto.input:
        if one.name in planned:
            nodes.append(activation(one.name))
    named = {node.name for node in layers}
    for node in proto.node:
        for position, name in enumerate(node.input):
            if name in readers and (node.name in named or (only is None and name not in weights)):
                node.input[position] = readers[name]
        nodes.append(node)
        nodes += [activation(name) for name in node.output if name in planned]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.node[:]
    proto.node.extend(copies)
    proto.initializer.extend(constants.values())
    del proto.value_info[:]
    graph.refresh()
    return TrainingGraph(graph, ranges, weights, axes, _largest(prepared, ranges))


def _largest(prepared: Prepared, ranges: Mapping[str, str]) -> dict[str, float]:
    """Scales at which the highest integer is a clamp's upper limit: beyond, the clamp could not be left to
    the integers' own limits, and would cost time."""
    largest: dict[str, float] = {}
    makers = {name: node for node in prepared.graph.proto.graph.node for name in node.output}
    for clamped in prepared.plan.fused.values():
        form = prepared.integers.get(clamped)
        if form is None or clamped not in ranges:
            continue
        _, high = clamp_limits(makers[clamped], prepared.graph)
        steps = np.iinfo(form.dtype).max - form.zero_point  # type: ignore[type-var]
        if np.isfinite(high) and high > 0 and steps > 0:
            name = ranges[clamped]
            largest[name] = min(largest.get(name, np.inf), high / steps)
    return largest


def learned_integers(
    prepared: Prepared, training: TrainingGraph, scales: Mapping[str, np.ndarray]
) -> dict[str, Integers]:
    """The forms of the activations with their trained scales, by initializer name."""
    return {
        name: Integers(
            np.float32(short_scale(scales[training.ranges[name]]).reshape(())), form.zero_point, form.dtype
        )
        for name, form in prepared.integers.items()
    }
