"""The decoding side of a Bloomier filter: its groups, checked, and every position asked (see bloomier.py)."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bits import CODE_MAX_BITS
from edgepress_compression.codec.bloomier_cells import WINDOW, bits_of, checked_cells
from edgepress_compression.codec.bloomier_classes import EMPTY
from edgepress_compression.codec.bytestream import ByteReader, CodecError
from edgepress_compression.codec.coder import Symbols
from edgepress_compression.codec.prefix_code import PrefixCode, read_code

_POSITIONS: Final = 1 << 16  # worked on at once
_CELLS_MAX: Final = (1 << 31) - 1


def checks_needed(rows: NDArray[np.uint8], columns: NDArray[np.uint8]) -> int:
    """The most check bits that any position needs; 0 where none can pass."""
    live = rows[rows < EMPTY], columns[columns < EMPTY]
    return int(live[0].max()) + int(live[1].max()) if live[0].size and live[1].size else 0


def marker_for(background: int) -> int:
    """What stands for "passes" before its symbol is known."""
    return 0 if background else 1


class Filter:
    """A payload's code of values, when it has one, and its groups.

    Takes them from ``reader``, which reads ``payload``. Raises CodecError for what no encoder writes.
    """

    def __init__(
        self,
        payload: memoryview,
        reader: ByteReader,
        alphabet: int,
        with_values: bool,
        background: int,
        rows: NDArray[np.uint8],
        columns: NDArray[np.uint8],
    ) -> None:
        self.background, self.rows, self.columns = background, rows, columns
        self.checks, self.values = checks_needed(rows, columns), 0
        self.ordered: NDArray[np.uint16] | None = None  # the values in the order of their codes
        self.counts = np.zeros(CODE_MAX_BITS + 1, np.int64)  # codes of each length
        live = bool((rows < EMPTY).any() and (columns < EMPTY).any())
        if with_values and live:
            self._code(read_code(reader, alphabet))
        self.payload = payload
        self.groups: list[tuple[int, int, int]] = []  # (where it begins in the payload, cells, seed)
        for group in range(self.checks + self.values):
            cells = reader.varint(min(8 * reader.left, _CELLS_MAX))
            if cells == 0 and group < self.checks:
                self.groups.append((0, 0, 0))
                continue
            if cells < WINDOW:
                raise CodecError(f"a group of {cells} cells")
            seed = reader.byte()
            at = len(payload) - reader.left
            checked_cells(cells, reader.take((cells + 7) // 8))
            self.groups.append((at, cells, seed))

    def _code(self, code: PrefixCode) -> None:
        used = np.flatnonzero(code.lengths) if len(code.lengths) > 1 else np.zeros(1, np.int64)
        lengths = code.lengths[used]
        self.ordered = (used[np.argsort(lengths, kind="stable")] + code.low).astype(np.uint16)
        self.values = code.max_bits
        if self.values:
            self.counts += np.bincount(lengths, minlength=len(self.counts))


def parts(out: Symbols) -> Iterator[Symbols]:
    for start in range(0, len(out), _POSITIONS):
        yield out[start : start + _POSITIONS]


def run(of: Filter, marker: int, out: Symbols) -> None:
    """The symbol of every position, or ``marker`` where there is no code of values."""
    if not native.available():
        run_reference(of, marker, out)
        return
    native.call(
        "ep_bloomier_decode",
        of.payload,
        len(of.payload),
        np.array(of.groups, np.int64).reshape(-1, 3),
        of.checks,
        of.values,
        of.rows,
        len(of.rows),
        of.columns,
        len(of.columns),
        of.counts,
        of.ordered,
        of.background,
        marker,
        np.empty(len(of.groups), np.uint32),
        out,
        out.itemsize,
    )


def run_reference(of: Filter, marker: int, out: Symbols) -> None:
    """As run, in numpy."""
    columns = len(of.columns)
    for start in range(0, len(out), _POSITIONS):
        every = np.arange(start, min(start + _POSITIONS, len(out)), dtype=np.int64)
        row, column = of.rows[every // columns], of.columns[every % columns]
        live = (row < EMPTY) & (column < EMPTY)
        positions: NDArray[np.uint32] = every[live].astype(np.uint32)
        needed = row[live] + column[live]
        for group in range(of.checks):
            asked = needed > group
            passes = ~asked
            passes[asked] = _bits(of, group, positions[asked]) == 0
            positions, needed = positions[passes], needed[passes]
        part = out[start : start + _POSITIONS]
        part[:] = of.background
        part[positions - np.uint32(start)] = (
            marker if of.ordered is None else _values(of, of.ordered, positions)
        )


def _bits(of: Filter, group: int, positions: NDArray[np.uint32]) -> NDArray[np.uint8]:
    at, cells, seed = of.groups[group]
    if cells == 0:
        return np.ones(len(positions), np.uint8)
    packed = np.frombuffer(of.payload[at : at + (cells + 7) // 8], np.uint8)
    return bits_of(packed, positions, seed, group, cells)


def _values(of: Filter, ordered: NDArray[np.uint16], positions: NDArray[np.uint32]) -> Symbols:
    """Canonical decoding, one bit of all codes at a time: codes of a length count up from ``first``."""
    symbols: Symbols = np.full(len(positions), ordered[0], np.uint16)
    codes, unread = np.zeros(len(positions), np.int64), np.arange(len(positions))
    first = before = 0
    for length in range(1, of.values + 1):
        codes = codes << 1 | _bits(of, of.checks + length - 1, positions[unread])
        first <<= 1
        count = int(of.counts[length])
        done = codes - first < count
        symbols[unread[done]] = ordered[before + codes[done] - first]
        codes, unread = codes[~done], unread[~done]
        first += count
        before += count
    return symbols
