"""Everything that /metrics shows, read from the store at one moment.

Two scrapers at once, or one that is impatient, cost one reading: an answer is good for FRESH_S.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from edgepress_server.ecosystem.device_families import DeviceLook, device_families
from edgepress_server.ecosystem.families import Family, filled
from edgepress_server.ecosystem.fleet_families import (
    DIGEST_CHARS,
    RECENT_MS,
    FleetFigures,
    fleet_families,
)
from edgepress_server.ecosystem.profile_totals import ProfileTotals
from edgepress_server.ecosystem.server_families import server_families
from edgepress_server.ecosystem.source import SeriesSource
from edgepress_server.store import Store
from edgepress_server.store.exposed import Exposed
from edgepress_server.store.series.keys import SeriesKey

FRESH_S: Final = 2.0
MINUTE_MS: Final = 60_000


class Scrape:
    """Safe to share between threads."""

    def __init__(self, store: Store, *, devices_most: int) -> None:
        self._store = store
        self._devices_most = devices_most
        self._totals = ProfileTotals(lambda: store.series_read, store.facts)
        self._exposed = Exposed(store.database)
        self._lock = threading.Lock()
        self._read_s = float("-inf")
        self._families: list[Family] = []

    def families(self) -> list[Family]:
        """Raises StoreError."""
        with self._lock:
            if time.monotonic() - self._read_s > FRESH_S:
                began_s = time.perf_counter()
                self._families = filled(self._read())
                took = Family("edgepress_scrape_duration_seconds", "gauge", "Reading all this from the store")
                took.add(time.perf_counter() - began_s)
                self._families.append(took)
                self._read_s = time.monotonic()
            return self._families

    def _read(self) -> list[Family]:
        now_ms = self._store.now_ms()
        source: SeriesSource = self._store.series_read
        looks = [DeviceLook(*row) for row in self._exposed.enrolled()]
        profiles = sorted({look.profile for look in looks})
        models = self._exposed.models()
        keys = [SeriesKey("profile", profile) for profile in profiles]
        since_ms = (now_ms - RECENT_MS) // MINUTE_MS * MINUTE_MS
        recent = source.frames(keys, since_ms, now_ms + MINUTE_MS, span="minute")
        figures = FleetFigures(
            totals=self._totals.read(profiles, now_ms),
            recent={key.name: frame for key, frame in recent.items() if len(frame)},
            models=models,
            now_ms=now_ms,
        )
        return [
            *server_families(self._store),
            running_family(looks, models),
            *fleet_families(figures),
            *device_families(looks, source.latest(), models, most=self._devices_most, now_ms=now_ms),
        ]


def running_family(looks: list[DeviceLook], models: dict[str, str]) -> Family:
    family = Family("edgepress_devices_running", "gauge", "Enrolled devices by what they said they run")
    counts: dict[tuple[str, str, bool], int] = {}
    for look in looks:
        key = (look.profile, look.running or "", look.online)
        counts[key] = counts.get(key, 0) + 1
    for (profile, artifact, online), n in sorted(counts.items()):
        family.add(
            n,
            profile=profile,
            model=models.get(artifact, ""),
            artifact=artifact[:DIGEST_CHARS],
            online=str(online).lower(),
        )
    return family
