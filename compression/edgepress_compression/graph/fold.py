"""Shape arithmetic on constants, done once at the door.

Exporters write a padding of [0, 1, 1] as ten nodes (Constant, ConstantOfShape, Slice, Transpose, Cast, ...).
Computed here, they neither travel to every device nor hide shapes from whoever counts work or looks for
layers.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_MAX_ELEMENTS = 4096  # of an input or output: shape arithmetic is small, and weights are none of our business
_WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
_FOLDED = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Gather",
        "Identity",
        "Mul",
        "Neg",
        "Range",
        "Reshape",
        "Slice",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)


def fold_shape_arithmetic(proto: onnx.ModelProto) -> None:
    """Replaces nodes that depend on small whole numbers only by initializers, where others need them."""
    graph = proto.graph
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) <= _MAX_ELEMENTS:
            constants[tensor.name] = numpy_helper.to_array(tensor)
    outputs = {info.name for info in graph.output}
    stored = {tensor.name for tensor in graph.initializer}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        value = _value(node, constants, proto) if node.output[0] not in outputs else None
        if value is None:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
        else:
            constants[node.output[0]] = value
    if len(kept) == len(graph.node):
        return
    graph.ClearField("node")
    graph.node.extend(kept)
    needed = {name for node in kept for name in node.input}
    for name, value in constants.items():
        if name in needed and name not in stored:
            graph.initializer.append(numpy_helper.from_array(value, name))
    unused = [tensor for tensor in graph.initializer if tensor.name not in needed | outputs]
    for tensor in unused:
        graph.initializer.remove(tensor)


def _value(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], proto: onnx.ModelProto
) -> np.ndarray | None:
    """The node's only output, when it can be computed and is small."""
    if node.op_type == "Constant":
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if tensor is None or tensor.data_type not in _WHOLE or math.prod(tensor.dims) > _MAX_ELEMENTS:
            return None
        return numpy_helper.to_array(tensor)
    known = all(name == "" or name in constants for name in node.input)
    if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx") or not known:
        return None
    inputs = {name: constants[name] for name in node.input if name}
    if any(array.size > _MAX_ELEMENTS for array in inputs.values()) or _grows(node, constants):
        return None
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    one = helper.make_graph([node], "fold", infos, [onnx.ValueInfoProto(name=node.output[0])])
    model = helper.make_model(one, opset_imports=list(proto.opset_import), ir_version=proto.ir_version)
    try:
        (value,) = ReferenceEvaluator(model).run(None, inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError):
        return None  # a contradiction stays in the model, where onnxruntime will name it
    return np.asarray(value)


def _grows(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether the output may be larger than the inputs together: found out before anything is allocated."""
    if node.op_type == "ConstantOfShape":
        return math.prod(int(n) for n in constants[node.input[0]].reshape(-1)) > _MAX_ELEMENTS
    if node.op_type == "Range":
        start, limit, delta = (float(constants[name].reshape(-1)[0]) for name in node.input)
        return not delta or abs((limit - start) / delta) > _MAX_ELEMENTS
    return False
