"""Bits, code tables and lanes: what the coders are built from."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.codec.bits import CODE_MAX_BITS, pack_fixed, pack_unary, unpack_fixed, unpack_unary
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.lanes import decode_stream, encode_stream, stream_bits
from edgepress_compression.codec.prefix_code import optimal_code, read_code, write_code

UNHURRIED = settings(deadline=None, max_examples=60)  # a busy machine is no failure


@UNHURRIED
@given(st.integers(0, 2**31))
def test_a_varint_comes_back(value):
    reader = ByteReader(varint(value))
    assert reader.varint(2**31) == value
    reader.end()


@pytest.mark.parametrize(
    ("claim", "data", "limit"),
    [
        ("it ends early", b"\x80", 10),
        ("it is above the limit", b"\x0b", 10),
        ("it is written longer than needed", b"\x81\x00", 10),
        ("it has more than five bytes", b"\x80\x80\x80\x80\x80\x01", 2**40),
    ],
)
def test_a_varint_is_refused_when(claim, data, limit):
    with pytest.raises(CodecError):
        ByteReader(data).varint(limit)


@UNHURRIED
@given(st.integers(1, 16).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1)))))
def test_numbers_of_fixed_width_come_back(case):
    width, values = case
    packed = pack_fixed(np.array(values, np.int64), width)
    assert len(packed) == (len(values) * width + 7) // 8
    assert unpack_fixed(memoryview(packed), len(values), width).tolist() == values


@UNHURRIED
@given(st.lists(st.integers(0, 40)), st.binary(max_size=3))
def test_unary_numbers_come_back_and_leave_what_follows(values, tail):
    packed = pack_unary(np.array(values, np.int64))
    back, used = unpack_unary(memoryview(packed + tail), len(values))
    assert back.tolist() == values
    assert used == len(packed)


def test_filling_that_is_not_zero_is_refused():
    with pytest.raises(CodecError, match="not zero"):
        unpack_fixed(memoryview(b"\xa1"), 1, 4)
    with pytest.raises(CodecError, match="not zero"):
        unpack_unary(memoryview(b"\xa1"), 2)


def huffman_bits(counts):
    """The total of Huffman's own algorithm, without a limit on lengths: the oracle."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        total += pair
        heapq.heappush(heap, pair)
    return total


@UNHURRIED
@given(st.lists(st.integers(0, 300), min_size=1, max_size=200).filter(any))
def test_codes_are_as_short_as_huffmans(counts):
    code = optimal_code(np.array(counts))
    used = np.array(counts)[code.low : code.low + len(code.lengths)]
    assert int(used @ code.lengths) == huffman_bits(counts)


def test_no_code_is_longer_than_the_limit_and_the_limited_code_is_complete():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:  # the counts that make Huffman's longest codes
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = optimal_code(np.array(fibonacci)).lengths
    assert lengths.max() == CODE_MAX_BITS
    assert (0.5**lengths).sum() == 1


@UNHURRIED
@given(st.lists(st.integers(0, 50), min_size=1, max_size=300).filter(any))
def test_a_code_table_comes_back(counts):
    code = optimal_code(np.array(counts))
    reader = ByteReader(write_code(code))
    back = read_code(reader, len(counts))
    reader.end()
    assert back.low == code.low
    assert back.lengths.tolist() == code.lengths.tolist()


@pytest.mark.parametrize(
    ("claim", "table"),
    [
        # low 0, span 2, first unary number relative to the length 1
        ("the lengths make no complete code", varint(0) + varint(1) + pack_unary(np.array([2, 0]))),
        (
            "the lengths promise more codes than there are",
            varint(0) + varint(2) + pack_unary(np.array([3, 0, 0])),
        ),
        ("a length is not in 1..15", varint(0) + varint(1) + pack_unary(np.array([3, 2]))),
        ("the last symbol does not occur", varint(0) + varint(3) + pack_unary(np.array([3, 0, 1, 1]))),
        ("no symbol occurs", varint(0) + varint(1) + pack_unary(np.array([1, 1]))),
        ("symbols lie outside the alphabet", varint(3) + varint(1) + pack_unary(np.array([0, 0]))),
        ("it ends early", varint(0) + varint(1) + b"\x00"),
    ],
)
def test_a_code_table_is_refused_when(claim, table):
    with pytest.raises(CodecError):
        read_code(ByteReader(table), 4)


