"""Reads artifacts: the header alone, or the whole ONNX file back; from memory, a file or a stream.

Nothing in an artifact is trusted before it is checked: lengths against the file and the caller's limit
before anything of that length is allocated, CRC-32 before a section is decoded, SHA-256 before the ONNX
file is handed out.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from edgepress_compression.artifact import version1
from edgepress_compression.artifact.base import Base, needs
from edgepress_compression.artifact.delta import DELTA_CODINGS, decode_delta, nearest
from edgepress_compression.artifact.format import DECODE_MAX_BYTES, START_BYTES, Header, TensorEntry
from edgepress_compression.artifact.head import Head, front_bytes, open_head
from edgepress_compression.artifact.section import decode_body, split_body
from edgepress_compression.artifact.sink import FileSink, MemorySink, Sink
from edgepress_compression.artifact.values import alphabet
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.registry import DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.errors import ArtifactError

CHUNK_BYTES: Final = 1 << 16
_COPY_BYTES: Final = 1 << 20
_CRC_BYTES: Final = 2


def read_header(data: bytes) -> Header:
    """The validated header; of the rest of the file only the length is looked at.

    Raises ArtifactError when ``data`` is no whole artifact of a known version, or its header is damaged.
    """
    return open_whole(data).header


def read_file_header(source: BinaryIO) -> Header:
    """As read_header, of a file that is not read further than its header.

    Whether the rest is there is not looked at. Raises ArtifactError and OSError.
    """
    start = source.read(START_BYTES)
    end = front_bytes(start)
    front = start + source.read(end - START_BYTES)
    if len(front) < end:
        raise ArtifactError("file", f"it ends in the header, at byte {len(front)}; fetch it again")
    return open_head(memoryview(front)).header


def tensors(data: bytes) -> Iterator[TensorEntry]:
    """The tensors' entries, in the order of the file. For listings."""
    yield from read_header(data).tensors


def decode(
    data: bytes, *, max_bytes: int = DECODE_MAX_BYTES, base: bytes | memoryview | None = None
) -> bytes:
    """The ONNX file, bit for bit what was written, when it has at most ``max_bytes``.

    ``base``: the ONNX file that a delta needs.

    Needs memory for the ONNX file and little more: symbols are decoded where their elements will lie.
    Raises ArtifactError, which names the section and the reason.
    """
    head = open_whole(data)
    sink = MemorySink()
    rebuild = Rebuild(head, sink, max_bytes, base)
    for entry, section in sections(data, head):
        rebuild.tensor(entry, section)
    rebuild.end()
    return sink.take()


def decode_file(
    source: BinaryIO,
    target: BinaryIO,
    *,
    max_bytes: int = DECODE_MAX_BYTES,
    base: bytes | memoryview | None = None,
) -> Header:
    """Writes the ONNX file to ``target`` while it reads ``source`` once, front to back.

    Holds the head, one section and one tensor in memory. Until this returns, what was written may be wrong:
    write aside, then rename. Raises ArtifactError and OSError.
    """
    reader = ArtifactReader(FileSink(target), max_bytes=max_bytes, base=base)
    while chunk := source.read(CHUNK_BYTES):
        reader.feed(chunk)
    return reader.close()


