"""Gaps and values: for tensors where one symbol (the pruned weight) is by far the most frequent.

Relative indexing as in Deep Compression (Han, Mao, Dally 2016, section 3 and figure 2): the distance to the next
weight that is kept, in few bits, and the weight; both Huffman coded (section 5). Where the paper codes a filler zero
as a weight, a token of its own says "skip this many, no weight follows".

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
from edgepress_compression.codec.lanes import decode_stream, encode_stream

_SKIPS: Final = (7, 15, 31, 63, 127, 255, 511)  # measured to be tried; larger tables never paid
_SKIP_MAX: Final = 4094
_MIN_BACKGROUND: Final = 0.25  # below, a dense code is always shorter


class Gaps:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        counts = np.bincount(symbols, minlength=1)
        background = int(counts.argmax())
        if counts[background] < _MIN_BACKGROUND * len(symbols):
            return None
        return min(
            (self._encode(symbols, background, order, shape) for order in (0, 1)),
            key=len,
        )

    def decode(self, payload: memoryview, alphabet: int, shape: Shape) -> Symbols:
        reader = ByteReader(payload)
        size = math.prod(shape)
        order = reader.varint(1)
        background = reader.varint(alphabet - 1)
        skip = reader.varint(_SKIP_MAX)
        if skip == 0:
            raise CodecError("gaps of no length")
        tokens = decode_stream(reader, reader.varint(size), skip + 1).astype(np.int64)
        kept = tokens < skip
        positions = (np.cumsum(tokens + kept) - 1)[
            kept
        ]  # every token moves on by its gap, a value by one more
        values = decode_stream(reader, len(positions), alphabet)
        reader.end()
        if len(positions) and positions[-1] >= size:
            raise CodecError("a value lies outside the tensor")
        if (values == background).any():
            raise CodecError("the background symbol is coded as a value")
        symbols = np.full(size, background, np.uint16)
        symbols[positions] = values
        if order == 1 and size:
            symbols = symbols.reshape(size // shape[0], shape[0]).T.reshape(-1) if shape else symbols
        return symbols

    def _encode(self, symbols: Symbols, background: int, order: int, shape: Shape) -> bytes:
        if order == 1 and shape:
            symbols = symbols.reshape(shape[0], -1).T.reshape(-1)
        positions = np.flatnonzero(symbols != background)
        gaps = np.diff(positions, prepend=-1) - 1
        streams = ((skip, _tokens(gaps, skip)) for skip in _SKIPS)
        coded = ((skip, len(tokens), encode_stream(tokens)) for skip, tokens in streams)
        skip, count, stream = min(coded, key=lambda choice: len(choice[2]))
        head = bytes([order]) + varint(background) + varint(skip) + varint(count)
        return head + stream + encode_stream(symbols[positions])


def _tokens(gaps: NDArray[np.int64], skip: int) -> NDArray[np.int64]:
    """Each gap as gap // skip skips and the rest."""
    ends = np.cumsum(gaps // skip + 1)
    tokens = np.full(int(ends[-1]) if len(ends) else 0, skip, np.int64)
    tokens[ends - 1] = gaps % skip
    return tokens
