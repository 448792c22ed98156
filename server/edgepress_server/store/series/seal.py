"""Hot rows and open minutes into sealed blocks, small blocks into large ones, old ones away.

Rules
-----
1. Every SEAL_MS, after GRACE_MS for stragglers, what is older is sealed series by series: one transaction
   writes blocks of samples, of their minutes and of the minutes' hours, and removes what they were made of.
2. A late sample of a time that is sealed becomes hot, and with the next sealing a further block of that time.
   Readers add rows of the same minute, so it counts as if it had come in time.
3. No block of minutes crosses a day, none of hours a month of MONTH_MS: so blocks of a window that is over
   can be made one, exactly. Minutes: an hour's, later a day's. Hours: a day's, later a month's.
4. Samples are kept RAW_KEPT_MS, minutes MINUTES_KEPT_MS, hours HOURS_KEPT_MS.
"""

from __future__ import annotations

import heapq
import logging
import time
from typing import Final

import numpy as np

from edgepress_server.store.database import Database
from edgepress_server.store.series.block import BlockError
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.rows import GroupMinutes, OpenMinutes, from_stored
from edgepress_server.store.series.sealed import open_rollup, seal_rollup, seal_samples
from edgepress_server.store.series.table import from_hot, hot_rows
from edgepress_server.store.series.tables import HOURS, MINUTES, RAW, SeriesTables

log = logging.getLogger(__name__)

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MONTH_MS: Final = 30 * DAY_MS
SEAL_MS: Final = 10 * MINUTE_MS
GRACE_MS: Final = MINUTE_MS
ROWS_OF_A_BLOCK: Final = 20_000
RAW_KEPT_MS: Final = DAY_MS
MINUTES_KEPT_MS: Final = 90 * DAY_MS
HOURS_KEPT_MS: Final = 2 * 365 * DAY_MS
STEP_S: Final = 0.1  # of work in one transaction: nobody who wants to write waits longer
REMOVE_BLOCKS: Final = 500
REMOVE_EVERY_MS: Final = MINUTE_MS

SPAN_MS: Final = {MINUTES: MINUTE_MS, HOURS: HOUR_MS}
WINDOWS_MS: Final = {MINUTES: (HOUR_MS, DAY_MS), HOURS: (DAY_MS, MONTH_MS)}
KEPT_MS: Final = {RAW: RAW_KEPT_MS, MINUTES: MINUTES_KEPT_MS, HOURS: HOURS_KEPT_MS}


