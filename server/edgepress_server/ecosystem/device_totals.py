"""Running totals of single devices since a moment, read from their minutes a window at a time.

    start --- base (added up, kept in memory) --- [ window: read again each time ] --- end

Data that comes late, up to WINDOW_MS after it was measured, is still counted; a total only grows. The newest
minutes are left out until they are whole and stored (LAG_MS).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from edgepress_devices.metrics import HISTOGRAMS
from edgepress_server.ecosystem.many_totals import ManyTotals, many_totals
from edgepress_server.ecosystem.source import SeriesSource
from edgepress_server.ecosystem.totals import Total
from edgepress_server.store.series.keys import SeriesKey

MINUTE_MS: Final = 60_000
WINDOW_MS: Final = 15 * MINUTE_MS
LAG_MS: Final = MINUTE_MS
AT_A_TIME: Final = 500  # devices whose rows are in memory together


@dataclass(frozen=True)
class Changed:
    """A device and artifact of which something new is known."""

    device: str
    artifact: str
    total: Total
    gauges: dict[str, float] = field(default_factory=dict)  # of the newest minute; {}: it ran another since


class DeviceTotals:
    """Not shared between threads."""

    def __init__(self, source: SeriesSource, start_ms: int) -> None:
        self.start_ms = start_ms // MINUTE_MS * MINUTE_MS
        self.end_ms = self.start_ms
        self._source = source
        self._window_ms = self.start_ms  # where it begins
        self._base: dict[tuple[str, str], Total] = {}
        self._told: dict[tuple[str, str], int] = {}  # samples that were told of already

    def advance(self, devices: Collection[str], now_ms: int) -> list[Changed]:
        """What changed since the last time. Raises StoreError, and counts nothing then."""
        end_ms = max(self.end_ms, (now_ms - LAG_MS) // MINUTE_MS * MINUTE_MS)
        window_ms = max(self._window_ms, end_ms - WINDOW_MS)
        if end_ms <= self._window_ms:
            return []
        names = sorted(devices)
        settled: dict[tuple[str, str], Total] = {}
        changed: list[Changed] = []
        for first in range(0, len(names), AT_A_TIME):
            keys = [SeriesKey("device", name) for name in names[first : first + AT_A_TIME]]
            frames = self._source.frames(
                keys, self._window_ms, end_ms, span="minute", histograms=tuple(HISTOGRAMS)
            )
            found = many_totals({key.name: frame for key, frame in frames.items()}, window_ms)
            changed += self._changed(found)
            settled |= found.before
        for place, total in settled.items():
            self._base[place] = self._base[place].plus(total) if place in self._base else total
        self._window_ms, self.end_ms = window_ms, end_ms
        self._told |= {(each.device, each.artifact): each.total.samples for each in changed}
        return changed

    def _changed(self, found: ManyTotals) -> list[Changed]:
        changed = []
        for place in sorted({*found.before, *found.since}):
            total = Total()
            for part in (self._base.get(place), found.before.get(place), found.since.get(place)):
                total = total if part is None else total.plus(part)
            if total.samples != self._told.get(place, 0):
                changed.append(Changed(*place, total, found.gauges.get(place, {})))
        return changed
