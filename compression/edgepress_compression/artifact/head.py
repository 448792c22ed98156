"""The front of an artifact: its fixed fields, the header and the skeleton, of every version.

Nothing is trusted before it is checked: lengths before anything of that length is made, the checksum before
the head is decoded, and every field of the header before anything acts on it.
"""

import zlib
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec

from edgepress_compression.artifact import version1
from edgepress_compression.artifact.check import check_header
from edgepress_compression.artifact.format import (
    CRC_AT,
    HEAD_DEFLATE,
    HEAD_TEXT,
    HEADER_MAX_BYTES,
    LENGTHS_AT,
    MAGIC,
    ONNX_MAX_BYTES,
    START_BYTES,
    VERSION,
    Header,
)
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.deflate import Inflater, deflate
from edgepress_compression.codec.text import TEXT_MAX_BYTES, TextDecoder, TextEncoder
from edgepress_compression.errors import ArtifactError

_WHERE: Final = "file"
_T = TypeVar("_T")


class Skeleton(Protocol):
    """The skeleton, read from front to back. Raises CodecError."""

    def learn(self, base: bytes) -> None:
        """What the reader of a delta has: the skeleton of its base. Before the first read."""

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""

    def end(self) -> None:
        """There must be nothing more."""


class _Deflated(Inflater):
    """A skeleton behind a header in one DEFLATE stream; a base is of no use to it."""

    def learn(self, base: bytes) -> None:
        """Nothing is learned."""


class _Text:
    """A skeleton behind a header in one text, decoded whole with its first read."""

    def __init__(self, decoder: TextDecoder, skeleton_bytes: int) -> None:
        self._decoder: TextDecoder | None = decoder
        self._missing = skeleton_bytes
        self._whole = memoryview(b"")

    def learn(self, base: bytes) -> None:
        if self._decoder is not None:
            self._decoder.learn(base[:TEXT_MAX_BYTES])

    def read(self, count: int) -> bytes:
        if self._decoder is not None:
            self._whole = memoryview(self._decoder.decode(self._missing))
            self._decoder.end()
            self._decoder = None  # and its memory
        part, self._whole = self._whole[:count], self._whole[count:]
        return bytes(part)

    def end(self) -> None:
        self.read(0)


@dataclass(frozen=True)
class Head:
    """The front of an artifact, checked; ``skeleton`` can be read once."""

    version: int
    header: Header
    header_bytes: int  # of JSON
    sections_at: int  # where the first section begins, the stored bytes of the front
    skeleton: Skeleton
    coding: str  # of header and skeleton
    checksums: tuple[int, ...] | None = None  # of the sections, where not at their ends

    @property
    def skeleton_bytes(self) -> int:
        header = self.header
        return header.onnx_bytes - sum(entry.size_bytes for entry in header.tensors)


def front_bytes(start: bytes | bytearray | memoryview) -> int:
    """Where the head ends, from the file's first ``START_BYTES`` (fewer: there are no more).

    Raises ArtifactError for what is no artifact of a version known here.
    """
    start = bytes(start[:START_BYTES])
    if not start.startswith(MAGIC):
        raise ArtifactError(_WHERE, "this is no edgepress artifact (its first bytes are different)")
    if len(start) < START_BYTES:
        raise ArtifactError(_WHERE, f"it ends in the header, at byte {len(start)}; fetch it again")
    if start[4] == version1.VERSION:
        return version1.PREFIX.size + int(version1.PREFIX.unpack_from(start)[3])
    if start[4] != VERSION:
        known = f"{version1.VERSION} and {VERSION}"
        raise ArtifactError(
            _WHERE, f"format version {start[4]} is not known to this edgepress (it reads {known}); update it"
        )
    at, head_bytes, _, _ = _lengths(start)
    return max(at + head_bytes, START_BYTES)


def open_head(front: memoryview) -> Head:
    """The head of ``front``, a file's first ``front_bytes``. Raises ArtifactError."""
    return _open_1(front) if front[4] == version1.VERSION else _open_2(front)


