"""Running totals of single devices since a moment, read from their minutes a window at a time.

    start --- base (added up, kept in memory) --- [ window: read again each time ] --- end

Data that comes late, up to WINDOW_MS after it was measured, is still counted; a total only grows. The newest
minutes are left out until they are whole and stored (LAG_MS).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edgepress_devices.metrics import HISTOGRAMS, METRICS
from edgepress_server.ecosystem.source import SeriesSource
from edgepress_server.ecosystem.totals import Total, totals_of
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey

MINUTE_MS: Final = 60_000
WINDOW_MS: Final = 15 * MINUTE_MS
LAG_MS: Final = MINUTE_MS
AT_A_TIME: Final = 200  # devices whose rows are in memory together
_GAUGES: Final = tuple(metric.name for metric in METRICS if metric.kind != "count")


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
            for key, frame in frames.items():
                if len(frame):
                    changed += self._device(key.name, frame, window_ms, settled)
        for place, total in settled.items():
            self._base[place] = self._base[place].plus(total) if place in self._base else total
        self._window_ms, self.end_ms = window_ms, end_ms
        self._told |= {(each.device, each.artifact): each.total.samples for each in changed}
        return changed

    def _device(
        self, device: str, frame: Frame, window_ms: int, settled: dict[tuple[str, str], Total]
    ) -> list[Changed]:
        old, window = frame.between(0, window_ms), frame.between(window_ms, 2**62)
        parts = (totals_of(old) if len(old) else {}, totals_of(window) if len(window) else {})
        settled.update({(device, artifact): total for artifact, total in parts[0].items()})
        changed = []
        for artifact in sorted({*parts[0], *parts[1]}):
            place = (device, artifact)
            known = [self._base.get(place), parts[0].get(artifact), parts[1].get(artifact)]
            total = Total()
            for part in known:
                total = total if part is None else total.plus(part)
            if total.samples != self._told.get(place, 0):
                changed.append(Changed(device, artifact, total, _gauges(frame, artifact)))
        return changed


def _gauges(frame: Frame, artifact: str) -> dict[str, float]:
    """Means of the newest minute, where it was with this artifact."""
    newest = frame.take(np.flatnonzero(frame.at == frame.at.max())).only(artifact)
    if not len(newest):
        return {}
    values = {name: float(newest.mean(name)[0]) for name in _GAUGES}
    return {name: value for name, value in values.items() if not np.isnan(value)}