@UNHURRIED
@given(
    st.lists(st.integers(0, 30), max_size=400),
    st.integers(1, 64),
)
def test_a_stream_comes_back_whatever_its_lanes(symbols, lane_symbols):
    stream = encode_stream(np.array(symbols, np.int64), lane_symbols)
    reader = ByteReader(stream + b"next")
    assert decode_stream(reader, len(symbols), 31).tolist() == symbols
    assert bytes(reader.rest()) == b"next"


def test_a_long_stream_of_many_groups_comes_back_near_its_entropy():
    rng = np.random.default_rng(1)
    symbols = np.clip(rng.normal(128, 12, 300_000), 0, 255).astype(np.int64)
    stream = encode_stream(symbols)
    reader = ByteReader(stream)
    assert np.array_equal(decode_stream(reader, len(symbols), 256), symbols)
    reader.end()
    counts = np.bincount(symbols)
    shares = counts[counts > 0] / len(symbols)
    entropy_bytes = -(shares * np.log2(shares)).sum() * len(symbols) / 8
    assert len(stream) < 1.01 * entropy_bytes
    assert 0 <= 8 * len(stream) - stream_bits(counts) < 0.01 * 8 * len(stream)  # the lanes' own cost


def test_a_stream_of_one_symbol_costs_no_bits_a_symbol():
    assert encode_stream(np.full(1_000_000, 7)) == b"\x07\x00"


@UNHURRIED
@given(st.data())
def test_a_damaged_stream_is_refused_or_gives_symbols_of_the_alphabet(data):
    symbols = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=200))
    stream = bytearray(encode_stream(np.array(symbols), 32))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    try:
        back = decode_stream(ByteReader(bytes(stream)), len(symbols), 13)
    except CodecError:
        return
    assert len(back) == len(symbols)
    assert back.max() < 13


def test_lanes_of_no_bits_are_refused_before_memory_is_taken_for_them():
    # Two symbols of one bit each, 2**30 of them promised in lanes that hold no bits at all.
    table = varint(0) + varint(1) + pack_unary(np.array([0, 0]))
    lanes = 2**30 // 4096
    hostile = table + varint(4096) + varint(0) + varint(0) + b"\0"
    with pytest.raises(CodecError, match="less than 1"):
        decode_stream(ByteReader(hostile), lanes * 4096, 2)


TWO_LANES = [0, 1, 2, 0, 0, 2, 1, 1]  # lengths 2 1 2: lanes of 7 and 6 bits


@pytest.mark.parametrize(
    ("claim", "at", "byte", "reason"),
    [
        ("a lane's length is off by one", -4, 6, "do not end where the lane ends"),
        ("a lane's length leaves less than a bit a symbol", -4, 10, "less than 1"),
        ("the last lane is said to be shorter", -5, 12, "do not end where the lane ends"),
        ("the last lane is said to be longer than its codes can be", -5, 16 + 6 * 15, "bytes left"),
        ("a bit follows the last code", -1, None, "after the last code"),
    ],
)
def test_a_stream_is_refused_when(claim, at, byte, reason):
    stream = bytearray(encode_stream(np.array(TWO_LANES), 4))
    assert (stream[-5], stream[-4], stream[-3]) == (13, 7, 0)  # total bits, shortest lane, width of the rest
    stream[at] = stream[at] | 1 if byte is None else byte
    with pytest.raises(CodecError, match=reason):
        decode_stream(ByteReader(bytes(stream)), len(TWO_LANES), 3)


def test_an_endless_last_lane_is_refused_before_memory_is_taken_for_it():
    table = varint(0) + varint(1) + pack_unary(np.array([0, 0]))
    hostile = table + varint(4096) + varint(4097 * 15) + varint(4096) + b"\0" + bytes(10_000)
    with pytest.raises(CodecError, match="more than 15"):
        decode_stream(ByteReader(hostile), 4097, 2)
