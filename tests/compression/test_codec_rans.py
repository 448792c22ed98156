"""rANS: the numpy loops are the specification, the compiled ones give the same bytes and refuse the same."""

import math

import numpy as np
import plain_rans
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.huffman import Huffman
from edgepress_compression.codec.rans import Rans, decode_reference
from edgepress_compression.codec.rans_tables import choose_tables, frequencies, offsets_reference, read_tables

UNHURRIED = settings(deadline=None, max_examples=60)  # a busy machine is no failure
needs_native = pytest.mark.skipif(not native.available(), reason="the compiled codec is not built")


def decoders():
    return [decode_reference, Rans().decode] if native.available() else [decode_reference]


def round_trip(symbols, alphabet, shape):
    payload = Rans().encode(symbols.reshape(-1).astype(symbol_dtype(alphabet)), alphabet, shape)
    for decode in decoders():
        out = np.empty(math.prod(shape), symbol_dtype(alphabet))
        decode(memoryview(payload), alphabet, shape, out)
        assert np.array_equal(out, symbols.reshape(-1))
    if math.prod(shape) <= 10_240:
        assert plain_rans.decode(payload, alphabet, shape) == symbols.reshape(-1).tolist()
    return payload


def sparse(rng, shape, row_density, column_density, alphabet=17):
    """Symbols whose zeros lie in rows and columns."""
    density = np.minimum(row_density[:, None] * column_density, 1)
    kept = rng.random(shape) < density
    return np.where(kept, rng.integers(0, alphabet, shape), alphabet // 2)


SHAPES = st.sampled_from([(), (1,), (700,), (1, 300), (300, 1), (8, 40), (40, 9), (70, 3, 3, 3), (33, 65)])


@UNHURRIED
@given(SHAPES, st.sampled_from([1, 2, 17, 255, 256, 257, 1000, 4096]), st.integers(0, 2**32), st.booleans())
def test_symbols_come_back(shape, alphabet, seed, structured):
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    if structured and len(shape) == 2:
        symbols = sparse(rng, shape, rng.random(shape[0]), rng.random(shape[1]), alphabet)
    else:
        symbols = np.clip(rng.normal(alphabet / 2, 1 + alphabet / 20, size), 0, alphabet - 1).astype(np.int64)
    round_trip(symbols, alphabet, shape)


@needs_native
@pytest.mark.parametrize("case", ["dense", "rows and columns", "runs in rows", "runs in columns", "wide"])
def test_numpy_writes_the_bytes_that_compiled_code_writes(case, monkeypatch):
    rng = np.random.default_rng(11)
    alphabet = 600 if case == "wide" else 17
    signs = np.repeat(rng.choice([-1, 1], (64, 20)), 8, axis=1) * rng.integers(0, 8, (64, 160)) + 8
    symbols = {
        "dense": rng.integers(0, 17, (64, 160)),
        "rows and columns": sparse(rng, (64, 160), rng.choice([0.05, 1], 64), rng.choice([0.1, 1], 160)),
        "runs in rows": signs,
        "runs in columns": signs.T,
        "wide": np.clip(rng.normal(300, 40, (64, 160)), 0, 599).astype(int),
    }[case]
    payload = round_trip(symbols, alphabet, symbols.shape)
    monkeypatch.setattr(native, "available", lambda: False)
    assert round_trip(symbols, alphabet, symbols.shape) == payload
    if case == "rows and columns":
        assert payload[1] & 15
        assert payload[1] >> 4
    assert payload[0] & 3 == {"runs in rows": 2, "runs in columns": 3}.get(case, 0)


def test_structure_is_worth_many_bytes_and_noise_costs_none():
    rng = np.random.default_rng(12)
    structured = sparse(rng, (300, 400), rng.choice([0.02, 0.5], 300), rng.choice([0.1, 1], 400))
    shuffled = rng.permutation(structured.reshape(-1)).reshape(300, 400)
    sizes = [len(round_trip(symbols, 17, (300, 400))) for symbols in (structured, shuffled)]
    assert sizes[0] < 0.85 * sizes[1]
    counts = np.bincount(shuffled.reshape(-1))
    entropy_bytes = (counts * np.log2(counts.sum() / counts)).sum() / 8
    assert sizes[1] < 1.01 * entropy_bytes + 100


def test_wide_rows_of_different_scale_take_fewer_bytes_than_one_huffman_code():
    rng = np.random.default_rng(13)
    scale = np.exp(rng.normal(0, 0.8, (128, 1)))
    symbols = np.clip(np.rint(rng.normal(0, 12, (128, 300)) * scale), -127, 127).astype(int) + 127
    payload = round_trip(symbols, 255, (128, 300))
    huffman = Huffman().encode(symbols.reshape(-1).astype(np.uint8), 255, (128, 300))
    assert len(payload) < 0.95 * len(huffman)


@UNHURRIED
@given(st.data())
def test_a_damaged_payload_is_refused_by_both_or_gives_the_same_symbols(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 50)))
    shape = data.draw(st.sampled_from([(300,), (40, 30), (12, 90)]))
    alphabet = data.draw(st.sampled_from([5, 40, 300]))
    if len(shape) == 2:
        symbols = sparse(rng, shape, rng.choice([0.1, 1], shape[0]), rng.choice([0.1, 1], shape[1]), alphabet)
    else:
        symbols = rng.integers(0, alphabet, shape)
    payload = Rans().encode(symbols.reshape(-1).astype(symbol_dtype(alphabet)), alphabet, shape)
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(damaged) - 1, 60)) | st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))]
    results = []
    for decode in decoders():
        out = np.zeros(symbols.size, symbol_dtype(alphabet))
        try:
            decode(memoryview(bytes(damaged)), alphabet, shape, out)
        except CodecError:
            results.append(None)
        else:
            assert out.max() < alphabet
            results.append(out.tolist())
    assert results[0] == results[-1]


