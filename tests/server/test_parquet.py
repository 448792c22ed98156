"""Parquet written by us, read by the library that defines it."""

from __future__ import annotations

import io
import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_server.api.export_formats import written
from edgepress_server.api.parquet import ROWS, Column, Kind, parquet

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install pyarrow")

VALUES: dict[Kind, st.SearchStrategy[object]] = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False),
    "text": st.text(),
    "flag": st.booleans(),
    "time": st.integers(0, 4_102_444_800_000),
}
tables = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=18).flatmap(
    lambda kinds: st.tuples(
        st.just([Column(f"c{i}", kind) for i, kind in enumerate(kinds)]),
        st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in kinds)), max_size=40),
    )
)


@settings(max_examples=80, deadline=None)
@given(tables)
def test_every_table_is_read_back_as_it_was(table: tuple[list[Column], list[tuple[object, ...]]]) -> None:
    columns, rows = table
    found = pq.read_table(io.BytesIO(b"".join(parquet(columns, rows))))
    assert found.column_names == [column.name for column in columns] and found.num_rows == len(rows)
    for i, column in enumerate(columns):
        values = found.column(i).to_pylist()
        if column.kind == "time":
            values = [None if v is None else round(v.timestamp() * 1000) for v in values]
        assert values == [row[i] for row in rows]


def test_a_time_is_a_time_with_its_zone_and_a_text_is_a_text() -> None:
    data = b"".join(parquet([Column("at", "time"), Column("name", "text")], [(0, "é")]))
    schema = pq.read_table(io.BytesIO(data)).schema
    assert str(schema.field("at").type) == "timestamp[ms, tz=UTC]"
    assert str(schema.field("name").type) == "string"


def test_a_long_table_is_written_in_parts_and_holds_one_of_them() -> None:
    count = 12 * ROWS + 5
    rows = ((n, math.sqrt(n), None if n % 3 else "pi") for n in range(count))
    columns = [Column("n", "integer"), Column("root", "number"), Column("name", "text")]
    tracemalloc.start()
    try:
        blocks = list(parquet(columns, rows))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    file = pq.ParquetFile(io.BytesIO(b"".join(blocks)))
    assert file.metadata.num_row_groups == 13 and file.metadata.num_rows == count
    assert file.read().column("root").to_pylist() == [math.sqrt(n) for n in range(count)]
    assert peak_bytes < len(b"".join(blocks)) + 12_000_000


def test_a_spreadsheet_takes_no_cell_for_a_formula() -> None:
    rows = [("=1+1",), ("+1",), ("@x",), ("pi",), (-5,)]
    text = "".join(str(block) for block in written("csv", [Column("name", "text")], rows))
    assert text.splitlines() == ["name", "'=1+1", "'+1", "'@x", "pi", "-5"]
