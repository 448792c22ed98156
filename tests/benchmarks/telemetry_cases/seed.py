"""A store as a fleet of 10,000 boards leaves it, written through the store's own tables in minutes.

A few boards' day is made sample by sample and sealed by the store's own code; every device's blocks are one
of these boards', at its own times. Groups hold what that many boards add up to.

    everybody   samples 10 minutes, minutes 2 hours, hours 7 days
    the first   samples 24 hours, minutes 90 days, hours a year: whoever is looked at
    fleet, profiles, artifacts   minutes 90 days, hours a year
    labels      minutes a day, hours 7 days
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edgepress_devices.protocol import Sample, TelemetryBatch
from edgepress_server.store import Store, open_store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.intake import SampleFields
from edgepress_server.store.series.keys import FLEET, SeriesIds, SeriesKey
from edgepress_server.store.series.sealed import seal_rollup, seal_samples
from edgepress_server.store.series.table import SampleTable
from edgepress_server.store.series.tables import HOURS, MINUTES, RAW, SeriesTables
from edgepress_server.store.series.texts import Texts
from edgepress_server.store.telemetry import Received
from telemetry_cases.board import samples
from telemetry_cases.load import ARTIFACTS
from telemetry_cases.packets import EPOCH, device
from telemetry_cases.server import PROFILES, labels, plant

BOARDS: Final = 4
LONG: Final = 20  # devices with all that is ever kept
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
SEAL_MS: Final = 10 * MINUTE_MS
MONTH_MS: Final = 30 * DAY_MS
MODEL: Final = "bench"
AT_ONCE: Final = 200  # devices in a transaction

Blocks = list[tuple[int, int, int, bytes]]  # first_at, last_at, rows, block


@dataclass(frozen=True)
class Seeded:
    devices: int
    rows: int  # raw samples that all tiers together stand for
    seconds: float


@dataclass(frozen=True)
class Board:
    """One board's blocks, of one artifact."""

    raw: Blocks  # a day, 10 minutes each
    minutes: Blocks  # 90 days
    hours: Blocks  # a year
    day: Frame  # its minutes of the last day
    own_hours: Frame


def seed(folder: Path, devices: int) -> Seeded:
    """Into a folder in which no server has run yet."""
    began = time.monotonic()
    store = open_store(folder)
    try:
        plant(store, [device(n) for n in range(devices)])
        _model(store)
        writer = _Writer(store)
        writer.write(devices)
        _now(store, devices)
        rows = writer.rows
    finally:
        store.close()
    return Seeded(devices, rows, time.monotonic() - began)


