"""Deltas: what changed against a base, never more than the whole, and never without the right base."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifacts import MODEL, WEIGHTS, model, write

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.delta import nearest
from edgepress_compression.artifact.format import TensorEntry
from edgepress_compression.artifact.read import ArtifactReader, decode, read_header, tensors
from edgepress_compression.artifact.sink import MemorySink
from edgepress_compression.artifact.sizes import sizes
from edgepress_compression.artifact.write import ScaledIntegers
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.shared import find_codebook
from edgepress_compression.errors import ArtifactError

UNHURRIED = settings(deadline=None, max_examples=25)  # a busy machine is no failure
RNG = np.random.default_rng(5)
VALUES = np.sort(RNG.normal(0, 0.1, 32)).astype(np.float32)
RANKS = np.clip(np.rint(RNG.normal(16, 4, (200, 300))), 0, 31).astype(np.int32)
BASE = model({"w": VALUES[RANKS], "b": RNG.normal(size=100).astype(np.float32)})


def changed(fraction):
    """RANKS with a fraction of them one up or down."""
    moved = (RNG.random(RANKS.shape) < fraction) * RNG.choice([-1, 1], RANKS.shape)
    return np.clip(RANKS + moved, 0, 31)


def entropy_bytes(fraction, count):
    """Of which of them changed, and to which side."""
    return count * (-fraction * np.log2(fraction / 2) - (1 - fraction) * np.log2(1 - fraction)) / 8


def test_a_model_that_did_not_change_costs_little():
    delta = write(MODEL, base=MODEL)
    assert decode(delta, base=MODEL) == MODEL
    assert len(delta) < 400
    assert {entry.coding for entry in tensors(delta)} == {"same"}


@pytest.mark.parametrize("fraction", [0.01, 0.05])
def test_a_fine_tuned_model_costs_about_what_changed(fraction):
    biases = RNG.normal(size=100).astype(np.float32)
    new = model({"w": VALUES[changed(fraction)], "b": biases})
    delta = write(new, base=BASE)
    assert decode(delta, base=BASE) == new
    assert len(delta) < 1.15 * entropy_bytes(fraction, RANKS.size) + biases.nbytes + 300


def test_weights_that_moved_a_little_cost_less_than_new_ones():
    before = RNG.normal(0, 0.1, (200, 100)).astype(np.float32)
    after = before * (1 + 1e-4 * RNG.normal(size=before.shape)).astype(np.float32)
    base, new = model({"w": before}), model({"w": after})
    delta = write(new, base=base)
    assert decode(delta, base=base) == new
    assert next(tensors(delta)).coding == "difference"
    assert len(delta) < 0.7 * len(write(new))


def test_another_model_costs_hardly_more_than_the_whole():
    other = model({"v": VALUES[RANKS[::-1]], "c": RNG.normal(size=300).astype(np.float32)})
    assert decode(write(other, base=MODEL), base=MODEL) == other
    assert len(write(other, base=MODEL)) < len(write(other)) + 100


def test_a_codebook_that_is_the_bases_is_not_sent_again():
    values = RNG.normal(0, 0.1, 256).astype(np.float32)
    ranks = RNG.integers(0, 256, (100, 100))
    base, new = model({"w": values[ranks]}), model({"w": values[ranks.T]})
    row = next(row for row in sizes(write(new, base=base), base=base) if row.name == "w")
    assert row.side_bytes == 3


@pytest.mark.parametrize(
    "changes", [{"values": 31}, {"name": "v"}, {"shape": (300, 200)}, {"dtype": "int32"}]
)
def test_a_codebook_of_a_base_is_that_of_the_same_tensor(changes):
    entry = TensorEntry("w", "float32", (200, 300), "rans", 32, 0, 0)
    assert len(Base(BASE).codebook(entry)) == 32
    with pytest.raises(CodecError, match="the base"):
        Base(BASE).codebook(msgspec.structs.replace(entry, **changes))


@pytest.mark.parametrize("trellis", [False, True])
def test_scaled_integers_have_deltas_too(trellis):
    integers = 2 * RNG.integers(-7, 8, (64, 200)).astype(np.int32)
    codes = ScaledIntegers(
        integers if not trellis else integers // 4 * 4, np.full(1, 0.01, np.float32), 0, trellis
    )
    base = model({"w": (integers * np.float32(0.0101))})
    new = model({"w": codes.weights()})
    delta = write(new, base=base, codes={"w": codes})
    assert decode(delta, base=base) == new


def test_a_delta_can_be_read_as_it_comes():
    new = model({"w": VALUES[changed(0.02)], "b": RNG.normal(size=100).astype(np.float32)})
    delta = write(new, base=BASE)
    sink = MemorySink()
    reader = ArtifactReader(sink, base=memoryview(BASE))
    for at in range(0, len(delta), 100):
        reader.feed(delta[at : at + 100])
    reader.close()
    assert sink.take() == new


def test_its_header_is_read_without_the_base():
    header = read_header(write(MODEL, base=BASE))
    assert header.base.onnx_bytes == len(BASE)


@pytest.mark.parametrize(
    ("base", "said"), [(None, "none was given"), (MODEL, "bytes"), (BASE[:-1] + b"\0", "another")]
)
def test_without_its_base_a_delta_says_which_one_it_needs(base, said):
    delta = write(MODEL, base=BASE)
    digest = read_header(delta).base.onnx_sha256
    with pytest.raises(ArtifactError, match=f"SHA-256 {digest}.*{said}"):
        decode(delta, base=base)


@UNHURRIED
@given(st.data())
def test_any_two_models_give_a_delta(data):
    def weights():
        return {
            name: RNG.integers(-3, 3, data.draw(st.sampled_from([40, 400]))).astype(
                data.draw(st.sampled_from(["float32", "int8", "uint8", "int64", "float16", "float64"]))
            )
            for name in data.draw(st.sets(st.sampled_from("abc")))
        }

    base, new = model(weights()), model(weights())
    assert decode(write(new, base=base), base=base) == new


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32"])
def test_differences_are_exact_for_every_number_there_is(dtype):
    size = np.dtype(dtype).itemsize
    special = np.frombuffer(RNG.bytes(600 * size), dtype)  # NaNs, infinities and subnormals among them
    before = np.frombuffer(RNG.bytes(600 * size), dtype).copy()
    before[::3] = special[::3]
    base, new = model({"w": before}), model({"w": special})
    assert decode(write(new, base=base), base=base) == new


def test_a_flipped_bit_in_any_byte_of_a_delta_is_found():
    new = model(
        {"shared": WEIGHTS["shared"][:8, :100], "dense": WEIGHTS["dense"][:8, :30] * np.float32(1.001)}
    )
    base = model({"shared": WEIGHTS["shared"][8:16, :100], "dense": WEIGHTS["dense"][:8, :30]})
    delta = write(new, base=base)
    for position in range(len(delta)):
        flipped = bytearray(delta)
        flipped[position] ^= 1 << (position % 8)
        with pytest.raises(ArtifactError):
            decode(bytes(flipped), base=base)


def test_a_codebook_of_bfloat16_ascends_by_value():
    values = np.array([-2.0, -0.5, 0.0, 0.25, 3.0], "<f4")
    bits = (values.view("<u4") >> 16).astype("<u2")
    found = find_codebook(bits[[3, 1, 4, 0, 2, 1, 1]], "bfloat16", 16)
    assert found is not None
    symbols, codebook = found
    assert codebook.tolist() == bits.tolist()
    assert symbols.tolist() == [3, 1, 4, 0, 2, 1, 1]


def test_values_that_descend_have_no_nearest_symbol():
    entry = TensorEntry("w", "float32", (2,), "context-delta", 2, 0, 0)
    descending = np.array([1.0, -1.0], "<f4").tobytes()
    with pytest.raises(CodecError, match="do not ascend"):
        nearest(entry, descending, memoryview(np.zeros(2, "<f4").tobytes()))
