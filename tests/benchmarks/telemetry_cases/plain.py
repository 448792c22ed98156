"""The peer of ingest: sqlite3's executemany on the same rows, and nothing else.

One table of samples that can be asked for a device's last hour: 25 values and the histogram's bytes, an index
on device and time, the store's own settings of durability (WAL, synchronous=FULL). The rows are made outside
the time that counts: no decoding, no rollup, no broker. Without the index nothing but a scan could read it;
that is measured too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edgepress_devices.protocol import Sample
from telemetry_cases.board import METRICS
from telemetry_cases.packets import device

ROWS_AT_ONCE: Final = 20_000  # in a transaction: 2,000 devices' batches of 10


def rows_of(samples: Sequence[Sample], start_ms: int, turn: int) -> list[tuple[Any, ...]]:
    """ROWS_AT_ONCE of them; of other devices, or later, in the next turn."""
    made = []
    for n in range(ROWS_AT_ONCE):
        sample = samples[(turn + n) % len(samples)]
        latency = None if sample.latency_us is None else msgspec.msgpack.encode(sample.latency_us)
        values = [_value(sample, name) for name in METRICS]
        board = turn % 30 * (ROWS_AT_ONCE // 10) + n // 10
        at = start_ms + (turn // 30 * 10 + n % 10) * 1000
        made.append((device(board), at, sample.artifact, latency, *values))
    return made


def _value(sample: Sample, name: str) -> float | int | None:
    if name == "covered_ms":
        return sample.interval_ms
    if name.startswith("errors_") and sample.error_kinds is not None:
        return int(getattr(sample.error_kinds, name.removeprefix("errors_")))
    value = getattr(sample, name)
    return getattr(value, "value", value)


def rows_per_s(folder: Path, samples: Sequence[Sample], seconds: float, *, indexed: bool = True) -> float:
    """For so long, by the wall clock; a new file each time, which is removed afterwards."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        columns = ", ".join(f"{name} REAL" for name in METRICS)
        connection.execute(
            f"CREATE TABLE plain (device TEXT, at INTEGER, artifact TEXT, latency BLOB, {columns})"
        )
        if indexed:
            connection.execute("CREATE INDEX plain_at ON plain (device, at)")
        insert = f"INSERT INTO plain VALUES ({', '.join('?' * (4 + len(METRICS)))})"
        until = time.perf_counter() + seconds
        turn, inserting = 0, 0.0
        while time.perf_counter() < until:
            rows = rows_of(samples, 1_800_000_000_000, turn)
            began = time.perf_counter()
            connection.execute("BEGIN")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
            inserting += time.perf_counter() - began
            turn += 1
        return turn * ROWS_AT_ONCE / inserting
    finally:
        connection.close()
        for each in folder.glob("plain.db*"):
            each.unlink()
