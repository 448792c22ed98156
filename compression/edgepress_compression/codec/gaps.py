"""Gaps and values: for tensors where one symbol (the pruned weight) is by far the most frequent.

Relative indexing as in Deep Compression (Han, Mao, Dally 2016, section 3 and figure 2): the distance to the
next weight that is kept, in few bits, and the weight; both Huffman coded (section 5). Where the paper codes
a filler zero as a weight, a token of its own says "skip this many, no weight follows".

payload::

    byte    order       0: elements in C order; 1: the first axis runs fastest (its neighbours lie together)
    varint  background  the symbol between the kept ones
    varint  skip        1 .. 4094
    varint  tokens      how many
    stream              of the tokens, alphabet skip + 1: t < skip = t background symbols, then a value;
                        t = skip = that many background symbols and no value
    stream              of the values in the same order, never the background

What follows the last token is background. Streams are drawn in lanes.py.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.lanes import decode_stream, encode_stream, stream_bits

_SKIPS: Final = (7, 15, 31, 63, 127, 255, 511)  # measured to be tried; larger tables never paid
_SKIP_MAX: Final = 4094
_BLOCK_TOKENS: Final = 1 << 20
_MIN_BACKGROUND: Final = 0.25  # below, a dense code is always shorter


class Gaps:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        counts = np.bincount(symbols, minlength=1)
        background = int(counts.argmax())
        if counts[background] < _MIN_BACKGROUND * len(symbols):
            return None
        best_bits, best = math.inf, (0, 0)
        for order in (0, 1):
            gaps = _gaps(np.flatnonzero(_ordered(symbols, order, shape) != background))
            for skip in _SKIPS:
                bits = stream_bits(np.bincount(_tokens(gaps, skip), minlength=skip + 1))
                if bits < best_bits:
                    best_bits, best = bits, (order, skip)
        order, skip = best
        ordered = _ordered(symbols, order, shape)
        positions = np.flatnonzero(ordered != background)
        tokens = _tokens(_gaps(positions), skip)
        head = bytes([order]) + varint(background) + varint(skip) + varint(len(tokens))
        return head + encode_stream(tokens) + encode_stream(ordered[positions])

    def decode(self, payload: memoryview, alphabet: int, shape: Shape) -> Symbols:
        reader = ByteReader(payload)
        size = math.prod(shape)
        order = reader.varint(1)
        background = reader.varint(alphabet - 1)
        skip = reader.varint(_SKIP_MAX)
        if skip == 0:
            raise CodecError("gaps of no length")
        tokens = decode_stream(reader, reader.varint(size), skip + 1)
        values = decode_stream(reader, int(np.count_nonzero(tokens < skip)), alphabet)
        reader.end()
        if (values == background).any():
            raise CodecError("the background symbol is coded as a value")
        symbols = np.full(size, background, np.uint16)
        _place(symbols, tokens, values, skip)
        if order == 1 and size:
            symbols = symbols.reshape(-1, shape[0] if shape else 1).T.reshape(-1)
        return symbols


def _ordered(symbols: Symbols, order: int, shape: Shape) -> Symbols:
    return symbols.reshape(shape[0] if shape else 1, -1).T.reshape(-1) if order else symbols


def _gaps(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(positions, prepend=-1) - 1


def _place(symbols: Symbols, tokens: Symbols, values: Symbols, skip: int) -> None:
    """Puts the values where the tokens say, a block of tokens at a time: positions take 8 bytes each."""
    at = placed = 0
    for first in range(0, len(tokens), _BLOCK_TOKENS):
        block = tokens[first : first + _BLOCK_TOKENS].astype(np.int64)
        kept = block < skip
        ends = np.cumsum(block + kept) + at  # every token moves on by its gap, a value by one more
        at = int(ends[-1])
        if at > len(symbols):
            raise CodecError("a value lies outside the tensor")
        positions = ends[kept] - 1
        symbols[positions] = values[placed : placed + len(positions)]
        placed += len(positions)


def _tokens(gaps: NDArray[np.int64], skip: int) -> NDArray[np.int64]:
    """Each gap as gap // skip skips and the rest."""
    ends = np.cumsum(gaps // skip + 1)
    tokens = np.full(int(ends[-1]) if len(ends) else 0, skip, np.int64)
    tokens[ends - 1] = gaps % skip
    return tokens
