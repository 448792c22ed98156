"""Blocks of the coder ``floats``: many elements. Exponents are symbols, the rest is bits as they are.

payload::

    varint  zeros     fraction bits at the low end that are zero in all elements and left out
    byte    signs     0: each element has its own; 1: all plus; 2: all minus (0.0 itself is plus always)
    per block of 2^18 elements (the last may have fewer):
      byte    top | coder << 2   top: fraction bits that belong to the head, 0 .. 3; the heads' coder:
                                 0 huffman, 1 rans
      varint  low                the smallest head
      varint  span               1 + the largest minus the smallest, at most 4095; 0: all elements are 0.0
      varint  head_bytes
      bytes   heads              a payload of that coder, alphabet span + 1, shape (elements,): symbol 0 is
                                 the element 0.0, others are 1 + head - low
      planes                     of the tails: bits // 8 planes of a byte each, low byte first
      bits                       of the tails: the bits % 8 highest, high bit down, zeros to a whole byte

An element that is not 0.0 has a head, its exponent and top fraction bits, and a tail: the other fraction bits
followed by the sign, where that is each element's own; ``bits`` in all.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bits import pack_fixed, unpack_fixed
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import SymbolCoder, symbol_dtype
from edgepress_compression.codec.huffman import Huffman
from edgepress_compression.codec.rans import Rans

BLOCK: Final = 1 << 18  # elements: a block's temporary arrays stay below 4 MB
_CODERS: Final[tuple[SymbolCoder, ...]] = (Huffman(), Rans())
_HEADS_MAX: Final = 4096  # the largest alphabet of the symbol coders
_TOP_MAX: Final = 3
_SYMBOL_BITS: Final = 6  # about what a symbol takes in a coder's table
_OWN, _PLUS, _MINUS = 0, 1, 2


def encode_blocks(elements: NDArray[Any], exponent_bits: int, fraction_bits: int) -> bytes:
    """``elements``: unsigned, (n,), sign, exponent and fraction from the high bit down."""
    zeros = _trailing_zeros(elements, fraction_bits)
    minus = elements >> (exponent_bits + fraction_bits) != 0
    signs = _OWN if minus.any() else _PLUS
    if signs == _OWN and (minus | (elements == 0)).all():
        signs = _MINUS
    parts = [varint(zeros), bytes([signs])]
    for start in range(0, len(elements), BLOCK):
        block = elements[start : start + BLOCK] >> zeros
        parts += _encode_block(block, exponent_bits, fraction_bits - zeros, signs)
    return b"".join(parts)


def decode_blocks(payload: memoryview, out: NDArray[Any], exponent_bits: int, fraction_bits: int) -> None:
    """Fills ``out`` (n,). Raises CodecError."""
    reader = ByteReader(payload)
    zeros = reader.varint(fraction_bits)
    signs = reader.byte()
    if signs > _MINUS:
        raise CodecError(f"signs are of kind {signs}, 0 to 2 are known")
    for start in range(0, len(out), BLOCK):
        _decode_block(reader, out[start : start + BLOCK], exponent_bits, fraction_bits - zeros, zeros, signs)
    reader.end()


def _trailing_zeros(elements: NDArray[Any], fraction_bits: int) -> int:
    used = int(np.bitwise_or.reduce(elements)) | 1 << fraction_bits
    return (used & -used).bit_length() - 1


def _encode_block(block: NDArray[Any], exponent_bits: int, fraction_bits: int, signs: int) -> list[bytes]:
    magnitude_bits = exponent_bits + fraction_bits
    magnitudes = block & block.dtype.type((1 << magnitude_bits) - 1)
    nonzero = block != 0
    top = _best_top(magnitudes, nonzero, fraction_bits)
    rest_bits = fraction_bits - top
    heads = (magnitudes >> rest_bits).astype(np.int32)
    low = int(heads.min(where=nonzero, initial=(1 << exponent_bits + top) - 1)) if nonzero.any() else 0
    span = int(heads.max(where=nonzero, initial=low - 1)) - low + 1
    symbols = np.where(nonzero, heads - (low - 1), 0).astype(symbol_dtype(span + 1))
    coded = [coder.encode(symbols, span + 1, (len(symbols),)) for coder in _CODERS]
    which = min((len(payload), number) for number, payload in enumerate(coded) if payload is not None)[1]
    payload = coded[which] or b""
    tails = (magnitudes & block.dtype.type((1 << rest_bits) - 1))[nonzero]
    bits = rest_bits
    if signs == _OWN:
        tails = tails << 1 | block[nonzero] >> magnitude_bits
        bits += 1
    parts = [bytes([top | which << 2]), varint(low), varint(span), varint(len(payload)), payload]
    for plane in range(bits // 8):
        parts.append((tails >> (8 * plane)).astype(np.uint8).tobytes())
    if bits % 8:
        parts.append(pack_fixed((tails >> (bits // 8 * 8)).astype(np.int64), bits % 8))
    return parts


def _best_top(magnitudes: NDArray[Any], nonzero: NDArray[np.bool_], fraction_bits: int) -> int:
    """How many top fraction bits in the head take the fewest bytes, by entropy and a table's size."""
    values = magnitudes[nonzero]
    best, best_bits = 0, np.inf
    for top in range(min(_TOP_MAX, fraction_bits) + 1):
        heads = (values >> (fraction_bits - top)).astype(np.int64)
        if len(heads):
            heads -= heads.min()
            if int(heads.max()) + 2 > _HEADS_MAX:
                break
        counts = np.bincount(heads)
        counts = counts[counts > 0]
        bits = float(-(counts * np.log2(counts / max(len(heads), 1))).sum())
        bits += len(heads) * (fraction_bits - top) + _SYMBOL_BITS * len(counts)
        if bits < best_bits:
            best, best_bits = top, bits
    return best


