"""The coder `floats`: bit for bit, sets without their order, damaged payloads, the compiled twin."""

import lzma
import math
from contextlib import contextmanager
from unittest import mock

import numpy as np
import plain_floats
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.floats import FEW_MAX, Floats
from edgepress_compression.codec.floats_blocks import BLOCK, decode_blocks, encode_blocks
from edgepress_compression.codec.planes import Planes
from edgepress_compression.codec.registry import SYMBOL_CODERS

FLOATS = Floats()
UNHURRIED = settings(deadline=None, max_examples=80)  # a busy machine is no failure
RAW, SET, LIST, INDEXED, GRID, BLOCKS = range(6)


@contextmanager
def without_native():
    with mock.patch.object(native, "available", lambda: False):
        yield


def outcome(payload, size_bytes, itemsize):
    """The bytes, or that the payload was refused."""
    try:
        return FLOATS.decode(memoryview(payload), size_bytes, itemsize, True)
    except CodecError:
        return "refused"


def symbols(coder, payload, alphabet, count):
    out = np.empty(count, symbol_dtype(alphabet))
    SYMBOL_CODERS[coder].decode(memoryview(payload), alphabet, (count,), out)
    return out.tolist()


def code(elements):
    """The payload, checked to come back from the compiled decoder, the reference and the documented one."""
    data = elements.tobytes()
    payload = FLOATS.encode(data, elements.itemsize, True)
    assert FLOATS.decode(memoryview(payload), len(data), elements.itemsize, True) == data
    with without_native():
        assert FLOATS.decode(memoryview(payload), len(data), elements.itemsize, True) == data
    if len(elements) <= BLOCK:
        dtype = {2: "float16", 4: "float32", 8: "float64"}[elements.itemsize]
        assert plain_floats.floats(payload, len(elements), dtype, symbols) == data
    return payload


@st.composite
def float_bits(draw):
    """Elements of 2, 4 or 8 bytes: any bits, near values, both zeros, NaNs; some sorted, some repeated."""
    itemsize = draw(st.sampled_from([2, 4, 8]))
    exponents = {2: 5, 4: 8, 8: 11}[itemsize]
    fraction = 8 * itemsize - 1 - exponents
    anything = st.integers(0, (1 << 8 * itemsize) - 1)
    one = ((1 << exponents - 1) - 1) << fraction
    infinity = ((1 << exponents) - 1) << fraction
    special = st.sampled_from(
        [0, 1 << (8 * itemsize - 1), infinity, infinity + 1, 1, one, one | 1 << (8 * itemsize - 1)]
    )
    near = st.integers(one - (2 << fraction), one + (2 << fraction))
    values = draw(st.lists(st.one_of(special, near, anything), min_size=1, max_size=60))
    zeros = draw(st.integers(0, fraction))
    values = [value >> zeros << zeros for value in values]
    if draw(st.booleans()):
        values = sorted(set(values), key=lambda v: ~v if v >> (8 * itemsize - 1) else v)
    if draw(st.booleans()):
        values = values * draw(st.integers(1, 8))
    return np.array(values, f"<u{itemsize}")


@UNHURRIED
@given(float_bits())
@example(np.array([1 << 31, 1], "<u4"))  # -0.0 is no multiple of a step
def test_every_bit_comes_back_natively_and_not(elements):
    code(elements)


@UNHURRIED
@given(float_bits(), st.integers(5, 8))
def test_blocks_come_back_however_few_elements(elements, exponent_bits):
    exponent_bits = {2: exponent_bits, 4: 8, 8: 11}[elements.itemsize]
    fraction_bits = 8 * elements.itemsize - 1 - exponent_bits
    payload = memoryview(encode_blocks(elements, exponent_bits, fraction_bits))
    for path in (lambda: mock.patch.object(native, "available", native.available), without_native):
        out = np.empty_like(elements)
        with path():
            decode_blocks(payload, out, exponent_bits, fraction_bits)
        assert np.array_equal(out, elements)
    plain = plain_floats.read_blocks(bytes(payload), len(elements), exponent_bits, fraction_bits, symbols)
    assert plain == elements.tolist()


def normal(count, seed=5):
    return np.random.default_rng(seed).standard_normal(count).astype("<f4")


@pytest.mark.parametrize(
    ("what", "values", "form", "at_most_bytes"),
    [
        ("a uniform grid", np.arange(-127, 128, dtype="<f4") * np.float32(0.00123), GRID, 12),
        ("one value again and again", np.full(300, 0.1, "<f4"), INDEXED, 7),
        ("a few values in disorder", np.random.default_rng(1).choice(normal(3), 400), INDEXED, 100),
        ("bfloat16 values in float32", (normal(200).view("<u4") >> 16 << 16).view("<f4") * 2**20, LIST, 300),
        ("float16", normal(300).astype("<f2"), LIST, 525),
        ("float16 in float32", normal(20_000).astype("<f2").astype("<f4"), BLOCKS + 16, 34_500),
        ("a codebook that mirrors itself", np.array(sorted({*normal(100), *-normal(100)}), "<f4"), SET, 285),
        ("many weights", normal(3 * BLOCK + 17), BLOCKS, 2_620_000),
        ("many weights of one sign", np.abs(normal(40_000)), BLOCKS, 128_000),
        ("many negative weights and zeros", -np.maximum(normal(40_000), 0) + np.float32(0), BLOCKS, 70_000),
    ],
)  # fmt: skip
def test_structure_is_found_in(what, values, form, at_most_bytes):
    payload = code(values)
    assert payload[0] == form
    assert len(payload) <= at_most_bytes