@UNHURRIED
@given(st.binary(max_size=80), st.sampled_from([2, 17, 256, 300]), st.sampled_from([(7,), (5, 8)]))
def test_noise_is_refused_by_both_or_gives_the_same_symbols(noise, alphabet, shape):
    results = []
    for decode in decoders():
        out = np.zeros(math.prod(shape), symbol_dtype(alphabet))
        try:
            decode(memoryview(noise), alphabet, shape, out)
        except CodecError:
            results.append(None)
        else:
            results.append(out.tolist())
    assert results[0] == results[-1]


@pytest.mark.parametrize(
    ("claim", "payload"),
    [
        ("it ends in its head", "8000"),
        ("it has 128 lanes", "9c0000"),
        ("its precision is 13", "a00000"),
        ("its tables would take too much memory", "82ff00"),
        ("one context is walked by columns", "810000"),
        ("its form has unknown bits", "800010"),
        ("its tables hold no symbol", "80000c" + "ffff"),
        ("its lanes' states end early", "800000"),
    ],
)
def test_a_payload_is_refused_when(claim, payload):
    for decode in decoders():
        with pytest.raises(CodecError):
            decode(memoryview(bytes.fromhex(payload)), 4, (2, 3), np.empty(6, np.uint8))


def refused_by_all(payload, alphabet, shape, reasons):
    for decode, reason in zip(decoders(), reasons, strict=False):
        with pytest.raises(CodecError, match=reason):
            decode(memoryview(payload), alphabet, shape, np.empty(math.prod(shape), symbol_dtype(alphabet)))


def test_words_after_the_last_token_are_refused():
    payload = round_trip(np.arange(40) % 7, 7, (40,))
    for extra in (b"\0\0", b"\0"):
        refused_by_all(payload + extra, 7, (40,), ["left over|do not fill", "left over"])


def test_low_bits_that_lead_outside_the_alphabet_are_refused():
    payload = bytearray(round_trip(np.full(8, 256), 257, (8,)))
    assert payload[-1] == 0  # the low bit of each symbol
    payload[-1] = 0x80
    refused_by_all(bytes(payload), 257, (8,), ["outside the alphabet", "outside what is possible"])


@pytest.mark.parametrize(
    ("claim", "offset", "filling", "reasons"),
    [
        ("accepted: offsets in range, filled with zeros", 14, "0", None),
        ("an offset is out of range", 20, "0", ["outside what is possible", "outside what is possible"]),
        ("a bit follows the tables", 14, "1", ["not zero", "left over"]),
    ],
)
def test_tables_of_two_tokens(claim, offset, filling, reasons):
    def step(value):
        return "1" + exp_golomb(abs(value) - 1) + ("1" if value < 0 else "0")

    def exp_golomb(value):
        return "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"

    bits = step(offset) + step(-offset - 5)  # two tokens: absent, and the level 14 - 5
    table = int(bits + filling * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8)
    payload = bytes([0x80, 0, 0]) + table + (1 << 16).to_bytes(4, "little")
    if reasons is None:
        for decode in decoders():
            out = np.zeros(1, np.uint8)
            decode(memoryview(payload), 2, (1,), out)
            assert out[0] == 1
    else:
        refused_by_all(payload, 2, (1,), reasons)


@UNHURRIED
@given(
    st.lists(
        st.lists(st.integers(0, 3) | st.integers(0, 5000), min_size=9, max_size=9), min_size=1, max_size=6
    )
    .map(np.array)
    .filter(lambda counts: counts.any()),
    st.integers(0, 3),
)
def test_tables_come_back_and_every_symbol_that_occurs_has_a_frequency(counts, resolution):
    levels, written, run_order = choose_tables(counts, resolution)
    back, used = read_tables(memoryview(written + b"next"), len(counts), 9, resolution, run_order)
    assert used == len(written)
    assert [table.tolist() for table in back] == [table.tolist() for table in levels]
    for table, row in zip(levels, counts, strict=True):
        frequency = frequencies(table, resolution, 10)
        assert frequency.sum() == 1024
        assert (frequency[row > 0] > 0).all()


@needs_native
@UNHURRIED
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_the_compiled_search_for_tables_finds_what_numpy_finds(seed, resolution):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (5, 30)) ** rng.integers(0, 6, (5, 30))
    absent = 14 << resolution
    reference = np.minimum(rng.integers(0, absent + 20, 30), absent)
    offsets, costs = np.empty_like(counts), np.empty(5, np.int64)
    work = np.empty(native.call("ep_rans_offsets_work_bytes") // 8, np.int64)
    native.call("ep_rans_offsets", counts, 5, 30, reference, resolution, offsets, costs, work, work.nbytes)
    expected = offsets_reference(counts, reference, resolution)
    assert offsets.tolist() == expected[0].tolist()
    assert costs.tolist() == expected[1].tolist()
