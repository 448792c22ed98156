"""Running totals of each profile and artifact since the first telemetry ever stored.

    settled   [0, S)   rows older than SETTLE_MS, added up once and kept in the store as a fact
    middle    [S, M)   hours, read again every few minutes: late data may still come there
    newest    [M, now] minutes, read each time

The settled part outlives the retention of the rows it came from and a restart, so a counter never falls. Data
that comes later than SETTLE_MS after it was measured is kept and shown by the server, but no longer counted
here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from edgepress_devices.metrics import HISTOGRAMS
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.source import SeriesSource
from edgepress_server.ecosystem.totals import Total, added, totals_of
from edgepress_server.store.facts import Facts
from edgepress_server.store.series.keys import SeriesKey

FACT: Final = "ecosystem.profile_totals"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SETTLE_MS: Final = 7 * DAY_MS
MIDDLE_MS: Final = 2 * HOUR_MS  # the newest hours are read by minutes
MIDDLE_EVERY_MS: Final = 5 * 60_000
READ_AT_ONCE_MS: Final = 60 * DAY_MS
FORGET_MS: Final = 180 * DAY_MS  # an artifact that nobody ran for so long is no longer kept
_FORM: Final = 1

Totals = dict[str, dict[str, Total]]  # profile -> artifact -> total


class _Kept(msgspec.Struct, array_like=True):
    profile: str
    artifact: str
    sums: dict[str, int]
    samples: int
    histograms: dict[str, Histogram]
    last_at: int


class _Fact(msgspec.Struct):
    form: int
    until: int
    totals: list[_Kept]


class ProfileTotals:
    """Safe to share between threads: one reads at a time."""

    def __init__(self, source: Callable[[], SeriesSource], facts: Facts) -> None:
        self._source = source
        self._facts = facts
        self._lock = threading.Lock()
        self._settled: tuple[int, Totals] | None = None
        self._middle: tuple[int, int, int, Totals] = (0, 0, 0, {})  # from, to, when it was read

    def read(self, profiles: Iterable[str], now_ms: int) -> Totals:
        """Raises StoreError."""
        with self._lock:
            names = sorted(set(profiles))
            until, settled = self._settle(names, now_ms)
            middle_to, middle = self._read_middle(names, until, now_ms)
            newest = self._rows(names, middle_to, now_ms + DAY_MS, "minute")
            known = {*settled, *middle, *newest}
            return {
                name: added((settled.get(name, {}), middle.get(name, {}), newest.get(name, {})))
                for name in sorted(known)
            }

    def _settle(self, names: list[str], now_ms: int) -> tuple[int, Totals]:
        until, totals = self._settled or _read(self._facts.get(FACT))
        boundary = max(0, now_ms - SETTLE_MS) // DAY_MS * DAY_MS
        if boundary > until:
            # Another process may have settled meanwhile: what is kept in the store counts.
            until, totals = _read(self._facts.get(FACT))
        if boundary > until:
            totals = _together(totals, self._rows(names, until, boundary, "hour"))
            totals = _without_old(totals, boundary - FORGET_MS)
            until = boundary
            self._facts.set(FACT, _fact(until, totals))
        self._settled = (until, totals)
        return until, totals

    def _read_middle(self, names: list[str], until: int, now_ms: int) -> tuple[int, Totals]:
        begin, end, at, totals = self._middle
        if begin != until or not 0 <= now_ms - at < MIDDLE_EVERY_MS:
            begin, at = until, now_ms
            end = max(until, (now_ms - MIDDLE_MS) // HOUR_MS * HOUR_MS)
            totals = self._rows(names, begin, end, "hour")
            self._middle = (begin, end, at, totals)
        return end, totals

    def _rows(self, names: list[str], from_ms: int, to_ms: int, span: Any) -> Totals:
        found: Totals = {}
        for name in names:
            parts = []
            start = from_ms
            while start < to_ms:
                end = min(to_ms, start + READ_AT_ONCE_MS) if start else min(to_ms, _first_look(to_ms))
                frame = self._source().frame(
                    SeriesKey("profile", name), start, end, span=span, histograms=tuple(HISTOGRAMS)
                )
                if len(frame):
                    parts.append(totals_of(frame))
                start = end
            if parts:
                found[name] = added(parts)
        return found


def _first_look(to_ms: int) -> int:
    """Before there was any of this there are no rows: the first look back ends two years ago."""
    return max(1, to_ms - 800 * DAY_MS)


def _together(one: Totals, other: Totals) -> Totals:
    return {name: added((one.get(name, {}), other.get(name, {}))) for name in {*one, *other}}


def _without_old(totals: Totals, before_ms: int) -> Totals:
    kept = {
        name: {artifact: total for artifact, total in by_artifact.items() if total.last_at >= before_ms}
        for name, by_artifact in totals.items()
    }
    return {name: by_artifact for name, by_artifact in kept.items() if by_artifact}


def _fact(until: int, totals: Mapping[str, Mapping[str, Total]]) -> Any:
    kept = [
        _Kept(profile, artifact, total.sums, total.samples, total.histograms, total.last_at)
        for profile, by_artifact in totals.items()
        for artifact, total in by_artifact.items()
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
    totals: Totals = {}
    for kept in fact.totals:
        total = Total(kept.sums, kept.samples, kept.histograms, kept.last_at)
        totals.setdefault(kept.profile, {})[kept.artifact] = total
    return fact.until, totals
