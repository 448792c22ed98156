"""A Bloomier filter of the kept weights, after Weightless (Reagen et al. 2018, "Lossy weight encoding").

The symbol that is most frequent is the background; other elements are kept. The payload does not say where
the kept ones are: any position can be asked for check bits, and then for the bits of a value. At kept
positions all check bits are 0. At others they may be, by chance: a false positive.
- Forms 1 and 2 lose nothing: the filter says which positions pass, and another coder codes the symbols of
  these few, false positives as background.
- Form 0 is Weightless: the values are in the filter too, and a false positive gets some value. Who wants a
  tensor so coded takes what the filter decodes to (`encode_filter`, then `decode`) as the tensor. Where a
  false positive would do much harm the filter is told that its value is the background.

Three things differ from the paper. Check and value bits are groups of one-bit cells, each with a size of
its own (bloomier_cells.py): a value takes the bits of its Huffman code. How many check bits a position needs
goes with the density of its row and column (bloomier_classes.py). Cells take 1 to 9 % more than the bits, not
23 %.

payload::

    byte    form        0, 1 or 2
    varint  background  < alphabet
    stream  rows        the class of each row, alphabet 17. rows = the first side, 1 with fewer than 2 dims
    stream  columns     the class of each column. columns = the product of the other sides
    when form = 0 and some row and some column are not of class 16:
      table             the prefix code of the values (prefix_code.py)
    groups              one for each check bit; in form 0 then one for each bit of the longest code
    form 1: stream      the symbols at the positions that pass, in C order, alphabet as the tensor's
    form 2: bytes       the same as a payload of gaps.py, for a tensor of one dimension

    group:
      varint  cells     0 (only for a check bit: no position passes) or 64 and more
      byte    seed      absent when cells = 0
      bytes             ceil(cells / 8), low bit first, bits after the last cell 0

A position in a row or column of class 16 does not pass. Others pass when the first (class of the row +
class of the column) groups all give the bit 0; there are as many check groups as that sum is at most. In
form 0 the groups after them give the bits of the value's code, the first bit first, until it is complete; a
code of one symbol has no bits. Groups are numbered from 0 (bloomier_cells.py needs the number), positions are
C order, and what does not pass is background. Streams are drawn in lanes.py.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bloomier_cells import smallest
from edgepress_compression.codec.bloomier_classes import CLASSES, choose_classes
from edgepress_compression.codec.bloomier_filter import Filter, checks_needed, marker_for, parts, run
from edgepress_compression.codec.bytestream import ByteReader, varint
from edgepress_compression.codec.coder import Shape, Symbols
from edgepress_compression.codec.gaps import Gaps
from edgepress_compression.codec.lanes import decode_stream, encode_stream
from edgepress_compression.codec.prefix_code import optimal_code, write_code

_IN_FILTER: Final = 0
_STREAM: Final = 1
_GAPS: Final = 2
_MIN_BACKGROUND: Final = 0.25  # below, nearly all positions would pass
# Bits that a false positive is taken to cost, all tried. With powers of two every sum that the choice of
# classes compares is exact, so it is the same on every machine.
_PRICES: Final = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)
_ROUNDS: Final = 8


class Bloomier:
    """See the module. Nothing is lost."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        background, kept = _kept(symbols, shape)
        if kept.size == 0 or kept.sum() > (1 - _MIN_BACKGROUND) * kept.size:
            return None
        best: bytes | None = None
        for price in _PRICES:
            rows, columns = choose_classes(kept, np.full(kept.shape, price))
            payload = _exactly(symbols, alphabet, background, kept, rows, columns)
            if best is None or len(payload) < len(best):
                best = payload
        return best

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        reader = ByteReader(payload)
        form = reader.varint(_GAPS)
        background = reader.varint(alphabet - 1)
        row_count, column_count = sides(shape)
        rows = decode_stream(reader, row_count, CLASSES).astype(np.uint8)
        columns = decode_stream(reader, column_count, CLASSES).astype(np.uint8)
        of = Filter(payload, reader, alphabet, form == _IN_FILTER, background, rows, columns)
        marker = marker_for(background)
        run(of, marker, out)
        if form == _IN_FILTER:
            reader.end()
            return
        count = sum(int(np.count_nonzero(part == marker)) for part in parts(out))
        if form == _STREAM:
            passing = decode_stream(reader, count, alphabet)
            reader.end()
        else:
            passing = np.empty(count, out.dtype)
            Gaps().decode(reader.rest(), alphabet, (count,), passing)
        at = 0
        for part in parts(out):
            positions = np.flatnonzero(part == marker)
            part[positions] = passing[at : at + len(positions)]
            at += len(positions)


