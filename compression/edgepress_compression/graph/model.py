"""A checked ONNX model whose weights can be read and replaced by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.errors import GraphError

BATCH = "N"  # the name that a free first dimension of an input or output has
_WEIGHT_SLOTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
_PASS_THROUGH = {"Identity", "Transpose"}  # nodes that an exporter leaves between a weight and its user


@dataclass(frozen=True)
class Value:
    """An input or output of the model. A free dimension is a string, `BATCH` where it counts the samples."""

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[np.generic]


class Graph:
    """An ONNX model that holds what `load_model` promises: every initializer is little-endian `raw_data`, no
    initializer is an input, no external data, no functions and no subgraphs.

    Weights are read-only arrays; replace one with `set_weight`. Passes that add or remove nodes edit `proto`
    and then call `refresh`.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.refresh()

    def refresh(self) -> None:
        """Reads the tables again after `proto` was edited."""
        self._tensors = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        self._weights = {name: _read(tensor) for name, tensor in self._tensors.items()}

    @property
    def name(self) -> str:
        return str(self.proto.graph.name) or "model"

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return max(int(o.version) for o in self.proto.opset_import if o.domain in ("", "ai.onnx"))

    @property
    def inputs(self) -> tuple[Value, ...]:
        return tuple(_value(info) for info in self.proto.graph.input)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return tuple(_value(info) for info in self.proto.graph.output)

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Every initializer by name, read-only, in the order of the file."""
        return MappingProxyType(self._weights)

    def set_weight(self, name: str, array: np.ndarray) -> None:
        """Replaces the initializer `name`; its shape may change, its dtype may not.

        KeyError if there is none.
        """
        tensor = self._tensors[name]
        old = self._weights[name]
        if array.dtype != old.dtype:
            raise ValueError(f"{name}: expected {old.dtype}, got {array.dtype}")
        tensor.raw_data = (
            np.ascontiguousarray(array).astype(old.dtype.newbyteorder("<"), copy=False).tobytes()
        )
        tensor.ClearField("dims")
        tensor.dims.extend(array.shape)
        self._weights[name] = _read(tensor)

    def float_weights(self) -> dict[str, np.ndarray]:
        """The initializers of a floating type."""
        return {name: array for name, array in self._weights.items() if is_float(array.dtype)}

    def weight_bytes(self) -> int:
        """Bytes of all float initializers if each number takes 4 (fp32), whatever they are stored as."""
        return 4 * sum(array.size for array in self.float_weights().values())

    def users(self) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
        """Value name -> the (node, input position) pairs that read it."""
        users: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.proto.graph.node:
            for position, name in enumerate(node.input):
                if name:
                    users.setdefault(name, []).append((node, position))
        return users

    def prunable(self) -> list[str]:
        """Names of the float initializers that multiply activations: convolution and matrix weights, in file
        order.
        """
        users = self.users()
        return [
            name
            for name, array in self.float_weights().items()
            if array.ndim >= 2 and self._multiplies(name, users)
        ]

    def _multiplies(self, name: str, users: Mapping[str, list[tuple[onnx.NodeProto, int]]]) -> bool:
        for node, position in users.get(name, []):
            if position in _WEIGHT_SLOTS.get(node.op_type, ()):
                return True
            if node.op_type in _PASS_THROUGH and self._multiplies(node.output[0], users):
                return True
        return False

    def macs(self) -> int | None:
        """Multiply-accumulates of one sample (batch 1;

        free lengths 64), or None where shapes are not known.
        """
        shapes = self.shapes()
        if any(name and name not in shapes for node in self.proto.graph.node for name in node.output):
            from edgepress_compression.graph.run_shapes import run_shapes  # which reads graphs itself

            try:
                shapes |= run_shapes(self)
            except GraphError:
                return None
        total = 0
        for node in self.proto.graph.node:
            count = _node_macs(node, shapes)
            if count is None:
                return None
            total += count
        return total

    def shapes(self, *, batch: int = 1, length: int = 64) -> dict[str, tuple[int, ...]]:
        """Shapes of the values that ONNX shape inference can tell, with `batch` samples and free lengths
        `length`.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for info in proto.graph.input:
            for position, dim in enumerate(info.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    dim.dim_value = batch if position == 0 else length
        for info in proto.graph.output:
            info.type.tensor_type.ClearField("shape")
        try:
            proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            raise GraphError(f"The model's shapes contradict each other: {first_line(error)}.") from None
        shapes = {name: array.shape for name, array in self._weights.items()}
        for info in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
            tensor = info.type.tensor_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                shapes[info.name] = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
        return shapes

    def serialize(self) -> bytes:
        """The ONNX file. The same graph gives the same bytes."""
        return bytes(self.proto.SerializeToString(deterministic=True))

    def copy(self) -> Graph:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return Graph(proto)


def is_float(dtype: np.dtype[np.generic]) -> bool:
    """True for float16, float32 and float64."""
    return bool(np.issubdtype(dtype, np.floating))


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """The node's attributes as Python values (tensors as arrays, strings as str)."""
    found: dict[str, object] = {}
    for attribute in node.attribute:
        value: object = helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        found[attribute.name] = value
    return found


def first_line(error: BaseException) -> str:
    """What an ONNX error says, without the context that follows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _read(tensor: onnx.TensorProto) -> np.ndarray:
    array = numpy_helper.to_array(tensor)
    array.flags.writeable = False
    return array


def _value(info: onnx.ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    shape: list[int | str] = []
    for position, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(int(dim.dim_value))
        else:
            shape.append(BATCH if position == 0 else str(dim.dim_param) or f"d{position}")
    return Value(info.name, tuple(shape), np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _node_macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Multiply-accumulates of one node; 0 for what is no matrix product, None for unknown shapes."""
    if node.op_type not in _WEIGHT_SLOTS:
        return 0
    known: Iterable[str] = (*node.input[:2], node.output[0])
    if node.op_type == "Gemm" and node.input[0] not in shapes and node.input[1] in shapes:
        return math.prod(shapes[node.input[1]])  # flattened by batch arithmetic: a row a sample
    if any(name not in shapes for name in known):
        return None
    first, second, out = (shapes[name] for name in known)
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    inner = first[-1]
    if node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute):
        inner = first[0]
    return math.prod(out) * inner
