"""Hostile artifacts for the reader: header, skeleton, tables and sections, all checksums right.

    python tests/compression/hostile_artifacts.py [--runs N] [--corpus FOLDER]

fuzzes the reader with atheris, which follows its control flow (pip install atheris). A bounded number of
mutations without it is in test_hostile_artifacts.py.

An input's first byte says what the rest is: a file as it is; a file whose checksums are then made right; or
the parts of a file (header JSON, skeleton, sections), put together with right checksums, so that mutations
get past these. What may happen: the file decodes, or ArtifactError; nothing else, and never more bytes than
allowed. The compiled loops and the numpy reference must give the same bytes and refuse in the same place, and
so must streaming.
"""

import argparse
import functools
import io
import json
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

MOST_BYTES: Final = 1 << 20  # that decode may make of an input
AS_IS, RESEALED, PARTS, PARTS_OF_DELTA = range(4)
# What random bytes would take long to find.
WORDS: Final = (
    *("float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "int64", "same", "difference"),
    *("raw", "deflate", "planes", "floats", "text", "huffman", "gaps", "rans", "context", "bloomier"),
    *("context-delta", "tensors", "onnx_bytes", "base", "null", "true", "4294967296", "2147483647", "1e999"),
)


def one_input(data: bytes) -> str:
    """Decode what ``data`` describes; the reason of a refusal, or "decoded".

    Raises whatever a broken promise raises.
    """
    from edgepress_compression.codec import native

    file, base = artifact(data)
    said, made = _outcome(file, base)
    # A head coded as text takes the reference seconds.
    if native.available() and len(file) < 20_000 and file[4:6] != b"\2\1":
        with mock.patch.object(native, "_library", lambda: None):
            plainly_said, plainly_made = _outcome(file, base)
        # The place is the same; the reason is in other words.
        if plainly_said.split(":")[0] != said.split(":")[0]:
            raise AssertionError(f"compiled: {said}; numpy: {plainly_said}")
        if plainly_made != made:
            raise AssertionError(f"compiled loops and numpy decode to other bytes ({said})")
    return said


def _outcome(file: bytes, base: bytes | None) -> tuple[str, bytes]:
    """(the reason of a refusal, or "decoded"; what was streamed until then)."""
    from edgepress_compression.artifact import read
    from edgepress_compression.errors import ArtifactError

    decoded = None
    try:
        decoded = read.decode(file, max_bytes=MOST_BYTES, base=base)
        said = "decoded"
    except ArtifactError as error:
        said = str(error)
    target = io.BytesIO()
    try:
        read.decode_file(io.BytesIO(file), target, max_bytes=MOST_BYTES, base=base)
        streamed = "decoded"
    except ArtifactError as error:
        streamed = str(error)
    made = target.getvalue()
    if (streamed == "decoded") != (said == "decoded") or (decoded is not None and decoded != made):
        raise AssertionError(f"whole: {said}; streamed: {streamed}, or to other bytes")
    if len(made) > MOST_BYTES:
        raise AssertionError("more was decoded than allowed")
    return said, made


def artifact(data: bytes) -> tuple[bytes, bytes | None]:
    """(the file that an input describes, the base that its reader has)."""
    mode, rest = (data[0] % 4, data[1:]) if data else (AS_IS, b"")
    if mode == AS_IS:
        return rest, None
    if mode == RESEALED:
        return _resealed(rest), None
    return _joined(rest), base_model() if mode == PARTS_OF_DELTA else None


def parts(file: bytes) -> bytes:
    """The parts of a whole artifact of version 2, as PARTS takes them."""
    import msgspec

    from edgepress_compression.artifact.read import open_base, open_whole, sections

    head = open_whole(file)
    open_base(head, base_model() if head.header.base else None)
    header = msgspec.json.encode(head.header, order="sorted")
    skeleton = head.skeleton.read(head.skeleton_bytes)
    bodies = b"".join(bytes(section[:-2]) for _, section in sections(file, head) if section)
    return struct.pack("<HH", len(header), len(skeleton)) + header + skeleton + bodies


def _joined(rest: bytes) -> bytes:
    """A file of version 2 from parts; lengths in the header are believed as far as bytes are there."""
    header_bytes, skeleton_bytes = struct.unpack("<HH", rest[:4].ljust(4, b"\0"))
    header, rest = rest[4 : 4 + header_bytes], rest[4 + header_bytes :]
    skeleton, bodies = rest[:skeleton_bytes], rest[skeleton_bytes:]
    return _front(header, skeleton) + b"".join(_sections(header, bodies))


def _front(header: bytes, skeleton: bytes) -> bytes:
    from edgepress_compression.artifact.format import HEAD_DEFLATE, MAGIC, VERSION
    from edgepress_compression.codec.bytestream import varint
    from edgepress_compression.codec.deflate import deflate

    head = deflate(header + skeleton)
    start = MAGIC + bytes([VERSION, HEAD_DEFLATE])
    lengths = varint(len(head)) + varint(len(header)) + varint(len(skeleton))
    crc32 = zlib.crc32(head, zlib.crc32(lengths, zlib.crc32(start)))
    return start + crc32.to_bytes(4, "little") + lengths + head


def _sections(header: bytes, bodies: bytes) -> Iterator[bytes]:
    for stored_bytes in _stored_bytes(header):
        if stored_bytes >= 2:
            body, bodies = bodies[: stored_bytes - 2], bodies[stored_bytes - 2 :]
            yield body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "little")
    yield bodies


