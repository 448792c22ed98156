"""Gaps and values: for tensors where one symbol (the pruned weight) is the most frequent.

Relative indexing as in Deep Compression (Han, Mao, Dally 2016, section 3 and figure 2): the distance to the
next weight that is kept, in few bits, and the weight; both Huffman coded (section 5). Two things differ.
Where the paper codes a filler zero as a weight, a token of its own says "skip this many, no weight follows".
And because kept weights that lie together tend to have the same sign, values may be coded relative to the
sign of the value before, with one code for neighbours, one for a gap of one, and one for the rest.

payload::

    byte    flags       bit 0: 0 = elements in C order; 1 = the first axis runs fastest
                        bit 1: 0 = values as they are; 1 = relative signs
    varint  background  the symbol between the kept ones
    varint  skip        1 .. 4094
    varint  tokens      how many
    stream              of the tokens, alphabet skip + 1: t < skip = t background symbols, then a value;
                        t = skip = that many background symbols and no value
    as they are:
      stream            of the values, in order, never the background
    relative signs:
      3 streams         the values with 0, with 1, and with more background symbols between them and the value
                        before (or the start), each in order, alphabet 2 * alphabet - 1. A stored r means the
                        step r - (alphabet - 1) from the background, upside down when the value before was
                        below the background; the first counts as after one above

What follows the last token is background. Streams are drawn in lanes.py.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.lanes import decode_stream, encode_stream, stream_bits

_FIRST_AXIS_FASTEST: Final = 1
_RELATIVE_SIGNS: Final = 2
_FLAGS_MAX: Final = _FIRST_AXIS_FASTEST | _RELATIVE_SIGNS
_SKIPS: Final = (7, 15, 31, 63, 127, 255, 511)  # measured to be tried; larger tables never paid
_SKIP_MAX: Final = 4094
_CLASSES: Final = 3  # of values by the gap before: 0, 1, more
_BLOCK_TOKENS: Final = 1 << 20  # positions take 8 bytes each: worked on a block at a time
_MIN_BACKGROUND: Final = 0.25  # below, a dense code was always shorter


class Gaps:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        counts = np.bincount(symbols, minlength=1)
        background = int(counts.argmax())
        if counts[background] < _MIN_BACKGROUND * len(symbols):
            return None
        best_bits, order, skip = math.inf, 0, 0
        for candidate in (0, _FIRST_AXIS_FASTEST):
            gaps = _gaps(_ordered(symbols, candidate, shape), background)
            gap_counts = np.bincount(gaps)
            for length in _SKIPS:
                bits = stream_bits(_token_counts(gap_counts, length))
                if bits < best_bits:
                    best_bits, order, skip = bits, candidate, length
        ordered = _ordered(symbols, order, shape)
        gaps = _gaps(ordered, background)
        tokens = _tokens(gaps, skip)
        kept = ordered[ordered != background]
        plain = encode_stream(kept)
        relative = _encode_relative(kept, gaps, background, alphabet)
        flags = order | (_RELATIVE_SIGNS if len(relative) < len(plain) else 0)
        head = bytes([flags]) + varint(background) + varint(skip) + varint(len(tokens))
        return head + encode_stream(tokens) + (relative if flags & _RELATIVE_SIGNS else plain)

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        if native.available():
            work = np.empty(native.call("ep_gaps_work_bytes"), np.uint8)
            sides = np.array(shape, np.int64)
            status = native.status(
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
            if status >= 0:
                return
        # Without compiled code; or to say what exactly is wrong.
        decode_reference(payload, alphabet, shape, out)


def decode_reference(payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
    """As Gaps.decode, in numpy: what ep_gaps_decode is held to."""
    reader = ByteReader(payload)
    size = math.prod(shape)
    flags = reader.varint(_FLAGS_MAX)
    background = reader.varint(alphabet - 1)
    skip = reader.varint(_SKIP_MAX)
    if skip == 0:
        raise CodecError("gaps of no length")
    tokens = decode_stream(reader, reader.varint(size), skip + 1)
    count = int(np.count_nonzero(tokens < skip))
    if flags & _RELATIVE_SIGNS:
        classes = _classes(tokens, skip, count, size)
        values = _decode_relative(reader, classes, background, alphabet)
    else:
        values = decode_stream(reader, count, alphabet)
    reader.end()
    if (values == background).any():
        raise CodecError("the background symbol is coded as a value")
    symbols = np.full(size, background, np.uint16)
    placed = 0
    for positions in _positions(tokens, skip, size):
        symbols[positions] = values[placed : placed + len(positions)]
        placed += len(positions)
    if flags & _FIRST_AXIS_FASTEST and size:
        symbols = symbols.reshape(-1, shape[0] if shape else 1).T.reshape(-1)
    out[:] = symbols


def _ordered(symbols: Symbols, order: int, shape: Shape) -> Symbols:
    return symbols.reshape(shape[0] if shape else 1, -1).T.reshape(-1) if order else symbols


def _gaps(symbols: Symbols, background: int) -> NDArray[np.int64]:
    """The number of background symbols before each other symbol."""
    return np.diff(np.flatnonzero(symbols != background), prepend=-1) - 1


def _tokens(gaps: NDArray[np.int64], skip: int) -> NDArray[np.int64]:
    """Each gap as gap // skip skips and the rest."""
    ends = np.cumsum(gaps // skip + 1)
    tokens = np.full(int(ends[-1]) if len(ends) else 0, skip, np.int64)
    tokens[ends - 1] = gaps % skip
    return tokens


def _token_counts(gap_counts: NDArray[np.int64], skip: int) -> NDArray[np.int64]:
    """How often each of _tokens' tokens occurs (skip + 1,), for gaps g that occur gap_counts[g] times."""
    gaps = np.flatnonzero(gap_counts)
    counts = np.bincount(gaps % skip, gap_counts[gaps], skip + 1).astype(np.int64)
    counts[skip] = gap_counts[gaps] @ (gaps // skip)
    return counts


def _positions(tokens: Symbols, skip: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The positions of the values, a block of tokens at a time. Raises CodecError when one is >= ``size``."""
    at = 0
    for first in range(0, len(tokens), _BLOCK_TOKENS):
        block = tokens[first : first + _BLOCK_TOKENS].astype(np.int64)
        kept = block < skip
        ends = np.cumsum(block + kept) + at  # every token moves on by its gap, a value by one more
        at = int(ends[-1])
        if at > size:
            raise CodecError("a value lies outside the tensor")
        yield ends[kept] - 1


def _classes(tokens: Symbols, skip: int, count: int, size: int) -> NDArray[np.uint8]:
    """The class of each value (count,): the gap before it, at most 2."""
    classes = np.empty(count, np.uint8)
    placed, before = 0, -1
    for positions in _positions(tokens, skip, size):
        gaps = np.diff(positions, prepend=before) - 1
        classes[placed : placed + len(positions)] = np.minimum(gaps, _CLASSES - 1)
        placed += len(positions)
        if len(positions):
            before = int(positions[-1])
    return classes


def _encode_relative(values: Symbols, gaps: NDArray[np.int64], background: int, alphabet: int) -> bytes:
    steps = values.astype(np.int64) - background
    before = np.ones(len(steps), np.int64)
    before[1:] = np.sign(steps[:-1])
    stored = steps * before + alphabet - 1
    classes = np.minimum(gaps, _CLASSES - 1)
    return b"".join(encode_stream(stored[classes == group]) for group in range(_CLASSES))


def _decode_relative(
    reader: ByteReader, classes: NDArray[np.uint8], background: int, alphabet: int
) -> Symbols:
    stored = np.empty(len(classes), np.int32)
    for group in range(_CLASSES):
        members = classes == group
        stored[members] = decode_stream(reader, int(np.count_nonzero(members)), 2 * alphabet - 1)
    steps = stored - np.int32(alphabet - 1)
    # A value lies below the background when an odd number of steps up to it say "the other side".
    below = np.logical_xor.accumulate(steps < 0)
    values = background + np.where(below, -np.abs(steps), np.abs(steps))
    if len(values) and not (values.min() >= 0 and values.max() < alphabet):
        raise CodecError("a value lies outside the alphabet")
    symbols: Symbols = values.astype(np.uint16)
    return symbols
