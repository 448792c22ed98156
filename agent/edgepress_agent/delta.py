"""A delta on the device: what it needs, and the model that comes of it.

A delta is an artifact file whose tensors are changes against another model, its base. The base is the decoded
model of an artifact in a slot. What comes out is an ONNX file; its SHA-256 was signed by the release key, so
a delta that was applied to anything else, or wrongly, is found out before the file is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from edgepress_agent.errors import ModelRefusedError, NotNowError
from edgepress_agent.slots import SlotInfo, decoded_path

if TYPE_CHECKING:
    from edgepress_compression.artifact.format import Header

_READ_BYTES: Final = 1 << 16


def read_header(artifact: Path) -> "Header":
    """Of an artifact or a delta. Raises ModelRefusedError, OSError."""
    from edgepress_compression.artifact.read import read_file_header
    from edgepress_compression.errors import ArtifactError

    try:
        with artifact.open("rb") as file:
            return read_file_header(file)
    except ArtifactError as error:
        raise ModelRefusedError(f"the artifact cannot be read: {error}") from error


def read_base(artifact: Path, info: SlotInfo) -> bytes:
    """The decoded model of what lies in a slot: one copy of it in memory. Raises ModelRefusedError,
    OSError.
    """
    from edgepress_compression.artifact.read import ArtifactReader
    from edgepress_compression.artifact.sink import MemorySink
    from edgepress_compression.errors import ArtifactError

    if info.onnx_sha256 is not None:
        return decoded_path(artifact).read_bytes()
    sink = MemorySink()
    try:
        reader = ArtifactReader(sink)
        with artifact.open("rb") as file:
            while block := file.read(_READ_BYTES):
                reader.feed(block)
        reader.close()
    except ArtifactError as error:
        raise ModelRefusedError(f"the model that it builds on cannot be decoded: {error}") from error
    return sink.take()


def apply_delta(delta: Path, target: BinaryIO, *, base: bytes, onnx_sha256: str, onnx_bytes: int) -> None:
    """Write the model that ``delta`` makes of ``base``, which is the one with this SHA-256, or raise.

    Holds the base, one section and one tensor in memory. Raises ModelRefusedError (this delta cannot be used
    here), NotNowError (no memory now), OSError.
    """
    from edgepress_compression.artifact.read import decode_file
    from edgepress_compression.errors import ArtifactError

    header = read_header(delta)
    if header.base is None:
        raise ModelRefusedError("the delta is a whole artifact")
    if header.onnx_sha256 != onnx_sha256 or header.onnx_bytes != onnx_bytes:
        raise ModelRefusedError("the delta makes another model than its statement says")
    try:
        with delta.open("rb") as source:
            # That the model has the header's SHA-256 is checked to the end before this returns.
            decode_file(source, target, max_bytes=onnx_bytes, base=base)
    except ArtifactError as error:
        raise ModelRefusedError(str(error)) from error
    except MemoryError as error:
        raise NotNowError("there is not enough memory to apply this delta") from error
