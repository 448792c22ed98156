"""Weights as s8 with one scale for each output channel, biases as s32 with the product of two scales."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.artifact.codes import Codes, ScaledIntegers
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.int8.integers import SMALLEST_SCALE, Integers, short_scale

BIAS_LIMIT = 2**30  # leaves room for the sum of products in the 32-bit accumulator


def weight_axis(node: onnx.NodeProto) -> int:
    """The axis of the output channels in the node's weight."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attributes(node).get("transB", 0)):
        return 0
    return 1


def quantize_weight(weight: np.ndarray, axis: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(s8 integers, float32 scale of each output channel), the scale with the least squared error.

    Symmetric, so that no cross term with the activations' zero point has to be computed for each input.
    """
    limit = 2 ** (bits - 1) - 1
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    largest = np.maximum(np.abs(rows).max(axis=1), SMALLEST_SCALE)
    best_scale, best_error = largest, np.full(len(rows), np.inf)
    for shrink in np.linspace(1.0, 0.7, 31):
        scale = short_scale(largest * shrink / limit).astype(np.float64)
        values = np.clip(np.rint(rows / scale[:, None]), -limit, limit) * scale[:, None]
        error = ((values - rows) ** 2).sum(axis=1)
        better = error < best_error
        best_scale, best_error = np.where(better, scale, best_scale), np.minimum(error, best_error)
    scales = best_scale.astype(np.float32)
    broadcast = [1] * weight.ndim
    broadcast[axis] = -1
    integers = np.clip(np.rint(weight / scales.reshape(broadcast)), -limit, limit).astype(np.int8)
    return integers, scales


def quantize_constants(
    graph: Graph,
    node: onnx.NodeProto,
    form: Integers,
    bits: int,
    channel_mean: np.ndarray | None,
    code: Codes | None = None,
) -> float:
    """Replaces the node's weight and bias by integers and their DequantizeLinear.

    `code` is what an earlier pass made the weight of: channels whose whole numbers fit are kept as they are.
    Says the fraction 0..1 of the channels that were.

    `channel_mean` (C,) of the input corrects the bias for the mean error that rounding the weights makes
    (Nagel et al. 2019, "Data-Free Quantization", section 4.2, with means from calibration).
    """
    weight_name = node.input[1]
    weight = graph.weights[weight_name]
    axis = weight_axis(node)
    limit = 2 ** (bits - 1) - 1
    integers, scales = quantize_weight(weight, axis, bits)
    kept = np.zeros(len(scales), bool)
    if code is not None:
        scales, kept = keep_scales(code, weight, axis, limit, scales)
    broadcast = [1] * weight.ndim
    broadcast[axis] = -1
    integers = np.where(
        kept.reshape(broadcast), np.rint(weight / scales.reshape(broadcast)), integers
    ).astype(np.int8)
    channels = weight.shape[axis]
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = graph.weights[node.input[2]].astype(np.float64) if has_bias else np.zeros(channels)
    rounding = integers * scales.reshape(broadcast).astype(np.float64) - weight
    if channel_mean is not None and node.op_type != "MatMul":
        correction = _mean_shift(node, rounding, axis, channel_mean)
        if correction is not None:
            bias = bias - correction
            has_bias = True
    # An all but empty channel with a large bias would overflow: its weights are 0 at any scale.
    needed = np.abs(bias) / (float(form.scale) * BIAS_LIMIT)
    kept &= scales >= needed
    scales = np.where(scales >= needed, scales, short_scale(needed))
    integers = np.clip(np.rint(weight / scales.reshape(broadcast)), -limit, limit).astype(np.int8)
    weight_dq = _constant_pair(graph, f"{weight_name}.{node.name}", integers, scales, axis)
    node.input[1] = weight_dq[-1].output[0]
    added = weight_dq
    if has_bias and node.op_type != "MatMul":
        bias_scales = (form.scale * scales).astype(np.float32)
        bias_integers = np.rint(bias / bias_scales).astype(np.int32)
        bias_dq = _constant_pair(graph, f"bias.{node.name}", bias_integers, bias_scales, 0)
        if len(node.input) > 2:
            node.input[2] = bias_dq[-1].output[0]
        else:
            node.input.append(bias_dq[-1].output[0])
        added += bias_dq
    proto = graph.proto.graph
    position = next(i for i, other in enumerate(proto.node) if other.name == node.name)
    for offset, new in enumerate(added):
        proto.node.insert(position + offset, new)
    return float(kept.mean())


def keep_scales(
    code: Codes, weight: np.ndarray, axis: int, limit: int, otherwise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(float32 scales of the output channels, which of them are the code's own).

    A channel keeps its whole numbers where they lie in -limit..limit and the weight still is what the code
    says; the others get their scale from `otherwise` (channels,).
    """
    channels = weight.shape[axis]
    if (
        not isinstance(code, ScaledIntegers)
        or code.integers.shape != weight.shape
        or (len(code.scales) > 1 and code.axis != axis)
        or not np.array_equal(code.weights(), weight)
    ):
        return otherwise, np.zeros(channels, bool)
    largest = np.abs(np.moveaxis(code.integers, axis, 0).reshape(channels, -1)).max(axis=1)
    theirs = np.broadcast_to(code.scales, (channels,))
    kept = (largest <= limit) & (theirs > 0)
    return np.where(kept, theirs, otherwise).astype(np.float32), kept


def _mean_shift(
    node: onnx.NodeProto, rounding: np.ndarray, axis: int, channel_mean: np.ndarray
) -> np.ndarray | None:
    """(out,) mean error of the output that the weights' rounding error causes; zero padding is left out
    of account."""
    if node.op_type == "Gemm":
        inner = rounding if axis == 0 else rounding.T  # (out, in)
        return inner @ channel_mean if inner.shape[1] == len(channel_mean) else None
    groups = int(attributes(node).get("group", 1))  # type: ignore[call-overload]
    per_channel = rounding.reshape(rounding.shape[0], rounding.shape[1], -1).sum(axis=2)  # (out, in / groups)
    if per_channel.shape[1] * groups != len(channel_mean):
        return None
    means = channel_mean.reshape(groups, -1).repeat(rounding.shape[0] // groups, axis=0)  # (out, in / groups)
    shift: np.ndarray = (per_channel * means).sum(axis=1)
    return shift


def _constant_pair(
    graph: Graph, name: str, integers: np.ndarray, scales: np.ndarray, axis: int
) -> list[onnx.NodeProto]:
    initializers = graph.proto.graph.initializer
    zero = f"zeros_{integers.dtype}_{len(scales)}"
    if all(tensor.name != zero for tensor in initializers):
        initializers.append(numpy_helper.from_array(np.zeros(scales.shape, dtype=integers.dtype), zero))
    initializers.append(numpy_helper.from_array(integers, f"{name}_q"))
    initializers.append(numpy_helper.from_array(scales, f"{name}_scale"))
    node = helper.make_node(
        "DequantizeLinear",
        [f"{name}_q", f"{name}_scale", zero],
        [f"{name}_dq"],
        name=f"{name}_DQ",
        axis=axis,
    )
    return [node]
