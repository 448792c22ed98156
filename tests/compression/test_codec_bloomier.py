"""The Bloomier filter: the kept come back, the rest by chance as often as said, the same in C and numpy."""

import math

import numpy as np
import plain_bloomier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgepress_compression.codec import bloomier_filter, native
from edgepress_compression.codec.bloomier import Bloomier, encode_filter, sides
from edgepress_compression.codec.bloomier_cells import (
    WINDOW,
    bits_of,
    checked_cells,
    smallest,
    solve,
    solve_reference,
)
from edgepress_compression.codec.bloomier_classes import EMPTY, choose_classes
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.gaps import Gaps

UNHURRIED = settings(deadline=None, max_examples=60)
needs_native = pytest.mark.skipif(not native.available(), reason="the compiled codec is not built here")


def sparse(shape=(80, 120), kept=0.1, alphabet=17, seed=0):
    """Kept positions by chance, half of the rows and a quarter of the columns empty."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < kept
    mask[rng.random(shape[0]) < 0.5] = False
    mask[:, rng.random(shape[1]) < 0.25] = False
    values = rng.integers(0, alphabet, shape)
    return np.where(mask, values, alphabet // 2).reshape(-1).astype(symbol_dtype(alphabet))


def decoded(payload, alphabet, shape):
    out = np.full(math.prod(shape), 7, symbol_dtype(alphabet))
    Bloomier().decode(memoryview(payload), alphabet, shape, out)
    return out


def decoded_by_reference(payload, alphabet, shape, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(bloomier_filter.native, "available", lambda: False)
        return decoded(payload, alphabet, shape)


@UNHURRIED
@given(st.data())
def test_the_coder_loses_nothing_whatever_the_shape(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=9))
    alphabet = data.draw(st.sampled_from([1, 2, 16, 300]))
    share = data.draw(st.floats(0, 0.8))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    symbols = np.where(rng.random(math.prod(shape)) < share, rng.integers(0, alphabet, math.prod(shape)), 0)
    symbols = symbols.astype(symbol_dtype(alphabet))
    payload = Bloomier().encode(symbols, alphabet, shape)
    if payload is not None:
        assert np.array_equal(decoded(payload, alphabet, shape), symbols)
        assert plain_bloomier.decode(payload, alphabet, shape) == symbols.tolist()


def test_dense_tensors_are_left_to_others():
    assert Bloomier().encode(np.arange(256, dtype=np.uint8), 256, (16, 16)) is None


@pytest.mark.parametrize("count", [1, 63, 64, 500, 6000])
def test_cells_give_each_position_its_bit_for_little_more_than_a_bit(count):
    rng = np.random.default_rng(count)
    positions = np.sort(rng.choice(20 * count, count, replace=False)).astype(np.uint32)
    bits = rng.integers(0, 2, count).astype(np.uint8)
    seed, cells, packed = smallest(positions, bits, 3, 0)
    assert np.array_equal(bits_of(np.frombuffer(packed, np.uint8), positions, seed, 3, cells), bits)
    assert cells <= max(WINDOW, 1.05 * count)


@needs_native
@UNHURRIED
@given(st.integers(1, 400), st.integers(0, 255), st.integers(0, 44), st.integers(0, 9))
def test_compiled_and_plain_elimination_give_the_same_cells_or_the_same_refusal(count, seed, group, slack):
    rng = np.random.default_rng(count)
    positions = rng.choice(1 << 31, count, replace=False).astype(np.uint32)
    bits = rng.integers(0, 2, count).astype(np.uint8)
    cells = max(WINDOW, count + slack - 4)
    assert solve(positions, bits, seed, group, cells) == solve_reference(positions, bits, seed, group, cells)


@needs_native
@UNHURRIED
@given(st.integers(0, 999), st.sampled_from([0.05, 0.4, 3.0]), st.sampled_from([3, 17, 300]))
def test_compiled_decoding_numpy_and_the_page_agree(seed, price, alphabet):
    shape = (40, 6, 5)
    symbols = sparse((40, 30), alphabet=alphabet, seed=seed)
    with pytest.MonkeyPatch.context() as patched:
        for payload in (
            encode_filter(symbols, alphabet, shape, np.full(sides(shape), price)),
            Bloomier().encode(symbols, alphabet, shape),
        ):
            plain = decoded_by_reference(payload, alphabet, shape, patched)
            assert np.array_equal(decoded(payload, alphabet, shape), plain)
            assert plain_bloomier.decode(payload, alphabet, shape) == plain.tolist()


@needs_native
def test_payloads_are_the_same_without_the_compiled_loops(monkeypatch):
    symbols = sparse()
    compiled = Bloomier().encode(symbols, 17, (80, 120))
    monkeypatch.setattr("edgepress_compression.codec.native.available", lambda: False)
    assert Bloomier().encode(symbols, 17, (80, 120)) == compiled


def test_what_the_filter_holds_comes_back_and_false_positives_are_as_rare_as_said():
    shape, rng = (200, 300), np.random.default_rng(1)
    kept = rng.random(shape) < 0.05
    symbols = np.where(kept, rng.integers(1, 5, shape), 0).astype(np.uint8).reshape(-1)
    price = np.full(shape, 3.0)
    rows, columns = choose_classes(kept, price)
    expected = (0.5 ** (rows[:, None].astype(float) + columns))[~kept].sum()
    out = decoded(encode_filter(symbols, 5, shape, price), 5, shape)
    assert np.array_equal(out[kept.reshape(-1)], symbols[kept.reshape(-1)])
    false = np.count_nonzero(out[~kept.reshape(-1)])
    assert abs(false - expected) < 5 * math.sqrt(expected)


def test_a_higher_price_buys_fewer_false_positives_with_more_bytes():
    symbols, shape = sparse(), (80, 120)
    payloads = [encode_filter(symbols, 17, shape, np.full(shape, price)) for price in (0.5, 2.0, 3.9)]
    false = [np.count_nonzero(decoded(payload, 17, shape) != symbols) for payload in payloads]
    assert false == sorted(false, reverse=True)
    assert false[0] > false[-1] > 0
    assert [len(payload) for payload in payloads] == sorted(len(payload) for payload in payloads)


def test_false_positives_that_cost_too_much_decode_to_the_background():
    """Dear and cheap places lie mixed, so that check bits cannot tell them apart."""
    symbols, shape = sparse(), (80, 120)
    dear = np.random.default_rng(2).random(shape) < 0.05
    out = decoded(encode_filter(symbols, 17, shape, np.where(dear, 30.0, 0.3)), 17, shape)
    wrong = (out != symbols).reshape(shape)
    assert wrong[~dear].sum() > 500
    assert not wrong[dear].any()


@pytest.mark.parametrize("shape", [(40, 50), (3, 40), (40,), ()])
def test_a_filter_of_nothing_passes_nothing(shape):
    symbols = np.full(math.prod(shape), 2, np.uint8)
    out = decoded(encode_filter(symbols, 5, shape, np.ones(sides(shape))), 5, shape)
    assert np.array_equal(out, symbols)


def test_another_seed_gives_other_false_positives():
    symbols, shape = sparse(), (80, 120)
    one, other = (
        decoded(encode_filter(symbols, 17, shape, np.ones(shape), seed=seed), 17, shape) for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_rows_and_columns_in_which_nothing_is_kept_pass_nothing():
    symbols, shape = sparse(), (80, 120)
    kept = (symbols != 8).reshape(shape)
    rows, columns = choose_classes(kept, np.ones(shape))
    assert np.array_equal(rows == EMPTY, ~kept.any(1))
    assert np.array_equal(columns == EMPTY, ~kept.any(0))
    out = decoded(encode_filter(symbols, 17, shape, np.full(shape, 0.01)), 17, shape).reshape(shape)
    assert (out[~kept.any(1)] == 8).all()


def test_the_filter_is_smaller_than_gaps_and_values_of_the_same_layer():
    """Where density goes by row and column and nothing else, as in pruned dense layers."""
    rng = np.random.default_rng(5)
    density = 0.1 * rng.random((300, 1)) ** 2 * (rng.random((1, 500)) ** 2) * 9
    symbols = np.where(rng.random((300, 500)) < density, rng.integers(0, 16, (300, 500)), 8)
    flat = symbols.reshape(-1).astype(np.uint8)
    assert len(Bloomier().encode(flat, 16, (300, 500))) < 0.97 * len(Gaps().encode(flat, 16, (300, 500)))


PAYLOAD = encode_filter(sparse(), 17, (80, 120), np.ones((80, 120)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: b"", "ends early"),
        (lambda p: b"\x03" + p[1:], "at most 2"),
        (lambda p: p[:1] + b"\x11" + p[2:], "at most 16"),
        (lambda p: p[:-1], "end|wanted"),
        (lambda p: p + b"\0", "left over"),
    ],
)
def test_damaged_payloads_are_refused(damage, said):
    with pytest.raises(CodecError, match=said):
        decoded(damage(PAYLOAD), 17, (80, 120))


def test_a_group_shorter_than_a_window_is_refused():
    one_check_bit = b"\x01\x00" + b"\x00\x00" + b"\x01\x00"  # form, background; all rows 0; all columns 1
    assert decoded(one_check_bit + b"\x00", 4, (16, 16)).tolist() == [0] * 256  # no cells: nothing passes
    with pytest.raises(CodecError, match="a group of 63 cells"):
        decoded(one_check_bit + b"\x3f\x00" + bytes(8), 4, (16, 16))


def test_bits_after_the_last_cell_are_refused():
    checked_cells(65, bytes(8) + b"\x01")
    with pytest.raises(CodecError, match="last cell"):
        checked_cells(65, bytes(8) + b"\x02")


@UNHURRIED
@given(st.data())
def test_no_damage_does_more_than_a_refusal_or_other_symbols(data):
    payload = bytearray(data.draw(st.sampled_from([PAYLOAD, Bloomier().encode(sparse(), 17, (80, 120))])))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        out = decoded(bytes(payload), 17, (80, 120))
    except CodecError:
        return
    assert out.max() < 17
