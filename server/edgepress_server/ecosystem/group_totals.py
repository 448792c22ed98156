"""Running totals of groups of devices (profiles, artifacts) since the first telemetry that was counted.

    settled   [0, S)   rows older than SETTLE_MS, added up once and kept in the store as a fact
    middle    [S, M)   hours, read again every few minutes: late data may still come there
    newest    [M, now] minutes, read each time

The settled part outlives the retention of the rows it came from and a restart, so a counter never falls. Data
that comes later than SETTLE_MS after it was measured is kept and shown by the server, but no longer counted
here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import msgspec

from edgepress_devices.metrics import HISTOGRAMS
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.source import SeriesSource, Span
from edgepress_server.ecosystem.totals import Total, total_of
from edgepress_server.store.facts import Facts
from edgepress_server.store.series.keys import Kind, SeriesKey

FACT: Final = "ecosystem.group_totals"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SETTLE_MS: Final = 7 * DAY_MS
MIDDLE_MS: Final = 2 * HOUR_MS  # the newest hours are read by minutes
MIDDLE_EVERY_MS: Final = 5 * 60_000
READ_AT_ONCE_MS: Final = 60 * DAY_MS
KEPT_MS: Final = 800 * DAY_MS  # no row is older
FORGET_MS: Final = 180 * DAY_MS  # a group of which nothing was heard for so long is no longer kept
_FORM: Final = 1

Totals = dict[SeriesKey, Total]


class _Kept(msgspec.Struct, array_like=True):
    kind: str
    name: str
    sums: dict[str, int]
    samples: int
    histograms: dict[str, Histogram]
    last_at: int


class _Fact(msgspec.Struct):
    form: int
    until: int
    totals: list[_Kept]


class GroupTotals:
    """Safe to share between threads: one reads at a time."""

    def __init__(self, source: SeriesSource, facts: Facts) -> None:
        self._source = source
        self._facts = facts
        self._lock = threading.Lock()
        self._known: set[SeriesKey] = set()  # that anybody asked for: a total stays when its group is silent
        self._settled: tuple[int, Totals] | None = None
        self._middle: _Middle | None = None

    def read(self, keys: Iterable[SeriesKey], now_ms: int) -> Totals:
        """Of these groups, and of those that were asked for before. Raises StoreError."""
        with self._lock:
            self._known |= set(keys)
            until, settled = self._settle(now_ms)
            middle = self._read_middle(until, now_ms)
            newest = self._rows(middle.to_ms, now_ms + DAY_MS, "minute")
            return _together(settled, middle.totals, newest)

    def _settle(self, now_ms: int) -> tuple[int, Totals]:
        until, totals = self._settled or _read(self._facts.get(FACT))
        self._known |= set(totals)
        boundary = max(0, now_ms - SETTLE_MS) // DAY_MS * DAY_MS
        if boundary > until:
            # Another process may have settled meanwhile: what is kept in the store counts.
            until, totals = _read(self._facts.get(FACT))
        if boundary > until:
            totals = _together(totals, self._rows(max(until, now_ms - KEPT_MS), boundary, "hour"))
            totals = {key: total for key, total in totals.items() if total.last_at >= boundary - FORGET_MS}
            until = boundary
            self._facts.set(FACT, _fact(until, totals))
        self._settled = (until, totals)
        return until, totals

    def _read_middle(self, until: int, now_ms: int) -> _Middle:
        old = self._middle
        if old is None or not old.serves(until, self._known, now_ms):
            end = max(until, (now_ms - MIDDLE_MS) // HOUR_MS * HOUR_MS)
            start = max(until, now_ms - KEPT_MS)
            old = self._middle = _Middle(until, end, now_ms, set(self._known), self._rows(start, end, "hour"))
        return old

    def _rows(self, from_ms: int, to_ms: int, span: Span) -> Totals:
        found: Totals = {}
        start = from_ms // HOUR_MS * HOUR_MS
        while start < to_ms:
            end = min(to_ms, start + READ_AT_ONCE_MS)
            frames = self._source.frames(
                sorted(self._known), start, end, span=span, histograms=tuple(HISTOGRAMS)
            )
            found = _together(found, {key: total_of(frame) for key, frame in frames.items() if len(frame)})
            start = end
        return found


class _Middle:
    def __init__(self, from_ms: int, to_ms: int, at_ms: int, known: set[SeriesKey], totals: Totals) -> None:
        self.from_ms, self.to_ms, self.at_ms, self.known, self.totals = from_ms, to_ms, at_ms, known, totals

    def serves(self, from_ms: int, known: set[SeriesKey], now_ms: int) -> bool:
        is_fresh = 0 <= now_ms - self.at_ms < MIDDLE_EVERY_MS
        return is_fresh and from_ms == self.from_ms and known <= self.known


def _together(*parts: Mapping[SeriesKey, Total]) -> Totals:
    result: Totals = {}
    for part in parts:
        for key, total in part.items():
            result[key] = result[key].plus(total) if key in result else total
    return result


def _fact(until: int, totals: Mapping[SeriesKey, Total]) -> Any:
    kept = [
        _Kept(key.kind, key.name, total.sums, total.samples, total.histograms, total.last_at)
        for key, total in totals.items()
    ]
    return msgspec.to_builtins(_Fact(_FORM, until, kept))


def _read(value: Any) -> tuple[int, Totals]:
    """(until, totals). What another version of this server kept in another form is added up anew."""
    try:
        fact = msgspec.convert(value, _Fact)
    except msgspec.ValidationError:
        return 0, {}
    if fact.form != _FORM:
        return 0, {}
    kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    return fact.until, {
        SeriesKey(kinds[kept.kind], kept.name): Total(kept.sums, kept.samples, kept.histograms, kept.last_at)
        for kept in fact.totals
        if kept.kind in kinds
    }
