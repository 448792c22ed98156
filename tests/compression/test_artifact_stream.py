"""Artifacts decoded as they come: in pieces of any size, into a file, and never half."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifacts import ARTIFACT, MODEL, SECTIONS_AT, skeleton_of

from edgepress_compression.artifact.read import ArtifactReader, decode_file, read_header
from edgepress_compression.artifact.sink import FileSink, MemorySink
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=40)  # a busy machine is no failure


def feed(data, sizes):
    sink = MemorySink()
    reader = ArtifactReader(sink)
    at = 0
    while at < len(data):
        size = next(sizes)
        reader.feed(data[at : at + size])
        at += size
    reader.close()
    return sink.take()


@UNHURRIED
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=9))
def test_the_pieces_that_an_artifact_comes_in_do_not_matter(sizes):
    def cycle():
        while True:
            yield from sizes

    assert feed(ARTIFACT, cycle()) == MODEL


def test_a_tensor_is_decoded_as_soon_as_its_last_byte_is_there():
    target = io.BytesIO()
    reader = ArtifactReader(FileSink(target))
    first, second = read_header(ARTIFACT).tensors[:2]
    end = SECTIONS_AT + first.stored_bytes
    reader.feed(ARTIFACT[: end - 1])
    assert target.tell() == 0
    reader.feed(ARTIFACT[end - 1 : end])
    assert target.getvalue() == MODEL[: first.skip + first.size_bytes]
    reader.feed(ARTIFACT[end : end + second.stored_bytes])
    assert target.tell() == first.skip + first.size_bytes + second.skip + second.size_bytes


def test_the_header_is_known_before_the_tensors_come():
    reader = ArtifactReader(MemorySink())
    reader.feed(ARTIFACT[: SECTIONS_AT - 1])
    assert reader.header is None
    reader.feed(ARTIFACT[SECTIONS_AT - 1 : SECTIONS_AT])
    assert reader.header == read_header(ARTIFACT)


def test_a_file_is_decoded_into_a_file():
    target = io.BytesIO()
    assert decode_file(io.BytesIO(ARTIFACT), target).name == "tiny"
    assert target.getvalue() == MODEL


@pytest.mark.parametrize("cut", [0, 3, 24, 25, 100, SECTIONS_AT, SECTIONS_AT + 1, len(ARTIFACT) - 1])
def test_an_artifact_that_ends_early_is_no_model(cut):
    with pytest.raises(ArtifactError, match=r"ends in|no edgepress artifact"):
        decode_file(io.BytesIO(ARTIFACT[:cut]), io.BytesIO())


def test_bytes_after_the_end_are_refused():
    with pytest.raises(ArtifactError, match="bytes follow after its end"):
        decode_file(io.BytesIO(ARTIFACT + b"\0"), io.BytesIO())


def test_a_damaged_tensor_is_refused_when_it_comes_and_no_later():
    damaged = bytearray(ARTIFACT)
    damaged[SECTIONS_AT + 9] ^= 1
    reader = ArtifactReader(MemorySink())
    with pytest.raises(ArtifactError, match="tensor 'shared'"):
        reader.feed(bytes(damaged[: SECTIONS_AT + read_header(ARTIFACT).tensors[0].stored_bytes]))


def test_a_model_larger_than_the_caller_allows_is_refused_by_its_header():
    reader = ArtifactReader(MemorySink(), max_bytes=len(MODEL) - 1)
    with pytest.raises(ArtifactError, match="more than the"):
        reader.feed(ARTIFACT[:SECTIONS_AT])


def test_the_skeleton_is_what_no_tensor_holds():
    tensors = read_header(ARTIFACT).tensors
    assert len(skeleton_of(ARTIFACT)) == len(MODEL) - sum(entry.size_bytes for entry in tensors)