class _Writer:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = SeriesTables(store.database)
        self._ids = SeriesIds(store.database)
        self._texts = Texts(store.database)
        self._end_ms = store.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
        self.rows = 0

    def write(self, devices: int) -> None:
        with self._store.transaction():
            boards = [
                [self._board(seed, digest) for seed in range(BOARDS // len(ARTIFACTS))]
                for digest in ARTIFACTS
            ]
        members: Counter[tuple[SeriesKey, int]] = Counter()  # group and artifact -> devices
        for first in range(0, devices, AT_ONCE):
            with self._store.transaction():
                for n in range(first, min(first + AT_ONCE, devices)):
                    which = artifact_of(n)
                    self._device(n, boards[which][n % len(boards[which])])
                    for key in groups_of(n):
                        members[key, which] += 1
        with self._store.transaction():
            for key in {key for key, _ in members}:
                parts = [
                    (boards[which], members[key, which])
                    for which in range(len(ARTIFACTS))
                    if members[key, which]
                ]
                self._group(key, parts)

    def _board(self, seed: int, digest: str) -> Board:
        made = samples(seed, DAY_MS // 1000, self._end_ms - DAY_MS + 999, artifact=digest)
        table = SampleFields(made).table(self._texts.code)
        frame = table.frame()
        day = frame.steps(MINUTE_MS, by_artifact=True)
        hours = frame.steps(HOUR_MS, by_artifact=True)
        return Board(self._raw(table), self._minutes(day), self._hours(hours), day, hours)

    def _raw(self, table: SampleTable) -> Blocks:
        window = table.at // SEAL_MS
        return [
            (int(table.at[a]), int(table.at[b - 1]), b - a, seal_samples(table.take(np.arange(a, b))))
            for a, b in _runs(window)
        ]

    def _minutes(self, day: Frame, days: int = 90) -> Blocks:
        """Days like this one; a block a day, and today's an hour each."""
        blocks: Blocks = []
        for back in range(days - 1, -1, -1):
            frame = replace(day, at=day.at - back * DAY_MS)
            window = frame.at // DAY_MS if back > 1 else frame.at // HOUR_MS
            blocks += _sealed(frame, window)
        return blocks

    def _hours(self, day: Frame, days: int = 365) -> Blocks:
        whole = day.take(np.arange(1, 25) if len(day) > 24 else np.arange(len(day)))
        frames = [replace(whole, at=whole.at - back * DAY_MS) for back in range(days - 1, -1, -1)]
        year = Frame.merged(frames)
        return _sealed(year, year.at // MONTH_MS)

    def _device(self, n: int, board: Board) -> None:
        number = self._ids.id(SeriesKey("device", device(n)))
        assert number is not None
        if n < LONG:
            kept = [(RAW, board.raw), (MINUTES, board.minutes), (HOURS, board.hours)]
            self.rows += 90 * DAY_MS // 1000
        else:
            end = self._end_ms
            kept = [
                (RAW, _since(board.raw, end - SEAL_MS)),
                (MINUTES, _since(board.minutes, end - 2 * HOUR_MS)),
                (HOURS, _since(board.hours, end - 7 * DAY_MS)),
            ]
            self.rows += 2 * HOUR_MS // 1000
        self._tables.add_blocks((number, tier, *block) for tier, blocks in kept for block in blocks)

    def _group(self, key: SeriesKey, parts: Sequence[tuple[Sequence[Board], int]]) -> None:
        number = self._ids.id(key)
        assert number is not None
        day = Frame.merged([_times(b.day, n // len(bs)) for bs, n in parts for b in bs]).steps(MINUTE_MS)
        hours = Frame.merged([_times(b.own_hours, n // len(bs)) for bs, n in parts for b in bs]).steps(
            HOUR_MS
        )
        day, hours = _of_no_artifact(day), _of_no_artifact(hours)
        is_label = key.kind == "label"
        minutes = self._minutes(day, 1 if is_label else 90)
        year = self._hours(hours, 7 if is_label else 365)
        self._tables.add_blocks((number, MINUTES, *block) for block in minutes)
        self._tables.add_blocks((number, HOURS, *block) for block in year)


def artifact_of(n: int) -> int:
    """As the load has it: chunks of 64 devices."""
    return n // 64 % len(ARTIFACTS)


def groups_of(n: int) -> Iterator[SeriesKey]:
    yield FLEET
    yield SeriesKey("profile", PROFILES[n % len(PROFILES)])
    yield SeriesKey("artifact", ARTIFACTS[artifact_of(n)])
    for name, value in labels(n).items():
        yield SeriesKey("label", f"{name}={value}")


def _times(frame: Frame, n: int) -> Frame:
    """What n such boards add up to."""
    columns = {
        name: replace(column, zeros=column.zeros * n, counts=column.counts * n)
        for name, column in frame.histograms.items()
    }
    return replace(frame, sums=frame.sums * n, counts=frame.counts * n, histograms=columns)


def _of_no_artifact(frame: Frame) -> Frame:
    return replace(frame, artifact=np.zeros_like(frame.artifact))


def _runs(window: np.ndarray) -> list[tuple[int, int]]:
    first = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
    return list(zip(first.tolist(), [*first[1:].tolist(), len(window)], strict=True))


def _sealed(frame: Frame, window: np.ndarray) -> Blocks:
    return [
        (int(frame.at[a]), int(frame.at[b - 1]), b - a, seal_rollup(frame.take(np.arange(a, b))))
        for a, b in _runs(window)
    ]


def _since(blocks: Blocks, from_ms: int) -> Blocks:
    return [block for block in blocks if block[1] >= from_ms]


def _model(store: Store) -> None:
    blob = store.blobs.put(b"the model")
    facts = ModelFacts(bytes=9, weight_bytes=9, parameters=2, macs=None, inputs=[], outputs=[])
    store.models.add(MODEL, blob, facts, None, actor=None)
    for n, digest in enumerate(ARTIFACTS):
        store.artifacts.add(
            digest, model=MODEL, profile=PROFILES[n], recipe="none", size_bytes=9, report={}, job=None
        )


def _now(store: Store, devices: int) -> None:
    """Each device's newest batch, through the door that all telemetry takes; some boards are not well."""
    now = store.now_ms()
    found = [
        [samples(100 + seed, 6, now - 50_000, interval_ms=10_000, artifact=digest) for seed in range(12)]
        for digest in ARTIFACTS
    ]
    for first in range(0, devices, 1000):
        received = []
        for n in range(first, min(first + 1000, devices)):
            mine = [_ailing(_earlier(sample, n % 9000), n) for sample in found[artifact_of(n)][n % 12]]
            batch = TelemetryBatch(1, EPOCH[::-1], 1, mine, 1, sent_at_ms=now)
            received.append(Received(device(n), now, batch))
        store.telemetry.store(received)


def _earlier(sample: Sample, later_ms: int) -> Sample:
    return msgspec.structs.replace(sample, at_ms=sample.at_ms - later_ms)


def _ailing(sample: Sample, n: int) -> Sample:
    if n % 97 == 5:
        sample.temp_c, sample.throttled = 84.7, True
    if n % 131 == 7:
        sample.errors = sample.inferences // 4
        sample.error_kinds = None
    if n % 211 == 3:
        sample.disk_free_bytes = 20 << 20
    return sample
