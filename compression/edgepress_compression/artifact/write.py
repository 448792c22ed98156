"""Writes artifacts: cuts the weights out of an ONNX file and codes each with what takes the fewest bytes."""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final

from edgepress_compression.artifact.base import SKELETON_TENSOR_MAX_BYTES, Base
from edgepress_compression.artifact.baseline import Baseline, baseline_json
from edgepress_compression.artifact.choose import AUTO, Choice, check_coding, choose
from edgepress_compression.artifact.codes import Codes, ScaledIntegers, SharedWeights
from edgepress_compression.artifact.format import ONNX_MAX_BYTES, SAME, Header, TensorEntry
from edgepress_compression.artifact.head import write_front
from edgepress_compression.artifact.holes import Hole, find_holes
from edgepress_compression.artifact.probe import Probe, canonical, check_probe
from edgepress_compression.codec.text import text_bytes
from edgepress_compression.errors import ArtifactError

__all__ = ["ScaledIntegers", "SharedWeights", "write_artifact"]

_CUT_MIN_BYTES: Final = 32  # a smaller tensor's table entry costs more than coding could save
_ENTRY_BYTES: Final = 14  # about what a table entry and a checksum take


def write_artifact(
    onnx_model: bytes,
    *,
    name: str,
    profile: str,
    recipe: dict[str, Any],
    provenance: dict[str, Any],
    metadata: dict[str, Any],
    probe: Probe,
    codes: Mapping[str, Codes] | None = None,
    coding: str = AUTO,
    base: bytes | None = None,
    baseline: Baseline | None = None,
) -> bytes:
    """One artifact holding ``onnx_model`` bit for bit.

    ``coding``: how each tensor's coder is chosen (choose.py): "auto", "fast", "small", or a coder's name.
    ``codes`` are by initializer name; tensors with few distinct values are found without them. With ``base``,
    an ONNX file that the reader has, a delta is written: what changed. ``baseline``: what drift on devices is
    measured against.
    The same arguments give the same bytes (of a header and a skeleton beyond 256 KiB together: for one build
    of zlib). Raises ArtifactError for bytes that are no ONNX file, codes that do not give the tensor, or JSON
    that cannot be.
    """
    if len(onnx_model) > ONNX_MAX_BYTES:
        raise ArtifactError("model", "it is larger than 2 GiB, which no ONNX file can be")
    check_coding(coding)
    check_probe(probe)
    codes = codes or {}
    opened = None if base is None else Base(base)
    holes = find_holes(onnx_model)
    for tensor, code in codes.items():
        _check_code(onnx_model, holes, tensor, code)

    skeleton = bytearray()
    entries: list[TensorEntry] = []
    sections: list[bytes] = []
    at = 0
    for hole in holes:
        if hole.stop - hole.start < _CUT_MIN_BYTES:
            continue
        data = onnx_model[hole.start : hole.stop]
        choice = choose(data, hole, coding, codes.get(hole.name), opened)
        if not _pays(choice, data):
            continue
        sections.append(b"" if choice.coding == SAME else seal(choice.body))
        entries.append(
            TensorEntry(
                hole.name,
                hole.dtype,
                hole.shape,
                choice.coding,
                choice.values,
                len(sections[-1]),
                hole.start - at,
            )
        )
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
        base=None if opened is None else opened.name,
        baseline=None if baseline is None else baseline_json(baseline),
    )
    seen = b"" if opened is None else opened.skeleton()
    return write_front(header, bytes(skeleton), seen) + b"".join(sections)


def seal(body: bytes) -> bytes:
    """A section: the body and its checksum."""
    return body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "little")


def _pays(choice: Choice, data: bytes) -> bool:
    """Whether a section of its own takes fewer bytes than the tensor inside the coded skeleton."""
    if len(data) > SKELETON_TENSOR_MAX_BYTES:
        return True
    if choice.coding == SAME:
        return False  # the base's skeleton has it, which costs next to nothing
    return len(choice.body) + _ENTRY_BYTES < text_bytes(data)


def _check_code(onnx_model: bytes, holes: list[Hole], tensor: str, code: Codes) -> None:
    """Codes that do not give the tensor: a pass changed weights and forgot its codes. Say so early."""
    where = f"tensor '{tensor}'"
    hole = next((hole for hole in holes if hole.name == tensor), None)
    if hole is None:
        raise ArtifactError(where, "it has codes, but the model keeps no such initializer as raw data")
    shape = (code.integers if isinstance(code, ScaledIntegers) else code.indices).shape
    if hole.dtype != "float32" or tuple(shape) != hole.shape:
        raise ArtifactError(where, "its codes need float32 values and the tensor's shape")
    try:
        weights = code.weights()
    except ArtifactError as error:
        raise ArtifactError(where, error.reason) from error
    if weights.astype("<f4").tobytes() != onnx_model[hole.start : hole.stop]:
        raise ArtifactError(where, "its codes do not give its weights bit for bit")
