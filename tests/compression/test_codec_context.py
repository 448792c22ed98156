"""`context`: plain loops are the specification; compiled ones write the same bytes and refuse the same."""

import hashlib
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_compression.codec import context, native
from edgepress_compression.codec.bytestream import ByteReader, CodecError
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.context import Context, ContextDelta
from edgepress_compression.codec.context_head import Head, read_head
from edgepress_compression.codec.context_latent import Latent
from edgepress_compression.codec.context_reference import decode_reference, encode_reference
from edgepress_compression.codec.context_tables import LEARN, SQUASH, STRETCH
from edgepress_compression.codec.range_coder import RangeReader, RangeWriter
from edgepress_compression.codec.registry import DELTA_CODERS, SYMBOL_CODERS

UNHURRIED = settings(deadline=None, max_examples=25)  # a busy machine is no failure
needs_native = pytest.mark.skipif(not native.available(), reason="the compiled codec is not built")
ALPHABETS = st.sampled_from([1, 2, 3, 17, 63, 255, 256, 257, 1000, 4096])


def kept(rng, shape, density, alphabet):
    """Pruned weights: few differ from one symbol, and those tend to keep their column's side."""
    middle = alphabet // 2
    size = rng.normal(0, 1 + alphabet / 8, shape) + rng.normal(0, alphabet / 8, shape[-1])
    symbols = np.where(rng.random(shape) < density, np.rint(size) + middle, middle)
    return np.clip(symbols, 0, alphabet - 1).astype(np.int64)


def dense(rng, shape, alphabet):
    """Weights of correlated columns with scales of their own."""
    mixing = rng.normal(0, 1, (shape[-1], shape[-1])) * rng.uniform(0.2, 1, shape[-1])
    values = rng.normal(0, 1, shape) @ mixing
    values *= alphabet / 6 / values.std()
    return np.clip(np.rint(values + alphabet / 2), 0, alphabet - 1).astype(np.int64)


def flat(symbols, alphabet):
    return symbols.reshape(-1).astype(symbol_dtype(alphabet))


def decode(coder, payload, alphabet, shape, *base):
    out = np.empty(math.prod(shape), symbol_dtype(alphabet))
    coder.decode(memoryview(payload), alphabet, shape, *base, out)
    return out


