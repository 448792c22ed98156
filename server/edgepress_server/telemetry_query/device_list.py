"""The devices as a list to page, sort and search, with the newest figures of each.

The list of the whole fleet is made once and kept for a moment, so that a page of it costs next to nothing. A
newly registered device is there at once; what else changes shows within KEPT_S.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgepress_devices.protocol import Sample
from edgepress_server.errors import InvalidInputError, ServerError
from edgepress_server.rollout.query import InGroup, parse
from edgepress_server.store import Store
from edgepress_server.store.fleet_pages import ArtifactRow, DeviceRow
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.telemetry_query.directory import subject

log = logging.getLogger(__name__)

KEPT_S: Final = 3.0
STALE_S: Final = 15.0  # older is never shown
LIMIT_MAX: Final = 500


@dataclass(frozen=True)
class ListedDevice:
    """Figures are of its newest sample; None: never measured."""

    row: DeviceRow
    artifact: ArtifactRow | None  # of what it runs, where this server knows it
    sample: Sample | None
    p50_us: float | None
    p95_us: float | None
    haystack: str  # what words are looked for in

    @property
    def inferences_per_s(self) -> float | None:
        sample = self.sample
        if sample is None or not sample.interval_ms:
            return None
        return round(1000 * sample.inferences / sample.interval_ms, 3)

    @property
    def mem_ratio(self) -> float | None:
        sample = self.sample
        if sample is None or sample.mem_used_bytes is None or not sample.mem_total_bytes:
            return None
        return round(sample.mem_used_bytes / sample.mem_total_bytes, 4)


@dataclass(frozen=True)
class DeviceList:
    """All devices, by name, as of one moment."""

    devices: Sequence[ListedDevice]
    models: Mapping[str, str]  # digest -> model
    in_group: InGroup
    statuses: dict[str, int]
    profiles: dict[str, int]  # without revoked devices
    matching: dict[str, Sequence[ListedDevice]] = field(default_factory=dict)  # by target query

    def where(self, text: str) -> Sequence[ListedDevice]:
        """Those that fit; all for "". Raises QueryError."""
        if not text.strip():
            return self.devices
        if text not in self.matching:
            query = parse(text)
            self.matching[text] = [
                device
                for device in self.devices
                if query.matches(subject(device.row, self.models), self.in_group)
            ]
        return self.matching[text]


@dataclass(frozen=True)
class DevicePage:
    total: int
    matching: int
    devices: list[ListedDevice]


_Key = Callable[[ListedDevice], str | float | None]


def _of_sample(name: str) -> _Key:
    return lambda device: None if device.sample is None else getattr(device.sample, name)


def _power(device: ListedDevice) -> float | None:
    return None if device.sample is None or device.sample.power_mw is None else device.sample.power_mw.value


SORTS: Final[Mapping[str, _Key]] = {
    "name": lambda device: device.row.name,
    "profile": lambda device: device.row.profile,
    "status": lambda device: device.row.status,
    "seen_at": lambda device: device.row.seen_at,
    "model": lambda device: None if device.artifact is None else device.artifact.model,
    "agent": lambda device: device.row.agent_version,
    "p95_us": lambda device: device.p95_us,
    "rss_bytes": _of_sample("rss_bytes"),
    "mem_ratio": lambda device: device.mem_ratio,
    "cpu_percent": _of_sample("cpu_percent"),
    "temp_c": _of_sample("temp_c"),
    "power_mw": _power,
    "inferences_per_s": lambda device: device.inferences_per_s,
    "errors": _of_sample("errors"),
    "disk_free_bytes": _of_sample("disk_free_bytes"),
}


def page(
    found: DeviceList, *, offset: int = 0, limit: int = 50, sort: str = "name", q: str = "", where: str = ""
) -> DevicePage:
    """Raises InvalidInputError (sort), QueryError (where)."""
    descending = sort.startswith("-")
    key = SORTS.get(sort.removeprefix("-"))
    if key is None:
        raise InvalidInputError(
            "sort", f"sort: {sort[:40]!r} is none. Take {', '.join(SORTS)}, with - before it for descending."
        )
    devices = found.where(where)
    for word in q.lower().split():
        devices = [device for device in devices if word in device.haystack]
    if sort != "name":
        there = [device for device in devices if key(device) is not None]
        absent = [device for device in devices if key(device) is None]
        # Stable: what is equal stays by name, in both directions.
        devices = [*sorted(there, key=key, reverse=descending), *absent]  # type: ignore[arg-type]
    return DevicePage(len(found.devices), len(devices), list(devices[offset : offset + limit]))


def read_list(store: Store) -> DeviceList:
    """Read it from the store."""
    with store.database.snapshot():
        rows = store.fleet_pages.devices()
        artifacts = store.fleet_pages.artifacts()
        latest = store.series_read.latest()
        in_group = store.groups.membership()
    samples = [latest.get(row.name) for row in rows]
    column = HistogramColumn.of([None if sample is None else sample.latency_us for sample in samples])
    p50_us, p95_us = column.quantiles(0.50).tolist(), column.quantiles(0.95).tolist()
    devices = []
    for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        artifact = artifacts.get(row.running or "")
        model = "" if artifact is None else artifact.model
        words = (row.name, row.profile, row.status, model, *row.labels.values())
        devices.append(
            ListedDevice(
                row, artifact, sample, _figure(p50_us[i]), _figure(p95_us[i]), "\n".join(words).lower()
            )
        )
    return DeviceList(
        devices,
        {digest: row.model for digest, row in artifacts.items()},
        in_group,
        dict(Counter(row.status for row in rows)),
        dict(sorted(Counter(row.profile for row in rows if row.status != "revoked").items())),
    )


def _figure(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 1)


class Lists:
    """The newest list: what is a little old is shown while a new one is made."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()  # of what is below
        self._reading = threading.Lock()  # one reads at a time
        self._found: DeviceList | None = None
        self._at_s = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    def newest(self) -> DeviceList:
        """Raises StoreError."""
        with self._lock:
            found, age_s = self._found, self._clock() - self._at_s
        if found is None or age_s > STALE_S or self._store.fleet_pages.devices_total() != len(found.devices):
            return self._read(self._clock())
        if age_s > KEPT_S:
            with self._lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._behind, name="device list", daemon=True)
                    self._thread.start()
        return found

    def close(self) -> None:
        """Wait for what is being read; nothing is read behind anybody's back any more."""
        with self._lock:
            self._closed, thread = True, self._thread
        if thread is not None:
            thread.join(timeout=10)

    def _behind(self) -> None:
        try:
            self._read(self._clock())
        except (ServerError, sqlite3.Error) as error:
            log.warning("the list of devices cannot be read now (%s)", error)
        finally:
            with self._lock:
                self._thread = None

    def _read(self, asked_s: float) -> DeviceList:
        with self._reading:
            with self._lock:
                if self._found is not None and self._at_s >= asked_s:
                    return self._found
            begun_s = self._clock()
            found = read_list(self._store)
            with self._lock:
                self._found, self._at_s = found, begun_s
            return found
