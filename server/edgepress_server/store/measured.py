"""What devices of a profile report of one artifact: the truth that a prediction is held against. Read only.

Latency quantiles come from the merged histograms of all these devices' inferences together.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

import msgspec

from edgepress_devices.protocol import Histogram
from edgepress_server.store.database import Database
from edgepress_server.store.telemetry_read import MINUTE_MS, quantiles_us

SINCE_MS: Final = 24 * 3600 * 1000  # older figures may be of other circumstances
DEVICES_MAX: Final = 200  # looked at: those that run it now first, then those heard from last
MINUTES_MAX: Final = 30  # looked at, of each device: its newest

_histogram = msgspec.msgpack.Decoder(Histogram)


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
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, digest: str, profile: str) -> Measured | None:
        """What the devices of this profile say of this artifact; None where none ran it."""
        with self._database.snapshot():
            names = self._database.rows(
                "SELECT name FROM devices WHERE profile = ? AND revoked_at IS NULL "
                "AND enrolled_at IS NOT NULL "
                "ORDER BY coalesce(json_extract(state, '$.running') = ?, 0) DESC, seen_at DESC, name LIMIT ?",
                (profile, digest, DEVICES_MAX),
            )
            since = self._database.now_ms() - SINCE_MS
            rows = [
                row
                for name in names
                for row in self._database.rows(
                    "SELECT * FROM minutes WHERE device = ? AND minute >= ? AND artifact = ? "
                    "AND latency_us IS NOT NULL ORDER BY minute DESC LIMIT ?",
                    (name["name"], since, digest, MINUTES_MAX),
                )
            ]
        p50_us, p95_us = quantiles_us([_histogram.decode(row["latency_us"]) for row in rows], (0.50, 0.95))
        if p50_us is None or p95_us is None:
            return None
        rss_bytes: dict[str, int] = {}
        for row in rows:
            if row["rss_bytes_max"] is not None:
                rss_bytes[row["device"]] = max(row["rss_bytes_max"], rss_bytes.get(row["device"], 0))
        energy = [row for row in rows if row["energy_mj_sum"] is not None and row["energy_count"] > 0]
        counted = sum(row["energy_count"] for row in energy)
        return Measured(
            p50_us=p50_us,
            p95_us=p95_us,
            devices=len({row["device"] for row in rows}),
            inferences=sum(row["inferences"] for row in rows),
            since_at=min(row["minute"] for row in rows),
            until_at=max(row["minute"] for row in rows) + MINUTE_MS,
            throttled_devices=len({row["device"] for row in rows if row["throttled"]}),
            rss_bytes=median(rss_bytes.values()) if rss_bytes else None,
            energy_mj=sum(row["energy_mj_sum"] for row in energy) / counted if counted else None,
            energy_devices=len({row["device"] for row in energy}),
            energy_method=energy[0]["energy_method"] if energy else None,
        )
