"""Checks a header: nothing it says is acted on before it was found possible here."""

import re
from typing import Final

from edgepress_compression.artifact.format import (
    DIFFERENCE,
    DIMS_MAX,
    INTEGER_MAX,
    LEVELS_MAX,
    NAME_MAX_CHARS,
    ONNX_MAX_BYTES,
    PER_INDEX,
    SAME,
    TENSORS_MAX,
    TRELLIS,
    Grid,
    Header,
    TensorEntry,
    storage,
)
from edgepress_compression.artifact.probe import check_probe
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.errors import ArtifactError

_STORED_MORE_BYTES: Final = 2  # than the tensor's: the checksum. What would take more is stored as it is
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_header(header: Header, skeleton_bytes: int | None) -> None:
    """Raises ArtifactError when the header says what cannot be, or what this edgepress does not know.

    ``skeleton_bytes``: what the file says beside the header, None where it does not.
    """
    _check_model(header.onnx_bytes, header.onnx_sha256)
    if header.base is not None:
        _check_model(header.base.onnx_bytes, header.base.onnx_sha256)
    if len(header.tensors) > TENSORS_MAX:
        raise ArtifactError("header", f"{len(header.tensors)} tensors, at most {TENSORS_MAX} are possible")
    check_probe(header.probe)
    in_tensors = skipped = 0
    for entry in header.tensors:
        _check_entry(entry, is_delta=header.base is not None)
        in_tensors += entry.size_bytes
        skipped += entry.skip
    if in_tensors + skipped > header.onnx_bytes:
        raise ArtifactError(
            "header", f"its tensors need {in_tensors + skipped} bytes of a {header.onnx_bytes}-byte model"
        )
    if skeleton_bytes is not None and in_tensors + skeleton_bytes != header.onnx_bytes:
        raise ArtifactError(
            "header",
            f"its parts make {in_tensors + skeleton_bytes} bytes, not {header.onnx_bytes}",
        )


def _check_model(size_bytes: int, sha256: str) -> None:
    if not 0 <= size_bytes <= ONNX_MAX_BYTES or not _SHA256.fullmatch(sha256):
        raise ArtifactError("header", "a model's length or SHA-256 is no such thing")


def _check_entry(entry: TensorEntry, *, is_delta: bool) -> None:
    where = f"tensor '{entry.name}'"
    if not 0 < len(entry.name) <= NAME_MAX_CHARS:
        raise ArtifactError("header", f"a tensor's name has {len(entry.name)} characters")
    if len(entry.shape) > DIMS_MAX or not all(0 < side <= ONNX_MAX_BYTES for side in entry.shape):
        raise ArtifactError(where, f"the shape {list(entry.shape)} is not possible")
    if entry.skip < 0 or not 0 <= entry.stored_bytes <= entry.size_bytes + _STORED_MORE_BYTES:
        raise ArtifactError(where, "a length in the header is not possible")
    _check_values(entry, where)
    if not _is_known(entry, is_delta=is_delta):
        raise ArtifactError(where, f"the coding '{entry.coding}' is not known here; update this edgepress")
    if (entry.coding == SAME) != (entry.stored_bytes == 0):
        raise ArtifactError(where, f"{entry.stored_bytes} bytes stored with the coding '{entry.coding}'")


def _check_values(entry: TensorEntry, where: str) -> None:
    values = entry.values
    count = values.count if isinstance(values, Grid) else values
    if not 0 <= count <= LEVELS_MAX:
        raise ArtifactError(where, f"{count} values, at most {LEVELS_MAX} are possible")
    if isinstance(values, Grid):
        possible = entry.dtype == "float32" and 0 <= values.axis < max(len(entry.shape), 1)
        possible = possible and 0 <= values.flags <= (PER_INDEX | TRELLIS) and bool(entry.shape)
        if not (possible and count > 0 and abs(values.lowest) <= INTEGER_MAX - count):
            raise ArtifactError(where, "whole numbers of a kind that cannot be")
    elif values > 0 and symbol_dtype(values).itemsize > storage(entry.dtype).itemsize:
        raise ArtifactError(where, f"a codebook of {values} values of {entry.dtype}")


def _is_known(entry: TensorEntry, *, is_delta: bool) -> bool:
    if entry.coding in BYTE_CODERS:
        return entry.values == 0
    if is_delta and entry.coding in (SAME, DIFFERENCE):
        return entry.values == 0
    if entry.coding in SYMBOL_CODERS or (is_delta and entry.coding in DELTA_CODERS):
        return entry.values != 0 or entry.dtype in ("int8", "uint8")
    return False