def _decode_block(
    reader: ByteReader, out: NDArray[Any], exponent_bits: int, fraction_bits: int, zeros: int, signs: int
) -> None:
    kind = reader.byte()
    top, which = kind & 3, kind >> 2
    if top > fraction_bits or which >= len(_CODERS):
        raise CodecError(f"a block is of kind {kind}, which is not possible here")
    possible = 1 << (exponent_bits + top)
    low = reader.varint(possible - 1)
    span = reader.varint(min(_HEADS_MAX - 1, possible - low))
    payload = reader.take(reader.varint(reader.left))
    heads = np.empty(len(out), symbol_dtype(span + 1))
    _CODERS[which].decode(payload, span + 1, heads.shape, heads)
    elements = int(np.count_nonzero(heads))
    bits = fraction_bits - top + (signs == _OWN)
    packed_bytes = (elements * (bits % 8) + 7) // 8
    tails = reader.take(elements * (bits // 8) + packed_bytes)
    if native.available():
        native.call(
            "ep_floats_join", heads, heads.itemsize, len(out), elements, low, fraction_bits - top,
            exponent_bits + fraction_bits, zeros, signs, tails, len(tails), out, out.itemsize,
        )  # fmt: skip
    else:
        join(heads, low, fraction_bits - top, exponent_bits + fraction_bits, zeros, signs, tails, out)


def join(
    heads: NDArray[Any],
    low: int,
    rest_bits: int,
    magnitude_bits: int,
    zeros: int,
    signs: int,
    tails: memoryview,
    out: NDArray[Any],
) -> None:
    """Heads (n,) and tails back to elements; raises CodecError when bits after the last tail are not zero."""
    one = out.dtype.type
    nonzero = heads != 0
    count = int(np.count_nonzero(nonzero))
    bits = rest_bits + (signs == _OWN)
    values = np.zeros(count, out.dtype)
    for plane in range(bits // 8):
        part = np.frombuffer(tails[plane * count : (plane + 1) * count], np.uint8)
        values |= part.astype(out.dtype) << one(8 * plane)
    if bits % 8:
        packed = tails[bits // 8 * count :]
        left = -(count * (bits % 8)) % 8
        if left and packed[-1] & ((1 << left) - 1):
            raise CodecError("bits after the last tail are not zero")
        values |= unpack_fixed(packed, count, bits % 8).astype(out.dtype) << one(bits // 8 * 8)
    if signs == _OWN:
        values = values >> one(1) | (values & one(1)) << one(magnitude_bits)
    elif signs == _MINUS:
        values |= one(1 << magnitude_bits)
    values |= (heads[nonzero].astype(out.dtype) + one(low) - one(1)) << one(rest_bits)
    out[:] = 0
    out[nonzero] = values << one(zeros)
