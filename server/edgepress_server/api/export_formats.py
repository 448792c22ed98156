"""Tables as files: CSV, JSON or Parquet, written as they are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from edgepress_server.api.parquet import Column, parquet

ExportFormat = Literal["csv", "json", "parquet"]
MIMETYPES: Final[dict[ExportFormat, str]] = {
    "csv": "text/csv",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
_BLOCK_CHARS: Final = 16_384


def written(
    form: ExportFormat, columns: Sequence[Column], rows: Iterable[Sequence[object]]
) -> Iterator[str] | Iterator[bytes]:
    """A file in blocks; of the rows only a few thousand are held. None in a row: absent."""
    if form == "parquet":
        return parquet(columns, rows)
    names = [column.name for column in columns]
    return _csv(names, rows) if form == "csv" else _json(names, rows)


def cell(value: object) -> object:
    """Devices chose some of the texts: a spreadsheet must not take one for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        if line.tell() > _BLOCK_CHARS:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()


def _json(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(dict(zip(names, row, strict=True)))
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"
