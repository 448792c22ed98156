"""Artifacts: the ONNX file comes back bit for bit, small, and every lie in a file is refused in words."""

import hashlib
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
import plain_decoder
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.artifact.format import PREFIX
from edgepress_compression.artifact.holes import find_holes
from edgepress_compression.artifact.probe import Probe, ProbeInput
from edgepress_compression.artifact.read import decode, read_header, sizes, tensors
from edgepress_compression.artifact.write import SharedWeights, write_artifact
from edgepress_compression.codec.deflate import deflate
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=40)  # a busy machine is no failure

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


INDICES, CODEBOOK = pruned((300, 784), 0.08, 15)
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


@pytest.mark.parametrize("coding", ["auto", "raw", "deflate", "planes", "huffman", "gaps"])
def test_the_onnx_file_comes_back_bit_for_bit_with_any_coding(coding):
    artifact = write(MODEL, coding=coding)
    assert decode(artifact) == MODEL
    assert len(artifact) >= len(ARTIFACT)  # auto is never beaten


def test_a_decoder_written_from_the_format_page_agrees():
    assert plain_decoder.decode(ARTIFACT) == MODEL


def test_every_kind_of_weight_gets_the_coding_that_suits_it():
    entries = {entry.name: entry for entry in tensors(ARTIFACT)}
    assert {name: entry.coding for name, entry in entries.items()} == {
        "shared": "gaps",
        "int8": "huffman",
        "uint8": "huffman",
        "dense": "planes",
        "half": "planes",
        "float16": "planes",
        "double": "planes",
        "table": "planes",
        "noise": "raw",
    }
    assert entries["shared"].codebook == 16
    assert entries["half"].stored_bytes < 0.51 * entries["half"].size_bytes
    assert "shape" not in entries  # too small for a section: it stays in the skeleton


def test_a_pruned_and_shared_layer_takes_a_fortieth_of_its_bytes():
    entry = next(entry for entry in tensors(ARTIFACT) if entry.name == "shared")
    assert (
        entry.stored_bytes < entry.size_bytes / 40
    )  # at random places; trained weights cluster, and take less


def test_int8_weights_take_about_their_entropy():
    entry = next(entry for entry in tensors(ARTIFACT) if entry.name == "int8")
    counts = np.unique(WEIGHTS["int8"], return_counts=True)[1]
    entropy_bytes = -(counts * np.log2(counts / counts.sum())).sum() / 8
    assert entry.stored_bytes < 1.02 * entropy_bytes


def test_the_same_arguments_give_the_same_bytes():
    reordered = {"b": 1, "a": {"d": 2, "c": 3}}
    ordered = {"a": {"c": 3, "d": 2}, "b": 1}
    assert write(MODEL, recipe=ordered) == write(MODEL, recipe=reordered)


def test_the_header_says_what_was_written():
    header = read_header(ARTIFACT)
    assert (header.name, header.profile, header.recipe) == ("tiny", "generic-x86", {"name": "none"})
    assert header.probe == PROBE
    assert header.onnx_bytes == len(MODEL)
    assert header.onnx_sha256 == hashlib.sha256(MODEL).hexdigest()


def test_sizes_add_up_to_the_file_and_to_the_model():
    rows = sizes(ARTIFACT)
    assert sum(row.stored_bytes for row in rows) == len(ARTIFACT)
    assert sum(row.raw_bytes for row in rows) == len(MODEL)
    shared = next(row for row in rows if row.name == "shared")
    assert 0 < shared.codebook_bytes <= 4 * 16 + 10


def test_codes_that_give_the_tensor_are_taken():
    codes = {"shared": SharedWeights(INDICES, CODEBOOK)}
    assert write(MODEL, codes=codes) == ARTIFACT


@pytest.mark.parametrize(
    ("reason", "name", "codes"),
    [
        ("bit for bit", "shared", SharedWeights(INDICES, CODEBOOK * np.float32(1.0001))),
        ("outside the codebook", "shared", SharedWeights(INDICES + 1, CODEBOOK)),
        ("shape", "shared", SharedWeights(INDICES.T, CODEBOOK)),
        ("no such initializer", "absent", SharedWeights(INDICES, CODEBOOK)),
    ],
)
def test_codes_are_refused_when_they_do_not_give_the_tensor(reason, name, codes):
    with pytest.raises(ArtifactError, match=reason):
        write(MODEL, codes={name: codes})


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("no ONNX file", {"onnx_model": b"\xff" * 100}),
        ("'zip' is not known; use one of auto, raw", {"coding": "zip"}),
        ("must be JSON", {"recipe": {"what": object()}}),
    ],
)
def test_writing_is_refused_with(reason, arguments):
    with pytest.raises(ArtifactError, match=reason):
        write(**{"onnx_model": MODEL, **arguments})


