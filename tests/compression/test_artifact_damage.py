"""Damaged and hostile artifacts: every lie is refused in words, and nothing large is made before it is."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_artifacts import (
    ARTIFACT,
    MODEL,
    SECTIONS_AT,
    WEIGHTS,
    model,
    rebuilt,
    skeleton_of,
    with_body,
    with_entry,
    with_header,
    write,
)

from edgepress_compression.artifact.format import Grid
from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.codec.bytestream import varint
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=40)  # a busy machine is no failure
SKELETON = skeleton_of(ARTIFACT)
FIRST = read_header(ARTIFACT).tensors[0]


def test_the_tests_build_whole_artifacts():
    assert decode(rebuilt()) == MODEL
    assert decode(with_header()) == MODEL
    assert decode(with_body(WEIGHTS["shared"].tobytes(), coding="raw", values=0)) == MODEL


def with_values(*grid):
    return with_entry(values=Grid(*grid))


LIES = [
    ("nothing at all", b"", "no edgepress artifact"),
    ("an ONNX file", MODEL, "no edgepress artifact"),
    ("a newer version", rebuilt(start={4: 3}), "version 3 is not known.*update it"),
    ("a head coded in a new way", rebuilt(start={5: 2}), "coding 2 is not known here; update"),
    ("a text of 300,000 bytes", rebuilt(start={5: 1}, lengths={1: 300_000}), "a text of more than 262144"),
    ("a header of no bytes", rebuilt(lengths={1: 0}), "header: it cannot be read"),
    ("a header of 32 MB", rebuilt(lengths={1: 1 << 25}), "first bytes are damaged"),
    ("a head that is longer than the file", rebuilt(lengths={0: 1 << 30}), "ends in the header"),
    ("a file that ends in its head", ARTIFACT[:100], "ends in the header"),
    ("a file that ends in its first bytes", ARTIFACT[:20], "ends in the header"),
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
    ("a model that is longer than its parts", with_header(onnx_bytes=len(MODEL) + 1), "its parts make"),
    ("a model that is shorter than its parts", with_header(onnx_bytes=len(MODEL) - 1), "its parts make"),
    (
        "a skeleton that goes on",
        rebuilt(skeleton=SKELETON + b"x", lengths={2: len(SKELETON)}),
        "skeleton: ",
    ),
    ("tensors larger than the model", with_header(onnx_bytes=1000), "its tensors need"),
    ("a tensor without a name", with_entry(name=""), "name has 0 characters"),
    ("a negative side", with_entry(shape=(-300, 784)), "tensor 'shared': the shape"),
    ("a side of zero", with_entry(shape=(0,)), "tensor 'shared': the shape"),
    ("nine sides", with_entry(shape=(1,) * 9), "tensor 'shared': the shape"),
    ("a huge product of sides", with_entry(shape=(2**31 - 1,) * 8), "its tensors need"),
    ("a negative skip", with_entry(skip=-1), "a length in the header"),
    ("a skip beyond the skeleton", with_entry(skip=10**6), "its tensors need"),
    ("negative stored bytes", with_entry(stored_bytes=-5), "a length in the header"),
    ("more stored than the tensor has", with_entry(stored_bytes=10**7), "a length in the header"),
    ("a coding that is not known", with_entry(coding="future"), "coding 'future' is not known"),
    ("a coding of a delta", with_entry(coding="same", values=0), "coding 'same' is not known"),
    ("a section of no bytes", with_entry(stored_bytes=0), "0 bytes stored"),
    ("symbols of floats without a codebook", with_entry(values=0), "coding '.*' is not known"),
    ("a codebook for bytes", with_entry(coding="raw"), "coding 'raw' is not known"),
    ("a codebook of 4,097 values", with_entry(values=4097), "4097 values, at most 4096"),
    ("a codebook of -1 values", with_entry(values=-1), "-1 values"),
    ("a codebook of 300 bytes", with_entry(dtype="int8", values=300), "codebook of 300 values of int8"),
    ("a grid of 4,097 numbers", with_values(0, 4097, 0, 0), "4097 values"),
    ("a grid of no numbers", with_values(0, 0, 0, 0), "cannot be"),
    ("a grid far from zero", with_values(1 << 23, 16, 0, 0), "cannot be"),
    ("a grid on a third axis", with_values(0, 16, 2, 1), "cannot be"),
    ("a grid with an unknown flag", with_values(0, 16, 0, 4), "cannot be"),
    ("a grid of whole numbers", with_entry(dtype="int32", values=Grid(0, 16, 0, 0)), "cannot be"),
    ("another dtype", with_entry(dtype="complex64"), "header: it cannot be read"),
    ("raw bytes too short", with_body(b"abc", coding="raw", values=0), "tensor 'shared': 3 bytes stored"),
    ("a body of no bytes", with_body(b""), "tensor 'shared': payload ends early"),
    ("a codebook longer than its section", with_body(varint(8 * 60 + 2) + b"abc"), "tensor 'shared': "),
    ("a codebook coded in a new way", with_body(varint(8 * 3 + 5) + b"abc"), "coding number 5 is not known"),
    ("the codebook of a base", with_body(varint(7) + b"abc"), "coding number 7 is not known"),
    ("a section of one byte", ARTIFACT[:0] + with_entry(stored_bytes=1), "the header says"),
]


@pytest.mark.parametrize(("claim", "data", "reason"), LIES, ids=[lie[0] for lie in LIES])
def test_a_file_is_refused_that_is_or_holds(claim, data, reason):
    with pytest.raises(ArtifactError, match=reason):
        decode(data)


def test_a_model_larger_than_the_caller_allows_is_refused_before_it_is_decoded():
    assert decode(ARTIFACT, max_bytes=len(MODEL)) == MODEL
    with pytest.raises(ArtifactError, match="more than the"):
        decode(ARTIFACT, max_bytes=len(MODEL) - 1)


def test_a_scale_that_is_not_finite_is_refused():
    infinite = varint(8 * 4) + b"\0\0\x80\x7f"  # coder 0, raw
    with pytest.raises(ArtifactError, match="scale is not finite"):
        decode(with_body(infinite, values=Grid(0, 16, 0, 0)))


def small_artifact():
    return write(model({"w": WEIGHTS["shared"][:8, :100], "b": WEIGHTS["half"][:80]}))


def test_a_flipped_bit_in_any_byte_of_a_file_is_found():
    artifact = small_artifact()
    for position in range(len(artifact)):
        flipped = bytearray(artifact)
        flipped[position] ^= 1 << (position % 8)
        with pytest.raises(ArtifactError):
            decode(bytes(flipped))


def test_every_byte_that_is_missing_or_too_many_is_found():
    artifact = small_artifact()
    for position in range(len(artifact)):
        with pytest.raises(ArtifactError):
            decode(artifact[:position] + artifact[position + 1 :])
        with pytest.raises(ArtifactError):
            decode(artifact[:position])


@UNHURRIED
@given(st.data())
def test_a_body_damaged_under_a_right_checksum_is_refused(data):
    body = bytearray(ARTIFACT[SECTIONS_AT : SECTIONS_AT + FIRST.stored_bytes - 2])
    whole = bytes(body)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 150) | st.integers(0, len(body) - 1))
        body[at] ^= data.draw(st.integers(1, 255))
    assume(bytes(body) != whole)
    with pytest.raises(ArtifactError, match=r"tensor 'shared'|SHA-256"):
        decode(with_body(bytes(body)))


@UNHURRIED
@given(st.binary(max_size=200), st.sampled_from([1, 2]))
def test_noise_with_the_right_magic_is_refused(noise, version):
    with pytest.raises(ArtifactError):
        decode(b"\x89EPA" + bytes([version]) + noise)
