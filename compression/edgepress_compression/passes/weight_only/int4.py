"""int4 block weights: matrix products with 4-bit weights that onnxruntime runs as they are (MatMulNBits).

A scale for each `block` inputs of an output, and a zero point where `symmetric` is off; rounded with GPTQ's
feedback (feedback.py). A quarter of int8's memory traffic per weight is saved against fp16, an eighth
against fp32, which is what matters where a product is bound by memory; convolutions have no such operator and
stay as they are.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.edit import drop_dead_nodes
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.layer_matrix import layer_matrix
from edgepress_compression.passes.rate_distortion.choose_integers import bias_gain
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.weight_only.feedback import BlockIntegers, round_in_blocks
from edgepress_compression.passes.weight_only.layers import input_moments
from edgepress_compression.passes.weight_only.nibbles import HALF, pack, pack_blocks

DOMAIN = "com.microsoft"
BITS = 4


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    block: Literal[16, 32, 64, 128, 256] = 64  # inputs that share a scale
    symmetric: bool = True  # False: a zero point for each block, half a byte
    feedback: bool = True  # rounding errors are made up for within a layer; looks at `samples` inputs
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 128
    accuracy_level: Literal[0, 1, 2, 3, 4] = 4  # onnxruntime's: 0 its own choice, 1 fp32, 4 int8 products
    least_inputs: Annotated[int, msgspec.Meta(ge=1)] = 32  # of a layer; smaller ones are not worth it


def run(state: PassState, options: Options) -> None:
    """Quantizes the matrix products of `state.graph`. Raises RecipeError when there are none."""
    started = time.monotonic()
    if not state.profile.int4.supported:
        state.warn(
            f"{state.profile.name} does not gain from int4 weights ({state.profile.int4.reason}); the "
            "artifact is smaller, not faster."
        )
    state.progress(0.0, "folding constants")
    graph = state.graph = simplified(state.graph)
    state.codes = {
        name: code
        for name, code in state.codes.items()
        if name in graph.weights and np.array_equal(code.weights(), graph.weights[name])
    }
    nodes = products(graph, options.least_inputs)
    if not nodes:
        raise RecipeError(
            "int4 finds no matrix product with constant weights (convolutions have no int4 operator); use "
            "int8 or weight-only."
        )
    names = list(dict.fromkeys(node.input[1] for node in nodes))
    state.progress(0.1, "looking at what goes into each layer")
    curvature = (
        input_moments(state, names, options.samples)
        if options.feedback
        else {name: Curvature(None, np.ones(1)) for name in names}
    )
    error = power = 0.0
    for done, node in enumerate(nodes):
        state.check_cancelled()
        state.progress(0.3 + 0.7 * done / len(nodes), f"rounding {node.input[1]}")
        lost, whole = _quantize(graph, node, curvature[node.input[1]], options, done)
        error, power = error + lost, power + whole
    _domain(graph)
    drop_dead_nodes(graph)
    state.codes = {name: code for name, code in state.codes.items() if name in graph.weights}
    state.stages.append(
        Stage(
            name=f"int4, blocks of {options.block}",
            seconds=time.monotonic() - started,
            bytes_estimate=sum(array.nbytes for array in graph.weights.values()),
            bits=float(BITS),
            note=f"{len(nodes)} matrix products; weights moved by {np.sqrt(error / max(power, 1e-30)):.1%}",
        )
    )
    state.progress(1.0, "int4 done")


def products(graph: Graph, least_inputs: int) -> list[onnx.NodeProto]:
    """MatMul and Gemm nodes x @ w (+ b) with a constant fp32 matrix, in graph order."""
    found = []
    for node in graph.proto.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            continue
        weight = graph.weights.get(node.input[1])
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or node.input[0] in graph.weights:
            continue
        facts = attributes(node)
        if facts.get("alpha", 1.0) != 1.0 or facts.get("beta", 1.0) != 1.0 or facts.get("transA", 0):
            continue
        if weight.shape[1 if facts.get("transB", 0) else 0] >= least_inputs:
            found.append(node)
    return found


def _quantize(
    graph: Graph, node: onnx.NodeProto, curvature: Curvature, options: Options, number: int
) -> tuple[float, float]:
    """Replaces one node; (squared change of its weight, squares of its weight)."""
    name = node.input[1]
    weight = graph.weights[name]
    rows_first = bool(attributes(node).get("transB", 0))
    if curvature.moments is None and not rows_first:
        weight = weight.T  # without moments layer_matrix takes rows for outputs
    matrix = layer_matrix(weight, curvature, natural_order=True)
    rounded = round_in_blocks(matrix, BITS, options.block, symmetric=options.symmetric)
    change = matrix.rows - rounded.values(options.block)
    gain = bias_gain(change, curvature)
    inputs = matrix.rows.shape[2]
    proto = graph.proto.graph
    new = _node(proto, node, rounded, options, inputs, f"int4_{number}")
    after = [new]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if bias is not None:
        if gain is not None and graph.weights.get(bias, np.empty(0)).shape == gain.shape:
            bias = f"int4_{number}_bias"
            proto.initializer.append(numpy_helper.from_array(graph.weights[node.input[2]] + gain, bias))
        new.output[0] = f"{node.output[0]}_int4"
        after.append(helper.make_node("Add", [new.output[0], bias], [node.output[0]]))
    position = next(i for i, other in enumerate(proto.node) if other.output[0] == node.output[0])
    del proto.node[position]
    for offset, one in enumerate(after):
        proto.node.insert(position + offset, one)
    return float(np.square(change).sum()), float(np.square(matrix.rows).sum())


def _node(
    proto: onnx.GraphProto,
    node: onnx.NodeProto,
    rounded: BlockIntegers,
    options: Options,
    inputs: int,
    name: str,
) -> onnx.NodeProto:
    lows, scales = rounded.lows[0], rounded.scales[0]  # (outputs, blocks)
    numbers = rounded.integers[0] - np.repeat(lows, options.block, axis=1)[:, :inputs]  # 0..15
    zeros = -lows
    outputs = len(numbers)
    constants = [f"{node.input[1]}_{name}", f"{name}_scales"]
    packed = pack_blocks(numbers, zeros, options.block)
    proto.initializer.append(numpy_helper.from_array(packed, constants[0]))
    proto.initializer.append(numpy_helper.from_array(scales.astype(np.float32).reshape(-1), constants[1]))
    if not options.symmetric:
        constants.append(f"{name}_zeros")
        proto.initializer.append(numpy_helper.from_array(pack(zeros, HALF).reshape(-1), constants[2]))
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *constants],
        [node.output[0]],
        domain=DOMAIN,
        K=inputs,
        N=outputs,
        bits=BITS,
        block_size=options.block,
        accuracy_level=options.accuracy_level,
    )


def _domain(graph: Graph) -> None:
    if all(entry.domain != DOMAIN for entry in graph.proto.opset_import):
        graph.proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
