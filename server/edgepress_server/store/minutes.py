"""The minute rollup: one row per device, minute and artifact, with histograms merged by adding.

Open minutes stay in memory between flushes, so that a flush writes rows and reads none. A minute that is not
in memory (after a restart, or when a device delivers what it kept while it was offline) is read once and
added to.
"""

from __future__ import annotations

from typing import Final

import msgspec

from edgepress_devices.histogram import merge
from edgepress_devices.protocol import BUCKET_COUNT_MAX, Histogram, Sample
from edgepress_server.store.database import Database

MINUTE_MS: Final = 60_000
KEEP_OPEN: Final = 50_000  # rows in memory, about 1 KB each

Key = tuple[str, int, str]  # device, start of the minute (Unix ms), artifact or ""


class Minute(msgspec.Struct):
    inferences: int = 0
    errors: int = 0
    latency_us: bytes | None = None
    samples: int = 0
    rss_bytes_max: int | None = None
    mem_used_bytes_max: int | None = None
    cpu_percent_sum: float | None = None
    cpu_count: int = 0
    temp_c_max: float | None = None
    throttled: int | None = None
    power_mw_sum: float | None = None
    power_count: int = 0
    power_method: str | None = None
    energy_mj_sum: float | None = None
    energy_count: int = 0
    energy_method: str | None = None


_COLUMNS: Final = Minute.__struct_fields__
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM minutes WHERE device = ? AND minute = ? AND artifact = ?"  # noqa: S608 - constants
_WRITE: Final = (
    f"INSERT OR REPLACE INTO minutes (device, minute, artifact, {', '.join(_COLUMNS)})"  # noqa: S608 - constants
    f" VALUES ({', '.join('?' * (3 + len(_COLUMNS)))})"
)
_histogram = msgspec.msgpack.Decoder(Histogram)


class Minutes:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[Key, Minute] = {}
        self._changed: dict[Key, list[Histogram]] = {}

    def add(self, device: str, sample: Sample) -> None:
        """Count a sample in; inside the transaction that `flush` ends."""
        key = (device, sample.at_ms // MINUTE_MS * MINUTE_MS, sample.artifact or "")
        minute = self._open.get(key)
        if minute is None:
            minute = self._open[key] = self._read(key)
        histograms = self._changed.setdefault(key, [])
        if sample.latency_us is not None:
            histograms.append(sample.latency_us)
        _count(minute, sample)

    def flush(self) -> None:
        """Write what changed since the last flush, in the running transaction."""
        rows = []
        for key, histograms in self._changed.items():
            minute = self._open[key]
            if histograms:
                if minute.latency_us is not None:
                    histograms.append(_histogram.decode(minute.latency_us))
                merged = merge(histograms)
                if merged is not None and max([merged.zero_count, *merged.counts]) <= BUCKET_COUNT_MAX:
                    minute.latency_us = msgspec.msgpack.encode(merged)
                # else: more than can be true; the row keeps what it had, which readers can decode
            rows.append((*key, *msgspec.structs.astuple(minute)))
        with self._database.transaction() as connection:
            connection.executemany(_WRITE, rows)
        self._changed = {}
        if len(self._open) > KEEP_OPEN:
            self._open.clear()

    def forget(self) -> None:
        """Nothing of the running transaction was stored: read again what is."""
        self._open.clear()
        self._changed.clear()

    def close_before(self, now_ms: int) -> None:
        """Keep the current and the previous minute in memory; the others are rarely added to."""
        oldest = now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
        self._open = {key: minute for key, minute in self._open.items() if key[1] >= oldest}

    def _read(self, key: Key) -> Minute:
        row = self._database.row(_SELECT, key)
        return Minute() if row is None else Minute(**dict(row))


def _count(minute: Minute, sample: Sample) -> None:
    minute.samples += 1
    minute.inferences += sample.inferences
    minute.errors += sample.errors
    minute.rss_bytes_max = _most(minute.rss_bytes_max, sample.rss_bytes)
    minute.mem_used_bytes_max = _most(minute.mem_used_bytes_max, sample.mem_used_bytes)
    if sample.cpu_percent is not None:
        minute.cpu_percent_sum = (minute.cpu_percent_sum or 0.0) + sample.cpu_percent
        minute.cpu_count += 1
    if sample.temp_c is not None:
        minute.temp_c_max = (
            sample.temp_c if minute.temp_c_max is None else max(minute.temp_c_max, sample.temp_c)
        )
    if sample.throttled is not None:
        minute.throttled = max(minute.throttled or 0, int(sample.throttled))
    if sample.power_mw is not None:
        minute.power_mw_sum = (minute.power_mw_sum or 0.0) + sample.power_mw.value
        minute.power_count += 1
        minute.power_method = sample.power_mw.method
    if sample.energy_mj is not None:
        minute.energy_mj_sum = (minute.energy_mj_sum or 0.0) + sample.energy_mj.value
        minute.energy_count += 1
        minute.energy_method = sample.energy_mj.method


def _most(known: int | None, new: int | None) -> int | None:
    if known is None or new is None:
        return new if known is None else known
    return max(known, new)
