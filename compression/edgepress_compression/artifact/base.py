"""The base of a delta: an ONNX file that the reader has, and its tensors by name."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import LEVELS_MAX, TensorEntry, storage
from edgepress_compression.artifact.format import Base as BaseName
from edgepress_compression.artifact.holes import Hole, find_holes
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.shared import find_codebook
from edgepress_compression.codec.text import TEXT_MAX_BYTES
from edgepress_compression.errors import ArtifactError

SKELETON_TENSOR_MAX_BYTES: Final = 4096  # larger tensors are no part of a base's skeleton


class Base:
    """Raises ArtifactError when ``onnx_model`` is no ONNX file."""

    def __init__(self, onnx_model: bytes | memoryview) -> None:
        self._view = memoryview(onnx_model)
        self._holes: dict[str, Hole] = {}
        for hole in find_holes(self._view):
            self._holes.setdefault(hole.name, hole)

    @property
    def name(self) -> BaseName:
        """What a delta's header says of it."""
        return BaseName(onnx_bytes=len(self._view), onnx_sha256=hashlib.sha256(self._view).hexdigest())

    def check(self, wanted: BaseName) -> None:
        """Raises ArtifactError unless this is the base that is wanted."""
        if self.name != wanted:
            raise needs(wanted, "the one given is another")

    def tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> memoryview | None:
        """The bytes of the tensor of that name, when it has this type and shape."""
        hole = self._holes.get(name)
        if hole is None or hole.dtype != dtype or hole.shape != shape:
            return None
        return self._view[hole.start : hole.stop]

    def wanted(self, entry: TensorEntry) -> memoryview:
        """The bytes of the tensor that ``entry`` changes. Raises CodecError when the base has none."""
        found = self.tensor(entry.name, entry.dtype, entry.shape)
        if found is None:
            raise CodecError("the base has no such tensor")
        return found

    def codebook(self, entry: TensorEntry) -> NDArray[Any]:
        """The distinct values of that tensor, bits, in the order of a codebook. Raises CodecError."""
        found = codebook_of(self.wanted(entry), entry.dtype)
        if found is None or len(found) != entry.values:
            raise CodecError("the base's tensor has another number of values")
        return found

    def skeleton(self) -> bytes:
        """What a reader of a delta's skeleton has seen: the file without its larger tensors, to 256 KiB."""
        parts, size = [], 0
        for part in self._between():
            parts.append(bytes(part[: TEXT_MAX_BYTES - size]))
            size += len(parts[-1])
        return b"".join(parts)

    def _between(self) -> Iterator[memoryview]:
        at = 0
        for hole in sorted(self._holes.values(), key=lambda hole: hole.start):
            if hole.stop - hole.start > SKELETON_TENSOR_MAX_BYTES:
                yield self._view[at : hole.start]
                at = hole.stop
        yield self._view[at:]


def codebook_of(data: bytes | memoryview, dtype: str) -> NDArray[Any] | None:
    """The distinct values of a tensor, bits, ascending by value; None when they are too many."""
    kind = storage(dtype)
    values = dtype if dtype == "bfloat16" else kind.str
    found = find_codebook(np.frombuffer(data, f"<u{kind.itemsize}"), values, LEVELS_MAX)
    return None if found is None else found[1]


def needs(wanted: BaseName, why: str) -> ArtifactError:
    """The error for a delta without its base."""
    return ArtifactError(
        "file",
        f"this is a delta against the model with the SHA-256 {wanted.onnx_sha256}"
        f" ({wanted.onnx_bytes} bytes): give that ONNX file as the base; {why}",
    )
