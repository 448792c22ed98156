"""What the server can say about itself: room on the disk, telemetry that is late, certificates, expiry.

Each check is a value or None: not known, or not there (no TLS, no release on any device).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from edgepress_server.errors import ServerError
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.series.keys import FLEET
from edgepress_server.trust.key_state import read_state
from edgepress_server.trust.statement import read_statement

log = logging.getLogger(__name__)

DAY_MS: Final = 24 * 3600 * 1000
HOUR_MS: Final = 3600 * 1000
MINUTE_MS: Final = 60_000
SLOW: Final = {"certificate_days", "authority_days", "root_days", "release_days"}
SLOW_EVERY_MS: Final = 10 * MINUTE_MS  # files and signatures are read for these
LOOK_BACK_MS: Final = 15 * MINUTE_MS


class ServerChecks:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._slow: dict[str, tuple[int, float | None]] = {}
        self._checks: dict[str, Callable[[int], float | None]] = {
            "disk_free_percent": self._disk,
            "ingest_late_s": self._late,
            "quarantined_per_hour": self._quarantined,
            "certificate_days": self._certificate,
            "authority_days": self._authority,
            "root_days": self._root,
            "release_days": self._release,
            "roles_down": self._roles,
            "notices_failed": self._notices,
        }

    def value(self, check: str, now_ms: int) -> float | None:
        if check not in SLOW:
            return self._checks[check](now_ms)
        known = self._slow.get(check)
        if known is None or now_ms - known[0] >= SLOW_EVERY_MS:
            try:
                known = (now_ms, self._checks[check](now_ms))
            except ServerError as error:  # keys that are half written: at the next look
                log.warning("the check %s cannot be made now: %s", check, error.message)
                known = (now_ms, None)
            self._slow[check] = known
        return known[1]

    def is_link_well(self) -> bool:
        """Whether what is said about devices being away can be believed."""
        link = self._store.facts.role("link")
        return link is not None and bool(link.get("mqtt_connected"))

    def _disk(self, _now_ms: int) -> float | None:
        try:
            usage = shutil.disk_usage(self._store.data_dir)
        except OSError as error:
            log.warning("the disk of %s cannot be looked at: %s", self._store.data_dir, error)
            return None
        return 100 * usage.free / usage.total if usage.total else None

    def _late(self, now_ms: int) -> float | None:
        """Since the newest minute with telemetry of anybody, while somebody was online who told any."""
        if not self._store.alerts.facts.somebody_tells():
            return None
        frame = self._store.series_read.frame(FLEET, now_ms - LOOK_BACK_MS, now_ms + MINUTE_MS, span="minute")
        if not len(frame):
            return LOOK_BACK_MS / 1000
        return max(0.0, (now_ms - int(frame.at[-1]) - MINUTE_MS) / 1000)

    def _quarantined(self, now_ms: int) -> float | None:
        return float(self._store.alerts.facts.quarantined_since(now_ms - HOUR_MS))

    def _certificate(self, now_ms: int) -> float | None:
        if not (self._settings.tls or self._settings.mqtt_tls):
            return None
        return _days(self._settings.tls_cert or self._settings.pki_dir / "server.pem", now_ms)

    def _authority(self, now_ms: int) -> float | None:
        if not (self._settings.tls or self._settings.mqtt_tls):
            return None
        return _days(self._settings.tls_ca or self._settings.pki_dir / "ca.pem", now_ms)

    def _root(self, now_ms: int) -> float | None:
        return _until(read_state(self._settings.keys_dir).expires, now_ms)

    def _release(self, now_ms: int) -> float | None:
        """Of the releases that devices are told to run, the one that ends first."""
        ends = [
            read_statement(text).signed.expires
            for release in self._store.alerts.facts.wanted_releases()
            for text in self._store.releases.statements(release).values()
        ]
        return _until(min(ends), now_ms) if ends else None

    def _roles(self, _now_ms: int) -> float | None:
        facts = self._store.facts
        return float((facts.role("link") is None) + (not self.is_link_well()))

    def _notices(self, now_ms: int) -> float | None:
        return float(self._store.alerts.channels.failed_since(now_ms - HOUR_MS))


def _days(file: Path, now_ms: int) -> float | None:
    """Until the certificate in a PEM file ends: the first of it."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", file, error)
        return None
    return _until(found[0].not_valid_after_utc, now_ms) if found else None


def _until(moment: datetime, now_ms: int) -> float:
    return (moment.astimezone(UTC).timestamp() * 1000 - now_ms) / DAY_MS
