"""Devices as a CSV file names them: a header, then one device a line.

    name,profile,labels,room,floor
    press-01,raspberry-pi-4,site=hall-3;line=a,201,2

``name`` and ``profile`` are needed; ``labels`` holds KEY=VALUE pairs between semicolons; every other column
is a label by its own name, and an empty field of one is no label. Rows are counted as lines of the file are,
the header being row 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from edgepress_server.errors import InvalidInputError
from edgepress_server.store.codes import NewDevice

ROWS_MAX: Final = 10_000
FILE_MAX_BYTES: Final = 8 << 20
_COLUMNS_MAX: Final = 64


def read_rows(data: bytes) -> list[NewDevice]:
    """Raises InvalidInputError that names the row. Names, labels and profiles are checked by the store."""
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "csv", f"The file is not UTF-8 (byte {error.start}). Export it as CSV in UTF-8."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(header)
        rows = [_row(header, fields, row) for row, fields in _numbered(reader)]
    except csv.Error as error:
        raise InvalidInputError("csv", f"Line {reader.line_num} is no CSV: {error}.") from error
    if not rows:
        raise InvalidInputError("csv", "The file names no device: a line for each comes after the header.")
    return rows


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    seen = 0
    for row, fields in enumerate(reader, 2):
        if not any(field.strip() for field in fields):
            continue  # an empty line, which editors leave at the end
        seen += 1
        if seen > ROWS_MAX:
            raise InvalidInputError("csv", f"The file has more than {ROWS_MAX:,} devices. Split it.")
        yield row, fields


def _check_header(header: list[str]) -> None:
    if "name" not in header or "profile" not in header:
        raise InvalidInputError(
            "csv",
            "The first line names the columns, and `name` and `profile` must be among them, for example: "
            "name,profile,room",
        )
    if len(set(header)) != len(header) or "" in header or len(header) > _COLUMNS_MAX:
        raise InvalidInputError(
            "csv", f"Columns need names, each another one, and there are at most {_COLUMNS_MAX}."
        )


def _row(header: list[str], fields: list[str], row: int) -> NewDevice:
    if len(fields) != len(header):
        raise InvalidInputError(
            "csv", f"Row {row} has {len(fields)} fields, and the header names {len(header)} columns."
        )
    columns = {column: field.strip() for column, field in zip(header, fields, strict=True)}
    name, profile = columns.pop("name"), columns.pop("profile")
    labels: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in columns.pop("labels", "").split(";"))):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInputError("csv", f"Row {row}: {pair[:80]!r} is no label; write KEY=VALUE.")
        labels[key.strip()] = value.strip()
    labels |= {column: value for column, value in columns.items() if value}
    return NewDevice(row, name, profile, labels)
