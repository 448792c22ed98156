"""Byte planes: the tensor's bytes sorted by their place in the element, each plane raw or Huffman coded.

Exponents of weights lie close together and compress; fraction bits hardly do. payload::

    byte  form    0: the element's bytes as they are
                  1: each element's bits rotated left by one: the sign no longer splits the exponent's byte
                  2: float32 elements that are exact in float16, stored as float16, rotated as in form 1
    per plane, low byte first:
      byte  mode  0: one byte an element follows; 1: a stream of symbols < 256 follows (drawn in lanes.py)
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bytestream import ByteReader, CodecError
from edgepress_compression.codec.lanes import decode_stream, encode_stream

_PLAIN: Final = 0
_ROTATED: Final = 1
_HALF: Final = 2


class Planes:
    """See the module."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        elements = np.frombuffer(data, f"<u{itemsize}")
        form = _ROTATED if is_float else _PLAIN
        if is_float and itemsize == 4:
            half = as_half(elements)
            if half is not None:
                form, itemsize, elements = _HALF, 2, half
        if form != _PLAIN:
            elements = elements << 1 | elements >> (8 * itemsize - 1)
        planes = elements.view(np.uint8).reshape(-1, itemsize)
        parts = [bytes([form])]
        for place in range(itemsize):
            raw = planes[:, place].tobytes()
            coded = encode_stream(planes[:, place])
            parts.append(b"\1" + coded if len(coded) < len(raw) else b"\0" + raw)
        return b"".join(parts)

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        reader = ByteReader(payload)
        form = reader.varint(_HALF)
        if form == _HALF and not (is_float and itemsize == 4):
            raise CodecError("float16 is stored for a tensor that is not float32")
        width = 2 if form == _HALF else itemsize
        count = size_bytes // itemsize
        planes = np.empty((count, width), np.uint8)
        for place in range(width):
            if reader.varint(1):
                planes[:, place] = decode_stream(reader, count, 256)
            else:
                planes[:, place] = np.frombuffer(reader.take(count), np.uint8)
        reader.end()
        elements = planes.view(f"<u{width}").reshape(-1)
        if form != _PLAIN:
            elements = elements >> 1 | elements << (8 * width - 1)
        if form == _HALF:
            return elements.view("<f2").astype("<f4").tobytes()
        return elements.tobytes()


def as_half(bits: NDArray[Any]) -> NDArray[Any] | None:
    """float32 bits as float16 bits, or None unless every one comes back exactly."""
    values = bits.view("<f4")
    # NaN is left out because what a conversion does to its payload differs between processors.
    if not np.isfinite(values).all() or (np.abs(values) > np.finfo(np.float16).max).any():
        return None
    half = values.astype("<f2")
    return half.view("<u2") if np.array_equal(half.astype("<f4").view("<u4"), bits) else None