def test_weights_are_found_wherever_onnx_keeps_them():
    proto = onnx.load_from_string(MODEL)
    packed = helper.make_tensor("packed", TensorProto.FLOAT, [300], [0.5] * 300)  # in float_data
    proto.graph.initializer.append(packed)
    constant = numpy_helper.from_array(np.ones(400, np.float32))
    proto.graph.node.append(helper.make_node("Constant", [], ["constant"], value=constant))
    found = {hole.name: hole for hole in find_holes(proto.SerializeToString())}
    assert found["packed"].shape == (300,)
    assert found["constant"].shape == (400,)
    assert decode(write(proto.SerializeToString())) == proto.SerializeToString()


@UNHURRIED
@given(st.dictionaries(st.text(min_size=1, max_size=9), st.integers(0, 300), max_size=4), st.data())
def test_any_model_comes_back(sides, data):
    dtypes = st.sampled_from(["float32", "int8", "uint8", "int64", "float16", "bool"])
    weights = {
        name: RNG.integers(-3, 3, side)
        .astype(data.draw(dtypes))
        .reshape(data.draw(st.sampled_from([(-1,), (-1, 1)])))
        for name, side in sides.items()
    }
    onnx_model = model(weights)
    assert decode(write(onnx_model)) == onnx_model


# --- damaged and hostile files ----------------------------------------------------------------------------


def rebuilt(header=None, skeleton=None, sections=None, prefix=None):
    """ARTIFACT with parts replaced and all checksums right."""
    fields = PREFIX.unpack_from(ARTIFACT)
    plain = zlib.decompress(ARTIFACT[PREFIX.size : PREFIX.size + fields[3]], -15)
    text = plain[: fields[4]] if header is None else header
    head = deflate(text + (plain[fields[4] :] if skeleton is None else skeleton))
    start = [b"\x89EPA", 1, bytes(3), len(head), len(text), 0]
    for place, value in (prefix or {}).items():
        start[place] = value
    packed = PREFIX.pack(*start)[:-4]
    body = ARTIFACT[PREFIX.size + fields[3] :] if sections is None else sections
    return packed + struct.pack("<I", zlib.crc32(head, zlib.crc32(packed))) + head + body


def with_header(**changes):
    return rebuilt(header=msgspec.json.encode(msgspec.structs.replace(read_header(ARTIFACT), **changes)))


def with_entry(**changes):
    """The first tensor's entry changed."""
    first, *others = read_header(ARTIFACT).tensors
    return with_header(tensors=(msgspec.structs.replace(first, **changes), *others))


def with_section(section, **changes):
    """The first tensor's section replaced, its entry made to fit."""
    entries = read_header(ARTIFACT).tensors
    others = ARTIFACT[len(ARTIFACT) - sum(entry.stored_bytes for entry in entries[1:]) :]
    changed = msgspec.structs.replace(
        entries[0], stored_bytes=len(section), crc32=zlib.crc32(section), **changes
    )
    header = msgspec.structs.replace(read_header(ARTIFACT), tensors=(changed, *entries[1:]))
    return rebuilt(header=msgspec.json.encode(header), sections=section + others)


def test_the_test_builds_whole_artifacts():
    assert decode(rebuilt()) == MODEL
    assert decode(with_header()) == MODEL
    assert decode(with_section(WEIGHTS["shared"].tobytes(), coding="raw", codebook=0)) == MODEL