def write_front(header: Header, skeleton: bytes, base_skeleton: bytes = b"") -> bytes:
    """Everything before the sections; ``base_skeleton`` for a delta.

    Raises ArtifactError when the header cannot be JSON.
    """
    try:
        text = msgspec.json.encode(header, order="sorted")
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArtifactError("header", f"recipe, provenance and metadata must be JSON: {error}") from error
    if len(text) > HEADER_MAX_BYTES:
        raise ArtifactError("header", f"it has {len(text)} bytes, at most {HEADER_MAX_BYTES >> 20} MiB fit")
    if len(text) + len(skeleton) <= TEXT_MAX_BYTES:
        coding, head = HEAD_TEXT, _as_text(text, skeleton, base_skeleton)
    else:  # slow without compiled code, and DEFLATE cannot be asked for more than a thousandfold
        coding, head = HEAD_DEFLATE, deflate(text + skeleton)
    start = MAGIC + bytes([VERSION, coding])
    lengths = varint(len(head)) + varint(len(text)) + varint(len(skeleton))
    crc32 = zlib.crc32(head, zlib.crc32(lengths, zlib.crc32(start)))
    return start + crc32.to_bytes(4, "little") + lengths + head


def header_stored_bytes(head: Head) -> int:
    """About how many bytes the header alone takes in the file: what it does without the skeleton."""
    text = msgspec.json.encode(head.header, order="sorted")
    return len(_as_text(text) if head.coding == "text" else deflate(text))


def _as_text(header: bytes, skeleton: bytes = b"", base_skeleton: bytes = b"") -> bytes:
    encoder = TextEncoder()
    encoder.encode(header)
    encoder.learn(base_skeleton[:TEXT_MAX_BYTES])
    encoder.encode(skeleton)
    return encoder.finish()


def _lengths(start: bytes) -> tuple[int, int, int, int]:
    """(where the head begins, head_bytes, header_bytes, skeleton_bytes)."""
    reader = ByteReader(start[LENGTHS_AT:])
    try:
        head_bytes = reader.varint(ONNX_MAX_BYTES)
        header_bytes = reader.varint(HEADER_MAX_BYTES)
        skeleton_bytes = reader.varint(ONNX_MAX_BYTES)
    except CodecError as error:
        raise _damaged() from error
    return len(start) - reader.left, head_bytes, header_bytes, skeleton_bytes


def _open_2(front: memoryview) -> Head:
    at, _, header_bytes, skeleton_bytes = _lengths(bytes(front[:START_BYTES]))
    crc32 = zlib.crc32(front[LENGTHS_AT:], zlib.crc32(front[:CRC_AT]))
    if int.from_bytes(front[CRC_AT:LENGTHS_AT], "little") != crc32:
        raise ArtifactError("header", "its checksum does not match; fetch the artifact again")
    if front[5] == HEAD_TEXT:
        if header_bytes + skeleton_bytes > TEXT_MAX_BYTES:
            raise ArtifactError("header", f"a text of more than {TEXT_MAX_BYTES} bytes")
        decoder = TextDecoder(front[at:])
        header = _json(decoder.decode(header_bytes), Header)
        check_header(header, skeleton_bytes)
        text = _Text(decoder, skeleton_bytes)
        return Head(VERSION, header, header_bytes, len(front), text, "text")
    if front[5] != HEAD_DEFLATE:
        raise ArtifactError(_WHERE, f"its head's coding {front[5]} is not known here; update this edgepress")
    inflater = _Deflated(front[at:])
    header = _json(_inflated(inflater, header_bytes), Header)
    check_header(header, skeleton_bytes)
    return Head(VERSION, header, header_bytes, len(front), inflater, "deflate")


def _open_1(front: memoryview) -> Head:
    _, _, reserved, _, header_bytes, crc32 = version1.PREFIX.unpack_from(front)
    if reserved != bytes(3) or not 2 <= header_bytes <= HEADER_MAX_BYTES:
        raise _damaged()
    if zlib.crc32(front[version1.PREFIX.size :], zlib.crc32(front[: version1.CRC_AT])) != crc32:
        raise ArtifactError("header", "its checksum does not match; fetch the artifact again")
    inflater = _Deflated(front[version1.PREFIX.size :])
    header, checksums = version1.current(_json(_inflated(inflater, header_bytes), version1.Header1))
    check_header(header, None)
    for entry in header.tensors:
        if entry.coding not in version1.CODINGS:
            raise ArtifactError(f"tensor '{entry.name}'", f"version 1 has no coding '{entry.coding}'")
    return Head(version1.VERSION, header, header_bytes, len(front), inflater, "deflate", checksums)


def _inflated(stream: Inflater, count: int) -> bytes:
    try:
        return stream.read(count)
    except CodecError as error:
        raise ArtifactError("header", f"it cannot be read: {error}") from error


def _json(text: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError("header", f"it cannot be read: {error}") from error


def _damaged() -> ArtifactError:
    return ArtifactError(_WHERE, "its first bytes are damaged; fetch it again")
