"""The page suffices: a decoder written from docs/artifact.md alone gives back what the writer put in."""

import hashlib
from pathlib import Path

import numpy as np
import plain_context
import plain_decoder
import plain_text
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import assembled, grid_delta, of_bytes, of_bytes_as_symbols, of_codebooks, of_integers
from small_artifacts import model, write

from edgepress_compression.artifact.read import tensors
from edgepress_compression.artifact.sizes import sizes
from edgepress_compression.codec.context_head import Head
from edgepress_compression.codec.context_reference import encode_reference
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.text import TextEncoder

FIXTURES = Path(__file__).parent.parent / "fixtures/artifact"
UNHURRIED = settings(deadline=None, max_examples=12)  # a busy machine is no failure
SMALL_BYTES = 4000  # the plain decoder takes milliseconds for a symbol


def some(made, count):
    """The first small tensors of each dtype."""
    taken = {}
    for tensor in made:
        if len(tensor.data) < SMALL_BYTES and len(taken.setdefault(tensor.dtype, [])) < count:
            taken[tensor.dtype].append(tensor)
    return [tensor for of_dtype in taken.values() for tensor in of_dtype]


@pytest.mark.parametrize("coding", BYTE_CODERS)
def test_bytes_of_every_dtype_come_back_from(coding):
    rng = np.random.default_rng(1)
    few = some(of_bytes(rng, coding), 2)
    if coding == "text":
        few = [tensor for tensor in few if len(tensor.data) < 600]
    vector = assembled(coding, few, rng)
    assert plain_decoder.decode(vector.artifact) == vector.model


@pytest.mark.parametrize("coding", SYMBOL_CODERS)
@pytest.mark.parametrize("kind", [of_codebooks, of_integers, of_bytes_as_symbols])
def test_symbols_of_every_meaning_come_back_from(kind, coding):
    rng = np.random.default_rng(2)
    count = {of_codebooks: 1, of_integers: 6, of_bytes_as_symbols: 2}[kind]
    vector = assembled(coding, some(kind(rng, coding), count), rng)
    assert plain_decoder.decode(vector.artifact) == vector.model


def test_a_tensor_of_more_than_a_block_comes_back():
    weights = {"w": np.repeat(np.arange(65_537, dtype=np.int32), 4), "v": np.arange(9.0)}
    onnx_model = model(weights)
    artifact = write(onnx_model, coding="deflate")
    assert plain_decoder.decode(artifact) == onnx_model


def test_a_deflated_head_is_read():
    onnx_model = model({"w": np.ones(300, np.float32), "long name " * 100: np.ones(300, np.float32)})
    padded = onnx_model + b"\xfa\x0f\x80\x80\x11" + bytes(0x44000)  # an unknown field, for length
    artifact = write(padded)
    assert artifact[5] == 0
    assert plain_decoder.decode(artifact) == padded


def test_fixtures_of_version_2_decode_to_what_the_fast_decoder_gives():
    whole = plain_decoder.decode(FIXTURES.joinpath("version-2.epa").read_bytes())
    delta = plain_decoder.decode(FIXTURES.joinpath("version-2-delta.epa").read_bytes(), whole)
    # Their SHA-256 are in test_artifact.py and in their headers, which the plain decoder compares.
    assert hashlib.sha256(whole).hexdigest() != hashlib.sha256(delta).hexdigest()


def test_deltas_of_scaled_integers_come_back():
    vector = grid_delta(np.random.default_rng(4), "grids")
    assert plain_decoder.decode(vector.artifact, vector.base) == vector.model


def test_differences_of_any_bits_come_back():
    rng = np.random.default_rng(5)
    dtypes = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64")
    before = {dtype: np.frombuffer(rng.bytes(400), dtype) for dtype in dtypes}
    after = {
        dtype: (old.view(f"u{old.itemsize}") + rng.integers(0, 3, old.size).astype(f"u{old.itemsize}")).view(
            dtype
        )
        for dtype, old in before.items()
    }
    base, new = model(before), model(after)
    delta = write(new, base=base)
    assert plain_decoder.decode(delta, base) == new


def test_a_codebook_that_is_the_bases_comes_back_zeros_and_nans_included():
    rng = np.random.default_rng(6)
    values = rng.normal(0, 0.1, 200).astype(np.float32)
    values[:4] = 0.0, -0.0, np.nan, np.inf
    ranks = rng.integers(0, 200, (30, 40))
    base, new = model({"w": values[ranks]}), model({"w": values[ranks[::-1]]})
    delta = write(new, base=base)
    entry = next(tensors(delta))
    side_bytes = next(row for row in sizes(delta, base=base) if row.name == "w").side_bytes
    assert (entry.values, side_bytes) == (200, 3)
    assert plain_decoder.decode(delta, base) == new


@st.composite
def context_tensors(draw):
    """(symbols, head) with every choice that a head can make."""
    alphabet = draw(st.sampled_from([2, 3, 17, 255, 300]))
    columns = draw(st.sampled_from([1, 2, 9, 17, 40]))
    transposed = draw(st.booleans())
    elements = columns * draw(st.integers(1, 5)) + (0 if transposed else draw(st.integers(0, columns - 1)))
    taps = draw(st.integers(0, -(-columns // 16))) * 16
    head = Head(
        elements, columns, draw(st.integers(1, columns)), draw(st.sampled_from([1, 2, 3, 7, 4096])),
        alphabet, draw(st.integers(0, alphabet - 1)), draw(st.integers(0, 16 * alphabet)),
        draw(st.integers(4, 16 * alphabet)), draw(st.integers(1, 255)),
        spike=draw(st.booleans()), transposed=transposed, family=draw(st.integers(0, 3)),
        taps=taps, rate=draw(st.integers(1, 14)) if taps else 0,
    )  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    common = rng.integers(0, alphabet)
    symbols = np.where(rng.random(elements) < 0.5, common, rng.integers(0, alphabet, elements))
    return symbols.astype(np.uint8 if alphabet <= 256 else np.uint16), head


@UNHURRIED
@given(context_tensors())
def test_context_comes_back_whatever_its_head_chooses(tensor):
    symbols, head = tensor
    payload = head.to_bytes() + encode_reference(symbols, head, None, head.rows)
    assert plain_context.decode(payload, head.alphabet, (head.elements,)) == symbols.tolist()


@UNHURRIED
@given(st.sampled_from([1, 2, 17, 300]), st.sampled_from([(90,), (9, 10), (4, 3, 3, 3)]), st.integers(0, 99))
def test_context_delta_comes_back(alphabet, shape, seed):
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if alphabet <= 256 else np.uint16
    base = rng.integers(0, alphabet, np.prod(shape)).astype(dtype)
    symbols = np.where(rng.random(base.size) < 0.2, rng.integers(0, alphabet, base.size), base).astype(dtype)
    payload = DELTA_CODERS["context-delta"].encode(symbols, alphabet, shape, base)
    assert plain_context.decode(payload, alphabet, shape, base.tolist()) == symbols.tolist()


@settings(UNHURRIED, max_examples=6)
@given(st.binary(max_size=40), st.text(max_size=30), st.binary(max_size=20))
def test_text_comes_back(first, second, learned):
    encoder = TextEncoder()
    encoder.encode(first)
    encoder.learn(learned)
    encoder.encode(second.encode() * 3)
    text = plain_text.Text(encoder.finish())
    assert text.read(len(first)) == first
    text.learn(learned)
    assert text.read(3 * len(second.encode())) == second.encode() * 3
    text.end()
