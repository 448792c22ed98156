"""Work and traffic of one node of onnxruntime's optimized graph, from its attributes and shapes.

Operators beyond the ONNX standard are described in onnxruntime's docs/ContribOperators.md (QLinearAdd,
QLinearConcat, FusedConv, MatMulNBits ...); those of the domain com.microsoft.nchwc hold channels in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import onnx

from edgepress_devices.operator import CONVOLUTIONS, PRODUCTS, KernelLayout, NumberType, Operator

TYPE_NAMES: Final = {
    onnx.TensorProto.FLOAT: "float", onnx.TensorProto.DOUBLE: "double", onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.INT64: "int64", onnx.TensorProto.INT32: "int32", onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT64: "uint64", onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT16: "uint16", onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.STRING: "string", onnx.TensorProto.INT4: "int4", onnx.TensorProto.UINT4: "int4",
    onnx.TensorProto.BFLOAT16: "bfloat16",
}  # fmt: skip
_BYTES: Final[dict[str, float]] = {
    "float": 4, "float32": 4, "double": 8, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "uint64": 8,
    "int32": 4, "uint32": 4, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1, "int4": 0.5,
    "string": 16,
}  # fmt: skip
_VIEWS: Final = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "Size"}
)
_READS_WHAT_IT_GIVES: Final = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Expand", "Tile"})
_MOVES: Final = frozenset(
    {"Transpose", "Concat", "QLinearConcat", "Split", "Pad", "Resize", "Upsample", "Where", "DepthToSpace"}
) | {
    "SpaceToDepth",
    "ReorderInput",
    "ReorderOutput",
    "Cast",
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearWhere",
}
_INTEGER_PRODUCTS: Final = frozenset(
    {"QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger"}
)
_WEIGHT_INPUT: Final = {"QLinearConv": 3}  # 1 for every other convolution


class Tensor(NamedTuple):
    shape: tuple[int, ...]
    type: str  # as onnxruntime's profile says it: "float", "uint8"

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return math.ceil(self.numbers * _BYTES.get(self.type, 4))


@dataclass(frozen=True)
class _Product:
    macs: int
    depth: int
    columns: int
    rows: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1


def operator_of(
    node: onnx.NodeProto, values: Mapping[str, Tensor], constants: Mapping[str, Tensor]
) -> Operator:
    """`values` and `constants` hold every input and output of the node that there is."""
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    out = values[node.output[0]] if node.output and node.output[0] in values else Tensor((), "float")
    weight_bytes = sum(constants[name].size_bytes for name in node.input if name in constants)
    read_bytes = sum(values[name].size_bytes for name in node.input if name in values)
    written_bytes = sum(values[name].size_bytes for name in node.output if name in values)
    product = _product(node, attributes, out, values, constants)
    kernel, stride = _window(attributes)
    if node.op_type in _VIEWS:
        weight_bytes = read_bytes = written_bytes = 0
    elif node.op_type in _READS_WHAT_IT_GIVES:
        weight_bytes, read_bytes = 0, min(written_bytes, read_bytes + weight_bytes)
    flops = 0
    if product is not None:
        flops = 2 * product.macs
    elif "Pool" in node.op_type and kernel > 1:
        flops = out.numbers * kernel
    elif node.op_type not in _VIEWS | _MOVES | _READS_WHAT_IT_GIVES:
        flops = max([out.numbers, *(values[name].numbers for name in node.input if name in values)])
    shape = product or _Product(0, 0, _together(node, attributes, out), 0, kernel, stride)
    return Operator(
        name=node.name,
        op_type=node.op_type,
        dtype=_dtype(node, out, values),
        macs=shape.macs,
        flops=flops,
        weight_bytes=weight_bytes,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        depth=shape.depth,
        columns=shape.columns,
        rows=shape.rows,
        kernel=shape.kernel,
        stride=shape.stride,
        groups=shape.groups,
        layout=_layout(node, attributes),
    )


def _product(
    node: onnx.NodeProto,
    attributes: Mapping[str, object],
    out: Tensor,
    values: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
) -> _Product | None:
    if node.op_type in CONVOLUTIONS:
        name = node.input[_WEIGHT_INPUT.get(node.op_type, 1)]
        weight = constants.get(name) or values[name]
        groups = _int(attributes.get("group"), 1)
        window = math.prod(weight.shape[2:])
        _, stride = _window(attributes)
        if node.op_type == "ConvTranspose":  # weight (in, out / group, *kernel)
            macs = values[node.input[0]].numbers * math.prod(weight.shape[1:])
            depth = weight.shape[0] // groups * window
            return _Product(macs, depth, out.shape[1], math.prod(out.shape[2:]), window, stride, groups)
        last = _int(attributes.get("channels_last"), 0) == 1 or node.domain == "com.ms.internal.nhwc"
        columns = out.shape[-1] if last else out.shape[1]
        places = out.shape[1:-1] if last else out.shape[2:]
        depth = weight.shape[1] * window
        # The weight's own count of filters: blocks of channels are filled up with zeros, and computed.
        filters = max(columns, weight.shape[0])
        macs = out.shape[0] * filters * math.prod(places) * depth
        return _Product(macs, depth, columns, math.prod(places), window, stride, groups)
    if node.op_type in PRODUCTS:
        first = values.get(node.input[0]) or constants[node.input[0]]
        transposed = _int(attributes.get("transA"), 0) == 1
        depth = first.shape[-2 if transposed else -1]
        return _Product(
            out.numbers * depth, depth, out.shape[-1] if out.shape else 1, math.prod(out.shape[:-1])
        )
    return None


def _together(node: onnx.NodeProto, attributes: Mapping[str, object], out: Tensor) -> int:
    """How many numbers of an output stay next to each other: what copying, or reducing an axis, goes by."""
    if not out.shape:
        return 1
    axis = _int(attributes.get("axis"), 0 if node.op_type == "Gather" else -1)
    if node.op_type == "Transpose":
        order = attributes.get("perm")
        stay = len(out.shape)
        while isinstance(order, list) and stay > 0 and order[stay - 1] == stay - 1:
            stay -= 1
        return math.prod(out.shape[stay:])
    if node.op_type in ("Concat", "QLinearConcat", "Split"):
        return math.prod(out.shape[axis:])
    if node.op_type == "Gather":
        return math.prod(out.shape[axis + 1 :]) if axis >= 0 else 1
    if node.op_type == "Softmax":
        return out.shape[-1] if axis in (-1, len(out.shape) - 1) else 1
    return out.shape[-1]


def _window(attributes: Mapping[str, object]) -> tuple[int, int]:
    """(places that it looks at, step)"""
    sides, strides = attributes.get("kernel_shape"), attributes.get("strides")
    kernel = math.prod(sides) if isinstance(sides, list) else 1
    return kernel, strides[0] if isinstance(strides, list) and strides else 1


def _dtype(node: onnx.NodeProto, out: Tensor, values: Mapping[str, Tensor]) -> NumberType:
    types = {values[name].type for name in node.input if name in values} | {out.type}
    if node.op_type == "MatMulNBits":
        return "int4"
    if node.op_type in _INTEGER_PRODUCTS or node.op_type.startswith("QLinear") or types & {"int8", "uint8"}:
        return "int8"
    return "fp16" if "float16" in types else "fp32"


def _layout(node: onnx.NodeProto, attributes: Mapping[str, object]) -> KernelLayout:
    if node.domain == "com.microsoft.nchwc":
        return "nchwc"
    if _int(attributes.get("channels_last"), 0) == 1 or node.domain == "com.ms.internal.nhwc":
        return "nhwc"
    return "nchw" if node.op_type in CONVOLUTIONS or "Pool" in node.op_type else ""


def _int(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
