"""Reads artifacts: the header alone, where the bytes went, or the whole ONNX file back.

Nothing in an artifact is trusted before it is checked: lengths against the file and the caller's limit
before anything of that length is allocated, CRC-32 before a section is decoded, SHA-256 before the ONNX
file is handed out.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from edgepress_compression.artifact.format import (
    CODEBOOK_MAX,
    CRC_AT,
    DECODE_MAX_BYTES,
    DIMS_MAX,
    HEADER_MAX_BYTES,
    MAGIC,
    NAME_MAX_CHARS,
    ONNX_MAX_BYTES,
    PREFIX,
    TENSORS_MAX,
    VERSION,
    Header,
    TensorEntry,
)
from edgepress_compression.artifact.probe import check_probe
from edgepress_compression.artifact.section import codebook_bytes, decode_section
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.deflate import Inflater, deflate
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS
from edgepress_compression.errors import ArtifactError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TensorBytes:
    """Where bytes of an artifact went. ``raw_bytes``: what they become in the ONNX file, 0 for the header."""

    name: str
    part: Literal["header", "skeleton", "tensor"]
    dtype: str | None
    shape: tuple[int, ...]
    coding: str  # "deflate" for header and skeleton
    raw_bytes: int
    stored_bytes: int
    codebook_bytes: int  # of the stored bytes


def read_header(data: bytes) -> Header:
    """The validated header; of the rest of the file only the length is looked at.

    Raises ArtifactError when ``data`` is no whole artifact of this version, or its header is damaged.
    """
    return _open(data)[0]


def decode(data: bytes, *, max_bytes: int = DECODE_MAX_BYTES) -> bytes:
    """The ONNX file, bit for bit what was written, when it has at most ``max_bytes``.

    Needs memory for twice the ONNX file and about ten bytes an element of its largest tensor.
    Raises ArtifactError, which names the section and the reason.
    """
    header, inflater = _open(data)
    if header.onnx_bytes > max_bytes:
        raise ArtifactError(
            "header",
            f"the model decodes to {header.onnx_bytes} bytes, more than the {max_bytes} allowed here",
        )
    try:
        return _rebuild(data, header, inflater)
    except MemoryError as error:
        reason = (
            f"there is not enough memory here to decode {header.onnx_bytes} bytes; free some and try again"
        )
        raise ArtifactError("file", reason) from error


def tensors(data: bytes) -> Iterator[TensorEntry]:
    """The tensor table, in file order (name, shape, coding, stored bytes ...), for listings."""
    yield from read_header(data).tensors


def sizes(data: bytes) -> list[TensorBytes]:
    """Where the bytes went: header, skeleton, then each tensor; the stored bytes add up to the file."""
    header = read_header(data)
    head_bytes = PREFIX.unpack_from(data)[3]
    # Header and skeleton share a DEFLATE stream: the header's part is what it takes alone.
    alone = len(deflate(msgspec.json.encode(header, order="sorted")))
    header_stored = min(alone, head_bytes)
    in_tensors = sum(entry.size_bytes for entry in header.tensors)
    rows = [
        TensorBytes("", "header", None, (), "deflate", 0, PREFIX.size + header_stored, 0),
        TensorBytes(
            "", "skeleton", None, (), "deflate", header.onnx_bytes - in_tensors, head_bytes - header_stored, 0
        ),
    ]
    for entry, section in _sections(data, header):
        rows.append(
            TensorBytes(
                entry.name,
                "tensor",
                entry.dtype,
                entry.shape,
                entry.coding,
                entry.size_bytes,
                entry.stored_bytes,
                codebook_bytes(entry, section),
            )
        )
    return rows


def _open(data: bytes) -> tuple[Header, Inflater]:
    """The checked header, and the head's stream standing at the skeleton."""
    if len(data) < PREFIX.size or not data.startswith(MAGIC):
        raise ArtifactError("file", "this is no edgepress artifact (its first bytes are different)")
    _, version, reserved, head_bytes, header_bytes, crc32 = PREFIX.unpack_from(data)
    if version != VERSION:
        raise ArtifactError(
            "file", f"format version {version} is not known to this edgepress (it reads {VERSION}); update it"
        )
    head = memoryview(data)[PREFIX.size : PREFIX.size + head_bytes]
    if len(head) != head_bytes:
        raise ArtifactError("file", f"it ends in the header, at byte {len(data)}; fetch it again")
    if reserved != bytes(3) or not 2 <= header_bytes <= HEADER_MAX_BYTES:
        raise ArtifactError("file", "its first 20 bytes are damaged; fetch it again")
    if zlib.crc32(head, zlib.crc32(data[:CRC_AT])) != crc32:
        raise ArtifactError("header", "its checksum does not match; fetch the artifact again")
    inflater = Inflater(head)
    try:
        header = msgspec.json.decode(inflater.read(header_bytes), type=Header)
    except (CodecError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError("header", f"it cannot be read: {error}") from error
    _check_header(header, PREFIX.size + head_bytes, len(data))
    return header, inflater


def _check_header(header: Header, sections_at: int, file_bytes: int) -> None:
    if not 0 <= header.onnx_bytes <= ONNX_MAX_BYTES or not _SHA256.fullmatch(header.onnx_sha256):
        raise ArtifactError("header", "the model's length or SHA-256 is no such thing")
    if len(header.tensors) > TENSORS_MAX:
        raise ArtifactError("header", f"{len(header.tensors)} tensors, at most {TENSORS_MAX} are possible")
    check_probe(header.probe)
    model_bytes, stored = 0, sections_at
    for entry in header.tensors:
        _check_entry(entry)
        model_bytes += entry.skip + entry.size_bytes
        stored += entry.stored_bytes
    if model_bytes > header.onnx_bytes:
        raise ArtifactError(
            "header", f"its tensors need {model_bytes} bytes of a {header.onnx_bytes}-byte model"
        )
    if stored != file_bytes:
        raise ArtifactError("file", f"{file_bytes} bytes long, the header says {stored}; fetch it again")


def _check_entry(entry: TensorEntry) -> None:
    where = f"tensor '{entry.name}'"
    if not 0 < len(entry.name) <= NAME_MAX_CHARS:
        raise ArtifactError("header", f"a tensor's name has {len(entry.name)} characters")
    if len(entry.shape) > DIMS_MAX or not all(0 < side <= ONNX_MAX_BYTES for side in entry.shape):
        raise ArtifactError(where, f"the shape {list(entry.shape)} is not possible")
    if entry.skip < 0 or entry.stored_bytes < 0 or not 0 <= entry.crc32 < 1 << 32:
        raise ArtifactError(where, "a length in the header is not possible")
    if not 0 <= entry.codebook <= CODEBOOK_MAX:
        raise ArtifactError(
            where, f"a codebook of {entry.codebook} values, at most {CODEBOOK_MAX} are possible"
        )
    symbols = entry.coding in SYMBOL_CODERS and (entry.codebook > 0 or entry.dtype in ("int8", "uint8"))
    if not symbols and not (entry.coding in BYTE_CODERS and entry.codebook == 0):
        raise ArtifactError(where, f"the coding '{entry.coding}' is not known here; update this edgepress")


def _rebuild(data: bytes, header: Header, inflater: Inflater) -> bytes:
    try:
        skeleton = inflater.read(header.onnx_bytes - sum(entry.size_bytes for entry in header.tensors))
        inflater.end()
    except CodecError as error:
        raise ArtifactError("skeleton", str(error)) from error

    onnx = bytearray(header.onnx_bytes)
    at = from_skeleton = 0
    for entry, section in _sections(data, header):
        onnx[at : at + entry.skip] = skeleton[from_skeleton : from_skeleton + entry.skip]
        from_skeleton += entry.skip
        at += entry.skip
        onnx[at : at + entry.size_bytes] = _decode_tensor(entry, section)
        at += entry.size_bytes
    onnx[at:] = skeleton[from_skeleton:]

    if hashlib.sha256(onnx).hexdigest() != header.onnx_sha256:
        raise ArtifactError(
            "file", "the decoded model's SHA-256 is not the header's; fetch the artifact again"
        )
    return bytes(onnx)


def _sections(data: bytes, header: Header) -> Iterator[tuple[TensorEntry, memoryview]]:
    end = len(data)
    at = end - sum(entry.stored_bytes for entry in header.tensors)
    for entry in header.tensors:
        yield entry, memoryview(data)[at : at + entry.stored_bytes]
        at += entry.stored_bytes


def _decode_tensor(entry: TensorEntry, section: memoryview) -> bytes:
    where = f"tensor '{entry.name}'"
    if zlib.crc32(section) != entry.crc32:
        raise ArtifactError(where, "its checksum does not match; fetch the artifact again")
    try:
        return decode_section(entry, section)
    except CodecError as error:
        raise ArtifactError(where, str(error)) from error
