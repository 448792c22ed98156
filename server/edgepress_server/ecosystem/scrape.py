"""Everything that /metrics shows, read from the store at one moment.

Two scrapers at once, or one that is impatient, cost one reading: an answer is good for FRESH_S.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Container, Sequence
from typing import Final

from edgepress_server.ecosystem.device_families import DeviceLook, device_families
from edgepress_server.ecosystem.families import Family, filled
from edgepress_server.ecosystem.fleet_families import (
    DIGEST_CHARS,
    RECENT_MS,
    FleetFigures,
    fleet_families,
)
from edgepress_server.ecosystem.group_totals import GroupTotals
from edgepress_server.ecosystem.server_families import server_families
from edgepress_server.ecosystem.source import SeriesSource
from edgepress_server.store import Store
from edgepress_server.store.exposed import Exposed
from edgepress_server.store.series.keys import SeriesKey

FRESH_S: Final = 2.0
MINUTE_MS: Final = 60_000
ARTIFACTS_MAX: Final = 500  # whose totals are read


class Scrape:
    """Safe to share between threads."""

    def __init__(self, store: Store, *, devices_most: int) -> None:
        self._store = store
        self._source: SeriesSource = store.series_read
        self._devices_most = devices_most
        self._totals = GroupTotals(self._source, store.facts)
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
        looks = [DeviceLook(*row) for row in self._exposed.enrolled()]
        artifacts = self._exposed.artifacts()
        models = {digest: model for digest, (model, _) in artifacts.items()}
        keys = _groups(looks, artifacts)
        since_ms = (now_ms - RECENT_MS) // MINUTE_MS * MINUTE_MS
        figures = FleetFigures(
            totals=self._totals.read(keys, now_ms),
            recent=self._source.frames(keys, since_ms, now_ms + MINUTE_MS, span="minute"),
            artifacts=artifacts,
            now_ms=now_ms,
        )
        return [
            *server_families(self._store),
            running_family(looks, models),
            *fleet_families(figures),
            *device_families(looks, self._source.latest(), models, most=self._devices_most, now_ms=now_ms),
        ]


def _groups(looks: Sequence[DeviceLook], artifacts: Container[str]) -> list[SeriesKey]:
    """Profiles that have devices, and the artifacts that most of them run."""
    runners = Counter(
        look.running for look in looks if look.running is not None and look.running in artifacts
    )
    return [
        *(SeriesKey("profile", profile) for profile in sorted({look.profile for look in looks})),
        *(SeriesKey("artifact", digest) for digest, _ in runners.most_common(ARTIFACTS_MAX)),
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
