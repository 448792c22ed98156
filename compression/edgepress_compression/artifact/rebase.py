"""A whole artifact as a delta against a model that a device has."""

import numpy as np

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.baseline import read_baseline
from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.artifact.format import MAGIC, TRELLIS, Grid, Header, TensorEntry
from edgepress_compression.artifact.head import Head
from edgepress_compression.artifact.read import (
    checked_body,
    decode,
    open_whole,
    read_header,
    section_symbols,
    sections,
)
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.trellis import untangle
from edgepress_compression.errors import ArtifactError


def onnx_of(data: bytes, base: bytes | None = None) -> bytes:
    """The ONNX file that ``data`` is, or that it is an artifact of. Raises ArtifactError."""
    return decode(data, base=base) if data.startswith(MAGIC) else data


def write_delta(artifact: bytes, base: bytes, *, coding: str = "small") -> bytes:
    """``artifact``'s model, header and all, as what changed against ``base``, an artifact or its ONNX file.

    Tensors in whole numbers stay so. Raises ArtifactError.
    """
    onnx_model, before = decode(artifact), onnx_of(base)
    Base(before)  # says what is wrong with it, before minutes of work
    return written_again(read_header(artifact), onnx_model, codes_of(artifact), coding, before)


def written_again(
    header: Header, onnx_model: bytes, codes: dict[str, ScaledIntegers], coding: str, base: bytes | None
) -> bytes:
    """An artifact with the words of another one's header."""
    return write_artifact(
        onnx_model,
        name=header.name,
        profile=header.profile,
        recipe=header.recipe,
        provenance=header.provenance,
        metadata=header.metadata,
        probe=header.probe,
        codes=codes,
        coding=coding,
        base=base,
        baseline=read_baseline(header.baseline),
    )


def codes_of(artifact: bytes) -> dict[str, ScaledIntegers]:
    """What a whole artifact says of its tensors in whole numbers. Raises ArtifactError."""
    head = open_whole(artifact)
    if head.header.base is not None:
        raise ArtifactError("file", "this is a delta; give the whole artifact")
    found = {}
    for number, (entry, section) in enumerate(sections(artifact, head)):
        grid = entry.values
        if isinstance(grid, Grid):
            found[entry.name] = _codes(head, number, entry, grid, section)
    return found


def _codes(head: Head, number: int, entry: TensorEntry, grid: Grid, section: memoryview) -> ScaledIntegers:
    try:
        symbols = section_symbols(head, entry, checked_body(head, number, section), None)
    except CodecError as error:
        raise ArtifactError(f"tensor '{entry.name}'", str(error)) from error
    if symbols is None:
        raise ArtifactError(f"tensor '{entry.name}'", "whole numbers in a coding of bytes")
    whole = symbols[2].astype(np.int32) + np.int32(grid.lowest)
    trellis = bool(grid.flags & TRELLIS)
    if trellis:
        untangle(symbols[2], grid.lowest, entry.shape, grid.axis, whole)
    scales = np.frombuffer(symbols[1], "<f4").astype(np.float32)
    return ScaledIntegers(whole.reshape(entry.shape), scales, grid.axis, trellis)
