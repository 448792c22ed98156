"""Writes small ONNX files without the onnx package: agents have none, and must not need one.

Only what the calibration nets use. Field numbers are those of onnx.proto (ONNX IR version 8); the wire format
is Protocol Buffers': a varint key (field << 3 | type), then a varint (type 0), 4 bytes (type 5), or a length
and as many bytes (type 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

FLOAT: Final = 1
UINT8: Final = 2
INT8: Final = 3
INT32: Final = 6
INT64: Final = 7
_ITEM_BYTES: Final = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8}
_FLOAT_ATTRIBUTE, _INT_ATTRIBUTE, _STRING_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 2, 3, 7
IR_VERSION: Final = 8
OPSET: Final = 17

Attribute = int | float | str | tuple[int, ...]


def node(
    op_type: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    attributes: Mapping[str, Attribute] | None = None,
    domain: str = "",
) -> bytes:
    """A NodeProto, named after its first output."""
    made = list(outputs)
    body = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in made)
    body += _text(3, made[0]) + _text(4, op_type)
    for name, value in (attributes or {}).items():
        body += _bytes(5, _attribute(name, value))
    return body + (_text(7, domain) if domain else b"")


def tensor(name: str, dims: tuple[int, ...], data_type: int, raw: bytes) -> bytes:
    """A TensorProto. ``raw``: little-endian items, row by row."""
    count = 1
    for side in dims:
        count *= side
    if len(raw) != count * _ITEM_BYTES[data_type]:
        raise ValueError(f"{name} of shape {dims} is not {len(raw)} bytes")
    return b"".join(_int(1, side) for side in dims) + _int(2, data_type) + _text(8, name) + _bytes(9, raw)


def value(name: str, dims: tuple[int, ...], data_type: int) -> bytes:
    """A ValueInfoProto of fixed shape."""
    shape = b"".join(_bytes(1, _int(1, side)) for side in dims)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, data_type) + _bytes(2, shape)))


def model(
    name: str,
    *,
    nodes: Iterable[bytes],
    tensors: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
) -> bytes:
    """A ModelProto: a whole file."""
    graph = b"".join(_bytes(1, one) for one in nodes) + _text(2, name)
    graph += b"".join(_bytes(5, one) for one in tensors)
    graph += b"".join(_bytes(11, one) for one in inputs) + b"".join(_bytes(12, one) for one in outputs)
    opset = _text(1, "") + _int(2, OPSET)
    return _int(1, IR_VERSION) + _bytes(8, opset) + _bytes(7, graph)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, str):
        return _text(1, name) + _bytes(4, value.encode()) + _int(20, _STRING_ATTRIBUTE)
    if isinstance(value, float):
        return _text(1, name) + _key(2, 5) + struct.pack("<f", value) + _int(20, _FLOAT_ATTRIBUTE)
    if isinstance(value, int):
        return _text(1, name) + _int(3, value) + _int(20, _INT_ATTRIBUTE)
    return _text(1, name) + b"".join(_int(8, one) for one in value) + _int(20, _INTS_ATTRIBUTE)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers as two's complement of 64 bits
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _int(field: int, number: int) -> bytes:
    return _key(field, 0) + _varint(number)


def _bytes(field: int, payload: bytes) -> bytes:
    return _key(field, 2) + _varint(len(payload)) + payload


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
