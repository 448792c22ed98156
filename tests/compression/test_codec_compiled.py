"""The compiled loops of Huffman streams and gaps give what the numpy code gives, and refuse what it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import gaps, native
from edgepress_compression.codec.bytestream import ByteReader, CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.gaps import Gaps
from edgepress_compression.codec.lanes import decode_stream_reference, encode_stream, pack_lanes
from edgepress_compression.codec.prefix_code import optimal_code

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled codec is not built")
UNHURRIED = settings(deadline=None, max_examples=80)  # a busy machine is no failure


def compiled_stream(data, count, alphabet):
    """The symbols and the bytes used, or None where the stream is refused."""
    out = np.empty(count, symbol_dtype(alphabet))
    work = np.empty(native.call("ep_stream_work_bytes"), np.uint8)
    used = native.status(
        "ep_stream_decode", data, len(data), count, alphabet, out, out.itemsize, work, len(work)
    )
    return None if used < 0 else (out.tolist(), used)


def numpy_stream(data, count, alphabet):
    reader = ByteReader(data)
    try:
        return decode_stream_reference(reader, count, alphabet).tolist(), len(data) - reader.left
    except CodecError:
        return None


def drawn_symbols(data, alphabet, most):
    """Symbols of very different frequencies: short and long codes."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0.5, 3, 40]))
    count = data.draw(st.integers(1, most))
    return np.clip(rng.standard_exponential(count) ** 2 * spread, 0, alphabet - 1).astype(np.int64)


@UNHURRIED
@given(st.data())
def test_a_stream_decodes_alike(data):
    alphabet = data.draw(st.sampled_from([2, 17, 256, 3000]))
    symbols = drawn_symbols(data, alphabet, 3000)
    stream = encode_stream(symbols, data.draw(st.sampled_from([1, 7, 64, 1024])))
    expected = (symbols.tolist(), len(stream))
    assert compiled_stream(stream + b"next", len(symbols), alphabet) == expected
    assert numpy_stream(stream + b"next", len(symbols), alphabet) == expected


@UNHURRIED
@given(st.data())
def test_a_damaged_stream_is_refused_alike(data):
    alphabet = data.draw(st.sampled_from([2, 17, 300]))
    symbols = drawn_symbols(data, alphabet, 400)
    stream = bytearray(encode_stream(symbols, data.draw(st.sampled_from([4, 16, 1024]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(stream) - 1, 40)) | st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    damaged = bytes(stream[: data.draw(st.just(len(stream)) | st.integers(0, len(stream)))])
    assert compiled_stream(damaged, len(symbols), alphabet) == numpy_stream(damaged, len(symbols), alphabet)


@UNHURRIED
@given(st.binary(max_size=60), st.integers(0, 50), st.sampled_from([1, 2, 16, 5000]))
def test_noise_is_refused_alike(noise, count, alphabet):
    assert compiled_stream(noise, count, alphabet) == numpy_stream(noise, count, alphabet)


@UNHURRIED
@given(st.data())
def test_a_stream_is_written_alike(data):
    symbols = drawn_symbols(data, 3000, 2000)
    code = optimal_code(np.bincount(symbols))
    lane_symbols = data.draw(st.sampled_from([3, 1024]))
    if len(code.lengths) > 1:
        _, expected = pack_lanes(symbols, code, lane_symbols)
        assert encode_stream(symbols, lane_symbols).endswith(expected)


def test_the_longest_codes_decode_alike():
    counts = [1, 1]
    while len(counts) < 24:  # the counts that make Huffman's longest codes
        counts.append(counts[-1] + counts[-2])
    symbols = np.random.default_rng(2).permutation(np.repeat(np.arange(24), counts))
    stream = encode_stream(symbols)
    assert optimal_code(np.bincount(symbols)).max_bits == 15
    assert compiled_stream(stream, len(symbols), 24) == (symbols.tolist(), len(stream))


def decode_gaps(decode, payload, alphabet, shape):
    out = np.zeros(int(np.prod(shape)), symbol_dtype(alphabet))
    try:
        decode(memoryview(payload), alphabet, shape, out)
    except CodecError:
        return None
    return out.tolist()


def compiled_gaps(payload, alphabet, shape, out):
    work = np.empty(native.call("ep_gaps_work_bytes"), np.uint8)
    sides = np.array(shape, np.int64)
    native.call(
        "ep_gaps_decode",
        payload,
        len(payload),
        alphabet,
        sides,
        len(sides),
        out,
        out.itemsize,
        work,
        len(work),
    )


@UNHURRIED
@given(st.data())
def test_gaps_decode_alike_whole_or_damaged(data):
    shape = data.draw(st.sampled_from([(300,), (40, 31), (1, 50), (50, 1), (12, 3, 3, 3)]))
    alphabet = data.draw(st.sampled_from([3, 17, 300]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    size = int(np.prod(shape))
    kept = rng.random(size) < data.draw(st.sampled_from([0.0, 0.01, 0.3, 0.7]))
    signs = np.where(np.arange(size) // 20 % 2 == 0, 1, -1)
    symbols = np.where(kept, signs * rng.integers(0, (alphabet + 1) // 2, size), 0) + alphabet // 2
    payload = Gaps().encode(symbols.astype(symbol_dtype(alphabet)), alphabet, shape)
    if payload is None:
        return
    assert decode_gaps(compiled_gaps, payload, alphabet, shape) == symbols.tolist()
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    outcomes = [
        decode_gaps(decode, bytes(damaged), alphabet, shape)
        for decode in (gaps.decode_reference, compiled_gaps)
    ]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("coder", ["stream", "gaps", "rans"])
def test_decoding_takes_at_most_4_mb_beside_payload_and_symbols(coder):
    assert native.call(f"ep_{coder}_work_bytes") <= 4_000_000