class ArtifactReader:
    """Decodes an artifact whose bytes come in chunks of any size; each tensor as soon as it is whole."""

    def __init__(
        self, sink: Sink, *, max_bytes: int = DECODE_MAX_BYTES, base: bytes | memoryview | None = None
    ) -> None:
        self._sink = sink
        self._base = base
        self._max_bytes = max_bytes
        self._part = bytearray()  # of the front, or of the section that is coming
        self._rebuild: Rebuild | None = None
        self._entries: Iterator[TensorEntry] = iter(())
        self._entry: TensorEntry | None = None

    @property
    def header(self) -> Header | None:
        """The header, as soon as it has come."""
        return self._rebuild.head.header if self._rebuild else None

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Raises ArtifactError as soon as something is wrong; the reader is then done for."""
        view = memoryview(chunk)
        if self._rebuild is None:
            view = self._feed_front(view)
        while self._entry is not None and (len(view) or self._entry.stored_bytes == 0):
            missing = self._entry.stored_bytes - len(self._part)
            if missing <= len(view) and not self._part:
                self._tensor(view[:missing])  # it lies whole in the chunk
            else:
                self._part += view[:missing]
                if missing <= len(view):
                    whole, self._part = self._part, bytearray()
                    self._tensor(memoryview(whole))
            view = view[missing:]
        if len(view):
            raise ArtifactError("file", "bytes follow after its end; fetch it again")

    def close(self) -> Header:
        """No more bytes come: the model is whole, and its SHA-256 is right, or ArtifactError is raised."""
        if self._rebuild is None:
            front_bytes(self._part)  # says what is wrong with a file as short as this
            raise ArtifactError("file", f"it ends in the header, at byte {len(self._part)}; fetch it again")
        if self._entry is not None:
            raise ArtifactError(f"tensor '{self._entry.name}'", "the file ends in it; fetch it again")
        self._rebuild.end()
        return self._rebuild.head.header

    def _feed_front(self, view: memoryview) -> memoryview:
        """Take what belongs to the front, and open it when it is whole; what is left."""
        view = self._fill(view, START_BYTES)
        if len(self._part) < START_BYTES:
            return view
        end = front_bytes(self._part)
        view = self._fill(view, end)
        if len(self._part) < end:
            return view
        head = open_head(memoryview(bytes(self._part)))
        self._rebuild = Rebuild(head, self._sink, self._max_bytes, self._base)
        self._entries = iter(head.header.tensors)
        self._entry = next(self._entries, None)
        self._part = bytearray()
        return view

    def _fill(self, view: memoryview, wanted: int) -> memoryview:
        """Bring the part that is coming to ``wanted`` bytes, as far as ``view`` goes; what is left of it."""
        missing = max(wanted - len(self._part), 0)
        self._part += view[:missing]
        return view[missing:]

    def _tensor(self, section: memoryview) -> None:
        if self._rebuild is not None and self._entry is not None:
            self._rebuild.tensor(self._entry, section)
        self._entry = next(self._entries, None)


class Rebuild:
    """Puts skeleton and tensors together, in order, and checks what came of it."""

    def __init__(
        self, head: Head, sink: Sink, max_bytes: int, base: bytes | memoryview | None = None
    ) -> None:
        check_size(head.header, max_bytes)
        self.base = open_base(head, base)
        self.head = head
        self._sink = sink
        self._hash = hashlib.sha256()
        self._skeleton_left = head.skeleton_bytes
        self._number = 0
        sink.begin(head.header.onnx_bytes)

    def tensor(self, entry: TensorEntry, section: memoryview) -> None:
        """The next tensor. Raises ArtifactError."""
        self._skeleton(entry.skip)
        body = checked_body(self.head, self._number, section)
        self._number += 1
        region = self._sink.reserve(entry.size_bytes)
        try:
            decode_section(self.head, entry, body, region, self.base)
        except CodecError as error:
            raise ArtifactError(f"tensor '{entry.name}'", str(error)) from error
        self._hash.update(region)
        self._sink.commit(region)

    def end(self) -> None:
        """All tensors are there. Raises ArtifactError unless the model is the one that was written."""
        self._skeleton(self._skeleton_left)
        try:
            self.head.skeleton.end()
        except CodecError as error:
            raise ArtifactError("skeleton", str(error)) from error
        if self._hash.hexdigest() != self.head.header.onnx_sha256:
            raise ArtifactError(
                "file", "the decoded model's SHA-256 is not the header's; fetch the artifact again"
            )

    def _skeleton(self, count: int) -> None:
        self._skeleton_left -= count
        while count > 0:
            size = min(count, _COPY_BYTES)
            try:
                piece = self.head.skeleton.read(size)
            except CodecError as error:
                raise ArtifactError("skeleton", str(error)) from error
            self._hash.update(piece)
            region = self._sink.reserve(size)
            region[:] = piece
            self._sink.commit(region)
            count -= size


def open_whole(data: bytes) -> Head:
    """The checked head of a whole artifact: its length is the header's. Raises ArtifactError."""
    view = memoryview(data)
    end = front_bytes(view[:START_BYTES])
    if end > len(data):
        raise ArtifactError("file", f"it ends in the header, at byte {len(data)}; fetch it again")
    head = open_head(view[:end])
    stored = end + sum(entry.stored_bytes for entry in head.header.tensors)
    if stored != len(data):
        raise ArtifactError("file", f"{len(data)} bytes long, the header says {stored}; fetch it again")
    return head


