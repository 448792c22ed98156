"""Version 1 of the artifact, which is read for ever and written no more. Integers are little endian.

::

    offset  width  field
    0       4      magic              89 45 50 41
    4       1      format version     1
    5       3      reserved           0
    8       4      head_bytes   u32   stored bytes of the head
    12      4      header_bytes u32   bytes of the JSON in the head; 2 .. 16 MiB
    16      4      crc32        u32   CRC-32 of bytes 0..15 followed by the head
    20      head_bytes                one raw DEFLATE stream of the header JSON, then the skeleton
    ...     stored_bytes each         one section per entry, back to back

An entry is the array [name, dtype, shape, coding, codebook, stored_bytes, crc32, skip], crc32 of the stored
bytes. A section of a byte coder is its payload, whatever its size; one of symbols with a codebook of k > 0
values is a varint n, n bytes of the values (coder planes), and the payload. The rest is as in version 2.
"""

import struct
from typing import Any, Final

import msgspec

from edgepress_compression.artifact.format import DType, Header, TensorEntry, is_float, storage
from edgepress_compression.artifact.probe import Probe
from edgepress_compression.artifact.section import decode_symbols
from edgepress_compression.codec.bytestream import ByteReader
from edgepress_compression.codec.registry import BYTE_CODERS

VERSION: Final = 1
PREFIX: Final = struct.Struct("<4sB3sIII")  # magic, version, reserved, head_bytes, header_bytes, crc32
CRC_AT: Final = 16
CODINGS: Final = ("raw", "deflate", "planes", "huffman", "gaps")


class Entry1(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tensor section as version 1 lists it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    coding: str
    codebook: int
    stored_bytes: int
    crc32: int
    skip: int


class Header1(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Version 1's header."""

    name: str
    profile: str
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    metadata: dict[str, Any]
    probe: Probe
    onnx_bytes: int
    onnx_sha256: str
    tensors: tuple[Entry1, ...]


def current(header: Header1) -> tuple[Header, tuple[int, ...]]:
    """As today's header, and the checksum of each section."""
    entries = tuple(
        TensorEntry(e.name, e.dtype, e.shape, e.coding, e.codebook, e.stored_bytes, e.skip)
        for e in header.tensors
    )
    fields = {name: getattr(header, name) for name in Header1.__struct_fields__ if name != "tensors"}
    return Header(**fields, tensors=entries), tuple(entry.crc32 for entry in header.tensors)


def decode_body1(entry: TensorEntry, body: memoryview, region: memoryview) -> None:
    """Fill ``region``, the tensor's bytes. Raises CodecError."""
    itemsize, signed = storage(entry.dtype).itemsize, is_float(entry.dtype)
    if entry.coding in BYTE_CODERS:
        region[:] = BYTE_CODERS[entry.coding].decode(body, len(region), itemsize, signed)
        return
    side, payload = split_body1(entry, body)
    decode_symbols(entry, side, payload, region)


def split_body1(entry: TensorEntry, body: memoryview) -> tuple[bytes, memoryview]:
    """(bytes of the codebook, payload) of a section of symbols. Raises CodecError."""
    if not isinstance(entry.values, int) or entry.values == 0:
        return b"", body
    reader = ByteReader(body)
    stored = reader.take(reader.varint(len(body)))
    itemsize = storage(entry.dtype).itemsize
    side = BYTE_CODERS["planes"].decode(stored, entry.values * itemsize, itemsize, is_float(entry.dtype))
    return side, reader.rest()
