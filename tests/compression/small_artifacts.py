"""A small model with every kind of weight, and artifacts of it, for the tests of the artifact."""

import struct
import zlib

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.artifact.head import front_bytes
from edgepress_compression.artifact.probe import Probe, ProbeInput
from edgepress_compression.artifact.read import open_whole, read_header
from edgepress_compression.artifact.write import seal, write_artifact
from edgepress_compression.codec.bytestream import varint
from edgepress_compression.codec.deflate import deflate

PROBE = Probe(
    inputs=(ProbeInput(name="x", shape=(1, 784), dtype="float32", kind="uniform", low=0.0, high=1.0),)
)


def model(weights):
    """A small ONNX file with these initializers (arrays by name)."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 784])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 784])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def write(onnx_model, **changes):
    arguments = {
        "name": "tiny",
        "profile": "generic-x86",
        "recipe": {"name": "none"},
        "provenance": {"source_sha256": "00"},
        "metadata": {},
        "probe": PROBE,
    }
    return write_artifact(onnx_model, **{**arguments, **changes})


def pruned(shape, kept, values, seed=0):
    rng = np.random.default_rng(seed)
    codebook = np.concatenate([[0], rng.normal(0, 0.1, values)]).astype(np.float32)
    indices = np.where(rng.random(shape) < kept, rng.integers(1, values + 1, shape), 0)
    return indices.astype(np.int32), codebook


INDICES, CODEBOOK = pruned((150, 196), 0.08, 15)
RNG = np.random.default_rng(2)
WEIGHTS = {
    "shared": CODEBOOK[INDICES],
    "int8": np.clip(RNG.normal(0, 20, (64, 32, 3, 3)), -128, 127).astype(np.int8),
    "uint8": np.clip(RNG.normal(128, 20, 5000), 0, 255).astype(np.uint8),
    "dense": RNG.normal(0, 0.1, (100, 40)).astype(np.float32),
    "half": RNG.normal(0, 0.1, 800).astype(np.float16).astype(np.float32),
    "float16": RNG.normal(0, 0.1, (30, 30)).astype(np.float16),
    "double": RNG.normal(0, 0.1, 300),
    "shape": np.array([1, -1, 784]),
    "table": np.arange(2000).reshape(40, 50),
    "noise": RNG.integers(-(2**63), 2**63 - 1, 700),
}
MODEL = model(WEIGHTS)
ARTIFACT = write(MODEL)
SECTIONS_AT = front_bytes(ARTIFACT[:25])


def skeleton_of(artifact):
    head = open_whole(artifact)
    skeleton = head.skeleton.read(head.skeleton_bytes)
    head.skeleton.end()
    return skeleton


def rebuilt(header=None, skeleton=None, sections=None, start=None, lengths=None):
    """ARTIFACT with parts replaced and all checksums right; the head is DEFLATE, so that it can be made here.

    ``header`` is JSON, ``start`` changes of the first six bytes by place, ``lengths`` of the three varints.
    """
    text = msgspec.json.encode(read_header(ARTIFACT), order="sorted") if header is None else header
    skeleton = skeleton_of(ARTIFACT) if skeleton is None else skeleton
    head = deflate(text + skeleton)
    first = bytearray(b"\x89EPA\2\0")
    for place, value in (start or {}).items():
        first[place] = value
    numbers = [len(head), len(text), len(skeleton)]
    for place, value in (lengths or {}).items():
        numbers[place] = value
    rest = b"".join(map(varint, numbers)) + head
    body = ARTIFACT[SECTIONS_AT:] if sections is None else sections
    return bytes(first) + struct.pack("<I", zlib.crc32(rest, zlib.crc32(bytes(first)))) + rest + body


def with_header(**changes):
    return rebuilt(header=msgspec.json.encode(msgspec.structs.replace(read_header(ARTIFACT), **changes)))


def with_entry(**changes):
    """The first tensor's entry changed."""
    first, *others = read_header(ARTIFACT).tensors
    return with_header(tensors=(msgspec.structs.replace(first, **changes), *others))


def with_body(body, **changes):
    """The first tensor's body replaced, its entry and checksum made to fit."""
    section = seal(body)
    entries = read_header(ARTIFACT).tensors
    others = ARTIFACT[len(ARTIFACT) - sum(entry.stored_bytes for entry in entries[1:]) :]
    changed = msgspec.structs.replace(entries[0], stored_bytes=len(section), **changes)
    header = msgspec.structs.replace(read_header(ARTIFACT), tensors=(changed, *entries[1:]))
    return rebuilt(header=msgspec.json.encode(header), sections=section + others)
