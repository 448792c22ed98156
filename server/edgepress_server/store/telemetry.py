"""Telemetry as it comes in: each batch exactly once, into series, `latest`, and where its parts belong.

Times of the samples are the device's, made true where its clock is wrong:

- before 2020: a board without a clock. Such samples are moved together so that they end when they came.
- the batch says when it was sent, by the device's clock. What that is off by from now is added, where it is
  more than CLOCK_WRONG_MS; the device is listed among `clocks` while that lasts.
- in the future all the same (an agent that does not say when it sends): moved as the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np

from edgepress_devices.protocol import Sample, TelemetryBatch
from edgepress_server.store.clock_flags import ClockFlags
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.ledger import Ledger, Stored
from edgepress_server.store.model_stats import ModelStatsHours
from edgepress_server.store.profiling import Profiling
from edgepress_server.store.quarantine import Quarantine, Quarantined
from edgepress_server.store.sampled_inputs import SampledInputs
from edgepress_server.store.series.intake import SampleFields
from edgepress_server.store.series.texts import Texts
from edgepress_server.store.series.write import DeviceRow, SeriesWrite

EPOCH_MS: Final = 180 * 24 * 3600 * 1000  # an epoch not heard of for longer will not come back
CLOCK_UNSET_MS: Final = 1_577_836_800_000  # 2020-01-01: before edgepress existed
CLOCK_WRONG_MS: Final = 60_000
EVENT_EVERY_MS: Final = 1000
EVENT_NAMES: Final = 200
PRUNE_EVERY_MS: Final = 60_000


_at_ms = attrgetter("at_ms")


class Received(msgspec.Struct, frozen=True):
    device: str
    at: int  # Unix ms, server clock
    batch: TelemetryBatch


class Telemetry:
    """The write side. One process writes telemetry."""

    def __init__(
        self,
        database: Database,
        events: Events,
        profiling: Profiling,
        quarantine: Quarantine,
        texts: Texts,
        model_stats: ModelStatsHours,
        sampled_inputs: SampledInputs,
    ) -> None:
        self._database = database
        self._events = events
        self._profiling = profiling
        self._quarantine = quarantine
        self._texts = texts
        self._model_stats = model_stats
        self._sampled_inputs = sampled_inputs
        self._series = SeriesWrite(database, texts)
        self._clocks = ClockFlags(database)
        self._event_due = 0
        self._since_event: set[str] = set()
        self._prune_due = 0

    def store(self, received: Sequence[Received], quarantined: Sequence[Quarantined] = ()) -> Stored:
        """All of it in one transaction; what to acknowledge afterwards. Raises StoreError, DiskFullError."""
        self._series.start()
        try:
            with self._database.transaction():
                stored = self._store(received, quarantined)
        except BaseException:
            self._series.lost()  # what was not committed must not be counted
            self._clocks.forget()
            raise
        self._series.kept()
        return stored

    def _store(self, received: Sequence[Received], quarantined: Sequence[Quarantined]) -> Stored:
        known = self._known({item.device for item in received} | {item.device for item in quarantined})
        received = [item for item in received if item.device in known]
        spoilt = [item for item in quarantined if item.device in known]
        named = [(item.device, item.named[0]) for item in spoilt if item.named is not None]
        ledger = Ledger(self._database, [*((i.device, i.batch.epoch) for i in received), *named])
        for each in spoilt:
            if each.named is not None:
                ledger.take(each.device, *each.named)
        new = [
            item
            for item in received
            if ledger.take(item.device, item.batch.epoch, item.batch.number, item.batch.oldest)
        ]
        fields = SampleFields(list(chain.from_iterable(item.batch.samples for item in new)))
        wrong = fields.implausible()
        refused: list[Quarantined] = []
        if wrong:
            new, refused = _without(new, wrong)
            fields = SampleFields(list(chain.from_iterable(item.batch.samples for item in new)))
        counts = [len(item.batch.samples) for item in new]
        self._mend_times(new, counts, fields)
        self._hand_on(new, counts, fields, refused)
        if len(fields):
            self._series.keep(fields.table(self._texts.code), [known[item.device] for item in new], counts)
            self._write_latest(new)
        if spoilt or refused:
            self._quarantine.add([*spoilt, *refused])
        ledger.write()
        self._announce(item.device for item in new)
        return ledger.acknowledge()

    def _hand_on(
        self, new: Sequence[Received], counts: Sequence[int], fields: SampleFields, refused: list[Quarantined]
    ) -> None:
        """What is no figure goes where it belongs; what is refused there is not the samples' fault."""
        for item in new:
            for report in item.batch.reports:
                reason = self._profiling.receive(item.device, item.at, report)
                if reason is not None:
                    spoilt = Quarantined(item.device, item.at, reason, msgspec.msgpack.encode(report))
                    refused.append(spoilt)
            for given in item.batch.inputs:
                reason = self._sampled_inputs.receive(item.device, item.at, given)
                if reason is not None:  # what was given without leave is not kept, here or anywhere
                    refused.append(Quarantined(item.device, item.at, reason, b""))
        with_stats = fields.where("model")
        if with_stats:
            owner = np.repeat(np.arange(len(new)), counts).tolist()
            for row in with_stats:
                self._model_stats.add(new[owner[row]].device, fields.samples[row])

    def _known(self, devices: set[str]) -> dict[str, DeviceRow]:
        """Those of them that are enrolled and not revoked; nobody else has telemetry here."""
        rows = self._database.rows(
            "SELECT d.name, d.profile, d.labels FROM json_each(?) j CROSS JOIN devices d ON d.name = j.value"
            " WHERE d.enrolled_at IS NOT NULL AND d.revoked_at IS NULL",
            (json.dumps(sorted(devices)),),
        )
        return {row[0]: DeviceRow(row[0], row[1], row[2]) for row in rows}

    def _mend_times(self, new: list[Received], counts: Sequence[int], fields: SampleFields) -> None:
        """Samples that move are copies: what came is tried again as it came where the store fails."""
        if not len(fields):
            return
        there = [i for i, count in enumerate(counts) if count]
        first = np.cumsum([0, *(counts[i] for i in there)])[:-1]
        low = np.minimum.reduceat(fields.at, first).tolist()
        high = np.maximum.reduceat(fields.at, first).tolist()
        for i, start, least, most in zip(there, first.tolist(), low, high, strict=True):
            item = new[i]
            offset_ms = _offset_ms(item)
            self._clocks.saw(item.device, item.at, offset_ms)
            if offset_ms or least < CLOCK_UNSET_MS or most > item.at + CLOCK_WRONG_MS:
                moved = _moved(item.batch.samples, item.at, offset_ms)
                fields.replace(start, moved)
                batch = msgspec.structs.replace(item.batch, samples=moved)
                new[i] = msgspec.structs.replace(item, batch=batch)
        self._clocks.write()

    def _write_latest(self, received: Iterable[Received]) -> None:
        latest: dict[str, tuple[int, Sample]] = {}
        for item in received:
            if item.batch.samples:
                sample = max(item.batch.samples, key=_at_ms)
                if item.device not in latest or latest[item.device][1].at_ms <= sample.at_ms:
                    latest[item.device] = item.at, sample
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO latest (device, at, received_at, sample) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (device) DO UPDATE SET at = excluded.at, received_at = excluded.received_at,"
                " sample = excluded.sample WHERE excluded.at >= latest.at",
                [
                    (device, sample.at_ms, at, msgspec.json.encode(_without_stats(sample)).decode())
                    for device, (at, sample) in latest.items()
                ],
            )

    def _announce(self, devices: Iterable[str]) -> None:
        """At most one event a second: how many were heard of since the last, and some of their names."""
        self._since_event.update(devices)
        now = self._database.now_ms()
        if self._since_event and now >= self._event_due:
            names = sorted(self._since_event)
            data = {"devices": names[:EVENT_NAMES], "count": len(names)}
            self._events.append("telemetry", "fleet", "batch", data=data)
            self._since_event.clear()
            self._event_due = now + EVENT_EVERY_MS

    def step(self) -> bool:
        """A little of what is due beside storing: sealing, forgetting. True where there is more."""
        if self._series.step():
            return True
        now = self._database.now_ms()
        if now >= self._prune_due:
            self._prune_due = now + PRUNE_EVERY_MS
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM batches WHERE updated_at < ?", (now - EPOCH_MS,))
                self._quarantine.prune()
                self._events.prune_telemetry()
                self._sampled_inputs.prune()
        return False


