"""The artifact's byte format, version 2, and the header inside it. Integers are little endian.

::

    offset  width  field
    0       4      magic               89 45 50 41 ("\\x89EPA")
    4       1      format version      2
    5       1      head coding         0 = DEFLATE, 1 = text (codec/text.py)
    6       4      crc32         u32   CRC-32 (zlib's) of bytes 0..5, then of byte 10 to the end of the head
    10      1..5   head_bytes          varint: stored bytes of the head
            1..5   header_bytes        varint: bytes of the JSON in the head; 2 .. 16 MiB
            1..5   skeleton_bytes      varint: bytes of the skeleton in the head
            head_bytes                 the head: header JSON and skeleton together, coded as one
    ...     stored_bytes each          one section per entry of Header.tensors, in that order, back to back
    end                                nothing may follow

The **skeleton** is the ONNX file with holes: every byte of it that no tensor section holds. Header and
skeleton are coded together because they share the tensors' names. To build the ONNX file, for each entry copy
``skip`` bytes of the skeleton, then the tensor's own ``math.prod(shape) * itemsize`` bytes; then copy what is
left of the skeleton. The result has ``onnx_bytes`` bytes and the SHA-256 ``onnx_sha256``.

A **section** holds one tensor: a body, and the low 2 bytes of its CRC-32. What a body holds, section.py
draws. A file with ``base`` in its header is a **delta**: its sections may refer to the ONNX file of that
SHA-256 (delta.py).

Version 1 is drawn in version1.py.
"""

import math
from typing import Any, Final, Literal

import msgspec
import numpy as np

from edgepress_compression.artifact.probe import Probe

MAGIC: Final = b"\x89EPA"  # a byte no text has, so that no transfer takes the file for text
VERSION: Final = 2
CRC_AT: Final = 6
LENGTHS_AT: Final = 10
START_BYTES: Final = 25  # enough to know where the head ends; every artifact is longer
HEAD_DEFLATE: Final = 0
HEAD_TEXT: Final = 1

HEADER_MAX_BYTES: Final = 16 << 20
TENSORS_MAX: Final = 65_536
NAME_MAX_CHARS: Final = 1024
DIMS_MAX: Final = 8
LEVELS_MAX: Final = 4096  # values of a codebook, or whole numbers from the lowest to the highest
INTEGER_MAX: Final = 1 << 23  # exact in float32, with room
ONNX_MAX_BYTES: Final = (1 << 31) - 1  # protobuf's own limit
DECODE_MAX_BYTES: Final = 512 << 20  # what decode allows unless told otherwise
SIDE_CODERS: Final = ("raw", "deflate", "planes", "floats")  # byte coders of codebooks and scales, by number
SIDE_OF_BASE: Final = 7  # the codebook is the base's

DType = Literal[
    "float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "int64"
]
SAME: Final = "same"  # codings of a delta (delta.py)
DIFFERENCE: Final = "difference"
PER_INDEX: Final = 1  # one scale for each index of the axis, not one for all
TRELLIS: Final = 2  # the whole numbers are those of codec/trellis.py, not the symbols themselves
Form = Literal["bytes", "symbols", "codebook", "integers"]


class Grid(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Symbols that stand for whole numbers: symbol s is ``lowest + s``, times a scale."""

    lowest: int
    count: int  # of whole numbers, the alphabet
    axis: int  # along which scales differ, and trellises run
    flags: int  # PER_INDEX, TRELLIS


class TensorEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tensor section: a JSON array of these fields in this order."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    coding: str
    values: int | Grid  # what symbols stand for: 0 = nothing else, k = a codebook of k values, or a grid
    stored_bytes: int
    skip: int  # skeleton bytes between the tensor before (or the start) and this one

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the decoded tensor inside the ONNX file."""
        return self.size * storage(self.dtype).itemsize

    @property
    def scales(self) -> int:
        """How many scales the section holds."""
        if not isinstance(self.values, Grid):
            return 0
        return self.shape[self.values.axis] if self.values.flags & PER_INDEX else 1


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ONNX file that a delta needs."""

    onnx_bytes: int
    onnx_sha256: str


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
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
    base: Base | None = None  # left out in a whole artifact
    baseline: dict[str, Any] | None = None  # what drift is measured against (baseline.py), where there is one


def storage(dtype: str) -> np.dtype[Any]:
    """The little-endian numpy type that holds ``dtype``'s bits (bfloat16 has none of its own: uint16)."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def is_float(dtype: str) -> bool:
    """Whether the bytes of ``dtype`` are a sign, an exponent and a fraction."""
    return dtype in ("float16", "float32", "float64", "bfloat16")
