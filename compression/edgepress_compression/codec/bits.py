"""Numpy bit packing. Bits go into bytes from the high bit down; the last byte is filled with zeros."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bytestream import CodecError

CODE_MAX_BITS: Final = 15  # a code at any of 8 bit offsets then fits three bytes (22 bits)


def pack_codes(codes: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Codes one after the other; ``lengths`` in bits, each 0 .. CODE_MAX_BITS, code < 2**length."""
    ends = np.cumsum(lengths)  # bit position after each code
    total_bits = int(ends[-1]) if len(ends) else 0
    size = (total_bits + 7) // 8
    starts = ends - lengths
    at = starts >> 3
    window = codes << (24 - lengths - (starts & 7))  # the code inside the three bytes from `at`
    # Bits of different codes never overlap, so adding them is or-ing them. Sums stay far below 2**53.
    packed = np.bincount(at, window >> 16, size + 3)
    packed[1:] += np.bincount(at, window >> 8 & 0xFF, size + 2)
    packed[2:] += np.bincount(at, window & 0xFF, size + 1)
    return packed[:size].astype(np.uint8).tobytes()


def pack_fixed(values: NDArray[np.int64], width: int) -> bytes:
    """Each value as ``width`` bits (0 .. 32)."""
    places = np.arange(width - 1, -1, -1)
    return np.packbits((values[:, None] >> places & 1).astype(np.uint8)).tobytes()


def unpack_fixed(data: memoryview, count: int, width: int) -> NDArray[np.int64]:
    """The inverse of pack_fixed; ``data`` has exactly its length. Raises CodecError for a filling of ones."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    if bits[count * width :].any():
        raise CodecError("bits after the last value are not zero")
    places = np.arange(width - 1, -1, -1)
    table = bits[: count * width].reshape(count, width).astype(np.int64)
    values: NDArray[np.int64] = (table << places).sum(1)
    return values


def pack_unary(values: NDArray[np.int64]) -> bytes:
    """Each value v as v zeros and a one."""
    ones = np.cumsum(values + 1) - 1
    bits = np.zeros(int(ones[-1]) + 1 if len(ones) else 0, np.uint8)
    bits[ones] = 1
    return np.packbits(bits).tobytes()


def unpack_unary(data: memoryview, count: int) -> tuple[NDArray[np.int64], int]:
    """``count`` values from the front of ``data``, and how many of its bytes they take. Raises CodecError."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    ones = np.flatnonzero(bits)
    if len(ones) < count:
        raise CodecError("a unary table ends early")
    used_bits = int(ones[count - 1]) + 1 if count else 0
    used = (used_bits + 7) // 8
    if bits[used_bits : used * 8].any():
        raise CodecError("bits after the last value are not zero")
    return np.diff(ones[:count], prepend=-1) - 1, used


def windows(data: memoryview, guard: int) -> NDArray[Any]:
    """For each byte of ``data`` and ``guard`` zero bytes after: it and the next two as one 24-bit number."""
    padded = np.zeros(len(data) + guard + 2, np.int64)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    window: NDArray[Any] = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    return window
