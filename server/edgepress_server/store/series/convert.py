"""The minutes of a store from before m018 as sealed blocks: what was rolled up stays, single samples go.

The old rows kept only the most of memory and temperature: that stands for the minute's mean as well. Groups
of devices begin anew.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import Any, Final

import msgspec
import numpy as np

from edgepress_devices.metrics import BY_NAME, INDEX
from edgepress_devices.protocol import Histogram
from edgepress_server.store.series.frame import NO_LEAST, NO_MOST, WIDTH, Frame
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.seal import HOUR_MS, MINUTE_MS, blocks_of
from edgepress_server.store.series.table import NAMES
from edgepress_server.store.series.tables import HOURS, MINUTES

_MOST: Final = {"rss_bytes": "rss_bytes_max", "mem_used_bytes": "mem_used_bytes_max", "temp_c": "temp_c_max"}
_SUMS: Final = {
    "cpu_percent": ("cpu_percent_sum", "cpu_count"),
    "power_mw": ("power_mw_sum", "power_count"),
    "energy_mj": ("energy_mj_sum", "energy_count"),
}
_histogram = msgspec.msgpack.Decoder(Histogram)


def convert_minutes(connection: sqlite3.Connection) -> None:
    """Inside the migration's transaction: reads ``minutes``, writes ``series``, ``texts`` and ``blocks``."""
    cursor = connection.execute("SELECT * FROM minutes ORDER BY device, minute, artifact")
    names = [column[0] for column in cursor.description]
    rows = (dict(zip(names, row, strict=True)) for row in cursor)
    for device, mine in groupby(rows, key=lambda row: row["device"]):
        frame = _frame(connection, list(mine))
        number = connection.execute(
            "INSERT INTO series (kind, name) VALUES ('device', ?)", (device,)
        ).lastrowid
        hours = frame.steps(HOUR_MS, by_artifact=True)
        connection.executemany(
            "INSERT INTO blocks (series, tier, first_at, last_at, rows, block) VALUES (?, ?, ?, ?, ?, ?)",
            [*blocks_of(int(number or 0), MINUTES, frame), *blocks_of(int(number or 0), HOURS, hours)],
        )


def _frame(connection: sqlite3.Connection, rows: list[dict[str, Any]]) -> Frame:
    n = len(rows)
    sums, counts = np.zeros((n, WIDTH), np.int64), np.zeros((n, WIDTH), np.int64)
    least, most = np.full((n, WIDTH), NO_LEAST), np.full((n, WIDTH), NO_MOST)

    def keep(i: int, metric: str, total: float, count: int) -> None:
        column, resolution = INDEX[metric], BY_NAME[metric].resolution
        sums[i, column], counts[i, column] = round(total / resolution), count
        least[i, column] = most[i, column] = round(total / count / resolution)

    for i, row in enumerate(rows):
        samples = max(1, row["samples"])
        keep(i, "covered_ms", min(MINUTE_MS, 1000 * samples), samples)
        keep(i, "inferences", row["inferences"], samples)
        keep(i, "errors", row["errors"], samples)
        for metric, column in _MOST.items():
            if row[column] is not None:
                keep(i, metric, row[column] * samples, samples)
        for metric, (total, count) in _SUMS.items():
            if row[total] is not None and row[count]:
                keep(i, metric, row[total], row[count])
        if row["throttled"] is not None:
            keep(i, "throttled", row["throttled"] * samples, samples)
    latency = [None if row["latency_us"] is None else _histogram.decode(row["latency_us"]) for row in rows]
    columns = {name: HistogramColumn.empty(n) for name in NAMES} | {"latency_us": HistogramColumn.of(latency)}
    codes = {text: _code(connection, text) for text in {row["artifact"] for row in rows}}
    return Frame(
        np.array([row["minute"] for row in rows], np.int64),
        MINUTE_MS,
        np.array([codes[row["artifact"]] for row in rows], np.int64),
        sums,
        least,
        most,
        counts,
        columns,
    )


def _code(connection: sqlite3.Connection, text: str) -> int:
    if not text:
        return 0
    connection.execute("INSERT OR IGNORE INTO texts (text) VALUES (?)", (text,))
    return int(connection.execute("SELECT code FROM texts WHERE text = ?", (text,)).fetchone()[0])