def test_the_known_order_of_a_codebook_is_not_paid_for():
    values = np.sort(normal(256))
    in_order, shuffled = code(values), code(np.random.default_rng(2).permutation(values))
    assert in_order[0] == SET and shuffled[0] == LIST
    order_bytes = math.log2(math.factorial(256)) / 8  # 210.5
    assert len(shuffled) - len(in_order) > 0.9 * order_bytes


@pytest.mark.parametrize("count", [16, 64, 256, 1000, 10_000])
def test_it_takes_fewer_bytes_than_planes_and_xz(count):
    for values in (normal(count), np.sort(normal(count)), normal(count).astype("<f2").astype("<f4")):
        data = values.tobytes()
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
        xz = lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)
        assert len(code(values)) < min(len(Planes().encode(data, 4, True)), len(xz))


OLD = {
    "00 66 66 a6 40": [5.2],
    "01 01 c8 38 aa 74 93 0a b6 0c 6d 03 79 d4 36 a7 d7 0d 41 c0": [-0.7, -0.5, -0.3, 0.0, 0.2, 0.8],
    "02 02 59 a0 bd c4 7e f5 01 56 02 9b fe de 56 58 a8": [0.8, -0.7, 0.0, 0.2, -0.0],
    "03 00 04 87 c3 95 e7 95 c8 a7 89": [0.1, 0.3, 0.3, 0.1, 0.1],
    "04 9a 99 99 3e 05 5e 0d": [0.3, 0.6, 0.90000004, -4.2000003],
    "05 00 00 03 dc 07 0e 0b 00 0e 06 aa ad 56 80 08 10 63 63"
    "9a 9b 34 9a 9b 34 99 99 33 99 99 33 ce 67 9c cc": [0.1, -0.2, 0.0, 0.3] * 2,
    "11 24 da 54": [-0.75, 0.5, 1.0, 2.0],
}


@pytest.mark.parametrize(("payload", "values"), OLD.items())
def test_old_payloads_stay_readable(payload, values):
    values = np.array(values, "<f4")
    assert FLOATS.decode(memoryview(bytes.fromhex(payload)), values.nbytes, 4, True) == values.tobytes()
    with without_native():
        assert FLOATS.decode(memoryview(bytes.fromhex(payload)), values.nbytes, 4, True) == values.tobytes()


def test_random_bytes_grow_by_one_byte():
    elements = np.random.default_rng(9).integers(0, 1 << 32, 500, np.uint32)
    assert len(code(elements)) <= 2001


def test_whole_numbers_are_left_as_they_are():
    data = np.arange(100, dtype="<i4").tobytes()
    payload = FLOATS.encode(data, 4, False)
    assert FLOATS.decode(memoryview(payload), len(data), 4, False) == data


@pytest.mark.parametrize(
    ("claim", "payload", "reason"),
    [
        ("there is nothing", "", "ends early"),
        ("the form is unknown", "06", "form 6"),
        ("the form has unknown bits", "22", "form 34"),
        ("a long exponent is given to float32", "0a 01", "form 10"),
        ("raw bytes are too few", "00 01 02 03", "3 bytes are there, 20 wanted"),
        ("more fraction bits are zero than there are", "02 ff", "outside|fraction bits"),
        ("a zero ends the number", "02 40 00", "left over|zero byte"),
        ("bytes are left over", "02" + "40" * 60, "left over"),
        ("there are more negatives than values", "01 03 f0", "outside|negative"),
        ("the grid has no step", "04 00 00", "step has 4 bytes"),
        ("the step is NaN", "04 00 00 c0 7f", "positive"),
        ("the step is negative", "04 00 00 80 bf", "positive"),
        ("a multiple leaves float32", "04 00 00 80 3f ff fe", "outside|24 bits"),
        ("blocks leave out too many bits", "05 18 00", "at most 23"),
        ("signs are of an unknown kind", "05 00 03", "kind 3"),
        ("a block's coder is unknown", "05 00 00 fc", "kind 252"),
        ("a block's heads are too many", "05 00 00 00 80 02 01 00", "at most 255"),
        ("tails end early", "05 00 00 00 7f 01 02 01 00", "ends early"),
        ("bits follow the tails", "05 00 00 01 7f 01 02 01 00" + "00" * 14 + "01", "left over|not zero"),
    ],
)  # fmt: skip
def test_floats_are_refused_when(claim, payload, reason):
    for path in (lambda: mock.patch.object(native, "available", native.available), without_native):
        with path(), pytest.raises(CodecError, match=reason):
            FLOATS.decode(memoryview(bytes.fromhex(payload)), 20, 4, True)


def test_the_slow_coder_is_not_started_for_many_elements():
    with pytest.raises(CodecError, match="at most"):
        FLOATS.decode(memoryview(b"\2\x01"), 4 * (FEW_MAX + 1), 4, True)


@UNHURRIED
@given(float_bits(), st.data())
def test_a_damaged_payload_does_the_same_natively_and_not(elements, data):
    payload = bytearray(FLOATS.encode(elements.tobytes(), elements.itemsize, True))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    size = elements.nbytes
    with without_native():
        expected = outcome(payload, size, elements.itemsize)
    assert outcome(payload, size, elements.itemsize) == expected


@UNHURRIED
@given(
    st.sampled_from([SET, LIST, INDEXED, GRID, BLOCKS]), st.binary(max_size=80), st.sampled_from([2, 4, 8])
)
def test_any_bytes_do_the_same_natively_and_not(form, rest, itemsize):
    payload = bytes([form]) + rest
    with without_native():
        expected = outcome(payload, 31 * itemsize, itemsize)
    assert outcome(payload, 31 * itemsize, itemsize) == expected
