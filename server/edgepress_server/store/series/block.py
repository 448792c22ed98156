"""A table of whole numbers as few bytes: columns, differences, byte planes, zstd.

::

    rows u32, columns u16
    for each column    first or least value i64, form u8 = 16 * (is delta) + bytes of a value (0 to 8)
    planes             for each column its lowest bytes of all rows, then the next ones, as many as it has

Each column is kept as what is above its least value, or as differences (zigzag), whichever has fewer bits.
Little endian.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_HEAD: Final = np.dtype([("rows", "<u4"), ("columns", "<u2")])
_COLUMN: Final = np.dtype([("base", "<i8"), ("form", "u1")])
_DELTA: Final = 16
ROWS_MAX: Final = 1 << 20
CELLS_MAX: Final = 1 << 25  # 256 MB of int64: what a damaged head may ask for


class BlockError(ValueError):
    """Bytes that are no block."""


def pack(table: Ints) -> bytes:
    """[rows, columns] -> bytes. Values of one column differ by less than 2**62."""
    rows, count = table.shape
    if rows == 0:
        return np.array([(0, count)], _HEAD).tobytes()
    columns = np.ascontiguousarray(table.T)
    least = columns.min(axis=1)
    above = (columns - least[:, None]).view(np.uint64)
    steps = np.diff(columns, axis=1, prepend=columns[:, :1])
    zigzag = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    is_delta = _bits(zigzag) < _bits(above)
    codes = np.where(is_delta[:, None], zigzag, above)
    width = _bytes_of(codes.max(axis=1))
    head = np.zeros(count, _COLUMN)
    head["base"] = np.where(is_delta, columns[:, 0], least)
    head["form"] = np.where(is_delta, _DELTA, 0) + width
    planes = codes.astype("<u8", copy=False).view(np.uint8).reshape(count, rows, 8).transpose(0, 2, 1)
    used = np.arange(8)[None, :] < width[:, None]
    return np.array([(rows, count)], _HEAD).tobytes() + head.tobytes() + planes[used].tobytes()


def unpack(data: bytes | memoryview, at: int = 0) -> tuple[Ints, int]:
    """(table, where it ends). Raises BlockError."""
    if len(data) < at + _HEAD.itemsize:
        raise BlockError("it ends in a head")
    rows, count = (int(value) for value in np.frombuffer(data, _HEAD, 1, at)[0])
    at += _HEAD.itemsize
    if rows > ROWS_MAX or rows * count > CELLS_MAX:
        raise BlockError(f"{rows} rows of {count} columns")
    if rows == 0:
        return np.zeros((0, count), np.int64), at
    if len(data) < at + count * _COLUMN.itemsize:
        raise BlockError("it ends in its columns")
    head = np.frombuffer(data, _COLUMN, count, at)
    at += head.nbytes
    width = head["form"] & 15
    if (width > 8).any():
        raise BlockError("a value of more than 8 bytes")
    total = int(width.sum())
    if len(data) < at + total * rows:
        raise BlockError("it ends in its planes")
    used = np.arange(8)[None, :] < width[:, None]
    planes = np.zeros((count, 8, rows), np.uint8)
    planes[used] = np.frombuffer(data, np.uint8, total * rows, at).reshape(total, rows)
    codes = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8").reshape(count, rows)
    is_delta = head["form"] >= _DELTA
    values = codes.view(np.int64).copy()
    if is_delta.any():
        zigzag = codes[is_delta]
        steps = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
        values[is_delta] = np.cumsum(steps, axis=1)
    values += head["base"][:, None]
    return np.ascontiguousarray(values.T), at + total * rows


def _bits(codes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """About how many bits a column needs."""
    return np.log2(codes.astype(np.float64) + 1.0).sum(axis=1)  # type: ignore[no-any-return]


def _bytes_of(top: NDArray[np.uint64]) -> NDArray[np.uint8]:
    bounds = np.array([0] + [(1 << (8 * k)) - 1 for k in range(1, 8)], np.uint64)
    return np.searchsorted(bounds, top, side="left").astype(np.uint8)
