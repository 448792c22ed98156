"""Operators that compute each number from the numbers at its own position: functions, sums, products."""

from __future__ import annotations

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import varying
from edgepress_compression.graph.channels.walk import Rule, View, Walk, title

# fmt: off
ONE_INPUT = (
    "Abs", "Acos", "Asin", "Atan", "BitwiseNot", "Cast", "Ceil", "Celu", "Cos", "Cosh", "Dropout",
    "Elu", "Erf", "Exp", "FastGelu", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf",
    "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "QuickGelu", "Reciprocal", "Relu", "Round",
    "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan",
    "Tanh", "ThresholdedRelu",
)
# fmt: on
# fmt: off
SEVERAL_INPUTS = (
    "Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
    "Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor",
)
KEEPS_ZERO = {"Abs", "Cast", "Identity", "Neg", "Relu", "Sign", "Sqrt", "Tanh"}
# fmt: on


def function(walk: Walk, node: onnx.NodeProto) -> None:
    """One input, the same labels. A weight is still followed where zero stays zero."""
    source = node.input[0]
    view = walk.views.get(source) if node.op_type in KEEPS_ZERO else None
    for name in node.input[1:]:  # ratio and training mode of Dropout
        walk.whole_use(name)
    walk.put_plain(node)
    if view is None:
        walk.whole_use(source)
        walk.put(node.output[0], walk.of(source))
    else:
        walk.views[node.output[0]] = View(view.tensor, view.index)
        del walk.values[node.output[0]]


def combination(walk: Walk, node: onnx.NodeProto) -> None:
    """Several inputs that broadcast together: what meets at a position is tied."""
    out = node.output[0]
    rank = len(walk.dims(out))
    names = [name for name in node.input if name]
    sizes = {name: (1,) * (rank - len(walk.dims(name))) + walk.dims(name) for name in names}
    merged, merged_size = np.zeros((1,) * rank, dtype=np.int64), (1,) * rank
    for name in names:
        labels = walk.of(name)
        labels = labels.reshape((1,) * (rank - labels.ndim) + labels.shape)
        if not labels.any():
            continue
        if merged.any():
            merged = _met(walk, node, merged, merged_size, labels, sizes[name])
        else:
            merged = labels
        merged_size = np.broadcast_shapes(merged_size, sizes[name])
    axes = varying(merged)
    for name in names:
        long = {axis for axis in axes if sizes[name][axis] > 1}
        if name in walk.views and long and len(axes) == 1:
            own = axes[0] - (rank - len(walk.dims(name)))
            walk.use(name, {own: merged.reshape(-1)}, {}, node)
            continue
        walk.whole_use(name)
        if long and not walk.of(name).any():
            walk.labels.fix(merged, f"{title(node)} combines them with {name}, which is never cut")
    walk.put(out, merged)


def _met(
    walk: Walk,
    node: onnx.NodeProto,
    one: np.ndarray,
    one_size: tuple[int, ...],
    other: np.ndarray,
    other_size: tuple[int, ...],
) -> np.ndarray:
    """Labels of two inputs, tied. An input that is repeated along an axis of the other's labels must have
    all of its own labels on axes that the other one has, too.
    """
    for labels, against, size in ((one, other, other_size), (other, one, one_size)):
        repeated = any(size[axis] == 1 for axis in varying(labels))
        if repeated and not set(varying(against)) <= set(varying(labels)):
            walk.labels.fix(one, f"{title(node)} repeats one input along the channels of another")
            walk.labels.fix(other, f"{title(node)} repeats one input along the channels of another")
    walk.labels.tie(one, other, f"{title(node)} combines them channel by channel")
    return np.array(np.broadcast_arrays(one, other)[0])


def rounding(walk: Walk, node: onnx.NodeProto) -> None:
    """QuantizeLinear, DequantizeLinear: one scale for all numbers leaves channels apart; more are not
    followed.
    """
    source = node.input[0]
    walk.put_plain(node)
    if all(np.prod(walk.dims(name)) == 1 for name in node.input[1:] if name) and source not in walk.views:
        walk.put(node.output[0], walk.of(source))
    else:
        walk.fix(source, f"{title(node)} has a scale for each channel, which is not followed")
    for name in node.input:
        walk.whole_use(name)


RULES: dict[str, Rule] = {
    **dict.fromkeys(ONE_INPUT, function),
    **dict.fromkeys(SEVERAL_INPUTS, combination),
    "QuantizeLinear": rounding,
    "DequantizeLinear": rounding,
}