def encode_filter(
    symbols: Symbols,
    alphabet: int,
    shape: Shape,
    price: NDArray[np.float64],
    *,
    seed: int = 0,
) -> bytes:
    """A payload of form 0: what it decodes to has all kept ``symbols``, and false positives beside them.

    ``symbols`` (flat, C order), of which the most frequent is the background; ``price`` (rows, columns): the
    bits that a false positive is worth avoiding at. Another ``seed`` (0 .. 63) gives other false positives.
    """
    background, kept = _kept(symbols, shape)
    rows, columns = choose_classes(kept, price)
    head = _head(_IN_FILTER, background, rows, columns)
    checks = _check_groups(kept, rows, columns, seed)
    false = _passing(checks, background, rows, columns, symbols) & ~kept
    told = kept | false & (price > _told_bits(symbols, kept, false, price))
    return head + _value_code(symbols, told, checks_needed(rows, columns), seed, checks)


def sides(shape: Shape) -> tuple[int, int]:
    """Rows and columns, as the filter sees a tensor."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _kept(symbols: Symbols, shape: Shape) -> tuple[int, NDArray[np.bool_]]:
    """The background, and what is not (rows, columns)."""
    background = int(np.bincount(symbols, minlength=1).argmax())
    return background, (symbols != background).reshape(sides(shape))


def _head(form: int, background: int, rows: NDArray[np.uint8], columns: NDArray[np.uint8]) -> bytes:
    return bytes([form]) + varint(background) + encode_stream(rows) + encode_stream(columns)


def _exactly(
    symbols: Symbols,
    alphabet: int,
    background: int,
    kept: NDArray[np.bool_],
    rows: NDArray[np.uint8],
    columns: NDArray[np.uint8],
) -> bytes:
    """The shorter of forms 1 and 2."""
    checks = _check_groups(kept, rows, columns, 0)
    passing = symbols[_passing(checks, background, rows, columns, symbols).reshape(-1)]
    stream = encode_stream(passing)
    gaps = Gaps().encode(passing, alphabet, (len(passing),)) if len(passing) else None
    form, rest = (_STREAM, stream) if gaps is None or len(stream) <= len(gaps) else (_GAPS, gaps)
    return _head(form, background, rows, columns) + checks + rest


def _check_groups(
    kept: NDArray[np.bool_], rows: NDArray[np.uint8], columns: NDArray[np.uint8], seed: int
) -> bytes:
    positions = np.flatnonzero(kept).astype(np.uint32)
    needed = (rows[:, None] + columns)[kept]  # (kept positions,): a kept one is never of class EMPTY
    parts = []
    for group in range(checks_needed(rows, columns)):
        members = positions[needed > group]
        parts.append(_group(members, np.zeros(len(members), np.uint8), group, seed))
    return b"".join(parts)


def _passing(
    checks: bytes, background: int, rows: NDArray[np.uint8], columns: NDArray[np.uint8], like: Symbols
) -> NDArray[np.bool_]:
    """Which positions pass these check groups (rows, columns)."""
    passed = np.empty(len(like), like.dtype)
    marker = marker_for(background)
    run(Filter(memoryview(checks), ByteReader(checks), 0, False, background, rows, columns), marker, passed)
    passes: NDArray[np.bool_] = (passed == marker).reshape(len(rows), len(columns))
    return passes


def _told_bits(
    symbols: Symbols, kept: NDArray[np.bool_], false: NDArray[np.bool_], price: NDArray[np.float64]
) -> float:
    """About what it takes to say of a false positive that it is background: the bits of its code."""
    bits = 4.0
    for _ in range(_ROUNDS):
        told = int(np.count_nonzero(false & (price > bits)))
        bits = math.log2((int(kept.sum()) + told + 1) / (told + 1))
    return bits


def _value_code(
    symbols: Symbols, told: NDArray[np.bool_], checks: int, seed: int, check_groups: bytes
) -> bytes:
    """The code of the symbols at ``told`` positions, all check groups, and the groups of the codes' bits."""
    positions = np.flatnonzero(told).astype(np.uint32)
    if not len(positions):
        return b""
    values = symbols[positions].astype(np.int64)
    table = optimal_code(np.bincount(values))
    lengths, codes = table.lengths[values - table.low], table.codes()[values - table.low]
    parts = [write_code(table), check_groups]
    for place in range(table.max_bits):
        longer = lengths > place
        bits = codes[longer] >> (lengths[longer] - 1 - place) & 1
        parts.append(_group(positions[longer], bits.astype(np.uint8), checks + place, seed))
    return b"".join(parts)


def _group(positions: NDArray[np.uint32], bits: NDArray[np.uint8], group: int, seed: int) -> bytes:
    if not len(positions):
        return varint(0)
    chosen, cells, packed = smallest(positions, bits, group, seed)
    return varint(cells) + bytes([chosen]) + packed
