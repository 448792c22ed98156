"""Frames from the rows of `store.telemetry_read`, until the series of the store take its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from edgepress_devices.metrics import BY_NAME, INDEX
from edgepress_devices.protocol import Histogram
from edgepress_server.store import Store
from edgepress_server.store.series.frame import NO_LEAST, NO_MOST, WIDTH, Frame
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query.plan import TIER_MS, Tier

_histogram = msgspec.msgpack.Decoder(Histogram)
_WHERE = {
    "device": "device = ?",
    "fleet": "? = ''",
    "profile": "device IN (SELECT name FROM devices WHERE profile = ?)",
    "artifact": "artifact = ?",
}
_RAW = ["inferences", "errors", "rss_bytes", "mem_used_bytes", "mem_total_bytes", "cpu_percent", "agent_cpu_percent", "temp_c", "throttled", "power_mw", "energy_mj", "battery_percent", "disk_free_bytes"]


class OldRows:
    def __init__(self, store: Store) -> None:
        self._store = store

    def frames(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Tier | None = None,
        histograms: Collection[str] = (),
    ) -> Mapping[SeriesKey, Frame]:
        return {key: self.frame(key, from_ms, to_ms, span=span, histograms=histograms) for key in keys}

    def frame(
        self,
        key: SeriesKey,
        from_ms: int,
        to_ms: int,
        *,
        span: Tier | None = None,
        histograms: Collection[str] = (),
    ) -> Frame:
        table, at = ("samples", "at") if span == "raw" else ("minutes", "minute")
        rows = self._store.database.rows(
            f"SELECT * FROM {table} WHERE {_WHERE[key.kind]} AND {at} >= ? AND {at} < ? ORDER BY {at}",
            (key.name, from_ms, to_ms),
        )
        codes: dict[str, int] = {}
        n = len(rows)
        sums, counts = np.zeros((n, WIDTH), np.int64), np.zeros((n, WIDTH), np.int64)
        least, most = np.full((n, WIDTH), NO_LEAST), np.full((n, WIDTH), NO_MOST)
        for i, row in enumerate(rows):
            for name, total, count in _values(row, raw=span == "raw"):
                if total is not None and count:
                    column = INDEX[name]
                    sums[i, column] = round(total / BY_NAME[name].resolution)
                    counts[i, column] = count
                    least[i, column] = most[i, column] = BY_NAME[name].steps(total / count)
        frame = Frame(
            np.array([row[at] for row in rows], np.int64),
            0 if span == "raw" else 60_000,
            np.array([codes.setdefault(row["artifact"] or "", len(codes)) for row in rows], np.int64),
            sums,
            least,
            most,
            counts,
            {
                name: HistogramColumn.of(
                    [
                        _histogram.decode(row["latency_us"])
                        if name == "latency_us" and row["latency_us"]
                        else None
                        for row in rows
                    ]
                )
                for name in histograms
            },
            {code: name for name, code in codes.items()},
        )
        if span == "hour":
            frame = frame.steps(TIER_MS["hour"], by_artifact=True)
        return frame


def _values(row: sqlite3.Row, *, raw: bool) -> list[tuple[str, float | None, int]]:
    if raw:
        return [("covered_ms", row["interval_ms"], 1), *((name, row[name], 1) for name in _RAW)]
    return [
        ("covered_ms", 60_000, 1),
        ("inferences", row["inferences"], 1),
        ("errors", row["errors"], 1),
        ("rss_bytes", row["rss_bytes_max"], 1),
        ("mem_used_bytes", row["mem_used_bytes_max"], 1),
        ("cpu_percent", row["cpu_percent_sum"], row["cpu_count"]),
        ("temp_c", row["temp_c_max"], 1),
        ("throttled", row["throttled"], 1),
        ("power_mw", row["power_mw_sum"], row["power_count"]),
        ("energy_mj", row["energy_mj_sum"], row["energy_count"]),
    ]