def heads():
    """Heads as an encoder may write them, and more freely than ours does."""

    @st.composite
    def draw(draw):
        alphabet = draw(ALPHABETS)
        columns = draw(st.sampled_from([1, 2, 5, 9, 16, 17, 40]))
        transposed = draw(st.booleans())
        elements = columns * draw(st.integers(1, 6)) + (
            0 if transposed else draw(st.integers(0, columns - 1))
        )
        taps = draw(st.integers(0, -(-columns // 16))) * 16
        return Head(
            elements, columns, draw(st.integers(1, columns)), draw(st.sampled_from([1, 2, 3, 7, 4096])),
            alphabet, draw(st.integers(0, alphabet - 1)), draw(st.integers(0, 16 * alphabet)),
            draw(st.integers(4, 16 * alphabet)), draw(st.integers(1, 255)),
            spike=draw(st.booleans()), transposed=transposed, family=draw(st.integers(0, 3)),
            taps=taps, rate=draw(st.integers(1, 14)) if taps else 0,
        )  # fmt: skip

    return draw()


def some_symbols(head, seed):
    rng = np.random.default_rng(seed)
    common = rng.integers(0, head.alphabet)
    symbols = np.where(rng.random(head.elements) < 0.5, common, rng.integers(0, head.alphabet, head.elements))
    return flat(symbols, head.alphabet)


@UNHURRIED
@given(heads(), st.integers(0, 2**32))
def test_symbols_come_back_whatever_the_head_chooses(head, seed):
    symbols = some_symbols(head, seed)
    if head.alphabet == 1:
        head = head._replace(spike=False)  # nothing can differ from the background
    code = encode_reference(symbols, head, None, head.rows)
    out = np.empty_like(symbols)
    decode_reference(memoryview(code), head, None, out)
    assert np.array_equal(out, symbols)


@needs_native
@UNHURRIED
@given(heads(), st.integers(0, 2**32))
def test_compiled_and_plain_loops_write_the_same_bytes(head, seed):
    symbols = some_symbols(head, seed)
    code = context._code(symbols, head, None, head.rows)
    assert code == encode_reference(symbols, head, None, head.rows)
    assert np.array_equal(decode(Context(), head.to_bytes() + code, head.alphabet, (head.elements,)), symbols)


@needs_native
@pytest.mark.parametrize(
    ("claim", "make", "alphabet", "shape"),
    [
        ("few kept", lambda rng, shape, n: kept(rng, shape, 0.08, n), 17, (40, 60)),
        ("kernels", lambda rng, shape, n: kept(rng, shape, 0.4, n), 33, (12, 16, 3, 3)),
        ("kernels of five", lambda rng, shape, n: kept(rng, shape, 0.3, n), 33, (6, 10, 5, 5)),
        ("correlated columns", dense, 255, (40, 50)),
        ("a wide alphabet", dense, 4096, (12, 40)),
        ("all of one symbol", lambda rng, shape, n: np.full(shape, 3), 9, (700,)),
        ("one column", dense, 63, (900, 1)),
    ],
)
def test_an_encoder_without_the_compiled_loops_makes_the_same_choices(
    claim, make, alphabet, shape, monkeypatch
):
    symbols = flat(make(np.random.default_rng(1), shape, alphabet), alphabet)
    payload = Context().encode(symbols, alphabet, shape)
    assert np.array_equal(decode(Context(), payload, alphabet, shape), symbols)
    monkeypatch.setattr(native, "available", lambda: False)
    assert Context().encode(symbols, alphabet, shape) == payload
    assert np.array_equal(decode(Context(), payload, alphabet, shape), symbols)


@needs_native
@UNHURRIED
@given(
    ALPHABETS,
    st.sampled_from([(1,), (300,), (20, 15), (8, 4, 3, 3), ()]),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_deltas_come_back_the_same_from_both_loops(alphabet, shape, changed, seed):
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    base = flat(rng.integers(0, alphabet, size), alphabet)
    symbols = np.where(rng.random(size) < changed, flat(rng.integers(0, alphabet, size), alphabet), base)
    payload = ContextDelta().encode(symbols, alphabet, shape, base)
    assert np.array_equal(decode(ContextDelta(), payload, alphabet, shape, base), symbols)
    reader = ByteReader(payload)
    head = read_head(reader, alphabet, size, delta=True)
    code = reader.rest()
    assert encode_reference(symbols, head, base, head.rows) == bytes(code)
    out = np.empty_like(symbols)
    decode_reference(code, head, base, out)
    assert np.array_equal(out, symbols)


def test_no_elements_need_no_bytes():
    nothing = np.empty(0, np.uint8)
    assert Context().encode(nothing, 5, (0, 3)) == b""
    assert ContextDelta().encode(nothing, 5, (0, 3), nothing) == b""
    Context().decode(memoryview(b""), 5, (0, 3), nothing)
    with pytest.raises(CodecError, match="left over"):
        Context().decode(memoryview(b"\0"), 5, (0, 3), nothing)


@pytest.mark.parametrize("rows_are_filters", [True, False])
@needs_native
def test_a_tensor_with_more_columns_than_the_model_has_comes_back(rows_are_filters):
    rng = np.random.default_rng(5)
    shape = (2, 70_000) if rows_are_filters else (140_001,)
    symbols = flat(kept(rng, (math.prod(shape),), 0.02, 9), 9)
    payload = Context().encode(symbols, 9, shape)
    assert np.array_equal(decode(Context(), payload, 9, shape), symbols)


def test_the_bytes_of_version_1_stay():
    rng = random.Random(2)  # its numbers are the same in every version of Python
    symbols = np.array([rng.choice((4, 4, 4, 5, 3, 8, 0)) for _ in range(60)], np.uint8)
    base = np.array([int(s) if rng.random() < 0.9 else 4 for s in symbols], np.uint8)
    payload = Context().encode(symbols, 9, (6, 10))
    delta = ContextDelta().encode(symbols, 9, (6, 10), base)
    assert payload.hex() == PAYLOAD
    assert delta.hex() == DELTA
    assert np.array_equal(decode(Context(), payload, 9, (6, 10)), symbols)


PAYLOAD = "61018d0a0101043d20004a22afd8790acc601ffe8e8eb990ff03e054dd70ed"
DELTA = "0500150a01010480012a06423fa39bd100"


@needs_native
def test_structure_takes_fewer_bytes_than_the_symbols_entropy():
    rng = np.random.default_rng(6)
    columns = np.where(np.arange(400) % 4 == 0, 0.5, 0.02)
    sparse = flat(np.where(rng.random((300, 400)) < columns, rng.integers(0, 17, (300, 400)), 8), 17)
    correlated = flat(dense(rng, (900, 96), 255), 255)
    for symbols, alphabet, shape, share in (
        (sparse, 17, (300, 400), 0.9),
        (correlated, 255, (900, 96), 0.96),
    ):
        frequencies = np.bincount(symbols) / len(symbols)
        entropy_bytes = -len(symbols) * float(sum(p * np.log2(p) for p in frequencies if p)) / 8
        assert len(Context().encode(symbols, alphabet, shape)) < share * entropy_bytes


@needs_native
def test_a_delta_of_one_percent_costs_little_more_than_its_entropy():
    rng = np.random.default_rng(7)
    base = flat(kept(rng, (1000, 200), 0.3, 33), 33)
    step = np.where(rng.random(200_000) < 0.01, rng.choice([-1, 1], 200_000), 0)
    symbols = np.clip(base.astype(np.int64) + step, 0, 32).astype(np.uint8)
    changed = float(np.mean(symbols != base))
    entropy = -changed * math.log2(changed) - (1 - changed) * math.log2(1 - changed) + changed
    payload = ContextDelta().encode(symbols, 33, (1000, 200), base)
    assert len(payload) < 1.1 * 200_000 * entropy / 8


GOOD = Head(60, 10, 1, 3, 9, 4, 64, 32, 100, spike=True, transposed=False, family=1, taps=0, rate=0)


def lie(**changes):
    return GOOD._replace(**changes).to_bytes() + b"\x80\x00"


@pytest.mark.parametrize(
    ("claim", "payload", "reason"),
    [
        ("nothing", b"", "ends early"),
        ("half a head", GOOD.to_bytes()[:5], "ends early"),
        ("a head alone", GOOD.to_bytes(), "ends early"),
        ("no columns", lie(columns=0), "outside"),
        ("more columns than elements", lie(columns=61), "outside"),
        ("more columns than can be", lie(columns=65537), "."),
        ("a kernel wider than a row", lie(kernel=11), "outside"),
        ("no kernel", lie(kernel=0), "outside"),
        ("no lag", lie(lag=0), "outside"),
        ("a long lag", lie(lag=4097), "."),
        ("a background that is no symbol", lie(background=9), "outside"),
        ("a narrow spread", lie(spread=3), "outside"),
        ("a wide spread", lie(spread=131073), "."),
        ("no density", lie(density=0), "outside"),
        ("a rate without taps", lie(rate=3), "outside"),
        ("taps that do not learn", lie(taps=16), "outside"),
        ("taps that learn too slowly", lie(taps=16, rate=15), "outside"),
        ("more taps than columns", lie(taps=32, rate=4), "outside"),
        ("columns that do not divide", lie(columns=11, transposed=True), "outside"),
        ("bytes left over", GOOD.to_bytes() + bytes(60), "left over"),
    ],
)  # fmt: skip
def test_refused_by_both_loops(claim, payload, reason, monkeypatch):
    reasons = set()
    for compiled in (native.available(), False):
        monkeypatch.setattr(native, "available", lambda compiled=compiled: compiled)
        with pytest.raises(CodecError, match=reason) as caught:
            decode(Context(), payload, 9, (60,))
        reasons.add(str(caught.value))
    assert len(reasons) <= 1 or reason == "left over"


@pytest.mark.parametrize("by", [1, 2, 5, 40])
def test_a_shortened_or_longer_payload_is_refused_or_is_something_else(by):
    symbols = flat(kept(np.random.default_rng(8), (40, 30), 0.5, 33), 33)
    payload = Context().encode(symbols, 33, (40, 30))
    with pytest.raises(CodecError):
        decode(Context(), payload + bytes(by + 4), 33, (40, 30))
    try:
        assert not np.array_equal(decode(Context(), payload[:-by], 33, (40, 30)), symbols)
    except CodecError:
        pass


@needs_native
@UNHURRIED
@given(st.binary(max_size=60), ALPHABETS, st.integers(1, 60), st.booleans(), st.booleans())
def test_any_bytes_are_read_alike_by_both_loops(data, alphabet, count, headed, delta):
    if headed:  # most random bytes are no head
        head = GOOD._replace(
            elements=count, columns=min(count, 10), alphabet=alphabet, background=alphabet // 2
        )
        data = head.to_bytes() + data
    base = np.full(count, alphabet - 1, symbol_dtype(alphabet))
    coder, bases = (ContextDelta(), (base,)) if delta else (Context(), ())
    found = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "available", lambda compiled=compiled: compiled)
            try:
                found.append(decode(coder, data, alphabet, (count,), *bases).tolist())
            except CodecError as error:
                found.append(str(error).split(" are left over")[0].split(": ")[0])
    assert found[0] == found[1] or all(isinstance(each, str) for each in found)


def test_symbols_outside_the_alphabet_are_not_coded():
    symbols = np.array([1, 5], np.uint8)
    with pytest.raises(ValueError, match="the alphabet has 5"):
        Context().encode(symbols, 5, (2,))
    with pytest.raises(ValueError, match="not below 5"):
        ContextDelta().encode(symbols, 5, (2,), symbols)
    with pytest.raises(CodecError, match="not below 5"):
        ContextDelta().decode(memoryview(b"abc"), 5, (2,), symbols, symbols)


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 2**18 - 1), st.integers(1, 2**18)), max_size=200))
def test_the_range_coder_returns_every_interval(parts):
    writer = RangeWriter()
    intervals = [(low, min(width, 2**18 - low)) for low, width in parts]
    for low, width in intervals:
        unit = writer.range >> 18
        writer.put(low * unit, width * unit)
    reader = RangeReader(writer.finish())
    for low, width in intervals:
        unit = reader.range >> 18
        assert low <= reader.place // unit < low + width
        reader.take(low * unit, width * unit)
    reader.close()


