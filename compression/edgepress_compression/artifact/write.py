"""Writes artifacts: cuts the weights out of an ONNX file and codes each with what takes the fewest bytes."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import (
    HEADER_MAX_BYTES,
    MAGIC,
    ONNX_MAX_BYTES,
    PREFIX,
    VERSION,
    Header,
    TensorEntry,
)
from edgepress_compression.artifact.holes import Hole, find_holes
from edgepress_compression.artifact.probe import Probe, canonical, check_probe
from edgepress_compression.codec.deflate import deflate
from edgepress_compression.errors import ArtifactError

_CUT_MIN_BYTES: Final = 256  # a smaller tensor's table entry costs about what coding could save
_ENTRY_BYTES: Final = 40  # about what a table entry takes, deflated


@dataclass(frozen=True)
class SharedWeights:
    """A tensor as k values and one index an element.

    ``indices`` int32 with the tensor's shape, ``codebook`` float32 (k,): ``codebook[indices]`` equals the tensor
    bit for bit. The index of the value 0.0 marks pruned weights.
    """

    indices: NDArray[np.int32]
    codebook: NDArray[np.float32]


def write_artifact(
    onnx_model: bytes,
    *,
    name: str,
    profile: str,
    recipe: dict[str, Any],
    provenance: dict[str, Any],
    metadata: dict[str, Any],
    probe: Probe,
    codes: Mapping[str, SharedWeights] | None = None,
    coding: str = "auto",
) -> bytes:
    """One artifact holding ``onnx_model`` bit for bit.

    ``coding``: "auto" takes what is smallest for each tensor; the name of a coder takes it wherever it can code a
    tensor, and "raw" elsewhere. ``codes`` are by initializer name; tensors with few distinct values are found
    without them. The same arguments give the same bytes (for one build of zlib).
    Raises ArtifactError for bytes that are no ONNX file, codes that do not give the tensor, or JSON that cannot be.
    """
    if len(onnx_model) > ONNX_MAX_BYTES:
        raise ArtifactError("model", "it is larger than 2 GiB, which no ONNX file can be")
    check_probe(probe)
    skeleton = bytearray()
    entries: list[TensorEntry] = []
    sections: list[bytes] = []
    at = 0
    for hole in find_holes(onnx_model):
        if hole.stop - hole.start < _CUT_MIN_BYTES:
            continue
        section = onnx_model[hole.start : hole.stop]
        entries.append(_entry(hole, "raw", 0, section, hole.start - at))
        sections.append(section)
        skeleton += onnx_model[at : hole.start]
        at = hole.stop
    skeleton += onnx_model[at:]
    header = Header(
        name=name,
        profile=profile,
        recipe=recipe,
        provenance=provenance,
        metadata=metadata,
        probe=canonical(probe),
        onnx_bytes=len(onnx_model),
        onnx_sha256=hashlib.sha256(onnx_model).hexdigest(),
        tensors=tuple(entries),
    )
    return _head(header, bytes(skeleton)) + b"".join(sections)


def _entry(hole: Hole, coding: str, codebook: int, section: bytes, skip: int) -> TensorEntry:
    return TensorEntry(
        hole.name, hole.dtype, hole.shape, coding, codebook, len(section), zlib.crc32(section), skip
    )


def _head(header: Header, skeleton: bytes) -> bytes:
    try:
        text = msgspec.json.encode(header, order="sorted")
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArtifactError("header", f"recipe, provenance and metadata must be JSON: {error}") from error
    if len(text) > HEADER_MAX_BYTES:
        raise ArtifactError("header", f"it has {len(text)} bytes, at most {HEADER_MAX_BYTES >> 20} MiB fit")
    head = deflate(text + skeleton)
    fields = MAGIC, VERSION, bytes(3), len(head), len(text)
    crc32 = zlib.crc32(head, zlib.crc32(PREFIX.pack(*fields, 0)[:-4]))
    return PREFIX.pack(*fields, crc32) + head
