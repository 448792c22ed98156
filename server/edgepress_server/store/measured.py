"""What devices of a profile report of one artifact: the truth that a prediction is held against. Read only.

Latency quantiles come from the merged histograms of all these devices' inferences together.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

from edgepress_server.store.database import Database
from edgepress_server.store.series.minutes import MINUTE_MS, device_minutes
from edgepress_server.store.series.read import SeriesRead
from edgepress_server.store.telemetry_read import quantiles_us

SINCE_MS: Final = 24 * 3600 * 1000  # older figures may be of other circumstances
DEVICES_MAX: Final = 200  # looked at: those that run it now first, then those heard from last
MINUTES_MAX: Final = 30  # looked at, of each device: its newest


@dataclass(frozen=True)
class Measured:
    """Of the last day. None: no device tells."""

    p50_us: float
    p95_us: float
    devices: int  # whose inferences these are
    inferences: int
    since_at: int  # Unix ms: where the oldest minute begins
    until_at: int  # Unix ms: where the newest minute ends
    throttled_devices: int  # that said in these minutes that they were throttled
    rss_bytes: float | None  # median over the devices of the most each held
    energy_mj: float | None  # of an inference, mean
    energy_devices: int
    energy_method: str | None  # "estimate:..." where it is one


class MeasuredArtifacts:
    def __init__(self, database: Database, series: SeriesRead) -> None:
        self._database = database
        self._series = series

    def of(self, digest: str, profile: str) -> Measured | None:
        """What the devices of this profile say of this artifact; None where none ran it."""
        with self._database.snapshot():
            names = [
                str(row["name"])
                for row in self._database.rows(
                    "SELECT name FROM devices WHERE profile = ? AND revoked_at IS NULL "
                    "AND enrolled_at IS NOT NULL "
                    "ORDER BY coalesce(json_extract(state, '$.running') = ?, 0) DESC, seen_at DESC, name"
                    " LIMIT ?",
                    (profile, digest, DEVICES_MAX),
                )
            ]
            now = self._database.now_ms()
            found = device_minutes(self._series, names, now - SINCE_MS, now + MINUTE_MS, {digest})
            methods = self._series.readings(names)
        rows = [row for mine in found.values() for row in [m for m in mine if m.latency][-MINUTES_MAX:]]
        histograms = [row.latency for row in rows if row.latency is not None]
        p50_us, p95_us = quantiles_us(histograms, (0.50, 0.95))
        if p50_us is None or p95_us is None:
            return None
        rss_bytes: dict[str, float] = {}
        for row in rows:
            if row.rss_bytes is not None:
                rss_bytes[row.device] = max(row.rss_bytes, rss_bytes.get(row.device, 0))
        energy = [row for row in rows if row.energy_mj is not None]
        counted = sum(row.energy_samples for row in energy)
        method = methods.get(energy[0].device, {}).get("energy_mj") if energy else None
        return Measured(
            p50_us=p50_us,
            p95_us=p95_us,
            devices=len({row.device for row in rows}),
            inferences=sum(row.inferences for row in rows),
            since_at=min(row.at for row in rows),
            until_at=max(row.at for row in rows) + MINUTE_MS,
            throttled_devices=len({row.device for row in rows if row.throttled}),
            rss_bytes=median(rss_bytes.values()) if rss_bytes else None,
            energy_mj=sum((row.energy_mj or 0.0) * row.energy_samples for row in energy) / counted
            if counted
            else None,
            energy_devices=len({row.device for row in energy}),
            energy_method=None if method is None else method[0],
        )