LIES = [
    ("nothing at all", b"", "no edgepress artifact"),
    ("an ONNX file", MODEL, "no edgepress artifact"),
    ("a newer version", rebuilt(prefix={1: 2}), "version 2 is not known"),
    ("reserved bytes used", rebuilt(prefix={2: b"\0\1\0"}), "first 20 bytes are damaged"),
    ("a header of no bytes", rebuilt(prefix={4: 0}), "first 20 bytes are damaged"),
    ("a header of 4 GB", rebuilt(prefix={4: 2**32 - 1}), "first 20 bytes are damaged"),
    ("a file that ends in its head", ARTIFACT[:100], "ends in the header"),
    ("a file that ends in a tensor", ARTIFACT[:-1], "the header says"),
    ("bytes after the end", ARTIFACT + b"\0", "the header says"),
    ("a header that is no JSON", rebuilt(header=b"{nothing}"), "header: it cannot be read"),
    ("a header with an unknown key", rebuilt(header=b'{"x":1}'), "header: it cannot be read"),
    ("a header nested too deep", rebuilt(header=b"[" * 100_000), "header: it cannot be read"),
    ("a header that is no UTF-8", rebuilt(header=b'{"name":"\xff"}'), "header: it cannot be read"),
    ("a SHA-256 that is none", with_header(onnx_sha256="no"), "no such thing"),
    ("another SHA-256", with_header(onnx_sha256="0" * 64), "SHA-256 is not the header's"),
    ("a model of 3 GiB", with_header(onnx_bytes=3 << 30), "no such thing"),
    ("a model of -1 bytes", with_header(onnx_bytes=-1), "no such thing"),
    ("a model that is longer than its parts", with_header(onnx_bytes=len(MODEL) + 1), "skeleton: "),
    ("a skeleton that is too long", with_header(onnx_bytes=len(MODEL) - 1), "skeleton: bytes are left over"),
    ("tensors larger than the model", with_header(onnx_bytes=1000), "its tensors need"),
    ("a tensor without a name", with_entry(name=""), "name has 0 characters"),
    ("a negative side", with_entry(shape=(-300, 784)), "tensor 'shared': the shape"),
    ("a side of zero", with_entry(shape=(0,)), "tensor 'shared': the shape"),
    ("nine sides", with_entry(shape=(1,) * 9), "tensor 'shared': the shape"),
    ("a huge product of sides", with_entry(shape=(2**31 - 1,) * 8), "its tensors need"),
    ("a negative skip", with_entry(skip=-1), "a length in the header"),
    ("a skip beyond the skeleton", with_entry(skip=10**6), "its tensors need"),
    ("negative stored bytes", with_entry(stored_bytes=-5), "a length in the header"),
    ("a coding that is not known", with_entry(coding="future"), "coding 'future' is not known"),
    ("symbols of floats without a codebook", with_entry(codebook=0), "coding 'gaps' is not known"),
    ("a codebook for bytes", with_entry(coding="raw"), "coding 'raw' is not known"),
    ("a codebook of 4,097 values", with_entry(codebook=4097), "a codebook of 4097"),
    ("another dtype", with_entry(dtype="complex64"), "header: it cannot be read"),
    ("another checksum", with_entry(crc32=1), "tensor 'shared': its checksum"),
    (
        "raw bytes too short",
        with_section(b"abc", coding="raw", codebook=0),
        "tensor 'shared': 3 bytes stored",
    ),
    ("a section of no bytes", with_section(b""), "tensor 'shared': payload ends early"),
    ("a codebook longer than its section", with_section(b"\xff\x01abc"), "tensor 'shared': "),
]


@pytest.mark.parametrize(("claim", "data", "reason"), LIES, ids=[lie[0] for lie in LIES])
def test_a_file_is_refused_that_is_or_holds(claim, data, reason):
    with pytest.raises(ArtifactError, match=reason):
        decode(data)


def test_a_model_larger_than_the_caller_allows_is_refused_before_it_is_decoded():
    assert decode(ARTIFACT, max_bytes=len(MODEL)) == MODEL
    with pytest.raises(ArtifactError, match="more than the"):
        decode(ARTIFACT, max_bytes=len(MODEL) - 1)


def test_every_flipped_bit_in_a_file_is_found():
    # A small artifact, each of its bits flipped once.
    onnx_model = model({"w": WEIGHTS["shared"][:8, :100]})
    artifact = write(onnx_model)
    for position in range(8 * len(artifact)):
        flipped = bytearray(artifact)
        flipped[position >> 3] ^= 1 << (position & 7)
        with pytest.raises(ArtifactError):
            decode(bytes(flipped))


@UNHURRIED
@given(st.data())
def test_a_section_damaged_under_a_right_checksum_is_refused(data):
    entries = read_header(ARTIFACT).tensors
    sections = ARTIFACT[len(ARTIFACT) - sum(entry.stored_bytes for entry in entries) :]
    damaged = bytearray(sections[: entries[0].stored_bytes])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 150) | st.integers(0, len(damaged) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
    assume(damaged != sections[: entries[0].stored_bytes])
    with pytest.raises(ArtifactError, match=r"tensor 'shared'|SHA-256"):
        decode(with_section(bytes(damaged)))


@UNHURRIED
@given(st.binary(max_size=200))
def test_noise_with_the_right_magic_is_refused(noise):
    with pytest.raises(ArtifactError):
        decode(b"\x89EPA\x01\0\0\0" + noise)


@pytest.mark.parametrize("read", [decode, plain_decoder.decode])
def test_an_artifact_of_version_1_decodes_for_ever(read):
    # Written once. Never write it again: change the reader until it reads this one.
    data = Path(__file__).parent.parent.joinpath("fixtures/artifact/version-1.epa").read_bytes()
    assert {entry.coding for entry in tensors(data)} == {"raw", "deflate", "planes", "huffman", "gaps"}
    assert (
        hashlib.sha256(read(data)).hexdigest()
        == "6876261f3ea658afd46653f97324f09d474d0f32e23aca31d6e6c2a570168cb0"
    )
