"""Text: comes back, from compiled code as from plain Python, and what was seen before is nearly free."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.text import TEXT_MAX_BYTES, Text, TextDecoder, TextEncoder
from edgepress_compression.codec.text_dictionary import DICTIONARY
from edgepress_compression.codec.text_model import squash
from edgepress_compression.codec.text_reference import ReferenceDecoder, ReferenceEncoder

UNHURRIED = settings(deadline=None, max_examples=30)  # a busy machine is no failure
PARTS = st.lists(st.binary(max_size=40) | st.text(max_size=30).map(str.encode), min_size=1, max_size=3)


def encode(encoder, parts, learned=b""):
    for number, part in enumerate(parts):
        if number == 1:
            encoder.learn(learned)
        encoder.encode(part)
    return encoder.finish()


def decode(decoder, parts, learned=b""):
    out = []
    for number, part in enumerate(parts):
        if number == 1:
            decoder.learn(learned)
        out.append(decoder.decode(len(part)))
    decoder.end()
    return out


@UNHURRIED
@given(PARTS, st.binary(max_size=30))
@example([b"\0" * 60], b"")
@example([b"\xff" * 60, b"\xff"], b"\xff" * 9)
@example([b"", b""], b"")
def test_text_comes_back_and_compiled_code_writes_the_references_bytes(parts, learned):
    payload = encode(ReferenceEncoder(), parts, learned)
    assert decode(ReferenceDecoder(payload), parts, learned) == parts
    assert encode(TextEncoder(), parts, learned) == payload
    assert decode(TextDecoder(payload), parts, learned) == parts


@UNHURRIED
@given(st.binary(max_size=60), st.integers(0, 60))
def test_noise_is_read_alike_by_both(noise, count):
    assert ReferenceDecoder(noise).decode(count) == TextDecoder(noise).decode(count)


def test_bytes_after_a_text_are_refused_by_both():
    payload = encode(TextEncoder(), [b"some words"])
    for decoder in (ReferenceDecoder, TextDecoder):
        for more in (b"\0", b"somewhat more"):
            reader = decoder(payload + more)
            reader.decode(10)
            with pytest.raises(CodecError, match="left over"):
                reader.end()


def test_what_was_seen_is_nearly_free():
    seen = hashlib.shake_128(b"noise").digest(8000)
    assert len(encode(TextEncoder(), [b"", seen], seen)) < 40
    assert len(encode(TextEncoder(), [seen])) < 1.02 * len(seen)


def test_a_header_takes_a_third_of_its_bytes():
    header = b'{"dtype":"float32","high":1.0,"kind":"uniform","low":0.0,"name":"image","shape":[1,3,32,32]}'
    assert len(encode(TextEncoder(), [header])) < len(header) / 3


def test_a_text_of_more_than_256_kib_is_refused():
    with pytest.raises(CodecError, match="at most"):
        Text().decode(memoryview(b"x"), TEXT_MAX_BYTES + 1, 8, False)


@pytest.mark.skipif(not native.available(), reason="the compiled codec is not built")
def test_the_longest_text_comes_back():
    text = (b"a tensor's name, and its shape; " * 9000)[:TEXT_MAX_BYTES]
    payload = encode(TextEncoder(), [b"", text], text)
    assert decode(TextDecoder(payload), [b"", text], text) == [b"", text]


def test_probabilities_are_never_0_or_1():
    assert [squash(logit) for logit in (-2047, 0, 2047)] == [2, 2048, 4094]


def test_the_page_and_the_code_have_the_same_dictionary():
    page = Path(__file__).parents[2].joinpath("docs/artifact.md").read_text(encoding="utf-8")
    found = re.search(r"in base64:\n\n((?:    \S+\n)+)", page)
    assert base64.b64decode("".join(found[1].split())) == DICTIONARY


def test_the_dictionary_is_for_ever():
    assert (
        hashlib.sha256(DICTIONARY).hexdigest()
        == "57a026a77863b434b578e365d4171dd319877c7c0720e1bcff302418a5dece1d"
    )
