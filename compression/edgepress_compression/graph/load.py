"""The door: bytes from a stranger become a checked Graph, or one sentence that says what to do.

What passes: an ONNX file in one piece, operators of the standard set and of com.microsoft in plain dataflow,
finite weights, inputs that are tensors whose only free dimension is the batch (integer inputs may also have a
free length); or a program saved by `torch.export.save`, which is converted to ONNX here. What is changed on
the way: functions are inlined, shape arithmetic on constants is computed, weights become little-endian raw
data, large Constant nodes become initializers, and documentation and tooling metadata are dropped, since
every byte of it would be sent to every device.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, inliner, numpy_helper

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.fold import fold_shape_arithmetic
from edgepress_compression.graph.model import Graph, first_line, is_float

if TYPE_CHECKING:
    import torch

MAX_MODEL_BYTES = 2**31 - 1  # what one protobuf message can hold
MIN_OPSET = 7  # the oldest that onnxruntime promises to run
LIFTED_CONSTANT_BYTES = 256  # a Constant node at least this large is a weight in disguise

_MAGIC = (  # (offset, bytes, what it is and what to do)
    (4, b"TFL3", "a TensorFlow Lite file; convert it to ONNX (for example with tf2onnx) and add that"),
    (0, b"\x89HDF", "an HDF5 (Keras) file; export it to ONNX and add that"),
    (0, b"GGUF", "a GGUF file, which edgepress does not read; export the model to ONNX"),
    (
        0,
        b"\x80",
        "a Python pickle, which is never opened because it can run code; save with torch.export.save",
    ),
    (0, b"\x1f\x8b", "a gzip file; unpack it first"),
    (0, b"{", "a text file and no model; add an .onnx or .pt2 file"),
)


def load_model(source: Path | bytes) -> Graph:
    """Opens an .onnx or .pt2 file, told apart by content. Raises GraphError with what to do about it."""
    data = source if isinstance(source, bytes) else _read_file(source)
    if not data:
        raise GraphError("The model file is empty; add it again.")
    if len(data) > MAX_MODEL_BYTES:
        raise GraphError(f"The model has {len(data):,} bytes; the limit is {MAX_MODEL_BYTES:,} (2 GiB).")
    if data.startswith(b"PK\x03\x04"):
        from edgepress_compression.graph.torch_export import onnx_from_pt2

        return _checked(onnx_from_pt2(data, max_bytes=MAX_MODEL_BYTES))
    for offset, magic, what in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            raise GraphError(f"This is {what}.")
    return _checked(_parse(data))


def from_module(module: torch.nn.Module, example_inputs: tuple[Any, ...]) -> Graph:
    """Exports a PyTorch module to ONNX; the first dimension of every example input becomes the batch.

    Raises GraphError where torch cannot export the module.
    """
    from edgepress_compression.graph.torch_export import onnx_from_module

    return _checked(onnx_from_module(module, example_inputs))


def _read_file(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_MODEL_BYTES:
            raise GraphError(f"{path} has {size_bytes:,} bytes; the limit is {MAX_MODEL_BYTES:,} (2 GiB).")
        return path.read_bytes()
    except OSError as error:
        raise GraphError(f"Cannot read {path}: {error.strerror or error}.") from None


def _parse(data: bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise GraphError(
            "This is not an ONNX file, or it is cut off; check its size and checksum, then add it again."
        ) from None
    if not proto.graph.node or not proto.opset_import:
        raise GraphError("This is not an ONNX model: it holds no operators. Export the model to ONNX again.")
    return proto


def _checked(proto: onnx.ModelProto) -> Graph:
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    _check_operators(proto)
    _check_tensors(proto)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise GraphError(f"The ONNX checker refuses this model: {first_line(error)}.") from None
    fold_shape_arithmetic(proto)
    _normalise(proto)
    _check_values(proto)
    graph = Graph(proto)
    _check_weights(graph)
    return graph


def _check_operators(proto: onnx.ModelProto) -> None:
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        raise GraphError(
            f"The model uses ONNX operator set {opset}; {MIN_OPSET} to {newest} are supported. "
            "Export it again with another opset_version."
        )
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx", "com.microsoft"):
            raise GraphError(
                f"The model uses the operator {node.op_type} of the domain {node.domain}, which onnxruntime "
                "does not "
                "bring along; export the model with standard operators."
            )
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise GraphError(
                    f"The model uses the operator {node.op_type}, whose branches are graphs of their own; "
                    "that is not "
                    "supported. Export the model without control flow (trace it with fixed conditions)."
                )
    if proto.graph.sparse_initializer:
        raise GraphError("The model has sparse initializers; export it with dense ones.")


def _check_tensors(proto: onnx.ModelProto) -> None:
    """Before anything is allocated: is what each tensor claims there?"""
    constants = [a.t for n in proto.graph.node for a in n.attribute if a.HasField("t")]
    for tensor in (*proto.graph.initializer, *constants):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise GraphError(
                f"The weight {tensor.name} is kept in another file (external data); save the model in one "
                "file, "
                "in Python: onnx.save(onnx.load(path), single_path)."
            )
        if any(dim < 0 for dim in tensor.dims):
            raise GraphError(f"The weight {tensor.name} has a negative dimension; the file is damaged.")
        if tensor.data_type == onnx.TensorProto.STRING:
            raise GraphError(f"The weight {tensor.name} holds strings; only numbers are supported.")
        try:
            helper.tensor_dtype_to_np_dtype(tensor.data_type)
            array = numpy_helper.to_array(tensor)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise GraphError(
                f"The weight {tensor.name} does not hold as many numbers as its shape says; the file is "
                "damaged."
            ) from None
        del array


def _normalise(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is not None and numpy_helper.to_array(value).nbytes >= LIFTED_CONSTANT_BYTES:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            continue
        for field in ("doc_string", "metadata_props"):
            node.ClearField(field)
        kept.append(node)
    if len(kept) < len(graph.node):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        graph.ClearField("node")
        graph.node.extend(copies)

    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        plain = numpy_helper.from_array(array, tensor.name)
        tensor.CopyFrom(plain)
    names = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in names]
    if len(inputs) < len(graph.input):  # before IR version 4 every initializer was an input, too
        copies = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in inputs]
        graph.ClearField("input")
        graph.input.extend(copies)
        proto.ir_version = max(proto.ir_version, 4)

    graph.ClearField("value_info")
    for message in (proto, graph, *graph.input, *graph.output):
        for field in ("doc_string", "metadata_props"):
            message.ClearField(field)


def _check_values(proto: onnx.ModelProto) -> None:
    if not proto.graph.input:
        raise GraphError("The model has no inputs; export it with at least one.")
    for info in proto.graph.input:
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise GraphError(f"The input {info.name} has no shape; export the model with example inputs.")
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except KeyError:
            dtype = np.dtype(object)
        if dtype.kind not in "fiub":
            raise GraphError(
                f"The input {info.name} does not hold numbers; only numeric inputs are supported."
            )
        free = [dim.dim_param or "?" for dim in list(tensor.shape.dim)[1:] if not dim.HasField("dim_value")]
        if free and dtype.kind == "f":
            raise GraphError(
                f"The input {info.name} leaves {', '.join(free)} open; only the first dimension, the batch, "
                "may be "
                "free. Export the model with a fixed input size."
            )


def _check_weights(graph: Graph) -> None:
    for name, array in graph.weights.items():
        if is_float(array.dtype) and array.size and not np.isfinite(array).all():
            raise GraphError(f"The weight {name} holds NaN or infinity; train or export the model again.")