def test_a_carry_runs_through_bytes_of_255():
    writer = RangeWriter()
    for _ in range(40):  # stays just below a carry as long as it can
        unit = writer.range >> 18
        writer.put(writer.range - unit, unit)
    assert len(writer.finish()) >= 40 * 17 // 8


@pytest.mark.parametrize("spike", [True, False])
@pytest.mark.parametrize("family", range(4))
@pytest.mark.parametrize(("symbols", "background"), [(1, 0), (2, 0), (17, 8), (256, 255), (4096, 100)])
def test_every_symbol_has_an_interval(symbols, background, family, spike):
    latent = Latent(symbols, background, 16 * background, 40, family, spike=spike)
    latent.counts = [(k * 7919) % 50 for k in range(symbols)]
    if spike:
        latent.counts[background] = 0
    latent.rebuild()
    assert all(a <= b for a, b in zip(latent.threshold, latent.threshold[1:], strict=False))
    ends = [latent.below(z) for z in range(-32768, 32768, 7)]
    assert ends == sorted(ends)
    assert ends[0] >= 0
    assert latent.below(32767) <= (1 << 18) - 2 * latent.reserve


def test_tables_are_what_their_names_say():
    assert all(abs(SQUASH[2048 + s] / 65536 - 1 / (1 + 2 ** (-s / 128))) < 2e-4 for s in range(-1400, 1400))
    assert all(abs(STRETCH[SQUASH[2048 + s] >> 4] - s) < 3 for s in range(-500, 500))
    assert len(SQUASH) == len(STRETCH) == 4096
    assert LEARN[0] == 40960


def test_both_are_registered():
    assert isinstance(SYMBOL_CODERS["context"], Context)
    assert isinstance(DELTA_CODERS["context-delta"], ContextDelta)


@needs_native
def test_payloads_are_pinned():
    """A larger tensor, by a hash: any change to the model would show."""
    state, values = 1, []
    for _ in range(20_000):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        values.append(min(state >> 40 & 15, state >> 50 & 15, state >> 57 & 15) + (state >> 33 & 3))
    symbols = np.array(values, np.uint8)
    found = [
        hashlib.sha256(Context().encode(symbols, 19, shape)).hexdigest()[:16]
        for shape in ((100, 200), (20_000,), (40, 20, 5, 5))
    ]
    assert found == PINNED


PINNED = ["383ecfe2088f66dc", "1776bfd2dad24002", "2d7d77cec4a9c9bd"]