def _stored_bytes(header: bytes) -> list[int]:
    try:
        found = [entry[5] for entry in json.loads(header)["tensors"]]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return []
    return [size for size in found if isinstance(size, int) and 0 <= size <= MOST_BYTES]


def _resealed(file: bytes) -> bytes:
    """With the right checksum of the head, and where that is then read, of the sections."""
    from edgepress_compression.artifact.head import front_bytes, open_head
    from edgepress_compression.errors import ArtifactError

    try:
        end = front_bytes(file[:25])
        if end > len(file):
            return file
        at = 16 if file[4] == 1 else 6
        crc32 = zlib.crc32(file[at + 4 : end], zlib.crc32(file[:at]))
        file = file[:at] + crc32.to_bytes(4, "little") + file[at + 4 :]
        if file[4] == 1:
            return file
        entries = open_head(memoryview(file[:end])).header.tensors
    except ArtifactError:
        return file
    whole, at = [file[:end]], end
    for entry in entries:
        body = file[at : at + max(entry.stored_bytes - 2, 0)]
        whole.append(body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "little") if entry.stored_bytes else b"")
        at += entry.stored_bytes
    return b"".join([*whole, file[at:]])


# --- seeds ------------------------------------------------------------------------------------------------


def _model(seed: int) -> tuple[bytes, dict[str, Any]]:
    """A small ONNX file, and codes for some of its tensors."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from edgepress_compression.artifact.codes import ScaledIntegers, SharedWeights

    rng = np.random.default_rng(seed)
    codebook = np.sort(rng.normal(0, 0.1, 9)).astype(np.float32)
    indices = np.where(rng.random((20, 30)) < 0.2, rng.integers(0, 9, (20, 30)), 4).astype(np.int32)
    integers = np.clip(np.rint(rng.normal(0, 3, (8, 4, 3, 3))), -9, 9).astype(np.int32)
    scales = np.abs(rng.normal(0.01, 0.002, 8)).astype(np.float32)
    weights = {
        "shared": codebook[indices],
        "scaled": integers.astype(np.float32) * scales[:, None, None, None],
        "dense": rng.normal(0, 0.1, 90).astype(np.float32),
        "half": rng.normal(0, 0.1, 70).astype(np.float16),
        "bytes": np.clip(rng.normal(0, 20, 300), -128, 127).astype(np.int8),
        "shape": np.array([1, -1, 600]),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    codes = {"shared": SharedWeights(indices, codebook), "scaled": ScaledIntegers(integers, scales, 0)}
    return onnx_model, codes


def _written(onnx_model: bytes, **more: Any) -> bytes:
    from edgepress_compression.artifact.probe import Probe, ProbeInput
    from edgepress_compression.artifact.write import write_artifact

    x = ProbeInput(name="x", shape=(1, 4), dtype="float32", kind="uniform", low=0.0, high=1.0)
    return write_artifact(
        onnx_model, name="tiny", profile="generic-x86", recipe={"name": "none"}, provenance={}, metadata={},
        probe=Probe(inputs=(x,)), **more,
    )  # fmt: skip


@functools.cache
def base_model() -> bytes:
    """The ONNX file that the reader of a delta has."""
    return _model(0)[0]


def seeds() -> list[bytes]:
    """Inputs that decode."""
    onnx_model, codes = _model(0)
    changed, codes_changed = _model(1)
    files = [
        *(
            _written(onnx_model, codes=codes, coding=coding)
            for coding in ("fast", "small", "huffman", "gaps")
        ),
        *(_written(onnx_model, coding=coding) for coding in ("raw", "deflate", "planes", "bloomier")),
    ]
    deltas = [_written(changed, codes=codes_changed, base=onnx_model), _written(onnx_model, base=onnx_model)]
    first = (Path(__file__).parents[1] / "fixtures/artifact/version-1.epa").read_bytes()
    return [
        *(bytes([AS_IS]) + file for file in (files[0], first)),
        *(bytes([RESEALED]) + file for file in (files[0], first)),
        *(bytes([PARTS]) + parts(file) for file in files),
        *(bytes([PARTS_OF_DELTA]) + parts(file) for file in deltas),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the artifact reader, guided by its control flow.")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="inputs to start from, and where new ones are kept")
    arguments = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("atheris is missing: pip install atheris (Linux, CPython 3.11 to 3.13)", file=sys.stderr)
        return 1
    with atheris.instrument_imports(
        include=["edgepress_compression.artifact", "edgepress_compression.codec"]
    ):
        import edgepress_compression.artifact.read  # noqa: F401
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix="edgepress-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_suffix(".words")
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    options = [
        *(
            f"-runs={arguments.runs}",
            f"-seed={arguments.seed}",
            f"-dict={words}",
            "-max_len=12000",
            "-timeout=20",
        ),
        *("-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={corpus}-", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
