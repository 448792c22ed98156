"""The artifact's byte format, version 1, and the header inside it. Integers are little endian.

::

    offset  width  field
    0       4      magic              89 45 50 41 ("\\x89EPA")
    4       1      format version     1
    5       3      reserved           0
    8       4      head_bytes   u32   stored bytes of the head
    12      4      header_bytes u32   bytes of the JSON in the head; 2 .. 16 MiB
    16      4      crc32        u32   CRC-32 (zlib's) of bytes 0..15 followed by the head
    20      head_bytes                the head: one raw DEFLATE stream of the header JSON, then the skeleton
    ...     stored_bytes each         one section per entry of Header.tensors, in that order, back to back
    end                               nothing may follow

The **skeleton** is the ONNX file with holes: every byte of it that no tensor section holds. Header and
skeleton share one DEFLATE stream because they share the tensors' names. To build the ONNX file, for each
entry copy ``skip`` bytes of the skeleton, then the tensor's own ``math.prod(shape) * itemsize`` bytes; then
copy what is left of the skeleton. The result has ``onnx_bytes`` bytes and the SHA-256 ``onnx_sha256``.

A **section** holds one tensor. With ``codebook`` = 0 it is the payload of the coder ``coding`` alone. With
``codebook`` = k > 0 the tensor is ``values[indices]``: the section is a varint n, then n bytes of the k
values (coder "planes", dtype as the tensor's), then the payload of the symbol coder ``coding`` for the
indices. The coders are drawn at the top of their files in ``codec/``.
"""

import math
import struct
from typing import Any, Final, Literal

import msgspec
import numpy as np

from edgepress_compression.artifact.probe import Probe

MAGIC: Final = b"\x89EPA"  # a byte no text has, so that no transfer takes the file for text
VERSION: Final = 1
PREFIX: Final = struct.Struct("<4sB3sIII")  # magic, version, reserved, head_bytes, header_bytes, crc32
CRC_AT: Final = 16

HEADER_MAX_BYTES: Final = 16 << 20
TENSORS_MAX: Final = 65_536
NAME_MAX_CHARS: Final = 1024
DIMS_MAX: Final = 8
CODEBOOK_MAX: Final = 4096
ONNX_MAX_BYTES: Final = (1 << 31) - 1  # protobuf's own limit
DECODE_MAX_BYTES: Final = 512 << 20  # what decode allows unless told otherwise

DType = Literal[
    "float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "int64"
]


class TensorEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tensor section: a JSON array of these fields in this order."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    coding: str
    codebook: int  # number of values in the codebook, 0 = none
    stored_bytes: int
    crc32: int  # of the stored bytes
    skip: int  # skeleton bytes between the tensor before (or the start) and this one

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the decoded tensor inside the ONNX file."""
        return self.size * storage(self.dtype).itemsize


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an artifact says about itself. JSON, keys sorted, no spaces."""

    name: str  # of the model
    profile: str  # device profile id that it was compressed for
    recipe: dict[str, Any]
    provenance: dict[str, Any]
    metadata: dict[str, Any]  # task, labels, preprocessing; may be empty
    probe: Probe
    onnx_bytes: int
    onnx_sha256: str  # 64 lower-case hex digits
    tensors: tuple[TensorEntry, ...]


def storage(dtype: str) -> np.dtype[Any]:
    """The little-endian numpy type that holds ``dtype``'s bits (bfloat16 has none of its own: uint16)."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
