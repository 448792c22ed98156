"""The coders behind the registry: every one gives back what it took, in bytes that stay the same for ever."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.shared import find_codebook

UNHURRIED = settings(deadline=None, max_examples=60)  # a busy machine is no failure


def decode_symbols(name, payload, alphabet, shape):
    out = np.empty(math.prod(shape), symbol_dtype(alphabet))
    SYMBOL_CODERS[name].decode(memoryview(payload), alphabet, shape, out)
    return out


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5)


@pytest.mark.parametrize("name", SYMBOL_CODERS)
@UNHURRIED
@given(st.data())
def test_symbols_come_back(name, data):
    shape = data.draw(SHAPES)
    alphabet = data.draw(st.sampled_from([1, 2, 16, 300, 4096]))
    few = st.integers(0, alphabet - 1) | st.just(alphabet // 2)  # often the same: gaps code only such
    size = math.prod(shape)
    symbols = np.array(data.draw(st.lists(few, min_size=size, max_size=size)), symbol_dtype(alphabet))
    payload = SYMBOL_CODERS[name].encode(symbols, alphabet, shape)
    if payload is not None:
        back = decode_symbols(name, payload, alphabet, shape)
        assert back.tolist() == symbols.tolist()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.7])
def test_pruned_weights_come_back_in_either_order(kept, axis):
    rng = np.random.default_rng(3)
    dense_rows = rng.random((150, 1) if axis else (1, 90)) < 0.5  # structure along one axis: one order wins
    mask = (rng.random((150, 90)) < kept) & dense_rows
    symbols = np.where(mask, rng.integers(0, 16, mask.shape), 8).astype(np.uint16).reshape(-1)
    payload = SYMBOL_CODERS["gaps"].encode(symbols, 16, (150, 90))
    assert payload is not None
    assert np.array_equal(decode_symbols("gaps", payload, 16, (150, 90)), symbols)


def test_tensors_that_are_sparse_by_columns_are_walked_by_columns():
    rng = np.random.default_rng(8)
    columns = rng.random(400) < 0.1
    symbols = np.where(columns & (rng.random((300, 400)) < 0.8), 3, 0).astype(np.uint16).reshape(-1)
    as_columns = SYMBOL_CODERS["gaps"].encode(symbols, 4, (300, 400))
    as_one_row = SYMBOL_CODERS["gaps"].encode(symbols, 4, (1, 120_000))
    assert len(as_columns) < 0.6 * len(as_one_row)


@pytest.mark.parametrize(
    ("claim", "payload", "reason"),
    [
        ("flags are unknown", "04 07 07 00", "at most 3"),
        ("the background is outside the alphabet", "00 08 07 00", "at most 7"),
        ("gaps have no length", "00 07 00 00", "no length"),
        ("there are more tokens than symbols", "00 07 07 06", "at most 5"),
        ("a value is the background", "00 07 07 02  00 00  07 00", "background symbol is coded"),
        ("values lie outside the tensor", "00 07 07 02  04 00  01 00", "outside the tensor"),
        ("relative values lie outside the alphabet", "02 07 07 01  00 00  08 00", "outside the alphabet"),
        ("bytes are left over", "00 07 07 02  00 00  01 00  00", "left over"),
    ],
)
def test_gaps_are_refused_when(claim, payload, reason):
    with pytest.raises(CodecError, match=reason):
        decode_symbols("gaps", bytes.fromhex(payload), 8, (5,))


def test_gaps_beat_dense_codes_where_few_weights_are_kept():
    rng = np.random.default_rng(4)
    symbols = np.where(rng.random(100_000) < 0.08, rng.integers(0, 16, 100_000), 8).astype(np.uint16)
    gaps = SYMBOL_CODERS["gaps"].encode(symbols, 16, (1000, 100))
    dense = SYMBOL_CODERS["huffman"].encode(symbols, 16, (1000, 100))
    assert len(gaps) < 0.65 * len(dense)


def test_signs_that_follow_their_neighbours_take_fewer_bytes():
    rng = np.random.default_rng(5)
    magnitudes = rng.integers(1, 8, 20_000)
    runs = np.repeat(rng.choice([-1, 1], 2_000), 10)
    zeros = rng.random(20_000) < 0.5
    followed = np.where(zeros, 0, magnitudes * runs) + 8
    shuffled = np.where(zeros, 0, magnitudes * rng.permutation(runs)) + 8
    sizes = [
        len(SYMBOL_CODERS["gaps"].encode(symbols.astype(np.uint16), 16, (20_000,)))
        for symbols in (followed, shuffled)
    ]
    assert sizes[0] < 0.93 * sizes[1]


@pytest.mark.parametrize("name", BYTE_CODERS)
@UNHURRIED
@given(
    st.sampled_from(
        [(np.float32, True), (np.float16, True), (np.float64, True), (np.int32, False), (np.int8, False)]
    ),
    st.binary(max_size=400),
)
def test_bytes_come_back(name, kind, data):
    dtype, is_float = kind
    itemsize = np.dtype(dtype).itemsize
    data = data[: len(data) // itemsize * itemsize]
    payload = BYTE_CODERS[name].encode(data, itemsize, is_float)
    assert BYTE_CODERS[name].decode(memoryview(payload), len(data), itemsize, is_float) == data


@UNHURRIED
@given(hnp.arrays(np.float16, st.integers(1, 50)))
def test_values_exact_in_float16_take_at_most_two_bytes_each(half):
    single = half.astype(np.float32)
    payload = BYTE_CODERS["planes"].encode(single.tobytes(), 4, True)
    assert BYTE_CODERS["planes"].decode(memoryview(payload), single.nbytes, 4, True) == single.tobytes()
    # What a conversion does to the bits of NaN differs between processors: such tensors stay float32.
    if np.isfinite(single).all():
        assert len(payload) <= 2 * len(half) + 3
    else:
        assert payload[0] == 1


def test_weights_take_fewer_bytes_in_planes_than_deflated():
    weights = np.random.default_rng(6).normal(0, 0.05, 20_000).astype(np.float32).tobytes()
    planes = BYTE_CODERS["planes"].encode(weights, 4, True)
    assert len(planes) < 0.93 * len(BYTE_CODERS["deflate"].encode(weights, 4, True))


@pytest.mark.parametrize(
    ("claim", "coder", "symbols", "payload"),
    [
        ("one symbol: low, span - 1", "huffman", [3], "03 00"),
        (
            "low 1, span - 1 = 2; lengths 1 2 2 as 0001 001 1; 1024 symbols a lane; 8 bits: 0 10 0 0 11 0",
            "huffman",
            [1, 2, 1, 1, 3, 1],
            "01 02 13 8008 08 46",
        ),
        (
            "relative signs; background 0, skip 7, 2 tokens: 2 1; values: none, 1, 1",
            "gaps",
            [0, 0, 5, 0, 4, 0, 0, 0],
            "02 00 07 02  01 01 c0 8008 02 80  0b00 0c00",
        ),
        (
            "values as they are; background 7, skip 7, 2 tokens: 0 0; then 1 2",
            "gaps",
            [1, 2, 7, 7, 7],
            "00 07 07 02  00 00  01 01 c0 8008 02 40",
        ),
    ],
)
def test_payloads_of_symbols_are_the_bytes_they_have_always_been(claim, coder, symbols, payload):
    made = SYMBOL_CODERS[coder].encode(np.array(symbols, np.uint16), 8, (len(symbols),))
    assert made == bytes.fromhex(payload)


@pytest.mark.parametrize(
    ("claim", "elements", "payload"),
    [
        ("float32, rotated: 40400001 becomes 80800002", [3.0000002], "01 0002 0000 0080 0080"),
        ("exact in float16: 3c00 becomes 7800; each plane one symbol", [1.0] * 9, "02 010000 017800"),
    ],
)
def test_payloads_of_planes_are_the_bytes_they_have_always_been(claim, elements, payload):
    made = BYTE_CODERS["planes"].encode(np.array(elements, "<f4").tobytes(), 4, True)
    assert made == bytes.fromhex(payload)


@pytest.mark.parametrize("name", SYMBOL_CODERS)
@UNHURRIED
@given(st.data())
def test_a_damaged_payload_is_refused_or_gives_symbols_of_the_alphabet(name, data):
    size = data.draw(st.integers(1, 300))
    symbols = np.array(
        data.draw(st.lists(st.just(5) | st.integers(0, 11), min_size=size, max_size=size)), np.uint16
    )
    payload = SYMBOL_CODERS[name].encode(symbols, 12, (size,))
    if payload is None:
        return
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))]
    try:
        back = decode_symbols(name, bytes(damaged), 12, (size,))
    except CodecError:
        return
    assert len(back) == size
    assert back.max() < 12


@pytest.mark.parametrize("name", BYTE_CODERS)
@UNHURRIED
@given(st.binary(max_size=60), st.sampled_from([4, 40]))
def test_noise_is_refused_or_gives_the_length_asked_for(name, noise, size_bytes):
    try:
        back = BYTE_CODERS[name].decode(memoryview(noise), size_bytes, 4, True)
    except CodecError:
        return
    assert len(back) == size_bytes


def test_a_deflate_bomb_is_stopped_at_the_length_asked_for():
    bomb = BYTE_CODERS["deflate"].encode(bytes(50_000_000), 1, False)
    with pytest.raises(CodecError, match="left over"):
        BYTE_CODERS["deflate"].decode(memoryview(bomb), 1000, 1, False)


@UNHURRIED
@given(hnp.arrays(np.uint32, st.integers(0, 200), elements=st.integers(0, 2**32 - 1) | st.integers(0, 3)))
def test_a_codebook_gives_every_bit_back_and_ascends_by_value(bits):
    indices, codebook = find_codebook(bits, "<f4", 4096)
    assert np.array_equal(codebook[indices], bits)
    values = codebook.view("<f4")
    finite = values[~np.isnan(values)]
    assert (np.diff(finite.astype(np.float64)) >= 0).all() if np.isfinite(finite).all() else True
    assert len(np.unique(codebook)) == len(codebook)


def test_too_many_values_make_no_codebook():
    bits = np.arange(200_000, dtype=np.uint32)
    assert find_codebook(bits, "<u4", 4096) is None
    assert find_codebook(bits[:4097], "<u4", 4096) is None
    assert find_codebook(bits[:4096], "<u4", 4096) is not None
