"""Telemetry as it comes in: each batch exactly once, into hot samples, `latest`, the minute rollup, and
reports of profiling jobs.

A batch is named for ever by (device, epoch, number). Of each epoch the store keeps ``number`` (every batch up
to it is stored, or given up by the device) and ``beyond`` (stored after a gap). The device is told ``number``
and forgets up to there: a batch that was lost on the way is kept there, and taken here when it comes again.
``TelemetryBatch.oldest`` says which ones will never come.

How values are kept::

    latest.sample                        JSON of protocol.Sample (an array)
    samples.latency_us, minutes.latency_us   msgpack of protocol.Histogram

Times of the samples are the device's. A board without a clock (before 2020) or with one that runs ahead would
fall out of every chart; such samples are moved together so that they end when the batch was received.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from edgepress_devices.histogram import total
from edgepress_devices.protocol import Sample, TelemetryBatch
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.minutes import Minutes
from edgepress_server.store.profiling import Profiling

HOT_MS: Final = 24 * 3600 * 1000  # single samples are kept this long, minutes thereafter
MINUTES_MS: Final = 90 * 24 * 3600 * 1000
EPOCH_MS: Final = 180 * 24 * 3600 * 1000  # an epoch not heard of for longer will not come back
QUARANTINE_ROWS: Final = 1000
QUARANTINE_BYTES: Final = 65_536  # of a payload kept; the rest says nothing that these do not
BEYOND_MAX: Final = 1000

CLOCK_UNSET_MS: Final = 1_577_836_800_000  # 2020-01-01: before edgepress existed
CLOCK_AHEAD_MS: Final = 60_000
COUNT_MAX: Final = 10**9  # inferences of one sample; above it the sums would not fit the store's integers
INTERVAL_MAX_MS: Final = 24 * 3600 * 1000
EVENT_EVERY_MS: Final = 1000
PRUNE_ROWS: Final = 5000  # per transaction: short ones, so that nobody waits


class Received(msgspec.Struct, frozen=True):
    device: str
    at: int  # Unix ms, server clock
    batch: TelemetryBatch


class Quarantined(msgspec.Struct, frozen=True):
    """A payload that is no batch. ``named`` = (epoch, number) where at least that could be read."""

    device: str
    at: int
    reason: str
    payload: bytes
    named: tuple[str, int] | None = None


Stored = dict[tuple[str, str], int]  # (device, epoch) -> number to acknowledge


class ImplausibleError(ValueError):
    """A batch that is well-formed and cannot be true; the text says why."""


class Telemetry:
    """The write side. One process writes telemetry: the open minutes are kept in memory between flushes."""

    def __init__(self, database: Database, events: Events, profiling: Profiling) -> None:
        self._database = database
        self._events = events
        self._profiling = profiling
        self._minutes = Minutes(database)
        self._event_due = 0
        self._since_event: set[str] = set()

    def store(self, received: Sequence[Received], quarantined: Sequence[Quarantined] = ()) -> Stored:
        """All of it in one transaction; what to acknowledge afterwards. Raises StoreError, DiskFullError."""
        try:
            with self._database.transaction():
                return self._store(received, quarantined)
        except BaseException:
            self._minutes.forget()  # what was not committed must not be counted
            raise

    def _store(self, received: Sequence[Received], quarantined: Sequence[Quarantined]) -> Stored:
        known = self._known({item.device for item in received} | {item.device for item in quarantined})
        received = [item for item in received if item.device in known]
        quarantined = [item for item in quarantined if item.device in known]
        ledger = _Ledger(self._database)
        rows: list[tuple[object, ...]] = []
        latest: dict[str, tuple[int, int, Sample]] = {}
        refused: list[Quarantined] = []
        for spoilt in quarantined:
            if spoilt.named is not None:
                ledger.take(spoilt.device, *spoilt.named)
        for item in received:
            if not ledger.take(item.device, item.batch.epoch, item.batch.number, item.batch.oldest):
                continue
            refused += self._reports(item)
            for sample in _moved(item.batch.samples, item.at):
                blob = None if sample.latency_us is None else msgspec.msgpack.encode(sample.latency_us)
                rows.append(_row(item.device, sample, blob))
                self._minutes.add(item.device, sample)
                if item.device not in latest or latest[item.device][0] <= sample.at_ms:
                    latest[item.device] = (sample.at_ms, item.at, sample)
        with self._database.transaction() as connection:
            connection.executemany(_INSERT_SAMPLE, rows)
            connection.executemany(
                "INSERT INTO latest (device, at, received_at, sample) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (device) DO UPDATE SET at = excluded.at, received_at = excluded.received_at,"
                " sample = excluded.sample WHERE excluded.at >= latest.at",
                [
                    (device, at, received_at, msgspec.json.encode(sample).decode())
                    for device, (at, received_at, sample) in latest.items()
                ],
            )
            connection.executemany(
                "INSERT INTO quarantine (device, at, reason, payload) VALUES (?, ?, ?, ?)",
                [(q.device, q.at, q.reason, q.payload[:QUARANTINE_BYTES]) for q in (*quarantined, *refused)],
            )
        self._minutes.flush()
        ledger.flush()
        self._announce(latest)
        return ledger.acknowledge()

    def _reports(self, item: Received) -> list[Quarantined]:
        """Take the batch's reports; those that were refused, to be looked at. Its samples are not to"
        " blame."""
        refused = []
        for report in item.batch.reports:
            reason = self._profiling.receive(item.device, item.at, report)
            if reason is not None:
                refused.append(Quarantined(item.device, item.at, reason, msgspec.msgpack.encode(report)))
        return refused

    def _known(self, devices: set[str]) -> set[str]:
        """Those of them that are enrolled and not revoked; nobody else has telemetry here."""
        row = self._database.rows(
            "SELECT d.name FROM json_each(?) j JOIN devices d ON d.name = j.value"
            " WHERE d.enrolled_at IS NOT NULL AND d.revoked_at IS NULL",
            (json.dumps(sorted(devices)),),
        )
        return {name for (name,) in row}

    def _announce(self, devices: Iterable[str]) -> None:
        """At most one event a second, naming everyone heard of since the last."""
        self._since_event.update(devices)
        now = self._database.now_ms()
        if self._since_event and now >= self._event_due:
            self._events.append("telemetry", "fleet", "batch", data={"devices": sorted(self._since_event)})
            self._since_event.clear()
            self._event_due = now + EVENT_EVERY_MS

    def prune(self) -> bool:
        """Drop what has outlived its time, a little at a time; True when there may be more."""
        now = self._database.now_ms()
        self._minutes.close_before(now)
        with self._database.transaction() as connection:
            dropped = connection.execute(
                "DELETE FROM samples WHERE at < ? AND id IN (SELECT id FROM samples ORDER BY id LIMIT ?)",
                (now - HOT_MS, PRUNE_ROWS),
            ).rowcount
            # Row by row in key order would scan: minutes of a device are few, so by device.
            for row in self._database.rows("SELECT device FROM latest"):
                connection.execute(
                    "DELETE FROM minutes WHERE device = ? AND minute < ?",
                    (row["device"], (now - MINUTES_MS) // 60_000 * 60_000),
                )
            connection.execute("DELETE FROM batches WHERE updated_at < ?", (now - EPOCH_MS,))
            connection.execute(
                "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (QUARANTINE_ROWS,)
            )
        return dropped == PRUNE_ROWS


class _Ledger:
    """Which batches of the epochs in this transaction are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._epochs: dict[tuple[str, str], tuple[int, set[int]]] = {}

    def take(self, device: str, epoch: str, number: int, oldest: int = 0) -> bool:
        """True when this batch is new and is stored from now on."""
        key = (device, epoch)
        done, beyond = self._epochs[key] if key in self._epochs else self._read(key)
        new = number > done and number not in beyond
        if new:
            beyond.add(number)
        done = max(done, oldest - 1)
        if len(beyond) > BEYOND_MAX:
            done = max(done, min(beyond))  # so many came since that the gap will not be filled
        beyond = {n for n in beyond if n > done}
        while done + 1 in beyond:
            done += 1
            beyond.discard(done)
        self._epochs[key] = (done, beyond)
        return new

    def _read(self, key: tuple[str, str]) -> tuple[int, set[int]]:
        row = self._database.row("SELECT number, beyond FROM batches WHERE device = ? AND epoch = ?", key)
        return (0, set()) if row is None else (row["number"], set(json.loads(row["beyond"])))

    def flush(self) -> None:
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO batches (device, epoch, number, beyond, updated_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (*key, done, json.dumps(sorted(beyond)), now)
                    for key, (done, beyond) in self._epochs.items()
                ],
            )

    def acknowledge(self) -> Stored:
        return {key: done for key, (done, _) in self._epochs.items()}


def check_plausible(batch: TelemetryBatch) -> TelemetryBatch:
    """The batch itself. Raises ImplausibleError where a value would poison sums, charts or the store."""
    if batch.number < 1:
        raise ImplausibleError("batches are numbered from 1")
    for sample in batch.samples:
        if sample.inferences > COUNT_MAX or sample.errors > COUNT_MAX:
            raise ImplausibleError(f"{max(sample.inferences, sample.errors)} inferences in one sample")
        if sample.interval_ms > INTERVAL_MAX_MS:
            raise ImplausibleError(f"a sample over {sample.interval_ms} ms")
        if sample.latency_us is not None and total(sample.latency_us) > COUNT_MAX:
            raise ImplausibleError("more latencies in one sample than a device can measure")
    return batch


def _moved(samples: Sequence[Sample], received_at: int) -> Iterable[Sample]:
    """The samples, with times that can be true."""
    unset = max((s.at_ms for s in samples if s.at_ms < CLOCK_UNSET_MS), default=0)
    ahead = max((s.at_ms for s in samples if s.at_ms > received_at + CLOCK_AHEAD_MS), default=0)
    for sample in samples:
        if sample.at_ms < CLOCK_UNSET_MS:
            sample.at_ms += received_at - unset
        elif sample.at_ms > received_at + CLOCK_AHEAD_MS:
            sample.at_ms = max(CLOCK_UNSET_MS, sample.at_ms + received_at - ahead)
        yield sample


_INSERT_SAMPLE: Final = (
    "INSERT INTO samples (device, at, interval_ms, artifact, inferences, errors, latency_us, rss_bytes,"
    " mem_used_bytes, mem_total_bytes, cpu_percent, temp_c, throttled, power_mw, power_method, power_scope,"
    " energy_mj, energy_method, energy_scope, battery_percent, agent_cpu_percent, disk_free_bytes)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _row(device: str, sample: Sample, latency: bytes | None) -> tuple[object, ...]:
    power, energy = sample.power_mw, sample.energy_mj
    return (
        device,
        sample.at_ms,
        sample.interval_ms,
        sample.artifact,
        sample.inferences,
        sample.errors,
        latency,
        sample.rss_bytes,
        sample.mem_used_bytes,
        sample.mem_total_bytes,
        sample.cpu_percent,
        sample.temp_c,
        sample.throttled,
        *((power.value, power.method, power.scope) if power is not None else (None, None, None)),
        *((energy.value, energy.method, energy.scope) if energy is not None else (None, None, None)),
        sample.battery_percent,
        sample.agent_cpu_percent,
        sample.disk_free_bytes,
    )
