"""Apache Parquet, written as it goes: flat tables of numbers, texts and times, few rows held at a time.

::

    "PAR1"
    row group 0: for each column one page:  PageHeader (thrift) | zstd( levels | values )
    row group 1 ...
    FileMetaData (thrift)  |  its length u32 LE  |  "PAR1"

    levels   u32 LE length | varint (ceil(n / 8) << 1 | 1) | n bits, least significant first: 1 = has a value
    values   PLAIN: i64 LE, f64 LE, bits, or u32 LE length and UTF-8; only those that are there

Every column is OPTIONAL. Thrift's compact protocol: a field is (delta of its number << 4 | type), integers
are zigzag varints. Source: apache/parquet-format, README.md, Encodings.md and parquet.thrift (format 2.9).
Written here because the library that writes everything of the format weighs more than the whole server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import numpy as np
import zstandard

Kind = Literal["integer", "number", "text", "flag", "time"]
ROWS: Final = 8192  # of a row group

_MAGIC: Final = b"PAR1"
_TYPES: Final[dict[Kind, int]] = {"flag": 0, "integer": 2, "time": 2, "number": 5, "text": 6}
_CONVERTED: Final[dict[Kind, int]] = {"text": 0, "time": 9}  # UTF8, TIMESTAMP_MILLIS
_OPTIONAL, _PLAIN, _RLE, _ZSTD, _DATA_PAGE = 1, 0, 3, 6, 0
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12  # thrift's compact types


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind  # time: Unix milliseconds


@dataclass(frozen=True)
class _Chunk:
    offset: int
    compressed_bytes: int  # with its header
    plain_bytes: int
    values: int


def parquet(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """The file in blocks. None in a row: absent."""
    yield _MAGIC
    at, total, groups = len(_MAGIC), 0, []
    source = iter(rows)
    while part := list(islice(source, ROWS)):
        chunks = []
        for number, column in enumerate(columns):
            block, plain_bytes = _page(column.kind, [row[number] for row in part])
            chunks.append(_Chunk(at, len(block), plain_bytes, len(part)))
            at += len(block)
            yield block
        groups.append((chunks, len(part)))
        total += len(part)
    footer = _footer(columns, groups, total)
    yield footer + struct.pack("<I", len(footer)) + _MAGIC


def _page(kind: Kind, values: list[object]) -> tuple[bytes, int]:
    """(header and compressed page, bytes before compression with the header)"""
    there = [value for value in values if value is not None]
    bits = np.packbits(np.array([value is not None for value in values], bool), bitorder="little").tobytes()
    levels = _varint(-(-len(values) // 8) << 1 | 1) + bits
    plain = struct.pack("<I", len(levels)) + levels + _plain(kind, there)
    packed = zstandard.ZstdCompressor(level=3).compress(plain)
    data_page = _struct((1, _int(len(values))), (2, _int(_PLAIN)), (3, _int(_RLE)), (4, _int(_RLE)))
    header = _struct(
        (1, _int(_DATA_PAGE)), (2, _int(len(plain))), (3, _int(len(packed))), (5, (_STRUCT, data_page))
    )
    return header + packed, len(header) + len(plain)


def _plain(kind: Kind, values: list[object]) -> bytes:
    if kind == "text":
        encoded = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    if kind == "flag":
        return np.packbits(np.array(values, bool), bitorder="little").tobytes()
    return np.array(values, "<f8" if kind == "number" else "<i8").tobytes()


def _footer(columns: Sequence[Column], groups: Sequence[tuple[list[_Chunk], int]], total: int) -> bytes:
    schema = [_struct((4, _text("row")), (5, _int(len(columns))))]
    for column in columns:
        fields = [(1, _int(_TYPES[column.kind])), (3, _int(_OPTIONAL)), (4, _text(column.name))]
        if column.kind in _CONVERTED:
            fields.append((6, _int(_CONVERTED[column.kind])))
        schema.append(_struct(*fields))
    row_groups = [
        _struct(
            (
                1,
                _list(
                    _STRUCT,
                    [_column_chunk(column, chunk) for column, chunk in zip(columns, chunks, strict=True)],
                ),
            ),
            (2, _long(sum(chunk.plain_bytes for chunk in chunks))),
            (3, _long(n)),
        )
        for chunks, n in groups
    ]
    return _struct(
        (1, _int(1)),
        (2, _list(_STRUCT, schema)),
        (3, _long(total)),
        (4, _list(_STRUCT, row_groups)),
        (6, _text("edgepress")),
    )


def _column_chunk(column: Column, chunk: _Chunk) -> bytes:
    meta = _struct(
        (1, _int(_TYPES[column.kind])),
        (2, _list(_I32, [_zigzag(_PLAIN), _zigzag(_RLE)])),
        (3, _list(_BINARY, [_binary(column.name)])),
        (4, _int(_ZSTD)),
        (5, _long(chunk.values)),
        (6, _long(chunk.plain_bytes)),
        (7, _long(chunk.compressed_bytes)),
        (9, _long(chunk.offset)),
    )
    return _struct((2, _long(chunk.offset)), (3, (_STRUCT, meta)))


# --- thrift's compact protocol ------------------------------------------------------------------------------

_Value = tuple[int, bytes]  # type, encoded


def _struct(*fields: tuple[int, _Value]) -> bytes:
    """Fields ascending by number, no two further apart than 15."""
    encoded, last = bytearray(), 0
    for number, (kind, value) in fields:
        encoded.append((number - last) << 4 | kind)
        encoded += value
        last = number
    return bytes(encoded) + b"\0"


def _list(kind: int, items: Sequence[bytes]) -> _Value:
    n = len(items)
    head = bytes([n << 4 | kind]) if n < 15 else bytes([0xF0 | kind]) + _varint(n)
    return _LIST, head + b"".join(items)


def _int(value: int) -> _Value:
    return _I32, _zigzag(value)


def _long(value: int) -> _Value:
    return _I64, _zigzag(value)


def _text(value: str) -> _Value:
    return _BINARY, _binary(value)


def _binary(value: str) -> bytes:
    encoded = value.encode()
    return _varint(len(encoded)) + encoded


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
