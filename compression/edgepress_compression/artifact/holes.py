"""Finds where an ONNX file keeps its weights, without onnx or protobuf.

Walks the protobuf wire format (protobuf.dev, "Encoding") along ModelProto.graph (7), GraphProto.initializer
(5) and, for constants in nodes, GraphProto.node (1), NodeProto.attribute (5), AttributeProto.t (5), and
reads TensorProto: dims (1), data_type (2), float_data (4), name (8), raw_data (9). Field numbers from
onnx.proto (ONNX IR 3 and later).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgepress_compression.artifact.format import DIMS_MAX, NAME_MAX_CHARS, DType, storage
from edgepress_compression.errors import ArtifactError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

_DTYPES: Final[
    dict[int, DType]
] = {  # TensorProto.DataType, those whose elements are whole little-endian bytes
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}


@dataclass(frozen=True)
class Hole:
    """A weight tensor's bytes ``start:stop`` inside an ONNX file."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


def find_holes(onnx_model: bytes | memoryview) -> list[Hole]:
    """All tensors with contiguous little-endian data, in the order of their bytes.

    Tensors kept in any other way are left to the skeleton. Raises ArtifactError when the bytes are no
    protobuf.
    """
    view = memoryview(onnx_model)
    holes: list[Hole] = []
    for number, _, start, stop in _fields(view, 0, len(view)):
        if number != 7:
            continue
        for part, _, first, last in _fields(view, start, stop):
            if part == 5:
                holes.extend(_tensor(view, first, last, default_name=""))
            elif part == 1:
                holes.extend(_constant(view, first, last))
    return sorted(holes, key=lambda hole: hole.start)


def _constant(view: memoryview, start: int, stop: int) -> Iterator[Hole]:
    output = ""
    values: list[tuple[int, int]] = []
    is_constant = False
    for number, _, first, last in _fields(view, start, stop):
        if number == 2:
            output = _text(view, first, last)
        elif number == 4:
            is_constant = _text(view, first, last) == "Constant"
        elif number == 5:
            values.extend((f, t) for part, _, f, t in _fields(view, first, last) if part == 5)
    if is_constant:
        for first, last in values:
            yield from _tensor(view, first, last, default_name=output)


def _tensor(view: memoryview, start: int, stop: int, default_name: str) -> Iterator[Hole]:
    shape: list[int] = []
    name, dtype = "", None
    data: list[tuple[int, int]] = []
    for number, wire, first, last in _fields(view, start, stop):
        if number == 1 and wire == _VARINT:
            shape.append(_varint(view, first, last)[0])
        elif number == 1 and wire == _BYTES:  # packed
            at = first
            while at < last:
                side, at = _varint(view, at, last)
                shape.append(side)
        elif number == 2 and wire == _VARINT:
            dtype = _DTYPES.get(_varint(view, first, last)[0])
        elif number == 8:
            name = _text(view, first, last)
        elif number in (4, 9) and wire == _BYTES:  # packed floats have the layout of raw data
            data.append((first, last))
    name = name or default_name
    if dtype is None or len(data) != 1 or not name or len(name) > NAME_MAX_CHARS or len(shape) > DIMS_MAX:
        return
    first, last = data[0]
    if last - first == math.prod(shape) * storage(dtype).itemsize > 0:
        yield Hole(name, dtype, tuple(shape), first, last)


def _text(view: memoryview, start: int, stop: int) -> str:
    return bytes(view[start:stop]).decode("utf-8", "replace")


def _fields(view: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, stop) of each field's value in one message."""
    at = start
    while at < stop:
        key, at = _varint(view, at, stop)
        wire = key & 7
        if wire == _VARINT:
            end = _varint(view, at, stop)[1]
        elif wire == _BYTES:
            length, at = _varint(view, at, stop)
            end = at + length
        elif wire in (_FIXED64, _FIXED32):
            end = at + (8 if wire == _FIXED64 else 4)
        else:
            raise _not_onnx(at)
        if end > stop:
            raise _not_onnx(at)
        yield key >> 3, wire, at, end
        at = end


def _varint(view: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= stop:
            break
        part = view[at]
        at += 1
        value |= (part & 0x7F) << (7 * place)
        if part < 0x80:
            return value, at
    raise _not_onnx(at)


def _not_onnx(at: int) -> ArtifactError:
    return ArtifactError("model", f"these bytes are no ONNX file (byte {at}); give a serialized ONNX model")
