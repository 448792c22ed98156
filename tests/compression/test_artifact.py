"""Artifacts: the ONNX file comes back bit for bit, small, and says what it holds."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import plain_decoder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_artifacts import ARTIFACT, CODEBOOK, INDICES, MODEL, PROBE, RNG, SECTIONS_AT, WEIGHTS, model, write

from edgepress_compression.artifact.choose import CODINGS
from edgepress_compression.artifact.format import Grid
from edgepress_compression.artifact.holes import find_holes
from edgepress_compression.artifact.read import decode, read_header, tensors
from edgepress_compression.artifact.sizes import sizes
from edgepress_compression.artifact.write import ScaledIntegers, SharedWeights
from edgepress_compression.codec import native
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.trellis import untangle
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=40)  # a busy machine is no failure


def entry_of(artifact, name):
    return next(entry for entry in tensors(artifact) if entry.name == name)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_onnx_file_comes_back_bit_for_bit_with_any_coding(coding):
    assert decode(write(MODEL, coding=coding)) == MODEL


def test_small_takes_the_fewest_bytes_and_auto_at_most_a_hundredth_more():
    small = len(write(MODEL, coding="small"))
    assert all(len(write(MODEL, coding=coding)) >= small for coding in CODINGS)
    assert len(ARTIFACT) <= 1.01 * small + SECTIONS_AT


def test_fast_takes_no_slow_coder():
    slow = {"context", "bloomier"} & set(SYMBOL_CODERS)
    assert not slow & {entry.coding for entry in tensors(write(MODEL, coding="fast"))}


def test_auto_takes_a_slow_coder_where_it_saves_a_hundredth_and_not_elsewhere():
    # Rows and columns of their own density: what the coder of contexts sees and a table does not.
    density = np.outer(np.linspace(0, 1, 120), np.linspace(0, 1, 160)) ** 2
    structured = np.where(RNG.random(density.shape) < density, RNG.integers(1, 9, density.shape), 0)
    scattered = RNG.integers(0, 9, density.shape)
    values = np.arange(9, dtype=np.float32) / 16
    artifact = write(model({"structured": values[structured], "scattered": values[scattered]}))
    assert entry_of(artifact, "structured").coding == "context"
    assert entry_of(artifact, "scattered").coding not in ("context", "bloomier")


def test_every_kind_of_weight_gets_the_kind_of_coding_that_suits_it():
    of_symbols = {entry.name for entry in tensors(ARTIFACT) if entry.coding in SYMBOL_CODERS}
    of_bytes = {entry.name for entry in tensors(ARTIFACT) if entry.coding in BYTE_CODERS}
    assert of_symbols == {"shared", "int8", "uint8"}
    assert of_bytes == {"dense", "half", "float16", "double", "table", "noise"}
    assert entry_of(ARTIFACT, "shared").values == 16
    half = entry_of(ARTIFACT, "half")
    assert half.stored_bytes < 0.51 * half.size_bytes
    # "shape" is too small for a section: it stays in the skeleton.


def test_a_pruned_and_shared_layer_takes_a_fortieth_of_its_bytes():
    entry = entry_of(ARTIFACT, "shared")
    assert (
        entry.stored_bytes < entry.size_bytes / 40
    )  # at random places; trained weights cluster, and take less


def test_int8_weights_take_about_their_entropy():
    counts = np.unique(WEIGHTS["int8"], return_counts=True)[1]
    entropy_bytes = -(counts * np.log2(counts / counts.sum())).sum() / 8
    assert entry_of(ARTIFACT, "int8").stored_bytes < 1.02 * entropy_bytes


def test_the_same_arguments_give_the_same_bytes():
    reordered = {"b": 1, "a": {"d": 2, "c": 3}}
    ordered = {"a": {"c": 3, "d": 2}, "b": 1}
    assert write(MODEL, recipe=ordered) == write(MODEL, recipe=reordered)


def test_the_header_says_what_was_written():
    header = read_header(ARTIFACT)
    assert (header.name, header.profile, header.recipe) == ("tiny", "generic-x86", {"name": "none"})
    assert (header.probe, header.base) == (PROBE, None)
    assert header.onnx_bytes == len(MODEL)
    assert header.onnx_sha256 == hashlib.sha256(MODEL).hexdigest()


def test_header_and_skeleton_cost_little():
    # Nine entries, a SHA-256, a probe and a graph.
    assert SECTIONS_AT < 450


def test_sizes_add_up_to_the_file_and_to_the_model():
    rows = sizes(ARTIFACT)
    assert sum(row.stored_bytes for row in rows) == len(ARTIFACT)
    assert sum(row.raw_bytes for row in rows) == len(MODEL)


def test_sizes_follow_a_tensor_from_its_elements_to_what_is_stored():
    row = next(row for row in sizes(ARTIFACT) if row.name == "shared")
    counts = np.bincount(INDICES.reshape(-1))
    entropy_bytes = (counts * np.log2(INDICES.size / counts)).sum() / 8
    assert (row.form, row.values) == ("codebook", 16)
    assert row.nonzero == np.count_nonzero(INDICES)
    assert row.nonzero_bytes == 4 * row.nonzero
    assert row.entropy_bytes == int(np.ceil(entropy_bytes))
    assert 16 < row.side_bytes <= 4 * 16 + 6


# --- codes that a pass leaves -----------------------------------------------------------------------------


def test_codes_that_give_the_tensor_are_taken():
    assert write(MODEL, codes={"shared": SharedWeights(INDICES, CODEBOOK)}) == ARTIFACT


@pytest.mark.parametrize("shape", [(40, 30), (7, 3, 3, 3), (300,)])
@pytest.mark.parametrize("per_index", [False, True])
@pytest.mark.parametrize("trellis", [False, True])
@pytest.mark.parametrize("last_axis", [False, True])
def test_scaled_integers_come_back_bit_for_bit(shape, per_index, trellis, last_axis):
    axis = len(shape) - 1 if last_axis else 0
    integers = np.rint(RNG.laplace(0, 3, shape)).astype(np.int32)
    if trellis:
        lowest, flat = int(integers.min()), np.empty(integers.size, np.int32)
        untangle((integers - lowest).reshape(-1).astype(np.uint8), lowest, shape, axis, flat)
        integers = flat.reshape(shape)
    scales = RNG.uniform(0.01, 0.1, shape[axis] if per_index else 1).astype(np.float32)
    codes = ScaledIntegers(integers, scales, axis, trellis)
    onnx_model = model({"w": codes.weights()})
    artifact = write(onnx_model, codes={"w": codes}, coding="small")
    assert decode(artifact) == onnx_model
    if len(shape) > 1 or not per_index:  # else there is a scale for each element
        assert isinstance(entry_of(artifact, "w").values, Grid)


def test_a_step_for_each_channel_costs_its_scales_and_no_codebook():
    integers = RNG.integers(-7, 8, (64, 200)).astype(np.int32)
    scales = RNG.uniform(0.01, 0.1, 64).astype(np.float32)
    codes = ScaledIntegers(integers, scales)
    row = sizes(write(model({"w": codes.weights()}), codes={"w": codes}))[2]
    assert (row.form, row.values) == ("integers", 15)
    assert row.side_bytes < 4 * 64 + 8
    assert row.stored_bytes - row.side_bytes < 1.01 * integers.size * np.log2(15) / 8 + 40


def test_a_payload_that_a_pass_made_ready_is_taken_where_it_is_smaller():
    payload = SYMBOL_CODERS["gaps"].encode(INDICES.reshape(-1).astype(np.uint8), 16, INDICES.shape)
    codes = {"shared": SharedWeights(INDICES, CODEBOOK, {"gaps": payload})}
    artifact = write(MODEL, codes=codes, coding="gaps")
    assert decode(artifact) == MODEL
    assert entry_of(artifact, "shared").coding == "gaps"


SCALES = np.full(1, 0.5, np.float32)
OTHER = SYMBOL_CODERS["huffman"].encode((15 - INDICES).reshape(-1).astype(np.uint8), 16, INDICES.shape)


@pytest.mark.parametrize(
    ("reason", "name", "codes"),
    [
        ("bit for bit", "shared", SharedWeights(INDICES, CODEBOOK * np.float32(1.0001))),
        ("outside the codebook", "shared", SharedWeights(INDICES + 1, CODEBOOK)),
        ("shape", "shared", SharedWeights(INDICES.T, CODEBOOK)),
        ("no such initializer", "absent", SharedWeights(INDICES, CODEBOOK)),
        ("does not give its indices", "shared", SharedWeights(INDICES, CODEBOOK, {"huffman": OTHER})),
        ("cannot be read", "shared", SharedWeights(INDICES, CODEBOOK, {"huffman": b""})),
        ("bit for bit", "shared", ScaledIntegers(INDICES, SCALES)),
        ("2 scales", "shared", ScaledIntegers(INDICES, SCALES.repeat(2))),
        ("4097 whole numbers", "shared", ScaledIntegers(np.where(INDICES, 4096, 0).astype(np.int32), SCALES)),
        ("not finite", "shared", ScaledIntegers(INDICES, SCALES * np.float32(np.inf))),
        ("too small", "shared", ScaledIntegers(INDICES, np.full(1, 1e-40, np.float32))),
        ("an axis", "shared", ScaledIntegers(INDICES, SCALES, axis=2)),
        ("no trellis", "shared", ScaledIntegers(INDICES, SCALES, 0, trellis=True)),
    ],
)
def test_codes_are_refused_when_they_do_not_give_the_tensor(reason, name, codes):
    with pytest.raises(ArtifactError, match=reason):
        write(MODEL, codes={name: codes})


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("no ONNX file", {"onnx_model": b"\xff" * 100}),
        ("'zip' is not known; use one of auto, fast, small, raw", {"coding": "zip"}),
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


@pytest.mark.parametrize("coding", ["planes", "floats"])
def test_a_large_tensor_of_bytes_is_coded_in_blocks(coding):
    onnx_model = model({"w": RNG.normal(0, 0.1, (1 << 18) + 77).astype(np.float32)})
    artifact = write(onnx_model, coding=coding)
    assert entry_of(artifact, "w").coding == coding
    assert decode(artifact) == onnx_model


def test_a_skeleton_beyond_256_kib_is_deflated():
    proto = onnx.load_from_string(MODEL)
    proto.doc_string = "some words " * 30_000
    onnx_model = proto.SerializeToString()
    artifact = write(onnx_model)
    assert (artifact[5], ARTIFACT[5]) == (0, 1)
    assert decode(artifact) == onnx_model
    assert sum(row.stored_bytes for row in sizes(artifact)) == len(artifact)


FIXTURES = Path(__file__).parent.parent / "fixtures/artifact"
# SHA-256 of what they decode to. Written once (make_fixtures.py), and never again after the release of their
# version: change the reader until it reads them.
VERSION_1 = "6876261f3ea658afd46653f97324f09d474d0f32e23aca31d6e6c2a570168cb0"
VERSION_2 = "77ba0703c09921803782788a171194bd08820e3fd75572d90dbb95e0b4bf50a3"
VERSION_2_DELTA = "92fcaab8a2a25695f93ce0bf4b987d0906fd069a740718c4fa9ce1679534c4dc"


@pytest.mark.parametrize("read", [decode, plain_decoder.decode])
def test_an_artifact_of_version_1_decodes_for_ever(read):
    data = FIXTURES.joinpath("version-1.epa").read_bytes()
    assert {entry.coding for entry in tensors(data)} == {"raw", "deflate", "planes", "huffman", "gaps"}
    assert sum(row.stored_bytes for row in sizes(data)) == len(data)
    assert hashlib.sha256(read(data)).hexdigest() == VERSION_1


@pytest.mark.parametrize("compiled", [True, False])
def test_artifacts_of_version_2_decode_for_ever(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "_library", lambda: None)
    data = FIXTURES.joinpath("version-2.epa").read_bytes()
    delta = FIXTURES.joinpath("version-2-delta.epa").read_bytes()
    assert {entry.coding for entry in tensors(data)} >= {*BYTE_CODERS, *SYMBOL_CODERS}
    assert {entry.coding for entry in tensors(delta)} >= {"same", "difference", "context-delta"}
    whole = decode(data)
    assert hashlib.sha256(whole).hexdigest() == VERSION_2
    assert hashlib.sha256(decode(delta, base=whole)).hexdigest() == VERSION_2_DELTA