class Sealing:
    """One process seals. ``step`` does a little; a kill between or in the middle of two loses nothing."""

    def __init__(
        self, database: Database, tables: SeriesTables, minutes: OpenMinutes, groups: GroupMinutes
    ) -> None:
        self._database = database
        self._tables = tables
        self._minutes = minutes
        self._groups = groups
        self._hot_since: dict[int, int] = {}
        self._sealed_to = 0
        self._to_seal: list[int] = []
        self._groups_done = True
        self._compact: list[tuple[int, int]] = []  # heap of (due, series); valid where `_due` says the same
        self._due: dict[int, int] = {}
        self._remove_due = 0

    def start(self) -> None:
        """What is in the store already."""
        self._hot_since = self._tables.hot_since()
        now = self._database.now_ms()
        for series in self._tables.sealed_since(HOURS, now - 2 * DAY_MS):
            self._want_compaction(series, now)

    def hot(self, series: int, first_at: int) -> None:
        """There are hot rows of this series, from this time on."""
        self._hot_since[series] = min(first_at, self._hot_since.get(series, first_at))

    def step(self) -> bool:
        """Some of what is due; True where there is more."""
        now = self._database.now_ms()
        cut = (now - GRACE_MS) // SEAL_MS * SEAL_MS
        if cut > self._sealed_to and not self._to_seal and self._groups_done:
            self._sealed_to = cut
            self._to_seal = [series for series, first in self._hot_since.items() if first < cut]
            self._groups_done = False
        if self._to_seal:
            self._seal_some()
            return True
        if not self._groups_done:
            self._groups_done = not self._seal_groups()
            return True
        if self._compact and self._compact[0][0] <= now:
            self._compact_some(now)
            return True
        if now >= self._remove_due:
            removed = [
                self._tables.remove_old(tier, now - kept, REMOVE_BLOCKS) for tier, kept in KEPT_MS.items()
            ]
            if max(removed) < REMOVE_BLOCKS:
                self._remove_due = now + REMOVE_EVERY_MS
            return max(removed) == REMOVE_BLOCKS
        return False

    # --- sealing ------------------------------------------------------------------------------------------

    def _seal_some(self) -> None:
        cut = self._sealed_to
        end_s = time.monotonic() + STEP_S
        done: dict[int, int | None] = {}
        with self._database.transaction():
            while self._to_seal and time.monotonic() < end_s:
                series = self._to_seal.pop()
                done[series] = self._seal_device(series, cut)
        # Only now that it is stored; an error above leaves the rest for a later start of the round.
        self._minutes.drop(list(done), cut)
        for series, left in done.items():
            if left is None:
                self._hot_since.pop(series, None)
            else:
                self._hot_since[series] = left
            self._want_compaction(series, self._database.now_ms())

    def _seal_device(self, series: int, cut: int) -> int | None:
        """Seal what is before ``cut``; the time of the first sample that is left."""
        rows = self._tables.hot(series, -(2**62), cut)
        table = from_hot(rows).in_time()
        split = int(np.searchsorted(table.at, cut))
        old, rest = table.take(np.arange(split)), table.take(np.arange(split, len(table)))
        blocks = []
        for first in range(0, split, ROWS_OF_A_BLOCK):
            part = old.take(np.arange(first, min(first + ROWS_OF_A_BLOCK, split)))
            blocks.append((series, RAW, int(part.at[0]), int(part.at[-1]), len(part), seal_samples(part)))
        self._tables.add_blocks(blocks)
        self._add_rollups(series, old.frame().steps(MINUTE_MS, by_artifact=True))
        self._tables.remove_hot(series, cut)
        self._tables.remove_open(series, cut)
        if len(rest):
            self._tables.add_hot([(series, row) for row in hot_rows(rest, np.zeros(1, np.int64))])
        later = self._tables.hot(series, cut, 2**62)
        return min((row.first_at for row in later), default=None)

    def _seal_groups(self) -> bool:
        """True where there are more."""
        cut = self._sealed_to
        end_s = time.monotonic() + STEP_S
        found = self._tables.groups_open_before(cut, 50)
        done = []
        with self._database.transaction():
            for series in found:
                rows = from_stored(self._tables.open_rows([series], -(2**62), cut))
                self._add_rollups(series, rows.frame)
                self._tables.remove_open(series, cut)
                done.append(series)
                if time.monotonic() >= end_s:
                    break
        self._groups.drop(done, cut)
        for series in done:
            self._want_compaction(series, self._database.now_ms())
        return bool(done)

    def _add_rollups(self, series: int, minutes: Frame) -> None:
        """Blocks of these minutes, ascending and one of each artifact, and of their hours."""
        if len(minutes):
            hours = minutes.steps(HOUR_MS, by_artifact=True)
            self._tables.add_blocks([*blocks_of(series, MINUTES, minutes), *blocks_of(series, HOURS, hours)])

    # --- compaction ---------------------------------------------------------------------------------------

    def _want_compaction(self, series: int, now: int) -> None:
        # when the hour that is now is over and sealed
        self._compact_at(series, now // HOUR_MS * HOUR_MS + HOUR_MS + GRACE_MS + SEAL_MS)

    def _compact_at(self, series: int, due: int) -> None:
        if due < self._due.get(series, 2**62):
            self._due[series] = due
            heapq.heappush(self._compact, (due, series))

    def _compact_some(self, now: int) -> None:
        end_s = time.monotonic() + STEP_S
        done: dict[int, int | None] = {}
        with self._database.transaction():
            while self._compact and self._compact[0][0] <= now and time.monotonic() < end_s:
                due, series = heapq.heappop(self._compact)
                if self._due.get(series) == due:
                    del self._due[series]
                    done[series] = self.compact(series, now)
        for series, due_next in done.items():
            if due_next is not None:
                self._compact_at(series, due_next)

    def compact(self, series: int, now: int) -> int | None:
        """Make one of the blocks of every window that is over; when the next window of these is over.

        Hours of the day that is not over are made one as well: there is one more with every sealing.
        """
        ends = []
        for tier, (small_ms, large_ms) in WINDOWS_MS.items():
            for window_ms in (large_ms, small_ms):
                found: dict[int, list[int]] = {}
                for number, first_at, last_at in self._tables.block_times(series, tier, now - 2 * large_ms):
                    if first_at // window_ms == last_at // window_ms:
                        found.setdefault(first_at // window_ms, []).append(number)
                for window, ids in found.items():
                    over_at = (window + 1) * window_ms + GRACE_MS + SEAL_MS
                    early = tier == HOURS and window_ms == small_ms
                    if len(ids) > 1 and (over_at <= now or early):
                        self._make_one(series, tier, ids)
                    elif over_at > now:
                        ends.append(over_at)
        return min(ends, default=None)

    def _make_one(self, series: int, tier: int, ids: list[int]) -> None:
        try:
            frames = [open_rollup(block, SPAN_MS[tier]) for block in self._tables.blocks_of(ids)]
        except BlockError as error:  # it stays as it is, and readers name it
            log.error("a block of telemetry cannot be read, series %s: %s", series, error)
            return
        merged = Frame.merged(frames).steps(SPAN_MS[tier], by_artifact=True)
        self._tables.remove_blocks(ids)
        self._tables.add_blocks(blocks_of(series, tier, merged))


def blocks_of(series: int, tier: int, frame: Frame) -> list[tuple[int, int, int, int, int, bytes]]:
    """Of a frame that is ascending: one block for each of the tier's largest windows."""
    largest = max(WINDOWS_MS[tier])
    window = frame.at // largest
    first = np.flatnonzero(np.diff(window, prepend=-1))
    found = []
    for begin, end in zip(first.tolist(), [*first[1:].tolist(), len(frame)], strict=True):
        part = frame.take(np.arange(begin, end))
        found.append((series, tier, int(part.at[0]), int(part.at[-1]), len(part), seal_rollup(part)))
    return found
