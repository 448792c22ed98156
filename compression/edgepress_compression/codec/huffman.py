"""Dense Huffman coding: one code for all symbols of a tensor. payload = one stream as drawn in lanes.py."""

import math

from edgepress_compression.codec.bytestream import ByteReader
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.lanes import decode_stream, encode_stream


class Huffman:
    """See the module."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        return encode_stream(symbols)

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        reader = ByteReader(payload)
        decode_stream(reader, math.prod(shape), alphabet, out)
        reader.end()
