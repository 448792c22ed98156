"""Where an artifact's bytes went: header, skeleton, and each tensor from its elements to what is stored."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.format import DECODE_MAX_BYTES, Form, Grid, TensorEntry, storage
from edgepress_compression.artifact.head import Head, header_stored_bytes
from edgepress_compression.artifact.read import (
    check_size,
    checked_body,
    decode_section,
    open_base,
    open_whole,
    section_symbols,
    sections,
)
from edgepress_compression.artifact.values import alphabet
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.errors import ArtifactError


@dataclass(frozen=True)
class TensorBytes:
    """Where bytes of an artifact went: one row a part. Absent is None.

    A tensor's way: ``raw_bytes`` in the ONNX file, ``nonzero_bytes`` for those elements that are not zero,
    ``entropy_bytes`` for its symbols at their zero-order entropy, and ``stored_bytes``, of which
    ``side_bytes`` are codebook or scales, lengths and checksum.
    """

    name: str
    part: Literal["header", "skeleton", "tensor"]
    dtype: str | None
    shape: tuple[int, ...]
    coding: str
    form: Form | None
    raw_bytes: int  # in the ONNX file; 0 for the header
    stored_bytes: int  # in the artifact
    side_bytes: int  # of the stored bytes
    values: int | None = None  # size of the alphabet of symbols
    nonzero: int | None = None  # elements
    nonzero_bytes: int | None = None
    entropy_bytes: int | None = None


def sizes(
    data: bytes, *, max_bytes: int = DECODE_MAX_BYTES, base: bytes | memoryview | None = None
) -> list[TensorBytes]:
    """Where the bytes went: header, skeleton, then each tensor; the stored bytes add up to the file.

    Decodes every tensor of a model of at most ``max_bytes``; a delta needs its ``base``. Raises
    ArtifactError.
    """
    head = open_whole(data)
    check_size(head.header, max_bytes)
    opened = open_base(head, base)
    # Header and skeleton are coded together: the header's part is what it takes alone.
    header_stored = min(header_stored_bytes(head), head.sections_at)
    coding = head.coding
    rows = [
        TensorBytes("", "header", None, (), coding, None, 0, header_stored, 0),
        TensorBytes(
            "", "skeleton", None, (), coding, None, head.skeleton_bytes, head.sections_at - header_stored, 0
        ),
    ]
    for number, (entry, section) in enumerate(sections(data, head)):
        try:
            rows.append(_row(head, number, entry, section, opened))
        except CodecError as error:
            raise ArtifactError(f"tensor '{entry.name}'", str(error)) from error
    return rows


def _row(head: Head, number: int, entry: TensorEntry, section: memoryview, base: Base | None) -> TensorBytes:
    body = checked_body(head, number, section)
    region = memoryview(bytearray(entry.size_bytes))
    decode_section(head, entry, body, region, base)
    nonzero = _nonzero(entry, region)
    payload, entropy_bytes = _payload(head, entry, body, base)
    form: Form = "bytes"
    if entropy_bytes is not None:
        form = "integers" if isinstance(entry.values, Grid) else "codebook" if entry.values else "symbols"
    return TensorBytes(
        name=entry.name,
        part="tensor",
        dtype=entry.dtype,
        shape=entry.shape,
        coding=entry.coding,
        form=form,
        raw_bytes=entry.size_bytes,
        stored_bytes=len(section),
        side_bytes=len(section) - payload,
        values=None if form == "bytes" else alphabet(entry),
        nonzero=nonzero,
        nonzero_bytes=nonzero * storage(entry.dtype).itemsize,
        entropy_bytes=entropy_bytes,
    )


def _nonzero(entry: TensorEntry, region: memoryview) -> int:
    elements = np.frombuffer(region, storage(entry.dtype))
    if entry.dtype == "bfloat16":
        elements = elements & 0x7FFF  # -0.0 is zero, too
    return int(np.count_nonzero(elements))


def _payload(head: Head, entry: TensorEntry, body: memoryview, base: Base | None) -> tuple[int, int | None]:
    """(bytes of the coder's payload, zero-order entropy of the symbols in bytes)."""
    found = section_symbols(head, entry, body, base)
    if found is None:
        return len(body), None
    side_bytes, _, symbols = found
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    bits = float((counts * np.log2(entry.size / counts)).sum())
    return len(body) - side_bytes, math.ceil(bits / 8)
