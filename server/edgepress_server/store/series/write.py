"""The write side of the series: what batches bring becomes hot rows and minutes, in the caller's transaction.

``keep`` is called inside a transaction, then `kept` after its commit or `lost` after its rollback. One
process writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepress_server.store.database import Database
from edgepress_server.store.series.keys import FLEET, LABELS_OF_A_DEVICE, SeriesIds, SeriesKey
from edgepress_server.store.series.rows import GroupMinutes, MinuteRows, OpenMinutes, from_stored
from edgepress_server.store.series.seal import MINUTE_MS, Sealing
from edgepress_server.store.series.table import SampleTable, from_hot, hot_rows
from edgepress_server.store.series.tables import SeriesTables
from edgepress_server.store.series.texts import Texts

AT_ONCE_ROWS: Final = 256  # open minutes are written down with the samples while they are so few
WRITE_OPEN_MS: Final = 2000  # else so long after the last time
OPEN_ROWS_PER_S: Final = 1000  # and so that no more than these are written a second


class DeviceRow(NamedTuple):
    name: str
    profile: str
    labels: str  # JSON


class SeriesWrite:
    def __init__(self, database: Database, texts: Texts) -> None:
        self._database = database
        self.tables = SeriesTables(database)
        self.ids = SeriesIds(database)
        self._texts = texts
        self._minutes = OpenMinutes()
        self._groups = GroupMinutes()
        self._sealing = Sealing(database, self.tables, self._minutes, self._groups)
        self._known_artifacts: set[str] = set()
        self._methods: dict[tuple[int, int], int] = {}  # (series, 0 power or 1 energy) -> code
        self._started = False
        self._open_due = 0
        self._pending: dict[int, int] = {}  # series -> first_at of the hot rows in this transaction
        self._before = self._minutes.mark()

    def start(self) -> None:
        """Once, before the first `keep`: the open minutes are made of the hot rows that a restart left."""
        if self._started:
            return
        self._sealing.start()
        before = self._minutes.mark()
        try:
            with self._database.transaction():
                self.tables.clear_open_of_devices()
                for series in self.tables.hot_since():
                    table = from_hot(self.tables.hot(series, -(2**62), 2**62))
                    self._minutes.add(_minutes_of(np.full(len(table), series), table))
                self.tables.write_open(self._minutes.take_changed().stored())
        except BaseException:
            self._minutes.back_to(before)  # it is begun again
            raise
        self._started = True

    def keep(self, table: SampleTable, owner: Sequence[DeviceRow], count: Sequence[int]) -> None:
        """``count[i]`` samples of the table are of ``owner[i]``, one after the other."""
        ids = [self.ids.id(SeriesKey("device", device.name)) or 0 for device in owner]
        series = np.repeat(np.array(ids, np.int64), np.array(count, np.int64))
        order = np.lexsort((table.at, series))
        table, series = table.take(order), series[order]
        first = np.flatnonzero(np.diff(series, prepend=-1))
        rows = hot_rows(table, first)
        owners = series[first].tolist()
        self.tables.add_hot(zip(owners, rows, strict=True))
        self._write_methods(series, table)
        minutes = _minutes_of(series, table)
        self._add_to_groups(minutes, dict(zip(ids, owner, strict=True)))
        self._pending = {s: row.first_at for s, row in zip(owners, rows, strict=True)}
        self._before = self._minutes.mark()
        self._minutes.add(minutes)
        if self._minutes.changed() <= AT_ONCE_ROWS:
            self.tables.write_open(self._minutes.take_changed().stored())

    def kept(self) -> None:
        for series, first_at in self._pending.items():
            self._sealing.hot(series, first_at)
        self._pending = {}

    def lost(self) -> None:
        """Nothing of the transaction was stored."""
        if self._pending:
            self._minutes.back_to(self._before)
        self._pending = {}
        self._groups.forget()
        self._methods.clear()
        self.ids.forget()
        self._texts.forget()

    def step(self) -> bool:
        """A little of what is due beside writing; True where there is more. Transactions of its own."""
        self.start()
        now = self._database.now_ms()
        changed = self._minutes.changed()
        if changed and now >= self._open_due:
            before = self._minutes.mark()
            try:
                self.tables.write_open(self._minutes.take_changed().stored())
            except BaseException:
                self._minutes.back_to(before)  # they are to be written still
                raise
            self._open_due = now + max(WRITE_OPEN_MS, 1000 * changed // OPEN_ROWS_PER_S)
        return self._sealing.step()

    def _write_methods(self, series: NDArray[np.int64], table: SampleTable) -> None:
        """Where a device begins to measure by another method."""
        told: dict[int, list[int]] = {}
        for i, codes in enumerate((table.power_how, table.energy_how)):
            rows = np.flatnonzero(codes)
            last = rows[np.flatnonzero(np.diff(series[rows], append=-1))]  # of each device
            for number, code in zip(series[last].tolist(), codes[last].tolist(), strict=True):
                if self._methods.get((number, i)) != code:
                    self._methods[number, i] = code
                    told.setdefault(number, [0, 0])[i] = code
        if told:
            self.tables.write_methods((number, codes[0], codes[1]) for number, codes in told.items())

    def _add_to_groups(self, minutes: MinuteRows, owner: Mapping[int, DeviceRow]) -> None:
        # Devices of the same groups first become one: there are few such sets, and many devices.
        sets: dict[tuple[SeriesKey, ...], int] = {}
        of = {
            series: sets.setdefault(_groups(device.profile, device.labels), len(sets) + 1)
            for series, device in owner.items()
        }
        rows = MinuteRows(_looked_up(minutes.series, of), minutes.frame).merged()
        members = [(number, groups) for groups, number in sets.items()]
        parts = []
        for i in range(max((len(groups) for _, groups in members), default=0)):
            ids = {number: self.ids.id(groups[i]) for number, groups in members if i < len(groups)}
            parts.append(_owned(rows, _looked_up(rows.series, ids)))
        codes = {code: self._artifact(code) for code in np.unique(rows.frame.artifact).tolist()}
        parts.append(_owned(rows, _looked_up(rows.frame.artifact, codes)))
        added = MinuteRows.joined(parts).merged()
        missing = self._groups.missing(added)
        keys = zip(missing.series.tolist(), missing.frame.at.tolist(), strict=True)
        read = from_stored(self.tables.open_of(keys)) if len(missing) else MinuteRows.empty()
        self.tables.write_open(self._groups.added(added, read).stored())

    def _artifact(self, code: int) -> int | None:
        """The series of an artifact that the server knows: a device may name any other."""
        digest = self._texts.name(code)
        if len(digest) != 64 or not self._is_known(digest):
            return None
        return self.ids.id(SeriesKey("artifact", digest))

    def _is_known(self, digest: str) -> bool:
        if digest not in self._known_artifacts:
            if self._database.row("SELECT 1 FROM artifacts WHERE digest = ?", (digest,)) is None:
                return False
            self._known_artifacts.add(digest)
        return True


@lru_cache(maxsize=50_000)
def _groups(profile: str, labels: str) -> tuple[SeriesKey, ...]:
    """The groups that a device is in, beside its artifact's."""
    pairs = sorted(json.loads(labels).items())[:LABELS_OF_A_DEVICE]
    return (FLEET, SeriesKey("profile", profile), *(SeriesKey("label", f"{k}={v}") for k, v in pairs))


def _minutes_of(series: NDArray[np.int64], table: SampleTable) -> MinuteRows:
    frame = table.frame()
    minute = frame.at // MINUTE_MS * MINUTE_MS
    return MinuteRows(series, frame.spanning(minute, MINUTE_MS)).merged()


def _looked_up(keys: NDArray[np.int64], of: Mapping[int, int | None]) -> NDArray[np.int64]:
    """[n] what each key stands for, -1 where for nothing."""
    unique, place = np.unique(keys, return_inverse=True)
    found = np.array([of.get(key) or -1 for key in unique.tolist()], np.int64)
    return found[place] if len(unique) else np.zeros(0, np.int64)


def _owned(minutes: MinuteRows, series: NDArray[np.int64]) -> MinuteRows:
    there = np.flatnonzero(series >= 0)
    return minutes.take(there).owned_by(series[there])