def _without_stats(sample: Sample) -> Sample:
    """What the model saw is kept elsewhere, and may be long."""
    return sample if sample.model is None else msgspec.structs.replace(sample, model=None)


def _without(
    received: Sequence[Received], wrong: Mapping[int, str]
) -> tuple[list[Received], list[Quarantined]]:
    """The batches in which everything can be true, and the others. ``wrong``: rows of all samples -> why.

    Sampled inputs of the others are not kept: who looks at what was set aside is asked for no leave.
    """
    owner = np.repeat(np.arange(len(received)), [len(item.batch.samples) for item in received])
    reasons = {int(owner[row]): reason for row, reason in reversed(list(wrong.items()))}
    refused = [
        Quarantined(
            received[i].device,
            received[i].at,
            reason,
            msgspec.msgpack.encode(msgspec.structs.replace(received[i].batch, inputs=[])),
        )
        for i, reason in reasons.items()
    ]
    return [item for i, item in enumerate(received) if i not in reasons], refused


def _offset_ms(item: Received) -> int:
    """What is to be added to the device's times; 0 where its clock is right or nobody can tell."""
    sent_at_ms = item.batch.sent_at_ms
    if sent_at_ms < CLOCK_UNSET_MS or abs(item.at - sent_at_ms) <= CLOCK_WRONG_MS:
        return 0
    return item.at - sent_at_ms


def _moved(samples: Sequence[Sample], received_at: int, offset_ms: int) -> list[Sample]:
    """The samples at times that can be true."""
    latest_true = received_at + CLOCK_WRONG_MS
    unset = max((s.at_ms for s in samples if s.at_ms < CLOCK_UNSET_MS), default=0)
    ahead = max((s.at_ms + offset_ms for s in samples if s.at_ms >= CLOCK_UNSET_MS), default=0)
    back_ms = ahead - received_at if ahead > latest_true else 0
    moved = []
    for sample in samples:
        if sample.at_ms < CLOCK_UNSET_MS:
            at_ms = sample.at_ms + received_at - unset
        else:
            at_ms = max(CLOCK_UNSET_MS, sample.at_ms + offset_ms - back_ms)
        moved.append(msgspec.structs.replace(sample, at_ms=at_ms))
    return moved
