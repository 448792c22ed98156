"""Protocol buffers, as far as writing messages goes: each function gives the bytes of one field.

A message is the concatenation of its fields; so a nested one is ``message(3, field + field)``.

::

    key     varint: field number << 3 | wire type
    type 0  varint   7 bits a byte, lowest first, the high bit says that more follow
    type 1  8 bytes  little endian
    type 2  varint length, then so many bytes: text, messages, packed numbers

Only writing: what comes from outside is read where a format needs it (`otlp_answer`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_MASK = (1 << 64) - 1


def varint(value: int) -> bytes:
    """0 <= value < 2**64."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Small numbers of either sign as small ones without: 0, -1, 1, -2 -> 0, 1, 2, 3."""
    return (value << 1) & _MASK if value >= 0 else (-value << 1) - 1


def unsigned(field: int, value: int) -> bytes:
    """uint32, uint64, enum, bool."""
    return varint(field << 3 | _VARINT) + varint(value)


def signed(field: int, value: int) -> bytes:
    """sint32, sint64."""
    return unsigned(field, zigzag(value))


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED64) + struct.pack("<Q", value)


def signed_fixed64(field: int, value: int) -> bytes:
    """sfixed64."""
    return varint(field << 3 | _FIXED64) + struct.pack("<q", value)


def message(field: int, body: bytes) -> bytes:
    return varint(field << 3 | _BYTES) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode("utf-8"))


def packed_signed(field: int, values: Iterable[int]) -> bytes:
    """repeated sint32, sint64."""
    return message(field, b"".join(varint(zigzag(value)) for value in values))


def packed_unsigned(field: int, values: Iterable[int]) -> bytes:
    """repeated uint32, uint64."""
    return message(field, b"".join(varint(value) for value in values))