def sections(data: bytes, head: Head) -> Iterator[tuple[TensorEntry, memoryview]]:
    """Each tensor's entry and stored bytes."""
    at = head.sections_at
    for entry in head.header.tensors:
        yield entry, memoryview(data)[at : at + entry.stored_bytes]
        at += entry.stored_bytes


def check_size(header: Header, max_bytes: int) -> None:
    """Raises ArtifactError for a model of more than ``max_bytes``."""
    if header.onnx_bytes > max_bytes:
        raise ArtifactError(
            "header",
            f"the model decodes to {header.onnx_bytes} bytes, more than the {max_bytes} allowed here",
        )


def open_base(head: Head, onnx_model: bytes | memoryview | None) -> Base | None:
    """The base of a delta, None for a whole artifact. Raises ArtifactError when it is missing or another."""
    wanted = head.header.base
    if wanted is None:
        return None
    if onnx_model is None:
        raise needs(wanted, "none was given")
    if len(onnx_model) != wanted.onnx_bytes:
        raise needs(wanted, f"the one given has {len(onnx_model)} bytes")
    base = Base(onnx_model)
    base.check(wanted)
    head.skeleton.learn(base.skeleton())
    return base


def decode_section(
    head: Head, entry: TensorEntry, body: memoryview, region: memoryview, base: Base | None
) -> None:
    """Fill ``region``, the tensor's bytes, from a checked body. Raises CodecError."""
    if head.version == version1.VERSION:
        version1.decode_body1(entry, body, region)
    elif base is not None and entry.coding in DELTA_CODINGS:
        decode_delta(entry, body, region, base)
    else:
        decode_body(entry, body, region, base)


def section_symbols(
    head: Head, entry: TensorEntry, body: memoryview, base: Base | None
) -> tuple[int, bytes, Symbols] | None:
    """(bytes before the payload, the codebook's or the scales' bytes, symbols) of a checked body.

    None for a section of bytes. Raises CodecError.
    """
    if entry.coding not in SYMBOL_CODERS and entry.coding not in DELTA_CODERS:
        return None
    if head.version == version1.VERSION:
        side, payload = version1.split_body1(entry, body)
    else:
        side, payload = split_body(entry, body, base)
    count = alphabet(entry)
    symbols = np.empty(entry.size, symbol_dtype(count))
    if entry.coding in SYMBOL_CODERS:
        SYMBOL_CODERS[entry.coding].decode(payload, count, entry.shape, symbols)
    elif base is not None:
        likely = nearest(entry, side, base.wanted(entry))
        DELTA_CODERS[entry.coding].decode(payload, count, entry.shape, likely, symbols)
    return len(body) - len(payload), side, symbols


def checked_body(head: Head, number: int, section: memoryview) -> memoryview:
    """The body of section ``number``, whose checksum is right. Raises ArtifactError."""
    where = f"tensor '{head.header.tensors[number].name}'"
    if head.checksums is not None:
        body, expected = section, head.checksums[number]
    elif not section:
        return section  # nothing is stored, so nothing can be damaged
    elif len(section) < _CRC_BYTES:
        raise ArtifactError(where, "it is too short for its checksum")
    else:
        body = section[:-_CRC_BYTES]
        expected = int.from_bytes(section[-_CRC_BYTES:], "little")
    crc32 = zlib.crc32(body)
    if (crc32 if head.checksums is not None else crc32 & 0xFFFF) != expected:
        raise ArtifactError(where, "its checksum does not match; fetch the artifact again")
    return body
