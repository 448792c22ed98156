"""Interleaved rANS with static tables and classes of rows and columns: the fast mode.

Range variant of asymmetric numeral systems (Duda 2013, arXiv:1311.2540, section 3.2), several states over one
run of 16-bit words (Giesen 2014, "Interleaved entropy coders", arXiv:1402.3392). payload::

    byte  flags     bit 0: walk by columns; bit 1: contexts by the token before;
                    bits 2..4: log2 of the lanes, 0 .. 6; bits 5..7: precision - 8, 0 .. 4
    byte  classes   bits 0..3: classes of rows - 1; bits 4..7: classes of columns - 1
    byte  form      bits 0..1: resolution, bits 2..3: run_order of the tables (rans_tables.py)
    varint pivot    only with contexts by the token before: a token
    stream          only with more than one class of rows: the class of each row (drawn in lanes.py)
    stream          likewise of columns
    tables          one a context, drawn in rans_tables.py
    u32   state     one a lane, little endian, at least 2**16
    u16   words     little endian, all the bytes up to the low bits
    bits            low bits of each element, C order; zeros to a byte

*Tokens*: a symbol's high bits, so many that there are at most 256; the low bits (none up to alphabet 256) are
stored as they are.

*Walk*: the tensor is a matrix of shape[0] rows; walking by columns, its transpose. The context of an
element is row class * column classes + column class; with contexts by the token before, times 3, plus 0, 1
or 2 when the token before in the row is below, equal to or above the pivot (1 at a row's start). contexts
<< precision is at most 2**19, and a side with classes at most 65,536. With one context in all, the walk is
instead of (elements, 1), and never by columns. Rows are visited in the order of (class, number), ``lanes``
rows at once (the last time, fewer): the first column of each, then the second of each, ... The rows of such
a block have the lanes 0, 1, ...

*To decode a token* with its lane's state x: slot = x mod 2**precision; the token is the one whose interval
[start, start + f) holds slot, start being the sum of the frequencies f of the tokens before it in its
context; x = f * (x >> precision) + slot - start; and when x < 2**16, x = x << 16 | the next word. At the
end all words are used and all states are 2**16.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native, rans_reference
from edgepress_compression.codec.bits import pack_fixed, unpack_fixed
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.lanes import decode_stream, encode_stream
from edgepress_compression.codec.rans_classes import MAX_SIDE, Choice, choices
from edgepress_compression.codec.rans_reference import STATE_LOW, Walk
from edgepress_compression.codec.rans_tables import choose_tables, frequencies, read_tables

_MAX_TOKENS: Final = 256
_MAX_SLOTS: Final = 1 << 19
_MAX_LANES_LOG2: Final = 6
_TRIED: Final = 3  # choices whose tables are made
_RESOLUTIONS: Final = (1, 2)
_PRECISIONS: Final = (11, 12)
# Tables of many contexts decode faster while they stay near the processor (4 bytes a slot), ...
_FEW_CONTEXTS: Final = 4
_WORTH_SLOTS: Final = 0.998  # ... so larger ones must save this much


class Rans:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        if len(symbols) == 0:
            return None
        low_bits = _low_bits(alphabet)
        tokens = symbols >> low_bits if low_bits else symbols
        coded = _best_tables(tokens.astype(np.uint8), ((alphabet - 1) >> low_bits) + 1, shape)
        states, words = _encode_walk(coded, tokens.astype(np.uint8))
        tail = pack_fixed(symbols.astype(np.int64) & ((1 << low_bits) - 1), low_bits) if low_bits else b""
        return coded.head + states.astype("<u4").tobytes() + words + tail

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        if native.available():
            work = np.empty(native.call("ep_rans_work_bytes"), np.uint8)
            sides = np.array(shape, np.int64)
            native.call(
                "ep_rans_decode",
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
        else:
            decode_reference(payload, alphabet, shape, out)


def decode_reference(payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
    """As Rans.decode, in numpy: what ep_rans_decode is held to."""
    count, low_bits = math.prod(shape), _low_bits(alphabet)
    tokens = ((alphabet - 1) >> low_bits) + 1
    reader = ByteReader(payload)
    flags, classes, form = reader.take(3)
    precision, lanes = 8 + (flags >> 5), 1 << (flags >> 2 & 7)
    row_classes, column_classes = (classes & 15) + 1, (classes >> 4) + 1
    contexts = row_classes * column_classes * (3 if flags & 2 else 1)
    if lanes > 1 << _MAX_LANES_LOG2 or precision > 12 or form > 15 or contexts << precision > _MAX_SLOTS:
        raise CodecError("a number in the head is outside what is possible")
    by_columns = bool(flags & 1)
    if contexts == 1 and by_columns:
        raise CodecError("one context is never walked by columns")
    rows, columns = _walk_sides(shape, by_columns, contexts)
    pivot = reader.varint(tokens - 1) if flags & 2 else None
    row_class = _read_classes(reader, rows, row_classes)
    column_class = _read_classes(reader, columns, column_classes)
    levels, used = read_tables(reader.peek(reader.left), contexts, tokens, form & 3, form >> 2)
    reader.take(used)
    frequency = np.stack([frequencies(level, form & 3, precision) for level in levels])
    states = np.frombuffer(reader.take(4 * lanes), "<u4").astype(np.int64)
    if (states < STATE_LOW).any():
        raise CodecError("a lane starts in a state that no encoder ends in")
    low_bytes = (count * low_bits + 7) // 8
    if low_bytes > reader.left or (reader.left - low_bytes) % 2:
        raise CodecError("the words do not fill the payload")
    words = np.frombuffer(reader.take(reader.left - low_bytes), "<u2").astype(np.int64)
    walk = Walk(rows, columns, by_columns, row_class, column_class, column_classes, pivot, lanes)
    rans_reference.decode(walk, frequency, precision, states, words, out)
    if low_bits:
        symbols = out.astype(np.int64) << low_bits | unpack_fixed(reader.rest(), count, low_bits)
        if symbols.max() >= alphabet:
            raise CodecError("a symbol lies outside the alphabet")
        out[:] = symbols


@dataclass(frozen=True)
class _Coded:
    """A choice of contexts with its tables."""

    head: bytes  # the payload before the states
    walk: Walk
    frequency: NDArray[np.int64]  # (contexts, tokens)
    precision: int


def _low_bits(alphabet: int) -> int:
    return max(0, (alphabet - 1).bit_length() - 8)


def _walk_sides(shape: Shape, by_columns: bool, contexts: int) -> tuple[int, int]:
    count = math.prod(shape)
    if contexts == 1:
        return count, 1
    rows = shape[0] if shape else 1
    return (count // rows, rows) if by_columns else (rows, count // rows)


def _read_classes(reader: ByteReader, side: int, classes: int) -> NDArray[np.uint8] | None:
    if classes == 1:
        return None
    if side > MAX_SIDE:
        raise CodecError("classes for a side that is too long to have them")
    return decode_stream(reader, side, classes).astype(np.uint8)


def _lanes_log2(count: int) -> int:
    # A lane costs about three bytes; many make decoding fast, in C up to about 8, in numpy more.
    for least, log2 in ((65_536, 5), (16_384, 3), (1024, 2), (128, 1)):
        if count >= least:
            return log2
    return 0


def _best_tables(tokens: Symbols, alphabet: int, shape: Shape) -> _Coded:
    matrix = tokens.reshape(shape[0] if shape else 1, -1)
    pivot = int(np.bincount(tokens, minlength=1).argmax())
    found = choices(matrix, alphabet, pivot)
    plain = next(c for c in found if not c.previous and c.row_class is None and c.column_class is None)
    tried = found[:_TRIED] if plain in found[:_TRIED] else [*found[:_TRIED], plain]
    counted = [_count(choice, tokens, alphabet, shape, pivot) for choice in tried]
    coded = [_with_tables(*walk_and_counts, _RESOLUTIONS[0]) for walk_and_counts in counted]
    best = min(range(len(tried)), key=lambda i: coded[i][1])
    finer = [_with_tables(*counted[best], resolution) for resolution in _RESOLUTIONS[1:]]
    return min([coded[best], *finer], key=lambda pair: pair[1])[0]


def _count(
    choice: Choice, tokens: Symbols, alphabet: int, shape: Shape, pivot: int
) -> tuple[Walk, NDArray[np.int64]]:
    """The walk, and how often each token occurs in each context."""
    row_classes = 1 if choice.row_class is None else int(choice.row_class.max()) + 1
    column_classes = 1 if choice.column_class is None else int(choice.column_class.max()) + 1
    contexts = row_classes * column_classes * (3 if choice.previous else 1)
    rows, columns = _walk_sides(shape, choice.by_columns, contexts)
    walk = Walk(
        rows,
        columns,
        choice.by_columns,
        choice.row_class,
        choice.column_class,
        column_classes,
        pivot if choice.previous else None,
        1 << _lanes_log2(len(tokens)),
    )
    keys = walk.contexts(tokens) * alphabet + walk.matrix(tokens)
    counts = np.bincount(keys.reshape(-1), minlength=contexts * alphabet).reshape(contexts, alphabet)
    return walk, counts


def _with_tables(walk: Walk, counts: NDArray[np.int64], resolution: int) -> tuple[_Coded, float]:
    """The walk with tables, and the bits of head and words."""
    contexts = len(counts)
    previous = walk.pivot is not None
    row_classes = contexts // (walk.column_classes * (3 if previous else 1))
    levels, tables, run_order = choose_tables(counts, resolution)
    precision, frequency, word_bits = _precise(levels, counts, resolution)
    lanes_log2 = walk.lanes.bit_length() - 1
    flags = walk.by_columns | previous << 1 | lanes_log2 << 2 | (precision - 8) << 5
    head = bytes([flags, (row_classes - 1) | (walk.column_classes - 1) << 4, resolution | run_order << 2])
    head += varint(walk.pivot) if walk.pivot is not None else b""
    head += b"".join(encode_stream(c) for c in (walk.row_class, walk.column_class) if c is not None)
    head += tables
    return _Coded(head, walk, frequency, precision), word_bits + 8 * len(head)


def _precise(
    levels: list[NDArray[np.int64]], counts: NDArray[np.int64], resolution: int
) -> tuple[int, NDArray[np.int64], float]:
    """The precision, the frequencies (contexts, tokens), and the bits of the words."""
    used = counts > 0
    found = []
    for precision in _PRECISIONS:
        frequency = np.stack([frequencies(level, resolution, precision) for level in levels])
        bits = float((counts[used] * (precision - np.log2(frequency[used]))).sum())
        found.append((precision, frequency, bits))
    coarse, fine = found
    few = len(levels) <= _FEW_CONTEXTS
    return fine if few or fine[2] < _WORTH_SLOTS * coarse[2] else coarse


def _encode_walk(coded: _Coded, tokens: Symbols) -> tuple[NDArray[np.int64], bytes]:
    """The states and the words."""
    walk = coded.walk
    if not native.available():
        states, words = rans_reference.encode(walk, coded.frequency, coded.precision, tokens)
        return states, words.astype("<u2").tobytes()
    contexts, alphabet = coded.frequency.shape
    frequency = np.zeros((contexts, _MAX_TOKENS), np.uint16)
    frequency[:, :alphabet] = coded.frequency
    start = (np.cumsum(frequency, 1) - frequency).astype(np.uint16)
    lanes = np.empty(walk.lanes, np.uint32)
    out = np.empty(2 * len(tokens), np.uint8)
    used = native.call(
        "ep_rans_encode",
        tokens,
        tokens.itemsize,
        walk.rows,
        walk.columns,
        1 if walk.by_columns else walk.columns,
        walk.rows if walk.by_columns else 1,
        None if walk.row_class is None else walk.row_order(),
        walk.row_class,
        walk.column_class,
        walk.column_classes,
        -1 if walk.pivot is None else walk.pivot,
        coded.precision,
        walk.lanes,
        frequency,
        start,
        lanes,
        out,
        len(out),
    )
    return lanes.astype(np.int64), out[len(out) - used :].tobytes()
