"""Writes artifacts: cuts the weights out of an ONNX file and codes each with what takes the fewest bytes."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.choose import AUTO, CODINGS, Choice, choose
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
_SKELETON_MAX_BYTES: Final = 4096  # larger tensors always get a section, so that listings show them


@dataclass(frozen=True)
class SharedWeights:
    """A tensor as k values and one index an element.

    ``indices`` int32 with the tensor's shape, ``codebook`` float32 (k,): ``codebook[indices]`` equals the
    tensor bit for bit. The index of the value 0.0 marks pruned weights.
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
    coding: str = AUTO,
) -> bytes:
    """One artifact holding ``onnx_model`` bit for bit.

    ``coding``: "auto" takes what is smallest for each tensor; the name of a coder takes it wherever it can
    code a tensor, and "raw" elsewhere. ``codes`` are by initializer name; tensors with few distinct values
    are found without them. The same arguments give the same bytes (for one build of zlib). Raises
    ArtifactError for bytes that are no ONNX file, codes that do not give the tensor, or JSON that cannot
    be.
    """
    if len(onnx_model) > ONNX_MAX_BYTES:
        raise ArtifactError("model", "it is larger than 2 GiB, which no ONNX file can be")
    if coding not in CODINGS:
        raise ArtifactError("coding", f"'{coding}' is not known; use one of {', '.join(CODINGS)}")
    check_probe(probe)
    holes = find_holes(onnx_model)
    for tensor, shared in (codes or {}).items():
        _check_codes(onnx_model, holes, tensor, shared)

    skeleton = bytearray()
    entries: list[TensorEntry] = []
    sections: list[bytes] = []
    at = 0
    for hole in holes:
        if hole.stop - hole.start < _CUT_MIN_BYTES:
            continue
        data = onnx_model[hole.start : hole.stop]
        choice = choose(data, hole, coding)
        if not _pays(choice, data):
            continue
        skip = hole.start - at
        entries.append(_entry(hole, choice, skip))
        sections.append(choice.section)
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


def _pays(choice: Choice, data: bytes) -> bool:
    """Whether a section of its own takes fewer bytes than the tensor inside the deflated skeleton."""
    if len(data) > _SKELETON_MAX_BYTES:
        return True
    return len(choice.section) + _ENTRY_BYTES < len(deflate(data))


def _entry(hole: Hole, choice: Choice, skip: int) -> TensorEntry:
    crc32 = zlib.crc32(choice.section)
    stored = len(choice.section)
    return TensorEntry(hole.name, hole.dtype, hole.shape, choice.coding, choice.codebook, stored, crc32, skip)


def _check_codes(onnx_model: bytes, holes: list[Hole], tensor: str, shared: SharedWeights) -> None:
    """Codes that do not give the tensor: a pass changed weights and forgot its codes. Say so early."""
    where = f"tensor '{tensor}'"
    hole = next((hole for hole in holes if hole.name == tensor), None)
    if hole is None:
        raise ArtifactError(where, "it has codes, but the model keeps no such initializer as raw data")
    indices, codebook = shared.indices, shared.codebook
    if hole.dtype != "float32" or codebook.dtype != np.float32 or tuple(indices.shape) != hole.shape:
        raise ArtifactError(where, "its codes need float32 values and the tensor's shape")
    if indices.size and not (int(indices.min()) >= 0 and int(indices.max()) < len(codebook)):
        raise ArtifactError(where, "an index of its codes lies outside the codebook")
    coded = codebook[indices].astype("<f4").tobytes()
    if coded != onnx_model[hole.start : hole.stop]:
        raise ArtifactError(where, "its codes do not give its weights bit for bit")


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
