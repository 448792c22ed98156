"""Canonical Huffman codes of at most 15 bits, and how their tables are written.

Written table (count of symbols > 0)::

    varint  low     the smallest symbol that occurs
    varint  span-1  the largest minus the smallest
    span unary numbers (v zeros, a one; high bit first; filled with zeros to a byte), none when span = 1::

        0  the length of the symbol used before       1  the symbol does not occur
        2j the length before + j                      2j+1  the length before - j        (j >= 1)

    The length "before" the first is the number of bits of span-1.

With span = 1 the code has no bits at all. Else the lengths make a complete code (Kraft sum exactly 1), and
codes are given in the order of (length, symbol), counting up from zero, as in RFC 1951 section 3.2.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bits import CODE_MAX_BITS, pack_unary, unpack_unary
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Symbols

_TABLE_MAX_BYTES_A_SYMBOL = 4  # the longest unary number is 29, 30 bits


@dataclass(frozen=True)
class PrefixCode:
    """Code lengths of the symbols low .. low+span-1, in bits; 0 where a symbol does not occur."""

    low: int
    lengths: NDArray[np.int64]  # (span,)

    @property
    def max_bits(self) -> int:
        return int(self.lengths.max())

    def codes(self) -> NDArray[np.int64]:
        """The code of each symbol (span,), 0 where it does not occur."""
        order = self._order()
        widths = np.int64(1) << (self.max_bits - self.lengths[order])
        codes = np.zeros(len(self.lengths), np.int64)
        codes[order] = (np.cumsum(widths) - widths) >> (self.max_bits - self.lengths[order])
        return codes

    def tables(self) -> tuple[Symbols, NDArray[np.int64]]:
        """By the next max_bits bits: the symbol they start with, and its length. (2**max_bits,) each."""
        order = self._order()
        lengths = self.lengths[order]
        repeats = np.int64(1) << (self.max_bits - lengths)
        return np.repeat((order + self.low).astype(np.uint16), repeats), np.repeat(lengths, repeats)

    def _order(self) -> NDArray[np.int64]:
        used = np.flatnonzero(self.lengths)
        return used[np.argsort(self.lengths[used], kind="stable")]


def optimal_code(counts: NDArray[np.int64]) -> PrefixCode:
    """The best code of at most 15 bits for symbols that occur ``counts`` times (at least one occurs).

    Package-merge: Larmore and Hirschberg 1990, "A fast algorithm for optimal length-limited Huffman codes".
    """
    used = np.flatnonzero(counts)
    low, span = int(used[0]), int(used[-1] - used[0]) + 1
    lengths = np.zeros(span, np.int64)
    if span > 1:
        order = used[np.argsort(counts[used], kind="stable")]
        lengths[order - low] = _package_merge(counts[order])
    return PrefixCode(low, lengths)


def write_code(code: PrefixCode) -> bytes:
    """The table as drawn above."""
    span = len(code.lengths)
    head = varint(code.low) + varint(span - 1)
    if span == 1:
        return head
    used = np.flatnonzero(code.lengths)
    step = np.diff(code.lengths[used], prepend=(span - 1).bit_length())
    numbers = np.ones(span, np.int64)
    numbers[used] = np.where(step >= 0, 2 * step, 1 - 2 * step)
    return head + pack_unary(numbers)


def read_code(reader: ByteReader, alphabet: int) -> PrefixCode:
    """A table for symbols < ``alphabet``. Raises CodecError when it is none."""
    low = reader.varint(alphabet - 1)
    span = reader.varint(alphabet - 1 - low) + 1
    if span == 1:
        return PrefixCode(low, np.zeros(1, np.int64))
    numbers, used_bytes = unpack_unary(reader.peek(span * _TABLE_MAX_BYTES_A_SYMBOL), span)
    reader.take(used_bytes)
    used = np.flatnonzero(numbers != 1)
    step = numbers[used] >> 1
    step[(numbers[used] & 1).astype(bool)] *= -1
    lengths = np.zeros(span, np.int64)
    lengths[used] = (span - 1).bit_length() + np.cumsum(step)
    if len(used) == 0 or lengths[used].min() < 1 or lengths[used].max() > CODE_MAX_BITS:
        raise CodecError("a code length is not in 1..15")
    if (np.int64(1) << (CODE_MAX_BITS - lengths[used])).sum() != 1 << CODE_MAX_BITS:
        raise CodecError("the code lengths make no complete code")
    if lengths[0] == 0 or lengths[-1] == 0:
        raise CodecError("the first or last symbol of a code table does not occur")
    return PrefixCode(low, lengths)


def _package_merge(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Code lengths for two or more ``weights`` in ascending order."""
    count = len(weights)
    level = weights
    is_leaf = [np.ones(count, bool)]
    for _ in range(CODE_MAX_BITS - 1):
        pairs = len(level) // 2
        packages = level[: 2 * pairs].reshape(pairs, 2).sum(1)
        merged = np.concatenate([weights, packages])
        order = np.argsort(merged, kind="stable")
        level = merged[order]
        is_leaf.append(order < count)
    lengths = np.zeros(count, np.int64)
    wanted = 2 * count - 2
    for leaf in reversed(is_leaf):
        leaves = int(leaf[:wanted].sum())
        lengths[:leaves] += 1
        wanted = 2 * (wanted - leaves)
    return lengths
